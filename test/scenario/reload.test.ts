/** A configuration that changes while the daemon runs. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { ScriptedUpstream } from '../stream/scripted-upstream.ts'
import { addressesOf } from '../worker/dns-client.ts'
import { services, Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

type Config = Record<string, unknown>

function path(file: string): string {
  return fileURLToPath(new URL(`../stream/certificates/${file}`, import.meta.url))
}

function fileOf(daemon: DaemonProcess): string {
  return join(daemon.folder, 'byname.yaml')
}

/** Changes some keys, in one step. */
function change(daemon: DaemonProcess, changed: (config: Config) => Config): void {
  const file = fileOf(daemon)
  const config: Config = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(`${file}.new`, JSON.stringify({ ...config, ...changed(config) }))
  renameSync(`${file}.new`, file)
}

async function start(config: Config): Promise<{ daemon: DaemonProcess; ttl: () => Promise<number> }> {
  const folder = mkdtempSync(join(tmpdir(), 'byname-reload-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const table = join(folder, 'table.json')
  writeFileSync(table, nameTableToJson(services({ web: '10.0.0.1' })))
  const daemon = await stage.daemon({ config: { mesh: { source: { table } }, ...config } })
  const client = await stage.client()
  const ttl = async (): Promise<number> => {
    const [answer] = (await client.ask(daemon.at(), 'web')).packet.answers ?? []
    return answer !== undefined && 'ttl' in answer ? Number(answer.ttl) : -1
  }
  await until(async () => expect(await ttl()).toBe(30))
  return { daemon, ttl }
}

const withTtl =
  (seconds: unknown) =>
  (config: Config): Config => ({ mesh: { ...Object(config['mesh']), ttlSeconds: seconds } })

function said(daemon: DaemonProcess, message: string): string[] {
  return daemon.lines.map(({ msg }) => msg).filter((msg) => msg.startsWith(message))
}

const KEPT = 'the configuration stays as it is: '

test('counts without a signal, once its file has rested; one that is broken, gone or empty changes nothing', async () => {
  const { daemon, ttl } = await start({})
  change(daemon, withTtl('1m'))
  await until(async () => expect(await ttl()).toBe(60))
  expect(await daemon.line('configuration read again')).toMatchObject({ keys: ['mesh.ttlSeconds'] })

  writeFileSync(fileOf(daemon), '{"mesh": {"ttlSeconds": 90')
  await until(() => expect(said(daemon, KEPT)).not.toEqual([]))
  writeFileSync(fileOf(daemon), '')
  await until(() => expect(said(daemon, `${KEPT}${fileOf(daemon)} is empty`)).toHaveLength(1))
  rmSync(fileOf(daemon))
  await until(() => expect(said(daemon, `${KEPT}${fileOf(daemon)} does not exist`)).toHaveLength(1))
  expect(await ttl()).toBe(60)
})

test('watchConfig: false leaves it to SIGHUP', async () => {
  const { daemon, ttl } = await start({ watchConfig: false })
  change(daemon, withTtl(50))
  daemon.child.kill('SIGHUP')
  await until(async () => expect(await ttl()).toBe(50))
  expect(await daemon.line('configuration read again')).toMatchObject({ why: 'SIGHUP' })
})

describe('a configuration with any problem is refused whole', () => {
  const nowhere = '/nowhere/root.pem'
  test.each<[what: string, changed: (config: Config) => Config, problems: RegExp[]]>([
    [
      'wrong values',
      () => ({ workers: 0, driver: 'fast' }),
      [/workers: must be a whole number/, /driver: must be auto/],
    ],
    [
      'files that a start would refuse',
      (config) => ({ upstream: { ...Object(config['upstream']), rootCert: nowhere } }),
      [/upstream\.rootCert: \/nowhere\/root\.pem cannot be read \(ENOENT\)/],
    ],
    [
      'an admin endpoint that is open to everybody',
      () => ({ admin: { listen: '0.0.0.0:15054' } }),
      [/admin\.listen: 0\.0\.0\.0:15054 is not on loopback/],
    ],
  ])('%s: one line for each, and nothing else of it counts', async (_, changed, problems) => {
    const { daemon, ttl } = await start({ watchConfig: false })
    change(daemon, (config) => ({
      ...withTtl(99)(config),
      ...changed(config),
      log: { format: 'json', level: 'error' },
    }))
    daemon.child.kill('SIGHUP')
    await until(() => expect(said(daemon, KEPT)).toHaveLength(problems.length))
    for (const [k, problem] of problems.entries()) expect(said(daemon, KEPT)[k]).toMatch(problem)
    expect(await ttl()).toBe(30)
    change(daemon, (config) => ({
      ...withTtl(40)(config),
      workers: 1,
      driver: 'auto',
      admin: { listen: '' },
      upstream: {},
    }))
    daemon.child.kill('SIGHUP')
    await until(async () => expect(await ttl()).toBe(40))
  })
})

test('upstream.rootCert: servers over TLS are verified by the new certificates from then on', async () => {
  const upstream = await ScriptedUpstream.start(
    createServer({ cert: readFileSync(path('server.pem')), key: readFileSync(path('server.key.pem')) }),
    'secureConnection',
  )
  upstream.onQueries = (queries) => upstream.answer(queries)
  stage.closing(() => upstream.stop())
  const servers = [`tls://127.0.0.1:${String(upstream.port)}#dns.test`]
  const { daemon } = await start({ upstream: { servers, attemptTimeoutMs: 500, deadlineMs: 1000 } })
  const client = await stage.client()
  await client.ask(daemon.at(), 'before.example')
  expect(upstream.queries).toEqual([])
  change(daemon, (config) => ({ upstream: { ...Object(config['upstream']), rootCert: path('ca.pem') } }))
  await daemon.line('configuration read again')
  await until(async () => {
    await client.ask(daemon.at(), `after-${String(performance.now()).replace('.', '-')}.example`)
    expect(upstream.queries).not.toEqual([])
  })
})

test('hostsFile: names of another file, without a new process', async () => {
  const { daemon } = await start({})
  const client = await stage.client()
  const hostsFile = join(daemon.folder, 'hosts')
  writeFileSync(hostsFile, '10.0.0.9 db.corp\n')
  change(daemon, () => ({ hostsFile }))
  daemon.child.kill('SIGHUP')
  await until(async () => expect(addressesOf((await client.ask(daemon.at(), 'db.corp')).packet)).toEqual(['10.0.0.9']))
})

test('without a mesh source, outside Istio: every name goes upstream at once, it is ready, and says so', async () => {
  const resolver = await stage.resolver((query) => query.answer('192.0.2.1'))
  const daemon = await stage.daemon({ config: { upstream: { servers: [resolver.text] } } })
  await daemon.line('mesh.source: no control plane, table or folder is named')
  const client = await stage.client()
  await client.ask(daemon.at(), 'www.example')
  expect(resolver.asked('www.example')).toBe(1)
  expect((await daemon.get('metrics', '/readyz')).status).toBe(200)
})
