/** Writes what an image has in front of its records: the header, the search domain, the strings (image-layout.ts). */
import type { TableIdentity } from './identity.ts'
import {
  align4,
  AT_ADDRESS_INDEX,
  AT_ADDRESS_SLOTS,
  AT_BYTES,
  AT_CONTENT,
  AT_DOMAIN,
  AT_FORMAT,
  AT_GENERATION,
  AT_HOSTS,
  AT_MAGIC,
  AT_NAME_INDEX,
  AT_NAME_SLOTS,
  AT_NAMESPACE,
  AT_RECORDS,
  AT_RECORDS_END,
  AT_SEARCH_LABELS,
  AT_SEARCH_LENGTH,
  AT_SEED,
  AT_SKIPPED_ADDRESSES,
  AT_SKIPPED_HOSTS,
  AT_TIME,
  AT_VERSION,
  AT_WILDCARD_INDEX,
  AT_WILDCARD_MAX,
  AT_WILDCARD_MIN,
  AT_WILDCARD_SLOTS,
  FORMAT_VERSION,
  HEADER_BYTES,
  HEADER_WORDS,
  MAGIC,
  SEARCH_AT,
} from './image-layout.ts'
import type { WireIdentity } from './name-text.ts'

/** Longer strings are cut: they are names of 253 characters and a version for people. */
const MAX_STRING = 255

const ENCODER = new TextEncoder()
/** Used within one call that calls nobody back. */
const scratch: Uint8Array<ArrayBuffer> = new Uint8Array(MAX_STRING)

/** Writes the header of one image. */
export class ImageHeader {
  private readonly buffer: SharedArrayBuffer
  private readonly words: Int32Array
  private readonly bytes: Uint8Array

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.words = new Int32Array(buffer)
    this.bytes = new Uint8Array(buffer)
  }

  /** Clears the header and writes the strings behind it. Returns where the records begin. */
  putStrings(version: string, identity: TableIdentity): number {
    this.words.fill(0, 0, HEADER_WORDS)
    let at = HEADER_BYTES
    at = this.putString(AT_NAMESPACE, at, identity.namespace)
    at = this.putString(AT_DOMAIN, at, identity.domain)
    this.words[AT_VERSION] = at
    this.version(version)
    return align4(at + MAX_STRING)
  }

  /** Puts a version in place of the one there is: it has room for the longest, so that no record need move. */
  version(version: string): void {
    const at = this.words[AT_VERSION]!
    const end = this.putString(AT_VERSION, at, version)
    this.bytes.fill(0, end, align4(at + MAX_STRING))
  }

  private putString(field: number, at: number, text: string): number {
    // By way of a copy, because TextEncoder refuses shared memory; `encodeInto` does not cut a character in two.
    const { written } = ENCODER.encodeInto(text, scratch)
    this.bytes.set(scratch.subarray(0, written), at)
    this.words[field] = at
    this.words[field + 1] = written
    return at + written
  }

  /** Offset of the first record, and the end of the last. */
  get recordsAt(): number {
    return this.words[AT_RECORDS]!
  }

  get recordsEnd(): number {
    return this.words[AT_RECORDS_END]!
  }

  /** Notes where everything is, and empties the indexes. */
  sections(
    recordsAt: number,
    recordsEnd: number,
    nameSlots: number,
    wildcardSlots: number,
    addressSlots: number,
  ): void {
    const { words } = this
    words[AT_RECORDS] = recordsAt
    words[AT_RECORDS_END] = recordsEnd
    words[AT_NAME_INDEX] = recordsEnd
    words[AT_NAME_SLOTS] = nameSlots
    words[AT_WILDCARD_INDEX] = recordsEnd + nameSlots * 8
    words[AT_WILDCARD_SLOTS] = wildcardSlots
    words[AT_ADDRESS_INDEX] = words[AT_WILDCARD_INDEX] + wildcardSlots * 8
    words[AT_ADDRESS_SLOTS] = addressSlots
    words[AT_BYTES] = words[AT_ADDRESS_INDEX] + addressSlots * 8
    words.fill(0, recordsEnd >> 2, words[AT_BYTES] >> 2)
  }

  nameIndex(): Int32Array {
    return this.index(AT_NAME_INDEX, AT_NAME_SLOTS)
  }

  wildcardIndex(): Int32Array {
    return this.index(AT_WILDCARD_INDEX, AT_WILDCARD_SLOTS)
  }

  addressIndex(): Int32Array {
    return this.index(AT_ADDRESS_INDEX, AT_ADDRESS_SLOTS)
  }

  private index(at: number, slots: number): Int32Array {
    return new Int32Array(this.buffer, this.words[at], this.words[slots]! * 2)
  }

  counts(
    hosts: number,
    skippedHosts: number,
    skippedAddresses: number,
    wildcardMin: number,
    wildcardMax: number,
  ): void {
    this.words[AT_HOSTS] = hosts
    this.words[AT_SKIPPED_HOSTS] = skippedHosts
    this.words[AT_SKIPPED_ADDRESSES] = skippedAddresses
    this.words[AT_WILDCARD_MIN] = wildcardMin
    this.words[AT_WILDCARD_MAX] = wildcardMax
  }

  /** Where the content comes from: its hash, the seed of all hashes, and when. */
  content(seed: number, low: number, high: number, timeMs: number): void {
    this.words[AT_SEED] = seed
    this.words[AT_CONTENT] = high
    this.words[AT_CONTENT + 1] = low
    new Float64Array(this.buffer, AT_TIME * 4, 1)[0] = timeMs
  }

  searchDomain(who: WireIdentity): void {
    this.bytes.fill(0, SEARCH_AT, HEADER_BYTES)
    this.bytes.set(who.search, SEARCH_AT)
    this.words[AT_SEARCH_LABELS] = who.searchLabels
    this.words[AT_SEARCH_LENGTH] = who.search.length
  }

  /** The last step: numbers the image and makes it one. Its checksum is `imageBytes`' to make. */
  seal(generation: number): void {
    const { words } = this
    words[AT_MAGIC] = MAGIC
    words[AT_FORMAT] = FORMAT_VERSION
    words[AT_GENERATION] = generation
  }
}
