/**
 * What is under way towards upstream servers, in three tables of fixed size. Nothing here is allocated per query.
 *
 * ```
 *  exchange   one question being asked: its key, deadline, outcome so far          joined by equal questions
 *    ├ waiters    clients that will get its answer: the head and question of each query
 *    └ attempts   one message each to one server: id, socket, time                 found by its 16-bit id
 * ```
 * An exchange may have several attempts open at once: a slow server's answer still counts after the next was asked.
 */
import { Ede } from '../../dns/constants.ts'
import { COOKIE_BYTES } from '../../dns/cookie.ts'
import { copyBytes, readU16 } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'

export const NONE = -1
/** Longest key: a name, a type, a variant. */
const KEY_STRIDE = 264
/** Header, question of the longest name, cookie for the reply. */
const QUERY_STRIDE = 304
const COOKIE_AT = 272
/** Attempts of one exchange that may be open at once. */
export const MAX_ATTEMPTS = 8
/** Exchanges at most. */
const MAX_EXCHANGES = 16_384
/** A slow name may have a fourth of all places for waiters, so that others find one; where there are few, so many. */
const MIN_WAITERS_EACH = 512

/** AGAIN: the server has refused the one before (BADCOOKIE) and given this one. */
export const AttemptCookie = { NONE: 0, SENT: 1, AGAIN: 2 } as const

/**
 * Why an exchange exists; from PROBE on nobody waits for it. PROBE: for a server's health alone. LOOP_PROBE: to see
 * whether it comes back. LINGER: it has been answered, and waits only to learn how the servers that lost do.
 */
export const Purpose = { CLIENT: 0, PREFETCH: 1, PROBE: 2, LOOP_PROBE: 3, LINGER: 4 } as const

const WaiterBit = { EDNS: 1, DO: 2 } as const

export class InFlight {
  readonly capacity: number
  /** Exchanges now open. */
  open = 0

  // Exchanges.
  readonly keys: Uint8Array
  readonly keyLength: Uint16Array
  readonly hash: Int32Array
  readonly startedAt: Float64Array
  readonly deadlineAt: Float64Array
  readonly firstWaiter: Int32Array
  readonly lastWaiter: Int32Array
  readonly waiters: Uint16Array
  readonly firstAttempt: Int32Array
  readonly openAttempts: Uint8Array
  /** Messages sent so far, whatever became of them. */
  readonly attemptsMade: Uint8Array
  /** Servers picked so far: repeats without EDNS and over a stream do not count. */
  readonly picks: Uint8Array
  /** When a second server is asked beside a slow first one; Infinity: not (any more). */
  readonly hedgeAt: Float64Array
  readonly route: Uint8Array
  readonly purpose: Uint8Array
  /**
   * Servers that were asked, those that answered with a failure once, and those that did so twice or need not be asked again
   * for another reason: bit = index.
   */
  readonly triedServers: Uint32Array
  readonly failedOnce: Uint32Array
  readonly ruledOut: Uint32Array
  /** Servers that failed in a way that counts against them if another one answers: bit = index. */
  readonly suspects: Uint32Array
  /** Servers that replied in another case than they were asked in: bit = index. */
  readonly caseLost: Uint32Array
  /** Servers that replied without the right cookie: bit = index. */
  readonly cookieLost: Uint32Array
  readonly lastSocket: Int32Array
  readonly lastFailure: Uint8Array
  /** Extended error that a server explained its failure with last, Ede.NONE if none did. */
  readonly ede: Int32Array
  /** Counts up each time the exchange is closed, so that tokens of an earlier use are known. */
  readonly use: Uint32Array
  readonly #nextInBucket: Int32Array
  readonly #buckets: Int32Array
  #freeExchange = 0

  // Waiters.
  readonly waiterCapacity: number
  /** Clients that may wait for one exchange. */
  readonly #waitersEach: number
  readonly #queries: Uint8Array
  readonly #nextWaiter: Int32Array
  readonly #waiterBits: Uint8Array
  readonly #waiterProto: Uint8Array
  readonly #waiterFamily: Uint8Array
  readonly #waiterLimit: Int32Array
  readonly #waiterAdvertise: Uint16Array
  readonly #waiterQuestionEnd: Uint16Array
  readonly #waiterCookie: Uint8Array
  readonly #waiterReceivedAt: Float64Array
  #freeWaiter = 0
  waitersHeld = 0

  // Attempts.
  readonly attemptCapacity: number
  readonly attemptExchange: Int32Array
  readonly attemptId: Uint16Array
  readonly attemptSocket: Int32Array
  readonly attemptServer: Uint8Array
  readonly attemptSentAt: Float64Array
  /** 1 once its time is up: its answer still counts, but nobody waits for it. */
  readonly attemptTimedOut: Uint8Array
  /** Whether its query has a cookie: an AttemptCookie. */
  readonly attemptCookie: Uint8Array
  /** 1: its query has no OPT. */
  readonly attemptPlain: Uint8Array
  /** What the mixture of its name's case follows from (name-case.ts); 0: all in small letters. */
  readonly attemptCase: Int32Array
  readonly #nextAttempt: Int32Array
  /** Attempt + 1 by id; zero is none, so that untouched pages stay untouched. */
  readonly #byId: Int32Array = new Int32Array(65_536)
  #freeAttempt = 0
  attemptsOpen = 0

  /**
   * `capacity`: most exchanges at a time that clients wait for, at most 16,384 so that a free id is always found soon;
   * `background`: so many more for what nobody waits for.
   */
  constructor(capacity: number, background: number = 0) {
    const foreground = Math.min(MAX_EXCHANGES, Math.max(1, capacity))
    const n = foreground + background
    this.capacity = n
    this.keys = new Uint8Array(n * KEY_STRIDE)
    this.keyLength = new Uint16Array(n)
    this.hash = new Int32Array(n)
    this.startedAt = new Float64Array(n)
    this.deadlineAt = new Float64Array(n)
    this.firstWaiter = new Int32Array(n)
    this.lastWaiter = new Int32Array(n)
    this.waiters = new Uint16Array(n)
    this.firstAttempt = new Int32Array(n)
    this.openAttempts = new Uint8Array(n)
    this.attemptsMade = new Uint8Array(n)
    this.picks = new Uint8Array(n)
    this.hedgeAt = new Float64Array(n)
    this.route = new Uint8Array(n)
    this.purpose = new Uint8Array(n)
    this.triedServers = new Uint32Array(n)
    this.failedOnce = new Uint32Array(n)
    this.ruledOut = new Uint32Array(n)
    this.suspects = new Uint32Array(n)
    this.caseLost = new Uint32Array(n)
    this.cookieLost = new Uint32Array(n)
    this.lastSocket = new Int32Array(n)
    this.lastFailure = new Uint8Array(n)
    this.ede = new Int32Array(n)
    this.use = new Uint32Array(n)
    this.#nextInBucket = chain(n)
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(n * 2))).fill(NONE)

    const w = foreground * 2
    this.waiterCapacity = w
    this.#waitersEach = Math.max(MIN_WAITERS_EACH, w >> 2)
    this.#queries = new Uint8Array(w * QUERY_STRIDE)
    this.#nextWaiter = chain(w)
    this.#waiterBits = new Uint8Array(w)
    this.#waiterProto = new Uint8Array(w)
    this.#waiterFamily = new Uint8Array(w)
    this.#waiterLimit = new Int32Array(w)
    this.#waiterAdvertise = new Uint16Array(w)
    this.#waiterQuestionEnd = new Uint16Array(w)
    this.#waiterCookie = new Uint8Array(w)
    this.#waiterReceivedAt = new Float64Array(w)

    const a = n + Math.max(MAX_ATTEMPTS, n >> 1)
    this.attemptCapacity = a
    this.attemptExchange = new Int32Array(a).fill(NONE)
    this.attemptId = new Uint16Array(a)
    this.attemptSocket = new Int32Array(a)
    this.attemptServer = new Uint8Array(a)
    this.attemptSentAt = new Float64Array(a)
    this.attemptTimedOut = new Uint8Array(a)
    this.attemptCookie = new Uint8Array(a)
    this.attemptPlain = new Uint8Array(a)
    this.attemptCase = new Int32Array(a)
    this.#nextAttempt = chain(a)
  }

  keyAt(exchange: number): number {
    return exchange * KEY_STRIDE
  }

  /** The open exchange for a key, or NONE. */
  find(hash: number, key: Uint8Array, length: number): number {
    const { keys } = this
    let x = this.#buckets[hash & (this.#buckets.length - 1)]!
    search: for (; x !== NONE; x = this.#nextInBucket[x]!) {
      if (this.hash[x] !== hash || this.keyLength[x] !== length) continue
      const at = x * KEY_STRIDE
      for (let i = 0; i < length; i++) if (keys[at + i] !== key[i]) continue search
      return x
    }
    return NONE
  }

  /** Opens an exchange for a key; `joinable` ones are found by equal questions. NONE if all are in use. */
  openExchange(hash: number, key: Uint8Array, length: number, joinable: boolean): number {
    const x = this.#freeExchange
    if (x === NONE) return NONE
    this.#freeExchange = this.#nextInBucket[x]!
    copyBytes(key, 0, length, this.keys, x * KEY_STRIDE)
    this.keyLength[x] = length
    this.hash[x] = hash
    this.firstWaiter[x] = NONE
    this.lastWaiter[x] = NONE
    this.waiters[x] = 0
    this.firstAttempt[x] = NONE
    this.openAttempts[x] = 0
    this.attemptsMade[x] = 0
    this.picks[x] = 0
    this.hedgeAt[x] = Number.POSITIVE_INFINITY
    this.triedServers[x] = 0
    this.failedOnce[x] = 0
    this.ruledOut[x] = 0
    this.suspects[x] = 0
    this.caseLost[x] = 0
    this.cookieLost[x] = 0
    this.lastSocket[x] = NONE
    this.lastFailure[x] = 0
    this.ede[x] = Ede.NONE
    if (joinable) {
      const bucket = hash & (this.#buckets.length - 1)
      this.#nextInBucket[x] = this.#buckets[bucket]!
      this.#buckets[bucket] = x
    } else this.#nextInBucket[x] = NONE
    this.open++
    return x
  }

  /** Closes an exchange that has no waiters left, and its attempts. */
  closeExchange(x: number): void {
    while (this.firstAttempt[x] !== NONE) this.closeAttempt(this.firstAttempt[x]!)
    this.unlink(x)
    this.use[x] = this.use[x]! + 1
    this.#nextInBucket[x] = this.#freeExchange
    this.#freeExchange = x
    this.open--
  }

  /** Hides an exchange from equal questions. */
  unlink(x: number): void {
    const bucket = this.hash[x]! & (this.#buckets.length - 1)
    let before = NONE
    for (let y = this.#buckets[bucket]!; y !== NONE; before = y, y = this.#nextInBucket[y]!) {
      if (y !== x) continue
      if (before === NONE) this.#buckets[bucket] = this.#nextInBucket[x]!
      else this.#nextInBucket[before] = this.#nextInBucket[x]!
      break
    }
    this.#nextInBucket[x] = NONE
  }

  /** A number below 2^37 for an exchange that is good only as long as it is open. */
  token(x: number): number {
    return (this.use[x]! & 0x1f_ffff) * 65_536 + x
  }

  /** The exchange of a token, NONE if that has been closed. */
  ofToken(token: number): number {
    const x = token % 65_536
    return x < this.capacity && this.token(x) === token ? x : NONE
  }

  /** Lets a query wait for an exchange; its head and question are copied. NONE if there is no room. */
  addWaiter(x: number, query: ClientQuery): number {
    const w = this.#freeWaiter
    if (w === NONE || this.waiters[x]! >= this.#waitersEach) return NONE
    this.#freeWaiter = this.#nextWaiter[w]!
    this.#nextWaiter[w] = NONE
    if (this.firstWaiter[x] === NONE) this.firstWaiter[x] = w
    else this.#nextWaiter[this.lastWaiter[x]!] = w
    this.lastWaiter[x] = w
    this.waiters[x] = this.waiters[x]! + 1
    this.waitersHeld++
    const length = query.questionEnd - query.at
    copyBytes(query.packet, query.at, length, this.#queries, w * QUERY_STRIDE)
    if (query.cookieAt > 0) copyBytes(query.replyCookie, 0, COOKIE_BYTES, this.#queries, w * QUERY_STRIDE + COOKIE_AT)
    this.#waiterBits[w] = (query.hasEdns ? WaiterBit.EDNS : 0) | (query.dnssecOk ? WaiterBit.DO : 0)
    this.#waiterProto[w] = query.proto
    this.#waiterFamily[w] = query.family
    this.#waiterLimit[w] = query.limit
    this.#waiterAdvertise[w] = query.advertise
    this.#waiterQuestionEnd[w] = length
    this.#waiterCookie[w] = query.cookieAt > 0 ? 1 : 0
    this.#waiterReceivedAt[w] = query.receivedAt
    return w
  }

  /** Takes the first waiter off an exchange and makes `into` its query again; NONE if there is none left. */
  takeWaiter(x: number, into: ClientQuery): number {
    const w = this.firstWaiter[x]!
    if (w === NONE) return NONE
    const next = this.#nextWaiter[w]!
    this.firstWaiter[x] = next
    if (next === NONE) this.lastWaiter[x] = NONE
    this.waiters[x] = this.waiters[x]! - 1
    const at = w * QUERY_STRIDE
    into.packet = this.#queries
    into.at = at
    into.questionEnd = at + this.#waiterQuestionEnd[w]!
    into.end = into.questionEnd
    into.id = readU16(this.#queries, at)
    into.flags = readU16(this.#queries, at + 2)
    into.type = readU16(this.#queries, into.questionEnd - 4)
    into.hasEdns = (this.#waiterBits[w]! & WaiterBit.EDNS) !== 0
    into.dnssecOk = (this.#waiterBits[w]! & WaiterBit.DO) !== 0
    into.proto = this.#waiterProto[w]!
    into.family = this.#waiterFamily[w]!
    into.limit = this.#waiterLimit[w]!
    into.advertise = this.#waiterAdvertise[w]!
    into.cookieAt = this.#waiterCookie[w] === 1 ? at + COOKIE_AT : 0
    if (into.cookieAt > 0) copyBytes(this.#queries, into.cookieAt, COOKIE_BYTES, into.replyCookie, 0)
    into.receivedAt = this.#waiterReceivedAt[w]!
    return w
  }

  /** Gives a waiter's place back: its reply has been handed on. The number may be in use again at once. */
  freeWaiter(w: number): void {
    this.#nextWaiter[w] = this.#freeWaiter
    this.#freeWaiter = w
    this.waitersHeld--
  }

  /** Opens an attempt under a random id that no other has; `random` gives 32-bit numbers. NONE if there is no room. */
  openAttempt(x: number, server: number, now: number, random: () => number): number {
    const a = this.#freeAttempt
    if (a === NONE || this.openAttempts[x]! >= MAX_ATTEMPTS) return NONE
    let id = random() & 0xffff
    // At most 3/8 of the ids are in use, so a handful of draws suffices; walking on is the bound.
    for (let draws = 0; this.#byId[id] !== 0; draws++) id = draws < 16 ? random() & 0xffff : (id + 1) & 0xffff
    this.#freeAttempt = this.#nextAttempt[a]!
    this.#byId[id] = a + 1
    this.attemptExchange[a] = x
    this.attemptId[a] = id
    this.attemptServer[a] = server
    this.attemptSentAt[a] = now
    this.attemptTimedOut[a] = 0
    this.attemptCookie[a] = AttemptCookie.NONE
    this.attemptPlain[a] = 0
    this.attemptCase[a] = 0
    this.attemptSocket[a] = NONE
    this.#nextAttempt[a] = this.firstAttempt[x]!
    this.firstAttempt[x] = a
    this.openAttempts[x] = this.openAttempts[x]! + 1
    this.attemptsOpen++
    return a
  }

  /** The open attempt with this id, or NONE. */
  attemptById(id: number): number {
    return this.#byId[id]! - 1
  }

  closeAttempt(a: number): void {
    const x = this.attemptExchange[a]!
    this.#byId[this.attemptId[a]!] = 0
    let before = NONE
    for (let b = this.firstAttempt[x]!; b !== a; b = this.#nextAttempt[b]!) before = b
    if (before === NONE) this.firstAttempt[x] = this.#nextAttempt[a]!
    else this.#nextAttempt[before] = this.#nextAttempt[a]!
    this.attemptExchange[a] = NONE
    this.#nextAttempt[a] = this.#freeAttempt
    this.#freeAttempt = a
    this.openAttempts[x] = this.openAttempts[x]! - 1
    this.attemptsOpen--
  }

  /** The open attempt after `a` of the same exchange, or NONE: with `firstAttempt` a walk over all, newest first. */
  attemptAfter(a: number): number {
    return this.#nextAttempt[a]!
  }
}

/** 0 → 1 → … → NONE: a list of free places. */
function chain(length: number): Int32Array {
  const next = new Int32Array(length)
  for (let i = 0; i < length; i++) next[i] = i + 1 < length ? i + 1 : NONE
  return next
}
