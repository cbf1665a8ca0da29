/**
 * The life of an exchange: opened for a question, one attempt after the other until its deadline, settled, closed; or
 * kept for a while when it is answered, to see how the servers do that lost.
 *
 * ```
 *  open → turn → attempt(s) ──time-out, failure──→ turn → … → deadline, or nobody left: settle → close
 *                   └──answer──→ finish → close │ linger, until the others have answered or had their time → close
 * ```
 */
import { Cell } from '../../stats/counters.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, NONE, Purpose } from './in-flight.ts'
import { type FailureReason, Fault } from '../outlet.ts'
import { ServerTurns, Turn } from './server-selection.ts'
import type { Settlement } from './settlement.ts'
import { Timers } from './timers.ts'

/** Probes at a time. */
const MAX_PROBES = 16
/** With half an answer in hand, the whole one is waited for so long once all servers have been asked. */
const TRUNCATED_AFTER_MS = 1800
/** Between tries at servers that are unreachable. */
const NETWORK_RETRY_MS = 500
/** Clients with a stale answer in the cache wait so long for a fresh one: the client response timer (RFC 8767 §5). */
const STALE_AFTER_MS = 1800

export class Exchanges {
  /** When an exchange goes on by itself. */
  readonly timers: Timers
  readonly turns: ServerTurns
  readonly #state: ForwarderState
  readonly #settlement: Settlement
  /** When those who wait for an exchange get a stale answer. */
  readonly #staleTimers: Timers
  #lingering = 0
  /** Where the next one that lingers is looked for. */
  #lastDropped = 0
  #probing = 0
  readonly #fire: (exchange: number) => void = (exchange) => this.#timeUp(exchange)
  readonly #fireStale: (exchange: number) => void = (exchange) => void this.#settlement.giveStale(exchange)

  constructor(state: ForwarderState, settlement: Settlement) {
    this.#state = state
    this.#settlement = settlement
    this.turns = new ServerTurns(state)
    this.timers = new Timers(state.inFlight.capacity, state.context.now)
    this.#staleTimers = new Timers(state.inFlight.capacity, state.context.now)
    // What a worker that died had under way is not under way any more.
    this.#showOpen()
  }

  /** True if nobody waits for anything. */
  get isQuiet(): boolean {
    return this.#state.inFlight.open === this.#lingering
  }

  /** Nothing is due before this time; Infinity if nothing is to come. */
  get nextDue(): number {
    return Math.min(this.timers.nextDue, this.#staleTimers.nextDue)
  }

  /** Fires what is due. */
  tick(): void {
    const { now } = this.#state.context
    this.#staleTimers.expire(now, this.#fireStale)
    this.timers.expire(now, this.#fire)
  }

  /** The settings are others: what is under way goes on at servers that still have it to do, and is begun anew at others. */
  adapt(hasSameServers: boolean): void {
    const { context, inFlight, upstreams } = this.#state
    for (let x = 0; x < inFlight.capacity; x++) {
      if (!this.timers.isArmed(x)) continue
      inFlight.route[x] = upstreams.routeFor(inFlight.keys, inFlight.keyAt(x), inFlight.keyLength[x]! - 3)
      if (hasSameServers && this.#isOnRoute(x)) continue
      // Indices mean other servers now, or the wrong ones: attempts under way are given up and made again.
      while (inFlight.firstAttempt[x] !== NONE) inFlight.closeAttempt(inFlight.firstAttempt[x]!)
      inFlight.triedServers[x] = 0
      inFlight.failedOnce[x] = 0
      inFlight.ruledOut[x] = 0
      inFlight.suspects[x] = 0
      inFlight.caseLost[x] = 0
      inFlight.cookieLost[x] = 0
      inFlight.picks[x] = 0
      inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
      this.timers.arm(x, context.now)
    }
  }

  /** Opens an exchange for a key, NONE if there is no room. */
  open(purpose: number, hash: number, key: Uint8Array, keyLength: number): number {
    const { context, inFlight, maxForeground, settings, upstreams } = this.#state
    const isProbe = isProbing(purpose)
    const foreground = inFlight.open - this.#lingering - this.#probing
    if (isProbe ? this.#probing >= MAX_PROBES : foreground >= maxForeground) return NONE
    // Those that linger may have all the room that is to be had: nobody waits for them.
    if (inFlight.open === inFlight.capacity) this.#dropLingering()
    const x = inFlight.openExchange(hash, key, keyLength, !isProbe)
    if (x === NONE) return NONE
    if (isProbe) this.#probing++
    inFlight.purpose[x] = purpose
    inFlight.route[x] = upstreams.routeFor(key, 0, keyLength - 3)
    inFlight.startedAt[x] = context.now
    inFlight.deadlineAt[x] = context.now + settings.deadlineMs
    this.#showOpen()
    return x
  }

  /** Asks the first server, and one that is down as well if it is due to be probed. */
  start(x: number): void {
    const { context, inFlight, upstreams } = this.#state
    this.#turn(x)
    if (inFlight.purpose[x] !== Purpose.CLIENT) return
    this.turns.saveForHedges()
    const probed = upstreams.takeProbe(inFlight.route[x]!, inFlight.triedServers[x]!, context.now)
    if (probed < 0) return
    const from = inFlight.keyAt(x)
    this.probe(probed, Purpose.PROBE, inFlight.hash[x]!, inFlight.keys.subarray(from, from + inFlight.keyLength[x]!))
  }

  /** Asks a server a question that nobody waits for: a PROBE or a LOOP_PROBE. */
  probe(server: number, purpose: number, hash: number, key: Uint8Array): void {
    const { context, inFlight } = this.#state
    const x = this.open(purpose, hash, key, key.length)
    if (x === NONE) return
    inFlight.deadlineAt[x] = context.now + this.#state.attemptMs(x)
    if (this.turns.sender.send(x, server, false)) this.#arm(x)
    else this.close(x)
  }

  /** The cache has an answer that may serve if this takes long. */
  armStale(x: number): void {
    const { context, inFlight } = this.#state
    if (this.#staleTimers.isArmed(x)) return
    this.#staleTimers.arm(x, Math.max(context.now, inFlight.startedAt[x]! + STALE_AFTER_MS))
  }

  /** Those who waited have been answered. Servers that were asked as well may still show how they do. */
  finish(x: number): void {
    const { inFlight } = this.#state
    this.#staleTimers.cancel(x)
    if (this.#isHopeful(x) && this.#lingering < inFlight.capacity >> 2) this.#linger(x)
    else this.close(x)
  }

  close(x: number): void {
    const { inFlight, truncated } = this.#state
    if (inFlight.purpose[x] === Purpose.LINGER) this.#lingering--
    else if (isProbing(inFlight.purpose[x]!)) this.#probing--
    truncated.forget(x)
    this.timers.cancel(x)
    this.#staleTimers.cancel(x)
    inFlight.closeExchange(x)
    this.#showOpen()
  }

  /** Ends an attempt and asks the next server at once, unless another one's answer is still out. `fault`: a Fault. */
  attemptFailed(a: number, reason: FailureReason, fault: number): void {
    const { context, inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    // Its time may have been up before, which has been counted.
    const isCounted = reason === 'timeout' && inFlight.attemptTimedOut[a] !== 0
    if (isCounted) this.#state.noteReason(x, reason)
    else this.#state.noteFailure(x, server, reason, fault === Fault.ITS)
    inFlight.closeAttempt(a)
    const bit = 1 << server
    if (fault !== Fault.NOT_ITS) inFlight.suspects[x] = inFlight.suspects[x]! | bit
    const isAgain = (inFlight.failedOnce[x]! & bit) !== 0
    inFlight.failedOnce[x] = inFlight.failedOnce[x]! | bit
    // What a server that restarts does, or one of several behind an address, may pass.
    const isPassing = reason === 'network' || reason === 'tls'
    if (isAgain && !isPassing) inFlight.ruledOut[x] = inFlight.ruledOut[x]! | bit
    // Nobody is there at the moment, and nobody else is left: give it time, up to the deadline.
    const isAlone = isAgain && isPassing && this.turns.untried(x) === 0
    if (isAlone && inFlight.purpose[x]! < Purpose.PROBE && !this.#isHopeful(x)) {
      return this.timers.arm(x, Math.min(context.now + NETWORK_RETRY_MS, inFlight.deadlineAt[x]!))
    }
    this.turnOn(x)
  }

  /** A server's answer is of no use, and will be none if it is asked again: another one is, perhaps it knows better. */
  answeredInVain(a: number): void {
    const { inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    inFlight.ruledOut[x] = inFlight.ruledOut[x]! | (1 << inFlight.attemptServer[a]!)
    this.attemptFailed(a, 'malformed', Fault.NOT_ITS)
  }

  /** A stream to the server of an attempt has come to nothing. */
  streamFailed(a: number, reason: FailureReason): void {
    if (!this.#isDetour(a)) return this.attemptFailed(a, reason, Fault.ITS)
    this.#ruleOutSilent(a)
    this.attemptFailed(a, reason, Fault.NOT_ITS)
  }

  /** A server that has left its datagrams, and TCP after them, or its stream unanswered is not asked again. */
  #ruleOutSilent(a: number): void {
    const { inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    if (inFlight.attemptSocket[a] === NONE && this.turns.isUnresponsive(x, server))
      inFlight.ruledOut[x] = inFlight.ruledOut[x]! | (1 << server)
  }

  /** Asks the server of an attempt over a stream instead. */
  askOverStream(a: number): void {
    const { context, inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    if (!this.turns.mayRepeat(x)) return this.attemptFailed(a, 'truncated', Fault.NOT_ITS)
    // The datagram's socket plays no part any more: a second truncated copy of the reply is a stray.
    inFlight.attemptSocket[a] = NONE
    inFlight.attemptsMade[x] = inFlight.attemptsMade[x]! + 1
    inFlight.attemptSentAt[a] = context.now
    inFlight.attemptTimedOut[a] = 0
    inFlight.attemptCase[a] = 0
    this.turns.sender.sendOverStream(a)
    this.#arm(x)
  }

  /**
   * Gives up an attempt and asks the same server in another way, if that can be afforded. `cookie`: what the new one's
   * means; `isPlain`: without an OPT.
   */
  askAgain(a: number, cookie: number = AttemptCookie.SENT, isPlain: boolean = false): void {
    const { inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    if (inFlight.purpose[x]! >= Purpose.PROBE || !this.turns.mayRepeat(x))
      return this.attemptFailed(a, 'malformed', Fault.PERHAPS)
    // Where datagrams do not get through, another one would not either.
    const isDetour = this.#isDetour(a)
    inFlight.closeAttempt(a)
    if (!this.turns.sender.send(x, server, isDetour, isPlain)) return this.turnOn(x)
    // The newest attempt is the first of the list.
    const again = inFlight.firstAttempt[x]!
    if (inFlight.attemptCookie[again] !== AttemptCookie.NONE) inFlight.attemptCookie[again] = cookie
    this.#arm(x)
  }

  /** Asks the server of an attempt over a stream beside it: its reply may still come, but nobody waits for it. */
  askBesideIt(a: number): void {
    const { inFlight } = this.#state
    const x = inFlight.attemptExchange[a]!
    if (inFlight.purpose[x]! >= Purpose.PROBE || inFlight.attemptTimedOut[a] !== 0) return
    inFlight.attemptTimedOut[a] = 1
    if (this.turns.mayRepeat(x) && this.turns.sender.send(x, inFlight.attemptServer[a]!, true)) this.#arm(x)
    else this.turnOn(x)
  }

  /** After an attempt has ended without an answer: waits for those still out, or asks the next server. */
  turnOn(x: number): void {
    const { inFlight } = this.#state
    if (this.#isHopeful(x)) this.#arm(x)
    else if (inFlight.purpose[x]! >= Purpose.PROBE) this.close(x)
    else this.#turn(x)
  }

  /** Asks the next server, or the next few, or ends the exchange if there is none left to ask. */
  #turn(x: number): void {
    const { context, inFlight, truncated } = this.#state
    const { now } = context
    const deadlineAt = inFlight.deadlineAt[x]!
    if (truncated.of(x) !== undefined && this.turns.untried(x) === 0) {
      // There is half an answer: what is still under way gets its time, and no more is asked.
      return this.#settleAt(x, Math.min(inFlight.startedAt[x]! + TRUNCATED_AFTER_MS, deadlineAt))
    }
    switch (this.turns.askNext(x)) {
      case Turn.SENT:
        return this.#arm(x)
      // No way there (no route, say): the next tick turns to another server, and to this one again only after a while.
      case Turn.UNREACHABLE:
        return this.timers.arm(x, Math.min(now, deadlineAt))
      case Turn.UNREACHABLE_AGAIN:
        return this.timers.arm(x, Math.min(now + NETWORK_RETRY_MS, deadlineAt))
      default:
        // Answers may still come to what is under way; only the deadline ends that.
        this.#settleAt(x, deadlineAt)
    }
  }

  /** Settles the exchange at `time`, or now if nothing is under way any more. */
  #settleAt(x: number, time: number): void {
    const { context, inFlight } = this.#state
    if (inFlight.openAttempts[x] === 0 || context.now >= time) this.#settle(x)
    else this.timers.arm(x, time)
  }

  #settle(x: number): void {
    this.#settlement.fail(x)
    this.close(x)
  }

  /** The exchange's timer: attempts have had their time, a hedge is due, or the deadline has come. */
  #timeUp(x: number): void {
    const { context, inFlight } = this.#state
    const { now } = context
    const attemptMs = this.#state.attemptMs(x)
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a)) {
      if (inFlight.attemptTimedOut[a] !== 0 || inFlight.attemptSentAt[a]! + attemptMs > now) continue
      inFlight.attemptTimedOut[a] = 1
      this.#state.noteFailure(x, inFlight.attemptServer[a]!, 'timeout', !this.#isDetour(a))
      this.#ruleOutSilent(a)
    }
    const isWaitedFor = inFlight.purpose[x]! < Purpose.PROBE
    if (now >= inFlight.deadlineAt[x]!) return isWaitedFor ? this.#settle(x) : this.close(x)
    if (isWaitedFor && this.#isHopeful(x) && now >= inFlight.hedgeAt[x]!) this.turns.hedge(x)
    this.turnOn(x)
  }

  /** Arms the timer for what comes next: a hedge, the end of an attempt's time, or the deadline. */
  #arm(x: number): void {
    const { inFlight } = this.#state
    const attemptMs = this.#state.attemptMs(x)
    let due = inFlight.deadlineAt[x]!
    let isHopeful = false
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a)) {
      if (inFlight.attemptTimedOut[a] !== 0) continue
      isHopeful = true
      due = Math.min(due, inFlight.attemptSentAt[a]! + attemptMs)
    }
    this.timers.arm(x, isHopeful ? Math.min(due, inFlight.hedgeAt[x]!) : due)
  }

  /** True if an answer may come within the time of an attempt. */
  #isHopeful(x: number): boolean {
    const { inFlight } = this.#state
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a))
      if (inFlight.attemptTimedOut[a] === 0) return true
    return false
  }

  /** True if the attempt goes over TCP to a server for datagrams: many have no TCP, and do well all the same. */
  #isDetour(a: number): boolean {
    const { inFlight, upstreams } = this.#state
    return inFlight.attemptSocket[a] === NONE && upstreams.server(inFlight.attemptServer[a]!).transport === 'udp'
  }

  /** True if all that is under way for the exchange is so at servers of its route. */
  #isOnRoute(x: number): boolean {
    const { inFlight, upstreams } = this.#state
    const { servers } = upstreams.routes[inFlight.route[x]!]!
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a))
      if (!servers.includes(inFlight.attemptServer[a]!)) return false
    return true
  }

  /** Lets an answered exchange wait for the servers that were asked as well: without it a dead one would never be found out. */
  #linger(x: number): void {
    const { inFlight } = this.#state
    inFlight.unlink(x)
    inFlight.purpose[x] = Purpose.LINGER
    inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
    this.#lingering++
    this.#showOpen()
    this.#arm(x)
  }

  /** Closes an exchange that lingers. There is one: others are fewer than there is room for. */
  #dropLingering(): void {
    const { inFlight } = this.#state
    for (let looked = 0; looked < inFlight.capacity; looked++) {
      const x = (this.#lastDropped + 1) % inFlight.capacity
      this.#lastDropped = x
      if (this.timers.isArmed(x) && inFlight.purpose[x] === Purpose.LINGER) return this.close(x)
    }
  }

  #showOpen(): void {
    const { context, inFlight } = this.#state
    context.counters.set(Cell.inFlight, inFlight.open - this.#lingering - this.#probing)
  }
}

function isProbing(purpose: number): boolean {
  return purpose === Purpose.PROBE || purpose === Purpose.LOOP_PROBE
}
