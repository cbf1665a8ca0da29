/**
 * Which server a pending query asks next, how many at once, and how often: a bounded number of messages, whatever servers do.
 *
 * ```
 *  first ask → [hedge: a second one beside a slow first] → the next, after a failure or a timeout → … → nobody left
 *                                                          repeats (over TCP, without EDNS) leave some for the others
 *                                                          after a failure, or twice in silence: without an OPT
 *                                                          three times in silence: once over TCP, and no more
 * ```
 */
import { Cell } from '../../stats/counters.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { NONE } from './attempts.ts'
import { Purpose } from './in-flight.ts'
import { QuerySender } from './query-sender.ts'

/**
 * Bounds the messages that one client query can cause, whatever the servers do: repeats over TCP and without EDNS count.
 * One thing does not: a query that crossed the server's end of its connection is sent once more by the stream worker.
 */
const MAX_MESSAGES = 8
/** Repeats at one server leave this many of them for servers that were not asked yet, if there are so many. */
const KEPT_FOR_OTHERS = 3
/**
 * A question goes to a server so often in vain before it counts as unresponsive over that transport (RFC 9520 §3.1). TCP
 * may get through where datagrams do not.
 */
const MAX_UNANSWERED = 3
/** Messages with an OPT that a question goes unanswered with before a repeat goes without one. */
const OPT_UNANSWERED = 2
/** Servers asked at once under policy `parallel`. */
const PARALLEL = 3
/** Hedges are paid from what every question of a client puts aside, so that a slow network is not doubled. */
const HEDGE_SHARE = 0.1
const HEDGE_BURST = 10

/** What came of asking. UNREACHABLE: there is no way to the server picked; the first time for this query, or again. */
export const Asked = { SENT: 0, UNREACHABLE: 1, UNREACHABLE_AGAIN: 2, NOBODY: 3 } as const

/** Chooses the server of the next attempt. */
export class ServerSelection {
  readonly sender: QuerySender
  readonly #state: ForwarderState
  #hedgesSaved: number = HEDGE_BURST

  constructor(state: ForwarderState) {
    this.#state = state
    this.sender = new QuerySender(state)
  }

  /** Asks the next server, or the next few; returns a Asked. */
  askNext(p: number): number {
    const { inFlight, upstreams } = this.#state
    const route = inFlight.route(p)
    const { policy, servers } = upstreams.routes[route]!
    const width = policy === 'parallel' ? PARALLEL : 1
    const failedBefore = inFlight.failedOnce.of(p)
    const tried = inFlight.tried.of(p) | failedBefore
    let excluded = inFlight.ruledOut.of(p)
    let isSent = false
    let picked = -1
    for (let k = 0; k < width; k++) {
      const server = this.#isSpent(p) ? -1 : upstreams.choose(route, excluded, tried)
      // Beside one that works, one that is down would only be in the way: it has its probes.
      if (server < 0 || (k > 0 && upstreams.isDown(server))) break
      excluded |= 1 << server
      picked = server
      isSent = this.#pick(p, server) || isSent
    }
    if (isSent) {
      if (policy !== 'parallel' && policy !== 'sequential' && servers.length > 1 && inFlight.picks(p) === 1)
        this.#planHedge(p, picked)
      return Asked.SENT
    }
    if (picked < 0) return Asked.NOBODY
    const isFirstFailure = (inFlight.failedOnce.of(p) & ~failedBefore & (1 << picked)) !== 0
    return isFirstFailure ? Asked.UNREACHABLE : Asked.UNREACHABLE_AGAIN
  }

  /** A client has asked a question: that pays for a part of a hedge. */
  saveForHedges(): void {
    this.#hedgesSaved = Math.min(HEDGE_BURST, this.#hedgesSaved + HEDGE_SHARE)
  }

  /** The first server takes long: asks a healthy other one beside it, if that can be paid. */
  hedge(p: number): void {
    const { context, inFlight, upstreams } = this.#state
    inFlight.setHedgeAt(p, Number.POSITIVE_INFINITY)
    if (this.#hedgesSaved < 1 || this.#isSpent(p)) return
    const tried = inFlight.tried.of(p) | inFlight.failedOnce.of(p)
    const server = upstreams.choose(inFlight.route(p), tried, 0)
    if (server < 0 || upstreams.isDown(server)) return
    this.#hedgesSaved--
    context.counters.add(Cell.hedges, 1)
    this.#pick(p, server)
  }

  /** Asks a server once more whose stream broke; false if there is none, or it cannot be afforded. */
  askBrokenStream(p: number): boolean {
    const { inFlight, upstreams } = this.#state
    if (this.#isSpent(p)) return false
    for (const server of upstreams.routes[inFlight.route(p)]!.servers) {
      if (inFlight.streamBroken.has(p, server) && !inFlight.ruledOut.has(p, server))
        return this.sender.send(p, server, true)
    }
    return false
  }

  /** How many servers of the query's route have not been asked. */
  untried(p: number): number {
    const { inFlight, upstreams } = this.#state
    let untried = 0
    for (const server of upstreams.routes[inFlight.route(p)]!.servers) {
      if (!inFlight.tried.has(p, server)) untried++
    }
    return untried
  }

  /** True if the query can afford to ask a server a second time in another way. */
  mayRepeat(p: number): boolean {
    return this.#state.inFlight.messages(p) + Math.min(this.untried(p), KEPT_FOR_OTHERS) < MAX_MESSAGES
  }

  /**
   * Some servers, and firewalls before them, drop what has an OPT: a repeat goes without where two messages with one were
   * left unanswered, or where there will be no other chance.
   */
  #mayDropOpt(p: number, server: number): boolean {
    const { attempts } = this.#state
    let unanswered = 0
    let isItsOwn = false
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a)) {
      if (attempts.isPlain(a) || attempts.socket(a) === NONE) continue
      unanswered++
      if (attempts.server(a) === server) isItsOwn = true
    }
    return isItsOwn && (unanswered >= OPT_UNANSWERED || this.#isLastChance(p))
  }

  /** True if the query can ask nobody after this once more. */
  #isLastChance(p: number): boolean {
    const { context, inFlight } = this.#state
    return (
      inFlight.messages(p) + 1 >= MAX_MESSAGES ||
      inFlight.picks(p) + 1 >= this.#mostPicks(p) ||
      context.now + this.#state.attemptMs(p) >= inFlight.deadlineAt(p)
    )
  }

  #mostPicks(p: number): number {
    const { inFlight, upstreams } = this.#state
    return upstreams.routes[inFlight.route(p)]!.maxAttempts ?? MAX_MESSAGES
  }

  /** True if the query may ask nobody any more. */
  #isSpent(p: number): boolean {
    const { context, inFlight } = this.#state
    return (
      inFlight.messages(p) >= MAX_MESSAGES ||
      inFlight.picks(p) >= this.#mostPicks(p) ||
      context.now >= inFlight.deadlineAt(p)
    )
  }

  /** Decides when to ask a second server if `server` has not answered. */
  #planHedge(p: number, server: number): void {
    const { context, inFlight, upstreams } = this.#state
    if (inFlight.purpose(p) !== Purpose.CLIENT) return
    const after = upstreams.hedgeAfterMs(server)
    if (after < this.#state.attemptMs(p)) inFlight.setHedgeAt(p, context.now + after)
  }

  /** Sends to a server and counts it as picked; over TCP if it has left too many datagrams unanswered. */
  #pick(p: number, server: number): boolean {
    const { inFlight, upstreams } = this.#state
    const before = inFlight.messages(p)
    const isOverTcp = upstreams.server(server).transport === 'udp' && this.isUnresponsive(p, server)
    const isSent = this.sender.send(p, server, isOverTcp, !isOverTcp && this.#mayDropOpt(p, server))
    if (inFlight.messages(p) !== before) inFlight.countPick(p)
    return isSent
  }

  /** True if the query has asked the server often enough by its own transport and heard nothing, not even an error. */
  isUnresponsive(p: number, server: number): boolean {
    const { attempts, upstreams } = this.#state
    const isDatagram = upstreams.server(server).transport === 'udp'
    let count = 0
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a)) {
      // What was answered, or met an error, is closed.
      if (attempts.server(a) === server && (attempts.socket(a) !== NONE) === isDatagram) count++
    }
    return count >= MAX_UNANSWERED
  }
}
