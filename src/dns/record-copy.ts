/**
 * Copying records from one message into another, names compressed (RFC 1035 §4.1.4) against what the new message has. The
 * new message is begun with its header and question in place, and takes records in their order.
 *
 * ```
 *  written   3 w w w 7 e x a m p l e 0 … 3 c d n ●          suffixes: hash → offset, in an open-addressing table
 *                    ↑───────────────────────────┘
 * ```
 * Data of types whose names may not be compressed get them written out; other data are copied as they are (data-fields.ts).
 */
import { HEADER_BYTES } from './constants.ts'
import { Field, fieldsOf, mayCompress } from './data-fields.ts'
import { expandName, hashBytes, LOWER, MAX_NAME, skipName } from './name.ts'
import { copyBytes, readU16, writeU16, writeU32 } from './reply.ts'

/** A power of two. */
const SLOTS = 4096
/** The table is at most half full: names beyond are written, but not pointed to. */
const MOST_SUFFIXES = SLOTS / 2
const POINTER = 0xc000
/** Bytes of type, class, TTL and length. */
const FIXED_BYTES = 10

// Made once, and of the message begun last: copying is synchronous, and one message is written at a time.
const slotHash = new Int32Array(SLOTS)
/** Offset in the message, 0 in a free slot: the header is no name. */
const slotOffset = new Uint16Array(SLOTS)
const usedSlots = new Uint16Array(MOST_SUFFIXES)
let suffixes = 0
let message: Uint8Array = new Uint8Array(0)
let messageAt = 0
const name = new Uint8Array(MAX_NAME + 1)
const labelAt = new Uint8Array(128)
const suffixHash = new Int32Array(128)

/** Begins a message at `start` of `out`, where its header and its question stand already. */
export function beginCopy(out: Uint8Array, start: number): void {
  for (let k = 0; k < suffixes; k++) slotOffset[usedSlots[k]!] = 0
  suffixes = 0
  message = out
  messageAt = start
  const labels = splitName(out, start + HEADER_BYTES)
  for (let k = 0; k < labels; k++) note(suffixHash[k]!, HEADER_BYTES + labelAt[k]!)
}

/**
 * Copies the record at `at` of the message that begins at `start` of `packet` and ends at `end`, and has been found sound,
 * to `outAt`. Returns the offset after it. Room for its names written out must be there: 512 bytes more than it has. `owner`: a
 * name written out that takes the place of its own; null: it keeps its own.
 */
export function copyRecord(
  packet: Uint8Array,
  start: number,
  at: number,
  end: number,
  outAt: number,
  owner: Uint8Array | null = null,
): number {
  const out = message
  const fixed = skipName(packet, at, end)
  if (owner === null) expandName(packet, start, at, end, name, 0)
  let to = writeName(owner ?? name, 0, outAt, true)
  copyBytes(packet, fixed, FIXED_BYTES, out, to)
  const lengthAt = to + 8
  to += FIXED_BYTES
  const dataAt = to
  let from = fixed + FIXED_BYTES
  const stop = from + readU16(packet, fixed + 8)
  const type = readU16(packet, fixed)
  const fields = fieldsOf(type)
  for (let k = 0; k < fields.length; k++) {
    const field = fields[k]!
    let next: number
    if (field === Field.NAME) {
      expandName(packet, start, from, stop, name, 0)
      to = writeName(name, 0, to, mayCompress(type))
      from = skipName(packet, from, stop)
      continue
    } else if (field === Field.STRING) next = from + packet[from]! + 1
    else if (field < Field.PARAMS) next = from + field
    else break
    copyBytes(packet, from, next - from, out, to)
    to += next - from
    from = next
  }
  copyBytes(packet, from, stop - from, out, to)
  to += stop - from
  writeU16(out, lengthAt, to - dataAt)
  return to
}

/** Writes a record whose data is one name; owner and target are names written out. Returns the offset after it. */
export function writeNameRecord(
  owner: Uint8Array,
  ownerAt: number,
  type: number,
  ttlSeconds: number,
  target: Uint8Array,
  targetAt: number,
  outAt: number,
): number {
  const out = message
  let to = writeName(owner, ownerAt, outAt, true)
  to = writeU16(out, to, type)
  to = writeU16(out, to, 1)
  to = writeU32(out, to, ttlSeconds)
  const end = writeName(target, targetAt, to + 2, mayCompress(type))
  writeU16(out, to, end - to - 2)
  return end
}

/** Writes a name; the longest suffix that the message already has becomes a pointer. Returns the offset after it. */
function writeName(from: Uint8Array, at: number, outAt: number, isCompressed: boolean): number {
  const out = message
  const labels = splitName(from, at)
  let to = outAt
  for (let k = 0; k < labels; k++) {
    const label = at + labelAt[k]!
    const known = find(suffixHash[k]!, from, label)
    if (known !== 0 && isCompressed) return writeU16(out, to, POINTER | known)
    if (known === 0) note(suffixHash[k]!, to - messageAt)
    const length = from[label]! + 1
    copyBytes(from, label, length, out, to)
    to += length
  }
  out[to] = 0
  return to + 1
}

/** Finds where the labels of a name begin, counted from `at`, and the hashes of what begins there; returns how many there are. */
function splitName(bytes: Uint8Array, at: number): number {
  let labels = 0
  for (let i = at; bytes[i]! !== 0; i += bytes[i]! + 1) labelAt[labels++] = i - at
  let hash = 0
  for (let k = labels - 1; k >= 0; k--) {
    const label = at + labelAt[k]!
    hash = hashBytes(hash, bytes, label, bytes[label]! + 1)
    suffixHash[k] = hash
  }
  return labels
}

function note(hash: number, offset: number): void {
  if (offset >= 0x4000 || suffixes === MOST_SUFFIXES) return
  let slot = hash & (SLOTS - 1)
  while (slotOffset[slot] !== 0) slot = (slot + 1) & (SLOTS - 1)
  slotHash[slot] = hash
  slotOffset[slot] = offset
  usedSlots[suffixes++] = slot
}

/** Offset in the message of the name that stands written out at `at`, 0 if it has none. */
function find(hash: number, bytes: Uint8Array, at: number): number {
  for (let slot = hash & (SLOTS - 1); slotOffset[slot] !== 0; slot = (slot + 1) & (SLOTS - 1)) {
    if (slotHash[slot] === hash && isSame(bytes, at, slotOffset[slot]!)) return slotOffset[slot]!
  }
  return 0
}

/** True if the name at `at`, written out, is the one at `offset` of the message, which we have written ourselves. */
function isSame(bytes: Uint8Array, at: number, offset: number): boolean {
  let from = messageAt + offset
  let to = at
  for (;;) {
    const length = message[from]!
    if (length >= 0xc0) {
      from = messageAt + (readU16(message, from) & 0x3fff)
      continue
    }
    for (let i = 0; i <= length; i++) if (LOWER[message[from + i]!] !== LOWER[bytes[to + i]!]) return false
    if (length === 0) return true
    from += length + 1
    to += length + 1
  }
}
