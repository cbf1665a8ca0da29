/**
 * Says in the log when an upstream server goes bad and when it is well again. The engines know, in their own threads;
 * what they count in shared memory is looked at every second while servers are asked, so that no query waits for a line.
 */
import type { EngineSettings } from '../engine/settings.ts'
import type { Log } from '../base/log.ts'
import { DURATION_BOUNDS, UpstreamField, type WorkerCounters } from '../stats/counters.ts'

/** Lines about one server in a minute; further changes are counted and said in one line at its end. */
const MAX_LINES = 4
const WINDOW_MS = 60_000

/** Queries to a server, by transport. */
export const REQUEST_FIELDS: readonly number[] = [
  UpstreamField.requestsUdp,
  UpstreamField.requestsTcp,
  UpstreamField.requestsTls,
  UpstreamField.requestsHttps,
]

/** What a failure is called, for one and for several. */
const FAILURES: readonly (readonly [field: number, one: string, several: string])[] = [
  [UpstreamField.failuresTimeout, 'timeout', 'timeouts'],
  [UpstreamField.failuresNetwork, 'network error', 'network errors'],
  [UpstreamField.failuresTls, 'TLS error', 'TLS errors'],
  [UpstreamField.failuresRefused, 'REFUSED', 'REFUSED'],
  [UpstreamField.failuresServfail, 'SERVFAIL', 'SERVFAIL'],
  [UpstreamField.failuresFormerr, 'FORMERR', 'FORMERR'],
  [UpstreamField.failuresMalformed, 'malformed reply', 'malformed replies'],
  [UpstreamField.failuresTruncated, 'truncated reply', 'truncated replies'],
]

interface Known {
  isDown: boolean
  /** When it last turned, on the clock of `look`. */
  sinceMs: number
  /** Failures of each kind by then. */
  failures: readonly number[]
  /** Replies of the servers that stand in for it, by then. */
  replies: number
  windowMs: number
  /** Turns in this window. */
  turns: number
}

/** Follows the health of the servers from look to look. */
export class UpstreamHealth {
  readonly #log: Log
  #labels = ''
  readonly #known: Map<string, Known> = new Map()

  constructor(log: Log) {
    this.#log = log
  }

  /**
   * Compares with the last look. `workers`: the counters of each; `nowMs`: of a clock that never jumps. Returns whether a server
   * has begun to fail since.
   */
  look({ servers, routes }: EngineSettings, workers: readonly WorkerCounters[], nowMs: number): boolean {
    const labels = servers.map(({ label }) => label).join(' ')
    if (labels !== this.#labels) {
      // The workers may not have these servers yet: their counters may still be those of others.
      this.#labels = labels
      for (const label of this.#known.keys())
        if (!servers.some((each) => each.label === label)) this.#known.delete(label)
      return false
    }
    let hasBegun = false
    for (const [index, { label }] of servers.entries()) {
      const failures = FAILURES.map(([field]) => sumOf(workers, index, field))
      // A worker that has not asked it knows nothing of it.
      const asking = workers.filter((counters) =>
        REQUEST_FIELDS.some((field) => counters.upstreamGet(index, field) > 0),
      )
      const isDown =
        asking.length > 0 && asking.every((counters) => counters.upstreamGet(index, UpstreamField.healthy) === 0)
      const hasOthers = routes.every((route) => !route.servers.includes(index) || route.servers.length > 1)
      const wasDown = this.#known.get(label)?.isDown === true
      const replies = standIns(index, routes).reduce((sum, other) => sum + repliesOf(workers, other), 0)
      this.#compare(label, isDown, { failures, replies, hasOthers }, nowMs)
      hasBegun ||= isDown && !wasDown
    }
    return hasBegun
  }

  #compare(label: string, isDown: boolean, seen: Seen, nowMs: number): void {
    const { failures, replies, hasOthers } = seen
    const known = this.#known.get(label)
    if (known === undefined) {
      const none = failures.map(() => 0)
      const since = { sinceMs: nowMs, failures: isDown ? none : failures, replies }
      this.#known.set(label, { isDown: false, ...since, windowMs: nowMs, turns: 0 })
      if (isDown) this.#compare(label, isDown, seen, nowMs)
      return
    }
    if (nowMs - known.windowMs >= WINDOW_MS) this.#beginWindow(label, known, nowMs)
    if (isDown === known.isDown) {
      // What went wrong one by one while it was well says nothing of why it goes bad.
      if (!isDown) known.failures = failures
      return
    }
    const before = known.failures
    const answered = replies - known.replies
    const seconds = Math.round((nowMs - known.sinceMs) / 1000)
    known.isDown = isDown
    known.sinceMs = nowMs
    known.failures = failures
    known.replies = replies
    if (++known.turns > MAX_LINES) return
    const why = describe(failures, before)
    const folded = known.turns === MAX_LINES ? '; it changes often: further changes of this minute are one line' : ''
    if (isDown) {
      const meanwhile = hasOthers
        ? 'others are asked first until it answers again'
        : 'there is no other for its names, so it is still asked'
      this.#log.warn({ server: label, failures: why }, `upstream server ${label} fails: ${why}; ${meanwhile}${folded}`)
    } else {
      const others = `others were asked first${answered > 0 ? `, and answered ${queries(answered)}` : ''}`
      const meanwhile = hasOthers ? others : 'there was no other for its names'
      this.#log.info(
        { server: label, seconds, failures: why, answeredByOthers: answered },
        `upstream server ${label} answers again after ${seconds} s: ${why} meanwhile; ${meanwhile}${folded}`,
      )
    }
  }

  #beginWindow(label: string, known: Known, nowMs: number): void {
    if (known.turns > MAX_LINES) {
      const state = known.isDown ? 'fails' : 'answers'
      this.#log.warn(
        { server: label, changes: known.turns },
        `upstream server ${label} began or ceased to fail ${known.turns} times in a minute; it ${state} now`,
      )
    }
    known.windowMs = nowMs
    known.turns = 0
  }
}

/** What a look shows of one server. */
interface Seen {
  /** Of each kind, since the start. */
  failures: readonly number[]
  /** Of the servers that stand in for it, since the start. */
  replies: number
  hasOthers: boolean
}

/** Servers that share a route with it. */
function standIns(server: number, routes: EngineSettings['routes']): number[] {
  const others = routes.flatMap(({ servers }) => (servers.includes(server) ? servers : []))
  return [...new Set(others)].filter((other) => other !== server)
}

function repliesOf(workers: readonly WorkerCounters[], server: number): number {
  let replies = 0
  for (let bucket = 0; bucket <= DURATION_BOUNDS.length; bucket++)
    replies += sumOf(workers, server, UpstreamField.durations + bucket)
  return replies
}

function queries(count: number): string {
  return count === 1 ? 'one query' : `${count.toLocaleString('en-US')} queries`
}

function sumOf(workers: readonly WorkerCounters[], server: number, field: number): number {
  return workers.reduce((sum, counters) => sum + counters.upstreamGet(server, field), 0)
}

/** `3 timeouts, 1 network error`. */
function describe(now: readonly number[], before: readonly number[]): string {
  const parts = FAILURES.flatMap(([, one, several], kind) => {
    const count = now[kind]! - before[kind]!
    return count <= 0 ? [] : [`${count} ${count === 1 ? one : several}`]
  })
  return parts.join(', ') || 'no further failure'
}
