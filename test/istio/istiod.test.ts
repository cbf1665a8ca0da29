/** byname, as it is installed, against the real, unmodified istiod. Skipped where that has not been built (README.md here). */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type DaemonStart, DaemonProcess } from '../daemon/daemon-process.ts'
import { buildNode } from '../../src/xds/node.ts'
import { addressesOf, rcodeOf, UdpClient } from '../worker/dns-client.ts'
import type { KubeObject } from './api-stub.ts'
import { Istiod, WHY_NOT } from './istiod.ts'
import { PilotAgent } from './pilot-agent.ts'

const CLUSTER = new URL('cluster/', import.meta.url)
const FILES = ['cm', 'services', 'serviceentries', 'pods', 'same', 'zlive']
/** Polling of what another process does. */
const POLL_MS = 25
const WAIT_MS = 20_000

const folder = mkdtempSync(join(tmpdir(), 'byname-istiod-'))
const daemons: DaemonProcess[] = []
let istiod: Istiod
let client: UdpClient

if (WHY_NOT !== '') console.log(`tests with the real istiod are skipped: ${WHY_NOT}`)

/** Waits until `look` finds something that fits, and returns it. */
async function until<T>(what: string, look: () => T | Promise<T>, fits: (found: T) => boolean): Promise<T> {
  const end = Date.now() + WAIT_MS
  for (;;) {
    const found = await look()
    if (fits(found)) return found
    if (Date.now() > end)
      throw new Error(`${what}: still ${JSON.stringify(found)} after ${WAIT_MS} ms\n${istiod.output.slice(-2000)}`)
    await sleep(POLL_MS)
  }
}

/** A path in the tests' folder, with this content. */
function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** A host in /debug/table. */
interface TableEntry {
  ips?: string[]
  shortname?: string
  namespace?: string
}

interface Access {
  xds?: object
  identity?: object
  env?: Record<string, string>
}

/** The secured port, with a token of shop/default. */
function secured(token: string = istiod.api.token({ namespace: 'shop', serviceAccount: 'default' })): object {
  return {
    address: istiod.secured,
    tls: { rootCert: file('root-cert.pem', istiod.root), serverName: 'istiod.istio-system.svc' },
    token: file(`token-${daemons.length}`, token),
  }
}

async function byname({ xds = secured(), identity = {}, env = {} }: Access = {}): Promise<DaemonProcess> {
  const config: DaemonStart['config'] = {
    identity: {
      namespace: 'shop',
      serviceAccount: 'default',
      pod: 'app-0',
      ip: '10.244.9.9',
      cluster: 'Kubernetes',
      ...identity,
    },
    mesh: { source: { xds } },
  }
  const daemon = await DaemonProcess.start({ config, env })
  daemons.push(daemon)
  return daemon
}

async function addresses(daemon: DaemonProcess, name: string, type: 'A' | 'AAAA' = 'A'): Promise<string[]> {
  return addressesOf((await client.ask(daemon.at(), name, type)).packet)
}

async function hosts(daemon: DaemonProcess): Promise<number> {
  return (await daemon.status()).table.hosts
}

async function table(daemon: DaemonProcess): Promise<Record<string, TableEntry>> {
  const body = await (await daemon.get('admin', '/debug/table')).json()
  return (body as { table: Record<string, TableEntry> }).table
}

function service(name: string, namespace: string, clusterIP: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { clusterIP, clusterIPs: [clusterIP], ports: [{ name: 'http', port: 80 }], selector: { app: name } },
  }
}

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(WHY_NOT !== '')('a real istiod', () => {
  beforeAll(async () => {
    istiod = new Istiod({ port: 17_010 })
    for (const name of FILES) istiod.api.apply(readFileSync(new URL(`${name}.yaml`, CLUSTER), 'utf8'))
    await istiod.start()
    client = await UdpClient.open()
  }, 90_000)
  afterEach(async () => {
    for (const daemon of daemons.splice(0)) await daemon.stop()
  })
  afterAll(async () => {
    client?.close()
    await istiod?.stop()
  })

  describe('lets in and sends its table', () => {
    test('over the plaintext port', async () => {
      const daemon = await byname({ xds: { address: istiod.plaintext } })
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      expect(await addresses(daemon, 'web.shop.svc.cluster.local')).toEqual(['10.96.1.1'])
    })

    test('over the secured port, for a token', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      expect(await addresses(daemon, 'web')).toEqual(['10.96.1.1'])
      expect(await addresses(daemon, 'web.other')).toEqual(['10.96.1.2'])
      const status = await daemon.status()
      expect(status.problems).toEqual([])
    })

    test('over the secured port, for a certificate that it signed itself', async () => {
      const { cert, key } = istiod.authority.issue({ names: ['URI:spiffe://cluster.local/ns/shop/sa/default'] })
      const tls = {
        rootCert: file('root-cert.pem', istiod.root),
        serverName: 'istiod.istio-system.svc',
        cert: file('c.pem', cert),
        key: file('k.pem', key),
      }
      const daemon = await byname({ xds: { address: istiod.secured, tls } })
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
    })

    test('for the token where the certificate beside it has expired', async () => {
      const { cert, key } = istiod.authority.issue({
        names: ['URI:spiffe://cluster.local/ns/shop/sa/default'],
        fromMs: Date.now() - 7_200_000,
        toMs: Date.now() - 3_600_000,
      })
      const tls = {
        rootCert: file('root-cert.pem', istiod.root),
        serverName: 'istiod.istio-system.svc',
        cert: file('c.pem', cert),
        key: file('k.pem', key),
      }
      const daemon = await byname({ xds: { ...secured(), tls } })
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
    })

    test('for a certificate of our own, which it signs for the token and renews for the certificate', async () => {
      const kept = join(folder, 'kept')
      mkdirSync(kept, { recursive: true })
      const xds = { ...secured(), certificate: 'istiod', certificateFolder: kept }
      const first = await byname({ xds })
      await until(
        'hosts',
        () => hosts(first),
        (count) => count > 0,
      )
      expect(await first.metric('byname_credential_expiry_timestamp_seconds', { kind: 'certificate' })).toBeGreaterThan(
        Date.now() / 1000 + 23 * 3600,
      )
      // Started again without any token: what was kept is enough.
      const again = await byname({ xds: { ...xds, token: join(folder, 'no-such-token') } })
      await until(
        'hosts',
        () => hosts(again),
        (count) => count > 0,
      )
    })
  })

  describe('refuses, and byname says why in one line', () => {
    test.each<[string, () => Access, RegExp]>([
      [
        'a token for another audience',
        () => ({ xds: secured(istiod.api.token({ namespace: 'shop', serviceAccount: 'default', audience: 'vault' })) }),
        /does not accept token .*UNAUTHENTICATED/,
      ],
      [
        'a token that has expired',
        () => ({ xds: secured(istiod.api.token({ namespace: 'shop', serviceAccount: 'default', seconds: -60 })) }),
        /has expired 60 s ago|has expired \d+ s ago/,
      ],
      [
        'a token of another service account',
        () => ({ xds: secured(istiod.api.token({ namespace: 'shop', serviceAccount: 'vm' })) }),
        /identity of the credentials is not .*PERMISSION_DENIED/,
      ],
      [
        'a token of another namespace',
        () => ({ xds: secured(istiod.api.token({ namespace: 'other', serviceAccount: 'default' })) }),
        /identity of the credentials is not .*PERMISSION_DENIED/,
      ],
      ['plaintext at the secured port', () => ({ xds: { address: istiod.secured } }), /speak TLS at this port/],
      ['TLS at the plaintext port', () => ({ xds: { ...secured(), address: istiod.plaintext } }), /does not speak TLS/],
      [
        'another name',
        () => ({
          xds: { ...secured(), tls: { rootCert: join(folder, 'root-cert.pem'), serverName: 'pilot.example' } },
        }),
        /wrong name: .*istiod\.istio-system\.svc.*not for pilot\.example/,
      ],
      [
        'another root',
        () => ({
          xds: {
            ...secured(),
            tls: { rootCert: file('other.pem', new Istiod({ port: 1 }).root), serverName: 'istiod.istio-system.svc' },
          },
        }),
        /unknown authority: .*other\.pem/,
      ],
      [
        'a group that does not exist',
        () => ({ env: { ISTIO_META_AUTO_REGISTER_GROUP: 'no-such-group' } }),
        /FAILED_PRECONDITION/,
      ],
    ])('%s', async (_, access, reason) => {
      const daemon = await byname(access())
      const line = await daemon.line('cannot reach the control plane', WAIT_MS)
      expect(String(line['reason'])).toMatch(reason)
      expect(String(line['reason'])).not.toContain('\n')
      expect((await daemon.status()).problems.map(({ about }) => about)).toContain('control_plane')
    })
  })

  describe('changes while byname runs', () => {
    test('a Service comes, changes and goes', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      expect(await table(daemon)).not.toHaveProperty(['fresh.shop.svc.cluster.local'])
      istiod.api.put(service('fresh', 'shop', '10.96.7.1'))
      await until(
        'added',
        () => addresses(daemon, 'fresh.shop.svc.cluster.local'),
        (found) => found[0] === '10.96.7.1',
      )
      istiod.api.remove('Service', 'shop', 'fresh')
      istiod.api.put(service('fresh', 'shop', '10.96.7.2'))
      await until(
        'changed',
        () => addresses(daemon, 'fresh'),
        (found) => found[0] === '10.96.7.2',
      )
      istiod.api.remove('Service', 'shop', 'fresh')
      await until(
        'removed',
        () => table(daemon),
        (found) => found['fresh.shop.svc.cluster.local'] === undefined,
      )
    })

    test('a pod of a headless service goes and comes back', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => addresses(daemon, 'db-0.db.shop.svc.cluster.local'),
        (found) => found[0] === '10.244.1.10',
      )
      const slice = istiod.api.list('EndpointSlice').find(({ metadata }) => metadata.name.startsWith('db'))!
      const endpoints = slice['endpoints'] as object[]
      istiod.api.put({ ...structuredClone(slice), endpoints: endpoints.slice(1) })
      await until(
        'gone',
        () => table(daemon),
        (found) => found['db-0.db.shop.svc.cluster.local'] === undefined,
      )
      istiod.api.put({ ...structuredClone(slice), endpoints })
      await until(
        'back',
        () => addresses(daemon, 'db-0.db.shop.svc.cluster.local'),
        (found) => found[0] === '10.244.1.10',
      )
    })

    test('a ServiceEntry gets its automatic address, unless that is declined', async () => {
      const [wanting, declining] = [await byname(), await byname({ env: { ISTIO_META_DNS_CAPTURE: 'false' } })]
      for (const daemon of [wanting, declining])
        await until(
          'hosts',
          () => hosts(daemon),
          (count) => count > 0,
        )
      istiod.api.apply(
        'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: late, namespace: shop}\nspec: {hosts: [late.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n',
      )
      const [vip] = await until(
        'address',
        () => addresses(wanting, 'late.example'),
        (found) => found.length === 1,
      )
      expect(vip).toMatch(/^240\.240\./)
      const listed = await table(declining)
      expect(Object.keys(listed)).not.toContain('late.example')
      istiod.api.remove('ServiceEntry', 'shop', 'late')
      await until(
        'gone',
        () => table(wanting),
        (found) => found['late.example'] === undefined,
      )
    })

    test('a Sidecar empties the table, and its end fills it', async () => {
      const daemon = await byname()
      const full = await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      istiod.api.apply(
        'apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: nothing, namespace: shop}\nspec: {egress: [{hosts: ["none/*"]}]}\n',
      )
      await until(
        'empty',
        () => hosts(daemon),
        (count) => count === 0,
      )
      istiod.api.remove('Sidecar', 'shop', 'nothing')
      await until(
        'full',
        () => hosts(daemon),
        (count) => count === full,
      )
    })

    test('5,000 ServiceEntries', async () => {
      const daemon = await byname()
      const before = await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      for (let k = 0; k < 5000; k++)
        istiod.api.put({
          apiVersion: 'networking.istio.io/v1',
          kind: 'ServiceEntry',
          metadata: { name: `many-${k}`, namespace: 'shop' },
          spec: {
            hosts: [`many-${k}.example`],
            addresses: [`10.77.${k >> 8}.${k & 255}`],
            ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
            resolution: 'STATIC',
            endpoints: [{ address: '192.0.2.1' }],
          },
        })
      await until(
        'all',
        () => hosts(daemon),
        (count) => count === before + 5000,
      )
      expect(await addresses(daemon, 'many-4999.example')).toEqual(['10.77.19.135'])
      for (let k = 0; k < 5000; k++) istiod.api.remove('ServiceEntry', 'shop', `many-${k}`)
      await until(
        'none',
        () => hosts(daemon),
        (count) => count === before,
      )
    }, 60_000)
  })

  test('a group registers the machine, which status shows, and its end removes it', async () => {
    istiod.api.apply(
      'apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: pay-vm, namespace: shop}\nspec: {template: {serviceAccount: default}}\n',
    )
    const daemon = await byname({ env: { ISTIO_META_AUTO_REGISTER_GROUP: 'pay-vm' } })
    await until(
      'hosts',
      () => hosts(daemon),
      (count) => count > 0,
    )
    const entries = await until(
      'entry',
      () => istiod.api.list('WorkloadEntry'),
      (found) => found.some(({ metadata }) => metadata.name.startsWith('pay-vm-10.244.9.9')),
    )
    expect(entries.map(({ metadata }) => metadata.name)).toContain('pay-vm-10.244.9.9')
    expect(await (await daemon.get('admin', '/debug/xds')).text()).toContain('pay-vm')
  })

  test.skipIf(!PilotAgent.isBuilt)(
    'every name of the table, in all its forms, has the addresses that Istio’s agent gives',
    async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      const agent = new PilotAgent(17_090)
      try {
        const node = buildNode({
          identity: {
            namespace: 'shop',
            domain: 'shop.svc.cluster.local',
            pod: 'app-0',
            ip: '10.244.9.9',
            serviceAccount: 'default',
            cluster: 'Kubernetes',
            network: '',
            labels: {},
          },
          metadata: {},
          ownAddresses: [],
          version: '1',
        })
        await agent.start(istiod, node)
        const askAgent = async (name: string, type: 'A' | 'AAAA'): Promise<string[]> =>
          addressesOf((await client.ask(agent.at, name, type)).packet)
        await until(
          'the agent’s table',
          () => askAgent('web.shop.svc.cluster.local', 'A'),
          (found) => found[0] === '10.96.1.1',
        ).catch((error: unknown) => {
          throw new Error(`${String(error)}\n${agent.output.slice(-3000)}`)
        })
        let compared = 0
        for (const [host, { shortname = '', namespace = '' }] of Object.entries(await table(daemon))) {
          const full = host.replace(/^\*/, 'any')
          const short =
            shortname === ''
              ? []
              : [
                  `${shortname}.${namespace}`,
                  `${shortname}.${namespace}.svc`,
                  ...(namespace === 'shop' ? [shortname] : []),
                ]
          for (const name of [
            full,
            full.toUpperCase(),
            ...short,
            ...[full, ...short].map((each) => `${each}.shop.svc.cluster.local`),
          ])
            for (const type of ['A', 'AAAA'] as const) {
              const ours = (await client.ask(daemon.at(), name, type)).packet
              const theirs = (await client.ask(agent.at, name, type)).packet
              // Of many addresses a datagram without EDNS holds some, and each chooses others.
              if (ours.flag_tc && theirs.flag_tc) continue
              // Istio's agent repeats an address that istiod sends twice.
              const said = (packet: typeof ours): unknown => [
                name,
                type,
                rcodeOf(packet),
                [...new Set(addressesOf(packet))],
              ]
              expect(said(ours)).toEqual(said(theirs))
              compared++
            }
        }
        console.log(`${compared} questions answered alike by byname and by Istio's agent`)
        expect(compared).toBeGreaterThan(200)
      } finally {
        await agent.stop()
      }
    },
    120_000,
  )

  describe('goes away, and no name with it', () => {
    test('restarted: answers go on, and the next table comes', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      await istiod.signal('SIGKILL')
      await daemon.line('lost the control plane', WAIT_MS)
      expect(await addresses(daemon, 'web')).toEqual(['10.96.1.1'])
      await istiod.startIstiod()
      await daemon.line('connected to the control plane again', 60_000)
      istiod.api.put(service('after', 'shop', '10.96.7.9'))
      await until(
        'added',
        () => addresses(daemon, 'after'),
        (found) => found[0] === '10.96.7.9',
      )
      istiod.api.remove('Service', 'shop', 'after')
    }, 120_000)

    test('suspended: answers go on, and what changed meanwhile comes', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      await istiod.signal('SIGSTOP')
      for (let k = 0; k < 100; k++) expect(await addresses(daemon, 'web')).toEqual(['10.96.1.1'])
      istiod.api.put(service('meanwhile', 'shop', '10.96.7.8'))
      await istiod.signal('SIGCONT')
      await until(
        'added',
        () => addresses(daemon, 'meanwhile'),
        (found) => found[0] === '10.96.7.8',
      )
      istiod.api.remove('Service', 'shop', 'meanwhile')
    }, 60_000)

    test('no answer in the table changes over while queries run', async () => {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      let asked = 0
      const over = new AbortController()
      const asking = (async () => {
        while (!over.signal.aborted) {
          const { packet } = await client.ask(daemon.at(), 'web.shop.svc.cluster.local', 'A')
          expect([rcodeOf(packet), addressesOf(packet)]).toEqual(['NOERROR', ['10.96.1.1']])
          asked++
        }
      })()
      const signing = istiod.authority.issue({ names: ['URI:x'] })
      for (let k = 0; k < 5; k++) {
        writeFileSync(join(folder, 'root-cert.pem'), `${istiod.root}${k % 2 === 0 ? signing.cert : ''}`)
        await sleep(200)
      }
      over.abort()
      await asking
      expect(asked).toBeGreaterThan(100)
    })
  })
})

describe.skipIf(WHY_NOT !== '')('a real istiod that ends connections every few seconds', () => {
  test('is reconnected to at once and quietly (GOAWAY)', async () => {
    istiod = new Istiod({ port: 17_030, args: ['--keepaliveMaxServerConnectionAge=3s'] })
    for (const name of FILES) istiod.api.apply(readFileSync(new URL(`${name}.yaml`, CLUSTER), 'utf8'))
    await istiod.start()
    client = await UdpClient.open()
    try {
      const daemon = await byname()
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      await until(
        'reconnects',
        async () => (await daemon.status()).xds!.reconnects,
        (count) => count >= 2,
      )
      expect(daemon.lines.filter(({ level, msg }) => level !== 'info' && msg.includes('control plane'))).toEqual([])
      expect(await addresses(daemon, 'web')).toEqual(['10.96.1.1'])
    } finally {
      for (const daemon of daemons.splice(0)) await daemon.stop()
      client.close()
      await istiod.stop()
    }
  }, 60_000)
})

describe.skipIf(WHY_NOT !== '')('a real istiod of a dual-stack mesh', () => {
  test('sends both families to a node of both', async () => {
    istiod = new Istiod({ port: 17_050, env: { ISTIO_DUAL_STACK: 'true' } })
    for (const name of [...FILES, 'dual']) istiod.api.apply(readFileSync(new URL(`${name}.yaml`, CLUSTER), 'utf8'))
    await istiod.start()
    client = await UdpClient.open()
    try {
      const daemon = await byname({ env: { ISTIO_META_INSTANCE_IPS: '10.244.9.9,fd00:10:244::99' } })
      await until(
        'hosts',
        () => hosts(daemon),
        (count) => count > 0,
      )
      const both = Object.entries(await table(daemon)).filter(
        ([, { ips = [] }]) => ips.some((ip) => ip.includes(':')) && ips.some((ip) => !ip.includes(':')),
      )
      expect(both.length).toBeGreaterThan(0)
      const [host] = both[0]!
      expect((await addresses(daemon, host, 'AAAA')).length).toBeGreaterThan(0)
      expect((await addresses(daemon, host, 'A')).length).toBeGreaterThan(0)
    } finally {
      for (const daemon of daemons.splice(0)) await daemon.stop()
      client.close()
      await istiod.stop()
    }
  }, 60_000)
})
