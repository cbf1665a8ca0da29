/**
 * What is known of the upstream servers, and the choice among them. A server that fails twice in a row is down: it is
 * tried last, and a copy of a live question probes it now and then until it answers again.
 *
 * ```
 *  random      any                             sequential  the first that is not down
 *  fastest     the least smoothed round trip;  parallel    any three at once
 *              one in twenty goes elsewhere
 * ```
 */
import { type WorkerCounters, UpstreamField } from '../../stats/counters.ts'
import type { FailureReason } from '../outlet.ts'
import { CLASS_SHIFT } from '../client-query.ts'
import type { EngineSettings, UpstreamRoute, UpstreamServer } from '../settings.ts'

/** Failures in a row that make a server count as down. */
const DOWN_AFTER = 2
const FIRST_PROBE_MS = 1000
const LAST_PROBE_MS = 30_000
/** Weight of the newest round trip in the smoothed one (RFC 6298 §2). */
const RTT_GAIN = 0.125
/** Under `fastest`, one question in so many goes to another server, so that it may become the fastest. */
const EXPLORE_ONE_IN = 20
/** What an answer that another server could give weighs beside a time-out: it may be about the one name. */
const OUTDONE_WEIGHT = 0.5
/**
 * A server that answers only to queries without an OPT, in so many questions in a row, is asked without for so long: it
 * may be replaced. One complaint shows nothing: it may be forged, and DNSSEC and cookies go with the OPT.
 */
const EDNS_LOST_QUESTIONS = 3
const EDNS_BROKEN_MS = 900_000
/**
 * A server that does not repeat a name's case, in so many questions in a row, is asked in small letters for so long. One
 * reply shows nothing: it may be forged, by somebody who knew id and port.
 */
const CASE_LOST_QUESTIONS = 3
const CASE_LOST_MS = 3_600_000
/** Bytes of a cache key after the name: type, variant. */
const KEY_TAIL = 3
/** Least time before a slow answer is hedged, in ms. */
const HEDGE_LEAST_MS = 50
/** Scores of `choose`: what counts more than any round trip. */
const DOWN_SCORE = 2e9
const TRIED_SCORE = 4e9

const FAILURE_FIELDS: Record<FailureReason, number> = {
  timeout: UpstreamField.failuresTimeout,
  refused: UpstreamField.failuresRefused,
  servfail: UpstreamField.failuresServfail,
  malformed: UpstreamField.failuresMalformed,
  network: UpstreamField.failuresNetwork,
  truncated: UpstreamField.failuresTruncated,
  formerr: UpstreamField.failuresFormerr,
  tls: UpstreamField.failuresTls,
}

interface RouteDomain {
  domain: Uint8Array
  route: number
}
const NO_DOMAINS: readonly RouteDomain[] = []

interface ServerState {
  readonly server: UpstreamServer
  failuresInARow: number
  isDown: boolean
  probeAt: number
  probeEveryMs: number
  /** Smoothed round trip in ms; 0 before the first. */
  rttMs: number
  /** Questions in a row that it answered only without an OPT; asked without until then. */
  ednsLostInARow: number
  ednsBrokenUntil: number
  /** It complained of the OPT of its last probe. */
  isProbedPlainly: boolean
  /** Questions in a row to which a reply came in another case; asked in small letters until then. */
  caseLostInARow: number
  caseLostUntil: number
}

/** What is known of the servers, and which of them a name's route has. */
export class Upstreams {
  readonly #states: ServerState[]
  readonly routes: UpstreamRoute[]
  /** By number of the answer class: the route that a rule has chosen, -1 for that of the name. */
  readonly #routeOfClass: Int32Array
  /** Domains of the routes, by their length in bytes: nearly all of them need not be compared with a name. */
  readonly #domains: RouteDomain[][]
  /** By their numbers, those of earlier settings as well: the cache may have answers of them. */
  readonly #labels: string[]
  readonly #counters: WorkerCounters
  readonly #random: () => number

  /** `earlier`: the state before a change of settings; servers that stay keep what is known of them. */
  constructor(settings: EngineSettings, counters: WorkerCounters, random: () => number, earlier?: Upstreams) {
    this.#counters = counters
    this.#random = random
    this.routes = settings.routes
    this.#labels = earlier ? earlier.#labels : []
    for (const { number, label } of settings.servers) if (number !== undefined) this.#labels[number] = label
    this.#routeOfClass = Int32Array.from([-1, ...(settings.rules?.answerClasses ?? []).map(({ route }) => route)])
    this.#domains = domainsByLength(settings.routes)
    this.#states = settings.servers.map((server, index) => {
      const before = earlier ? earlier.#states : []
      const known = before.find((state) => state.server.label === server.label)
      if (earlier && before[index]?.server.label !== server.label) counters.upstreamClear(index)
      const state = known ?? {
        server,
        failuresInARow: 0,
        isDown: false,
        probeAt: 0,
        probeEveryMs: FIRST_PROBE_MS,
        rttMs: 0,
        ednsLostInARow: 0,
        ednsBrokenUntil: 0,
        isProbedPlainly: false,
        caseLostInARow: 0,
        caseLostUntil: 0,
      }
      counters.upstreamSet(index, UpstreamField.healthy, state.isDown ? 0 : 1)
      counters.upstreamSet(index, UpstreamField.rttSeconds, state.rttMs / 1000)
      return state
    })
  }

  /** True if the servers are those of `other`, under the same indices. */
  hasServersOf(other: Upstreams): boolean {
    const { count } = this
    if (count !== other.count) return false
    for (let k = 0; k < count; k++) if (this.server(k).label !== other.server(k).label) return false
    return true
  }

  get count(): number {
    return this.#states.length
  }

  server(index: number): UpstreamServer {
    return this.#states[index]!.server
  }

  /** Label of the server with this number, also of one that is asked no more; null for 0. */
  labelOf(number: number): string | null {
    return this.#labels[number] ?? null
  }

  /** What is known of a server, for people. */
  describe(index: number, now: number): { label: string; isDown: boolean; rttMs: number | null; isPlain: boolean } {
    const { server, isDown, rttMs } = this.#states[index]!
    return { label: server.label, isDown, rttMs: rttMs === 0 ? null : rttMs, isPlain: this.isEdnsBroken(index, now) }
  }

  isEdnsBroken(index: number, now: number): boolean {
    return now < this.#states[index]!.ednsBrokenUntil
  }

  /**
   * It complained of an OPT, and answered the same question without one. That is not forgotten when it is tried again, only
   * when it answers with one: so one that has not changed costs one question more, not three.
   */
  ednsLost(index: number, now: number): void {
    const state = this.#states[index]!
    if (++state.ednsLostInARow >= EDNS_LOST_QUESTIONS) state.ednsBrokenUntil = now + EDNS_BROKEN_MS
  }

  /** It answered a question with an OPT: complaints of it were not the server's, or not about the OPT. */
  ednsKept(index: number): void {
    this.#states[index]!.ednsLostInARow = 0
  }

  isProbedPlainly(index: number): boolean {
    return this.#states[index]!.isProbedPlainly
  }

  /** It complained of its probe, with an OPT or without: the next one is the other. Nothing else follows from that. */
  probeRejected(index: number, wasPlain: boolean): void {
    this.#states[index]!.isProbedPlainly = !wasPlain
  }

  /** True if it may be asked in a mixture of capitals and small letters. */
  keepsCase(index: number, now: number): boolean {
    return now >= this.#states[index]!.caseLostUntil
  }

  /** A question got a reply in another case than it was asked in. */
  caseLost(index: number, now: number): void {
    const state = this.#states[index]!
    if (++state.caseLostInARow < CASE_LOST_QUESTIONS) return
    state.caseLostInARow = 0
    state.caseLostUntil = now + CASE_LOST_MS
  }

  /** A reply repeats the case that it was asked in: those that did not were not the server's. */
  caseKept(index: number): void {
    this.#states[index]!.caseLostInARow = 0
  }

  isDown(index: number): boolean {
    return this.#states[index]!.isDown
  }

  /** Numbers of answer classes, that of none included. */
  get classes(): number {
    return this.#routeOfClass.length
  }

  /** The route of a question by its cache key: lower-cased wire name, type and variant, `length` bytes at `at`. */
  routeForKey(key: Uint8Array, at: number, length: number): number {
    const chosen = this.#routeOfClass[key[at + length - 1]! >> CLASS_SHIFT] ?? -1
    return chosen >= 0 ? chosen : this.routeFor(key, at, length - KEY_TAIL)
  }

  /** The most specific route for a lower-cased wire name of `length` bytes at `at`. */
  routeFor(name: Uint8Array, at: number, length: number): number {
    const { routes } = this
    if (routes.length === 1) return 0
    // The longest suffix comes first: the first match is the most specific.
    for (let from = at; ; from += name[from]! + 1) {
      const domains = this.#domains[at + length - from] ?? NO_DOMAINS
      for (let k = 0; k < domains.length; k++) if (equals(name, from, domains[k]!.domain)) return domains[k]!.route
      if (name[from] === 0) return routes.length - 1
    }
  }

  /**
   * The server to ask next on a route: not one of `excluded` (bits), if possible not one of `tried`, those that are down
   * last. -1 if all are excluded.
   */
  choose(route: number, excluded: number, tried: number): number {
    const { servers, policy } = this.routes[route]!
    // Nearly every pod has one server.
    if (servers.length === 1) return (excluded & (1 << servers[0]!)) === 0 ? servers[0]! : -1
    const best = this.#best(servers, policy, excluded, tried)
    if (policy !== 'fastest' || best < 0 || (this.#random() >>> 0) % EXPLORE_ONE_IN !== 0) return best
    const other = this.#best(servers, 'random', excluded | (1 << best), tried)
    return other < 0 || this.isDown(other) || (tried & (1 << other)) !== 0 ? best : other
  }

  #best(servers: readonly number[], policy: UpstreamRoute['policy'], excluded: number, tried: number): number {
    let best = -1
    let bestScore = Number.POSITIVE_INFINITY
    for (let k = 0; k < servers.length; k++) {
      const index = servers[k]!
      const bit = 1 << index
      if ((excluded & bit) !== 0) continue
      const state = this.#states[index]!
      let score = 0
      // A server whose answer is still out comes after one that is down but was not asked yet.
      if ((tried & bit) !== 0) score += TRIED_SCORE
      if (state.isDown) score += DOWN_SCORE + Math.min(state.failuresInARow, 1000) * 1e5
      if (policy === 'sequential') score += k
      else if (policy === 'fastest') score += state.rttMs
      else score += (this.#random() >>> 0) / 0x1_0000_0000
      if (score < bestScore) {
        bestScore = score
        best = index
      }
    }
    return best
  }

  /** Milliseconds after which a question to a server deserves a second one: twice what is usual. */
  hedgeAfterMs(index: number): number {
    return Math.max(2 * this.#states[index]!.rttMs, HEDGE_LEAST_MS)
  }

  /**
   * A server of the route that is down, due to be probed, and not one of `asked` (bits): those have their probe already.
   * -1 if there is none. It is due again after a while, longer each time.
   */
  takeProbe(route: number, asked: number, now: number): number {
    for (const index of this.routes[route]!.servers) {
      const state = this.#states[index]!
      if (!state.isDown || now < state.probeAt || (asked & (1 << index)) !== 0) continue
      state.probeAt = now + state.probeEveryMs
      state.probeEveryMs = Math.min(state.probeEveryMs * 2, LAST_PROBE_MS)
      return index
    }
    return -1
  }

  succeeded(index: number, rttMs: number): void {
    const state = this.#states[index]!
    state.failuresInARow = 0
    if (state.isDown) {
      state.isDown = false
      this.#counters.upstreamSet(index, UpstreamField.healthy, 1)
    }
    state.rttMs = state.rttMs === 0 ? rttMs : state.rttMs + RTT_GAIN * (rttMs - state.rttMs)
    this.#counters.upstreamSet(index, UpstreamField.rttSeconds, state.rttMs / 1000)
    this.#counters.upstreamDuration(index, rttMs / 1000)
  }

  /** Counts a failure; `isItsFault` is false for an answer that says nothing about the server's health (SERVFAIL for one name). */
  failed(index: number, reason: FailureReason, now: number, isItsFault: boolean): void {
    const state = this.#states[index]!
    this.#counters.upstreamAdd(index, FAILURE_FIELDS[reason], 1)
    if (!isItsFault) return
    // A time-out is at least this slow: `fastest` must not prefer it.
    if (reason === 'timeout' && state.rttMs < 1000) state.rttMs = Math.max(state.rttMs * 2, 50)
    this.#weigh(index, 1, now)
  }

  /**
   * These servers (bits) answered with a failure what another one then answered properly. One that does so again and
   * again, and nothing else, is no better than one that is dead.
   */
  outdone(servers: number, now: number): void {
    for (let index = 0; index < this.#states.length; index++) {
      if ((servers & (1 << index)) !== 0) this.#weigh(index, OUTDONE_WEIGHT, now)
    }
  }

  #weigh(index: number, weight: number, now: number): void {
    const state = this.#states[index]!
    state.failuresInARow += weight
    if (state.isDown || state.failuresInARow < DOWN_AFTER) return
    state.isDown = true
    state.probeEveryMs = FIRST_PROBE_MS
    state.probeAt = now + FIRST_PROBE_MS
    this.#counters.upstreamSet(index, UpstreamField.healthy, 0)
  }
}

/** By length in bytes, in the order of the routes. */
function domainsByLength(routes: readonly UpstreamRoute[]): RouteDomain[][] {
  const lists: RouteDomain[][] = []
  routes.forEach(({ domains }, route) => {
    for (const domain of domains) (lists[domain.length] ??= []).push({ domain, route })
  })
  return lists
}

function equals(name: Uint8Array, at: number, other: Uint8Array): boolean {
  for (let i = 0; i < other.length; i++) if (name[at + i] !== other[i]) return false
  return true
}
