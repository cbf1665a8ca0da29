/** Looks at the figures every few seconds for the last hour's charts, and tells whoever follows `/debug/events`. */
import type { Clock } from '../base/clock.ts'
import { EventStream } from '../http/event-stream.ts'
import type { Reply } from '../http/route.ts'
import type { RecentTraffic } from './health-summary.ts'
import { History, type HistoryColumns, type HistorySample, SAMPLE_MS } from './history.ts'
import type { ProcessUsage } from './process-usage.ts'
import { reasonAt, RecentFailures, type ServerFailure } from './recent-failures.ts'
import type { ObserveSources } from './sources.ts'
import { statusDetails } from './status-page.ts'
import type { StatusReport } from './status.ts'
import { type QueryFailure, type TopNames, TopNamesCollector } from './top-names.ts'
import { upstreamStatus } from './upstream-metrics.ts'

/** All that a page or `byname top` shows of a moment. */
export interface Overview {
  status: StatusReport
  /** The newest; null within the first seconds. */
  sample: HistorySample | null
  failures: {
    /** The newest first. */
    servers: readonly ServerFailure[]
    /** The newest first, each with what servers did at that time. None where no names are collected. */
    queries: (QueryFailure & { reason: string | null })[]
  }
  /** What else there is to say of the daemon, by name. */
  details: [name: string, value: string][]
  /** Null where no names are collected: `admin.topNames`. */
  top: TopNames | null
}

/** What it is made with. */
export interface LastHourOptions {
  sources: ObserveSources
  status: () => Promise<StatusReport>
  usage: () => ProcessUsage
  /** Its time never jumps. */
  clock: Clock
}

/** From `start` to `stop`. */
export class LastHour {
  readonly history: History
  readonly #options: LastHourOptions
  readonly #failures: RecentFailures = new RecentFailures()
  readonly #events: EventStream
  #names: TopNamesCollector | null = null
  #unsubscribe: (() => void) | null = null
  #cancel: (() => void) | null = null

  constructor(options: LastHourOptions) {
    const { sources, usage, clock } = options
    this.#options = options
    this.history = new History(sources, usage, () => clock.now())
    this.#events = new EventStream(clock)
    this.#failures.look(upstreamStatus(sources), sources.nowMs())
  }

  start(): void {
    this.#collect(this.#options.sources.collectsTopNames())
    this.#cancel ??= this.#options.clock.after(SAMPLE_MS, () => {
      this.#cancel = null
      this.start()
      this.#look()
      if (this.#events.size > 0) void this.#publish()
    })
  }

  stop(): void {
    this.#collect(false)
    this.#cancel?.()
    this.#cancel = null
  }

  async overview(): Promise<Overview> {
    this.#options.sources.samples.catchUp()
    const status = await this.#options.status()
    const { servers } = this.#failures
    const queries = (this.#names?.failures ?? []).map((each) => ({ ...each, reason: reasonAt(servers, each.atMs) }))
    return {
      status,
      sample: this.history.last(),
      failures: { servers, queries },
      details: statusDetails(status),
      top: this.#names?.read() ?? null,
    }
  }

  /** What the summary is to know of the last minute. */
  recentTraffic(): RecentTraffic | null {
    return this.history.recentTraffic(this.#names?.stormName() ?? null)
  }

  /** The overview and samples of the last `seconds`. */
  async overviewWith(seconds: number): Promise<Overview & { history: HistoryColumns }> {
    return { ...(await this.overview()), history: this.history.columns(Math.ceil((seconds * 1000) / SAMPLE_MS)) }
  }

  /** The reply of `/debug/events`: an event `overview` now, and one with every sample. */
  async follow(signal: AbortSignal): Promise<Reply> {
    return this.#events.reply([{ event: 'overview', data: await this.overview() }], signal)
  }

  /** Begins, or ends and forgets. */
  #collect(isWanted: boolean): void {
    if (isWanted === (this.#names !== null)) return
    this.#unsubscribe?.()
    const { sources } = this.#options
    const names = isWanted ? new TopNamesCollector(() => sources.searchDomains()) : null
    this.#names = names
    this.#unsubscribe = names === null ? null : sources.samples.subscribe((sample) => names.add(sample))
  }

  #look(): void {
    const { sources } = this.#options
    this.history.sample()
    this.#names?.fade(SAMPLE_MS / 1000)
    this.#failures.look(upstreamStatus(sources), sources.nowMs())
  }

  async #publish(): Promise<void> {
    try {
      this.#events.publish([{ event: 'overview', data: await this.overview() }])
    } catch {
      // A source that throws: who asks for the status is told; here the next look follows.
    }
  }
}
