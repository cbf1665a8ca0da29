/**
 * The last hour in figures, read every few seconds from what the workers count anyway: for charts and `byname top`. A ring
 * of 32-bit floats: 75 KB, and 12 KB for each upstream server.
 */
import { Cell, DROP_REASONS, DURATION_BOUNDS, RCODES, SOURCES, type WorkerCounters } from '../stats/counters.ts'
import type { RecentTraffic } from './health-summary.ts'
import { sumOf } from './metric-definition.ts'
import { percentile } from './percentile.ts'
import type { ProcessUsage } from './process-usage.ts'
import type { ObserveSources } from './sources.ts'
import { type UpstreamStatus, upstreamStatus } from './upstream-metrics.ts'

/** Time between two samples. */
export const SAMPLE_MS = 5000
/** An hour. */
export const MOST_SAMPLES = 720

/**
 * Figures of a sample, units in their names. `…PerSecond` is what happened since the sample before. A figure is NaN, outside
 * null, where there was nothing that it could be of.
 */
const FIGURES = [
  'queriesPerSecond',
  // Replies, by who answered.
  'meshPerSecond',
  'cachePerSecond',
  'stalePerSecond',
  'upstreamPerSecond',
  'localPerSecond',
  // Replies, by rcode.
  'noerrorPerSecond',
  'nxdomainPerSecond',
  'servfailPerSecond',
  'refusedPerSecond',
  'otherRcodesPerSecond',
  /** Of the look-ups in the cache, 0…1. */
  'cacheHitRatio',
  // Time from query to reply.
  'p50Ms',
  'p90Ms',
  'p99Ms',
  'droppedPerSecond',
  'pendingQueries',
  'cacheEntries',
  'tableHosts',
  'tableBytes',
  /** Since a table was last accepted. */
  'tableAgeSeconds',
  'rssBytes',
  /** Memory that is the process's alone. */
  'anonymousBytes',
  /** CPU time over time: 1 is one core. */
  'cpuRatio',
] as const
/** Name of a figure. */
export type Figure = (typeof FIGURES)[number]

/** Figures of one upstream server in a sample; `isHealthy` is 1 or 0. */
const SERVER_FIGURES = ['rttMs', 'isHealthy', 'queriesPerSecond', 'failuresPerSecond'] as const
type ServerFigure = (typeof SERVER_FIGURES)[number]

/** One sample. */
export interface HistorySample {
  /** Unix time in ms. */
  time: number
  figures: Record<Figure, number | null>
  servers: ({ label: string } & Record<ServerFigure, number | null>)[]
}

/** Samples figure by figure, the oldest first; every list is as long as `times`. */
export interface HistoryColumns {
  /** Between two samples, unless the process was held up. */
  intervalMs: number
  /** Unix time in ms. */
  times: number[]
  figures: Record<Figure, (number | null)[]>
  servers: ({ label: string } & Record<ServerFigure, (number | null)[]>)[]
}

/** What is read for a sample. */
export type HistorySources = Pick<ObserveSources, 'counters' | 'mesh' | 'nowMs' | 'serverLabels' | 'serverUses'>

/** What was counted up to a moment. A sample shows the differences. */
interface Totals {
  steadyMs: number
  queries: number
  sources: Float64Array
  rcodes: Float64Array
  durations: Float64Array
  lookUps: number
  hits: number
  drops: number
  cpuSeconds: number
  servers: Map<string, { queries: number; failures: number }>
}

/** Rcodes with a figure of their own. */
const SHOWN_RCODES: readonly number[] = ['NOERROR', 'NXDOMAIN', 'SERVFAIL', 'REFUSED'].map((name) =>
  RCODES.indexOf(name),
)

/** Replies by rcode: together all of them. */
const REPLIES: readonly Figure[] = FIGURES.filter((figure) =>
  /^(?:noerror|nxdomain|servfail|refused|otherRcodes)PerSecond$/.test(figure),
)
const RECENT_SAMPLES = 60_000 / SAMPLE_MS

/** The ring. Its owner says when to take a sample. */
export class History {
  readonly #sources: HistorySources
  readonly #usage: () => ProcessUsage
  readonly #steadyMs: () => number
  readonly #times: Float64Array = new Float64Array(MOST_SAMPLES)
  readonly #figures: Record<Figure, Float32Array> = ring(FIGURES)
  /** Of the servers in use, by label. */
  readonly #servers: Map<string, Record<ServerFigure, Float32Array>> = new Map()
  #before: Totals
  #taken = 0

  /** `steadyMs`: time that never jumps. */
  constructor(sources: HistorySources, usage: () => ProcessUsage, steadyMs: () => number) {
    this.#sources = sources
    this.#usage = usage
    this.#steadyMs = steadyMs
    this.#before = totalsOf(sources, upstreamStatus(sources), usage(), steadyMs())
  }

  /** Takes a sample of what happened since the last one. */
  sample(): void {
    const sources = this.#sources
    const usage = this.#usage()
    const upstreams = upstreamStatus(sources)
    const before = this.#before
    const now = totalsOf(sources, upstreams, usage, this.#steadyMs())
    const seconds = (now.steadyMs - before.steadyMs) / 1000
    if (seconds <= 0) return
    this.#before = now
    const at = this.#taken++ % MOST_SAMPLES
    this.#times[at] = sources.nowMs()
    const figures = { ...ratesOf(now, before, seconds), ...gaugesOf(sources, usage) }
    for (const figure of FIGURES) this.#figures[figure][at] = figures[figure]
    for (const label of this.#servers.keys()) if (!now.servers.has(label)) this.#servers.delete(label)
    for (const server of upstreams) this.#setServer(at, server, now, before, seconds)
  }

  #setServer(at: number, server: UpstreamStatus, now: Totals, before: Totals, seconds: number): void {
    const { label, rttMs, healthy, isLoop } = server
    const figures = this.#servers.get(label) ?? ring(SERVER_FIGURES)
    this.#servers.set(label, figures)
    const { queries, failures } = now.servers.get(label)!
    const earlier = before.servers.get(label) ?? { queries: 0, failures: 0 }
    figures.rttMs[at] = rttMs ?? NaN
    figures.isHealthy[at] = (healthy || queries === 0) && !isLoop ? 1 : 0
    figures.queriesPerSecond[at] = grown(queries, earlier.queries) / seconds
    figures.failuresPerSecond[at] = grown(failures, earlier.failures) / seconds
  }

  /** The newest sample; null before the first. */
  last(): HistorySample | null {
    const { times, figures, servers } = this.columns(1)
    if (times.length === 0) return null
    return {
      time: times[0]!,
      figures: mapped(FIGURES, (figure) => figures[figure][0]!),
      servers: servers.map((server) => ({
        label: server.label,
        ...mapped(SERVER_FIGURES, (figure) => server[figure][0]!),
      })),
    }
  }

  /** Replies of the last minute; null before that. `searchedName` is passed on. */
  recentTraffic(searchedName: string | null = null): RecentTraffic | null {
    if (this.#taken < RECENT_SAMPLES) return null
    const { figures } = this.columns(RECENT_SAMPLES)
    const mean = (figure: Figure): number =>
      figures[figure].reduce<number>((sum, value) => sum + (value ?? 0), 0) / RECENT_SAMPLES
    const repliesPerSecond = total(REPLIES.map(mean))
    const ratio = (figure: Figure): number => (repliesPerSecond > 0 ? mean(figure) / repliesPerSecond : 0)
    return {
      repliesPerSecond,
      servfailRatio: ratio('servfailPerSecond'),
      nxdomainRatio: ratio('nxdomainPerSecond'),
      searchedName,
    }
  }

  /** The newest `most` samples. */
  columns(most: number = MOST_SAMPLES): HistoryColumns {
    const count = Math.min(most, this.#taken, MOST_SAMPLES)
    const places = Array.from({ length: count }, (_, n) => (this.#taken - count + n) % MOST_SAMPLES)
    const column = (values: Float32Array): (number | null)[] => places.map((at) => shown(values[at]!))
    return {
      intervalMs: SAMPLE_MS,
      times: places.map((at) => Math.round(this.#times[at]!)),
      figures: mapped(FIGURES, (figure) => column(this.#figures[figure])),
      servers: [...this.#servers].map(([label, figures]) => ({
        label,
        ...mapped(SERVER_FIGURES, (figure) => column(figures[figure])),
      })),
    }
  }
}

function totalsOf(
  { counters: read }: HistorySources,
  upstreams: readonly UpstreamStatus[],
  { cpuSeconds }: ProcessUsage,
  steadyMs: number,
): Totals {
  const totals: Totals = {
    steadyMs,
    cpuSeconds,
    queries: 0,
    sources: new Float64Array(SOURCES.length),
    rcodes: new Float64Array(RCODES.length),
    durations: new Float64Array(DURATION_BOUNDS.length + 1),
    lookUps: 0,
    hits: 0,
    drops: 0,
    servers: new Map(
      upstreams.map(({ label, requests, failures }) => [
        label,
        { queries: total(Object.values(requests)), failures: total(Object.values(failures)) },
      ]),
    ),
  }
  for (const worker of read()) addWorker(totals, worker)
  return totals
}

/** Loops, not closures: it is done every few seconds for ever. */
function addWorker(totals: Totals, worker: WorkerCounters): void {
  const { sources, rcodes, durations } = totals
  totals.queries += worker.requests
  totals.lookUps += worker.get(Cell.cacheRequests)
  totals.hits +=
    worker.get(Cell.cacheHitsPositive) + worker.get(Cell.cacheHitsNegative) + worker.get(Cell.cacheHitsStale)
  for (let reason = 0; reason < DROP_REASONS.length; reason++) totals.drops += worker.droppedOf(reason)
  for (let source = 0; source < sources.length; source++) {
    for (let rcode = 0; rcode < rcodes.length; rcode++) {
      const count = worker.responsesOf(source, rcode)
      sources[source]! += count
      rcodes[rcode]! += count
    }
    const buckets = worker.durationsOf(source)
    for (let bucket = 0; bucket < durations.length; bucket++) durations[bucket]! += buckets[bucket]!
  }
}

function ratesOf(now: Totals, before: Totals, seconds: number): Record<Rate, number> {
  const rate = (after: number, earlier: number): number => grown(after, earlier) / seconds
  const source = (slot: number): number => rate(now.sources[slot]!, before.sources[slot]!)
  const rcode = (slot: number): number => rate(now.rcodes[slot]!, before.rcodes[slot]!)
  const replies = rate(sumOfAll(now.rcodes), sumOfAll(before.rcodes))
  const [noerror, nxdomain, servfail, refused] = SHOWN_RCODES.map(rcode)
  const lookUps = grown(now.lookUps, before.lookUps)
  const durations = now.durations.map((count, bucket) => grown(count, before.durations[bucket]!))
  const durationMs = (share: number): number => percentile(durations, DURATION_BOUNDS, share) * 1000
  return {
    queriesPerSecond: rate(now.queries, before.queries),
    meshPerSecond: source(0),
    cachePerSecond: source(1),
    stalePerSecond: source(2),
    upstreamPerSecond: source(3),
    localPerSecond: source(4),
    noerrorPerSecond: noerror!,
    nxdomainPerSecond: nxdomain!,
    servfailPerSecond: servfail!,
    refusedPerSecond: refused!,
    otherRcodesPerSecond: Math.max(0, replies - noerror! - nxdomain! - servfail! - refused!),
    // A worker may have counted the hit and not yet the look-up.
    cacheHitRatio: lookUps > 0 ? Math.min(1, grown(now.hits, before.hits) / lookUps) : NaN,
    p50Ms: durationMs(0.5),
    p90Ms: durationMs(0.9),
    p99Ms: durationMs(0.99),
    droppedPerSecond: rate(now.drops, before.drops),
    cpuRatio: rate(now.cpuSeconds, before.cpuSeconds),
  }
}

type Gauge = (typeof GAUGES)[number]
type Rate = Exclude<Figure, Gauge>
const GAUGES = [
  'pendingQueries',
  'cacheEntries',
  'tableHosts',
  'tableBytes',
  'tableAgeSeconds',
  'rssBytes',
  'anonymousBytes',
] as const

function gaugesOf({ counters, mesh: readMesh, nowMs }: HistorySources, usage: ProcessUsage): Record<Gauge, number> {
  const workers: readonly WorkerCounters[] = counters()
  const mesh = readMesh()
  return {
    pendingQueries: sumOf(workers, (worker) => worker.get(Cell.inFlight)),
    cacheEntries: sumOf(workers, (worker) => worker.get(Cell.cacheEntries)),
    tableHosts: mesh.hosts,
    tableBytes: mesh.bytes,
    tableAgeSeconds: mesh.updatedAtMs === null ? NaN : Math.max(0, nowMs() - mesh.updatedAtMs) / 1000,
    rssBytes: usage.rssBytes,
    anonymousBytes: usage.anonymousBytes ?? NaN,
  }
}

/** What was counted meanwhile. A counter that went back was cleared: its place was given to another server. */
function grown(after: number, before: number): number {
  return after >= before ? after - before : after
}

function sumOfAll(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0)
}

function ring<F extends string>(figures: readonly F[]): Record<F, Float32Array> {
  return mapped(figures, () => new Float32Array(MOST_SAMPLES).fill(NaN))
}

function mapped<F extends string, T>(figures: readonly F[], value: (figure: F) => T): Record<F, T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.fromEntries forgets which keys there are.
  return Object.fromEntries(figures.map((figure) => [figure, value(figure)])) as Record<F, T>
}

/** As JSON shows it: four digits tell enough, of what is below 1000. */
function shown(value: number): number | null {
  if (Number.isNaN(value)) return null
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4))
}
