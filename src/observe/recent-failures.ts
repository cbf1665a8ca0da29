/**
 * What went wrong lately, for people: attempts at upstream servers by server and reason, and queries that ended in an error.
 * Both lists are bounded, the newest first.
 */
import { failuresText } from './health-summary.ts'
import type { UpstreamStatus } from './upstream-metrics.ts'

/** Failed attempts at one server, for one reason, one after the other. */
export interface ServerFailure {
  /** Unix time in ms of the first and of the last, to a sample's interval. */
  sinceMs: number
  untilMs: number
  server: string
  /** As in byname_upstream_failures_total. */
  reason: string
  count: number
}

const MOST = 50
/** What a query fails of is counted until its deadline, and seen by the look after that. */
const NEAR_MS = 10_000
/** What comes so soon after the last of the same kind belongs to it. */
const TOGETHER_MS = 60_000

/** What servers did around `atMs`: `10.0.0.2:53: 3 timeouts`; null: nothing wrong. */
export function reasonAt(servers: readonly ServerFailure[], atMs: number): string | null {
  const near = servers.filter(({ sinceMs, untilMs }) => atMs >= sinceMs - NEAR_MS && atMs <= untilMs + NEAR_MS)
  return near.map(({ server, reason, count }) => `${server}: ${failuresText({ [reason]: count })}`).join('; ') || null
}

/** Follows the servers' counters from look to look. */
export class RecentFailures {
  readonly #counts: Map<string, number> = new Map()
  #isFirst = true
  #servers: ServerFailure[] = []

  /** Compares with the last look. What was counted before the first one is of no known time, and left out. */
  look(upstreams: readonly UpstreamStatus[], nowMs: number): void {
    for (const { label, failures } of upstreams) {
      for (const [reason, count] of Object.entries(failures)) {
        const key = `${reason} ${label}`
        const before = this.#counts.get(key) ?? 0
        this.#counts.set(key, count)
        // One that went back was cleared for another server.
        if (!this.#isFirst && count !== before) this.#add(label, reason, count > before ? count - before : count, nowMs)
      }
    }
    this.#isFirst = false
    // Of servers that come and go with every reload.
    if (this.#counts.size > 1000) this.#counts.clear()
  }

  /** The newest first. */
  get servers(): readonly ServerFailure[] {
    return this.#servers
  }

  #add(server: string, reason: string, count: number, nowMs: number): void {
    const same = this.#servers.find((each) => each.server === server && each.reason === reason)
    const isContinued = same !== undefined && nowMs - same.untilMs <= TOGETHER_MS
    const entry = isContinued
      ? { ...same, untilMs: nowMs, count: same.count + count }
      : { sinceMs: nowMs, untilMs: nowMs, server, reason, count }
    const others = isContinued ? this.#servers.filter((each) => each !== same) : this.#servers
    this.#servers = [entry, ...others].slice(0, MOST)
  }
}
