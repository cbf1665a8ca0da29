/**
 * Checks a record of a reply: where it ends, the length of its data, and every name that a client will have to expand.
 *
 * A compressed name may point only to bytes that do not change when the message is served. TTLs count down and addresses are
 * rotated; a name that includes such bytes would change with them.
 * ```
 *  question's name │ type class │ owner │ type class TTL length │ data │ owner …
 *  ‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾                ‾‾‾‾‾                           ‾‾‾‾ (not of A, AAAA)   here a pointer may lead
 * ```
 */
import { HEADER_BYTES, Type } from './constants.ts'
import { areParamsSound, Field, fieldsOf, mayCompress } from './data-fields.ts'
import { MAX_LABEL, MAX_NAME } from './name.ts'
import { readU16 } from './reply.ts'

/** What has been read of a message. `packet` from `start` on; all other offsets count from there. */
export interface ReadSoFar {
  packet: Uint8Array
  start: number
  questionEnd: number
  /** Where the TTLs of the records so far stand, in their order. */
  ttlAt: Uint16Array
  ttlCount: number
}

const QUESTION_POINTER = 0xc00c
/** Type and class of the question. */
const QUESTION_TAIL_BYTES = 4
/** From a TTL to the data's length, and to the data; back to the type. */
const TTL_TO_LENGTH = 4
const TTL_TO_DATA = 6
const TYPE_TO_TTL = 4
const FIXED_BYTES = 10
/** Pointers of one name at most. Servers write one; a chain of thousands would only cost time. */
const MAX_POINTERS = 64

// Of the record that `recordEnd` has in hand or read last, absolute offsets. Synchronous use only.
/** Where its type stands; class, TTL and length follow. */
export let fixedAt = 0
let dataEnd = 0
/** Its data have a name; one that is compressed although names in data of this type must not be. */
export let hasNameInData = false
export let isWronglyCompressed = false
/** The name read last has a pointer. */
let hasPointer = false

/**
 * Checks the record at `at` of a message that ends at `end`; returns the offset after it, or -1. Leaves `fixedAt`,
 * `hasNameInData` and `isWronglyCompressed`.
 */
export function recordEnd(read: ReadSoFar, at: number, end: number): number {
  const { packet } = read
  let fixed: number
  // Nearly every owner is the question's name.
  if (readU16(packet, at) === QUESTION_POINTER) fixed = at + 2
  else {
    fixedAt = at
    dataEnd = at
    fixed = nameEnd(read, at, end)
    if (fixed < 0) return -1
  }
  if (fixed + FIXED_BYTES > end) return -1
  const data = fixed + FIXED_BYTES
  const stop = data + readU16(packet, fixed + 8)
  fixedAt = fixed
  dataEnd = stop
  return stop > end || !isDataSound(read, readU16(packet, fixed), data, stop) ? -1 : stop
}

/** Checks that the data of a type whose fields are known consist of them, and the names in it. */
function isDataSound(read: ReadSoFar, type: number, data: number, stop: number): boolean {
  hasNameInData = false
  isWronglyCompressed = false
  const fields = fieldsOf(type)
  if (fields.length === 0) return true
  const { packet } = read
  let at = data
  for (let k = 0; k < fields.length; k++) {
    const field = fields[k]!
    if (field === Field.NAME) {
      hasNameInData = true
      const next = nameEnd(read, at, stop)
      if (next < 0) return false
      if (hasPointer && !mayCompress(type)) isWronglyCompressed = true
      at = next
    } else if (field === Field.STRING) {
      if (at >= stop) return false
      at += packet[at]! + 1
    } else if (field === Field.ANY) return at <= stop
    else if (field === Field.PARAMS) return at <= stop && areParamsSound(packet, at, stop)
    else at += field
    if (at > stop) return false
  }
  return at === stop
}

/**
 * Offset after the name at `at`, or -1 if it is malformed: what `expandName` refuses, and pointers to bytes that do not
 * last.
 */
function nameEnd(read: ReadSoFar, at: number, end: number): number {
  const { packet, start } = read
  hasPointer = false
  let after = -1
  let from = at
  let length = 1
  let lowest = at
  let bound = end
  for (let pointers = 0; ; ) {
    if (from >= bound) return -1
    const label = packet[from]!
    if (label === 0) return after < 0 ? from + 1 : after
    if (label < 0xc0) {
      length += label + 1
      if (label > MAX_LABEL || length > MAX_NAME) return -1
      from += label + 1
      continue
    }
    if (from + 1 >= bound || ++pointers > MAX_POINTERS) return -1
    if (after < 0) after = from + 2
    hasPointer = true
    const target = start + (((label & 0x3f) << 8) | packet[from + 1]!)
    // Each pointer leads further back than any before it, to a name that was complete by then: see expandName.
    if (target >= lowest || target < start + HEADER_BYTES) return -1
    bound = Math.min(lowest, fieldEnd(read, target))
    lowest = target
    from = target
  }
}

/** End of the name or data that the offset `target` is in, -1 if it is in neither or in an address. */
function fieldEnd(read: ReadSoFar, target: number): number {
  const { packet, start, questionEnd, ttlAt, ttlCount } = read
  const offset = target - start
  if (offset < questionEnd)
    return offset < questionEnd - QUESTION_TAIL_BYTES ? start + questionEnd - QUESTION_TAIL_BYTES : -1
  let before = -1
  for (let low = 0, high = ttlCount - 1; low <= high; ) {
    const middle = (low + high) >> 1
    if (ttlAt[middle]! <= offset) {
      before = middle
      low = middle + 1
    } else high = middle - 1
  }
  if (before >= 0) {
    const ttl = start + ttlAt[before]!
    const data = ttl + TTL_TO_DATA
    if (target < data) return -1
    const stop = data + readU16(packet, ttl + TTL_TO_LENGTH)
    if (target < stop) {
      const type = readU16(packet, ttl - TYPE_TO_TTL)
      return type === Type.A || type === Type.AAAA ? -1 : stop
    }
  }
  // The owner of the record after it: one that has been read, or the one in hand.
  if (before + 1 < ttlCount) {
    const fixed = start + ttlAt[before + 1]! - TYPE_TO_TTL
    return target < fixed ? fixed : -1
  }
  if (target < fixedAt) return fixedAt
  return target >= fixedAt + FIXED_BYTES ? dataEnd : -1
}
