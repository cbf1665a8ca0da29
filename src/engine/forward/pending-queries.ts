/**
 * The life of a pending query: opened for a question, one attempt after another until its deadline, settled, closed; or
 * kept for a while after it is answered, to see how the servers do that were asked as well.
 *
 * ```
 *  open → attempt(s) ──timeout, failure──→ attempt(s) → … → deadline, or nobody left to ask: settle → close
 *            └──answer──→ finish → close │ linger, until the others have answered or had their time → close
 * ```
 */
import { Cell, Drop } from '../../stats/counters.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, NONE } from './attempts.ts'
import { Purpose } from './in-flight.ts'
import { type FailureReason, Fault } from '../outlet.ts'
import { Room } from './room.ts'
import { ServerSelection, Asked } from './server-selection.ts'
import type { Settlement } from './settlement.ts'
import { Timers } from './timers.ts'

/**
 * A pending query may have its place for so long, whoever else wants it; then the oldest one makes room. (unbound's
 * `jostle-timeout`.)
 */
const MOST_CERTAIN_MS = 200
/** Forged replies to one question after which it is asked over TCP. */
const NEAR_MISSES = 5
/** Probes at a time. */
const MAX_PROBES = 16
/** With a truncated reply in hand, the whole one is waited for so long once all servers have been asked. */
const TRUNCATED_AFTER_MS = 1800
/** Between tries at servers that are unreachable. */
const NETWORK_RETRY_MS = 500
/** Clients with a stale answer in the cache wait so long for a fresh one: the client response timer (RFC 8767 §5). */
const STALE_AFTER_MS = 1800

/** The life of pending queries, from `start` to `close`. */
export class PendingQueries {
  /** When a pending query goes on by itself. */
  readonly timers: Timers
  readonly selection: ServerSelection
  readonly #state: ForwarderState
  readonly #settlement: Settlement
  readonly #room: Room
  /** When those who wait for a pending query get a stale answer. */
  readonly #staleTimers: Timers
  #lingering = 0
  /** Where the next one that lingers is looked for. */
  #lastDropped = 0
  #probing = 0
  readonly #fire: (p: number) => void = (p) => this.#timeUp(p)
  readonly #fireStale: (p: number) => void = (p) => void this.#settlement.giveStale(p)

  constructor(state: ForwarderState, settlement: Settlement) {
    this.#state = state
    this.#settlement = settlement
    this.selection = new ServerSelection(state)
    this.#room = new Room(state.inFlight.capacity, state.inFlight.foreground)
    this.#room.configure(state.settings.routes.length)
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
    const { attempts, context, inFlight, upstreams } = this.#state
    this.#room.configure(upstreams.routes.length)
    const open = Array.from({ length: inFlight.capacity }, (_, k) => k).filter((k) => this.timers.isArmed(k))
    for (const p of open.toSorted((one, other) => inFlight.startedAt(one) - inFlight.startedAt(other))) {
      inFlight.setRoute(p, upstreams.routeForKey(inFlight.keys, inFlight.keyAt(p), inFlight.keyLength(p)))
      if (inFlight.isWaitedFor(p)) this.#room.take(p, inFlight.route(p))
      if (hasSameServers && this.#isOnRoute(p)) continue
      // Indices mean other servers now, or the wrong ones: attempts under way are given up and made again.
      attempts.closeAll(p)
      inFlight.forgetServers(p)
      this.timers.arm(p, context.now)
    }
  }

  /** True if a query for this key finds a place. */
  hasRoomFor(key: Uint8Array, keyLength: number): boolean {
    return this.#room.isFreeFor(this.#state.upstreams.routeForKey(key, 0, keyLength))
  }

  /** True if there is room that clients will not miss. */
  get hasSpareRoom(): boolean {
    return this.#room.isSpare
  }

  /**
   * Makes room for a query for this key, which may have joined `joined` (or NONE): the one that has waited longest is
   * given up, if it was tried enough, so that nobody has to wait for the deadlines of what a silent server leaves
   * unanswered. `needsWaiter`: a waiter's place is wanted as well. False if nobody can go.
   */
  makeRoom(key: Uint8Array, keyLength: number, joined: number, needsWaiter: boolean): boolean {
    const { context, inFlight, upstreams } = this.#state
    let p = this.#room.longestWaiting(upstreams.routeForKey(key, 0, keyLength))
    while (p !== NONE && (p === joined || !this.#hasPlaceToGive(p, needsWaiter))) p = this.#room.nextLongest(p)
    if (p === NONE || context.now < inFlight.startedAt(p) + this.#enoughMs(p)) return false
    context.counters.drop(Drop.inFlightFull)
    this.#settlement.giveUp(p)
    this.close(p)
    return true
  }

  /** One that goes on although its clients have been answered has no waiter's place. */
  #hasPlaceToGive(p: number, isWaiterPlace: boolean): boolean {
    return !isWaiterPlace || this.#state.waiters.of(p) > 0
  }

  /** How long a query has its place for certain: as long as its server usually takes, twice, but no longer than others can wait. */
  #enoughMs(p: number): number {
    const { attempts, upstreams } = this.#state
    const a = attempts.newest(p)
    const usual = a === NONE ? 0 : upstreams.hedgeAfterMs(attempts.server(a))
    return Math.min(usual, MOST_CERTAIN_MS, this.#state.attemptMs(p))
  }

  /** Opens a pending query for a key, for which there must be room unless it is a probe; NONE if that finds none. */
  open(purpose: number, hash: number, key: Uint8Array, keyLength: number): number {
    const { context, inFlight, settings, upstreams } = this.#state
    const isProbe = isProbing(purpose)
    const route = upstreams.routeForKey(key, 0, keyLength)
    if (isProbe && this.#probing >= MAX_PROBES) return NONE
    // Those that linger may have all the room that is to be had: nobody waits for them.
    if (inFlight.open === inFlight.capacity) this.#dropLingering()
    const p = inFlight.start(hash, key, keyLength, !isProbe)
    if (p === NONE) return NONE
    if (isProbe) this.#probing++
    else this.#room.take(p, route)
    inFlight.assign(p, purpose, route, context.now, context.now + settings.deadlineMs, context.tables)
    this.#showOpen()
    return p
  }

  /** Asks the first server, and one that is down as well if it is due to be probed. */
  start(p: number): void {
    const { context, inFlight, upstreams } = this.#state
    this.#askNext(p)
    if (inFlight.purpose(p) !== Purpose.CLIENT) return
    this.selection.saveForHedges()
    const probed = upstreams.takeProbe(inFlight.route(p), inFlight.tried.of(p), context.now)
    if (probed < 0) return
    const from = inFlight.keyAt(p)
    this.probe(probed, Purpose.PROBE, inFlight.hash(p), inFlight.keys.subarray(from, from + inFlight.keyLength(p)))
  }

  /** Asks a server a question that nobody waits for: a PROBE or a LOOP_PROBE. */
  probe(server: number, purpose: number, hash: number, key: Uint8Array): void {
    const { context, inFlight } = this.#state
    const p = this.open(purpose, hash, key, key.length)
    if (p === NONE) return
    inFlight.setDeadlineAt(p, context.now + this.#state.attemptMs(p))
    if (this.selection.sender.send(p, server, false)) this.#arm(p)
    else this.close(p)
  }

  /** The cache has an answer that may serve if this takes long. */
  armStale(p: number): void {
    const { context, inFlight } = this.#state
    if (this.#staleTimers.isArmed(p)) return
    this.#staleTimers.arm(p, Math.max(context.now, inFlight.startedAt(p) + STALE_AFTER_MS))
  }

  /** Those who waited have been answered. Servers that were asked as well may still show how they do. */
  finish(p: number): void {
    const { inFlight } = this.#state
    this.#staleTimers.cancel(p)
    if (this.#isHopeful(p) && this.#lingering < inFlight.capacity >> 2) this.#linger(p)
    else this.close(p)
  }

  close(p: number): void {
    const { inFlight, truncated } = this.#state
    if (inFlight.purpose(p) === Purpose.LINGER) this.#lingering--
    else if (isProbing(inFlight.purpose(p))) this.#probing--
    this.#room.leave(p)
    truncated.forget(p)
    this.timers.cancel(p)
    this.#staleTimers.cancel(p)
    inFlight.end(p)
    this.#showOpen()
  }

  /** Ends an attempt and asks the next server at once, unless another one's answer is still out. `fault`: a Fault. */
  attemptFailed(a: number, reason: FailureReason, fault: number): void {
    const { attempts, context, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    // Its time may have been up before, which has been counted.
    const isCounted = reason === 'timeout' && attempts.isTimedOut(a)
    if (isCounted) inFlight.setLastFailure(p, reason)
    else this.#state.noteFailure(p, server, reason, fault === Fault.ITS)
    attempts.close(a)
    if (fault !== Fault.NOT_ITS) inFlight.suspects.add(p, server)
    const isAgain = inFlight.failedOnce.has(p, server)
    inFlight.failedOnce.add(p, server)
    // It may pass: the server may be restarting, or be one of several at an address.
    const isPassing = reason === 'network' || reason === 'tls'
    if (isAgain && !isPassing) inFlight.ruledOut.add(p, server)
    // Nobody is there at the moment, and nobody else is left: give it time, up to the deadline.
    const isAlone = isAgain && isPassing && this.selection.untried(p) === 0
    if (isAlone && inFlight.isWaitedFor(p) && !this.#isHopeful(p)) {
      return this.timers.arm(p, Math.min(context.now + NETWORK_RETRY_MS, this.#settlesAt(p)))
    }
    this.goOn(p)
  }

  /** A server's answer is useless and would be again: another server is asked. */
  repliedUselessly(a: number): void {
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    inFlight.ruledOut.add(p, attempts.server(a))
    this.attemptFailed(a, 'malformed', Fault.NOT_ITS)
  }

  /** A stream to the server of an attempt has come to nothing. `isRefused`: nobody listens there. */
  streamFailed(a: number, reason: FailureReason, isRefused: boolean): void {
    if (!this.#isDetour(a)) return this.attemptFailed(a, reason, Fault.ITS)
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    // Some servers close a connection whatever else was sent on it; where nobody listens, nobody will in a moment.
    if (reason === 'network' && !isRefused) inFlight.streamBroken.add(p, server)
    this.#ruleOutSilent(a)
    this.attemptFailed(a, reason, inFlight.garbled.has(p, server) ? Fault.ITS : Fault.NOT_ITS)
  }

  /**
   * Somebody guesses at the reply to this attempt. After a few tries it goes over TCP, and datagrams for it do not count
   * any more. One guess shows little, and a server without TCP must stay of use.
   */
  nearlyMissed(a: number): void {
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    inFlight.setNearMisses(p, inFlight.nearMisses(p) + 1)
    if (inFlight.nearMisses(p) >= NEAR_MISSES && inFlight.isWaitedFor(p) && this.selection.mayRepeat(p)) {
      inFlight.setNearMisses(p, 0)
      this.askOverStream(a)
    }
  }

  /**
   * A reply cannot be read: something on the way may have cut it, and set no TC. The server is asked over TCP, and if that
   * fails without an OPT, which keeps replies short.
   */
  replyGarbled(a: number): void {
    const { attempts, context, inFlight, upstreams } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    inFlight.optFailed.add(p, server)
    if (attempts.socket(a) === NONE || !this.selection.mayRepeat(p))
      return this.attemptFailed(a, 'malformed', Fault.ITS)
    inFlight.garbled.add(p, server)
    upstreams.failed(server, 'malformed', context.now, false)
    this.askOverStream(a)
  }

  /** A server that has left its datagrams, and TCP after them, or its stream unanswered is not asked again. */
  #ruleOutSilent(a: number): void {
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    if (attempts.socket(a) === NONE && this.selection.isUnresponsive(p, server)) inFlight.ruledOut.add(p, server)
  }

  /** Asks the server of an attempt over a stream instead. */
  askOverStream(a: number): void {
    const { attempts, context, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    if (!this.selection.mayRepeat(p)) return this.attemptFailed(a, 'truncated', Fault.NOT_ITS)
    // The datagram's socket plays no part any more: a second truncated copy of the reply is a stray.
    attempts.turnToStream(a, context.now)
    inFlight.countMessage(p)
    this.selection.sender.sendOverStream(a)
    this.#arm(p)
  }

  /**
   * Gives up an attempt and asks the same server in another way, if that can be afforded. `cookie`: what the new one's
   * means; `isPlain`: without an OPT.
   */
  askAgain(a: number, cookie: number = AttemptCookie.SENT, isPlain: boolean = false): void {
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    if (!inFlight.isWaitedFor(p) || !this.selection.mayRepeat(p))
      return this.attemptFailed(a, 'malformed', Fault.PERHAPS)
    // Where datagrams do not get through, another one would not either.
    const isDetour = this.#isDetour(a)
    attempts.close(a)
    if (!this.selection.sender.send(p, server, isDetour, isPlain)) return this.goOn(p)
    // The newest attempt is the first of the list.
    const again = attempts.newest(p)
    if (attempts.cookie(again) !== AttemptCookie.NONE) attempts.setCookie(again, cookie)
    this.#arm(p)
  }

  /** Asks the server of an attempt over a stream beside it: its reply may still come, but nobody waits for it. */
  confirmOverStream(a: number): void {
    const { attempts, inFlight } = this.#state
    const p = attempts.pendingOf(a)
    if (!inFlight.isWaitedFor(p) || attempts.isTimedOut(a)) return
    attempts.timeOut(a)
    if (this.selection.mayRepeat(p) && this.selection.sender.send(p, attempts.server(a), true)) this.#arm(p)
    else this.goOn(p)
  }

  /** After an attempt has ended without an answer: waits for those still out, or asks the next server. */
  goOn(p: number): void {
    const { inFlight } = this.#state
    if (this.#isHopeful(p)) this.#arm(p)
    else if (!inFlight.isWaitedFor(p)) this.close(p)
    else this.#askNext(p)
  }

  /** Asks the next server, or the next few, or settles the query if there is none left to ask. */
  #askNext(p: number): void {
    const { context, inFlight } = this.#state
    const { now } = context
    const deadlineAt = inFlight.deadlineAt(p)
    if (this.#isCutOff(p)) {
      // What is still under way gets its time, and only a stream that broke is tried again.
      const settlesAt = this.#settlesAt(p)
      if (now < settlesAt && this.selection.askBrokenStream(p)) return this.#arm(p)
      return this.#settleAt(p, settlesAt)
    }
    switch (this.selection.askNext(p)) {
      case Asked.SENT:
        return this.#arm(p)
      // No way there (no route, say): the next tick asks another server, and this one again only after a while.
      case Asked.UNREACHABLE:
        return this.timers.arm(p, Math.min(now, deadlineAt))
      case Asked.UNREACHABLE_AGAIN:
        return this.timers.arm(p, Math.min(now + NETWORK_RETRY_MS, deadlineAt))
      default:
        // Answers may still come to what is under way; only the deadline ends that.
        this.#settleAt(p, deadlineAt)
    }
  }

  /** When the wait ends: at the deadline, or before it once all servers were asked and there is a truncated reply. */
  #settlesAt(p: number): number {
    const { inFlight } = this.#state
    const deadlineAt = inFlight.deadlineAt(p)
    return this.#isCutOff(p) ? Math.min(inFlight.startedAt(p) + TRUNCATED_AFTER_MS, deadlineAt) : deadlineAt
  }

  /** True if there is a truncated reply, and no server is left that was not asked. */
  #isCutOff(p: number): boolean {
    return this.#state.truncated.of(p) !== undefined && this.selection.untried(p) === 0
  }

  /** Settles the query at `time`, or now if nothing is under way any more. */
  #settleAt(p: number, time: number): void {
    const { attempts, context } = this.#state
    if (attempts.openOf(p) === 0 || context.now >= time) this.#settle(p)
    else this.timers.arm(p, time)
  }

  #settle(p: number): void {
    this.#settlement.fail(p)
    this.close(p)
  }

  /** The query's timer: attempts have had their time, a hedge is due, or the deadline has come. */
  #timeUp(p: number): void {
    const { attempts, context, inFlight } = this.#state
    const { now } = context
    const attemptMs = this.#state.attemptMs(p)
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a)) {
      if (attempts.isTimedOut(a) || attempts.sentAt(a) + attemptMs > now) continue
      attempts.timeOut(a)
      this.#state.noteFailure(p, attempts.server(a), 'timeout', !this.#isDetour(a))
      this.#ruleOutSilent(a)
    }
    const isWaitedFor = inFlight.isWaitedFor(p)
    if (now >= inFlight.deadlineAt(p)) return isWaitedFor ? this.#settle(p) : this.close(p)
    if (isWaitedFor && this.#isHopeful(p) && now >= inFlight.hedgeAt(p)) this.selection.hedge(p)
    this.goOn(p)
  }

  /** Arms the timer for what comes next: a hedge, the end of an attempt's time, or the deadline. */
  #arm(p: number): void {
    const { attempts, inFlight } = this.#state
    const attemptMs = this.#state.attemptMs(p)
    let due = inFlight.deadlineAt(p)
    let isHopeful = false
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a)) {
      if (attempts.isTimedOut(a)) continue
      isHopeful = true
      due = Math.min(due, attempts.sentAt(a) + attemptMs)
    }
    this.timers.arm(p, isHopeful ? Math.min(due, inFlight.hedgeAt(p)) : due)
  }

  /** True if an answer may come within the time of an attempt. */
  #isHopeful(p: number): boolean {
    const { attempts } = this.#state
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a)) if (!attempts.isTimedOut(a)) return true
    return false
  }

  /** True if the attempt goes over TCP to a server for datagrams: many have no TCP, and do well all the same. */
  #isDetour(a: number): boolean {
    const { attempts, upstreams } = this.#state
    return attempts.socket(a) === NONE && upstreams.server(attempts.server(a)).transport === 'udp'
  }

  /** True if all its open attempts are at servers of its route. */
  #isOnRoute(p: number): boolean {
    const { attempts, inFlight, upstreams } = this.#state
    const { servers } = upstreams.routes[inFlight.route(p)]!
    for (let a = attempts.newest(p); a !== NONE; a = attempts.after(a))
      if (!servers.includes(attempts.server(a))) return false
    return true
  }

  /** Lets an answered query wait for the servers that were asked as well: a dead one would never be found out otherwise. */
  #linger(p: number): void {
    const { inFlight } = this.#state
    inFlight.hide(p)
    this.#room.leave(p)
    inFlight.setPurpose(p, Purpose.LINGER)
    inFlight.setHedgeAt(p, Number.POSITIVE_INFINITY)
    this.#lingering++
    this.#showOpen()
    this.#arm(p)
  }

  /** Closes a query that lingers. There is one: others are fewer than there is room for. */
  #dropLingering(): void {
    const { inFlight } = this.#state
    for (let looked = 0; looked < inFlight.capacity; looked++) {
      const p = (this.#lastDropped + 1) % inFlight.capacity
      this.#lastDropped = p
      if (this.timers.isArmed(p) && inFlight.purpose(p) === Purpose.LINGER) return this.close(p)
    }
  }

  #showOpen(): void {
    const { context } = this.#state
    context.counters.set(Cell.inFlight, this.#room.taken)
  }
}

function isProbing(purpose: number): boolean {
  return purpose === Purpose.PROBE || purpose === Purpose.LOOP_PROBE
}
