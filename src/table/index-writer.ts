/**
 * Second half of the compiler: the hash indexes of names over the records (that of addresses is address-index.ts). Linear
 * probing at a load of at most 3/4, so that a look-up touches one or two cache lines before the record. Where two hosts
 * have the same name, the rules below decide, whatever order the table has them in.
 */
import { finishHash, hashBytes } from '../dns/name.ts'
import {
  aliasTarget,
  FLAG_ALIAS,
  FLAG_KUBERNETES,
  FLAG_OWN_NAMESPACE,
  FLAG_SHADOWED,
  FLAG_WILDCARD,
  KEY_MASK,
  keyLength,
  RECORD_HEADER,
} from './image-layout.ts'
import type { IntList } from './int-list.ts'
import { compareNames, countLabels } from './name-text.ts'

const WILDCARD_LABEL_BYTES = 2

/** Slots for `entries`: a power of two, of which a quarter at least stays empty. */
export function slotsFor(entries: number): number {
  let slots = 2
  while (slots * 3 < entries * 4) slots *= 2
  return slots
}

/** Fills the indexes of names of one image. Made for one use. */
export class IndexWriter {
  /** Hosts that lost their name to another one, spelt alike but for case or a trailing dot. */
  shadowed = 0
  /** Two entries had the very same host: here, and only here, their order in the table decided. */
  hasRepeated = false
  /** Fewest and most labels of x among wildcards `*.x`, 0 if there are none. */
  wildcardMin = 0
  wildcardMax = 0
  private readonly bytes: Uint8Array
  private readonly seed: number
  private readonly hosts: IntList
  /** The table that the hosts come from: their spelling decides among equals. */
  private readonly hostText: (keyAt: number) => Uint8Array
  private readonly suffixes: Int32Array = new Int32Array(128)

  constructor(bytes: Uint8Array, seed: number, hosts: IntList, hostText: (keyAt: number) => Uint8Array) {
    this.bytes = bytes
    this.seed = seed
    this.hosts = hosts
    this.hostText = hostText
  }

  /** Fills the index of hosts and names of rule 2. `index` must be zeroed, as for the others. */
  writeNames(index: Int32Array, aliases: IntList): void {
    const { items, length } = this.hosts
    for (let i = 0; i < length; i += 3) {
      const record = items[i]!
      if ((this.bytes[record]! & FLAG_WILDCARD) === 0) this.addHost(index, items[i + 1]!, record)
    }
    for (let i = 0; i < aliases.length; i += 2) this.addAlias(index, aliases.items[i + 1]!, aliases.items[i]!)
  }

  /** Fills the index of hosts `*.x` by the hash of x. */
  writeWildcards(index: Int32Array): void {
    const { items, length } = this.hosts
    for (let i = 0; i < length; i += 3) {
      const record = items[i]!
      if ((this.bytes[record]! & FLAG_WILDCARD) === 0) continue
      const at = record + RECORD_HEADER + WILDCARD_LABEL_BYTES
      const labels = countLabels(this.bytes, at)
      this.wildcardMin = this.wildcardMin === 0 ? labels : Math.min(this.wildcardMin, labels)
      this.wildcardMax = Math.max(this.wildcardMax, labels)
      this.addHost(index, this.hashSuffix(at, labels), record)
    }
  }

  private addHost(index: Int32Array, hash: number, record: number): void {
    const mask = index.length - 1
    let slot = (hash << 1) & mask
    for (let other = index[slot + 1]!; other !== 0; other = index[slot + 1]!) {
      if (index[slot] === hash && this.sameKey(other, record)) {
        const wins = this.hostWins(record, other)
        this.bytes[wins ? other : record]! |= FLAG_SHADOWED
        this.shadowed++
        if (wins) index[slot + 1] = record
        return
      }
      slot = (slot + 2) & mask
    }
    index[slot] = hash
    index[slot + 1] = record
  }

  private addAlias(index: Int32Array, hash: number, reference: number): void {
    const { bytes } = this
    if (bytes[this.hostOf(reference)]! & FLAG_SHADOWED) return
    const mask = index.length - 1
    let slot = (hash << 1) & mask
    for (let other = index[slot + 1]!; other !== 0; other = index[slot + 1]!) {
      if (index[slot] === hash && this.sameKey(other, reference)) {
        if (this.isAlias(other) && this.aliasWins(this.hostOf(reference), this.hostOf(other)))
          index[slot + 1] = reference
        return
      }
      slot = (slot + 2) & mask
    }
    index[slot] = hash
    index[slot + 1] = reference
  }

  /** Equal names of two hosts: of one spelling the last counts (protobuf maps); else own namespace, then Kubernetes, then the spelling. */
  private hostWins(record: number, other: number): boolean {
    const order = Buffer.compare(this.hostText(this.keyOf(record)), this.hostText(this.keyOf(other)))
    if (order === 0) {
      this.hasRepeated = true
      return true
    }
    const flags = this.bytes[record]! & (FLAG_OWN_NAMESPACE | FLAG_KUBERNETES)
    const otherFlags = this.bytes[other]! & (FLAG_OWN_NAMESPACE | FLAG_KUBERNETES)
    // FLAG_OWN_NAMESPACE is the higher bit.
    return flags === otherFlags ? order < 0 : flags > otherFlags
  }

  /** Equal short or alternate names: own namespace, then the host's name. (Only Kubernetes hosts have any.) */
  private aliasWins(record: number, other: number): boolean {
    const own = this.bytes[record]! & FLAG_OWN_NAMESPACE
    const otherOwn = this.bytes[other]! & FLAG_OWN_NAMESPACE
    return own === otherOwn
      ? compareNames(this.bytes, record + RECORD_HEADER, other + RECORD_HEADER) < 0
      : own > otherOwn
  }

  /** True if the two references mean the same name. */
  private sameKey(other: number, reference: number): boolean {
    const { bytes } = this
    const otherRecord = other & ~KEY_MASK
    const length = keyLength(bytes, reference & ~KEY_MASK, reference & KEY_MASK)
    if (keyLength(bytes, otherRecord, other & KEY_MASK) !== length) return false
    const a = otherRecord + RECORD_HEADER
    const b = (reference & ~KEY_MASK) + RECORD_HEADER
    for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false
    return true
  }

  private isAlias(reference: number): boolean {
    return (reference & KEY_MASK) !== 0 || (this.bytes[reference]! & FLAG_ALIAS) !== 0
  }

  private hostOf(reference: number): number {
    const { bytes } = this
    const record = reference & ~KEY_MASK
    return bytes[record]! & FLAG_ALIAS ? aliasTarget(bytes, record) : record
  }

  /** Hash of the name at `at`, its labels from right to left, as `find` has it for every suffix of a question. */
  private hashSuffix(at: number, labels: number): number {
    const { bytes, suffixes } = this
    for (let k = 0, i = at; k < labels; k++, i += bytes[i]! + 1) suffixes[k] = i
    let state = this.seed
    for (let k = labels - 1; k >= 0; k--) state = hashBytes(state, bytes, suffixes[k]!, bytes[suffixes[k]!]! + 1)
    return finishHash(state)
  }

  /** Where the table spells the host: rarely asked, so a search among the ascending records will do. */
  private keyOf(record: number): number {
    const { items, length } = this.hosts
    let low = 0
    let high = length / 3 - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (items[middle * 3]! < record) low = middle + 1
      else high = middle
    }
    return items[low * 3 + 2]!
  }
}
