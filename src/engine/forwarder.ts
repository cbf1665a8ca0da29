/**
 * Everything that is not known here: joins equal questions, asks upstream servers one after another within one deadline,
 * believes a reply only if it fits (RFC 5452), and hands the answer to all who wait.
 *
 * ```
 *  forward → join an open exchange │ open one → attempt → datagram ──→ reply → store → waiters
 *                                             ↑    │ truncated ─→ stream ─┘
 *                                             └────┴ failure, time-out: next server, until the deadline → SERVFAIL
 *  a stale answer: given to those who wait after 1.8 s, while the exchange goes on, and if all servers fail (RFC 8767)
 * ```
 */
import { type Answer, isSameQuestion, readCookie } from '../dns/answer.ts'
import { CLASS_IN, Ede, Flag, HEADER_BYTES, Rcode, Type } from '../dns/constants.ts'
import { hasMixedCase, mixCase } from '../dns/name-case.ts'
import { copyBytes, isServerFailure, readU16, setCounts, writeOpt, writeU16 } from '../dns/reply.ts'
import { readReply } from '../dns/scrub.ts'
import { Cell, Drop, Source, UpstreamField, type WorkerCounters } from '../stats/counters.ts'
import type { Cache } from './cache.ts'
import { type ClientQuery, Variant } from './client-query.ts'
import { AttemptCookie, InFlight, NONE } from './in-flight.ts'
import { LoopProbe } from './loop-probe.ts'
import { ANY_TYPE_KEY, cutHash } from './nxdomain-cut.ts'
import type { FailureReason, Outlet } from './outlet.ts'
import type { EngineSettings } from './settings.ts'
import type { StreamExchanged } from './stream-port.ts'
import { AnswerStore, ageOf, StoredFlag, storeAnswer, storeFailure, writeStored } from './stored-answer.ts'
import { Timers } from './timers.ts'
import { TruncatedReplies } from './truncated-replies.ts'
import { CookieCheck, UpstreamCookies } from './upstream-cookies.ts'
import { Upstreams } from './upstreams.ts'

/** Payload size that we tell upstream servers: what crosses any path unfragmented (DNS Flag Day 2020). */
const UPSTREAM_PAYLOAD = 1232
/** Bounds the messages that one client query can cause, whatever the servers do: repeats over TCP and without EDNS count. */
const MAX_MESSAGES = 8
/** Repeats at one server leave this many of them for servers that were not asked yet, if there are so many. */
const KEPT_FOR_OTHERS = 3
/** Servers asked at once under policy `parallel`. */
const PARALLEL = 3
/** Hedges are paid from what every question of a client puts aside, so that a slow network is not doubled. */
const HEDGE_SHARE = 0.1
const HEDGE_BURST = 10
/** Between tries at servers that are unreachable. */
const NETWORK_RETRY_MS = 500
/** Exchanges beside those of `maxInFlight`, so that probes find a place however small that is; and how many may be probes. */
const BACKGROUND_EXCHANGES = 32
const MAX_PROBES = 16
/** With half an answer in hand, the whole one is waited for so long once all servers have been asked. */
const TRUNCATED_AFTER_MS = 1800
/** TTL of a stale answer (RFC 8767 §4). */
const STALE_TTL_SECONDS = 30
/** Clients with a stale answer in the cache wait so long for a fresh one: the client response timer (RFC 8767 §5). */
const STALE_AFTER_MS = 1800
/** After a failure to refresh it a stale answer serves at once: the failure recheck timer (RFC 8767 §5). */
const STALE_RECHECK_SECONDS = 30
/** How long a failure is kept, doubled each time it repeats (RFC 9520 §3.2); how long after that it counts as repeated. */
const FIRST_FAILURE_SECONDS = 1
const LONGEST_FAILURE_SECONDS = 5
const REPEATED_WITHIN_SECONDS = 30

/** Why an exchange exists. LINGER: it has been answered, and waits only to learn how the servers that lost do. */
const Purpose = { CLIENT: 0, PREFETCH: 1, PROBE: 2, LINGER: 3 } as const

const FAILURE_REASONS: readonly FailureReason[] = [
  'timeout',
  'refused',
  'servfail',
  'malformed',
  'network',
  'truncated',
  'formerr',
]

/** How a stream's failures count: `refused` is a server's word (an rcode), not a closed port. */
const STREAM_FAILURES: Record<NonNullable<StreamExchanged['failure']>, FailureReason> = {
  timeout: 'timeout',
  refused: 'network',
  network: 'network',
  malformed: 'malformed',
  tls: 'network',
}

/** What the forwarder needs from the engine around it. */
export interface ForwarderContext {
  readonly outlet: Outlet
  readonly counters: WorkerCounters
  readonly random: () => number
  readonly answer: Answer
  readonly cache: Cache | null
  readonly seed: number
  now: number
  /** Writes an error reply to `query` and counts it; returns its length. */
  writeError(query: ClientQuery, rcode: number, ede: number, out: Uint8Array, outAt: number): number
}

export class Forwarder {
  readonly #context: ForwarderContext
  readonly #waiter: ClientQuery
  readonly inFlight: InFlight
  readonly timers: Timers
  /** When those who wait for an exchange get a stale answer. */
  readonly #staleTimers: Timers
  upstreams: Upstreams
  #cookies: UpstreamCookies
  readonly loopProbe: LoopProbe = new LoopProbe()
  #settings: EngineSettings
  #hedgesSaved: number = HEDGE_BURST
  #lingering = 0
  #probing = 0
  readonly #truncated: TruncatedReplies = new TruncatedReplies()
  /** One answer in the form in which it is kept; 64 KiB and what surrounds it. */
  readonly #scratch: AnswerStore = new AnswerStore(96 * 1024)
  readonly #fire: (exchange: number) => void = (exchange) => this.#timeUp(exchange)
  readonly #fireStale: (exchange: number) => void = (exchange) => void this.#settleStale(exchange)

  constructor(context: ForwarderContext, settings: EngineSettings, waiter: ClientQuery) {
    this.#context = context
    this.#waiter = waiter
    this.#settings = settings
    this.inFlight = new InFlight(settings.maxInFlight, BACKGROUND_EXCHANGES)
    this.timers = new Timers(this.inFlight.capacity, context.now)
    this.#staleTimers = new Timers(this.inFlight.capacity, context.now)
    this.upstreams = new Upstreams(settings, context.counters, context.random)
    this.#cookies = new UpstreamCookies(settings.servers, context.random)
    this.loopProbe.configure(settings.loopProbe, context.now)
    // What a worker that died had under way is not under way any more.
    this.#showInFlight()
  }

  /** Takes new settings; exchanges under way go on with servers that still exist and end with those that do not. */
  configure(settings: EngineSettings): void {
    this.#settings = settings
    const before = this.upstreams
    this.upstreams = new Upstreams(settings, this.#context.counters, this.#context.random, before)
    const hasSameServers = this.upstreams.hasServersOf(before)
    this.#cookies = new UpstreamCookies(settings.servers, this.#context.random, this.#cookies)
    this.loopProbe.configure(settings.loopProbe, this.#context.now)
    if (!hasSameServers) this.#truncated.clear()
    for (let x = 0; x < this.inFlight.capacity; x++) {
      if (!this.timers.isArmed(x)) continue
      this.inFlight.route[x] = this.upstreams.routeFor(
        this.inFlight.keys,
        this.inFlight.keyAt(x),
        this.inFlight.keyLength[x]! - 3,
      )
      if (hasSameServers && this.#isOnRoute(x)) continue
      // Indices mean other servers now, or the wrong ones: attempts under way are given up and made again.
      while (this.inFlight.firstAttempt[x] !== NONE) this.inFlight.closeAttempt(this.inFlight.firstAttempt[x]!)
      this.inFlight.triedServers[x] = 0
      this.inFlight.failedOnce[x] = 0
      this.inFlight.failedTwice[x] = 0
      this.inFlight.caseLost[x] = 0
      this.inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
      this.timers.arm(x, this.#context.now)
    }
  }

  /** True if all that is under way for the exchange is so at servers of its route. */
  #isOnRoute(x: number): boolean {
    const { inFlight } = this
    const { servers } = this.upstreams.routes[inFlight.route[x]!]!
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a))
      if (!servers.includes(inFlight.attemptServer[a]!)) return false
    return true
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
    if (!isJoining) x = this.#open(Purpose.CLIENT, hash, key, keyLength)
    if (x === NONE) {
      counters.drop(Drop.inFlightFull)
      return this.#context.writeError(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
    }
    const waiter = inFlight.addWaiter(x, query)
    if (waiter === NONE) {
      counters.drop(Drop.waitersFull)
      if (!isJoining) this.#close(x)
      return this.#context.writeError(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
    }
    outlet.hold(waiter)
    if (isStale && !this.#staleTimers.isArmed(x)) {
      this.#staleTimers.arm(x, Math.max(this.#context.now, inFlight.startedAt[x]! + STALE_AFTER_MS))
    }
    if (isJoining) counters.add(Cell.coalesced, 1)
    else this.#start(x)
    return 0
  }

  /** Refreshes an answer in the background, unless its question is under way anyway. */
  prefetch(hash: number, key: Uint8Array, keyLength: number): void {
    if (this.inFlight.find(hash, key, keyLength) !== NONE) return
    const x = this.#open(Purpose.PREFETCH, hash, key, keyLength)
    if (x === NONE) return
    this.#context.counters.add(Cell.cachePrefetches, 1)
    this.#start(x)
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
  streamReply(token: number, reply: Uint8Array | null, failure: StreamExchanged['failure']): void {
    const { inFlight } = this
    // The token names the attempt's id as well, because an exchange may have several streams under way.
    const id = Math.floor(token / 2 ** 37)
    const x = inFlight.ofToken(token % 2 ** 37)
    const a = x === NONE ? NONE : inFlight.attemptById(id)
    if (a === NONE || inFlight.attemptExchange[a] !== x) return this.#context.counters.drop(Drop.lateReply)
    if (reply === null || reply.length < HEADER_BYTES) {
      this.#forgetDoubt(a)
      return this.#attemptFailed(a, STREAM_FAILURES[failure ?? 'malformed'], true)
    }
    this.#reply(a, reply, 0, reply.length, false, true)
  }

  /** A socket towards a server reported an error (ICMP port unreachable and the like): what went out by it is lost. */
  socketFailed(socket: number): void {
    const { inFlight } = this
    for (let a = 0; a < inFlight.attemptCapacity; a++) {
      if (inFlight.attemptExchange[a] !== NONE && inFlight.attemptSocket[a] === socket)
        this.#attemptFailed(a, 'network', true)
    }
  }

  /** True if nobody waits for anything. */
  get isQuiet(): boolean {
    return this.inFlight.open === this.#lingering
  }

  /** Nothing is due before this time; Infinity if nothing is to come. */
  get nextDue(): number {
    return Math.min(this.timers.nextDue, this.#staleTimers.nextDue, this.loopProbe.dueAt)
  }

  /** Fires what is due. */
  tick(): void {
    this.#staleTimers.expire(this.#context.now, this.#fireStale)
    this.timers.expire(this.#context.now, this.#fire)
    this.loopProbe.takeDue(this.#context.now)?.forEach((name, server) => {
      if (name !== null && server < this.upstreams.count) this.#askForLoop(server, name)
    })
  }

  #askForLoop(server: number, name: Uint8Array): void {
    const key = new Uint8Array(name.length + 3)
    key.set(name)
    key[name.length + 1] = Type.HINFO
    this.#probeWith(server, 0, key)
  }

  #open(purpose: number, hash: number, key: Uint8Array, keyLength: number): number {
    const { inFlight } = this
    const { now } = this.#context
    const isProbe = purpose === Purpose.PROBE
    const background = this.#lingering + this.#probing
    if (isProbe ? this.#probing >= MAX_PROBES : inFlight.open - background >= inFlight.capacity - BACKGROUND_EXCHANGES)
      return NONE
    const x = inFlight.openExchange(hash, key, keyLength, !isProbe)
    if (x === NONE) return NONE
    if (isProbe) this.#probing++
    inFlight.purpose[x] = purpose
    inFlight.route[x] = this.upstreams.routeFor(key, 0, keyLength - 3)
    inFlight.startedAt[x] = now
    inFlight.deadlineAt[x] = now + this.#settings.deadlineMs
    this.#showInFlight()
    return x
  }

  #showInFlight(): void {
    this.#context.counters.set(Cell.inFlight, this.inFlight.open - this.#lingering - this.#probing)
  }

  #start(x: number): void {
    const { inFlight } = this
    this.#attempt(x)
    if (inFlight.purpose[x] !== Purpose.CLIENT) return
    this.#hedgesSaved = Math.min(HEDGE_BURST, this.#hedgesSaved + HEDGE_SHARE)
    const probed = this.upstreams.takeProbe(inFlight.route[x]!, inFlight.triedServers[x]!, this.#context.now)
    if (probed >= 0) this.#probe(x, probed)
  }

  /** Asks a server that is down the same question, for its health alone. */
  #probe(of: number, server: number): void {
    const { inFlight } = this
    const from = inFlight.keyAt(of)
    const length = inFlight.keyLength[of]!
    this.#probeWith(server, inFlight.hash[of]!, inFlight.keys.subarray(from, from + length))
  }

  #probeWith(server: number, hash: number, key: Uint8Array): void {
    const { inFlight } = this
    const x = this.#open(Purpose.PROBE, hash, key, key.length)
    if (x === NONE) return
    inFlight.deadlineAt[x] = this.#context.now + this.#attemptMs
    if (this.#send(x, server)) this.#arm(x)
    else this.#close(x)
  }

  /** How long an answer is waited for before the next server is asked. */
  get #attemptMs(): number {
    return Math.min(this.#settings.attemptTimeoutMs, this.#settings.deadlineMs)
  }

  /** Asks the next server, or the next few, or ends the exchange if there is none left to ask. */
  #attempt(x: number): void {
    const { inFlight, upstreams } = this
    const { now } = this.#context
    const route = inFlight.route[x]!
    const { policy, servers } = upstreams.routes[route]!
    if (this.#truncated.of(x) !== undefined && this.#untried(x) === 0) return this.#awaitWhole(x)
    const width = policy === 'parallel' ? PARALLEL : 1
    const tried = inFlight.triedServers[x]! | inFlight.failedOnce[x]!
    const failedBefore = inFlight.failedOnce[x]!
    let excluded = inFlight.failedTwice[x]!
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
      return this.#arm(x)
    }
    if (picked >= 0) {
      // No way there (no route, say): the next tick turns to another server, and to this one again only after a while.
      const isFirstFailure = (inFlight.failedOnce[x]! & ~failedBefore & (1 << picked)) !== 0
      return this.timers.arm(x, Math.min(now + (isFirstFailure ? 0 : NETWORK_RETRY_MS), inFlight.deadlineAt[x]!))
    }
    // Answers may still come to what is under way; only the deadline ends that.
    if (inFlight.openAttempts[x] === 0 || now >= inFlight.deadlineAt[x]!) this.#settle(x)
    else this.timers.arm(x, inFlight.deadlineAt[x]!)
  }

  /** All servers have been asked, and there is half an answer: what is still under way gets its time, and no more is asked. */
  #awaitWhole(x: number): void {
    const { inFlight } = this
    const until = Math.min(inFlight.startedAt[x]! + TRUNCATED_AFTER_MS, inFlight.deadlineAt[x]!)
    if (inFlight.openAttempts[x] === 0 || this.#context.now >= until) this.#settle(x)
    else this.timers.arm(x, until)
  }

  /** How many servers of the exchange's route have not been asked. */
  #untried(x: number): number {
    let untried = 0
    for (const server of this.upstreams.routes[this.inFlight.route[x]!]!.servers) {
      if ((this.inFlight.triedServers[x]! & (1 << server)) === 0) untried++
    }
    return untried
  }

  /** True if the exchange may ask nobody any more. */
  #isSpent(x: number): boolean {
    const { inFlight } = this
    const most = this.#settings.maxAttempts ?? MAX_MESSAGES
    return (
      inFlight.attemptsMade[x]! >= MAX_MESSAGES ||
      inFlight.picks[x]! >= most ||
      this.#context.now >= inFlight.deadlineAt[x]!
    )
  }

  /** True if the exchange can afford to ask a server a second time in another way. */
  #mayRepeat(x: number): boolean {
    return this.inFlight.attemptsMade[x]! + Math.min(this.#untried(x), KEPT_FOR_OTHERS) < MAX_MESSAGES
  }

  /** Decides when to ask a second server if `server` has not answered. */
  #planHedge(x: number, server: number): void {
    const { inFlight } = this
    if (inFlight.purpose[x] !== Purpose.CLIENT) return
    const after = this.upstreams.hedgeAfterMs(server)
    if (after < this.#attemptMs) inFlight.hedgeAt[x] = this.#context.now + after
  }

  /** The first server takes long: asks a healthy other one beside it, if that can be paid. */
  #hedge(x: number): void {
    const { inFlight, upstreams } = this
    inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
    if (this.#hedgesSaved < 1 || this.#isSpent(x)) return
    const tried = inFlight.triedServers[x]! | inFlight.failedOnce[x]!
    const server = upstreams.choose(inFlight.route[x]!, tried, 0)
    if (server < 0 || upstreams.isDown(server)) return
    this.#hedgesSaved--
    this.#context.counters.add(Cell.hedges, 1)
    this.#pick(x, server)
  }

  /** Arms the timer for what comes next: a hedge, the end of an attempt's time, or the deadline. */
  #arm(x: number): void {
    const { inFlight } = this
    const attemptMs = this.#attemptMs
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
    const { inFlight } = this
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a))
      if (inFlight.attemptTimedOut[a] === 0) return true
    return false
  }

  /** Sends to a server and counts it as picked. */
  #pick(x: number, server: number): boolean {
    const { inFlight } = this
    const before = inFlight.attemptsMade[x]!
    const isSent = this.#send(x, server)
    if (inFlight.attemptsMade[x] !== before) inFlight.picks[x] = inFlight.picks[x]! + 1
    return isSent
  }

  /**
   * Opens an attempt and sends it by the server's transport, or over a stream all the same. False if it cannot be sent;
   * the timer is the caller's.
   */
  #send(x: number, server: number, isOverStream: boolean = false): boolean {
    const { inFlight } = this
    const { counters, now, outlet } = this.#context
    const a = inFlight.openAttempt(x, server, now, this.#context.random)
    // All attempts are in use: to be tried again when some have ended.
    if (a === NONE) return false
    inFlight.attemptsMade[x] = inFlight.attemptsMade[x]! + 1
    const isRepeat = (inFlight.triedServers[x]! & (1 << server)) !== 0
    inFlight.triedServers[x] = inFlight.triedServers[x]! | (1 << server)
    const { transport } = this.upstreams.server(server)
    // Where TLS proves who answers, cookies would only show who asks.
    const isPlain = transport === 'udp' || transport === 'tcp'
    if (isPlain && this.#cookies.isWanted(server, isRepeat, now)) inFlight.attemptCookie[a] = AttemptCookie.SENT
    if (transport !== 'udp' || isOverStream) {
      this.#sendStream(a, transport === 'udp' ? 'tcp' : transport)
      return true
    }
    if (this.#settings.caseRandomization === true && this.#isCaseMixed(x, server))
      inFlight.attemptCase[a] = this.#context.random() | 1
    const length = this.#writeQuery(a)
    counters.upstreamAdd(server, UpstreamField.requestsUdp, 1)
    const socket = outlet.sendQuery(server, length, inFlight.lastSocket[x]!)
    inFlight.attemptSocket[a] = socket
    inFlight.lastSocket[x] = socket
    if (socket >= 0) return true
    this.upstreams.failed(server, 'network', now, true)
    inFlight.closeAttempt(a)
    inFlight.lastFailure[x] = FAILURE_REASONS.indexOf('network')
    inFlight.failedOnce[x] = inFlight.failedOnce[x]! | (1 << server)
    return false
  }

  /** Nothing that a probe's reply says is believed: it needs no proof, and a server that does not repeat it does well. */
  #isCaseMixed(x: number, server: number): boolean {
    const { inFlight } = this
    const hasLost = (inFlight.caseLost[x]! & (1 << server)) !== 0
    return inFlight.purpose[x]! < Purpose.PROBE && !hasLost && this.upstreams.keepsCase(server, this.#context.now)
  }

  #sendStream(a: number, transport: 'tcp' | 'tls' | 'https'): void {
    const { inFlight } = this
    const { counters, outlet } = this.#context
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const length = this.#writeQuery(a)
    const field =
      transport === 'tcp'
        ? UpstreamField.requestsTcp
        : transport === 'tls'
          ? UpstreamField.requestsTls
          : UpstreamField.requestsHttps
    counters.upstreamAdd(server, field, 1)
    const token = inFlight.token(x) + inFlight.attemptId[a]! * 2 ** 37
    const timeout = Math.max(1, inFlight.deadlineAt[x]! - this.#context.now)
    outlet.sendStreamQuery(token, server, transport, length, timeout)
  }

  /** Writes the query of an attempt where the outlet wants it; returns its length. */
  #writeQuery(a: number): number {
    const { inFlight } = this
    const { outlet } = this.#context
    outlet.openQuery()
    const out = outlet.query
    const at = outlet.queryAt
    const x = inFlight.attemptExchange[a]!
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    const variant = inFlight.keys[keyAt + keyLength - 1]!
    writeU16(out, at, inFlight.attemptId[a]!)
    // AD asks for the server's verdict, which is then shown to the clients that want it (RFC 6840 §5.7).
    writeU16(
      out,
      at + 2,
      Flag.AD | ((variant & Variant.NO_RECURSION) !== 0 ? 0 : Flag.RD) | ((variant & Variant.CD) !== 0 ? Flag.CD : 0),
    )
    writeU16(out, at + 4, 1)
    setCounts(out, at, 0, 0, 0)
    copyBytes(inFlight.keys, keyAt, keyLength - 1, out, at + HEADER_BYTES)
    const seed = inFlight.attemptCase[a]!
    if (seed !== 0) mixCase(inFlight.keys, keyAt, keyLength - 3, seed, out, at + HEADER_BYTES)
    const end = writeU16(out, at + HEADER_BYTES + keyLength - 1, CLASS_IN)
    const server = inFlight.attemptServer[a]!
    if (this.upstreams.isEdnsBroken(server, this.#context.now)) {
      inFlight.attemptCookie[a] = AttemptCookie.NONE
      return end - at
    }
    setCounts(out, at, 0, 0, 1)
    const opt = writeOpt(out, end, UPSTREAM_PAYLOAD, 0, (variant & Variant.DO) !== 0)
    return (inFlight.attemptCookie[a] === AttemptCookie.NONE ? opt : this.#cookies.add(server, out, end, opt)) - at
  }

  /** A message that came from where the attempt went, under its id. */
  #reply(a: number, packet: Uint8Array, start: number, length: number, isCut: boolean, isStream: boolean): void {
    const { inFlight } = this
    const { answer, counters } = this.#context
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    const flags = readU16(packet, start + 2)
    if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR) return counters.drop(Drop.spoofedReply)
    const rcode = flags & Flag.RCODE
    if (!isSameQuestion(packet, start, length, inFlight.keys, keyAt, keyLength - 3)) {
      // A bare header with an error is how some servers refuse what they do not understand.
      if (readU16(packet, start + 4) !== 0 || rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN)
        return counters.drop(Drop.spoofedReply)
      if (
        inFlight.purpose[x]! < Purpose.PROBE &&
        !this.#isErrorOfServer(a, packet, start, length, HEADER_BYTES, isStream)
      )
        return
      return this.#serverFailed(a, rcode, length > HEADER_BYTES)
    }
    const seed = inFlight.attemptCase[a]!
    if (seed !== 0) {
      if (!hasMixedCase(packet, start + HEADER_BYTES, inFlight.keys, keyAt, keyLength - 3, seed))
        return this.#caseLost(a)
      this.upstreams.caseKept(server)
    }
    if (inFlight.purpose[x]! >= Purpose.PROBE) return this.#showedItself(a, rcode)
    const questionEnd = HEADER_BYTES + keyLength + 1
    const isTruncated = isCut || (flags & Flag.TC) !== 0
    if (isTruncated || isServerFailure(rcode)) {
      if (!this.#isErrorOfServer(a, packet, start, length, questionEnd, isStream)) return
      if (!isTruncated) return this.#serverFailed(a, rcode, true)
      if (!isServerFailure(rcode)) this.#truncated.keep(x, packet, start, length, questionEnd)
      // Cut even where there is room for all: half an answer passed on as a whole one would be a lie.
      return isStream ? this.#attemptFailed(a, 'truncated', false) : this.#askOverStream(a)
    }
    const type = readU16(inFlight.keys, keyAt + keyLength - 3)
    if (!readReply(packet, start, length, questionEnd, type, answer)) {
      if (!this.#isErrorOfServer(a, packet, start, length, questionEnd, isStream)) return
      counters.drop(Drop.malformedReply)
      return this.#attemptFailed(a, 'malformed', true)
    }
    if (!this.#hasItsCookie(a, packet, start, isStream)) return
    if (answer.rcode === Rcode.BADCOOKIE && inFlight.attemptCookie[a] !== AttemptCookie.NONE) return this.#badCookie(a)
    if (answer.rcode === Rcode.BADVERS && !this.upstreams.isEdnsBroken(server, this.#context.now))
      return this.#serverFailed(a, Rcode.FORMERR, true)
    // Rcodes beyond the header's four bits mean that something failed, and a client without EDNS would read them as another.
    if (answer.rcode > Flag.RCODE) return this.#serverFailed(a, Rcode.SERVFAIL, true)
    this.upstreams.succeeded(server, this.#context.now - inFlight.attemptSentAt[a]!)
    this.upstreams.outdone(inFlight.failedOnce[x]! & ~(1 << server), this.#context.now)
    inFlight.closeAttempt(a)
    this.#answered(x)
  }

  /** The same as `#hasItsCookie` for a reply that is not read, as it is cut off or an error: its records begin at `from`. */
  #isErrorOfServer(
    a: number,
    packet: Uint8Array,
    start: number,
    length: number,
    from: number,
    isStream: boolean,
  ): boolean {
    const { inFlight } = this
    const { answer, now } = this.#context
    if (inFlight.attemptCookie[a] === AttemptCookie.NONE) return true
    readCookie(packet, start, length, from, answer)
    // An error without one says nothing of whether the server takes cookies.
    if (answer.cookieLength === 0 && !this.#cookies.isExpected(inFlight.attemptServer[a]!, now)) return true
    return this.#hasItsCookie(a, packet, start, isStream)
  }

  /**
   * False if the cookie of the reply in `context.answer`, or that there is none, shows that it may be forged: it is
   * dropped, and the wait goes on or the server is asked over a stream (RFC 7873 §5.3).
   */
  #hasItsCookie(a: number, packet: Uint8Array, start: number, isStream: boolean): boolean {
    const { inFlight } = this
    const { answer, counters, now } = this.#context
    const server = inFlight.attemptServer[a]!
    const wasSent = inFlight.attemptCookie[a] !== AttemptCookie.NONE
    const check = this.#cookies.check(server, wasSent, packet, start + answer.cookieAt, answer.cookieLength, now)
    if (check === CookieCheck.FINE) return true
    if (isStream) {
      this.#cookies.expectNone(server, now)
      return true
    }
    counters.drop(Drop.spoofedReply)
    if (check === CookieCheck.MISSING) {
      inFlight.attemptCookie[a] = AttemptCookie.DOUBTED
      this.#askOverStream(a)
    }
    return false
  }

  /** A server that could not be asked over a stream whether it has given up cookies: it is believed without from now on. */
  #forgetDoubt(a: number): void {
    const { inFlight } = this
    if (inFlight.attemptCookie[a] !== AttemptCookie.DOUBTED) return
    this.#cookies.expectNone(inFlight.attemptServer[a]!, this.#context.now)
  }

  /** An answer that nobody waits for any more: it says how the server does, and no more. */
  #showedItself(a: number, rcode: number): void {
    const { inFlight, upstreams } = this
    const { now } = this.#context
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const isAboutEdns = rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP
    if (isAboutEdns && !upstreams.isEdnsBroken(server, now)) upstreams.markEdnsBroken(server, now)
    else if (isAboutEdns) upstreams.clearEdnsBroken(server)
    if (isServerFailure(rcode)) upstreams.failed(server, reasonOf(rcode), now, false)
    else upstreams.succeeded(server, now - inFlight.attemptSentAt[a]!)
    inFlight.closeAttempt(a)
    this.#turnOn(x)
  }

  /** The answer in `context.answer` is the one: keep it, and give it to all who wait. */
  #answered(x: number): void {
    const { inFlight } = this
    const { answer, cache } = this.#context
    const variant = inFlight.keys[inFlight.keyAt(x) + inFlight.keyLength[x]! - 1]!
    const lifetime = this.#storeAnswer(x)
    const isCacheable = lifetime > 0 && (variant & Variant.NO_RECURSION) === 0
    this.#staleTimers.cancel(x)
    if (cache !== null && isCacheable) cache.put(this.#scratch, 0)
    this.#deliver(x, 0)
    if (isCacheable && answer.rcode === Rcode.NXDOMAIN) this.#keepCut(x)
    if (this.#isHopeful(x) && this.#lingering < inFlight.capacity >> 2) this.#linger(x)
    else this.#close(x)
  }

  /** Puts the answer in `context.answer` into `scratch`; returns for how many seconds it may be served. */
  #storeAnswer(x: number): number {
    const { inFlight } = this
    const { answer, now } = this.#context
    return storeAnswer(
      this.#scratch,
      0,
      answer.packet,
      answer.start,
      answer,
      inFlight.keys,
      inFlight.keyAt(x),
      inFlight.keyLength[x]!,
      inFlight.hash[x]!,
      now,
      this.#settings.cache,
    )
  }

  /** Gives the answer in `scratch` to all who wait; `flags` are set in each reply as well. */
  #deliver(x: number, flags: number): void {
    const { inFlight } = this
    const { answer, counters, now, outlet, random } = this.#context
    const scratch = this.#scratch
    const waiter = this.#waiter
    for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
      outlet.openReply(w)
      const length = writeStored(scratch, 0, waiter, 0, -1, Ede.NONE, random(), outlet.reply, outlet.replyAt)
      outlet.reply[outlet.replyAt + 2]! |= flags >> 8
      counters.response(Source.upstream, answer.rcode, waiter.proto, length)
      if ((outlet.reply[outlet.replyAt + 2]! & (Flag.TC >> 8)) !== 0) counters.add(Cell.truncated, 1)
      counters.duration(Source.upstream, (now - waiter.receivedAt) / 1000, 1)
      outlet.sendReply(w, length)
      inFlight.freeWaiter(w)
    }
  }

  /** Keeps the NXDOMAIN in `scratch` for names below as well, unless it says so of a name that CNAMEs led to. */
  #keepCut(x: number): void {
    const { inFlight } = this
    const { answer, cache, seed } = this.#context
    if (cache === null || this.#settings.cache.nxdomainCut !== true || answer.answers > 0) return
    const keyAt = inFlight.keyAt(x)
    const nameLength = inFlight.keyLength[x]! - 3
    const variant = inFlight.keys[keyAt + nameLength + 2]!
    this.#scratch.rekey(0, ANY_TYPE_KEY, cutHash(seed, inFlight.keys, keyAt, nameLength, variant))
    cache.put(this.#scratch, 0)
  }

  /** Lets an answered exchange wait for the servers that were asked as well: without it a dead one would never be found out. */
  #linger(x: number): void {
    const { inFlight } = this
    inFlight.unlink(x)
    inFlight.purpose[x] = Purpose.LINGER
    inFlight.hedgeAt[x] = Number.POSITIVE_INFINITY
    this.#lingering++
    this.#showInFlight()
    this.#arm(x)
  }

  /** The server answered with an rcode that another server may not give. */
  #serverFailed(a: number, rcode: number, hasQuestion: boolean): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const isAboutEdns = rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP
    const isWaitedFor = inFlight.purpose[x]! < Purpose.PROBE
    if (isAboutEdns && isWaitedFor && !this.upstreams.isEdnsBroken(server, this.#context.now) && this.#mayRepeat(x)) {
      // Perhaps it is the OPT that it does not understand (RFC 6891 §7): ask the same server without.
      this.upstreams.markEdnsBroken(server, this.#context.now)
      this.upstreams.failed(server, 'formerr', this.#context.now, false)
      inFlight.closeAttempt(a)
      if (this.#send(x, server)) return this.#arm(x)
      return this.#turnOn(x)
    }
    if (isAboutEdns) this.upstreams.clearEdnsBroken(server)
    this.#attemptFailed(a, reasonOf(rcode), !hasQuestion)
  }

  /**
   * A reply in another case than the question: forged, or from a server that does not repeat it. Nothing in it is
   * believed. The same server is asked over a stream, which nobody forges, while its true reply may still come; if it
   * has no TCP, it is asked in small letters.
   */
  #caseLost(a: number): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const bit = 1 << server
    this.#context.counters.drop(Drop.spoofedReply)
    // Once for a question: a forger may send many.
    if ((inFlight.caseLost[x]! & bit) === 0) this.upstreams.caseLost(server, this.#context.now)
    inFlight.caseLost[x] = inFlight.caseLost[x]! | bit
    if (inFlight.purpose[x]! >= Purpose.PROBE || inFlight.attemptTimedOut[a] !== 0) return
    inFlight.attemptTimedOut[a] = 1
    if (this.#mayRepeat(x) && this.#send(x, server, true)) this.#arm(x)
    else this.#turnOn(x)
  }

  /**
   * The server wants the cookie that it has just given; one that refuses that too is asked over TCP (RFC 7873 §5.3), and
   * gets none for a while.
   */
  #badCookie(a: number): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    if (inFlight.attemptCookie[a] !== AttemptCookie.SENT) {
      this.#cookies.stop(inFlight.attemptServer[a]!, this.#context.now)
      return inFlight.attemptSocket[a] === NONE ? this.#askAgain(a) : this.#askOverStream(a)
    }
    const made = inFlight.attemptsMade[x]!
    this.#askAgain(a)
    // The newest attempt is the first of the list.
    const again = inFlight.firstAttempt[x]!
    if (inFlight.attemptsMade[x]! > made && again !== NONE) inFlight.attemptCookie[again] = AttemptCookie.AGAIN
  }

  /** Gives up an attempt and asks the same server in another way, if that can be afforded. */
  #askAgain(a: number): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    if (inFlight.purpose[x]! >= Purpose.PROBE || !this.#mayRepeat(x)) return this.#attemptFailed(a, 'malformed', false)
    inFlight.closeAttempt(a)
    if (this.#send(x, server)) this.#arm(x)
    else this.#turnOn(x)
  }

  #askOverStream(a: number): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    if (!this.#mayRepeat(x)) return this.#attemptFailed(a, 'truncated', false)
    // The datagram's socket plays no part any more: a second truncated copy of the reply is a stray.
    inFlight.attemptSocket[a] = NONE
    inFlight.attemptsMade[x] = inFlight.attemptsMade[x]! + 1
    inFlight.attemptSentAt[a] = this.#context.now
    inFlight.attemptTimedOut[a] = 0
    inFlight.attemptCase[a] = 0
    this.#sendStream(a, 'tcp')
    this.#arm(x)
  }

  /** Ends an attempt and asks the next server at once, unless another one's answer is still out. */
  #attemptFailed(a: number, reason: FailureReason, isItsFault: boolean): void {
    const { inFlight } = this
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    this.upstreams.failed(server, reason, this.#context.now, isItsFault)
    inFlight.closeAttempt(a)
    const bit = 1 << server
    const isAgain = (inFlight.failedOnce[x]! & bit) !== 0
    inFlight.failedOnce[x] = inFlight.failedOnce[x]! | bit
    inFlight.lastFailure[x] = FAILURE_REASONS.indexOf(reason)
    if (isAgain && reason !== 'network') inFlight.failedTwice[x] = inFlight.failedTwice[x]! | bit
    // Nobody is there at the moment (a resolver that restarts, say): give it time, up to the deadline.
    if (isAgain && reason === 'network' && inFlight.purpose[x]! < Purpose.PROBE && !this.#isHopeful(x)) {
      return this.timers.arm(x, Math.min(this.#context.now + NETWORK_RETRY_MS, inFlight.deadlineAt[x]!))
    }
    this.#turnOn(x)
  }

  /** After an attempt has ended without an answer: waits for those still out, or asks the next server. */
  #turnOn(x: number): void {
    const { inFlight } = this
    if (inFlight.purpose[x]! >= Purpose.PROBE) {
      if (this.#isHopeful(x)) this.#arm(x)
      else this.#close(x)
    } else if (this.#isHopeful(x)) this.#arm(x)
    else this.#attempt(x)
  }

  /** The exchange's timer: attempts have had their time, a hedge is due, or the deadline has come. */
  #timeUp(x: number): void {
    const { inFlight } = this
    const { now } = this.#context
    const attemptMs = this.#attemptMs
    for (let a = inFlight.firstAttempt[x]!; a !== NONE; a = inFlight.attemptAfter(a)) {
      if (inFlight.attemptTimedOut[a] !== 0 || inFlight.attemptSentAt[a]! + attemptMs > now) continue
      inFlight.attemptTimedOut[a] = 1
      this.#forgetDoubt(a)
      this.upstreams.failed(inFlight.attemptServer[a]!, 'timeout', now, true)
      inFlight.lastFailure[x] = FAILURE_REASONS.indexOf('timeout')
    }
    if (inFlight.purpose[x]! < Purpose.PROBE && this.#isHopeful(x) && now < inFlight.deadlineAt[x]!) {
      if (now >= inFlight.hedgeAt[x]!) this.#hedge(x)
      return this.#arm(x)
    }
    if (now >= inFlight.deadlineAt[x]!) {
      if (inFlight.purpose[x]! >= Purpose.PROBE) return this.#close(x)
      return this.#settle(x)
    }
    this.#turnOn(x)
  }

  /** No server gave an answer: a stale one if there is one (RFC 8767), or half of one, else SERVFAIL, to all who wait. */
  #settle(x: number): void {
    const { inFlight } = this
    const { outlet } = this.#context
    if (!this.#settleStale(x) && !this.#settleTruncated(x)) {
      const waiter = this.#waiter
      const reason = FAILURE_REASONS[inFlight.lastFailure[x]!]!
      const ede = reason === 'network' || reason === 'refused' ? Ede.NETWORK_ERROR : Ede.NO_REACHABLE_AUTHORITY
      for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
        outlet.openReply(w)
        outlet.sendReply(w, this.#context.writeError(waiter, Rcode.SERVFAIL, ede, outlet.reply, outlet.replyAt))
        inFlight.freeWaiter(w)
      }
      // Without a server to ask nothing has failed.
      if (inFlight.attemptsMade[x]! > 0) this.#keepFailure(x)
    }
    this.#close(x)
  }

  /**
   * Gives all who wait for an exchange the stale answer, and those after them at once; false if there is none. The
   * exchange may go on to refresh it.
   */
  #settleStale(x: number): boolean {
    const { inFlight } = this
    const { cache, counters, now, outlet } = this.#context
    const waiter = this.#waiter
    const block = this.#cached(x)
    if (cache === null || block < 0 || !this.isServable(cache.store, block)) return false
    const { store } = cache
    store.setStaleUntilSeconds(block, ageOf(store, block, now) + STALE_RECHECK_SECONDS)
    for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
      outlet.openReply(w)
      const length = this.writeStale(waiter, store, block, outlet.reply, outlet.replyAt)
      counters.response(Source.stale, store.rcode(block), waiter.proto, length)
      if ((outlet.reply[outlet.replyAt + 2]! & (Flag.TC >> 8)) !== 0) counters.add(Cell.truncated, 1)
      counters.duration(Source.stale, (now - waiter.receivedAt) / 1000, 1)
      outlet.sendReply(w, length)
      inFlight.freeWaiter(w)
    }
    return true
  }

  /** Gives all who wait what a server cut off, with TC; nothing is kept of it. False if there is nothing of the kind. */
  #settleTruncated(x: number): boolean {
    const { inFlight } = this
    const { answer } = this.#context
    const reply = this.#truncated.of(x)
    if (reply === undefined) return false
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    const questionEnd = HEADER_BYTES + keyLength + 1
    const type = readU16(inFlight.keys, keyAt + keyLength - 3)
    if (!readReply(reply, 0, reply.length, questionEnd, type, answer)) {
      // Cut off within a record: the client learns that there is more than it can have.
      setCounts(reply, 0, 0, 0, 0)
      readReply(reply, 0, questionEnd, questionEnd, type, answer)
    }
    if (answer.rcode > Flag.RCODE) return false
    this.#storeAnswer(x)
    this.#deliver(x, Flag.TC)
    return true
  }

  /** Writes a stale answer as the reply to `query` and counts it as a hit; returns its length. */
  writeStale(query: ClientQuery, store: AnswerStore, block: number, out: Uint8Array, outAt: number): number {
    this.#context.counters.add(Cell.cacheHitsStale, 1)
    const ede = store.rcode(block) === Rcode.NXDOMAIN ? Ede.STALE_NXDOMAIN : Ede.STALE_ANSWER
    return writeStored(store, block, query, 0, STALE_TTL_SECONDS, ede, this.#context.random(), out, outAt)
  }

  /** Remembers that nobody could answer: for a second, and longer if that was so a moment ago (RFC 9520). */
  #keepFailure(x: number): void {
    const { inFlight } = this
    const { cache, now } = this.#context
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    if (cache === null || (inFlight.keys[keyAt + keyLength - 1]! & Variant.NO_RECURSION) !== 0) return
    const block = this.#cached(x)
    let lifetime = FIRST_FAILURE_SECONDS
    if (block >= 0 && cache.store.has(block, StoredFlag.FAILURE)) {
      const before = cache.store.lifetimeSeconds(block)
      const isRepeated = ageOf(cache.store, block, now) < before + REPEATED_WITHIN_SECONDS
      if (isRepeated) lifetime = Math.min(before * 2, LONGEST_FAILURE_SECONDS)
    }
    storeFailure(this.#scratch, 0, inFlight.keys, keyAt, keyLength, inFlight.hash[x]!, now, lifetime)
    cache.put(this.#scratch, 0)
  }

  /** The block in the cache for an exchange's question, -1 if there is none. */
  #cached(x: number): number {
    const { inFlight } = this
    const { cache } = this.#context
    return cache === null ? -1 : cache.find(inFlight.hash[x]!, inFlight.keys, inFlight.keyAt(x), inFlight.keyLength[x]!)
  }

  /** True if an answer may still be served, fresh or stale. */
  isServable(store: AnswerStore, block: number): boolean {
    if (store.has(block, StoredFlag.FAILURE)) return false
    return ageOf(store, block, this.#context.now) < store.lifetimeSeconds(block) + this.#settings.cache.staleSeconds
  }

  #close(x: number): void {
    if (this.inFlight.purpose[x] === Purpose.LINGER) this.#lingering--
    else if (this.inFlight.purpose[x] === Purpose.PROBE) this.#probing--
    this.#truncated.forget(x)
    this.timers.cancel(x)
    this.#staleTimers.cancel(x)
    this.inFlight.closeExchange(x)
    this.#showInFlight()
  }
}

function reasonOf(rcode: number): FailureReason {
  if (rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP) return 'formerr'
  return rcode === Rcode.REFUSED ? 'refused' : 'servfail'
}
