/**
 * An episode: everything that its seed decides beforehand. Settings, name tables, servers with their habits, and a list
 * of actions in the order of time. Leaving actions out leaves the others as they are: that is how a failure is shrunk.
 */
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { RuleSet } from '../../src/rules/rule-set.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { mix, Random } from './random.ts'
import {
  addManyRoutes,
  addRealDomains,
  addServiceDenials,
  addSilentServer,
  addStorm,
  addSmartAnswers,
  makeSettings,
  SERVERS,
} from './episode-settings.ts'
import { addPlugins } from './episode-plugins.ts'
import { addRules, type EpisodeRules } from './episode-rules.ts'
import { makeNames, makeTables, type Names } from './names.ts'
import { type Asked, makeQuery } from './queries.ts'
import { makeManners, type Manners } from './server-manners.ts'

/** What a server does to the questions it gets. Each is a weighted choice among `Deed`s (virtual-server.ts). */
export type Habit =
  | 'perfect'
  | 'good'
  | 'lossy'
  | 'slow'
  | 'dead'
  | 'unreachable'
  | 'looping'
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
  /** Another namespace or search domain. */
  | { kind: 'identity'; identity: number }
  | { kind: 'restart' }
  | { kind: 'new stream worker' }
  | { kind: 'flush'; name: string | null }
  /** Time leaps: a machine that slept, a worker that was stopped. */
  | { kind: 'leap'; ms: number }
  | { kind: 'habit'; server: number; habit: Habit }
  | { kind: 'manners'; server: number; manners: Manners }
  | { kind: 'forge'; count: number; seed: number }
  /** Guesses at the id of one query. */
  | { kind: 'guess'; count: number; seed: number }
  | { kind: 'socket error'; seed: number }
)

export interface Episode {
  seed: number
  names: Names
  identities: TableIdentity[]
  tables: NameTable[]
  settings: EngineSettings[]
  /** Those of the settings. */
  rules: ReadonlyMap<RuleSet, EpisodeRules>
  /** Habits at the start, by server address: servers are the same ones whatever the settings say. */
  habits: Habit[]
  manners: Manners[]
  /** Servers answer with DNAMEs, and refer to others. */
  hasZones: boolean
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

/** Queries of an episode, where nothing else is said. */
export const EPISODE_QUERIES = 1500
const MEAN_GAPS_MS = [0.05, 0.5, 5, 40, 400] as const
const HABITS: readonly (readonly [number, Habit])[] = [
  [6, 'good'],
  [3, 'lossy'],
  [2, 'slow'],
  [3, 'dead'],
  [2, 'unreachable'],
  [3, 'looping'],
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
  const identities = makeIdentities(random)
  // What few episodes have: a stream of numbers of its own leaves all others as they are.
  const rare = new Random(mix(seed, 0x2a2e))
  const tables = makeTables(random, rare)
  const names = makeNames(random, tables, identities)
  const hasPerfect = random.chance(0.4)
  const clients = makeClients()
  const settings = makeSettings(random, hasPerfect, names)
  if (rare.chance(0.05)) addManyRoutes(rare, hasPerfect, settings)
  for (const { loopProbe } of settings)
    names.special.push(...(loopProbe?.names ?? []).map((name) => Buffer.from(name ?? [0]).toString('latin1')))
  // By numbers of its own, so that what else happens in an episode stays as it was.
  addSmartAnswers(new Random(mix(seed, 0x57a7)), settings)
  const smart = new Random(mix(seed, 0x5e4f))
  if (smart.chance(0.25)) addServiceDenials(smart, settings, names)
  if (smart.chance(0.2)) addRealDomains(smart, settings)
  if (smart.chance(0.6)) addStorm(smart, settings, names)
  const hasPlugins = smart.chance(0.15)
  const rules = smart.chance(0.25) ? addRules(smart, settings, names, !hasPlugins) : []
  if (hasPlugins) addPlugins(smart, settings)
  const silent = !hasPerfect && rare.chance(0.1) ? addSilentServer(settings) : []
  const episode: Episode = {
    seed,
    names,
    identities,
    tables,
    settings,
    rules: new Map(rules.map((each) => [each.set, each])),
    habits: Array.from({ length: SERVERS }, (_, k) => (k === 0 && hasPerfect ? 'perfect' : random.weighted(HABITS))),
    manners: Array.from({ length: SERVERS }, (_, k) => makeManners(random, k === 0)),
    hasZones: false,
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
  for (const server of silent) episode.habits[server] = 'dead'
  addActions(episode, random, queries)
  if (queries > 0 && rare.chance(0.2)) addGuesses(episode, rare)
  episode.hasZones = rare.chance(0.2)
  return episode
}

/** Somebody guesses at replies to some of the queries, while servers are asked. */
function addGuesses({ actions }: Episode, random: Random): void {
  for (let k = random.below(60); k >= 0; k--) {
    const at = random.pick(actions).at + random.interval(5)
    actions.push({ at, kind: 'guess', count: 2 + random.below(9), seed: random.next() })
  }
  actions.sort((a, b) => a.at - b.at)
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

function identityOf(namespace: string, searchDomain: string | null): TableIdentity {
  return { namespace, domain: `${namespace}.svc.cluster.local`, searchDomain }
}

/** The one at the start, and what it may change to: mostly the search domain, as resolv.conf may. */
function makeIdentities(random: Random): TableIdentity[] {
  const first = random.weighted([
    [8, 'shop.svc.cluster.local'],
    [1, 'x'],
    [1, null],
  ])
  return [
    identityOf('shop', first),
    identityOf('shop', random.pick(['ops.svc.cluster.local', 'example', 'X'])),
    identityOf('shop', random.pick([null, 'x'])),
    ...(random.chance(0.2) ? [identityOf('ops', 'ops.svc.cluster.local')] : []),
  ]
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
    [1, () => ({ at, kind: 'identity', identity: random.below(episode.identities.length) })],
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
    [2, () => ({ at, kind: 'manners', server, manners: makeManners(random, server === 0) })],
    [6, () => ({ at, kind: 'forge', count: 1 + random.below(20), seed: random.next() })],
    [2, () => ({ at, kind: 'socket error', seed: random.next() })],
  ])()
}
