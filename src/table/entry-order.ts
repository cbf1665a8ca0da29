import { NdsReader, TAG_1, TAG_2 } from './nds-reader.ts'

/**
 * Brings an entry of a serialized name table into the order in which it is fingerprinted: its addresses sorted (the
 * shorter text first), each once. Equal addresses that are spelt differently stay two, as istiod spells them one way.
 *
 * Only entries as every protobuf encoder writes them are looked at, the host first and the addresses first in its info.
 * Any other one counts as in order: then a table in another order is compiled anew, which costs time and nothing else.
 */
export class EntryOrder {
  /** The entry in order, as `isInOrder` left it: the first `length` bytes. Valid until the next call. */
  view: DataView = new DataView(new ArrayBuffer(0))
  length = 0
  private bytes: Uint8Array = new Uint8Array(0)
  private readonly reader: NdsReader = new NdsReader()
  /** Where the fields of the addresses begin, tags included. */
  private readonly addresses: number[] = []

  /** True if the entry of `length` bytes at `at` is in order as it is; else it is put into `view` in order. */
  isInOrder(table: Uint8Array, at: number, length: number): boolean {
    const end = at + length
    // Most hosts have one address: six bytes tell. Lengths of names and addresses take one byte.
    if (table[at] !== TAG_1 || table[at + 1]! >= 0x80) return true
    const infoTag = at + 2 + table[at + 1]!
    if (infoTag + 3 >= end || table[infoTag] !== TAG_2) return true
    const info = infoTag + (table[infoTag + 1]! < 0x80 ? 2 : table[infoTag + 2]! < 0x80 ? 3 : 4)
    const second = info + 2 + table[info + 1]!
    if (second >= end || table[info] !== TAG_1 || table[info + 1]! >= 0x80 || table[second] !== TAG_1) return true
    if (this.areAddressesInOrder(table, info, end)) return true
    this.reader.reset(table)
    const isInOrder = !this.bringIntoOrder(table, at, infoTag, end)
    this.reader.reset(new Uint8Array(0))
    return isInOrder
  }

  private areAddressesInOrder(table: Uint8Array, info: number, end: number): boolean {
    let before = info
    for (let at = info + 2 + table[info + 1]!; at < end && table[at] === TAG_1; at += 2 + table[at + 1]!) {
      if (compareFields(table, before, at) >= 0) return false
      before = at
    }
    return true
  }

  /** False if the entry is malformed or odd. */
  private bringIntoOrder(table: Uint8Array, at: number, infoTag: number, end: number): boolean {
    const { reader, addresses } = this
    reader.at = infoTag
    if (reader.field(end) !== TAG_2) return false
    const infoEnd = reader.at + reader.length
    addresses.length = 0
    let rest = reader.at
    while (rest < infoEnd && table[rest] === TAG_1) {
      reader.at = rest
      // A longer varint than is needed may stand for a small number: the one byte is what is read below.
      if (reader.field(infoEnd) !== TAG_1 || table[rest + 1]! >= 0x80) return false
      addresses.push(rest)
      rest = reader.at + reader.length
    }
    if (reader.malformed) return false
    addresses.sort((a, b) => compareFields(table, a, b))
    this.write(table, at, infoTag, rest, infoEnd, end)
    return true
  }

  private write(table: Uint8Array, at: number, infoTag: number, rest: number, infoEnd: number, end: number): void {
    const { addresses } = this
    if (this.bytes.length < end - at) {
      this.bytes = new Uint8Array((end - at) * 2)
      this.view = new DataView(this.bytes.buffer)
    }
    const { bytes } = this
    const distinct = addresses.filter((field, k) => k === 0 || compareFields(table, addresses[k - 1]!, field) !== 0)
    const infoLength = distinct.reduce((sum, field) => sum + 2 + table[field + 1]!, infoEnd - rest)
    let to = copy(table, at, infoTag + 1, bytes, 0)
    let left = infoLength
    for (; left >= 0x80; left >>>= 7) bytes[to++] = (left & 0x7f) | 0x80
    bytes[to++] = left
    for (const field of distinct) to = copy(table, field, field + 2 + table[field + 1]!, bytes, to)
    this.length = copy(table, rest, end, bytes, to)
  }
}

/** Order of two fields of less than 128 bytes: the shorter one first, then byte by byte. */
function compareFields(table: Uint8Array, a: number, b: number): number {
  const length = table[a + 1]! + 2
  for (let i = 1; i < length; i++) {
    const difference = table[a + i]! - table[b + i]!
    if (difference !== 0) return difference
  }
  return 0
}

/** Copies the bytes from `from` to `end`; returns the offset behind them. */
function copy(source: Uint8Array, from: number, end: number, bytes: Uint8Array, to: number): number {
  for (let i = from; i < end; i++) bytes[to + i - from] = source[i]!
  return to + end - from
}
