/**
 * First half of the compiler: turns the entries of a name table into records of the image (image-layout.ts) and notes
 * for each name which hash it has. Everything is read and written in place; there is no object or string a host.
 */
import { finishHash, hashBytes } from '../dns/name.ts'
import {
  align4,
  FLAG_ALIAS,
  FLAG_EXTERNAL,
  FLAG_KUBERNETES,
  FLAG_OWN_NAMESPACE,
  FLAG_WILDCARD,
  KEY_SHORT,
  KEY_SHORT_NS,
  KEY_SHORT_NS_SVC,
  RECORD_HEADER,
} from './image-layout.ts'
import type { ImagePool, ImageSlot } from './image-pool.ts'
import { InfoReader, MAX_ADDRESSES } from './info-reader.ts'
import { IntList } from './int-list.ts'
import { labelsOfText, MAX_WIRE_SCRATCH, startsWithText, textToWire, type WireIdentity } from './name-text.ts'
import { NdsReader, TAG_1, TAG_2, TAG_5 } from './nds-reader.ts'

const DOT = 0x2e
const STAR = 0x2a
const KUBERNETES = new TextEncoder().encode('Kubernetes')
const EXTERNAL = new TextEncoder().encode('External')

const NO_SLOT: ImageSlot = { buffer: new SharedArrayBuffer(0), generation: 0 }

/** Why `write` gave up. */
export type WriteProblem = 'malformed' | 'too large'

/** Writes the records of one table after the other. */
export class RecordWriter {
  /** Of each host with a record: offset of the record, hash of its name, where the table spells it (the entry's key). Records ascend. */
  readonly hosts: IntList = new IntList(3 * 1024)
  /** Of each other name: reference (image-layout.ts) and hash. */
  readonly aliases: IntList = new IntList(2 * 2048)
  /** Of each entry that was written: offset of its record, 0 if it has none or had to do without an address, and its shape. */
  outlines: IntList = new IntList(2 * 1024)
  /** Addresses of all hosts but the wildcards. */
  exactAddresses = 0
  wildcardHosts = 0
  skippedHosts = 0
  skippedAddresses = 0
  /** One of what was skipped, and why, in words; null if nothing was. */
  firstSkipped: string | null = null
  /** Where the next record goes. */
  at = 0

  private readonly reader: NdsReader = new NdsReader()
  private readonly pool: ImagePool
  private readonly maxBytes: number
  private slot: ImageSlot = NO_SLOT
  private bytes: Uint8Array = new Uint8Array(0)
  private table: Uint8Array = new Uint8Array(0)
  private who!: WireIdentity
  private readonly seed: number

  private readonly wire: Uint8Array = new Uint8Array(MAX_WIRE_SCRATCH)
  private joined: Uint8Array = new Uint8Array(256)
  private readonly info: InfoReader

  constructor(pool: ImagePool, seed: number, maxBytes: number) {
    this.pool = pool
    this.seed = seed
    this.maxBytes = maxBytes
    this.info = new InfoReader(this.reader, seed, (...skipped) => this.skipAddress(...skipped))
  }

  /**
   * Writes the records of `table`, which has so many entries, to `slot` from byte `at` on, enlarging it where it must.
   * Returns null or what went wrong.
   */
  write(table: Uint8Array, entries: number, who: WireIdentity, slot: ImageSlot, at: number): WriteProblem | null {
    this.begin(table, who, slot, at)
    this.hosts.reserve(entries * 3)
    this.outlines.reserve(entries * 2)
    const { reader } = this
    for (;;) {
      const tag = reader.field(table.length)
      if (tag === 0) return reader.malformed ? 'malformed' : null
      const end = reader.at + reader.length
      if (tag === TAG_1) {
        const problem = this.writeEntry(end)
        if (problem !== null) return problem
      }
      reader.at = end
    }
  }

  /** The same for some entries alone; `entries` says where in the table they are. */
  writeSome(
    table: Uint8Array,
    entries: readonly number[],
    who: WireIdentity,
    slot: ImageSlot,
    at: number,
  ): WriteProblem | null {
    this.begin(table, who, slot, at)
    const { reader } = this
    for (const entryAt of entries) {
      reader.at = entryAt
      if (reader.field(table.length) !== TAG_1) return 'malformed'
      const problem = this.writeEntry(reader.at + reader.length)
      if (problem !== null) return problem
    }
    return null
  }

  /** The list of outlines for one of the next `write`: theirs belongs to the caller from now on. */
  swapOutlines(spare: IntList): IntList {
    const { outlines } = this
    this.outlines = spare
    return outlines
  }

  /** Where the bytes stopped making sense. */
  get malformedAt(): number {
    return this.reader.at
  }

  /** Lets go of the table and the slot. */
  end(): void {
    this.reader.reset(new Uint8Array(0))
    this.table = this.bytes = this.reader.bytes
    this.info.reset(this.table)
    this.slot = NO_SLOT
  }

  private begin(table: Uint8Array, who: WireIdentity, slot: ImageSlot, at: number): void {
    this.table = table
    this.reader.reset(table)
    this.info.reset(table)
    this.who = who
    this.slot = slot
    this.bytes = new Uint8Array(slot.buffer)
    this.at = at
    this.hosts.clear()
    this.aliases.clear()
    this.outlines.clear()
    this.exactAddresses = this.wildcardHosts = this.skippedHosts = this.skippedAddresses = 0
    this.firstSkipped = null
  }

  /** Writes the entry whose content begins where the reader is. */
  private writeEntry(end: number): WriteProblem | null {
    const { reader } = this
    let keyAt = end
    let hostAt = end
    let hostLength = 0
    let infoAt = end
    let infoEnd = end
    for (let tag = reader.field(end); tag !== 0; tag = reader.field(end)) {
      if (tag === TAG_1) {
        keyAt = reader.tagAt
        hostAt = reader.at
        hostLength = reader.length
      } else if (tag === TAG_2) {
        infoAt = reader.at
        infoEnd = infoAt + reader.length
      }
      reader.at += reader.length
    }
    if (reader.malformed) return 'malformed'
    const record = this.at
    const skippedBefore = this.skippedAddresses
    this.info.beginEntry(hostAt, hostLength)
    const problem = this.writeHost(keyAt, hostAt, hostLength, infoAt, infoEnd)
    const isWhole = this.at > record && this.skippedAddresses === skippedBefore
    this.outlines.push2(isWhole ? record : 0, finishHash(this.info.shape))
    return problem
  }

  private writeHost(
    keyAt: number,
    hostAt: number,
    hostLength: number,
    infoAt: number,
    infoEnd: number,
  ): WriteProblem | null {
    // An address takes at most 4 times the bytes it has in the table (`::` with tag and length).
    const addressBytes = Math.min((infoEnd - infoAt) * 4, MAX_ADDRESSES * 20)
    if (!this.reserve(RECORD_HEADER + MAX_WIRE_SCRATCH + addressBytes)) return 'too large'
    const { bytes, table, info } = this
    const record = this.at
    const nameAt = record + RECORD_HEADER
    const nameLength = textToWire(table, hostAt, hostLength, bytes, nameAt)
    const wildcard = nameLength > 0 && bytes[nameAt] === 1 && bytes[nameAt + 1] === STAR
    if (nameLength === 0 || (wildcard && bytes[nameAt + 2] === 0)) {
      this.skipHost(hostAt, hostLength, wildcard ? 'matches nothing' : 'is not a domain name')
      // Bytes that are no NameInfo make the table malformed also where nobody needs them.
      return this.isWellFormed(infoAt, infoEnd) ? null : 'malformed'
    }
    for (let i = nameAt + nameLength; i < nameAt + align4(nameLength); i++) bytes[i] = 0
    const end = info.read(infoAt, infoEnd, bytes, nameAt + align4(nameLength))
    if (end === -1) return 'malformed'
    const addresses = info.v4Count + info.v6Count
    if (addresses === 0) {
      this.skipHost(hostAt, hostLength, 'has no valid address')
      return null
    }
    this.at = end
    const kubernetes = info.isRegistry(KUBERNETES)
    const own = info.isOfNamespace(this.who.namespace)
    bytes[record] =
      (wildcard ? FLAG_WILDCARD : 0) |
      (kubernetes ? FLAG_KUBERNETES : 0) |
      (!kubernetes && info.isRegistry(EXTERNAL) ? FLAG_EXTERNAL : 0) |
      (own ? FLAG_OWN_NAMESPACE : 0)
    bytes[record + 1] = nameLength
    bytes[record + 4] = info.v4Count & 0xff
    bytes[record + 5] = info.v4Count >> 8
    bytes[record + 6] = info.v6Count & 0xff
    bytes[record + 7] = info.v6Count >> 8
    this.noteShortNames(record)
    if (wildcard) {
      this.wildcardHosts++
      this.hosts.push3(record, 0, keyAt)
      return null
    }
    this.exactAddresses += addresses
    if (kubernetes && this.isUnderCluster(record)) return this.writeNames(keyAt, record, own, infoAt, infoEnd)
    this.hosts.push3(record, finishHash(hashBytes(this.seed, bytes, nameAt, nameLength - 1)), keyAt)
    return null
  }

  private isWellFormed(at: number, end: number): boolean {
    const { reader } = this
    reader.at = at
    while (reader.field(end) !== 0) reader.at += reader.length
    return !reader.malformed
  }

  /** Notes in the record which of its labels make `short` and `ns`, if it begins with them. */
  private noteShortNames(record: number): void {
    const { bytes, table, info } = this
    const nameAt = record + RECORD_HEADER
    const short = labelsOfText(bytes, nameAt, table, info.shortAt, info.shortLength)
    bytes[record + 2] = short
    bytes[record + 3] =
      short === 0 ? 0 : labelsOfText(bytes, nameAt + short, table, info.namespaceAt, info.namespaceLength)
  }

  /** Rule 2: notes the host's own name and its short and alternate ones. */
  private writeNames(
    keyAt: number,
    record: number,
    own: boolean,
    infoAt: number,
    infoEnd: number,
  ): WriteProblem | null {
    const { bytes, aliases, info } = this
    const { cluster } = this.who
    const nameAt = record + RECORD_HEADER
    const short = bytes[record + 2]!
    const ns = bytes[record + 3]!
    const wanted = info.shortLength > 0 && info.namespaceLength > 0
    let state = this.seed
    let hashed = 0
    let found = 0
    if (wanted && short > 0) {
      state = hashBytes(state, bytes, nameAt, short)
      hashed = short
      found = KEY_SHORT
      if (own) aliases.push2(record | KEY_SHORT, finishHash(state))
    }
    if (wanted && ns > 0) {
      state = hashBytes(state, bytes, nameAt + short, ns)
      hashed += ns
      found = KEY_SHORT_NS
      aliases.push2(record | KEY_SHORT_NS, finishHash(state))
      const label = cluster[0]! + 1
      if (startsWithText(bytes, nameAt + hashed, cluster, 0, label)) {
        state = hashBytes(state, bytes, nameAt + hashed, label)
        hashed += label
        found = KEY_SHORT_NS_SVC
        aliases.push2(record | KEY_SHORT_NS_SVC, finishHash(state))
      }
    }
    state = hashBytes(state, bytes, nameAt + hashed, bytes[record + 1]! - 1 - hashed)
    this.hosts.push3(record, finishHash(state), keyAt)
    if (wanted && found !== KEY_SHORT_NS_SVC && !this.writeShortNames(record, own, found)) return 'too large'
    if (info.altHosts > 0 && !this.writeAltHosts(record, infoAt, infoEnd)) return 'too large'
    return null
  }

  /** Alias records for those of `short.`, `short.ns.` and `short.ns.svc.` that the host's own name does not begin with. */
  private writeShortNames(record: number, own: boolean, found: number): boolean {
    const { table, wire } = this
    const { shortAt, shortLength, namespaceAt, namespaceLength } = this.info
    const { cluster } = this.who
    if (found < KEY_SHORT && own) {
      const length = textToWire(table, shortAt, shortLength, wire, 0)
      if (!this.writeAlias(record, length)) return false
    }
    const joinedLength = shortLength + 1 + namespaceLength
    if (joinedLength + 1 > this.joined.length) this.joined = new Uint8Array(joinedLength + 1)
    this.joined.set(table.subarray(shortAt, shortAt + shortLength))
    this.joined[shortLength] = DOT
    this.joined.set(table.subarray(namespaceAt, namespaceAt + namespaceLength), shortLength + 1)
    const length = textToWire(this.joined, 0, joinedLength, wire, 0)
    if (found < KEY_SHORT_NS && !this.writeAlias(record, length)) return false
    const label = cluster[0]! + 1
    if (length === 0 || length + label > 255) return true
    for (let i = 0; i < label; i++) wire[length - 1 + i] = cluster[i]!
    wire[length - 1 + label] = 0
    return this.writeAlias(record, length + label)
  }

  private writeAltHosts(record: number, infoAt: number, infoEnd: number): boolean {
    const { reader, table, wire } = this
    reader.at = infoAt
    for (let tag = reader.field(infoEnd); tag !== 0; tag = reader.field(infoEnd)) {
      if (tag === TAG_5 && !this.writeAlias(record, textToWire(table, reader.at, reader.length, wire, 0))) return false
      reader.at += reader.length
    }
    return true
  }

  /** An alias record for the name in `wire`; nothing if it has no length, or is a wildcard: only hosts are those. */
  private writeAlias(record: number, length: number): boolean {
    const { wire } = this
    if (length === 0 || (wire[0] === 1 && wire[1] === STAR)) return true
    const size = RECORD_HEADER + align4(length)
    if (!this.reserve(size)) return false
    const { bytes, at } = this
    bytes.fill(0, at, at + size)
    bytes[at] = FLAG_ALIAS
    bytes[at + 1] = length
    for (let i = 0; i < 4; i++) bytes[at + 4 + i] = record >>> (8 * i)
    for (let i = 0; i < length; i++) bytes[at + RECORD_HEADER + i] = wire[i]!
    this.aliases.push2(at, finishHash(hashBytes(this.seed, wire, 0, length - 1)))
    this.at += size
    return true
  }

  /** True if the name ends in the cluster's domain and has labels before it. */
  private isUnderCluster(record: number): boolean {
    const { bytes } = this
    const { cluster } = this.who
    if (cluster.length === 1) return false
    const nameAt = record + RECORD_HEADER
    const nameLength = bytes[record + 1]!
    const from = nameAt + nameLength - cluster.length
    // Where the short name and the namespace end, which is at a label, there is usually nothing left to walk.
    const known = nameAt + bytes[record + 2]! + bytes[record + 3]!
    let at = known <= from ? known : nameAt
    while (at < from) at += bytes[at]! + 1
    if (at !== from || from === nameAt) return false
    for (let i = 0; i < cluster.length; i++) if (bytes[at + i] !== cluster[i]) return false
    return true
  }

  /** Makes room for `size` bytes behind `at`. */
  private reserve(size: number): boolean {
    const needed = this.at + size
    if (needed <= this.bytes.length) return true
    // What is reserved is the worst case; only what is written counts.
    if (this.at > this.maxBytes) return false
    this.pool.enlarge(this.slot, needed, this.at)
    this.bytes = new Uint8Array(this.slot.buffer)
    return true
  }

  private skipHost(at: number, length: number, why: string): void {
    this.skippedHosts++
    this.firstSkipped ??= `host ${this.text(at, length)} ${why}`
  }

  private skipAddress(at: number, length: number, isOneTooMany: boolean): void {
    this.skippedAddresses++
    const why = isOneTooMany
      ? `is one too many: a host may have ${MAX_ADDRESSES} addresses of each family`
      : 'is not an address'
    this.firstSkipped ??= `${this.text(at, length)} ${why}`
  }

  /** In double quotes, on one line. */
  private text(at: number, length: number): string {
    return JSON.stringify(new TextDecoder().decode(this.table.slice(at, at + Math.min(length, 255))))
  }
}
