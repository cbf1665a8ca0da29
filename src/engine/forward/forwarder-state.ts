/** What the parts of the forwarder share: who they work for, what is under way, and what is known of the servers. */
import type { Answer } from '../../dns/answer.ts'
import type { Source, WorkerCounters } from '../../stats/counters.ts'
import type { Cache } from '../cache/cache.ts'
import type { SearchStormsStage } from '../answers/search-storms.ts'
import type { ClientQuery } from '../client-query.ts'
import type { Attempts } from './attempts.ts'
import { InFlight, Purpose } from './in-flight.ts'
import type { FailureReason, Outlet } from '../outlet.ts'
import type { EngineSettings } from '../settings.ts'
import { TruncatedReplies } from './truncated-replies.ts'
import { UpstreamCookies } from './upstream-cookies.ts'
import type { Image } from '../../table/image.ts'
import { Upstreams } from './upstreams.ts'
import type { Waiters } from './waiters.ts'

/** Pending queries beside those of `maxInFlight`, so that probes find a place however small that is. */
const BACKGROUND_QUERIES = 32

/** What the forwarder needs from the engine around it. */
export interface ForwarderContext {
  readonly outlet: Outlet
  readonly counters: WorkerCounters
  readonly random: () => number
  readonly answer: Answer
  readonly cache: Cache | null
  readonly seed: number
  /** Table in use, null before the first, and how many there were. */
  readonly image: Image | null
  readonly tables: number
  readonly storms: SearchStormsStage
  readonly settings: EngineSettings
  now: number
  /** Ends a query whose reply stands at `outAt` of `out` (engine.ts); returns the reply's length, which may be another one. */
  complete(query: ClientQuery, source: Source, rcode: number, length: number, out: Uint8Array, outAt: number): number
  /** Writes an error reply to `query` and ends the query; returns its length. `source`: who failed; we, if not given. */
  writeError(query: ClientQuery, rcode: number, ede: number, out: Uint8Array, outAt: number, source?: Source): number
}

/** What the steps of a miss share. */
export class ForwarderState {
  readonly context: ForwarderContext
  readonly inFlight: InFlight
  readonly attempts: Attempts
  readonly waiters: Waiters
  readonly truncated: TruncatedReplies = new TruncatedReplies()
  settings: EngineSettings
  upstreams: Upstreams
  cookies: UpstreamCookies

  constructor(context: ForwarderContext, settings: EngineSettings) {
    this.context = context
    this.settings = settings
    this.inFlight = new InFlight(settings.maxInFlight, BACKGROUND_QUERIES)
    this.attempts = this.inFlight.attempts
    this.waiters = this.inFlight.waiters
    this.upstreams = new Upstreams(settings, context.counters, context.random)
    this.cookies = new UpstreamCookies(settings.servers, context.random)
  }

  /** Takes new settings; true if the servers are the same, under the same indices. */
  configure(settings: EngineSettings): boolean {
    const { counters, random } = this.context
    const before = this.upstreams
    this.settings = settings
    this.upstreams = new Upstreams(settings, counters, random, before)
    this.cookies = new UpstreamCookies(settings.servers, random, this.cookies)
    return this.upstreams.hasServersOf(before)
  }

  /** How long a query waits for a reply before the next server is asked. */
  attemptMs(p: number): number {
    const { attemptTimeoutMs, deadlineMs } = this.settings
    return Math.min(this.upstreams.routes[this.inFlight.route(p)]!.attemptTimeoutMs ?? attemptTimeoutMs, deadlineMs)
  }

  /** An attempt of a query at a server has failed; `isItsFault` as in `Upstreams.failed`. */
  noteFailure(p: number, server: number, reason: FailureReason, isItsFault: boolean): void {
    this.inFlight.setLastFailure(p, reason)
    // That a server does not know a name of our own making says nothing of it.
    if (this.inFlight.purpose(p) !== Purpose.LOOP_PROBE)
      this.upstreams.failed(server, reason, this.context.now, isItsFault)
  }
}
