/**
 * Reading a reply from an upstream server: one pass that checks every record's bounds and every name that a client will
 * have to expand, and notes what storing and serving it needs.
 *
 * ```
 *  header · question │ answer … │ authority … │ additional … │ OPT        OPT is hop by hop: noted, never kept
 *                            ↑ ttlAt[k]: where each TTL stands           records after an OPT go with it
 * ```
 */
import { CLASS_IN, Ede, EdnsOption, Flag, HEADER_BYTES, Type } from './constants.ts'
import { LOWER, skipName } from './name.ts'
import { fixedAt, hasNameInData, isWronglyCompressed, recordEnd } from './record-check.ts'
import { readU16, readU32, setCounts } from './reply.ts'

/** More records than any 64 KiB message can hold (a record has at least 11 bytes). */
export const MAX_RECORDS = 6000
/** CNAMEs from the question to the records at most: no honest zone has so many, and clients stop earlier. */
export const MAX_LINKS = 16
const QUESTION_POINTER = 0xc00c
/** No offset beyond can be pointed to (RFC 1035 §4.1.4). */
const POINTER_REACH = 0x4000
/** A longer message may not fit a client that takes 512 bytes, with the largest OPT of ours: its names should be compressed. */
const SMALL_BYTES = 460
/** Up to so many addresses are compared here with one another; among more, scrub.ts looks for duplicates. */
const FEW_ADDRESSES = 16

/** A reply as `readAnswer` left it. All offsets count from the start of the message. */
export class Answer {
  /** The message: whoever received it owns it, and it is valid as long as it is left alone. */
  packet: Uint8Array = new Uint8Array(0)
  start = 0
  flags = 0
  /** The extended rcode: the header's four bits and the OPT's eight. */
  rcode = 0
  answers = 0
  authorities = 0
  additionals = 0
  questionEnd = 0
  /** Where the answer section ends. */
  answerEnd = 0
  /** Where the message ends without its OPT. */
  end = 0
  hasOpt = false
  /** Data of a COOKIE option; the length is 0 if there is none. It stands in the message as it came. */
  cookieAt = 0
  cookieLength = 0
  /** Code of the first extended error (RFC 8914), Ede.NONE without one. */
  ede: number = Ede.NONE
  readonly ttlAt: Uint16Array = new Uint16Array(MAX_RECORDS)
  ttlCount = 0
  /** Least TTL of all records but the OPT, in seconds; 2^31 − 1 if there is none. */
  minTtl = 0
  /** Negative TTL by the first SOA in the authority section (RFC 2308 §5), -1 without one; where its TTL stands. */
  soaTtl = -1
  soaTtlAt = 0
  /** True if the answer section has a record of the type asked (or the question is ANY). */
  hasAnswer = false
  /**
   * True if this one pass shows that the message has the form in which clients get answers: CNAMEs in order from the
   * question, then the records of the type asked, each once, owners as pointers; or one SOA above the question; nothing
   * else. Otherwise scrub.ts writes it anew.
   */
  isPlain = false
  /** Set by `readReply`: the message is well-formed, even if its answer cannot be used (see there). */
  isSound = false
  /** Set by `readReply`: the server has no answer and does not say that there is none, it points elsewhere or to nothing. */
  isReferral = false
  /** A run of equally long A or AAAA records that may be rotated: count is 0 if there is none. */
  rotateAt = 0
  rotateSize = 0
  rotateCount = 0
}

/**
 * Reads the reply of `length` bytes at `start`, whose header and question (`questionEnd`, from the start of the message)
 * have been matched already. False if it is malformed.
 */
export function readAnswer(
  packet: Uint8Array,
  start: number,
  length: number,
  questionEnd: number,
  type: number,
  into: Answer,
): boolean {
  const end = start + length
  into.packet = packet
  into.start = start
  into.isPlain = true
  into.flags = readU16(packet, start + 2)
  into.rcode = into.flags & Flag.RCODE
  into.answers = readU16(packet, start + 6)
  into.authorities = readU16(packet, start + 8)
  into.additionals = 0
  into.questionEnd = questionEnd
  into.ttlCount = 0
  into.minTtl = 0x7fffffff
  into.soaTtl = -1
  into.hasAnswer = false
  into.hasOpt = false
  into.cookieLength = 0
  into.ede = Ede.NONE
  into.rotateCount = 0
  const additionals = readU16(packet, start + 10)
  if (into.answers + into.authorities + additionals > MAX_RECORDS) return false
  let at = start + questionEnd
  at = readAnswers(packet, start, at, end, type, into)
  if (at < 0) return false
  into.answerEnd = at - start
  at = readAuthorities(packet, start, at, end, into)
  if (at < 0) return false
  return readAdditionals(packet, start, at, end, additionals, into)
}

function readAnswers(packet: Uint8Array, start: number, from: number, end: number, type: number, into: Answer): number {
  let at = from
  let runAt = 0
  let runSize = 0
  let runCount = 0
  let runOwner = 0
  let hasNames = false
  // Pointer to the name whose records come next.
  let next = QUESTION_POINTER
  let links = 0
  const isAddress = type === Type.A || type === Type.AAAA
  for (let k = 0; k < into.answers; k++) {
    const record = at
    at = recordEnd(into, record, end)
    if (at < 0) return -1
    const fixed = fixedAt
    const recordType = readU16(packet, fixed)
    if (recordType === Type.OPT) return -1 // its TTL is none, and its place is the additional section (RFC 6891 §6.1.1)
    noteTtl(packet, start, fixed, into)
    const owner = readU16(packet, record)
    hasNames ||= hasNameInData
    if (owner !== next || readU16(packet, fixed + 2) !== CLASS_IN || isWronglyCompressed) into.isPlain = false
    if (recordType === Type.CNAME && type !== Type.CNAME && type !== Type.ANY) {
      // A CNAME after the type asked, or too many CNAMEs (these are refused where the chain is followed).
      if (into.hasAnswer || ++links > MAX_LINKS) into.isPlain = false
      next = pointerTo(packet, start, fixed + 10)
      continue
    }
    if (recordType !== type && type !== Type.ANY) {
      into.isPlain = false
      continue
    }
    // Of other types, and of many addresses, scrub.ts finds out which are there twice.
    if (into.hasAnswer && (!isAddress || runCount >= FEW_ADDRESSES)) into.isPlain = false
    into.hasAnswer = true
    if (!isAddress) continue
    if (runCount === 0) {
      runAt = record
      runSize = at - record
      runOwner = owner
      runCount = 1
    } else if (
      owner === runOwner &&
      owner >= 0xc000 &&
      at - record === runSize &&
      record === runAt + runCount * runSize
    ) {
      runCount++
      if (into.isPlain && isRepeated(packet, record, runSize, runCount)) into.isPlain = false
    } else runCount = -1 // not one run: left in the server's order
  }
  // CNAMEs without records at their end may be a loop.
  if (links > 0 && !into.hasAnswer) into.isPlain = false
  if (hasNames && end - start > SMALL_BYTES) into.isPlain = false
  if (runCount > 1) {
    into.rotateAt = runAt - start
    into.rotateSize = runSize
    into.rotateCount = runCount
  }
  return at
}

function readAuthorities(packet: Uint8Array, start: number, from: number, end: number, into: Answer): number {
  let at = from
  const { answers, authorities } = into
  // A negative answer has one SOA, and no other answer has any.
  if (authorities > 0 && (authorities > 1 || answers > 0 || end - start > SMALL_BYTES)) into.isPlain = false
  for (let k = 0; k < into.authorities; k++) {
    const record = at
    at = recordEnd(into, record, end)
    if (at < 0) return -1
    const fixed = fixedAt
    const type = readU16(packet, fixed)
    if (type === Type.OPT) return -1
    noteTtl(packet, start, fixed, into)
    if (type !== Type.SOA || readU16(packet, fixed + 2) !== CLASS_IN) into.isPlain = false
    else if (!isQuestionTail(packet, start, record, into.questionEnd)) into.isPlain = false
    if (type === Type.SOA && into.soaTtl < 0) {
      // MINIMUM is the last of the five numbers that end the data.
      into.soaTtl = Math.min(ttlOf(packet, fixed + 4), ttlOf(packet, at - 4))
      into.soaTtlAt = fixed + 4 - start
    }
  }
  return at
}

function readAdditionals(
  packet: Uint8Array,
  start: number,
  from: number,
  end: number,
  count: number,
  into: Answer,
): boolean {
  let at = from
  for (let k = 0; k < count; k++) {
    const record = at
    at = recordEnd(into, record, end)
    if (at < 0) return false
    const fixed = fixedAt
    if (readU16(packet, fixed) === Type.OPT) {
      if (into.hasOpt || packet[record] !== 0) return false
      into.hasOpt = true
      into.rcode |= packet[fixed + 4]! << 4
      into.end = record - start
      if (at > fixed + 10) noteOptions(packet, start, fixed + 10, at, into)
      continue
    }
    into.isPlain = false
    if (into.hasOpt) continue // behind the OPT: dropped with it (a TSIG is hop by hop as well)
    noteTtl(packet, start, fixed, into)
    into.additionals++
  }
  if (!into.hasOpt) into.end = at - start
  return true
}

/**
 * Looks for the OPT of a reply whose records nobody wants, because it is truncated or an error: it may end anywhere. Leaves
 * `hasOpt`, `cookieAt`, `cookieLength` and `ede`. The records begin at `from`, counted from the start of the message.
 */
export function readOptions(packet: Uint8Array, start: number, length: number, from: number, into: Answer): void {
  const end = start + length
  into.hasOpt = false
  into.cookieLength = 0
  into.ede = Ede.NONE
  const records = readU16(packet, start + 6) + readU16(packet, start + 8) + readU16(packet, start + 10)
  for (let k = 0, at = start + from; k < records; k++) {
    const fixed = skipName(packet, at, end)
    if (fixed < 0 || fixed + 10 > end) return
    const stop = fixed + 10 + readU16(packet, fixed + 8)
    if (stop > end) return
    if (readU16(packet, fixed) === Type.OPT) {
      into.hasOpt = true
      return noteOptions(packet, start, fixed + 10, stop, into)
    }
    at = stop
  }
}

/**
 * Finds the partial answer of a truncated reply of `length` bytes, which may end within a record: sets the section counts to
 * the whole records. The message begins at 0, its records at `from`. Returns the length up to the last whole record.
 */
export function keepWholeRecords(message: Uint8Array, length: number, from: number): number {
  const counts = [0, 0, 0]
  let at = from
  walk: for (let section = 0; section < 3; section++) {
    for (let k = readU16(message, 6 + section * 2); k > 0; k--) {
      const fixed = skipName(message, at, length)
      if (fixed < 0 || fixed + 10 > length || fixed + 10 + readU16(message, fixed + 8) > length) break walk
      at = fixed + 10 + readU16(message, fixed + 8)
      counts[section]!++
    }
  }
  setCounts(message, 0, counts[0]!, counts[1]!, counts[2]!)
  return at
}

/** Finds the first COOKIE and the first extended error of an OPT; what comes after a broken option is not looked at. */
function noteOptions(packet: Uint8Array, start: number, from: number, end: number, into: Answer): void {
  let hasCookie = false
  for (let at = from; at + 4 <= end; ) {
    const code = readU16(packet, at)
    const length = readU16(packet, at + 2)
    const data = at + 4
    at = data + length
    if (at > end) return
    if (code === EdnsOption.COOKIE && !hasCookie) {
      hasCookie = true
      into.cookieAt = data - start
      into.cookieLength = length
    } else if (code === EdnsOption.EDE && into.ede === Ede.NONE && length >= 2) into.ede = readU16(packet, data)
  }
}

/** True if the address of the last of `count` records of `size` bytes, which begins at `last`, is that of one before. */
function isRepeated(packet: Uint8Array, last: number, size: number, count: number): boolean {
  for (let record = last - size; record >= last - (count - 1) * size; record -= size) {
    // The address, and what stands before it, is the end of the record; TTLs may differ.
    let i = size - 1
    while (i >= 12 && packet[record + i] === packet[last + i]) i--
    if (i < 12) return true
  }
  return false
}

/** What a compressed owner looks like that means the name at `at`, -1 if no pointer reaches so far. */
function pointerTo(packet: Uint8Array, start: number, at: number): number {
  const pointer = readU16(packet, at)
  if (pointer >= 0xc000) return pointer
  return at - start < POINTER_REACH ? 0xc000 | (at - start) : -1
}

/** True if the owner at `at` is the root or points to one of the labels of the question. */
function isQuestionTail(packet: Uint8Array, start: number, at: number, questionEnd: number): boolean {
  if (packet[at] === 0) return true
  const offset = readU16(packet, at) - 0xc000
  if (offset < HEADER_BYTES || offset >= questionEnd) return false
  let label = HEADER_BYTES
  while (label < offset && packet[start + label] !== 0) label += packet[start + label]! + 1
  return label === offset
}

function noteTtl(packet: Uint8Array, start: number, fixed: number, into: Answer): void {
  into.ttlAt[into.ttlCount++] = fixed + 4 - start
  const ttl = ttlOf(packet, fixed + 4)
  if (ttl < into.minTtl) into.minTtl = ttl
}

/** A TTL with the top bit set counts as zero (RFC 2181 §8). */
function ttlOf(packet: Uint8Array, at: number): number {
  const ttl = readU32(packet, at)
  return ttl > 0x7fffffff ? 0 : ttl
}

/**
 * True if the question of the reply at `start` is the one asked: same name (ASCII case aside), type and class IN
 * (RFC 5452 §9.1). `asked` holds the name in lower case at `askedAt`, `nameLength` bytes, and the type behind it.
 */
export function isSameQuestion(
  packet: Uint8Array,
  start: number,
  length: number,
  asked: Uint8Array,
  askedAt: number,
  nameLength: number,
): boolean {
  if (length < HEADER_BYTES + nameLength + 4 || readU16(packet, start + 4) !== 1) return false
  const from = start + HEADER_BYTES
  for (let i = 0; i < nameLength; i++) if (LOWER[packet[from + i]!] !== asked[askedAt + i]) return false
  const type = from + nameLength
  return (
    packet[type] === asked[askedAt + nameLength] &&
    packet[type + 1] === asked[askedAt + nameLength + 1] &&
    readU16(packet, type + 2) === CLASS_IN
  )
}
