/**
 * Two clusters, a machine and a pod, each in a network namespace of its own, joined by a bridge. Each cluster has a control plane that
 * sees both, over TLS with client certificates; the machine's only resolver is byname.
 *
 * ```
 *  east 10.99.0.1 control plane ─┐            ┌─ machine 10.99.0.11  resolv.conf → byname → resolver 10.99.0.3
 *  west 10.99.0.2 control plane ─┴── bridge ──┴─ pod     10.99.0.12  byname
 *                                       └────── resolver 10.99.0.3   knows istiod.west.test, and nothing of the mesh
 * ```
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WAIT_MS } from '../wait.ts'
import { LAUNCHER } from '../cli/byname-process.ts'
import { type Issued, TestAuthority } from '../credentials/test-authority.ts'

const PLACES = { east: '10.99.0.1', west: '10.99.0.2', resolver: '10.99.0.3', machine: '10.99.0.11', pod: '10.99.0.12' }
const BRIDGE = 'hub'

/** Unique, so that tests side by side have networks of their own. */
const tag = `bn${process.pid}`
const namespaces = [BRIDGE, ...Object.keys(PLACES)].map((name) => `${tag}-${name}`)

function ip(...args: string[]): boolean {
  return spawnSync('ip', args).status === 0
}

/** Needs root and ip(8); dnsmasq is the resolver. */
const canRun =
  ip('netns', 'add', `${tag}-try`) &&
  ip('netns', 'del', `${tag}-try`) &&
  spawnSync('dnsmasq', ['--version']).status === 0

const folder = mkdtempSync(join(tmpdir(), 'byname-multicluster-'))
const children: ChildProcess[] = []
const output: Record<string, string> = {}

function at(place: keyof typeof PLACES): string {
  return `${tag}-${place}`
}

/** Starts a program in a place; ended after the tests. */
function start(place: keyof typeof PLACES, name: string, args: readonly string[]): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', at(place), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  output[name] = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output[name] = (output[name]! + chunk.toString()).slice(-20_000)))
  return child
}

function write(name: string, text: string): string {
  const path = join(folder, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** What an application in a place gets for a name. */
function ask(place: keyof typeof PLACES, name: string, server = '127.0.0.1:15053'): string[] {
  const { stdout } = spawnSync(
    'ip',
    ['netns', 'exec', at(place), LAUNCHER, 'query', name, '+short', '--server', server],
    { encoding: 'utf8' },
  )
  return stdout.split('\n').filter((line) => /^[\d.]+$/.test(line))
}

async function until(what: string, look: () => string[], wanted: readonly string[]): Promise<void> {
  const end = Date.now() + WAIT_MS
  for (;;) {
    const found = look().toSorted()
    if (found.join() === wanted.toSorted().join()) return
    if (Date.now() > end)
      throw new Error(`${what}: ${found.join()} instead of ${wanted.join()}\n${JSON.stringify(output, null, 1)}`)
    await sleep(100)
  }
}

function service(name: string, cluster: string, clusterIP: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: shop, labels: {topology.istio.io/cluster: ${cluster}}}\nspec: {clusterIP: ${clusterIP}, ports: [{port: 80}]}\n---\n`
}

function entry(name: string, host: string, addresses: readonly string[]): string {
  return `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ${name}, namespace: shop}\nspec: {hosts: [${host}], addresses: [${addresses.join(', ')}], ports: [{number: 443, name: tls, protocol: TLS}], resolution: STATIC, location: MESH_INTERNAL}\n---\n`
}

const authority = new TestAuthority('mesh root')

function identity(name: string): Issued {
  return authority.issue({ names: [`URI:spiffe://cluster.local/ns/shop/sa/${name}`] })
}

describe.skipIf(!canRun)('two clusters, a machine and a pod', () => {
  let east: ChildProcess

  beforeAll(async () => {
    for (const name of namespaces) ip('netns', 'add', name)
    const hub = `${tag}-${BRIDGE}`
    ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge')
    ip('-n', hub, 'link', 'set', 'br0', 'up')
    for (const [place, address] of Object.entries(PLACES)) {
      ip('-n', hub, 'link', 'add', place, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', `${tag}-${place}`)
      ip('-n', hub, 'link', 'set', place, 'master', 'br0', 'up')
      ip('-n', `${tag}-${place}`, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
      ip('-n', `${tag}-${place}`, 'link', 'set', 'eth0', 'up')
      ip('-n', `${tag}-${place}`, 'link', 'set', 'lo', 'up')
    }
    const mesh = join(folder, 'mesh')
    write('mesh/east/services.yaml', service('reviews', 'east', '10.1.0.1'))
    write('mesh/west/services.yaml', service('ratings', 'west', '10.2.0.1'))
    write('mesh/east/exposed.yaml', entry('exposed', 'bookings.global.example', ['203.0.113.1', '203.0.113.2']))
    write('mesh/west/imported.yaml', entry('imported', 'payments.shop.svc.clusterset.local', ['241.0.0.7']))
    write('mesh/machine.yaml', entry('machine', 'vm.shop.internal', [PLACES.machine]))
    for (const cluster of ['east', 'west'] as const) {
      const { cert, key } = authority.issue({ names: [`DNS:istiod.${cluster}.test`, 'DNS:istiod.istio-system.svc'] })
      for (const [name, text] of Object.entries({
        'cert-chain.pem': cert,
        'key.pem': key,
        'root-cert.pem': authority.root,
      }))
        write(`${cluster}-tls/${name}`, text)
    }
    const plane = (cluster: 'east' | 'west'): ChildProcess =>
      start(cluster, cluster, [
        LAUNCHER,
        'control-plane',
        '--mesh',
        mesh,
        '--listen',
        `${PLACES[cluster]}:15012`,
        '--tls',
        join(folder, `${cluster}-tls`),
      ])
    east = plane('east')
    plane('west')
    start('resolver', 'resolver', [
      'dnsmasq',
      '--keep-in-foreground',
      '--no-hosts',
      '--no-resolv',
      '--pid-file',
      '--user=root',
      `--address=/istiod.east.test/${PLACES.east}`,
      `--address=/istiod.west.test/${PLACES.west}`,
      '--address=/outside.test/198.51.100.9',
    ])
    const original = write('original.conf', `nameserver ${PLACES.resolver}\n`)
    const proxy = (place: 'machine' | 'pod', listen: string, issued: Issued): ChildProcess =>
      start(place, place, [
        LAUNCHER,
        'run',
        '--config',
        write(
          `${place}.yaml`,
          JSON.stringify({
            listen: [listen],
            identity: { namespace: 'shop', pod: place, ip: PLACES[place], serviceAccount: place },
            mesh: {
              source: {
                xds: {
                  address: ['istiod.east.test:15012', 'istiod.west.test:15012'],
                  tls: {
                    rootCert: write('root.pem', authority.root),
                    cert: write(`${place}.pem`, issued.cert),
                    key: write(`${place}-key.pem`, issued.key),
                  },
                },
              },
            },
            upstream: { resolvConf: original },
            metrics: { listen: 'off' },
            admin: { listen: 'off' },
            log: { format: 'json' },
          }),
        ),
      ])
    // On the machine byname is the resolver: port 53 of loopback, as the machine's resolv.conf says.
    proxy('machine', '127.0.0.1:53', identity('machine'))
    proxy('pod', '127.0.0.1:15053', identity('pod'))
    await until('the pod’s table', () => ask('pod', 'reviews.shop.svc.cluster.local'), ['10.1.0.1'])
    await until('the machine’s table', () => ask('machine', 'reviews.shop.svc.cluster.local', '127.0.0.1:53'), [
      '10.1.0.1',
    ])
  })

  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
    for (const name of namespaces) ip('netns', 'del', name)
    rmSync(folder, { recursive: true, force: true })
  })

  test.each([
    ['a service of the other cluster', 'ratings.shop.svc.cluster.local', ['10.2.0.1']],
    ['a name of all clusters (MCS)', 'payments.shop.svc.clusterset.local', ['241.0.0.7']],
    ['a host at the gateways of all clusters', 'bookings.global.example', ['203.0.113.1', '203.0.113.2']],
    ['a short name', 'reviews', ['10.1.0.1']],
    ['a name outside', 'outside.test', ['198.51.100.9']],
    ['the machine itself', 'vm.shop.internal', [PLACES.machine]],
  ])('%s resolves on the machine and in the pod', async (_, name, addresses) => {
    await until('machine', () => ask('machine', name, '127.0.0.1:53'), addresses)
    await until('pod', () => ask('pod', name), addresses)
  })

  test('the control plane that is left serves both when the other one dies, and what changes there arrives', async () => {
    east.kill('SIGKILL')
    spawnSync('ip', ['netns', 'exec', at('east'), 'sh', '-c', 'kill -9 $(ip netns pids "$0")', at('east')])
    expect(ask('machine', 'ratings.shop.svc.cluster.local', '127.0.0.1:53')).toEqual(['10.2.0.1'])
    write('mesh/west/services.yaml', service('ratings', 'west', '10.2.0.9'))
    await until('machine', () => ask('machine', 'ratings.shop.svc.cluster.local', '127.0.0.1:53'), ['10.2.0.9'])
    await until('pod', () => ask('pod', 'ratings.shop.svc.cluster.local'), ['10.2.0.9'])
  })
})
