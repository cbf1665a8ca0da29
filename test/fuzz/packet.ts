/** A packet being made: bytes of its own that grow and shrink in place, so that a packet costs no garbage. */

export const MAX_PACKET = 65_535
/** Room beyond the longest packet: what is put there is cut off by `clip`. */
const SPARE = 66_000

export class Packet {
  readonly bytes: Uint8Array
  length = 0

  /** `memory`: where the bytes are, of at least `Packet.ROOM` bytes; own memory if not given. */
  constructor(memory: ArrayBuffer | SharedArrayBuffer = new ArrayBuffer(Packet.ROOM)) {
    this.bytes = new Uint8Array(memory, 0, Packet.ROOM)
  }

  static readonly ROOM: number = MAX_PACKET + SPARE

  clear(): this {
    this.length = 0
    return this
  }

  u8(value: number): this {
    if (this.length < MAX_PACKET) this.bytes[this.length++] = value
    return this
  }

  u16(value: number): this {
    return this.u8(value >>> 8).u8(value & 0xff)
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff)
  }

  append(from: Uint8Array, at: number = 0, length: number = from.length - at): this {
    const count = Math.min(length, MAX_PACKET - this.length)
    if (count > 64) this.bytes.set(from.subarray(at, at + count), this.length)
    else for (let i = 0; i < count; i++) this.bytes[this.length + i] = from[at + i]!
    this.length += count
    return this
  }

  set(from: Uint8Array, length: number = from.length): this {
    return this.clear().append(from, 0, length)
  }

  get16(at: number): number {
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }

  /** Overwrites two bytes that are there. */
  set16(at: number, value: number): void {
    if (at + 2 > this.length) return
    this.bytes[at] = value >>> 8
    this.bytes[at + 1] = value
  }

  /** Adds to one of the header's counts. */
  count(section: number, by: number = 1): void {
    this.set16(4 + 2 * section, this.get16(4 + 2 * section) + by)
  }

  /** Opens a gap of `size` bytes at `at`; what was there moves up. The gap's bytes are any. */
  open(at: number, size: number): void {
    const room = Math.min(size, MAX_PACKET - this.length)
    this.bytes.copyWithin(at + room, at, this.length)
    this.length += room
  }

  remove(at: number, size: number): void {
    this.bytes.copyWithin(at, at + size, this.length)
    this.length -= size
  }

  copy(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.bytes.subarray(0, this.length))
  }
}
