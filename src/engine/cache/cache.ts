/**
 * The answer cache: two generations of a byte-bounded arena. New answers are appended to the young one; when it is full
 * the old one is dropped as a whole and the young one takes its place. A hit in the old generation copies the answer
 * into the young one, so what is used stays and what has not been used for a generation goes (the scheme of the
 * `hashlru` and `quick-lru` packages, with bytes instead of entries). Nothing is allocated after construction, no
 * collector ever walks it, and its size is its bound.
 *
 * ```
 *  generation   index: [hash, block offset + 1] by hash slot   arena: blocks (stored-answer.ts) one after another
 *  find         young, else old → promoted
 * ```
 * Memory is touched as it fills: an idle cache costs next to nothing.
 */
import { readU16 } from '../../dns/reply.ts'
import { ANY_TYPE_KEY, Variant } from '../client-query.ts'
import { AnswerStore, StoredFlag } from './stored-answer.ts'

/** An average answer's block; the index is at most two thirds full with such. */
const TYPICAL_BLOCK = 160
const MIN_BYTES = 4096
/** A hash and an offset. */
const SLOT_BYTES = 8
/** Offsets in a generation are 32-bit numbers with a sign. */
const MAX_BYTES: number = 2 ** 32

class Generation {
  readonly store: AnswerStore
  readonly index: Int32Array
  /** Bytes of the arena in use. */
  used = 0
  /** Blocks in the index, dead ones included: bounds the probes. */
  slotsUsed = 0
  /** Blocks that are neither replaced nor flushed nor promoted. */
  live = 0

  constructor(bytes: number) {
    const slots = 2 ** Math.max(4, Math.ceil(Math.log2((bytes / TYPICAL_BLOCK) * 1.5)))
    this.index = new Int32Array(slots * 2)
    this.store = new AnswerStore(Math.max(MIN_BYTES / 4, bytes - this.index.byteLength))
  }

  get bytes(): number {
    return this.used + this.slotsUsed * SLOT_BYTES
  }

  clear(): void {
    this.index.fill(0)
    this.used = 0
    this.slotsUsed = 0
    this.live = 0
  }

  find(hash: number, key: Uint8Array, keyAt: number, keyLength: number): number {
    const { index, store } = this
    const mask = index.length - 1
    // The hash stands in the index as well: a block is touched, a cache miss each, only where it is the one.
    for (let slot = (hash << 1) & mask; ; slot = (slot + 2) & mask) {
      const block = index[slot + 1]! - 1
      if (block < 0) return -1
      if (index[slot] !== hash || store.has(block, StoredFlag.DEAD)) continue
      if (store.hasKey(block, key, keyAt, keyLength)) return block
    }
  }

  hasRoom(size: number): boolean {
    return this.used + size <= this.store.bytes.length && this.slotsUsed * 3 < this.index.length
  }

  /** Appends the block of `from` at `at`; there must be room. */
  append(from: AnswerStore, at: number): number {
    const size = from.size(at)
    const block = this.used
    copyWords(from.words, at >> 2, size >> 2, this.store.words, block >> 2)
    const { index } = this
    const hash = from.hash(at)
    const mask = index.length - 1
    let slot = (hash << 1) & mask
    while (index[slot + 1] !== 0) slot = (slot + 2) & mask
    index[slot] = hash
    index[slot + 1] = block + 1
    this.used += size
    this.slotsUsed++
    this.live++
    return block
  }

  kill(block: number): void {
    this.store.mark(block, StoredFlag.DEAD)
    this.live--
  }

  /** Every block in the arena that is alive. */
  *blocks(): Generator<number> {
    for (let at = 0; at < this.used; at += this.store.size(at)) {
      if (!this.store.has(at, StoredFlag.DEAD)) yield at
    }
  }
}

/** A block of ordinary size word by word: a view to copy from would be garbage for each answer kept. */
function copyWords(from: Int32Array, at: number, count: number, to: Int32Array, toAt: number): void {
  if (count > 128) {
    to.set(from.subarray(at, at + count), toAt)
    return
  }
  for (let i = 0; i < count; i++) to[toAt + i] = from[at + i]!
}

/** Lengths of a name in wire format and of those above it. */
function suffixLengths(name: Uint8Array): Set<number> {
  const lengths = new Set([1])
  for (let at = 0; name[at]! > 0; at += name[at]! + 1) lengths.add(name.length - at)
  return lengths
}

/** One worker's cache. What `find` has found stays in `store` until the next call that stores or finds. */
export class Cache {
  #young: Generation
  #old: Generation
  /** Total bound in bytes, index and keys included: 4 GiB at most, whatever was asked for. */
  readonly maxBytes: number
  /** Answers dropped to make room for newer ones, since the start. */
  evictions = 0
  /** Store that holds the block found last. */
  store: AnswerStore
  /** When the newest failure was stored. */
  #failedAt = Number.NEGATIVE_INFINITY

  constructor(maxBytes: number) {
    this.maxBytes = Math.min(MAX_BYTES, Math.max(MIN_BYTES, maxBytes))
    this.#young = new Generation(this.maxBytes / 2)
    this.#old = new Generation(this.maxBytes / 2)
    this.store = this.#young.store
  }

  get entries(): number {
    return this.#young.live + this.#old.live
  }

  /** Bytes in use, their part of the index included: what was never used takes no memory. */
  get bytes(): number {
    return this.#young.bytes + this.#old.bytes
  }

  /** Finds the answer stored under a key; returns its block in `store`, or -1. Whether it is still fresh is for the caller. */
  find(hash: number, key: Uint8Array, keyAt: number, keyLength: number): number {
    let block = this.#young.find(hash, key, keyAt, keyLength)
    if (block >= 0) {
      this.store = this.#young.store
      return block
    }
    block = this.#old.live === 0 ? -1 : this.#old.find(hash, key, keyAt, keyLength)
    if (block < 0) return -1
    const old = this.#old
    if (this.#young.hasRoom(old.store.size(block))) {
      old.kill(block)
      this.store = this.#young.store
      // The DEAD mark stands in the block that was left, the copy must not have it.
      return this.#revive(old, block)
    }
    // Turning the generations over now would drop the very block that was asked for: serve it from where it is.
    this.store = old.store
    return block
  }

  #revive(old: Generation, block: number): number {
    const copy = this.#young.append(old.store, block)
    this.#young.store.unmark(copy, StoredFlag.DEAD)
    return copy
  }

  /** Stores the block at `at` of `from` in place of whatever its key had. Too large a one is not kept. */
  put(from: AnswerStore, at: number): void {
    const size = from.size(at)
    const hash = from.hash(at)
    this.forget(hash, from.bytes, from.keyAt(at), from.keyLength(at))
    if (size > this.#young.store.bytes.length / 4) return
    if (!this.#young.hasRoom(size)) this.#turn()
    this.#young.append(from, at)
    if (from.has(at, StoredFlag.FAILURE)) this.#failedAt = from.storedAt(at)
  }

  #turn(): void {
    this.evictions += this.#old.live
    const emptied = this.#old
    emptied.clear()
    this.#old = this.#young
    this.#young = emptied
  }

  /** Forgets what is stored under a key. */
  forget(hash: number, key: Uint8Array, keyAt: number, keyLength: number): void {
    const young = this.#young.find(hash, key, keyAt, keyLength)
    if (young >= 0) this.#young.kill(young)
    const old = this.#old.live === 0 ? -1 : this.#old.find(hash, key, keyAt, keyLength)
    if (old >= 0) this.#old.kill(old)
  }

  /** Forgets everything; returns how many answers that were. */
  flush(): number {
    const { entries } = this
    this.#young.clear()
    this.#old.clear()
    return entries
  }

  /**
   * Forgets all that answers for a name, of any type and variant, denials of names above it included; `name` is lower-cased
   * wire format. Returns how many that were.
   */
  flushName(name: Uint8Array): number {
    let count = 0
    const suffixes = suffixLengths(name)
    for (const generation of [this.#young, this.#old]) {
      const { store } = generation
      for (const block of generation.blocks()) {
        const key = store.keyAt(block)
        const length = store.keyLength(block) - 3
        const isCut = readU16(store.bytes, key + length) === ANY_TYPE_KEY
        if (length !== name.length && !(isCut && suffixes.has(length))) continue
        if (!name.subarray(-length).every((byte, i) => store.bytes[key + i] === byte)) continue
        generation.kill(block)
        count++
      }
    }
    return count
  }

  /**
   * Forgets all failures: what failed may work now. Failures from before `since` (engine time) have expired anyway: if there are
   * no newer ones, the cache is not searched, which would take long in a large one.
   */
  forgetFailures(since: number): void {
    if (this.#failedAt < since) return
    for (const generation of [this.#young, this.#old]) {
      for (const block of generation.blocks())
        if (generation.store.has(block, StoredFlag.FAILURE)) generation.kill(block)
    }
  }

  /** Forgets the answers to questions of a type without DO. */
  forgetType(type: number): void {
    for (const generation of [this.#young, this.#old]) {
      const { store } = generation
      for (const block of generation.blocks()) {
        const tail = store.keyAt(block) + store.keyLength(block) - 3
        const isOfType = readU16(store.bytes, tail) === type && (store.bytes[tail + 2]! & Variant.DO) === 0
        if (isOfType) generation.kill(block)
      }
    }
  }

  /** Shows every answer kept, for people: not for the path of a query. */
  *blocks(): Generator<{ store: AnswerStore; block: number }> {
    for (const generation of [this.#young, this.#old]) {
      for (const block of generation.blocks()) yield { store: generation.store, block }
    }
  }
}
