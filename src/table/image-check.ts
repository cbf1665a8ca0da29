/**
 * Decides whether bytes from a file are an image that the workers can trust. `Image` checks nothing while it looks up, so
 * everything it could follow is followed here first: a damaged or forged file must not make it read past the end or
 * probe for ever.
 */
import {
  aliasTarget,
  AT_ADDRESS_INDEX,
  AT_ADDRESS_SLOTS,
  AT_BYTES,
  AT_CHECKSUM,
  AT_DOMAIN,
  AT_FORMAT,
  AT_MAGIC,
  AT_NAME_INDEX,
  AT_NAME_SLOTS,
  AT_NAMESPACE,
  AT_RECORDS,
  AT_RECORDS_END,
  AT_SEARCH_LABELS,
  AT_SEARCH_LENGTH,
  AT_VERSION,
  AT_WILDCARD_INDEX,
  AT_WILDCARD_MAX,
  AT_WILDCARD_MIN,
  AT_WILDCARD_SLOTS,
  align4,
  checksum,
  FLAG_ALIAS,
  FLAG_WILDCARD,
  FORMAT_VERSION,
  HEADER_BYTES,
  KEY_MASK,
  keyLength,
  MAGIC,
  RECORD_HEADER,
  recordBytes,
  SEARCH_AT,
} from './image-layout.ts'

const MAX_LABELS = 127
const STAR = 0x2a

/** Null if `bytes` are an image that can be read without further checks, else the reason in one line. They are not kept. */
export function verifyImage(bytes: Uint8Array): string | null {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return `not a name table image: ${bytes.length} bytes`
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes)
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4)
  if (words[AT_MAGIC] !== MAGIC) return 'not a name table image: it begins otherwise'
  if (words[AT_FORMAT] !== FORMAT_VERSION) return `image format ${words[AT_FORMAT]}, expected ${FORMAT_VERSION}`
  if (words[AT_BYTES] !== bytes.length) return `image of ${words[AT_BYTES]} bytes has ${bytes.length}`
  if (words[AT_CHECKSUM] !== checksum(words, words.length)) return 'image damaged: its checksum is wrong'
  return new ImageCheck(aligned, words).run()
}

class ImageCheck {
  private readonly bytes: Uint8Array
  private readonly words: Int32Array
  private readonly recordsAt: number
  private readonly recordsEnd: number
  /** A bit for each 4 bytes of records: a record begins there. */
  private readonly starts: Uint8Array

  constructor(bytes: Uint8Array, words: Int32Array) {
    this.bytes = bytes
    this.words = words
    this.recordsAt = words[AT_RECORDS]!
    this.recordsEnd = words[AT_RECORDS_END]!
    this.starts = new Uint8Array((bytes.length >> 5) + 1)
  }

  run(): string | null {
    const wrong =
      this.header() ??
      this.records() ??
      this.index(AT_NAME_INDEX, AT_NAME_SLOTS, 1, (reference) => this.isKey(reference)) ??
      this.index(AT_WILDCARD_INDEX, AT_WILDCARD_SLOTS, 1, (record) => this.isWildcard(record)) ??
      this.index(AT_ADDRESS_INDEX, AT_ADDRESS_SLOTS, 0, (entry, at) => this.isAddress(entry, at))
    return wrong === null ? null : `image damaged: ${wrong}`
  }

  private header(): string | null {
    const { words, bytes, recordsAt, recordsEnd } = this
    for (const field of [AT_VERSION, AT_NAMESPACE, AT_DOMAIN]) {
      const at = words[field]!
      const length = words[field + 1]!
      if (at < HEADER_BYTES || length < 0 || at + length > recordsAt) return 'a string is out of bounds'
    }
    if (recordsAt % 4 !== 0 || recordsEnd % 4 !== 0 || recordsEnd < recordsAt || recordsEnd > bytes.length) {
      return 'the records are out of bounds'
    }
    const labels = words[AT_SEARCH_LABELS]!
    const length = words[AT_SEARCH_LENGTH]!
    const none = labels === 0 && length === 0
    if (!none && (length < 3 || length > 255 || this.labelsOf(SEARCH_AT, length) !== labels)) {
      return 'the search domain is no name'
    }
    const least = words[AT_WILDCARD_MIN]!
    const most = words[AT_WILDCARD_MAX]!
    return least >= 0 && most >= least && most <= MAX_LABELS ? null : 'wildcards have no such labels'
  }

  private records(): string | null {
    const { bytes, recordsEnd } = this
    for (let at = this.recordsAt; at < recordsEnd; ) {
      const wrong = `record at byte ${at}`
      if (at + RECORD_HEADER > recordsEnd) return wrong
      const nameLength = bytes[at + 1]!
      const size = recordBytes(bytes, at)
      if (nameLength < 3 || at + size > recordsEnd) return wrong
      const labels = this.labelsOf(at + RECORD_HEADER, nameLength)
      if (labels === -1) return wrong
      const flags = bytes[at]!
      const star = bytes[at + RECORD_HEADER] === 1 && bytes[at + RECORD_HEADER + 1] === STAR && labels > 1
      if ((flags & FLAG_WILDCARD) !== 0 && !star) return wrong
      if ((flags & FLAG_ALIAS) !== 0 && !this.isHost(aliasTarget(bytes, at))) return wrong
      this.starts[at >> 5]! |= 1 << ((at >> 2) & 7)
      at += size
    }
    return null
  }

  /** Each used slot must satisfy `isValid`; `keyWord` is the word of a slot that is 0 when it is empty. */
  private index(
    atField: number,
    slotsField: number,
    keyWord: 0 | 1,
    isValid: (entry: number, other: number) => boolean,
  ): string | null {
    const { words } = this
    const at = words[atField]!
    const slots = words[slotsField]!
    if (at < this.recordsEnd || at % 4 !== 0 || slots < 2 || (slots & (slots - 1)) !== 0)
      return 'an index is out of bounds'
    if (slots > words.length || at + slots * 8 > this.bytes.length) return 'an index is out of bounds'
    let empty = 0
    for (let i = at >> 2; i < (at >> 2) + slots * 2; i += 2) {
      const entry = words[i + keyWord]!
      if (entry === 0) empty++
      else if (!isValid(entry, words[i + 1 - keyWord]!)) return `index entry at byte ${i * 4}`
    }
    return empty === 0 ? 'an index has no empty slot' : null
  }

  /** Labels of the wire name of exactly `length` bytes at `at`, root included; -1 if it is none. */
  private labelsOf(at: number, length: number): number {
    const end = at + length - 1
    let labels = 0
    let i = at
    while (i < end && this.bytes[i]! !== 0 && this.bytes[i]! <= 63) {
      i += this.bytes[i]! + 1
      labels++
    }
    return i === end && this.bytes[i] === 0 ? labels : -1
  }

  private isRecord(at: number): boolean {
    if (at < this.recordsAt || at >= this.recordsEnd || at % 4 !== 0) return false
    return (this.starts[at >> 5]! & (1 << ((at >> 2) & 7))) !== 0
  }

  /** A record that is no alias. Aliases come behind their hosts, so it has been seen by then. */
  private isHost(at: number): boolean {
    return this.isRecord(at) && (this.bytes[at]! & FLAG_ALIAS) === 0
  }

  private isWildcard(at: number): boolean {
    return this.isHost(at) && (this.bytes[at]! & FLAG_WILDCARD) !== 0
  }

  /** A reference whose key is a whole number of labels. */
  private isKey(reference: number): boolean {
    const record = reference & ~KEY_MASK
    const kind = reference & KEY_MASK
    if (!this.isRecord(record)) return false
    if (kind === 0) return true
    if (!this.isHost(record)) return false
    const nameAt = record + RECORD_HEADER
    const end = nameAt + this.bytes[record + 1]! - 1
    const length = keyLength(this.bytes, record, kind)
    let at = nameAt
    while (at < end && at < nameAt + length) at += this.bytes[at]! + 1
    return length > 0 && at === nameAt + length
  }

  private isAddress(entry: number, at: number): boolean {
    const record = entry & ~KEY_MASK
    if (!this.isHost(record)) return false
    const { bytes } = this
    const v4At = record + RECORD_HEADER + align4(bytes[record + 1]!)
    const v6At = v4At + (bytes[record + 4]! | (bytes[record + 5]! << 8)) * 4
    const end = record + recordBytes(bytes, record)
    if (entry & 1) return at >= v6At && at + 16 <= end && (at - v6At) % 16 === 0
    return at >= v4At && at + 4 <= v6At && (at - v4At) % 4 === 0
  }
}
