/**
 * The names of all rules in one image, which all data workers read: an open-addressing hash table over the entries of all
 * lists. A name is looked for with one probe for each of its suffixes that has as many labels as some entry.
 *
 * ```
 *  header   magic, version, seed, slots, entries at, data at, names, most labels, 128 bits: which numbers of labels there are
 *  slots    { i32 hash │ u32 offset of the entry + 1, 0: free } …        three for two names
 *  entries  u16 rule │ entry (entries.ts) …
 *  data     sets of records (record-text.ts)
 * ```
 * The hash of a name is made from its last label to its first, so that one pass over a question gives those of all suffixes.
 */
import { finishHash, hashBytes, type ScannedName } from '../dns/name.ts'
import { Covers, ENTRY_HEAD, entryBytes, getU32, type NameList, putU32, Verdict } from './entries.ts'

const MAGIC = 0x4c555242
const VERSION = 1
const WORD_SEED = 2
const WORD_SLOTS = 3
const WORD_ENTRIES = 4
const WORD_DATA = 5
const WORD_NAMES = 6
const WORD_MOST_LABELS = 7
const WORD_DEPTHS = 8
const HEADER_BYTES = 48
const SLOT_BYTES = 8
/** Slots for each name. */
const SPACE = 1.5
const MAX_LABELS = 128
/** Bytes of the rule's number before an entry. */
const RULE_BYTES = 2
/** Names of all rules together, and bytes of their image. */
const MOST_NAMES = 10_000_000
const MOST_BYTES = 1 << 30
const TWO_TO_32 = 4_294_967_296

/** The names of one rule. */
export interface RuleNames {
  /** The rule's place, from 0. */
  rule: number
  list: NameList
}

/** What is wrong with so many names, and the remedy, in one line; null if they can be compiled. */
export function tooManyNames(parts: readonly RuleNames[]): string | null {
  const { bytes, count } = sizesOf(parts)
  if (count <= MOST_NAMES && bytes <= MOST_BYTES) return null
  const have = `rules have ${count} names that take ${Math.ceil(bytes / (1 << 20))} MiB`
  return `${have}, and may have ${MOST_NAMES} and ${MOST_BYTES >> 20} MiB; name the names above them`
}

/** Where the parts of the image stand. */
function sizesOf(parts: readonly RuleNames[]): {
  count: number
  slots: number
  entriesAt: number
  dataAt: number
  bytes: number
} {
  const count = parts.reduce((sum, { list }) => sum + list.count, 0)
  const slots = Math.ceil(count * SPACE) + 1
  const entriesAt = HEADER_BYTES + slots * SLOT_BYTES
  const dataAt = parts.reduce((sum, { list }) => sum + list.entries.length + list.count * RULE_BYTES, entriesAt)
  return { count, slots, entriesAt, dataAt, bytes: parts.reduce((sum, { list }) => sum + list.data.length, dataAt) }
}

/**
 * Compiles the names of all rules, of which `tooManyNames` says nothing. `seed`: of the hash, so that nobody can choose names that
 * collide. @throws RangeError if there is no memory for them
 */
export function compileRuleNames(parts: readonly RuleNames[], seed: number): SharedArrayBuffer {
  const { bytes, dataAt, entriesAt, slots } = sizesOf(parts)
  const buffer = new SharedArrayBuffer(bytes)
  const words = new Int32Array(buffer, 0, HEADER_BYTES / 4)
  words.set([MAGIC, VERSION, seed, slots, entriesAt, dataAt])
  const table = new SlotTable(buffer, slots, entriesAt)
  let to = entriesAt
  let data = 0
  for (const { rule, list } of parts) {
    const { entries } = list
    for (let at = 0; at < entries.length; ) {
      const length = entryBytes(entries, at)
      table.bytes[to] = rule
      table.bytes[to + 1] = rule >>> 8
      for (let i = 0; i < length; i++) table.bytes[to + RULE_BYTES + i] = entries[at + i]!
      if (entries[at + 1] === Verdict.DATA) {
        const pointer = to + RULE_BYTES + ENTRY_HEAD
        putU32(table.bytes, pointer, getU32(table.bytes, pointer) + data)
      }
      if (table.insert(to, seed, words)) to += RULE_BYTES + length
      at += length
    }
    table.bytes.set(list.data, dataAt + data)
    data += list.data.length
  }
  return buffer
}

/** The table while it is filled. */
class SlotTable {
  readonly bytes: Uint8Array
  readonly #slots: Int32Array
  readonly #count: number
  readonly #entriesAt: number
  readonly #labelAt: Uint8Array = new Uint8Array(MAX_LABELS)

  constructor(buffer: SharedArrayBuffer, slots: number, entriesAt: number) {
    this.bytes = new Uint8Array(buffer)
    this.#slots = new Int32Array(buffer, HEADER_BYTES, slots * 2)
    this.#count = slots
    this.#entriesAt = entriesAt
  }

  /** Puts the entry at `at` into the table; false if one that is there says so already, or says so from now on. */
  insert(at: number, seed: number, words: Int32Array): boolean {
    const { bytes } = this
    const nameAt = nameOf(bytes, at)
    const end = nameAt + bytes[nameAt - 1]!
    let labels = 0
    for (let i = nameAt; i < end; i += bytes[i]! + 1) this.#labelAt[labels++] = i - nameAt
    let state = seed
    for (let k = labels - 1; k >= 0; k--) {
      const label = nameAt + this.#labelAt[k]!
      state = hashBytes(state, bytes, label, bytes[label]! + 1)
    }
    const hash = finishHash(state)
    let slot = firstSlot(hash, this.#count)
    for (; this.#slots[slot * 2 + 1] !== 0; slot = slot + 1 === this.#count ? 0 : slot + 1) {
      if (this.#slots[slot * 2] !== hash) continue
      if (this.#joins(this.#entriesAt + this.#slots[slot * 2 + 1]! - 1, at)) return false
    }
    this.#slots[slot * 2] = hash
    this.#slots[slot * 2 + 1] = at - this.#entriesAt + 1
    words[WORD_NAMES] = words[WORD_NAMES]! + 1
    words[WORD_MOST_LABELS] = Math.max(words[WORD_MOST_LABELS]!, labels)
    words[WORD_DEPTHS + (labels >> 5)] = words[WORD_DEPTHS + (labels >> 5)]! | (1 << (labels & 31))
    return true
  }

  /** True if the entry at `other` is the same rule's and about the same name, with the same verdict: then it covers both. */
  #joins(other: number, at: number): boolean {
    const { bytes } = this
    if (bytes[other] !== bytes[at] || bytes[other + 1] !== bytes[at + 1]) return false
    const covers = bytes[at + 2]!
    if (bytes[other + 3] !== bytes[at + 3] || ((bytes[other + 2]! ^ covers) & Covers.EXCEPTION) !== 0) return false
    const isSame = isSameName(bytes, nameOf(bytes, other), nameOf(bytes, at))
    // Records of two triggers are two answers; of one trigger they come together.
    if (!isSame || bytes[at + 3] === Verdict.DATA) return false
    bytes[other + 2]! |= covers
    return true
  }
}

/** What a look-up has found, and where it goes on. Made once for each reader. */
export class RuleImage {
  /** Of the entry that was found: the rule, what becomes of the name, the line of its file, its labels; no entry: -1. */
  rule = -1
  verdict = 0
  line = 0
  labels = 0
  /** Offset of the records in `bytes`, of Verdict.DATA alone. */
  dataAt = 0
  readonly names: number
  readonly bytes: Uint8Array
  readonly #slots: Int32Array
  readonly #slotCount: number
  readonly #entriesAt: number
  readonly #dataAt: number
  readonly #seed: number
  readonly #mostLabels: number
  readonly #hasDepth: Uint8Array = new Uint8Array(MAX_LABELS)
  /** Of the name that was prepared: the finished hash of its last k labels. */
  readonly #hashes: Int32Array = new Int32Array(MAX_LABELS)

  /** `buffer`: made by `compileRuleNames`. */
  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer, 0, HEADER_BYTES / 4)
    if (words[0] !== MAGIC || words[1] !== VERSION) throw new RangeError('no image of rules')
    this.bytes = new Uint8Array(buffer)
    this.#slotCount = words[WORD_SLOTS]!
    this.#slots = new Int32Array(buffer, HEADER_BYTES, this.#slotCount * 2)
    this.#entriesAt = words[WORD_ENTRIES]!
    this.#dataAt = words[WORD_DATA]!
    this.#seed = words[WORD_SEED]!
    this.#mostLabels = words[WORD_MOST_LABELS]!
    this.names = words[WORD_NAMES]!
    for (let k = 0; k < MAX_LABELS; k++) {
      this.#hasDepth[k] = (words[WORD_DEPTHS + (k >> 5)]! >>> (k & 31)) & 1
    }
  }

  /** Hashes the suffixes of a name for the `find`s that follow. */
  prepare(name: ScannedName): void {
    const { labelAt, labels, lower } = name
    const most = Math.min(labels, this.#mostLabels)
    let state = this.#seed
    this.#hashes[0] = finishHash(state)
    for (let k = 1; k <= most; k++) {
      const at = labelAt[labels - k]!
      state = hashBytes(state, lower, at, lower[at]! + 1)
      this.#hashes[k] = finishHash(state)
    }
  }

  /**
   * Finds the first rule from `from` on that has the name which was prepared last, and of its entries the one that says most
   * exactly which names it is about. False if there is none. `exceptions`: by rule, whether it has exceptions.
   */
  find(name: ScannedName, from: number, exceptions: Uint8Array): boolean {
    if (this.names === 0) return false
    for (let least = from; ; least = this.rule + 1) {
      this.rule = -1
      this.#findFirst(name, least)
      if (this.rule < 0) return false
      if (exceptions[this.rule] === 0 || !this.#isException(name, this.rule)) return true
    }
  }

  /** True if `rule` has no exceptions and has all that an entry covers (Covers) of the name which was prepared last. */
  covers(name: ScannedName, rule: number, covers: number): boolean {
    let covered = 0
    for (let k = Math.min(name.labels, this.#mostLabels); k >= 0; k--) {
      if (this.#hasDepth[k] === 0) continue
      const hash = this.#hashes[k]!
      for (let slot = firstSlot(hash, this.#slotCount); this.#slots[slot * 2 + 1] !== 0; slot = this.#after(slot)) {
        const at = this.#entryAt(slot, hash, name, k)
        if (at < 0 || this.#ruleOf(at) !== rule) continue
        const has = this.bytes[at + 2]!
        if (k === name.labels) covered |= has
        else if ((has & Covers.BELOW) !== 0) covered |= Covers.SELF | Covers.BELOW
      }
    }
    return (covered & covers) === covers
  }

  #findFirst(name: ScannedName, least: number): void {
    const { bytes } = this
    for (let k = Math.min(name.labels, this.#mostLabels); k >= 0; k--) {
      if (this.#hasDepth[k] === 0) continue
      const wanted = k === name.labels ? Covers.SELF : Covers.BELOW
      const hash = this.#hashes[k]!
      for (let slot = firstSlot(hash, this.#slotCount); this.#slots[slot * 2 + 1] !== 0; slot = this.#after(slot)) {
        const at = this.#entryAt(slot, hash, name, k)
        if (at < 0 || (bytes[at + 2]! & (wanted | Covers.EXCEPTION)) !== wanted) continue
        const rule = this.#ruleOf(at)
        // The longest suffix comes first, and of one rule it is the one that counts.
        if (rule < least || (this.rule >= 0 && rule >= this.rule)) continue
        this.rule = rule
        this.verdict = bytes[at + 3]!
        this.line = getU32(bytes, at + 4)
        this.labels = k
        this.dataAt = this.verdict === Verdict.DATA ? this.#dataAt + getU32(bytes, at + RULE_BYTES + ENTRY_HEAD) : 0
      }
    }
  }

  #isException(name: ScannedName, rule: number): boolean {
    for (let k = Math.min(name.labels, this.#mostLabels); k >= 0; k--) {
      if (this.#hasDepth[k] === 0) continue
      const wanted = (k === name.labels ? Covers.SELF : Covers.BELOW) | Covers.EXCEPTION
      const hash = this.#hashes[k]!
      for (let slot = firstSlot(hash, this.#slotCount); this.#slots[slot * 2 + 1] !== 0; slot = this.#after(slot)) {
        const at = this.#entryAt(slot, hash, name, k)
        if (at >= 0 && (this.bytes[at + 2]! & wanted) === wanted && this.#ruleOf(at) === rule) return true
      }
    }
    return false
  }

  /** Offset of the slot's entry if it is about the last `labels` labels of the name, else -1. */
  #entryAt(slot: number, hash: number, name: ScannedName, labels: number): number {
    if (this.#slots[slot * 2] !== hash) return -1
    const at = this.#entriesAt + this.#slots[slot * 2 + 1]! - 1
    const nameAt = nameOf(this.bytes, at)
    const from = name.labelAt[name.labels - labels]!
    const length = name.length - 1 - from
    if (this.bytes[nameAt - 1] !== length) return -1
    for (let i = 0; i < length; i++) if (this.bytes[nameAt + i] !== name.lower[from + i]) return -1
    return at
  }

  #ruleOf(at: number): number {
    return this.bytes[at]! | (this.bytes[at + 1]! << 8)
  }

  #after(slot: number): number {
    return slot + 1 === this.#slotCount ? 0 : slot + 1
  }
}

/** Where a hash begins to look: the table's size is no power of two, which would be up to twice as large. */
function firstSlot(hash: number, slots: number): number {
  return Math.trunc(((hash >>> 0) / TWO_TO_32) * slots)
}

/** Offset of the name of the entry (with its rule) at `at`; its length stands before it. */
function nameOf(bytes: Uint8Array, at: number): number {
  return at + RULE_BYTES + ENTRY_HEAD + (bytes[at + 3] === Verdict.DATA ? 4 : 0) + 1
}

function isSameName(bytes: Uint8Array, one: number, other: number): boolean {
  const length = bytes[one - 1]!
  if (bytes[other - 1] !== length) return false
  for (let i = 0; i < length; i++) if (bytes[one + i] !== bytes[other + i]) return false
  return true
}
