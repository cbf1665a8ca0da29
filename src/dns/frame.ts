/**
 * Framing of messages on a stream: each is preceded by its length in two bytes (RFC 1035 §4.2.2, RFC 7766 §8).
 *
 * ```
 *  one read     | len | message | len | message | len | mess
 *  passed on    |<------- as one slice ------->|
 *  kept                                         |<- held ->|
 * ```
 */
import { HEADER_BYTES } from './constants.ts'

/** Bytes of the length before each message. */
export const PREFIX_BYTES = 2

/** Longest frame: a message of 65,535 bytes and its length. */
export const MAX_FRAME_BYTES: number = PREFIX_BYTES + 0xffff

/** First size of the buffer for an incomplete frame: a client must send bytes before it costs memory. */
const FIRST_HELD_BYTES = 512

/**
 * Cuts a stream into frames. Complete frames of one read are handed on together and uncopied; the incomplete rest is
 * copied and waits for the next read, at most one frame of it.
 */
export class FrameReader {
  /** Frames in what `push` returned last. */
  count = 0
  /** True once a frame was shorter than a DNS header: where the next one begins cannot be trusted, so the stream is over. */
  malformed = false
  readonly #mayBeEmpty: boolean
  #held: Uint8Array | null = null
  #heldLength = 0

  /** `mayBeEmpty`: frames of no bytes are handed on as well; otherwise they are malformed like all without a header. */
  constructor(mayBeEmpty: boolean = false) {
    this.#mayBeEmpty = mayBeEmpty
  }

  /** Bytes of an incomplete frame that wait for their rest. */
  get heldBytes(): number {
    return this.#heldLength
  }

  /**
   * Takes the next bytes of the stream. Returns all frames that are now complete, one after the other and with their
   * lengths, or null if there is none or the stream is malformed. The result is a view of `chunk` unless an earlier
   * read left a rest; `chunk` is not kept, so its owner may use it again once done with the result.
   */
  push(chunk: Uint8Array): Uint8Array | null {
    this.count = 0
    if (this.malformed || chunk.length === 0) return null
    if (this.#heldLength === 0) return this.#split(chunk, 0)
    const used = this.#completeHeld(chunk)
    if (this.malformed || used < 0) return null
    const first = this.#held!.subarray(0, this.#heldLength)
    this.#held = null
    this.#heldLength = 0
    this.count = 1
    const rest = this.#split(chunk, used)
    if (this.malformed) return null
    if (rest === null) return first
    const joined = new Uint8Array(first.length + rest.length)
    joined.set(first)
    joined.set(rest, first.length)
    return joined
  }

  /** The complete frames of `chunk` from `at` on, counted; holds the rest. */
  #split(chunk: Uint8Array, at: number): Uint8Array | null {
    const end = frameBoundary(chunk, at, Number.MAX_SAFE_INTEGER, this.#mayBeEmpty)
    if (end.malformed) {
      this.malformed = true
      this.count = 0
      return null
    }
    this.count += end.count
    if (end.at < chunk.length) this.#hold(chunk, end.at, chunk.length)
    if (end.count === 0) return null
    return at === 0 && end.at === chunk.length ? chunk : chunk.subarray(at, end.at)
  }

  /** Adds bytes to the held frame until it is complete. Returns how many were used, -1 if it needs more than there are. */
  #completeHeld(chunk: Uint8Array): number {
    let used = 0
    if (this.#heldLength < PREFIX_BYTES) {
      this.#hold(chunk, 0, 1)
      used = 1
    }
    const length = (this.#held![0]! << 8) | this.#held![1]!
    if (isShort(length, this.#mayBeEmpty)) {
      this.malformed = true
      return -1
    }
    const missing = PREFIX_BYTES + length - this.#heldLength
    const stop = Math.min(chunk.length, used + missing)
    this.#hold(chunk, used, stop)
    return stop - used < missing ? -1 : stop
  }

  #hold(chunk: Uint8Array, from: number, to: number): void {
    const needed = this.#heldLength + to - from
    if (this.#held === null || this.#held.length < needed) {
      const doubled = this.#held === null ? FIRST_HELD_BYTES : this.#held.length * 2
      const larger = new Uint8Array(Math.min(Math.max(doubled, needed), MAX_FRAME_BYTES))
      if (this.#held !== null) larger.set(this.#held.subarray(0, this.#heldLength))
      this.#held = larger
    }
    this.#held.set(chunk.subarray(from, to), this.#heldLength)
    this.#heldLength = needed
  }
}

/** Where the scan of `frameBoundary` ended. */
export interface FrameBoundary {
  /** Offset after the last complete frame. */
  at: number
  /** Complete frames passed. */
  count: number
  /** The frame at `at` is shorter than a DNS header. */
  malformed: boolean
}

/** Overwritten by every call of `frameBoundary`: it is read before anything else can run. */
const boundary: FrameBoundary = { at: 0, count: 0, malformed: false }

/** True for a frame that has no room for a DNS header, and must have. */
function isShort(length: number, mayBeEmpty: boolean): boolean {
  return length < HEADER_BYTES && !(mayBeEmpty && length === 0)
}

/**
 * Passes over at most `limit` complete frames that begin at `at`, those of no bytes included if `mayBeEmpty`. The result is overwritten by the next call.
 */
export function frameBoundary(
  bytes: Uint8Array,
  at: number,
  limit: number,
  mayBeEmpty: boolean = false,
): FrameBoundary {
  const last = bytes.length - PREFIX_BYTES
  let i = at
  let count = 0
  boundary.malformed = false
  while (i <= last && count < limit) {
    const length = (bytes[i]! << 8) | bytes[i + 1]!
    if (isShort(length, mayBeEmpty)) {
      boundary.malformed = true
      break
    }
    const next = i + PREFIX_BYTES + length
    if (next > bytes.length) break
    i = next
    count++
  }
  boundary.at = i
  boundary.count = count
  return boundary
}

/** A copy of `message` with its length before it. */
export function framed(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(PREFIX_BYTES + message.length)
  frame[0] = message.length >> 8
  frame[1] = message.length & 0xff
  frame.set(message, PREFIX_BYTES)
  return frame
}
