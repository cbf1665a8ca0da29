/**
 * An episode: everything that its seed decides beforehand. Settings, name tables, servers with their habits, and a list
 * of actions in the order of time. Leaving actions out leaves the others as they are: that is how a failure is shrunk.
 */
import type { EngineSettings, UpstreamServer } from '../../src/engine/settings.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { mix, Random } from './random.ts'
import { makeNames, makeTables, type Names } from './names.ts'
import { type Asked, makeQuery } from './queries.ts'

/** What a server does to the questions it gets. Each is a weighted choice among `Deed`s (virtual-server.ts). */
export type Habit =
  | 'perfect'
  | 'good'
  | 'lossy'
  | 'slow'
  | 'dead'
  | 'unreachable'
  | 'servfail'
  | 'refused'
  | 'formerr'
  | 'formerr to opt'
  | 'notimp'
  | 'badvers'
  | 'truncating'
  | 'lying'
  | 'malformed'
  | 'odd rcodes'
  | 'mixed'

export interface Client {
  address: Uint8Array
  isLocal: boolean
  isAllowed: boolean
}

export type Action = { at: number } & (
  | { kind: 'query'; client: number; isStream: boolean; packet: Buffer; asked: Asked }
  /** A datagram that was larger than the receive buffer: its first bytes. */
  | { kind: 'cut query'; client: number; packet: Buffer; asked: Asked }
  | { kind: 'push'; table: number; shuffle: number; adoptAfterMs: number }
  | { kind: 'configure'; settings: number }
  | { kind: 'restart' }
  | { kind: 'new stream worker' }
  | { kind: 'flush'; name: string | null }
  /** Time leaps: a machine that slept, a worker that was stopped. */
  | { kind: 'leap'; ms: number }
  | { kind: 'habit'; server: number; habit: Habit }
  | { kind: 'forge'; count: number; seed: number }
  | { kind: 'socket error'; seed: number }
)

export interface Episode {
  seed: number
  names: Names
  identity: TableIdentity
  tables: NameTable[]
  settings: EngineSettings[]
  /** Habits at the start, by server address: servers are the same ones whatever the settings say. */
  habits: Habit[]
  rttMs: number[]
  clients: Client[]
  actions: Action[]
  /** Chances of what the network does to a datagram. */
  loss: number
  duplication: number
  jitterMs: number
  /** Uses after which a socket is replaced. */
  socketUses: number
  /** Chance that no socket can be opened. */
  socketShortage: number
}

export const SERVERS = 5
const MEAN_GAPS_MS = [0.05, 0.5, 5, 40, 400] as const
const HABITS: readonly (readonly [number, Habit])[] = [
  [6, 'good'],
  [3, 'lossy'],
  [2, 'slow'],
  [3, 'dead'],
  [2, 'unreachable'],
  [2, 'servfail'],
  [1, 'refused'],
  [1, 'formerr'],
  [2, 'formerr to opt'],
  [1, 'notimp'],
  [1, 'badvers'],
  [2, 'truncating'],
  [3, 'lying'],
  [2, 'malformed'],
  [1, 'odd rcodes'],
  [3, 'mixed'],
]

/** The episode of a seed with about `queries` queries. */
export function makeEpisode(seed: number, queries: number): Episode {
  const random = new Random(mix(seed, 0xe915))
  const identity: TableIdentity = {
    namespace: 'shop',
    domain: 'shop.svc.cluster.local',
    searchDomain: random.weighted([
      [8, 'shop.svc.cluster.local'],
      [1, 'x'],
      [1, null],
    ]),
  }
  const tables = makeTables(random)
  const names = makeNames(random, tables, identity)
  const hasPerfect = random.chance(0.4)
  const clients = makeClients()
  const episode: Episode = {
    seed,
    names,
    identity,
    tables,
    settings: makeSettings(random, hasPerfect),
    habits: Array.from({ length: SERVERS }, (_, k) => (k === 0 && hasPerfect ? 'perfect' : random.weighted(HABITS))),
    rttMs: Array.from({ length: SERVERS }, () => random.between(0.2, 60)),
    clients,
    actions: [],
    loss: random.weighted([
      [3, 0],
      [2, 0.02],
      [1, 0.3],
    ]),
    duplication: random.weighted([
      [2, 0],
      [2, 0.05],
      [1, 0.5],
    ]),
    jitterMs: random.weighted([
      [2, 0.5],
      [2, 20],
      [1, 1500],
    ]),
    socketUses: random.pick([1, 4, 64, 8192]),
    socketShortage: random.weighted([
      [5, 0],
      [1, 0.02],
    ]),
  }
  addActions(episode, random, queries)
  return episode
}

function makeClients(): Client[] {
  return [
    { address: Uint8Array.of(127, 0, 0, 1), isLocal: true, isAllowed: true },
    { address: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0)), isLocal: true, isAllowed: true },
    { address: Uint8Array.of(10, 0, 0, 7), isLocal: true, isAllowed: true },
    { address: Uint8Array.of(10, 1, 2, 3), isLocal: false, isAllowed: true },
    {
      address: Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xfd : i < 14 ? 0 : i - 13)),
      isLocal: false,
      isAllowed: true,
    },
    { address: Uint8Array.of(203, 0, 113, 9), isLocal: false, isAllowed: false },
  ]
}

function makeSettings(random: Random, hasPerfect: boolean): EngineSettings[] {
  const attemptTimeoutMs = random.pick([100, 300, 1000])
  // A perfect server is found in time however many bad ones are asked before it: see reference-resolver.ts.
  const deadlineMs = hasPerfect ? attemptTimeoutMs * 6 : random.pick([150, 1000, 4500])
  const maxInFlight = random.pick([2, 3, 16, 64, 256])
  const servers: UpstreamServer[] = Array.from({ length: SERVERS }, (_, k) => ({
    label: `192.0.2.${k + 1}:53`,
    transport: k === SERVERS - 1 ? 'tcp' : 'udp',
    address: `192.0.2.${k + 1}`,
    port: 53,
  }))
  const make = (): EngineSettings => {
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
    if (random.chance(0.5)) chosen.reverse()
    const policy = random.pick(['random', 'sequential', 'fastest', 'parallel'] as const)
    const all = chosen.map((_, k) => k)
    const routes: EngineSettings['routes'] = [{ domains: [Uint8Array.of(0)], servers: all, policy }]
    if (random.chance(0.3)) {
      // The perfect server stands on every route, so that the promise holds for every name.
      const onRoute = all.filter((k) => chosen[k] === 0 || random.chance(0.5))
      routes.unshift({ domains: [wire('corp'), wire('deep', 'example')], servers: onRoute, policy: 'sequential' })
    }
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
      cookieSecret: new Uint8Array(16).fill(7),
      caseRandomization: random.chance(0.3),
      servers: chosen.map((k) => servers[k]!),
      routes,
      attemptTimeoutMs,
      deadlineMs,
      maxInFlight,
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
      },
    }
  }
  const first = make()
  // Most reloads change little; the cache keeps its size in some of them, and with it what it knows.
  const second = { ...make(), cache: { ...make().cache, maxBytes: first.cache.maxBytes } }
  return [first, second, make()]
}

function wire(...labels: string[]): Uint8Array {
  return Buffer.from(labels.map((label) => String.fromCharCode(label.length) + label).join('') + '\0', 'latin1')
}

function addActions(episode: Episode, random: Random, queries: number): void {
  const { actions } = episode
  const gap = random.pick(MEAN_GAPS_MS)
  const streams = random.pick([0, 0.1, 0.5])
  const rarely = random.pick([0, 0.2, 1, 1, 4])
  let at = 0
  if (random.chance(0.8)) actions.push({ at, kind: 'push', table: 0, shuffle: 0, adoptAfterMs: random.between(0, 50) })
  for (let n = 0; n < queries; n++) {
    at += random.interval(random.chance(0.02) ? gap * 50 : gap)
    if (random.chance(0.02 * rarely)) actions.push(makeRareAction(episode, random, at))
    const isStream = random.chance(streams)
    const client = random.chance(0.9) ? random.below(2) : random.below(episode.clients.length)
    const { packet, asked } = makeQuery(random, episode.names, isStream)
    actions.push({ at, kind: 'query', client, isStream, packet, asked })
    // A client that hears nothing asks again, and several ask the same at once.
    if (random.chance(0.03)) {
      for (let k = random.below(6); k >= 0; k--) {
        const again = makeQuery(random, episode.names, isStream, asked)
        actions.push({
          at: at + random.between(0, 2),
          kind: 'query',
          client: random.below(3),
          isStream,
          packet: again.packet,
          asked: again.asked,
        })
      }
    }
    if (!isStream && random.chance(0.001)) {
      actions.push({ at, kind: 'cut query', client, packet: packet.length < 12 ? Buffer.alloc(12) : packet, asked })
    }
  }
  actions.sort((a, b) => a.at - b.at)
}

function makeRareAction(episode: Episode, random: Random, at: number): Action {
  const server = random.below(SERVERS)
  return random.weighted<() => Action>([
    [
      6,
      () => ({
        at,
        kind: 'push',
        table: random.below(episode.tables.length),
        shuffle: random.next(),
        adoptAfterMs: random.interval(random.pick([0.1, 20, 2000])),
      }),
    ],
    [1, () => ({ at, kind: 'configure', settings: random.below(episode.settings.length) })],
    [0.2, () => ({ at, kind: 'restart' })],
    [0.2, () => ({ at, kind: 'new stream worker' })],
    [
      1,
      () => ({
        at,
        kind: 'flush',
        name: random.chance(0.3) ? null : episode.names.upstream[random.below(episode.names.upstream.length)]!,
      }),
    ],
    [3, () => ({ at, kind: 'leap', ms: random.interval(random.pick([50, 1000, 5000, 60_000])) })],
    [
      4,
      () => ({
        at,
        kind: 'habit',
        server,
        habit: episode.habits[server] === 'perfect' ? 'perfect' : random.weighted(HABITS),
      }),
    ],
    [6, () => ({ at, kind: 'forge', count: 1 + random.below(20), seed: random.next() })],
    [2, () => ({ at, kind: 'socket error', seed: random.next() })],
  ])()
}
