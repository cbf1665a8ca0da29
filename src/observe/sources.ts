import type { ExplainResult } from '../explain/explain-request.ts'
import type { RequiredToken } from '../http/request-guard.ts'
import type { QuerySamples } from '../querylog/query-feed.ts'
import type { WorkerCounters } from '../stats/counters.ts'
import type { StreamCounters } from '../stats/stream-counters.ts'
import type { BucketCounts } from './bucket-counts.ts'
import type { RecentLog } from './log-ring.ts'

/** The name table, as far as people and metrics want to know. */
export interface MeshState {
  /** Hosts of the table in use; 0 before the first. */
  hosts: number
  /** Size of its image, in bytes. */
  bytes: number
  /** The version as the origin names it; '' before the first. */
  version: string
  /** Where it comes from, for people: `xds istiod.istio-system.svc:15012`, `file /etc/byname/table.json`, `none`. */
  source: string
  /** The table in use was read from disk at the start, and the origin has sent none since. */
  fromLastKnownGood: boolean
  /** Unix time in ms when a table was last accepted, equal ones included; null before the first. */
  updatedAtMs: number | null
  /** Hosts of the table in use that were left out: no name, or no usable address. */
  skippedHosts: number
  /** Tables received since start, by what became of them. */
  updates: { changed: number; unchanged: number; refused: number }
  /** Seconds each compilation took. Bounds: COMPILE_BOUNDS. */
  compileDurations: BucketCounts
}

/** What is needed of the xDS client's state. All of the object is shown as JSON, so it may say more, but no secrets. */
export interface XdsStateLike {
  connected: boolean
  /** Streams opened after the first. */
  reconnects: number
  /** Why there is no connection, and since when; null while there is one, and until the first attempt has failed. */
  away: { sinceMs: number; address: string; reason: string } | null
  /** The workload group that this machine is to be registered in, and whether it is; absent where none was asked for. */
  registration?: { group: string; isRegistered: boolean }
}

/** Something that happened between byname and the control plane. */
export interface XdsEvent {
  /** Unix time in ms. */
  atMs: number
  what: 'connected' | 'ended' | 'failed' | 'accepted' | 'refused'
  address: string
  /** Why a stream ended or a response was refused; the version accepted. */
  detail: string
  /** How often it happened in succession, for the same reason; `atMs` is the last time. */
  times: number
}

/** One thing that byname shows to the control plane, or verifies. */
export interface CredentialState {
  kind: 'root' | 'certificate' | 'token'
  /** File, or where else it comes from. */
  from: string
  /** Unix time in ms; null if it does not say. */
  expiresAtMs: number | null
  /** Unix time in ms; absent or null if it does not say. */
  issuedAtMs?: number | null
  /** What is wrong with it, in one phrase, and since when (Unix time in ms); null: nothing. */
  problem: string | null
  problemSinceMs: number | null
  /** Whether the connection depends on it. */
  isNeeded: boolean
}

/** What a problem may be about: the `about` label of byname_problems. */
export const PROBLEM_SUBJECTS = [
  'configuration',
  'control_plane',
  'credentials',
  'mesh_files',
  'table_file',
  'resolv_conf',
  'hosts_file',
  'rules',
  'root_certificates',
  'last_known_good',
  'admin_token',
  'query_log',
  'plugins',
] as const

/** What became of a reading of the configuration after the start. */
export interface Reload {
  /** Of readings so far. */
  count: number
  /** Unix time in ms. */
  atMs: number
  /** Why it was refused as a whole, one line each; none if it is in use. */
  problems: readonly string[]
  /** Since when each reading was refused; null if it is in use. */
  refusedSinceMs: number | null
  /** Keys whose new values need a new process. */
  fixedKeys: readonly string[]
}

/** Something that is wrong now. byname continues with what it has. */
export interface Problem {
  about: (typeof PROBLEM_SUBJECTS)[number]
  /** What is wrong, and with which file or server, in one line. */
  text: string
  /** Unix time in ms. */
  sinceMs: number
}

/** A name that was matched, for people. */
export interface MatchedName {
  rule: string
  /** What was, or would have been, done. */
  what: string
  name: string
  type: string
  client: string
  /** Matches that were told of: not all are where there are many. */
  times: number
  /** When the last one was. */
  at: string
}

/** Rules, as far as people and metrics want to know. */
export interface RulesState {
  /** Names of all rules, those of files included, and bytes that they take. */
  names: number
  bytes: number
  rules: readonly {
    /** Its id, or where it stands in the configuration. */
    rule: string
    action: string
    /** What it looks at. */
    matches: string
    /** Names of its file; 0 where it has none. */
    fileNames: number
    /** Queries that matched it. */
    queries: number
  }[]
  /** What becomes of names outside the mesh that no rule is about; null: they are answered as without rules. */
  egress: { deny: string; isAudit: boolean; queries: number } | null
  /** Names that rules logged, or would have denied, the last ones first. */
  recent: readonly MatchedName[]
}

/** A bound socket of a listener. */
export interface Listener {
  proto: 'udp' | 'tcp'
  /** Literal address without brackets. */
  address: string
  port: number
}

/** Hosts of the name table that were searched for. */
export interface FoundHosts {
  /** Hosts of the table. */
  hosts: number
  /** Hosts that match. */
  found: number
  /** Those of them that were asked for. */
  shown: readonly {
    host: string
    ips: readonly string[]
    registry: string
    namespace: string
    shortname: string
  }[]
}

/** What an upstream server is used for. */
export interface ServerUse {
  /** Domains whose names are asked of it, `.` for all that no other route takes. */
  routes: readonly string[]
  /** It was found to forward to byname, and is asked no more. */
  isLoop: boolean
}

/**
 * Everything that is observed, as the daemon provides it. Plain values never change; functions are called at every
 * scrape or request, must be quick, and return what they own: nobody here writes to it. One that throws costs only
 * what depended on it.
 */
export interface ObserveSources {
  /** byname's own version. */
  version: string
  pid: number
  /** Unix time in ms. */
  startedAtMs: number
  /** Unix time in ms. */
  nowMs(): number
  /** Driver that the data workers run, and why that one. */
  driver(): { name: string; why: string }
  listeners(): readonly Listener[]
  /** One per data worker; a restarted worker goes on counting in the same buffer. */
  counters(): readonly WorkerCounters[]
  /** Times that a data or stream worker died and was started again. */
  workerRestarts(): number
  /** The stream worker's; null without one. A restarted one goes on counting in the same buffer. */
  streamCounters(): StreamCounters | null
  /** Plug-ins in their order, as their counters know them; whether they are asked; and the names of their own counters by number. */
  plugins(): readonly { name: string; isOn: boolean; counters: ReadonlyMap<number, string> }[]
  /** Labels of the upstream servers, by their index in the counters. */
  serverLabels(): readonly string[]
  /** What each of them is used for, in the same order. */
  serverUses(): readonly ServerUse[]
  mesh(): MeshState
  /** Null where the table does not come over xDS. */
  xds(): XdsStateLike | null
  /** What happened last between byname and the control plane, the oldest first; empty where there is none. */
  xdsHistory(): readonly XdsEvent[]
  /** The last lines of the log. */
  recentLog(): RecentLog
  /** What is shown to the control plane and verified; empty where nothing is. */
  credentials(): readonly CredentialState[]
  /** The name table as proto3 JSON, in pieces, so that a big one is never held as a whole. */
  tableJson(): Iterable<string>
  /** Hosts with `text` in a name of theirs, or with the address `text`: at most `limit` of them from `offset` on. */
  searchHosts(text: string, offset: number, limit: number): FoundHosts
  /** The configuration in use. Secrets are redacted here (redact.ts). */
  config(): unknown
  /** Whether a table has arrived and sockets are bound; `missing` says what is not, for people. */
  ready(): { ready: boolean; missing: readonly string[] }
  /** The rules in use, in their order, and what they did so far. */
  rules(): RulesState
  /** Asks every data worker for a sign of life: by index, true if it answered within the deadline. */
  ping(deadlineMs: number): Promise<readonly boolean[]>
  /** Removes a name (presentation format, every type), or null for all, from every worker's cache. Returns entries removed. */
  flush(name: string | null): Promise<number>
  /** Why a name gets its answer: explain-request.ts says what may be asked. Rejects if no worker answers. */
  explain(query: URLSearchParams): Promise<ExplainResult>
  /** Answers as they are given, sampled; whoever subscribes gets them from all data workers. */
  samples: QuerySamples
  /** Whether names may be collected from them. */
  collectsTopNames(): boolean
  /** Search domains of the resolv.conf in use, without dots at the ends. */
  searchDomains(): readonly string[]
  /**
   * Answers that the query log has handed to its output, and those that it lacks: `ringFull`, neither it nor the samples had
   * them; `output`, they could not be written.
   */
  queryLog(): { entries: number; ringFull: number; output: number }
  /** What an operator should know and do something about, a sentence each: about settings, not about what happens now. */
  warnings(): readonly string[]
  /** What is wrong now. */
  problems(): readonly Problem[]
  /** The last reading of the configuration after the start; null before the first. */
  reload(): Reload | null
  /** The token that requests to the admin endpoint must bring; null where none is configured. Asked at every request. */
  adminToken(): RequiredToken | null
  /** Texts of /proc/self/net/udp and udp6 (socket-drops.ts reads them), nothing where there are none. */
  socketTables(): Promise<readonly string[]>
}
