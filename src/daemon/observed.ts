/** What metrics, status and the admin endpoint are told about the daemon, gathered from its parts. */
import { readAdminToken } from './admin-token.ts'
import type { Driver } from './listeners.ts'
import type { DaemonSettings } from './settings.ts'
import { nameToWire } from '../dns/name.ts'
import type { HostEntry } from '../engine/settings.ts'
import { serverUses } from './engine-settings.ts'
import { explain } from './explanations.ts'
import type { RecentLog } from '../observe/log-ring.ts'
import type { QueryFeed } from '../querylog/query-feed.ts'
import { readSocketTables } from '../observe/socket-drops.ts'
import type {
  CredentialState,
  Listener,
  MeshState,
  ObserveSources,
  Problem,
  Reload,
  XdsEvent,
  XdsStateLike,
} from '../observe/sources.ts'
import type { StreamCounters } from '../stats/stream-counters.ts'
import type { TableKeeper } from '../tables/table-keeper.ts'
import { type ComparedNames, HostsContradictions } from './hosts-contradictions.ts'
import { credentialProblems, savedTableProblems } from './problems.ts'
import { sourceText } from './table-origin.ts'
import { version } from '../version.ts'
import type { DataWorkers } from './data-workers.ts'
import type { PluginFiles } from './plugin-files.ts'
import type { QueryLogging } from './query-logging.ts'
import type { OpenListener } from './listener-sockets.ts'

const PING_MS = 1000
const FLUSH_MS = 2000
const NO_HOSTS: readonly HostEntry[] = []

/** The parts of a daemon whose threads have started. The daemon owns them all. */
export interface DaemonParts {
  /** Unix time in ms. */
  startedAtMs: number
  driver: Driver
  settings: DaemonSettings
  /** One line each, about the configuration in use. */
  warnings: () => readonly string[]
  /** What is wrong now with the source of the table. */
  problems: () => Problem[]
  reload: () => Reload | null
  listeners: readonly OpenListener[]
  workers: DataWorkers
  /** What the data workers tell of their answers. */
  feed: QueryFeed
  threadRestarts: () => number
  queryLogging: QueryLogging
  /** Null where no plug-in is configured. */
  plugins: () => PluginFiles | null
  streamCounters: StreamCounters
  keeper: TableKeeper
  /** Null where the table comes from files. */
  xds: (() => XdsStateLike) | null
  xdsHistory: () => readonly XdsEvent[]
  recentLog: () => RecentLog
  /** What is shown to the control plane, and verified. */
  credentials: () => CredentialState[]
  updates: MeshState['updates']
  compileDurations: MeshState['compileDurations']
}

/** What the observer shows of a daemon that answers. */
export function observeSources(parts: DaemonParts): ObserveSources {
  const { settings, listeners, workers, keeper } = parts
  const contradictions = new HostsContradictions()
  return {
    version,
    pid: process.pid,
    startedAtMs: parts.startedAtMs,
    nowMs: Date.now,
    driver: () => parts.driver,
    listeners: () =>
      listeners.flatMap(({ address, port }): Listener[] => [
        { proto: 'udp', address, port },
        { proto: 'tcp', address, port },
      ]),
    counters: () => workers.counters,
    workerRestarts: () => parts.threadRestarts(),
    streamCounters: () => parts.streamCounters,
    plugins: () => parts.plugins()?.shown ?? [],
    serverLabels: () => settings.engine.servers.map(({ label }) => label),
    serverUses: () => serverUses(settings.engine, settings.looping),
    mesh: () => meshState(parts),
    xds: () => parts.xds?.() ?? null,
    xdsHistory: parts.xdsHistory,
    recentLog: parts.recentLog,
    credentials: parts.credentials,
    tableJson: () => keeper.json(),
    searchHosts: (text, offset, limit) => keeper.search(text, offset, limit),
    config: () => settings.config,
    rules: () => settings.rules,
    ready: () => {
      const isAwaited = settings.config.mesh.source.kind !== 'none' && keeper.image === null
      const missing = isAwaited ? ['no name table has arrived yet'] : []
      return { ready: missing.length === 0, missing }
    },
    ping: () => workers.ping(PING_MS),
    flush: (name) => workers.flush(name === null ? null : lowerWire(name), FLUSH_MS),
    explain: (query) => explain(workers, query, parts.plugins()),
    samples: parts.feed,
    collectsTopNames: () => settings.config.admin.topNames,
    searchDomains: () => settings.search.domains,
    queryLog: () => parts.queryLogging.state,
    warnings: parts.warnings,
    problems: () => [
      ...parts.problems(),
      ...credentialProblems(parts.credentials()),
      ...parts.queryLogging.problems,
      ...(parts.plugins()?.problems ?? []),
      ...savedTableProblems(settings.config.mesh.lastKnownGood, keeper),
      ...contradictions.problems(namesOf(parts), Date.now()),
    ],
    reload: parts.reload,
    adminToken: () => readAdminToken(settings.config.admin.token),
    socketTables: readSocketTables,
  }
}

function namesOf({ settings, keeper }: DaemonParts): ComparedNames {
  const { config, engine } = settings
  const { source } = config.mesh
  const except = source.kind === 'xds' ? source.addresses.map(({ host }) => host) : []
  return { file: config.hostsFile, hosts: engine.hosts ?? NO_HOSTS, image: keeper.image, except }
}

function meshState({ settings, keeper, updates, compileDurations }: DaemonParts): MeshState {
  const { image } = keeper
  return {
    hosts: image?.hosts ?? 0,
    bytes: image?.byteLength ?? 0,
    version: image?.version ?? '',
    source: sourceText(settings.config),
    fromLastKnownGood: keeper.isFromLastKnownGood,
    updatedAtMs: keeper.updatedAtMs,
    skippedHosts: image?.skippedHosts ?? 0,
    updates,
    compileDurations,
  }
}

function lowerWire(name: string): Uint8Array {
  return nameToWire(name.toLowerCase()) ?? new Uint8Array(0)
}
