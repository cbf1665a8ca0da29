/** Reading and writing the binary format of WebAssembly: bytes, LEB128 numbers and names (core specification §5). */

/** A module that byname does not take, and why, in one line. Thrown within this folder alone. */
export class Refusal extends Error {}

/** Reads a module from front to back. Every method throws Refusal where the module ends before what is read. */
export class WasmReader {
  readonly bytes: Uint8Array
  at: number
  /** What is read ends here. */
  readonly end: number

  constructor(bytes: Uint8Array, at: number = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  get isAtEnd(): boolean {
    return this.at >= this.end
  }

  byte(): number {
    if (this.at >= this.end) throw new Refusal(`ends in the middle, at offset ${this.at}`)
    return this.bytes[this.at++]!
  }

  /** Passes over `count` bytes. */
  skip(count: number): void {
    if (count > this.end - this.at) throw new Refusal(`ends in the middle, at offset ${this.at}`)
    this.at += count
  }

  /** An unsigned number of at most 32 bits. */
  u32(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new Refusal(`has a number that is too long, at offset ${this.at}`)
  }

  /** A signed number of at most 33 bits: what a block type is. */
  s33(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte >= 0x80) continue
      return (byte & 0x40) === 0 ? value : value - 2 ** (shift + 7)
    }
    throw new Refusal(`has a number that is too long, at offset ${this.at}`)
  }

  /** Passes over a number of at most `bits` bits. */
  skipNumber(bits: 32 | 64): void {
    for (let count = Math.ceil(bits / 7); count > 0; count--) if (this.byte() < 0x80) return
    throw new Refusal(`has a number that is too long, at offset ${this.at}`)
  }

  /** A name: UTF-8 after its length. */
  name(): string {
    const length = this.u32()
    const from = this.at
    this.skip(length)
    return new TextDecoder().decode(this.bytes.subarray(from, this.at))
  }

  /** What the next `length` bytes are, as a reader of their own; this one goes on after them. */
  part(length: number): WasmReader {
    const from = this.at
    this.skip(length)
    return new WasmReader(this.bytes, from, this.at)
  }
}

/** Writes a module from front to back. */
export class WasmWriter {
  #bytes: Uint8Array
  #length = 0

  constructor(capacity: number = 256) {
    this.#bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  /** What has been written; valid until more is written. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** Begins anew, in the same buffer. */
  clear(): void {
    this.#length = 0
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  bytes(from: ArrayLike<number>): void {
    this.#reserve(from.length)
    this.#bytes.set(from, this.#length)
    this.#length += from.length
  }

  /** Copies the bytes from `at` to `end` of another buffer. */
  copy(from: Uint8Array, at: number, end: number): void {
    this.bytes(from.subarray(at, end))
  }

  u32(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80)
      rest = Math.floor(rest / 128)
    }
    this.byte(rest)
  }

  /** A signed number of 32 bits, always in five bytes, so that it can be written over. */
  s32(value: number): void {
    this.#reserve(5)
    this.#length += 5
    this.setS32(this.#length - 5, value)
  }

  /** Writes over the number of five bytes at `at`. */
  setS32(at: number, value: number): void {
    for (let k = 0; k < 4; k++) this.#bytes[at + k] = ((value >> (7 * k)) & 0x7f) | 0x80
    this.#bytes[at + 4] = (value >> 28) & 0x7f
  }

  name(text: string): void {
    const bytes = new TextEncoder().encode(text)
    this.u32(bytes.length)
    this.bytes(bytes)
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count))
    larger.set(this.#bytes)
    this.#bytes = larger
  }
}
