/** Waiters: clients that will get the answer to a pending query, with the head and question of each one's own query. */
import { COOKIE_BYTES } from '../../dns/cookie.ts'
import { copyBytes, readU16 } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'
import { chain, NONE } from './attempts.ts'

/** Header, question of the longest name, cookie for the reply, the client's address. */
const QUERY_STRIDE = 312
const COOKIE_AT = 272
const ADDRESS_AT = 296
/** A slow name may have a fourth of all places, so that others find one; where there are few, so many. */
const LEAST_EACH = 512

const WaiterBit = { EDNS: 1, DO: 2, COOKIE: 4, REWRITTEN: 8, WATCHED: 16 } as const

/** The table of waiters. */
export class Waiters {
  readonly capacity: number
  #held = 0
  #free = 0
  /** Clients that may wait for one pending query. */
  readonly #most: number
  readonly #queries: Uint8Array
  readonly #next: Int32Array
  readonly #bits: Uint8Array
  readonly #proto: Uint8Array
  readonly #family: Uint8Array
  readonly #limit: Int32Array
  readonly #advertise: Uint16Array
  readonly #payloadSize: Uint16Array
  readonly #port: Uint16Array
  readonly #questionBytes: Uint16Array
  readonly #receivedAt: Float64Array
  /** What the client asked whose question was rewritten, and `aliasTtl` of its query. */
  readonly #originals: Map<number, { original: Uint8Array; aliasTtl: number }> = new Map()
  /** What plug-ins have to do with the reply. */
  readonly #plugins: Int32Array
  /** By pending query: those who wait for it, in the order in which they came. */
  readonly #first: Int32Array
  readonly #last: Int32Array
  readonly #count: Uint16Array

  /** `capacity`: clients that may wait at a time; `pendingCapacity`: pending queries are 0 … pendingCapacity − 1. */
  constructor(capacity: number, pendingCapacity: number) {
    this.capacity = capacity
    this.#most = Math.max(LEAST_EACH, capacity >> 2)
    this.#queries = new Uint8Array(capacity * QUERY_STRIDE)
    this.#next = chain(capacity)
    this.#bits = new Uint8Array(capacity)
    this.#proto = new Uint8Array(capacity)
    this.#family = new Uint8Array(capacity)
    this.#limit = new Int32Array(capacity)
    this.#advertise = new Uint16Array(capacity)
    this.#payloadSize = new Uint16Array(capacity)
    this.#port = new Uint16Array(capacity)
    this.#questionBytes = new Uint16Array(capacity)
    this.#receivedAt = new Float64Array(capacity)
    this.#plugins = new Int32Array(capacity)
    this.#first = new Int32Array(pendingCapacity).fill(NONE)
    this.#last = new Int32Array(pendingCapacity).fill(NONE)
    this.#count = new Uint16Array(pendingCapacity)
  }

  /** Clients that wait, those whose reply is being written included. */
  get held(): number {
    return this.#held
  }

  /** How many wait for a pending query. */
  of(p: number): number {
    return this.#count[p]!
  }

  /** True if all places are taken. */
  get isFull(): boolean {
    return this.#free === NONE
  }

  /** True if no more may wait for this pending query, however many places are free. */
  isFullFor(p: number): boolean {
    return this.#count[p]! >= this.#most
  }

  /** Lets a query wait for a pending query; its head and question are copied. NONE if there is no room. */
  add(p: number, query: ClientQuery): number {
    const w = this.#free
    if (w === NONE || this.isFullFor(p)) return NONE
    this.#free = this.#next[w]!
    this.#next[w] = NONE
    if (this.#first[p] === NONE) this.#first[p] = w
    else this.#next[this.#last[p]!] = w
    this.#last[p] = w
    this.#count[p] = this.#count[p]! + 1
    this.#held++
    const length = query.questionEnd - query.at
    const at = w * QUERY_STRIDE
    copyBytes(query.packet, query.at, length, this.#queries, at)
    if (query.cookieAt > 0) copyBytes(query.replyCookie, 0, COOKIE_BYTES, this.#queries, at + COOKIE_AT)
    copyBytes(query.address, query.addressAt, query.addressLength, this.#queries, at + ADDRESS_AT)
    this.#bits[w] =
      (query.hasEdns ? WaiterBit.EDNS : 0) |
      (query.dnssecOk ? WaiterBit.DO : 0) |
      (query.cookieAt > 0 ? WaiterBit.COOKIE : 0) |
      (query.original === null ? 0 : WaiterBit.REWRITTEN) |
      (query.isWatched ? WaiterBit.WATCHED : 0)
    if (query.original !== null) this.#originals.set(w, { original: query.original, aliasTtl: query.aliasTtl })
    this.#proto[w] = query.proto
    this.#family[w] = query.family
    this.#limit[w] = query.limit
    this.#advertise[w] = query.advertise
    this.#payloadSize[w] = query.payloadSize
    this.#port[w] = query.port
    this.#questionBytes[w] = length
    this.#receivedAt[w] = query.receivedAt
    this.#plugins[w] = query.plugins
    return w
  }

  /** Takes the first waiter off a pending query and makes `into` its query again; NONE if there is none left. */
  take(p: number, into: ClientQuery): number {
    const w = this.#first[p]!
    if (w === NONE) return NONE
    const next = this.#next[w]!
    this.#first[p] = next
    if (next === NONE) this.#last[p] = NONE
    this.#count[p] = this.#count[p]! - 1
    const at = w * QUERY_STRIDE
    const bits = this.#bits[w]!
    into.packet = this.#queries
    into.at = at
    into.questionEnd = at + this.#questionBytes[w]!
    into.end = into.questionEnd
    into.id = readU16(this.#queries, at)
    into.flags = readU16(this.#queries, at + 2)
    into.type = readU16(this.#queries, into.questionEnd - 4)
    into.hasEdns = (bits & WaiterBit.EDNS) !== 0
    into.dnssecOk = (bits & WaiterBit.DO) !== 0
    into.proto = this.#proto[w]!
    into.family = this.#family[w]!
    into.limit = this.#limit[w]!
    into.advertise = this.#advertise[w]!
    into.payloadSize = this.#payloadSize[w]!
    into.address = this.#queries
    into.addressAt = at + ADDRESS_AT
    into.addressLength = into.family === 0 ? 4 : 16
    into.port = this.#port[w]!
    into.server = 0
    into.cookieAt = (bits & WaiterBit.COOKIE) === 0 ? 0 : at + COOKIE_AT
    if (into.cookieAt > 0) copyBytes(this.#queries, into.cookieAt, COOKIE_BYTES, into.replyCookie, 0)
    into.receivedAt = this.#receivedAt[w]!
    into.original = null
    into.isWatched = (bits & WaiterBit.WATCHED) !== 0
    if ((bits & WaiterBit.REWRITTEN) !== 0) this.#takeOriginal(w, into)
    into.plugins = this.#plugins[w]!
    return w
  }

  #takeOriginal(w: number, into: ClientQuery): void {
    const { original, aliasTtl } = this.#originals.get(w)!
    this.#originals.delete(w)
    into.original = original
    into.aliasTtl = aliasTtl
  }

  /** Gives a waiter's place back: its reply has been handed on. The number may be in use again at once. */
  release(w: number): void {
    this.#next[w] = this.#free
    this.#free = w
    this.#held--
  }
}
