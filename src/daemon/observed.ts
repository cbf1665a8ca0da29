/** What metrics, status and the admin endpoint are told about the daemon, gathered from its parts. */
import { readAdminToken } from './admin-token.ts'
import type { Config } from '../config/schema.ts'
import type { ConfigReload } from './config-reload.ts'
import type { Driver } from './listeners.ts'
import type { NameTables } from './name-tables.ts'
import type { DaemonSettings } from './settings.ts'
import { nameToWire } from '../dns/name.ts'
import type { HostEntry } from '../engine/settings.ts'
import { serverUses } from './engine-settings.ts'
import { explain } from './explanations.ts'
import type { RecentLog } from '../observe/log-ring.ts'
import type { QueryFeed } from '../querylog/query-feed.ts'
import { readSocketTables } from '../observe/socket-drops.ts'
import type { Listener, MeshState, ObserveSources } from '../observe/sources.ts'
import type { TableKeeper } from '../tables/table-keeper.ts'
import { type ComparedNames, HostsContradictions } from './hosts-contradictions.ts'
import { credentialProblems, savedTableProblems } from './problems.ts'
import { sourceText } from './table-origin.ts'
import { version } from '../version.ts'
import type { PluginFiles } from './plugin-files.ts'
import type { QueryLogging } from './query-logging.ts'
import type { OpenListener } from './listener-sockets.ts'
import type { Threads } from './threads.ts'

const PING_MS = 1000
const FLUSH_MS = 2000
const NO_HOSTS: readonly HostEntry[] = []

/** The parts of a daemon whose threads have started. The daemon owns them all. */
export interface DaemonParts {
  /** Unix time in ms. */
  startedAtMs: number
  driver: Driver
  config: ConfigReload
  settings: DaemonSettings
  listeners: readonly OpenListener[]
  threads: Threads
  /** What the data workers tell of their answers. */
  feed: QueryFeed
  queryLogging: QueryLogging
  /** Null where no plug-in is configured. */
  plugins: () => PluginFiles | null
  tables: NameTables
  recentLog: () => RecentLog
}

/** What the observer shows of a daemon that answers. */
export function observeSources(parts: DaemonParts): ObserveSources {
  const { config, listeners, settings, tables, threads } = parts
  const { workers } = threads
  const { keeper } = tables
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
    workerRestarts: () => threads.restarts,
    streamCounters: () => threads.streamCounters,
    plugins: () => parts.plugins()?.shown ?? [],
    serverLabels: () => settings.engine.servers.map(({ label }) => label),
    serverUses: () => serverUses(settings.engine, settings.looping),
    mesh: () => meshState(settings.config, tables),
    xds: () => tables.xds,
    xdsHistory: () => tables.xdsHistory,
    recentLog: parts.recentLog,
    credentials: () => tables.credentials,
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
    warnings: () => [...config.warnings, ...settings.warnings, ...tables.warnings],
    problems: () => [
      ...config.problems,
      ...tables.problems,
      ...settings.problems,
      ...credentialProblems(tables.credentials),
      ...parts.queryLogging.problems,
      ...(parts.plugins()?.problems ?? []),
      ...savedTableProblems(settings.config.mesh.lastKnownGood, keeper),
      ...contradictions.problems(namesOf(settings, keeper), Date.now()),
    ],
    reload: () => config.last,
    adminToken: () => readAdminToken(settings.config.admin.token),
    socketTables: readSocketTables,
  }
}

function namesOf({ config, engine }: DaemonSettings, keeper: TableKeeper): ComparedNames {
  const { source } = config.mesh
  const except = source.kind === 'xds' ? source.addresses.map(({ host }) => host) : []
  return { file: config.hostsFile, hosts: engine.hosts ?? NO_HOSTS, image: keeper.image, except }
}

function meshState(config: Config, { keeper, updates, compileDurations }: NameTables): MeshState {
  const { image } = keeper
  return {
    hosts: image?.hosts ?? 0,
    bytes: image?.byteLength ?? 0,
    version: image?.version ?? '',
    source: sourceText(config),
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
