import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { addressAt, nameAt, NAMESPACES } from '../load/names.ts'
import type { Peer, Task } from './peer.ts'

const HERE = join(import.meta.dirname, '..', '..')

/** byname over recvmmsg and sendmmsg: what `driver: auto` picks on Linux. */
export const bynameBatch: Peer = bynamePeer('byname-batch', 'byname', 'batch', HERE)

/** byname over node:dgram: what it falls back to. */
export const bynameDgram: Peer = bynamePeer('byname-dgram', 'byname, dgram', 'dgram', HERE)

/** byname of another checkout, with the batch driver: what a change has brought. */
export function otherByname(checkout: string): Peer {
  return bynamePeer('other', `byname in ${basename(checkout)}`, 'batch', resolve(checkout))
}

/** Everything on that is on by default; only ports, upstream and the table differ from the default configuration. */
function bynamePeer(id: string, title: string, driver: 'batch' | 'dgram', root: string): Peer {
  return {
    id,
    title,
    install: 'npm ci in this checkout',
    abilities: ['mesh', 'table', 'cache', 'forward', 'tcp', 'push', 'workers'],
    version: () => bynameVersion(root),
    command: (task) => {
      const file = join(task.folder, 'byname.yaml')
      writeFileSync(file, configuration(task, driver))
      return { file: join(root, 'bin', 'byname'), args: ['run', '--config', file] }
    },
  }
}

function configuration(task: Task, driver: string): string {
  const { folder, port, hosts, upstreamPort, workers, controlPlanePort, sparePorts } = task
  const table = join(folder, 'table.json')
  if (controlPlanePort === undefined) writeFileSync(table, JSON.stringify(nameTable(hosts)))
  // A source of its own even without hosts: "no table yet" is another path through the engine.
  const source =
    controlPlanePort === undefined ? { table } : { xds: { address: `127.0.0.1:${controlPlanePort}`, delta: false } }
  // JSON is YAML.
  return JSON.stringify({
    listen: [`127.0.0.1:${port}`],
    workers,
    driver,
    identity: { namespace: 'ns0', domain: 'ns0.svc.cluster.local' },
    mesh: { source, lastKnownGood: '' },
    upstream: { servers: [`127.0.0.1:${upstreamPort}`] },
    metrics: { listen: `127.0.0.1:${sparePorts[0]}` },
    admin: { listen: `127.0.0.1:${sparePorts[1]}` },
    log: { level: 'error' },
  })
}

function nameTable(hosts: number): unknown {
  const entries = Array.from({ length: hosts }, (_, n) => [
    nameAt(n),
    { ips: [addressAt(n)], registry: 'Kubernetes', shortname: `svc-${n}`, namespace: `ns${n % NAMESPACES}` },
  ])
  return { table: Object.fromEntries(entries) }
}

/** Version and commit; undefined while `byname run` does not exist. */
function bynameVersion(root: string): string | undefined {
  const help = spawnSync(join(root, 'bin', 'byname'), ['--help'], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  if (help.status !== 0 || !help.stdout.includes('run')) return undefined
  const { version }: { version: string } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const commit = spawnSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout?.trim()
  return commit === undefined || commit === '' ? version : `${version} (${commit})`
}
