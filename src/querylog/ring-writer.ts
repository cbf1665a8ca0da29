/**
 * The data worker's end of a ring (ring-layout.ts). Records are written one by one and shown to the reader a batch at a
 * time: a store that other threads must see costs more than all the rest of a record. Nothing is allocated.
 */
import { DOUBLE_CLOCK, DOUBLE_DROPPED, DOUBLE_RECORDS, RING_HEAD, WORD_READ, WORD_WRITTEN } from './ring-layout.ts'

/** A record's latency until its batch ends. */
export const LATENCY_UNKNOWN = -1

/** Writes records into one ring. */
export class RingWriter {
  readonly bytes: Uint8Array
  readonly words: Int32Array
  readonly halves: Uint16Array
  readonly doubles: Float64Array
  /** Offset behind the last record, and behind the last that the reader may see. */
  #at: number
  #shown: number
  /** Where the reader was when it was looked for last: it has only gone on since. */
  #read: number
  /** The reader keeps up with what comes: only the beginning of the ring is used, and the rest takes no memory. */
  isSparing = false

  /** `buffer`: made by `createRing`; nobody else may write to it. Goes on behind the last record that was shown. */
  constructor(buffer: SharedArrayBuffer) {
    this.bytes = new Uint8Array(buffer)
    this.words = new Int32Array(buffer)
    this.halves = new Uint16Array(buffer)
    this.doubles = new Float64Array(buffer)
    this.#at = Atomics.load(this.words, WORD_WRITTEN)
    this.#shown = this.#at
    this.#read = Atomics.load(this.words, WORD_READ)
  }

  /** Says what the engine's clock shows at the Unix time `epochMs`. */
  setClock(engineMs: number, epochMs: number): void {
    this.doubles[DOUBLE_CLOCK] = epochMs - engineMs
  }

  /** Begins a record of `size` bytes, a multiple of 8, and returns its offset; −1, and counts it, if there is no room. */
  begin(size: number): number {
    if (this.isSparing && this.#at === this.#shown) this.#turnEarly()
    if (!this.#makeRoom(size)) {
      this.#read = Atomics.load(this.words, WORD_READ)
      if (!this.#makeRoom(size)) {
        this.doubles[DOUBLE_DROPPED]!++
        return -1
      }
    }
    const at = this.#at
    this.words[at >> 2] = size
    this.#at = at + size
    this.doubles[DOUBLE_RECORDS]!++
    return at
  }

  /**
   * Shows the reader all records written so far. Those whose latency is not known yet took `latencyMicros`; if that is less
   * than `leastMicros`, the bits `unless` are taken from them: they are not worth a line.
   */
  show(latencyMicros: number, leastMicros: number, unless: number): void {
    if (this.#at === this.#shown) return
    const { words } = this
    for (let at = this.#shown; at !== this.#at; ) {
      const word = at >> 2
      const size = words[word]!
      if (size === 0) {
        at = RING_HEAD
        continue
      }
      if (words[word + 4] === LATENCY_UNKNOWN) {
        words[word + 4] = latencyMicros
        if (latencyMicros < leastMicros) words[word + 1]! &= ~unless
      }
      at += size
    }
    this.#shown = this.#at
    Atomics.store(words, WORD_WRITTEN, this.#at)
  }

  /** True if `size` bytes are free at `#at`, which may have gone to the beginning. It never catches up with the reader: that means empty. */
  #makeRoom(size: number): boolean {
    const at = this.#at
    const read = this.#read
    if (at < read) return at + size < read
    // Room for the mark that ends the ring must be left.
    if (at + size + 8 <= this.bytes.length) return true
    if (RING_HEAD + size >= read) return false
    this.words[at >> 2] = 0
    this.#at = RING_HEAD
    return true
  }

  #turnEarly(): void {
    const at = this.#at
    if (at < SPARING_BYTES) return
    this.#read = Atomics.load(this.words, WORD_READ)
    if (this.#read !== at) return
    this.words[at >> 2] = 0
    this.#at = RING_HEAD
  }
}

/** Where a writer that spares memory begins anew if the reader has read all. */
const SPARING_BYTES = 64 * 1024
