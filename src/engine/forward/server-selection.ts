/**
 * Which server an exchange asks next, how many at once, and how often: a bounded number of messages, whatever servers do.
 *
 * ```
 *  first ask → [hedge: a second one beside a slow first] → the next, after a failure or a time-out → … → nobody left
 *                                                          repeats (over TCP, without EDNS) leave some for the others
 *                                                          three times in silence: once over TCP, and no more
 * ```
 */
import { Cell } from '../../stats/counters.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { NONE, Purpose } from './in-flight.ts'
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
/** Servers asked at once under policy `parallel`. */
const PARALLEL = 3
/** Hedges are paid from what every question of a client puts aside, so that a slow network is not doubled. */
const HEDGE_SHARE = 0.1
const HEDGE_BURST = 10

/** What came of a turn. UNREACHABLE: there is no way to the server picked; the first time for this exchange, or again. */
export const Turn = { SENT: 0, UNREACHABLE: 1, UNREACHABLE_AGAIN: 2, NOBODY: 3 } as const

export class ServerTurns {
  readonly sender: QuerySender
  readonly #state: ForwarderState
  #hedgesSaved: number = HEDGE_BURST

  constructor(state: ForwarderState) {
    this.#state = state
    this.sender = new QuerySender(state)
  }

  /** Asks the next server, or the next few; returns a Turn. */
  askNext(x: number): number {
    const { inFlight, upstreams } = this.#state
    const route = inFlight.route[x]!
    const { policy, servers } = upstreams.routes[route]!
    const width = policy === 'parallel' ? PARALLEL : 1
    const failedBefore = inFlight.failedOnce[x]!
    const tried = inFlight.triedServers[x]! | failedBefore
    let excluded = inFlight.ruledOut[x]!
    let isSent = false
    let picked = -1
    for (let k = 0; k < width; k++) {
      const server = this.#isSpent(x) ? -1 : upstreams.choose(route, excluded, tried)
      // Beside one that works, one that is down would only be in the way: it has its probes.
      if (server < 0 || (k > 0 && upstreams.isDown(server))) break
      excluded |= 1 << server
      picked = server
      isSent = this.#pick(x, server) || isSent
    }
    if (isSent) {
      if (policy !== 'parallel' && policy !== 'sequential' && servers.length > 1 && inFlight.picks[x] === 1)
        this.#planHedge(x, picked)
      return Turn.SENT
    }
    if (picked < 0) return Turn.NOBODY
    const isFirstFailure = (inFlight.failedOnce[x]! & ~failedBefore & (1 << picked)) !== 0
    return isFirstFailure ? Turn.UNREACHABLE : Turn.UNREACHABLE_AGAIN
  }

  /** A client has asked a question: that pays for a part of a hedge. */
  saveForHedges(): void {
    this.#hedgesSaved = Math.min(HEDGE_BURST, this.#hedgesSaved + HEDGE_SHARE)
  }

  /** The first server takes long: asks a healthy other one beside it, if that can be paid. */
  hedge(x: number): void {
    const { context, inFlight, upstreams } = this.#state
    inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
    if (this.#hedgesSaved < 1 || this.#isSpent(x)) return
    const tried = inFlight.triedServers[x]! | inFlight.failedOnce[x]!
    const server = upstreams.choose(inFlight.route[x]!, tried, 0)
    if (server < 0 || upstreams.isDown(server)) return
    this.#hedgesSaved--
    context.counters.add(Cell.hedges, 1)
    this.#pick(x, server)
  }

  /** How many servers of the exchange's route have not been asked. */
  untried(x: number): number {
    const { inFlight, upstreams } = this.#state
    let untried = 0
    for (const server of upstreams.routes[inFlight.route[x]!]!.servers) {
      if ((inFlight.triedServers[x]! & (1 << server)) === 0) untried++
    }
    return untried
  }

  /** True if the exchange can afford to ask a server a second time in another way. */
  mayRepeat(x: number): boolean {
    return this.#state.inFlight.attemptsMade[x]! + Math.min(this.untried(x), KEPT_FOR_OTHERS) < MAX_MESSAGES
  }

  /** True if the exchange may ask nobody any more. */
  #isSpent(x: number): boolean {
    const { context, inFlight, upstreams } = this.#state
    const most = upstreams.routes[inFlight.route[x]!]!.maxAttempts ?? MAX_MESSAGES
    return (
      inFlight.attemptsMade[x]! >= MAX_MESSAGES || inFlight.picks[x]! >= most || context.now >= inFlight.deadlineAt[x]!
    )
  }

  /** Decides when to ask a second server if `server` has not answered. */
  #planHedge(x: number, server: number): void {
    const { context, inFlight, upstreams } = this.#state
    if (inFlight.purpose[x] !== Purpose.CLIENT) return
    const after = upstreams.hedgeAfterMs(server)
    if (after < this.#state.attemptMs(x)) inFlight.hedgeAt[x] = context.now + after
  }

  /** Sends to a server and counts it as picked; over TCP if it has left too many datagrams unanswered. */
  #pick(x: number, server: number): boolean {
    const { inFlight, upstreams } = this.#state
    const before = inFlight.attemptsMade[x]!
    const isOverTcp = upstreams.server(server).transport === 'udp' && this.isUnresponsive(x, server)
    const isSent = this.sender.send(x, server, isOverTcp)
    if (inFlight.attemptsMade[x] !== before) inFlight.picks[x] = inFlight.picks[x]! + 1
    return isSent
  }

  /** True if the exchange has asked the server often enough by its own transport and heard nothing, not even an error. */
  isUnresponsive(x: number, server: number): boolean {
    const { inFlight, upstreams } = this.#state
    const isDatagram = upstreams.server(server).transport === 'udp'
    let count = 0
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a)) {
      // What was answered, or met an error, is closed.
      if (inFlight.attemptServer[a] === server && (inFlight.attemptSocket[a] !== NONE) === isDatagram) count++
    }
    return count >= MAX_UNANSWERED
  }
}
