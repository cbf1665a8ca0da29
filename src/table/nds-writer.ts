/**
 * Writes the length-delimited fields of a protobuf message, all that a NameTable has, straight into one buffer. A table file
 * is encoded at start, before the first answer: protobufjs's writer makes several objects a field, and is 35 KB of code that
 * nothing else loads then.
 */

const FIRST_BYTES = 65_536
/** A length is given one byte first, as nearly all fit. */
const LENGTH_BYTES = 1

/** Writes one serialized NameTable. */
export class NdsWriter {
  #buffer: Buffer
  #at = 0

  /** `firstBytes`: room to begin with; more is made as it is needed. */
  constructor(firstBytes: number = FIRST_BYTES) {
    this.#buffer = Buffer.allocUnsafe(firstBytes)
  }

  /** What was written: a copy, the caller's. */
  bytes(): Uint8Array {
    return new Uint8Array(this.written())
  }

  /** What was written, not copied: the caller's if nothing more is written. */
  written(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }

  /** Begins a message under `tag`; returns what `end` is to be called with. */
  begin(tag: number): number {
    this.#reserve(1 + LENGTH_BYTES)
    this.#buffer[this.#at] = tag
    this.#at += 1 + LENGTH_BYTES
    return this.#at
  }

  /** Ends the message that `begin` returned `start` for. */
  end(start: number): void {
    const length = this.#at - start
    let more = 0
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) more++
    if (more > 0) {
      this.#reserve(more)
      this.#buffer.copyWithin(start + more, start, this.#at)
      this.#at += more
    }
    let at = start - LENGTH_BYTES
    let rest = length
    for (; rest >= 0x80; rest >>>= 7) this.#buffer[at++] = (rest & 0x7f) | 0x80
    this.#buffer[at] = rest
  }

  /** Writes a string, in UTF-8. */
  text(tag: number, text: string): void {
    const start = this.begin(tag)
    this.#reserve(text.length * 3)
    const buffer = this.#buffer
    let i = 0
    // A call of Buffer's takes longer than most names.
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) break
      buffer[start + i] = code
    }
    this.#at += i === text.length ? i : buffer.write(text, start)
    this.end(start)
  }

  /** Writes a string that is UTF-8 already: the bytes of `from` between `start` and `end`. */
  raw(tag: number, from: Uint8Array, start: number, end: number): void {
    const at = this.begin(tag)
    this.#reserve(end - start)
    const buffer = this.#buffer
    // A call of Buffer's takes longer than most names.
    for (let i = start; i < end; i++) buffer[at + i - start] = from[i]!
    this.#at += end - start
    this.end(at)
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#at))
    this.#buffer = larger
  }
}
