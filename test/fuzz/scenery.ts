/** What stands around an engine that is fuzzed: settings, name tables and hosts, all made from a seed. */
import type { EngineSettings, HostEntry, UpstreamServer } from '../../src/engine/settings.ts'
import type { Image } from '../../src/table/image.ts'
import { wire } from '../dns/messages.ts'
import { settingsWith } from '../engine/engine-under-test.ts'
import { mix, Random } from '../simulation/random.ts'
import { compiled, info, newCompiler, service } from '../table/compiled.ts'
import { makeRules } from './rules-scenery.ts'

const v4 = (count: number): string[] => Array.from({ length: count }, (_, k) => `10.${k >> 8}.${k & 255}.1`)
const v6 = (count: number): string[] => Array.from({ length: count }, (_, k) => `fd00::${(k + 1).toString(16)}`)
const LONG = 'w'.repeat(63)

/** Hosts with few and very many addresses, of one family and both, exact and wildcard, with names at the limits. */
export const HOSTS: readonly [string, ReturnType<typeof info>][] = [
  service('web', 'shop', ['10.2.3.4']),
  service('pay', 'shop', ['10.2.3.5', 'fd00::1']),
  service('web', 'ops', ['10.2.3.6', '10.2.3.7']),
  ['many.example', info({ ips: [...v4(40), ...v6(40)] })],
  ['crowd.example', info({ ips: v4(3000) })],
  ['six.example', info({ ips: ['fd00::7'] })],
  ['*.wild.example', info({ ips: ['192.0.2.2'] })],
  ['*.deep.wild.example', info({ ips: [...v4(70)] })],
  [`${LONG}.${LONG}.${LONG}.${'x'.repeat(59)}`, info({ ips: ['192.0.2.9'] })],
]

export const MESH_NAMES: readonly string[] = [
  'web',
  'web.shop',
  'web.shop.svc',
  'web.shop.svc.cluster.local',
  'web.shop.svc.cluster.local.shop.svc.cluster.local',
  'pay.shop.svc.cluster.local',
  'pay.shop',
  'web.ops',
  'many.example',
  'many.example.shop.svc.cluster.local',
  'crowd.example',
  'six.example',
  'a.wild.example',
  'x.y.deep.wild.example',
  'a.wild.example.shop.svc.cluster.local',
  'wild.example',
  `${LONG}.${LONG}.${LONG}.${'x'.repeat(59)}`,
  `${LONG}.${LONG}.${LONG}.wild.example`,
]

export const HOST_NAMES: readonly string[] = ['printer', 'printer.lan', '9.113.0.203.in-addr.arpa']
export const LOOP_NAME: Uint8Array = wire('loop-probe-0123456789abcdef.invalid.example')

const HOSTS_FILE: HostEntry[] = [
  { name: wire('printer'), v4: Uint8Array.of(203, 0, 113, 9), v6: new Uint8Array(0), target: new Uint8Array(0) },
  { name: wire('printer.lan'), v4: Uint8Array.of(203, 0, 113, 9), v6: new Uint8Array(16), target: new Uint8Array(0) },
  {
    name: wire('9.113.0.203.in-addr.arpa'),
    v4: new Uint8Array(0),
    v6: new Uint8Array(0),
    target: wire('printer.lan'),
  },
]

/** Two tables under one seed of hashes. */
export function makeImages(): Image[] {
  const compiler = newCompiler()
  return [HOSTS, HOSTS.slice(0, 5)].map((hosts) => compiled(compiler, new Map(hosts)).image)
}

const TRANSPORTS: readonly UpstreamServer['transport'][] = ['udp', 'udp', 'udp', 'tcp', 'tls', 'https']

/** Settings of every kind; the same seed makes the same ones. */
export function makeSettings(seed: number): EngineSettings {
  const random = new Random(mix(seed, 0x5e77))
  const servers = Array.from(
    { length: 1 + random.below(4) },
    (_, k): UpstreamServer => ({
      label: `server ${k}`,
      transport: k === 0 ? 'udp' : random.pick(TRANSPORTS),
      address: '192.0.2.53',
      port: 53,
    }),
  )
  const all = servers.map((_, k) => k)
  const policy = random.pick(['sequential', 'random', 'fastest', 'parallel'] as const)
  const settings = settingsWith({
    servers,
    routes: [
      { domains: [wire('example.net')], servers: [all.at(-1)!], policy: 'sequential' },
      { domains: [new Uint8Array(1)], servers: all, policy },
    ],
    httpsRecords: random.pick(['nodata', 'forward']),
    maxUdpPayload: random.pick([
      { local: 4096, remote: 1232 },
      { local: 512, remote: 512 },
      { local: 65_507, remote: 4096 },
    ]),
    access: [{ address: Uint8Array.of(192, 0, 2, 0), length: 24 }],
    ownAddresses: [Uint8Array.of(192, 0, 2, 1)],
    attemptTimeoutMs: random.pick([100, 1000]),
    deadlineMs: random.pick([1000, 4500]),
    maxInFlight: random.pick([2, 16, 64, 256]),
    caseRandomization: random.chance(0.3),
    cache: {
      maxBytes: random.pick([0, 8192, 64 * 1024, 64 * 1024, 1 << 20]),
      minTtlSeconds: random.pick([0, 0, 5]),
      maxTtlSeconds: random.pick([60, 3600, 86_400]),
      staleSeconds: random.pick([0, 60, 3600]),
      prefetch: random.chance(0.7),
      nxdomainCut: random.chance(0.5),
    },
  })
  if (random.chance(0.8)) settings.cookieSecret = Uint8Array.from({ length: 16 }, (_, k) => k * 7)
  if (random.chance(0.5)) settings.hosts = HOSTS_FILE
  if (random.chance(0.1)) settings.rateLimit = { queriesPerSecond: 200, burst: 50 }
  if (random.chance(0.5)) settings.loopProbe = { id: 'one', names: [LOOP_NAME], sends: random.chance(0.5) }
  if (random.chance(0.4)) settings.rules = makeRules()
  return settings
}
