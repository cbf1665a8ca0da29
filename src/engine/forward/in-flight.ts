/**
 * What is under way towards upstream servers, in three tables of fixed size. Nothing here is allocated per query.
 *
 * ```
 *  pending query   one question being asked: its key, deadline, outcome so far      joined by equal questions
 *    ├ waiters     clients that will get its answer (waiters.ts)
 *    └ attempts    one message each to one server (attempts.ts)                     found by its 16-bit id
 * ```
 */
import { Ede } from '../../dns/constants.ts'
import { copyBytes, readU16 } from '../../dns/reply.ts'
import type { FailureReason } from '../outlet.ts'
import { Attempts, chain, MAX_ATTEMPTS, NONE } from './attempts.ts'
import { ServerSets } from './server-sets.ts'
import { Waiters } from './waiters.ts'

/** Longest key: a name, a type, a variant. */
const KEY_STRIDE = 264
/** Bytes of a key after the name: type, variant. */
export const KEY_TAIL = 3
/** Pending queries at most. */
const MAX_PENDING = 16_384
const FAILURE_REASONS: readonly FailureReason[] = [
  'timeout',
  'refused',
  'servfail',
  'malformed',
  'network',
  'truncated',
  'formerr',
  'tls',
]

/**
 * Why a query is pending; from PROBE on nobody waits for it. PROBE: for a server's health alone. LOOP_PROBE: to see
 * whether it comes back. LINGER: it has been answered, and waits only to learn how the servers that lost do.
 */
export const Purpose = { CLIENT: 0, PREFETCH: 1, PROBE: 2, LOOP_PROBE: 3, LINGER: 4 } as const

/** The table of pending queries, with those of their waiters and attempts. */
export class InFlight {
  /** Places, and how many of them clients may have. */
  readonly capacity: number
  readonly foreground: number
  readonly waiters: Waiters
  readonly attempts: Attempts
  /** Servers that were asked. */
  readonly tried: ServerSets
  /** Servers that answered with a failure, or could not be reached, once. */
  readonly failedOnce: ServerSets
  /** Servers that did so twice, or need not be asked again for another reason. */
  readonly ruledOut: ServerSets
  /** Servers that failed in a way that counts against them if another one answers. */
  readonly suspects: ServerSets
  /** Servers that replied in another case than they were asked in. */
  readonly caseLost: ServerSets
  /** Servers that replied without the right cookie. */
  readonly cookieLost: ServerSets
  /** Servers that failed a query with an OPT: they are asked without one. */
  readonly optFailed: ServerSets
  /** Servers that denied what was there a moment ago (`cache.staleOnDenialSeconds`). */
  readonly deniedBy: ServerSets
  /** Servers whose datagram could not be read. */
  readonly garbled: ServerSets
  /** Servers whose stream broke before it brought the reply. */
  readonly streamBroken: ServerSets
  /** Packed keys: the lower-cased name in wire format, the type, the variant; that of `p` at `keyAt(p)`. */
  readonly keys: Uint8Array
  readonly #keyLength: Uint16Array
  readonly #hash: Int32Array
  readonly #startedAt: Float64Array
  readonly #tables: Uint32Array
  readonly #deadlineAt: Float64Array
  readonly #hedgeAt: Float64Array
  readonly #messages: Uint8Array
  readonly #picks: Uint8Array
  /** Two bytes are enough: `EngineSettings.routes` says how many there may be. */
  readonly #route: Uint16Array
  readonly #purpose: Uint8Array
  readonly #nearMisses: Uint8Array
  readonly #lastSocket: Int32Array
  readonly #lastFailure: Uint8Array
  readonly #ede: Int32Array
  /** Counts up each time the place is given back, so that tokens of an earlier use are known. */
  readonly #use: Uint32Array
  readonly #nextInBucket: Int32Array
  readonly #buckets: Int32Array
  #free = 0
  #open = 0

  /**
   * `capacity`: most queries pending at a time that clients wait for, at most 16,384 so that a free id is always found
   * soon; `background`: so many more for what nobody waits for.
   */
  constructor(capacity: number, background: number = 0) {
    const foreground = Math.min(MAX_PENDING, Math.max(1, capacity))
    this.foreground = foreground
    const n = foreground + background
    this.capacity = n
    this.waiters = new Waiters(foreground * 2, n)
    this.attempts = new Attempts(n + Math.max(MAX_ATTEMPTS, n >> 1), n)
    this.tried = new ServerSets(n)
    this.failedOnce = new ServerSets(n)
    this.ruledOut = new ServerSets(n)
    this.suspects = new ServerSets(n)
    this.caseLost = new ServerSets(n)
    this.cookieLost = new ServerSets(n)
    this.optFailed = new ServerSets(n)
    this.deniedBy = new ServerSets(n)
    this.garbled = new ServerSets(n)
    this.streamBroken = new ServerSets(n)
    this.keys = new Uint8Array(n * KEY_STRIDE)
    this.#keyLength = new Uint16Array(n)
    this.#hash = new Int32Array(n)
    this.#startedAt = new Float64Array(n)
    this.#tables = new Uint32Array(n)
    this.#deadlineAt = new Float64Array(n)
    this.#hedgeAt = new Float64Array(n)
    this.#messages = new Uint8Array(n)
    this.#picks = new Uint8Array(n)
    this.#route = new Uint16Array(n)
    this.#purpose = new Uint8Array(n)
    this.#nearMisses = new Uint8Array(n)
    this.#lastSocket = new Int32Array(n)
    this.#lastFailure = new Uint8Array(n)
    this.#ede = new Int32Array(n)
    this.#use = new Uint32Array(n)
    this.#nextInBucket = chain(n)
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(n * 2))).fill(NONE)
  }

  /** Queries now pending. */
  get open(): number {
    return this.#open
  }

  /** The pending query for a key, or NONE. */
  find(hash: number, key: Uint8Array, length: number): number {
    const { keys } = this
    let p = this.#buckets[hash & (this.#buckets.length - 1)]!
    search: for (; p !== NONE; p = this.#nextInBucket[p]!) {
      if (this.#hash[p] !== hash || this.#keyLength[p] !== length) continue
      const at = p * KEY_STRIDE
      for (let i = 0; i < length; i++) if (keys[at + i] !== key[i]) continue search
      return p
    }
    return NONE
  }

  /** Takes a place for a key; `joinable` ones are found by equal questions. NONE if all are in use. */
  start(hash: number, key: Uint8Array, length: number, joinable: boolean): number {
    const p = this.#free
    if (p === NONE) return NONE
    this.#free = this.#nextInBucket[p]!
    copyBytes(key, 0, length, this.keys, p * KEY_STRIDE)
    this.#keyLength[p] = length
    this.#hash[p] = hash
    this.#lastSocket[p] = NONE
    this.#lastFailure[p] = 0
    this.#ede[p] = Ede.NONE
    this.#messages[p] = 0
    this.#nearMisses[p] = 0
    this.forgetServers(p)
    if (joinable) {
      const bucket = hash & (this.#buckets.length - 1)
      this.#nextInBucket[p] = this.#buckets[bucket]!
      this.#buckets[bucket] = p
    } else this.#nextInBucket[p] = NONE
    this.#open++
    return p
  }

  /** Says what a pending query is for (a Purpose), its route's index, how long it may take, and how many tables there were. */
  assign(p: number, purpose: number, route: number, now: number, deadlineAt: number, tables: number): void {
    this.#tables[p] = tables
    this.#purpose[p] = purpose
    this.#route[p] = route
    this.#startedAt[p] = now
    this.#deadlineAt[p] = deadlineAt
  }

  /** Begins anew: no server has been asked yet. The messages sent so far still count. */
  forgetServers(p: number): void {
    this.tried.clear(p)
    this.failedOnce.clear(p)
    this.ruledOut.clear(p)
    this.suspects.clear(p)
    this.caseLost.clear(p)
    this.cookieLost.clear(p)
    this.optFailed.clear(p)
    this.deniedBy.clear(p)
    this.garbled.clear(p)
    this.streamBroken.clear(p)
    this.#picks[p] = 0
    this.#hedgeAt[p] = Number.POSITIVE_INFINITY
  }

  /** Gives the place of a pending query back, which has no waiters left, and closes its attempts. */
  end(p: number): void {
    this.attempts.closeAll(p)
    this.hide(p)
    this.#use[p] = this.#use[p]! + 1
    this.#nextInBucket[p] = this.#free
    this.#free = p
    this.#open--
  }

  /** Hides a pending query from equal questions. */
  hide(p: number): void {
    const bucket = this.#hash[p]! & (this.#buckets.length - 1)
    let before = NONE
    for (let q = this.#buckets[bucket]!; q !== NONE; before = q, q = this.#nextInBucket[q]!) {
      if (q !== p) continue
      if (before === NONE) this.#buckets[bucket] = this.#nextInBucket[p]!
      else this.#nextInBucket[before] = this.#nextInBucket[p]!
      break
    }
    this.#nextInBucket[p] = NONE
  }

  /** A number below 2^37 for a pending query that is good only as long as it is pending. */
  token(p: number): number {
    return (this.#use[p]! & 0x1f_ffff) * 65_536 + p
  }

  /** The pending query of a token, NONE if that has ended. */
  ofToken(token: number): number {
    const p = token % 65_536
    return p < this.capacity && this.token(p) === token ? p : NONE
  }

  keyAt(p: number): number {
    return p * KEY_STRIDE
  }

  keyLength(p: number): number {
    return this.#keyLength[p]!
  }

  hash(p: number): number {
    return this.#hash[p]!
  }

  /** Bytes of the name, which its key begins with. */
  nameLength(p: number): number {
    return this.#keyLength[p]! - KEY_TAIL
  }

  /** The type asked for. */
  type(p: number): number {
    return readU16(this.keys, p * KEY_STRIDE + this.nameLength(p))
  }

  /** Bits of Variant. */
  variant(p: number): number {
    return this.keys[p * KEY_STRIDE + this.#keyLength[p]! - 1]!
  }

  startedAt(p: number): number {
    return this.#startedAt[p]!
  }

  /** How many tables there were when it began. */
  tables(p: number): number {
    return this.#tables[p]!
  }

  deadlineAt(p: number): number {
    return this.#deadlineAt[p]!
  }

  setDeadlineAt(p: number, at: number): void {
    this.#deadlineAt[p] = at
  }

  /** Index into `EngineSettings.routes`. */
  route(p: number): number {
    return this.#route[p]!
  }

  setRoute(p: number, route: number): void {
    this.#route[p] = route
  }

  /** A Purpose. */
  purpose(p: number): number {
    return this.#purpose[p]!
  }

  setPurpose(p: number, purpose: number): void {
    this.#purpose[p] = purpose
  }

  /** True if clients, or the cache, want the answer. */
  isWaitedFor(p: number): boolean {
    return this.#purpose[p]! < Purpose.PROBE
  }

  /** Messages sent so far, whatever became of them. */
  messages(p: number): number {
    return this.#messages[p]!
  }

  countMessage(p: number): void {
    this.#messages[p] = this.#messages[p]! + 1
  }

  /** Servers picked so far: repeats without EDNS and over a stream do not count. */
  picks(p: number): number {
    return this.#picks[p]!
  }

  countPick(p: number): void {
    this.#picks[p] = this.#picks[p]! + 1
  }

  /** Replies that somebody must have forged, up to 255. */
  nearMisses(p: number): number {
    return this.#nearMisses[p]!
  }

  setNearMisses(p: number, count: number): void {
    this.#nearMisses[p] = Math.min(count, 255)
  }

  /** When a second server is asked beside a slow first one; Infinity: not (any more). */
  hedgeAt(p: number): number {
    return this.#hedgeAt[p]!
  }

  setHedgeAt(p: number, at: number): void {
    this.#hedgeAt[p] = at
  }

  /** The outlet's socket that its last datagram left by, NONE if there was none. */
  lastSocket(p: number): number {
    return this.#lastSocket[p]!
  }

  setLastSocket(p: number, socket: number): void {
    this.#lastSocket[p] = socket
  }

  /** Why an attempt failed last. */
  lastFailure(p: number): FailureReason {
    return FAILURE_REASONS[this.#lastFailure[p]!]!
  }

  setLastFailure(p: number, reason: FailureReason): void {
    this.#lastFailure[p] = FAILURE_REASONS.indexOf(reason)
  }

  /** Extended error that a server explained its failure with last, Ede.NONE if none did. */
  ede(p: number): number {
    return this.#ede[p]!
  }

  setEde(p: number, ede: number): void {
    this.#ede[p] = ede
  }
}
