/**
 * Walks a serialized NameTable in place: positions and lengths instead of objects and strings, because a table of 100,000
 * hosts is decoded between two pushes. The wire layout is protobuf's (fields of nds.proto):
 *
 * ```
 *  NameTable   0A len entry …                       a map is a repeated message of key and value
 *  entry       0A len host   12 len NameInfo
 *  NameInfo    0A len ip …   12 len registry   1A len shortname   22 len namespace   2A len alt host …
 * ```
 *
 * Unknown fields are skipped; fields may come in any order.
 */

const LENGTH_DELIMITED = 2

/** Tag bytes of the fields above: number << 3 | LENGTH_DELIMITED. */
export const TAG_1 = 0x0a
export const TAG_2 = 0x12
export const TAG_3 = 0x1a
export const TAG_4 = 0x22
export const TAG_5 = 0x2a

/** A cursor over protobuf fields. */
export class NdsReader {
  /** Offset of the next byte. After `field`, of the field's content. */
  at = 0
  /** Where the field's tag is. */
  tagAt = 0
  /** Bytes of the field's content, which the caller steps over. */
  length = 0
  /** Set once the bytes made no sense; `at` is where. Nothing clears it but `reset`. */
  malformed = false
  bytes: Uint8Array = new Uint8Array(0)

  /** Begins with other bytes. They are only read, and given up by resetting to others. */
  reset(bytes: Uint8Array): void {
    this.bytes = bytes
    this.at = 0
    this.length = 0
    this.malformed = false
  }

  /**
   * Goes to the next length-delimited field before `end` and returns its tag, with `at` and `length` set to its content;
   * fields of other wire types are skipped. Returns 0 at the end, and when the bytes are malformed.
   */
  field(end: number): number {
    while (this.at < end) {
      this.tagAt = this.at
      const tag = this.varint(end)
      if (tag <= 7) return this.fail()
      if ((tag & 7) === LENGTH_DELIMITED) {
        const length = this.varint(end)
        if (this.malformed || length > end - this.at) return this.fail()
        this.length = length
        return tag
      }
      if (!this.skip(tag & 7, end)) return this.fail()
    }
    return 0
  }

  private fail(): 0 {
    this.malformed = true
    return 0
  }

  /** Reads a varint of up to 32 bits; longer ones are malformed where this is used (tags and lengths). */
  private varint(end: number): number {
    const { bytes } = this
    if (this.at < end) {
      const first = bytes[this.at]!
      if (first < 0x80) {
        this.at++
        return first
      }
    }
    let value = 0
    for (let shift = 0, i = this.at; shift < 35 && i < end; shift += 7, i++) {
      const byte = bytes[i]!
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (value > 0xffffffff) break
        this.at = i + 1
        return value
      }
    }
    this.malformed = true
    return 0
  }

  /** Steps over the content of a field that is not length-delimited. Groups have long been out of use. */
  private skip(wireType: number, end: number): boolean {
    const { bytes } = this
    let i = this.at
    if (wireType === 0) {
      while (i < end && i < this.at + 9 && bytes[i]! >= 0x80) i++
      if (i >= end || bytes[i]! >= 0x80) return false
      i++
    } else if (wireType === 1) i += 8
    else if (wireType === 5) i += 4
    else return false
    if (i > end) return false
    this.at = i
    return true
  }
}
