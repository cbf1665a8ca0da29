/** Settings of an episode: what a configuration, resolv.conf and a hosts file might make of an engine, and what they change to. */
import type { EngineSettings, HostEntry, LoopProbeNames, UpstreamServer } from '../../src/engine/settings.ts'
import type { Names } from './names.ts'
import type { Random } from './random.ts'

/** Servers of the world; any of them may be in settings. */
export const SERVERS = 6
/** Routes that settings have otherwise. */
const FEW_ROUTES = 2
const FIRST_ADDRESS = '192.0.2.1'
type Transport = UpstreamServer['transport']
const ANY_STREAM: readonly Transport[] = ['tcp', 'tls', 'https']

/** The first server may be one that always answers in time: `hasPerfect`. */
export function makeSettings(random: Random, hasPerfect: boolean, names: Names): EngineSettings[] {
  const attemptTimeoutMs = random.pick([100, 300, 1000])
  // A perfect server is found in time however many bad ones are asked before it: see referee.ts.
  const deadlineMs = hasPerfect ? attemptTimeoutMs * 6 : random.pick([150, 1000, 4500])
  const maxInFlight = random.pick([2, 3, 16, 64, 256])
  const servers = makeServers(random)
  const make = (id: string): EngineSettings => {
    const chosen = choose(random)
    return {
      ttlSeconds: random.pick([1, 30, 300]),
      httpsRecords: random.pick(['nodata', 'forward']),
      beforeSync: random.pick(['auto', 'servfail', 'forward']),
      startedAtMs: 0,
      maxUdpPayload: { local: random.pick([4096, 1232]), remote: random.pick([1232, 512]) },
      access: [
        { address: Uint8Array.of(10, 1, 0, 0), length: 16 },
        { address: Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xfc : 0)), length: 7 },
      ],
      ownAddresses: [Uint8Array.of(10, 0, 0, 7)],
      ...(random.chance(0.9) && { cookieSecret: new Uint8Array(16).fill(7) }),
      ...(random.chance(0.2) && {
        rateLimit: { queriesPerSecond: random.pick([0, 20, 20, 500]), burst: random.pick([1, 5, 100]) },
      }),
      caseRandomization: random.chance(0.4),
      servers: chosen.map((k) => servers[k]!),
      routes: makeRoutes(random, chosen, hasPerfect),
      attemptTimeoutMs,
      deadlineMs,
      maxInFlight,
      ...(random.chance(0.5) && { loopProbe: makeLoopProbe(random, id, chosen.length) }),
      ...(random.chance(0.5) && { hosts: makeHostEntries(random, [...names.upstream, ...names.mesh.slice(0, 20)]) }),
      cache: {
        maxBytes: random.weighted([
          [1, 0],
          [2, 4096],
          [2, 16_384],
          [4, 1_048_576],
        ]),
        minTtlSeconds: random.pick([0, 0, 5]),
        maxTtlSeconds: random.pick([3600, 60, 2]),
        maxNegativeTtlSeconds: random.pick([300, 10]),
        staleSeconds: random.pick([0, 3600, 5]),
        prefetch: random.chance(0.7),
        nxdomainCut: random.chance(0.4),
      },
    }
  }
  const first = make('one')
  // Most reloads change little; the cache keeps its size in some of them, and with it what it knows.
  const second = { ...make('two'), cache: { ...make('').cache, maxBytes: first.cache.maxBytes } }
  // With the same servers what is under way goes on.
  const { hosts: _hosts, loopProbe: _loopProbe, rateLimit: _rateLimit, ...same } = first
  const alike: EngineSettings = {
    ...same,
    caseRandomization: random.chance(0.5),
    ...(random.chance(0.5) && { loopProbe: makeLoopProbe(random, 'four', first.servers.length) }),
    ...(random.chance(0.5) && { hosts: makeHostEntries(random, names.upstream) }),
    cache: { ...first.cache, nxdomainCut: random.chance(0.5), staleSeconds: random.pick([0, 3600]) },
  }
  return [first, second, make('three'), alike]
}

function makeServers(random: Random): UpstreamServer[] {
  const transports: Transport[] = [
    random.weighted([
      [8, 'udp'],
      [1, 'tcp'],
      [1, 'tls'],
      [1, 'https'],
    ]),
    'udp',
    'udp',
    random.chance(0.8) ? 'udp' : random.pick(ANY_STREAM),
    'tcp',
    random.pick(['tls', 'https']),
  ]
  return transports.map((transport, k) => ({
    label: `${transport}://192.0.2.${k + 1}:53`,
    transport,
    address: `192.0.2.${k + 1}`,
    port: 53,
  }))
}

/** Which servers of the world the settings name, the first among them. */
function choose(random: Random): number[] {
  const count = random.weighted([
    [2, 1],
    [2, 2],
    [2, 3],
    [1, 4],
  ])
  const chosen = [0]
  while (chosen.length < count) {
    const k = 1 + random.below(SERVERS - 1)
    if (!chosen.includes(k)) chosen.push(k)
  }
  return random.chance(0.5) ? chosen.toReversed() : chosen
}

function makeRoutes(random: Random, chosen: number[], hasPerfect: boolean): EngineSettings['routes'] {
  const policy = random.pick(['random', 'sequential', 'fastest', 'parallel'] as const)
  const all = chosen.map((_, k) => k)
  const routes: EngineSettings['routes'] = [{ domains: [Uint8Array.of(0)], servers: all, policy }]
  if (random.chance(0.3)) {
    // The perfect server stands on every route, so that the promise holds for every name.
    const onRoute = all.filter((k) => chosen[k] === 0 || random.chance(0.5))
    // Names below others that the default servers are asked for.
    const below = random.chance(0.5) ? [0, 1, 2].map((k) => wire('a', `h${k}`, 'example')) : []
    const domains = [wire('corp'), wire('deep', 'example'), ...below]
    routes.unshift({ domains, servers: onRoute, policy: 'sequential' })
  }
  if (hasPerfect) return routes
  return routes.map((route) => ({
    ...route,
    ...(random.chance(0.3) && { maxAttempts: random.pick([1, 2, 5]) }),
    ...(random.chance(0.3) && { attemptTimeoutMs: random.pick([50, 500]) }),
  }))
}

/**
 * A route of its own for each of many names, as split DNS may have it: to servers that are not all those of the default
 * route, which stands last.
 */
export function addManyRoutes(random: Random, hasPerfect: boolean, settings: readonly EngineSettings[]): void {
  for (const { routes, servers } of settings) {
    // Settings that are alike share their routes.
    if (routes.length > FEW_ROUTES) continue
    const all = servers.map((_, k) => k)
    // The perfect server stands on every route here as well.
    const isAlways = (k: number): boolean => hasPerfect && servers[k]!.address === FIRST_ADDRESS
    const some = (): number[] => {
      const chosen = all.filter((k) => isAlways(k) || random.chance(0.4))
      return chosen.length > 0 ? chosen : [random.pick(all)]
    }
    const own = Array.from({ length: random.pick([70, 300]) }, (_, k) => ({
      domains: [wire(`h${k}`, random.pick(['example', 'example', 'corp']))],
      servers: some(),
      policy: 'random' as const,
    }))
    routes.at(-1)!.servers = some()
    routes.unshift(...own)
  }
}

/**
 * Some names have a server of their own, and all others one that need not answer: it should not be in their way. Returns the
 * addresses of servers that are to be silent, as their numbers in the world.
 */
export function addSilentServer(settings: readonly EngineSettings[]): number[] {
  return settings
    .filter(({ servers, routes }) => servers.length > 1 && routes.length <= FEW_ROUTES)
    .map(({ routes, servers }) => {
      const silent = servers.length - 1
      const domains = [wire('corp'), wire('deep', 'example'), wire('h0', 'example'), wire('h1', 'example')]
      const others = servers.map((_, k) => k).slice(0, silent)
      const all = { domains: [Uint8Array.of(0)], servers: [silent], policy: 'random' as const }
      routes.splice(0, routes.length, { domains, servers: others, policy: 'fastest' }, all)
      return Number(servers[silent]!.address.split('.')[3]) - 1
    })
}

/** Questions that need not be asked: AAAA where there is no IPv6, and what resolvers ask below search domains. */
export function addSmartAnswers(random: Random, settings: readonly EngineSettings[]): void {
  const domains = random.pick([
    [],
    [wire('example')],
    [wire('shop', 'svc', 'cluster', 'local'), wire('svc', 'cluster', 'local')],
  ])
  for (const each of settings) {
    if (random.chance(0.2)) each.aaaaWithheld = 'there is no IPv6'
    if (domains.length > 0 && random.chance(0.8)) each.searchStorms = domains
  }
}

/**
 * Denials of names below Kubernetes hosts are kept briefly: adds such names to those that servers are asked for, below full
 * and short names of services.
 */
export function addServiceDenials(random: Random, settings: readonly EngineSettings[], names: Names): void {
  for (const each of settings) if (random.chance(0.8)) each.headlessNegativeTtlSeconds = random.pick([0, 1, 5, 60, 600])
  const ends = [
    'shop.svc.cluster.local',
    'shop.svc.cluster.local',
    'ops.svc.cluster.local',
    'shop',
    'shop.shop.svc.cluster.local',
  ]
  const few = Array.from({ length: 6 }, () => {
    const front = random.pick([['pod-9'], ['pod-9'], ['_http', '_tcp'], ['a']])
    return text(...front, `svc${random.below(4)}`, ...random.pick(ends).split('.'))
  })
  // The first are asked most.
  names.upstream.splice(1, 0, ...few, text('a', 'h0', 'example'))
}

/** Short names that are real domains are servers' to answer, where resolvers ask with the search domain first. */
export function addRealDomains(random: Random, settings: readonly EngineSettings[]): void {
  for (const each of settings) if (random.chance(0.7)) each.searchedBelowDots = random.pick([1, 2, 5, 5])
}

/** What a resolver asks below the search domains that settings look after, before it asks for a few names of the outside. */
export function addStorm(random: Random, settings: readonly EngineSettings[], names: Names): void {
  const domains = new Set(
    settings.flatMap(({ searchStorms = [] }) => searchStorms.map((each) => Buffer.from(each).toString('latin1'))),
  )
  const outside = ['api.com', 'www.com', 'b.api.com', 'a.example.org', 'c.net', 'h1.net'].filter(() =>
    random.chance(0.8),
  )
  const few = [...domains].flatMap((domain) => outside.map((name) => text(...name.split('.')).slice(0, -1) + domain))
  names.upstream.splice(1, 0, ...few)
}

function makeLoopProbe(random: Random, id: string, servers: number): LoopProbeNames {
  // One server may be on no route that is looked at.
  const left = random.chance(0.2) ? random.below(servers) : -1
  return {
    id,
    names: Array.from({ length: servers }, (_, k) => (k === left ? null : wire(`${k}`, id))),
    sends: random.chance(0.8),
  }
}

/** Some of `names` (wire format) with addresses, and the reverse names of a few. */
export function makeHostEntries(random: Random, names: readonly string[]): HostEntry[] {
  const entries = new Map<string, HostEntry>()
  const possible = names.filter((name) => name !== '\0')
  const none = new Uint8Array(0)
  for (let k = random.below(6); k >= 0; k--) {
    const name = random.pick(possible)
    const count = random.weighted([
      [6, 1],
      [3, 3],
      [1, 90],
    ])
    const hasV4 = random.chance(0.7)
    const v4 = Array.from({ length: hasV4 ? count : 0 }, (_, n) => [192, 0, n >> 6, random.below(3) * 64 + (n & 63)])
    const v6 = Array.from({ length: hasV4 && random.chance(0.7) ? 0 : count }, (_, n) => [
      0xfd,
      k,
      ...Array(13).fill(0),
      n,
    ])
    entries.set(name, { name: bytes(name), v4: new Uint8Array(v4.flat()), v6: new Uint8Array(v6.flat()), target: none })
    const first = [192, 0, 2, random.below(30)]
    const reversed = [...first.toReversed().map(String), 'in-addr', 'arpa']
    const reverse = bytes(reversed.map((label) => String.fromCharCode(label.length) + label).join('') + '\0')
    entries.set(Buffer.from(reverse).toString('latin1'), { name: reverse, v4: none, v6: none, target: bytes(name) })
  }
  return [...entries.values()]
}

function bytes(name: string): Uint8Array {
  return Buffer.from(name, 'latin1')
}

function wire(...labels: string[]): Uint8Array {
  return bytes(labels.map((label) => String.fromCharCode(label.length) + label).join('') + '\0')
}

function text(...labels: string[]): string {
  return Buffer.from(wire(...labels)).toString('latin1')
}
