/**
 * The compiled name table as the data workers read it: hash look-ups over shared bytes, nothing allocated. Its bytes
 * are written by compile.ts and laid out in image-layout.ts. The rules are those of "The name table" in ARCHITECTURE.md;
 * `find` shows their order.
 */
import { finishHash, hashBytes, type ScannedName } from '../dns/name.ts'
import {
  aliasTarget,
  align4,
  AT_ADDRESS_INDEX,
  AT_ADDRESS_SLOTS,
  AT_BYTES,
  AT_CHECKSUM,
  AT_CONTENT,
  AT_DOMAIN,
  AT_GENERATION,
  AT_HOSTS,
  AT_NAME_INDEX,
  AT_NAME_SLOTS,
  AT_NAMESPACE,
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
  checksum,
  FLAG_ALIAS,
  KEY_MASK,
  keyLength,
  RECORD_HEADER,
  SEARCH_AT,
} from './image-layout.ts'

const WILDCARD_LABEL_BYTES = 2

// Hashes of a question's suffixes, by the label they begin with, and of those of the question less S0. Used within one
// `findWildcard`, which calls nobody back, and the same for every image, of which a push makes a new one.
const suffixHashes: Int32Array = new Int32Array(128)
const prefixSuffixHashes: Int32Array = new Int32Array(128)

/**
 * A view of one image. The buffer must hold what the compiler wrote or `verifyImage` accepted; it is only read. What a
 * look-up found is in the fields until the next one.
 */
export class Image {
  readonly buffer: SharedArrayBuffer
  /** The whole buffer, of which the image is the first `byteLength` bytes. */
  readonly bytes: Uint8Array
  readonly byteLength: number
  /** Seed for `scanName`: names scanned with another one are not found. */
  readonly seed: number
  /** Number of the image in the life of its pool, rising. */
  readonly generation: number
  readonly hosts: number
  readonly skippedHosts: number
  readonly skippedAddresses: number
  /** When the table was compiled, milliseconds since 1970. */
  readonly timeMs: number
  /** First search domain in wire format, lower case, root included; empty if there is none. */
  readonly search: Uint8Array
  readonly searchLabels: number

  // What the last successful look-up found:
  /** Byte offset of the host's record. */
  record = 0
  /** The name matched as n.S0: the answer begins with a CNAME. */
  expanded = false
  /** A host `*.x` matched. */
  wildcard = false
  /** Where the host's whole name is, wire format in lower case; for a wildcard that of x, owner of the SOA. */
  ownerAt = 0
  ownerLength = 0
  /** For an expanded name: how many labels of the question make n. Of a wildcard these labels and the root are the CNAME's target. */
  prefixLabels = 0
  v4Count = 0
  /** Offset of `v4Count` × 4 bytes. */
  v4At = 0
  v6Count = 0
  /** Offset of `v6Count` × 16 bytes. */
  v6At = 0

  private readonly words: Int32Array
  /** What is looked for, and its bytes as words. */
  private name: ScannedName | null = null
  private nameWords: Int32Array = new Int32Array(0)
  private readonly names: Int32Array
  private readonly namesMask: number
  private readonly wildcards: Int32Array
  private readonly wildcardsMask: number
  private readonly wildcardMin: number
  private readonly wildcardMax: number
  private readonly addresses: Int32Array
  private readonly addressesMask: number

  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer)
    const table = (at: number, slots: number): Int32Array => new Int32Array(buffer, words[at], words[slots]! * 2)
    this.buffer = buffer
    this.words = words
    this.bytes = new Uint8Array(buffer)
    this.byteLength = words[AT_BYTES]!
    this.seed = words[AT_SEED]!
    this.generation = words[AT_GENERATION]!
    this.hosts = words[AT_HOSTS]!
    this.skippedHosts = words[AT_SKIPPED_HOSTS]!
    this.skippedAddresses = words[AT_SKIPPED_ADDRESSES]!
    this.timeMs = new Float64Array(buffer, AT_TIME * 4, 1)[0]!
    this.search = this.bytes.subarray(SEARCH_AT, SEARCH_AT + words[AT_SEARCH_LENGTH]!)
    this.searchLabels = words[AT_SEARCH_LABELS]!
    this.names = table(AT_NAME_INDEX, AT_NAME_SLOTS)
    this.namesMask = this.names.length - 1
    this.wildcards = table(AT_WILDCARD_INDEX, AT_WILDCARD_SLOTS)
    this.wildcardsMask = this.wildcards.length - 1
    this.wildcardMin = words[AT_WILDCARD_MIN]!
    this.wildcardMax = words[AT_WILDCARD_MAX]!
    this.addresses = table(AT_ADDRESS_INDEX, AT_ADDRESS_SLOTS)
    this.addressesMask = this.addresses.length - 1
  }

  // Strings are made when they are asked for, which no worker does. They are gone when the slot is rewritten.

  /** The source's word for the table. */
  get version(): string {
    return this.readString(AT_VERSION)
  }

  /** Identity that the short names were made for. */
  get namespace(): string {
    return this.readString(AT_NAMESPACE)
  }

  get domain(): string {
    return this.readString(AT_DOMAIN)
  }

  /** Content hash of the name table, 16 hexadecimal digits; comparable among images of one seed. */
  get contentHash(): string {
    return [0, 1].map((i) => (this.words[AT_CONTENT + i]! >>> 0).toString(16).padStart(8, '0')).join('')
  }

  private readString(field: number): string {
    const at = this.words[field]!
    // Copied because TextDecoder refuses shared memory.
    return new TextDecoder().decode(this.bytes.slice(at, at + this.words[field + 1]!))
  }

  /** True if the image has hosts `*.x`: only then does a miss cost a second pass over the name. */
  get hasWildcards(): boolean {
    return this.wildcardMax !== 0
  }

  /** True if a host of the table answers for `name`, which was scanned with this image's seed; the fields tell which and how. */
  find(name: ScannedName): boolean {
    this.expanded = false
    this.wildcard = false
    const labels = name.labels
    if (labels === 0) return false
    if (name !== this.name) this.readFrom(name)
    if (this.findKey(finishHash(name.hashAt[labels]!), name.length - 1)) return true
    const below = name.endsBelow(this.search, this.searchLabels) ? labels - this.searchLabels : 0
    if (below !== 0 && this.findExpanded(name, below)) return true
    return this.wildcardMax !== 0 && this.findWildcard(name, below)
  }

  /** The same by wildcard hosts alone. `name` is the one that `find` was asked for last. */
  findByWildcard(name: ScannedName): boolean {
    this.expanded = false
    this.wildcard = false
    const below = name.endsBelow(this.search, this.searchLabels) ? name.labels - this.searchLabels : 0
    return this.wildcardMax !== 0 && this.findWildcard(name, below)
  }

  /**
   * True if `address` (`length` bytes at `at`) is one of the table's; `ownerAt` and `ownerLength` are the name of its
   * host: a pod or service of Kubernetes before others, then the first by name. Wildcard hosts name no address.
   */
  findAddress(address: Uint8Array, at: number, length: 4 | 16): boolean {
    const { addresses, bytes } = this
    const family = length === 16 ? 1 : 0
    let slot = (hashAddress(this.seed, address, at, length) << 1) & this.addressesMask
    for (;;) {
      const entry = addresses[slot]!
      if (entry === 0) return false
      if ((entry & 1) === family) {
        const stored = addresses[slot + 1]!
        let i = 0
        while (i < length && bytes[stored + i] === address[at + i]) i++
        if (i === length) {
          this.expanded = false
          this.wildcard = false
          this.take(entry & ~KEY_MASK)
          return true
        }
      }
      slot = (slot + 2) & this.addressesMask
    }
  }

  /** A worker scans into the same name again and again: the view of it as words is made once. */
  private readFrom(name: ScannedName): void {
    const { buffer, byteOffset, byteLength } = name.lower
    this.name = name
    this.nameWords = new Int32Array(buffer, byteOffset, byteLength >> 2)
  }

  /** Looks for the first `length` bytes of the name among hosts and names of rule 2. Compared by words: half the time for a usual host. */
  private findKey(hash: number, length: number): boolean {
    const { names, namesMask, bytes, words, nameWords } = this
    let slot = (hash << 1) & namesMask
    for (;;) {
      const reference = names[slot + 1]!
      if (reference === 0) return false
      if (names[slot] === hash) {
        const record = reference & ~KEY_MASK
        if (keyLength(bytes, record, reference & KEY_MASK) === length) {
          const at = (record + RECORD_HEADER) >> 2
          const whole = length >> 2
          let i = 0
          while (i < whole && words[at + i] === nameWords[i]) i++
          if (i === whole && this.sameTail(at + whole, whole, length & 3)) {
            this.take(record)
            return true
          }
        }
      }
      slot = (slot + 2) & namesMask
    }
  }

  /** True if the first `length` bytes of a word of the image and of one of the name are alike. */
  private sameTail(word: number, nameWord: number, length: number): boolean {
    const lower = this.name!.lower
    for (let i = 0; i < length; i++) if (this.bytes[word * 4 + i] !== lower[nameWord * 4 + i]) return false
    return true
  }

  /** Rule 3: n.S0, where n is the first `below` labels, unless n is itself under S0. */
  private findExpanded(name: ScannedName, below: number): boolean {
    if (!this.findKey(finishHash(name.hashAt[below]!), name.labelAt[below]!)) return false
    if (this.labelsBeforeSearch(name, below) !== 0) return false
    this.expanded = true
    this.prefixLabels = below
    return true
  }

  /** Number of labels of m if the first `below` labels of the name are m.S0, else 0. */
  private labelsBeforeSearch(name: ScannedName, below: number): number {
    const { search } = this
    const { lower } = name
    const labels = below - this.searchLabels
    if (labels <= 0) return 0
    const from = name.labelAt[labels]!
    if (name.labelAt[below]! - from !== search.length - 1) return 0
    for (let i = 0; i < search.length - 1; i++) if (lower[from + i] !== search[i]) return 0
    return labels
  }

  /**
   * Rule 4. A host `*.z` also stands for `*.z.S0` (unless z is S0 or under it), so at each label there are two
   * suffixes to look for, and the longest that there is wins: the host's own name before an expansion. Where the name
   * less S0 is a host's own, that host is found.
   */
  private findWildcard(name: ScannedName, below: number): boolean {
    const { labels } = name
    const own = suffixHashes
    const prefix = prefixSuffixHashes
    this.hashSuffixes(name, labels, own)
    const expandFrom = below === 0 ? 1 : this.labelsBeforeSearch(name, below) + 1
    if (below !== 0) this.hashSuffixes(name, below, prefix)
    for (let k = 1; k < labels; k++) {
      if (this.wildcardFits(labels - k) && this.findSuffix(name, k, name.length - 1, own[k]!)) return true
      if (k < below && k >= expandFrom && this.wildcardFits(below - k)) {
        if (this.findSuffix(name, k, name.labelAt[below]!, prefix[k]!)) {
          // ★ The name that the CNAME leads to may be a host itself, which must not get other addresses by the search domain.
          if (this.findKey(finishHash(name.hashAt[below]!), name.labelAt[below]!)) this.wildcard = false
          this.expanded = true
          this.prefixLabels = below
          return true
        }
      }
    }
    return false
  }

  private wildcardFits(labels: number): boolean {
    return labels >= this.wildcardMin && labels <= this.wildcardMax
  }

  /** Hashes the suffixes of the first `labels` labels, right to left, as far as wildcards reach. */
  private hashSuffixes(name: ScannedName, labels: number, into: Int32Array): void {
    const { lower, labelAt } = name
    const first = Math.max(1, labels - this.wildcardMax)
    let state = this.seed
    for (let k = labels - 1; k >= first; k--) {
      state = hashBytes(state, lower, labelAt[k]!, lower[labelAt[k]!]! + 1)
      into[k] = finishHash(state)
    }
  }

  /** Looks for the host `*.x` where x is the name from label `k` to byte `end`. */
  private findSuffix(name: ScannedName, k: number, end: number, hash: number): boolean {
    const { wildcards, wildcardsMask, bytes } = this
    const { lower } = name
    const from = name.labelAt[k]!
    const length = end - from
    let slot = (hash << 1) & wildcardsMask
    for (;;) {
      const record = wildcards[slot + 1]!
      if (record === 0) return false
      if (wildcards[slot] === hash && bytes[record + 1]! - WILDCARD_LABEL_BYTES - 1 === length) {
        const at = record + RECORD_HEADER + WILDCARD_LABEL_BYTES
        let i = 0
        while (i < length && bytes[at + i] === lower[from + i]) i++
        if (i === length) {
          this.take(record)
          this.wildcard = true
          this.ownerAt += WILDCARD_LABEL_BYTES
          this.ownerLength -= WILDCARD_LABEL_BYTES
          return true
        }
      }
      slot = (slot + 2) & wildcardsMask
    }
  }

  /** Sets the fields to the host at `at`, or the one it is an alias of. */
  private take(at: number): void {
    const { bytes } = this
    const record = bytes[at]! & FLAG_ALIAS ? aliasTarget(bytes, at) : at
    const length = bytes[record + 1]!
    const v4Count = bytes[record + 4]! | (bytes[record + 5]! << 8)
    const v4At = record + RECORD_HEADER + align4(length)
    this.record = record
    this.ownerAt = record + RECORD_HEADER
    this.ownerLength = length
    this.v4Count = v4Count
    this.v4At = v4At
    this.v6Count = bytes[record + 6]! | (bytes[record + 7]! << 8)
    this.v6At = v4At + v4Count * 4
  }
}

/** Hash of an address of 4 or 16 bytes at `at`, for the address index. */
export function hashAddress(seed: number, bytes: Uint8Array, at: number, length: 4 | 16): number {
  let state = seed
  for (let i = at; i < at + length; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    state = Math.imul(state ^ word, 0x9e3779b1)
    state ^= state >>> 15
  }
  return finishHash(state)
}

/**
 * The bytes of the image alone: what a last-known-good file holds. A view, valid until the slot is rewritten. The control
 * thread's to call: the checksum is made here, because no look-up needs it and most images never become a file.
 */
export function imageBytes(image: Image): Uint8Array {
  const words = new Int32Array(image.buffer, 0, image.byteLength >> 2)
  words[AT_CHECKSUM] = checksum(words, words.length)
  return image.bytes.subarray(0, image.byteLength)
}
