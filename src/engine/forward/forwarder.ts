/**
 * Everything that is not known here: joins equal questions, asks upstream servers one after another within one deadline,
 * believes a reply only if it fits (RFC 5452), and hands the answer to all who wait.
 *
 * ```
 *  forward → join an open exchange │ open one → attempt → datagram ──→ reply → judgement → answer → cache, waiters
 *                                             ↑    │ truncated ─→ stream ─┘        │
 *                                             └────┴──── time-out ─────── failure ─┘  until the deadline
 * ```
 * Its parts: [exchanges.ts] the life of an exchange, [server-turns.ts] whom it asks next, [query-sender.ts] what is sent,
 * [reply-judgement.ts] what came back, [settlement.ts] what clients and cache get of it.
 */
import { Ede, HEADER_BYTES, Rcode, Type } from '../../dns/constants.ts'
import { isServerFailure, readU16 } from '../../dns/reply.ts'
import { Cell, Drop } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { Exchanges } from './pending-queries.ts'
import { type ForwarderContext, ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, type InFlight, NONE, Purpose } from './in-flight.ts'
import { LoopProbe } from './loop-probe.ts'
import { type FailureReason, Fault } from '../outlet.ts'
import { Judgement, ReplyJudgement } from './reply-validation.ts'
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

export class Forwarder {
  readonly inFlight: InFlight
  readonly timers: Timers
  readonly loopProbe: LoopProbe = new LoopProbe()
  readonly #context: ForwarderContext
  readonly #state: ForwarderState
  readonly #exchanges: Exchanges
  readonly #settlement: Settlement
  readonly #judgement: ReplyJudgement

  /** `waiter`: made the query of one waiter after the other. */
  constructor(context: ForwarderContext, settings: EngineSettings, waiter: ClientQuery) {
    const state = new ForwarderState(context, settings)
    this.#context = context
    this.#state = state
    this.#settlement = new Settlement(state, waiter)
    this.#judgement = new ReplyJudgement(state)
    this.#exchanges = new Exchanges(state, this.#settlement)
    this.inFlight = state.inFlight
    this.timers = this.#exchanges.timers
    this.loopProbe.configure(settings.loopProbe, context.now)
  }

  get upstreams(): Upstreams {
    return this.#state.upstreams
  }

  /** Takes new settings; exchanges under way go on with servers that still exist and end with those that do not. */
  configure(settings: EngineSettings): void {
    const hasSameServers = this.#state.configure(settings)
    this.loopProbe.configure(settings.loopProbe, this.#context.now)
    if (!hasSameServers) this.#state.truncated.clear()
    this.#exchanges.adapt(hasSameServers)
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
    const { inFlight } = this
    const { counters, outlet } = this.#context
    let x = inFlight.find(hash, key, keyLength)
    const isJoining = x !== NONE
    if (!isJoining) x = this.#exchanges.open(Purpose.CLIENT, hash, key, keyLength)
    if (x === NONE) {
      counters.drop(Drop.inFlightFull)
      return this.#context.writeError(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
    }
    const waiter = inFlight.addWaiter(x, query)
    if (waiter === NONE) {
      counters.drop(Drop.waitersFull)
      if (!isJoining) this.#exchanges.close(x)
      return this.#context.writeError(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
    }
    outlet.hold(waiter)
    if (isStale) this.#exchanges.armStale(x)
    if (isJoining) counters.add(Cell.coalesced, 1)
    else this.#exchanges.start(x)
    return 0
  }

  /** Refreshes an answer in the background, unless its question is under way anyway. */
  prefetch(hash: number, key: Uint8Array, keyLength: number): void {
    if (this.inFlight.find(hash, key, keyLength) !== NONE) return
    const x = this.#exchanges.open(Purpose.PREFETCH, hash, key, keyLength)
    if (x === NONE) return
    this.#context.counters.add(Cell.cachePrefetches, 1)
    this.#exchanges.start(x)
  }

  /** A datagram came in by the upstream socket `socket`. */
  datagram(socket: number, packet: Uint8Array, start: number, length: number, isCut: boolean): void {
    const { inFlight } = this
    const { counters } = this.#context
    if (length < HEADER_BYTES) return counters.drop(Drop.spoofedReply)
    const a = inFlight.attemptById(readU16(packet, start))
    if (a === NONE) return counters.drop(Drop.lateReply)
    if (inFlight.attemptSocket[a] !== socket) return counters.drop(Drop.spoofedReply)
    this.#reply(a, packet, start, length, isCut, false)
  }

  /** A stream exchange that `Outlet.sendStreamQuery` was asked for has ended. */
  streamReply(token: number, reply: Uint8Array | null, failure: UpstreamReply['failure']): void {
    const a = this.#exchanges.turns.sender.attemptOf(token)
    if (a === NONE) return this.#context.counters.drop(Drop.lateReply)
    if (reply !== null && reply.length >= HEADER_BYTES) return this.#reply(a, reply, 0, reply.length, false, true)
    this.#exchanges.streamFailed(a, STREAM_FAILURES[failure ?? 'malformed'])
  }

  /** A socket towards a server reported an error (ICMP port unreachable and the like): what went out by it is lost. */
  socketFailed(socket: number): void {
    const { inFlight } = this
    for (let a = 0; a < inFlight.attemptCapacity; a++) {
      if (inFlight.attemptExchange[a] !== NONE && inFlight.attemptSocket[a] === socket)
        this.#exchanges.attemptFailed(a, 'network', Fault.ITS)
    }
  }

  /** True if nobody waits for anything. */
  get isQuiet(): boolean {
    return this.#exchanges.isQuiet
  }

  /** Nothing is due before this time; Infinity if nothing is to come. */
  get nextDue(): number {
    return Math.min(this.#exchanges.nextDue, this.loopProbe.dueAt)
  }

  /** Fires what is due. */
  tick(): void {
    this.#exchanges.tick()
    this.loopProbe.takeDue(this.#context.now)?.forEach((name, server) => {
      if (name !== null && server < this.upstreams.count) this.#askForLoop(server, name)
    })
  }

  #askForLoop(server: number, name: Uint8Array): void {
    const key = new Uint8Array(name.length + 3)
    key.set(name)
    key[name.length + 1] = Type.HINFO
    this.#exchanges.probe(server, Purpose.LOOP_PROBE, 0, key)
  }

  /** A message that came from where the attempt went, under its id. */
  #reply(a: number, packet: Uint8Array, start: number, length: number, isCut: boolean, isStream: boolean): void {
    const exchanges = this.#exchanges
    switch (this.#judgement.judge(a, packet, start, length, isCut, isStream)) {
      case Judgement.ANSWER:
        return this.#answered(a)
      case Judgement.DOUBTED:
        // A stream nobody forges.
        return exchanges.askBesideIt(a)
      case Judgement.SEEN:
        return this.#showedItself(a)
      case Judgement.FAILED:
        return this.#serverFailed(a)
      case Judgement.TRUNCATED:
        // Cut even where there is room for all: half an answer passed on as a whole one would be a lie.
        return isStream ? exchanges.attemptFailed(a, 'truncated', Fault.PERHAPS) : exchanges.askOverStream(a)
      case Judgement.MALFORMED:
        return exchanges.attemptFailed(a, 'malformed', Fault.ITS)
      case Judgement.USELESS:
        return exchanges.answeredInVain(a)
      case Judgement.BAD_COOKIE:
        return this.#badCookie(a)
      default:
        return undefined
    }
  }

  /** The answer in `context.answer` is the one. */
  #answered(a: number): void {
    const { inFlight, upstreams } = this
    const { now } = this.#context
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    upstreams.succeeded(server, now - inFlight.attemptSentAt[a]!)
    upstreams.outdone(inFlight.suspects[x]! & ~(1 << server), now)
    if (inFlight.attemptPlain[a] === 0) upstreams.ednsKept(server)
    else if (!upstreams.isEdnsBroken(server, now)) upstreams.ednsLost(server, now)
    inFlight.closeAttempt(a)
    this.#settlement.answer(x)
    this.#exchanges.finish(x)
  }

  /** An answer that nobody waits for: it says how the server does, and no more. */
  #showedItself(a: number): void {
    const { inFlight, upstreams } = this
    const { now } = this.#context
    const { rcode } = this.#judgement
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    this.#notePlainProbe(a)
    if (isServerFailure(rcode)) this.#state.noteFailure(x, server, reasonOf(rcode), false)
    else upstreams.succeeded(server, now - inFlight.attemptSentAt[a]!)
    inFlight.closeAttempt(a)
    this.#exchanges.turnOn(x)
  }

  /** The server answered with an rcode that another server may not give. */
  #serverFailed(a: number): void {
    const { inFlight, upstreams } = this
    const { now } = this.#context
    const { isBare, rcode } = this.#judgement
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const isWaitedFor = inFlight.purpose[x]! < Purpose.PROBE
    const mayBeOpt = isAboutEdns(rcode) && inFlight.attemptPlain[a] === 0
    if (mayBeOpt && isWaitedFor && this.#exchanges.turns.mayRepeat(x)) {
      // Perhaps it is the OPT that it does not understand (RFC 6891 §7): ask the same server without, for this question.
      upstreams.failed(server, 'formerr', now, false)
      return this.#exchanges.askAgain(a, AttemptCookie.NONE, true)
    }
    const { ede } = this.#context.answer
    if (ede !== Ede.NONE) inFlight.ede[x] = ede
    this.#notePlainProbe(a)
    this.#exchanges.attemptFailed(a, reasonOf(rcode), isBare ? Fault.ITS : Fault.PERHAPS)
  }

  /** A server that is down and does not understand an OPT would never be found well again: its next probe goes without. */
  #notePlainProbe(a: number): void {
    const { inFlight, upstreams } = this
    if (inFlight.purpose[inFlight.attemptExchange[a]!] !== Purpose.PROBE || !isAboutEdns(this.#judgement.rcode)) return
    upstreams.probeRejected(inFlight.attemptServer[a]!, inFlight.attemptPlain[a] !== 0)
  }

  /**
   * The server wants the cookie that it has just given; one that refuses that too is asked over TCP (RFC 7873 §5.3), and
   * gets none for a while.
   */
  #badCookie(a: number): void {
    const { inFlight } = this
    if (inFlight.attemptCookie[a] === AttemptCookie.SENT) return this.#exchanges.askAgain(a, AttemptCookie.AGAIN)
    this.#state.cookies.giveUp(inFlight.attemptServer[a]!, this.#context.now)
    // Over a stream already: once more, then, without.
    if (inFlight.attemptSocket[a] === NONE) this.#exchanges.askAgain(a)
    else this.#exchanges.askOverStream(a)
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
