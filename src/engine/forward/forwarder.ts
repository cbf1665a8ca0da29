/**
 * The life of a miss. Equal questions join one pending query; it asks upstream servers one after another within one
 * deadline, believes a reply only if it fits (RFC 5452), and gives the answer to all who wait.
 *
 * ```
 *   a client's query                a datagram, a stream's reply               time passes
 *        │ forward                       │ datagram, streamReply                    │ tick
 *        ▼                               ▼                                          ▼
 *   join a pending query,          reply-validation.ts: is it the          pending-queries.ts: an attempt's
 *   or start one                   server's, and what does it say?         time is up, or the deadline is there
 *        │                               │                                          │
 *        │          ┌──── an answer ─────┼── a failure, truncated, suspect ┐        │
 *        ▼          ▼                    ▼ none of ours: counted           ▼        ▼
 *   ┌─ settlement.ts ─────────┐    ┌─ pending-queries.ts ──────────────────────────────┐
 *   │ waiters, cache          │◀───│ nobody left to ask, or the deadline               │
 *   └─────────────────────────┘    │ else: the next attempt                            │
 *                                  │   server-selection.ts  whom to ask                │
 *                                  │   query-sender.ts      the message, to the outlet │
 *                                  └───────────────────────────────────────────────────┘
 * ```
 * What is under way stands in in-flight.ts (pending queries, with attempts.ts and waiters.ts), what is known of servers in
 * upstreams.ts and upstream-cookies.ts.
 */
import { Ede, HEADER_BYTES, Rcode, Type } from '../../dns/constants.ts'
import { isServerFailure, readU16 } from '../../dns/reply.ts'
import { Cell, Drop } from '../../stats/counters.ts'
import { type ClientQuery, Variant } from '../client-query.ts'
import { PendingQueries } from './pending-queries.ts'
import { type ForwarderContext, ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, NONE } from './attempts.ts'
import { type InFlight, Purpose } from './in-flight.ts'
import { LoopProbe } from './loop-probe.ts'
import { NearMisses } from './near-misses.ts'
import { type FailureReason, Fault } from '../outlet.ts'
import { ReplyVerdict, ReplyValidation } from './reply-validation.ts'
import type { EngineSettings } from '../settings.ts'
import { Settlement } from './settlement.ts'
import type { UpstreamReply } from '../stream-port.ts'
import type { Timers } from './timers.ts'
import type { Upstreams } from './upstreams.ts'

/** How a stream's failures count: `refused` is a server's word (an rcode), not a closed port. */
const STREAM_FAILURES: Record<NonNullable<UpstreamReply['failure']>, FailureReason> = {
  timeout: 'timeout',
  refused: 'network',
  network: 'network',
  malformed: 'malformed',
  tls: 'tls',
}

/** The way in to this folder: a query that no stage answers, and all that comes from servers. */
export class Forwarder {
  readonly inFlight: InFlight
  readonly timers: Timers
  readonly loopProbe: LoopProbe = new LoopProbe()
  readonly #context: ForwarderContext
  readonly #state: ForwarderState
  readonly #pending: PendingQueries
  readonly #settlement: Settlement
  readonly #validation: ReplyValidation
  readonly #nearMisses: NearMisses

  /** `waiter`: made the query of one waiter after the other. */
  constructor(context: ForwarderContext, settings: EngineSettings, waiter: ClientQuery) {
    const state = new ForwarderState(context, settings)
    this.#context = context
    this.#state = state
    this.#settlement = new Settlement(state, waiter)
    this.#validation = new ReplyValidation(state)
    this.#nearMisses = new NearMisses(state)
    this.#pending = new PendingQueries(state, this.#settlement)
    this.inFlight = state.inFlight
    this.timers = this.#pending.timers
    this.loopProbe.configure(settings.loopProbe, context.now)
  }

  get upstreams(): Upstreams {
    return this.#state.upstreams
  }

  /** Takes new settings; pending queries go on at servers that still exist, and are begun anew at others. */
  configure(settings: EngineSettings): void {
    const hasSameServers = this.#state.configure(settings)
    this.#settlement.configure(settings)
    this.loopProbe.configure(settings.loopProbe, this.#context.now)
    if (!hasSameServers) this.#state.truncated.clear()
    this.#pending.adapt(hasSameServers)
  }

  /**
   * Sends the query on its way. Returns 0 when the client will be answered later, or the length of a reply written at
   * `outAt` at once (SERVFAIL because a bound is reached). `isStale`: the cache has an answer that may serve if this
   * takes long.
   */
  forward(
    query: ClientQuery,
    hash: number,
    key: Uint8Array,
    keyLength: number,
    isStale: boolean,
    out: Uint8Array,
    outAt: number,
  ): number {
    const { inFlight, waiters } = this.#state
    const { counters, outlet } = this.#context
    const pending = this.#pending
    let p = inFlight.find(hash, key, keyLength)
    const isJoining = p !== NONE
    const hasPlace = isJoining || pending.hasRoomFor(key, keyLength)
    const hasWaiterPlace = !waiters.isFull
    const isCrowd = isJoining && waiters.isFullFor(p)
    // Whoever makes room is answered now: this query must not be, as its reply would be written to the same place.
    if (isCrowd || (!(hasPlace && hasWaiterPlace) && !pending.makeRoom(key, keyLength, p, !hasWaiterPlace))) {
      counters.drop(hasPlace ? Drop.waitersFull : Drop.inFlightFull)
      return this.#context.writeError(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
    }
    if (!isJoining) p = pending.open(Purpose.CLIENT, hash, key, keyLength)
    const waiter = waiters.add(p, query)
    outlet.hold(waiter)
    if (isStale) pending.armStale(p)
    if (isJoining) counters.add(Cell.coalesced, 1)
    else pending.start(p)
    return 0
  }

  /** Whether the question with this key is being asked of a server. */
  isPending(hash: number, key: Uint8Array, keyLength: number): boolean {
    return this.inFlight.find(hash, key, keyLength) !== NONE
  }

  /** Refreshes an answer in the background, unless its question is under way anyway. */
  prefetch(hash: number, key: Uint8Array, keyLength: number): void {
    if (this.ask(hash, key, keyLength)) this.#context.counters.add(Cell.cachePrefetches, 1)
  }

  /** True if there is room for questions that no client waits for. */
  get hasSpareRoom(): boolean {
    return this.#pending.hasSpareRoom
  }

  /** Asks for what the cache is to keep, though no client waits; false if the question is under way anyway, or there is no room. */
  ask(hash: number, key: Uint8Array, keyLength: number): boolean {
    if (this.isPending(hash, key, keyLength) || !this.#pending.hasRoomFor(key, keyLength)) return false
    const p = this.#pending.open(Purpose.PREFETCH, hash, key, keyLength)
    this.#pending.start(p)
    return true
  }

  /** A datagram came in by the upstream socket `socket`. */
  datagram(socket: number, packet: Uint8Array, start: number, length: number, isCut: boolean): void {
    const { attempts } = this.#state
    const { counters } = this.#context
    if (length < HEADER_BYTES) return counters.drop(Drop.spoofedReply)
    const a = attempts.byId(readU16(packet, start))
    if (a === NONE) return this.#stray(socket, packet, start, length)
    if (attempts.socket(a) !== socket) return counters.drop(Drop.spoofedReply)
    this.#reply(a, packet, start, length, isCut, false)
  }

  /** A datagram under an id that nothing has: a reply that comes too late, or somebody who guesses ids. */
  #stray(socket: number, packet: Uint8Array, start: number, length: number): void {
    const { counters } = this.#context
    const a = this.#nearMisses.attemptFor(socket, packet, start, length)
    if (a === NONE) return counters.drop(Drop.lateReply)
    counters.drop(Drop.spoofedReply)
    this.#pending.nearlyMissed(a)
  }

  /** A query that was given to `Outlet.sendStreamQuery` has been answered, or has failed. */
  streamReply(token: number, reply: Uint8Array | null, failure: UpstreamReply['failure']): void {
    const a = this.#pending.selection.sender.attemptOf(token)
    if (a === NONE) return this.#context.counters.drop(Drop.lateReply)
    if (reply !== null && reply.length >= HEADER_BYTES) return this.#reply(a, reply, 0, reply.length, false, true)
    this.#pending.streamFailed(a, STREAM_FAILURES[failure ?? 'malformed'], failure === 'refused')
  }

  /** A socket towards a server reported an error (ICMP port unreachable and the like): what went out by it is lost. */
  socketFailed(socket: number): void {
    const { attempts } = this.#state
    for (let a = 0; a < attempts.capacity; a++) {
      if (attempts.pendingOf(a) !== NONE && attempts.socket(a) === socket)
        this.#pending.attemptFailed(a, 'network', Fault.ITS)
    }
  }

  /** True if nobody waits for anything. */
  get isQuiet(): boolean {
    return this.#pending.isQuiet
  }

  /** Nothing is due before this time; Infinity if nothing is to come. */
  get nextDue(): number {
    return Math.min(this.#pending.nextDue, this.loopProbe.dueAt)
  }

  /** Fires what is due. */
  tick(): void {
    this.#pending.tick()
    this.loopProbe.takeDue(this.#context.now)?.forEach((name, server) => {
      if (name !== null && server < this.upstreams.count) this.#askForLoop(server, name)
    })
  }

  #askForLoop(server: number, name: Uint8Array): void {
    const key = new Uint8Array(name.length + 3)
    key.set(name)
    key[name.length + 1] = Type.HINFO
    this.#pending.probe(server, Purpose.LOOP_PROBE, 0, key)
  }

  /** A message that came from where the attempt went, under its id. */
  #reply(a: number, packet: Uint8Array, start: number, length: number, isCut: boolean, isStream: boolean): void {
    const pending = this.#pending
    switch (this.#validation.validate(a, packet, start, length, isCut, isStream)) {
      case ReplyVerdict.ANSWER:
        return this.#answered(a)
      case ReplyVerdict.SUSPECT:
        // Over TCP only those on the path can forge.
        return pending.confirmOverStream(a)
      case ReplyVerdict.NEAR_MISS:
        return pending.nearlyMissed(a)
      case ReplyVerdict.SEEN:
        return this.#showedItself(a)
      case ReplyVerdict.FAILED:
        return this.#serverFailed(a)
      case ReplyVerdict.TRUNCATED:
        // Cut even where there is room for all: passed on it would pass for the whole answer.
        return isStream ? pending.attemptFailed(a, 'truncated', Fault.PERHAPS) : pending.askOverStream(a)
      case ReplyVerdict.MALFORMED:
        return pending.replyGarbled(a)
      case ReplyVerdict.USELESS:
        return pending.repliedUselessly(a)
      case ReplyVerdict.BAD_COOKIE:
        return this.#badCookie(a)
      default:
        return undefined
    }
  }

  /** The answer in `context.answer` is the one. */
  #answered(a: number): void {
    const { attempts, inFlight, upstreams } = this.#state
    const { now } = this.#context
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    upstreams.succeeded(server, now - attempts.sentAt(a))
    upstreams.outdone(inFlight.suspects.of(p) & ~(1 << server), now)
    if (!attempts.isPlain(a)) upstreams.ednsKept(server)
    else if (!upstreams.isEdnsBroken(server, now)) {
      upstreams.ednsLost(server, now)
      // Perhaps it was the cookie in the OPT: the next question shows.
      this.#state.cookies.suspect(server)
    }
    attempts.close(a)
    if (this.#settlement.isDoubted(p, server)) {
      inFlight.deniedBy.add(p, server)
      inFlight.ruledOut.add(p, server)
      this.#context.counters.add(Cell.doubtedDenials, 1)
      return this.#pending.goOn(p)
    }
    this.#context.storms.heard(inFlight.keys, inFlight.keyAt(p), inFlight.keyLength(p), this.#context.answer)
    this.#settlement.answer(p, server)
    this.#pending.finish(p)
  }

  /** An answer that nobody waits for: it says how the server does, and no more. */
  #showedItself(a: number): void {
    const { attempts, upstreams } = this.#state
    const { now } = this.#context
    const { rcode } = this.#validation
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    this.#notePlainProbe(a)
    if (isServerFailure(rcode)) this.#state.noteFailure(p, server, reasonOf(rcode), false)
    else upstreams.succeeded(server, now - attempts.sentAt(a))
    attempts.close(a)
    this.#pending.goOn(p)
  }

  /** The server answered with an rcode that another server may not give. */
  #serverFailed(a: number): void {
    const { attempts, inFlight, upstreams } = this.#state
    const { now } = this.#context
    const { isBare, rcode } = this.#validation
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    const isWaitedFor = inFlight.isWaitedFor(p)
    const mayBeOpt = isAboutEdns(rcode) && !attempts.isPlain(a)
    // Servers of old fail what they do not understand in any way (RFC 2671 §5.3). One that sends an OPT understands it, and
    // a client that validates needs it.
    if (!this.#context.answer.hasOpt || (inFlight.variant(p) & Variant.DO) === 0) inFlight.optFailed.add(p, server)
    if (mayBeOpt && isWaitedFor && this.#pending.selection.mayRepeat(p)) {
      // Perhaps it is the OPT that it does not understand (RFC 6891 §7): ask the same server without, for this question.
      upstreams.failed(server, 'formerr', now, false)
      return this.#pending.askAgain(a, AttemptCookie.NONE, true)
    }
    const { ede } = this.#context.answer
    if (ede !== Ede.NONE) inFlight.setEde(p, ede)
    this.#notePlainProbe(a)
    this.#pending.attemptFailed(a, reasonOf(rcode), isBare ? Fault.ITS : Fault.PERHAPS)
  }

  /** A server that is down and does not understand an OPT would never be found well again: its next probe goes without. */
  #notePlainProbe(a: number): void {
    const { attempts, inFlight, upstreams } = this.#state
    if (inFlight.purpose(attempts.pendingOf(a)) !== Purpose.PROBE || !isAboutEdns(this.#validation.rcode)) return
    upstreams.probeRejected(attempts.server(a), attempts.isPlain(a))
  }

  /**
   * The server wants the cookie that it has just given; one that refuses that too is asked over TCP (RFC 7873 §5.3), and
   * gets none for a while.
   */
  #badCookie(a: number): void {
    const { attempts } = this.#state
    if (attempts.cookie(a) === AttemptCookie.SENT) return this.#pending.askAgain(a, AttemptCookie.AGAIN)
    this.#state.cookies.giveUp(attempts.server(a), this.#context.now)
    // Over a stream already: once more, then, without.
    if (attempts.socket(a) === NONE) this.#pending.askAgain(a)
    else this.#pending.askOverStream(a)
  }
}

/** True for what servers say that do not understand an OPT. */
function isAboutEdns(rcode: number): boolean {
  return rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP
}

function reasonOf(rcode: number): FailureReason {
  if (isAboutEdns(rcode)) return 'formerr'
  return rcode === Rcode.REFUSED ? 'refused' : 'servfail'
}
