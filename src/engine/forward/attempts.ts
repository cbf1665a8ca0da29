/**
 * Attempts: one message each to one server, found by its 16-bit id. A pending query may have several open at once: a slow
 * server's reply still counts after the next server was asked. Nothing here is allocated per query.
 */

export const NONE = -1
/** Attempts of one pending query that may be open at once. */
export const MAX_ATTEMPTS = 8

/** AGAIN: the server has refused the one before (BADCOOKIE) and given this one. */
export const AttemptCookie = { NONE: 0, SENT: 1, AGAIN: 2 } as const

/** The table of attempts. */
export class Attempts {
  readonly capacity: number
  #open = 0
  #free = 0
  /** Where the next one that makes room is looked for. */
  #hand = 0
  readonly #next: Int32Array
  readonly #pending: Int32Array
  readonly #id: Uint16Array
  readonly #socket: Int32Array
  readonly #server: Uint8Array
  readonly #sentAt: Float64Array
  readonly #isTimedOut: Uint8Array
  readonly #cookie: Uint8Array
  readonly #isPlain: Uint8Array
  readonly #caseSeed: Int32Array
  /** Attempt + 1 by id; zero is none, so that untouched pages stay untouched. */
  readonly #byId: Int32Array = new Int32Array(65_536)
  /** By pending query: its newest attempt, and how many are open. */
  readonly #first: Int32Array
  readonly #openOf: Uint8Array

  /** `capacity`: attempts at a time; `pendingCapacity`: pending queries are 0 … pendingCapacity − 1. */
  constructor(capacity: number, pendingCapacity: number) {
    this.capacity = capacity
    this.#next = chain(capacity)
    this.#pending = new Int32Array(capacity).fill(NONE)
    this.#id = new Uint16Array(capacity)
    this.#socket = new Int32Array(capacity)
    this.#server = new Uint8Array(capacity)
    this.#sentAt = new Float64Array(capacity)
    this.#isTimedOut = new Uint8Array(capacity)
    this.#cookie = new Uint8Array(capacity)
    this.#isPlain = new Uint8Array(capacity)
    this.#caseSeed = new Int32Array(capacity)
    this.#first = new Int32Array(pendingCapacity).fill(NONE)
    this.#openOf = new Uint8Array(pendingCapacity)
  }

  /** Attempts now open. */
  get open(): number {
    return this.#open
  }

  /**
   * Opens one under a random id that no other has; `random` gives 32-bit numbers. NONE if there is no room: never for the
   * first of a pending query, as there are more places than pending queries.
   */
  start(p: number, server: number, now: number, random: () => number): number {
    if (this.#openOf[p]! >= MAX_ATTEMPTS) return NONE
    if (this.#free === NONE) this.#makeRoom(p)
    const a = this.#free
    if (a === NONE) return NONE
    let id = random() & 0xffff
    // At most 3/8 of the ids are in use, so a handful of draws suffices; walking on is the bound.
    for (let draws = 0; this.#byId[id] !== 0; draws++) id = draws < 16 ? random() & 0xffff : (id + 1) & 0xffff
    this.#free = this.#next[a]!
    this.#byId[id] = a + 1
    this.#pending[a] = p
    this.#id[a] = id
    this.#server[a] = server
    this.#sentAt[a] = now
    this.#isTimedOut[a] = 0
    this.#cookie[a] = AttemptCookie.NONE
    this.#isPlain[a] = 0
    this.#caseSeed[a] = 0
    this.#socket[a] = NONE
    this.#next[a] = this.#first[p]!
    this.#first[p] = a
    this.#openOf[p] = this.#openOf[p]! + 1
    this.#open++
    return a
  }

  close(a: number): void {
    const p = this.#pending[a]!
    this.#byId[this.#id[a]!] = 0
    let before = NONE
    for (let b = this.#first[p]!; b !== a; b = this.#next[b]!) before = b
    if (before === NONE) this.#first[p] = this.#next[a]!
    else this.#next[before] = this.#next[a]!
    this.#pending[a] = NONE
    this.#next[a] = this.#free
    this.#free = a
    this.#openOf[p] = this.#openOf[p]! - 1
    this.#open--
  }

  /**
   * Closes an attempt of a pending query that has several, and more than `p`; one whose time is up, if there is such a one.
   * Else the repeats to a server that is silent would keep others from asking theirs.
   */
  #makeRoom(p: number): void {
    const most = Math.max(1, this.#openOf[p]!)
    let found = NONE
    for (let looked = 0; looked < this.capacity; looked++) {
      this.#hand = (this.#hand + 1) % this.capacity
      if (this.#openOf[this.#pending[this.#hand]!]! <= most) continue
      found = this.#hand
      if (this.#isTimedOut[found] !== 0) break
    }
    if (found !== NONE) this.close(found)
  }

  /** Closes all of a pending query. */
  closeAll(p: number): void {
    while (this.#first[p] !== NONE) this.close(this.#first[p]!)
  }

  /** The open attempt with this id, or NONE. */
  byId(id: number): number {
    return this.#byId[id]! - 1
  }

  /** The newest open attempt of a pending query, or NONE; with `after` a walk over all. */
  newest(p: number): number {
    return this.#first[p]!
  }

  /** The open attempt of the same pending query that was made before `a`, or NONE. */
  after(a: number): number {
    return this.#next[a]!
  }

  /** How many a pending query has open. */
  openOf(p: number): number {
    return this.#openOf[p]!
  }

  /** The pending query of an attempt, NONE if it is not open. */
  pendingOf(a: number): number {
    return this.#pending[a]!
  }

  id(a: number): number {
    return this.#id[a]!
  }

  server(a: number): number {
    return this.#server[a]!
  }

  sentAt(a: number): number {
    return this.#sentAt[a]!
  }

  /** The outlet's socket that its datagram left by; NONE: it went over a stream. */
  socket(a: number): number {
    return this.#socket[a]!
  }

  setSocket(a: number, socket: number): void {
    this.#socket[a] = socket
  }

  /** True once its time is up: its reply still counts, but nobody waits for it. */
  isTimedOut(a: number): boolean {
    return this.#isTimedOut[a] !== 0
  }

  timeOut(a: number): void {
    this.#isTimedOut[a] = 1
  }

  /** Whether its query has a cookie: an AttemptCookie. */
  cookie(a: number): number {
    return this.#cookie[a]!
  }

  setCookie(a: number, cookie: number): void {
    this.#cookie[a] = cookie
  }

  /** True if its query has no OPT. */
  isPlain(a: number): boolean {
    return this.#isPlain[a] !== 0
  }

  setPlain(a: number, isPlain: boolean): void {
    this.#isPlain[a] = isPlain ? 1 : 0
  }

  /** What the mixture of its name's case follows from (name-case.ts); 0: all in small letters. */
  caseSeed(a: number): number {
    return this.#caseSeed[a]!
  }

  setCaseSeed(a: number, seed: number): void {
    this.#caseSeed[a] = seed
  }

  /** Its question goes over a stream from now on: a reply by its socket does not count any more. */
  turnToStream(a: number, now: number): void {
    this.#socket[a] = NONE
    this.#sentAt[a] = now
    this.#isTimedOut[a] = 0
    this.#caseSeed[a] = 0
  }
}

/** 0 → 1 → … → NONE: a list of free places. */
export function chain(length: number): Int32Array {
  const next = new Int32Array(length)
  for (let i = 0; i < length; i++) next[i] = i + 1 < length ? i + 1 : NONE
  return next
}
