/**
 * A fingerprint of a name table that depends neither on the order of its hosts nor on the order of a host's addresses, nor
 * on how often it has one: istiod sends the addresses of a ServiceEntry in another order with each push, some of them
 * twice. Each entry's bytes, brought into order (entry-order.ts), are hashed by themselves and the hashes are added up.
 */
import { finishHash } from '../dns/name.ts'
import { EntryOrder } from './entry-order.ts'
import { IntList } from './int-list.ts'
import { NdsReader, TAG_1 } from './nds-reader.ts'

/** Numbers that `entryHashes` has for an entry. */
export const HASH_STRIDE = 3

/** What a look over a serialized NameTable tells. Reusable: what it keeps is bounded by the last table or two. */
export class TableSurvey {
  entries = 0
  /** Of the entries alone in order, without their tags and lengths. */
  bytes = 0
  /** The hash's 64 bits. */
  low = 0
  high = 0
  /** Of each entry in turn: its hash in two words, and where it is in the table. */
  readonly entryHashes: IntList = new IntList(HASH_STRIDE * 1024)
  private readonly reader: NdsReader = new NdsReader()
  private readonly order: EntryOrder = new EntryOrder()

  /** Counts and fingerprints the entries; returns the offset where the table is malformed, or -1. Nothing of it is kept. */
  take(table: Uint8Array, seed: number): number {
    const { reader, entryHashes, order } = this
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    this.entries = this.bytes = this.low = this.high = 0
    entryHashes.clear()
    reader.reset(table)
    for (let at = 0, tag = reader.field(table.length); tag !== 0; at = reader.at, tag = reader.field(table.length)) {
      if (tag === TAG_1) {
        if (order.isInOrder(table, reader.at, reader.length)) this.addEntry(view, reader.at, reader.length, seed, at)
        else this.addEntry(order.view, 0, order.length, seed, at)
      }
      reader.at += reader.length
    }
    const malformedAt = reader.malformed ? reader.at : -1
    reader.reset(new Uint8Array(0))
    return malformedAt
  }

  /** Two lanes that both see every word, so that their multiplications overlap: eight bytes in the time of one. */
  private addEntry(view: DataView, at: number, length: number, seed: number, entryAt: number): void {
    let a = seed ^ length
    let b = ~seed
    const end = at + length
    if (length >= 8) {
      for (let i = at; i < end; i += 8) {
        // The last eight bytes may be in part those before.
        const from = Math.min(i, end - 8)
        const first = view.getInt32(from, true)
        const second = view.getInt32(from + 4, true)
        a = Math.imul(a ^ first, 0x9e3779b1)
        a = ((a ^ (a >>> 15)) + second) | 0
        b = Math.imul(((b << 13) | (b >>> 19)) ^ second, 0x85ebca6b) ^ first
      }
    } else {
      for (let i = at; i < end; i++) {
        a = Math.imul(a ^ view.getUint8(i), 0x9e3779b1)
        b = Math.imul(((b << 13) | (b >>> 19)) ^ view.getUint8(i), 0x85ebca6b)
      }
    }
    const low = finishHash(a)
    const high = finishHash(b ^ Math.imul(a, 0xc2b2ae35))
    this.entryHashes.push3(low, high, entryAt)
    this.entries++
    this.bytes += length
    this.low = (this.low + low) | 0
    this.high = (this.high + high) | 0
  }

  /** True if the other survey is of a table with the same entries, in whatever order. */
  isSameContent(other: TableSurvey): boolean {
    return (
      this.low === other.low && this.high === other.high && this.entries === other.entries && this.bytes === other.bytes
    )
  }

  /** Where in the table the entry of this ordinal is, with its tag and length. */
  entryAt(ordinal: number): number {
    return this.entryHashes.items[ordinal * HASH_STRIDE + 2]!
  }

  /** Becomes the other survey, but in this one's order: entry `ordinals[k]` turns into `others[k]` of the other. */
  replace(ordinals: Int32Array, other: TableSurvey, others: Int32Array): void {
    const to = this.entryHashes.items
    const from = other.entryHashes.items
    for (let k = 0; k < ordinals.length; k++) {
      to[ordinals[k]! * HASH_STRIDE] = from[others[k]! * HASH_STRIDE]!
      to[ordinals[k]! * HASH_STRIDE + 1] = from[others[k]! * HASH_STRIDE + 1]!
    }
    this.entries = other.entries
    this.bytes = other.bytes
    this.low = other.low
    this.high = other.high
  }
}

/** Feeds `length` bytes at `at` of the view, which are no part of another hash's, into a hash of 32 bits. */
export function hashWords(state: number, view: DataView, at: number, length: number): number {
  let h = Math.imul(state ^ length, 0x85ebca6b)
  let i = at
  for (const end = at + length - 3; i < end; i += 4) {
    h = Math.imul(h ^ view.getInt32(i, true), 0x9e3779b1)
    h ^= h >>> 15
  }
  for (; i < at + length; i++) {
    h = Math.imul(h ^ view.getUint8(i), 0x9e3779b1)
    h ^= h >>> 15
  }
  return h
}
