/**
 * The names that a rule matches, packed: what parsers write and the compiler reads. A million names are one buffer, and no
 * objects.
 *
 * ```
 *  entry   u8 Covers │ u8 Verdict │ u32 line │ u32 offset in `data`, of Verdict.DATA alone │ u8 length │ name
 * ```
 * The name is in wire format, lower case, without the root's zero byte. Numbers are little-endian.
 */
import { LOWER, MAX_LABEL, MAX_NAME } from '../dns/name.ts'

/** What of a name is meant: itself, what is below it, or both; EXCEPTION: not matched, whatever else says so. */
export const Covers = { SELF: 1, BELOW: 2, EXCEPTION: 4 } as const

/** What becomes of an entry's name: as its rule says, or as its zone does. */
export const Verdict = { RULE: 0, NXDOMAIN: 1, NODATA: 2, ALLOW: 3, DROP: 4, TCP_ONLY: 5, DATA: 6 } as const

/** Bytes before the length of an entry's name, without the offset of its data. */
export const ENTRY_HEAD = 6
const FIRST_BYTES = 256
const LINE_MASK = 0xffff_ffff

/** A list of names, as read. */
export interface NameList {
  /** The entries, one after the other. */
  entries: Uint8Array
  count: number
  hasExceptions: boolean
  /** Sets of records (record-text.ts). */
  data: Uint8Array
  /** Lines that mean something, but nothing that DNS can do: filters of parts of a page, triggers other than names. */
  skipped: number
}

/** Packs entries. */
export class EntryWriter {
  /** A name in wire format that is to be an entry's, without the root's zero byte: `nameBytes` of it. */
  readonly name: Uint8Array = new Uint8Array(MAX_NAME)
  nameBytes = 0
  count = 0
  skipped = 0
  #hasExceptions = false
  #entries: Uint8Array = new Uint8Array(FIRST_BYTES)
  #length = 0
  #data: Uint8Array = new Uint8Array(0)
  #dataLength = 0

  /** Adds an entry for `name`. `dataAt`: of Verdict.DATA, what `addData` returned. */
  add(covers: number, verdict: number, line: number, dataAt: number = 0): void {
    const { name, nameBytes } = this
    this.#entries = withRoom(this.#entries, this.#length, ENTRY_HEAD + 5 + nameBytes)
    const entries = this.#entries
    let at = this.#length
    entries[at] = covers
    entries[at + 1] = verdict
    putU32(entries, at + 2, line & LINE_MASK)
    at += ENTRY_HEAD
    if (verdict === Verdict.DATA) {
      putU32(entries, at, dataAt)
      at += 4
    }
    entries[at++] = nameBytes
    for (let i = 0; i < nameBytes; i++) entries[at++] = name[i]!
    this.#length = at
    this.count++
    if ((covers & Covers.EXCEPTION) !== 0) this.#hasExceptions = true
  }

  /** Adds a set of records and returns its offset. */
  addData(records: Uint8Array): number {
    const at = this.#dataLength
    this.#data = withRoom(this.#data, at, records.length)
    this.#data.set(records, at)
    this.#dataLength += records.length
    return at
  }

  /**
   * Makes the name of `text` from `from` to `to` the next entry's: letters, digits, hyphens and underscores between dots, one
   * dot at the end or none. False if it is none; `name` is anything then.
   */
  takeName(text: string, from: number, to: number): boolean {
    const { name } = this
    const end = to > from && text.charCodeAt(to - 1) === 0x2e ? to - 1 : to
    let labelAt = 0
    let at = 1
    if (end - from + 2 > MAX_NAME || end === from) return false
    for (let i = from; i < end; i++) {
      const code = text.charCodeAt(i)
      if (code === 0x2e) {
        const size = at - labelAt - 1
        if (size === 0 || size > MAX_LABEL) return false
        name[labelAt] = size
        labelAt = at++
        continue
      }
      const isWord = (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a)
      if (!isWord && code !== 0x2d && code !== 0x5f) return false
      name[at++] = LOWER[code]!
    }
    const size = at - labelAt - 1
    if (size === 0 || size > MAX_LABEL) return false
    name[labelAt] = size
    this.nameBytes = at
    return true
  }

  /** What was added, in buffers of its own size. */
  finish(): NameList {
    return {
      entries: this.#entries.slice(0, this.#length),
      count: this.count,
      hasExceptions: this.#hasExceptions,
      data: this.#data.slice(0, this.#dataLength),
      skipped: this.skipped,
    }
  }
}

/** `bytes`, or a larger copy, with room for `more` bytes behind the first `length`. */
function withRoom(bytes: Uint8Array, length: number, more: number): Uint8Array {
  if (length + more <= bytes.length) return bytes
  const larger = new Uint8Array(Math.max(bytes.length * 2, length + more))
  larger.set(bytes.subarray(0, length))
  return larger
}

/** Bytes of the entry at `at`. */
export function entryBytes(entries: Uint8Array, at: number): number {
  const nameAt = at + ENTRY_HEAD + (entries[at + 1] === Verdict.DATA ? 4 : 0)
  return nameAt + 1 + entries[nameAt]! - at
}

/** Writes 32 bits, little-endian. */
export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
}

/** Reads 32 bits, little-endian, unsigned. */
export function getU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
