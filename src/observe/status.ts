import { Cell, DROP_REASONS, RCODES, SOURCES, type WorkerCounters } from '../stats/counters.ts'
import { receiveBufferBytes } from './dns-metrics.ts'
import { healthSummary, type HealthSummary, type RecentTraffic } from './health-summary.ts'
import { sumOf } from './metric-definition.ts'
import type { CredentialState, Listener, ObserveSources, Problem, Reload, XdsStateLike } from './sources.ts'
import { type UpstreamStatus, upstreamStatus } from './upstream-metrics.ts'

/** The answer cache, all workers together. */
export interface CacheStatus {
  entries: number
  bytes: number
  requests: number
  /** Of every kind. */
  hits: number
  positiveHits: number
  negativeHits: number
  staleHits: number
  misses: number
  /** Hits over look-ups, 0…1; null before the first look-up. */
  hitRatio: number | null
  evictions: number
  prefetches: number
}

/** What `byname status` and /debug/status show. */
export interface StatusReport {
  version: string
  pid: number
  /** ISO 8601. */
  startedAt: string
  uptimeSeconds: number
  ready: boolean
  /** What readiness waits for. */
  missing: readonly string[]
  driver: { name: string; why: string }
  listeners: readonly Listener[]
  workers: { count: number; restarts: number }
  /** Queries received. */
  requests: number
  /** Replies sent, by who answered: mesh, cache, stale, upstream, local. */
  responses: Record<string, number>
  table: {
    hosts: number
    bytes: number
    version: string
    source: string
    fromLastKnownGood: boolean
    /** Since a table was last accepted; null before the first. */
    ageSeconds: number | null
    skippedHosts: number
    updates: { changed: number; unchanged: number; refused: number }
  }
  /** Null where the table does not come over xDS. */
  xds: XdsStateLike | null
  credentials: CredentialStatus[]
  cache: CacheStatus
  /** Null where there are none. */
  rules: RulesStatus | null
  upstreams: UpstreamStatus[]
  /** Packets that got no reply, by reason; reasons that never occurred are left out. */
  drops: Record<string, number>
  /** Datagrams that the kernel threw away, as of the last scrape or report. */
  socketDrops: number
  /** Smallest that the kernel granted to a listener; 0 if unknown. */
  receiveBufferBytes: number
  warnings: string[]
  /** What is wrong now. */
  problems: ProblemStatus[]
  /** The last reading of the configuration after the start; null before the first. */
  reload: Reload | null
  /** All of it in one sentence. */
  health: HealthSummary
}

/** Rules, in sum; /debug/rules has each. */
export interface RulesStatus {
  count: number
  /** Those of files included, and bytes that they take. */
  names: number
  bytes: number
  /** Queries that rules matched, and those that no rule allows. */
  matches: number
  notAllowed: number
  /** What becomes of the latter: `allow`, `audit`, `nxdomain` or `nodata`. */
  egress: string
}

/** A credential towards the control plane. */
export interface CredentialStatus {
  kind: CredentialState['kind']
  from: string
  /** ISO 8601; null if it does not say. */
  expires: string | null
  /** Negative once it has expired. */
  secondsLeft: number | null
  problem: string | null
  isNeeded: boolean
  /** It is nearer to its end than one that is renewed in time ever comes: a day, less for short lives; or past it. */
  isEndingSoon: boolean
}

/** One that is renewed at the latest when an eighth of its life is left is never ending soon. */
const ENDING_SOON_MS = 86_400_000
const ENDING_SOON_PART = 1 / 8

/** A problem, and how long there has been one. */
export interface ProblemStatus {
  about: Problem['about']
  text: string
  /** ISO 8601. */
  since: string
  forSeconds: number
}

/**
 * Puts the report together. Throws what a source throws. `socketDrops`: datagrams the kernel dropped so far; `recent`: what
 * the summary is to know of the last minute.
 */
export function statusReport(
  sources: ObserveSources,
  socketDrops: number,
  recent: RecentTraffic | null = null,
): StatusReport {
  const now = sources.nowMs()
  const counters = sources.counters()
  const mesh = sources.mesh()
  const { ready, missing } = sources.ready()
  const upstreams = upstreamStatus(sources)
  const drops = DROP_REASONS.map(
    (reason, slot) => [reason, sumOf(counters, (worker) => worker.droppedOf(slot))] as const,
  )
  const report = {
    version: sources.version,
    pid: sources.pid,
    startedAt: new Date(sources.startedAtMs).toISOString(),
    uptimeSeconds: secondsBetween(sources.startedAtMs, now),
    ready,
    missing,
    driver: sources.driver(),
    listeners: sources.listeners(),
    workers: { count: counters.length, restarts: sources.workerRestarts() },
    requests: sumOf(counters, ({ requests }) => requests),
    responses: Object.fromEntries(
      SOURCES.map((source, slot) => [source, sumOf(counters, (worker) => responsesOf(worker, slot))]),
    ),
    table: {
      hosts: mesh.hosts,
      bytes: mesh.bytes,
      version: mesh.version,
      source: mesh.source,
      fromLastKnownGood: mesh.fromLastKnownGood,
      ageSeconds: mesh.updatedAtMs === null ? null : secondsBetween(mesh.updatedAtMs, now),
      skippedHosts: mesh.skippedHosts,
      updates: mesh.updates,
    },
    xds: sources.xds(),
    credentials: credentialStatus(sources),
    cache: cacheStatus(sources),
    rules: rulesStatus(sources),
    upstreams,
    drops: Object.fromEntries(drops.filter(([, count]) => count > 0)),
    socketDrops,
    receiveBufferBytes: receiveBufferBytes(counters),
    warnings: [...sources.warnings(), ...ownWarnings(mesh, upstreams, socketDrops)],
    problems: problemStatus(sources),
    reload: sources.reload(),
  }
  return { ...report, health: healthSummary(report, recent) }
}

function responsesOf(worker: WorkerCounters, source: number): number {
  return RCODES.reduce((sum, _, rcode) => sum + worker.responsesOf(source, rcode), 0)
}

/** The credentials of this moment. */
export function credentialStatus(sources: Pick<ObserveSources, 'credentials' | 'nowMs'>): CredentialStatus[] {
  const now = sources.nowMs()
  return sources.credentials().map(({ kind, from, issuedAtMs = null, expiresAtMs, problem, isNeeded }) => ({
    kind,
    from,
    expires: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
    secondsLeft: expiresAtMs === null ? null : (expiresAtMs - now) / 1000,
    problem,
    isNeeded,
    isEndingSoon: expiresAtMs !== null && expiresAtMs - now <= endingSoonMs(expiresAtMs - (issuedAtMs ?? -Infinity)),
  }))
}

/** So long before its end a credential with a life of `lifeMs` is ending soon. */
function endingSoonMs(lifeMs: number): number {
  return Math.min(ENDING_SOON_MS, Math.max(0, lifeMs) * ENDING_SOON_PART)
}

/** The problems of this moment. */
export function problemStatus(sources: Pick<ObserveSources, 'problems' | 'nowMs'>): ProblemStatus[] {
  return sources.problems().map(({ about, text, sinceMs }) => ({
    about,
    text,
    since: new Date(sinceMs).toISOString(),
    forSeconds: secondsBetween(sinceMs, sources.nowMs()),
  }))
}

/** The cache's part of the report. */
export function cacheStatus(sources: Pick<ObserveSources, 'counters'>): CacheStatus {
  const counters = sources.counters()
  const cell = (index: number): number => sumOf(counters, (worker) => worker.get(index))
  const requests = cell(Cell.cacheRequests)
  const positiveHits = cell(Cell.cacheHitsPositive)
  const negativeHits = cell(Cell.cacheHitsNegative)
  const staleHits = cell(Cell.cacheHitsStale)
  const hits = positiveHits + negativeHits + staleHits
  return {
    entries: cell(Cell.cacheEntries),
    bytes: cell(Cell.cacheBytes),
    requests,
    hits,
    positiveHits,
    negativeHits,
    staleHits,
    // A worker may have counted the hit and not yet the look-up.
    misses: Math.max(0, requests - hits),
    hitRatio: requests > 0 ? Math.min(1, hits / requests) : null,
    evictions: cell(Cell.cacheEvictions),
    prefetches: cell(Cell.cachePrefetches),
  }
}

function rulesStatus(sources: Pick<ObserveSources, 'rules'>): RulesStatus | null {
  const { bytes, egress, names, rules } = sources.rules()
  if (rules.length === 0 && egress === null) return null
  return {
    count: rules.length,
    names,
    bytes,
    matches: rules.reduce((sum, { queries }) => sum + queries, 0),
    notAllowed: egress?.queries ?? 0,
    egress: egress === null ? 'allow' : egress.isAudit ? 'audit' : egress.deny,
  }
}

/** Warnings that the figures themselves call for. */
function ownWarnings(
  mesh: { fromLastKnownGood: boolean; skippedHosts: number },
  upstreams: readonly UpstreamStatus[],
  socketDrops: number,
): string[] {
  const warnings: string[] = []
  if (mesh.fromLastKnownGood) warnings.push('mesh answers come from the table kept on disk: no source has sent one yet')
  if (mesh.skippedHosts > 0) {
    warnings.push(`${mesh.skippedHosts} hosts of the name table were left out: no valid name or no valid address`)
  }
  for (const { label, healthy, requests } of upstreams) {
    if (!healthy && Object.keys(requests).length > 0) warnings.push(`upstream server ${label} keeps failing`)
  }
  if (socketDrops > 0) {
    warnings.push(`the kernel dropped ${socketDrops} datagrams before byname could read them: raise net.core.rmem_max`)
  }
  return warnings
}

function secondsBetween(fromMs: number, toMs: number): number {
  return Math.max(0, Math.round((toMs - fromMs) / 1000))
}
