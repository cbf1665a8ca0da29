/**
 * Whether the records of an upstream reply belong to its answer: what does not is neither passed on nor kept, so that a
 * server cannot plant names nobody asked it for.
 *
 * ```
 *  question ─CNAME→ name ─CNAME→ name            the chain
 *  answer       owner in the chain; a DNAME above one of its names
 *  authority    SOA, NS, DS of the question, of the last name or of what is above them; NSEC, NSEC3, RRSIG prove themselves
 *  additional   owner in the chain, or named by the data of a record that is kept
 * ```
 * Nearly every reply is plain (answer.ts) and never comes here; of those that do, few have to be written anew.
 */
import { type Answer, MAX_LINKS, MAX_RECORDS, readAnswer } from './answer.ts'
import { CLASS_IN, HEADER_BYTES, MAX_MESSAGE, Type } from './constants.ts'
import { expandName, hashBytes, LOWER, MAX_NAME, skipName } from './name.ts'
import { bytesBeforeNames, namesInData } from './names-in-data.ts'
import { copyBytes, readU16, setCounts, writeU16 } from './reply.ts'

const NAME_STRIDE = MAX_NAME + 1
/** Names that additional records may belong to; more are not looked at. */
const MAX_TARGETS = 128
const FIXED_BYTES = 10

// Made once and overwritten by each reply: reading one is synchronous, and nothing is read across calls.
const recordAt = new Uint16Array(MAX_RECORDS)
const ownerHash = new Int32Array(MAX_RECORDS)
const isKept = new Uint8Array(MAX_RECORDS)
const chain = new Uint8Array((MAX_LINKS + 1) * NAME_STRIDE)
const chainLength = new Uint8Array(MAX_LINKS + 1)
const chainHash = new Int32Array(MAX_LINKS + 1)
let chainNames = 0
const targetAt = new Uint16Array(MAX_TARGETS)
const targetHash = new Int32Array(MAX_TARGETS)
let targets = 0
const name = new Uint8Array(NAME_STRIDE)
const otherName = new Uint8Array(NAME_STRIDE)
/** The last record that is copied may be as long as all others together. */
const rebuilt = new Uint8Array(2 * MAX_MESSAGE + 1024)

/**
 * Reads a reply as `readAnswer` does and leaves what belongs to its answer in `into`, whose `packet` and `start` say
 * where that stands: in place, or in a buffer that the next call overwrites. False if the reply is malformed, or of no use
 * although it is sound (`isSound`): its CNAMEs are a loop or too many, or it is too long with its names written out. That
 * is how the zone is, whoever passes it on.
 */
export function readReply(
  packet: Uint8Array,
  start: number,
  length: number,
  questionEnd: number,
  type: number,
  into: Answer,
): boolean {
  into.isSound = readAnswer(packet, start, length, questionEnd, type, into)
  if (!into.isSound) return false
  if (into.isPlain) return true
  indexRecords(into)
  if (!followChain(into, type)) return false
  if (markKept(into)) return true
  const end = rebuild(into)
  if (end < 0) return false
  const { rcode, cookieAt, cookieLength, ede } = into
  if (!readAnswer(rebuilt, 0, end, questionEnd, type, into)) return false
  // What stood in the OPT.
  into.rcode = rcode
  into.cookieAt = cookieAt
  into.cookieLength = cookieLength
  into.ede = ede
  return true
}

function indexRecords(answer: Answer): void {
  const { packet, start } = answer
  const stop = start + answer.end
  const count = recordCount(answer)
  let at = start + answer.questionEnd
  for (let r = 0; r < count; r++) {
    recordAt[r] = at - start
    ownerHash[r] = nameHash(answer, at)
    const fixed = skipName(packet, at, stop)
    at = fixed + FIXED_BYTES + readU16(packet, fixed + 8)
  }
}

/** Collects the names from the question to where its CNAMEs end. False for a loop or too many. */
function followChain(answer: Answer, type: number): boolean {
  chainNames = 0
  addToChain(answer, answer.start + HEADER_BYTES)
  if (type === Type.CNAME || type === Type.ANY) return true
  for (;;) {
    const link = findLink(answer, chainNames - 1)
    if (link < 0) return true
    if (chainNames > MAX_LINKS) return false
    addToChain(answer, fixedOf(answer, link) + FIXED_BYTES)
    for (let c = 0; c < chainNames - 1; c++) if (areSame(c, chainNames - 1)) return false
  }
}

function addToChain(answer: Answer, at: number): void {
  const c = chainNames++
  const length = expandLower(answer, at, chain, c * NAME_STRIDE)
  chainLength[c] = length
  chainHash[c] = hashBytes(0, chain, c * NAME_STRIDE, length)
}

/** The CNAME of a name of the chain, or -1. */
function findLink(answer: Answer, c: number): number {
  for (let r = 0; r < answer.answers; r++) {
    if (ownerHash[r] === chainHash[c] && typeOf(answer, r) === Type.CNAME && isOwner(answer, r, c)) return r
  }
  return -1
}

function areSame(a: number, b: number): boolean {
  if (chainHash[a] !== chainHash[b] || chainLength[a] !== chainLength[b]) return false
  for (let i = 0; i < chainLength[a]!; i++) if (chain[a * NAME_STRIDE + i] !== chain[b * NAME_STRIDE + i]) return false
  return true
}

/** Marks the records that belong to the answer; true if all do. */
function markKept(answer: Answer): boolean {
  const { answers, authorities } = answer
  const count = recordCount(answer)
  targets = 0
  let dropped = 0
  for (let r = 0; r < count; r++) {
    let keeps = readU16(answer.packet, fixedOf(answer, r) + 2) === CLASS_IN
    if (r < answers) keeps &&= belongsToAnswer(answer, r)
    else if (r < answers + authorities) keeps &&= belongsToAuthority(answer, r)
    else keeps &&= isInChain(answer, r) || isTarget(answer, r)
    isKept[r] = keeps ? 1 : 0
    if (!keeps) dropped++
    else if (answer.additionals > 0) noteTarget(answer, r)
  }
  return dropped === 0
}

function belongsToAnswer(answer: Answer, r: number): boolean {
  if (isInChain(answer, r)) return true
  const type = typeOf(answer, r)
  // The data of a signature begins with the type that it covers (RFC 4034 §3.1).
  const covered = type === Type.RRSIG ? readU16(answer.packet, fixedOf(answer, r) + FIXED_BYTES) : type
  if (covered !== Type.DNAME) return false
  for (let c = 0; c < chainNames; c++) if (isAtOrAbove(answer, r, c)) return true
  return false
}

function belongsToAuthority(answer: Answer, r: number): boolean {
  switch (typeOf(answer, r)) {
    case Type.SOA:
    case Type.NS:
    case Type.DS:
      return isAtOrAbove(answer, r, 0) || isAtOrAbove(answer, r, chainNames - 1)
    case Type.NSEC:
    case Type.NSEC3:
    case Type.RRSIG:
      return true
    default:
      return false
  }
}

function isInChain(answer: Answer, r: number): boolean {
  for (let c = 0; c < chainNames; c++) if (ownerHash[r] === chainHash[c] && isOwner(answer, r, c)) return true
  return false
}

function isOwner(answer: Answer, r: number, c: number): boolean {
  const length = expandLower(answer, answer.start + recordAt[r]!, name, 0)
  if (length !== chainLength[c]) return false
  for (let i = 0; i < length; i++) if (name[i] !== chain[c * NAME_STRIDE + i]) return false
  return true
}

/** True if the record's owner is a name of the chain or one of those above it. */
function isAtOrAbove(answer: Answer, r: number, c: number): boolean {
  const length = expandLower(answer, answer.start + recordAt[r]!, name, 0)
  const stop = c * NAME_STRIDE + chainLength[c]!
  let at = c * NAME_STRIDE
  while (stop - at > length) at += chain[at]! + 1
  if (stop - at !== length) return false
  for (let i = 0; i < length; i++) if (name[i] !== chain[at + i]) return false
  return true
}

/** Where the data of a type names a host whose addresses may be added (RFC 1035 §3.3, RFC 2782, RFC 9460 §4.1), or -1. */
function targetOffset(type: number): number {
  switch (type) {
    case Type.NS:
    case Type.CNAME:
      return 0
    case Type.MX:
    case Type.SVCB:
    case Type.HTTPS:
      return 2
    case Type.SRV:
      return 6
    default:
      return -1
  }
}

function noteTarget(answer: Answer, r: number): void {
  const offset = targetOffset(typeOf(answer, r))
  if (offset < 0 || targets === MAX_TARGETS) return
  const fixed = fixedOf(answer, r)
  const at = fixed + FIXED_BYTES + offset
  const stop = fixed + FIXED_BYTES + readU16(answer.packet, fixed + 8)
  if (expandName(answer.packet, answer.start, at, stop, name, 0) < 0) return
  targetAt[targets] = at - answer.start
  targetHash[targets++] = nameHash(answer, at)
}

function isTarget(answer: Answer, r: number): boolean {
  for (let t = 0; t < targets; t++) {
    if (ownerHash[r] !== targetHash[t]) continue
    const length = expandLower(answer, answer.start + recordAt[r]!, name, 0)
    if (length !== expandLower(answer, answer.start + targetAt[t]!, otherName, 0)) continue
    let i = 0
    while (i < length && name[i] === otherName[i]) i++
    if (i === length) return true
  }
  return false
}

/** Writes the records that are kept into `rebuilt`, without an OPT; returns the length, -1 if it is over 65,535 bytes. */
function rebuild(answer: Answer): number {
  const { packet, start, questionEnd, answers, authorities } = answer
  const counts = [0, 0, 0]
  const count = recordCount(answer)
  copyBytes(packet, start, questionEnd, rebuilt, 0)
  let at = questionEnd
  for (let r = 0; r < count; r++) {
    if (isKept[r] === 0) continue
    at = copyRecord(packet, start, start + recordAt[r]!, start + answer.end, rebuilt, 0, questionEnd - 4, at)
    if (at > MAX_MESSAGE) return -1
    counts[r < answers ? 0 : r < answers + authorities ? 1 : 2]!++
  }
  setCounts(rebuilt, 0, counts[0]!, counts[1]!, counts[2]!)
  return at
}

/**
 * Copies the record at `at` of one message (from `start` to `end`) to `outAt` of another one, which begins at `outStart`
 * and whose question's name ends at `nameEnd` (counted from there). Names are written out in full, but owners point to
 * the question where they can. Returns the offset after it; 1,024 bytes more than the record has must fit.
 */
export function copyRecord(
  packet: Uint8Array,
  start: number,
  at: number,
  end: number,
  out: Uint8Array,
  outStart: number,
  nameEnd: number,
  outAt: number,
): number {
  const fixed = skipName(packet, at, end)
  let to = copyOwner(packet, start, at, end, out, outStart, nameEnd, outAt)
  copyBytes(packet, fixed, FIXED_BYTES, out, to)
  const lengthAt = to + 8
  to += FIXED_BYTES
  const dataAt = to
  let from = fixed + FIXED_BYTES
  const stop = from + readU16(packet, fixed + 8)
  const type = readU16(packet, fixed)
  const before = bytesBeforeNames(type)
  if (before >= 0) {
    copyBytes(packet, from, before, out, to)
    to += before
    from += before
    for (let names = namesInData(type); names > 0; names--) {
      to += expandName(packet, start, from, stop, out, to)
      from = skipName(packet, from, stop)
    }
  }
  copyBytes(packet, from, stop - from, out, to)
  to += stop - from
  writeU16(out, lengthAt, to - dataAt)
  return to
}

function copyOwner(
  packet: Uint8Array,
  start: number,
  at: number,
  end: number,
  out: Uint8Array,
  outStart: number,
  nameEnd: number,
  outAt: number,
): number {
  const length = expandName(packet, start, at, end, out, outAt)
  const tail = nameEnd - length
  if (length === 1 || tail < HEADER_BYTES) return outAt + length
  for (let i = 0; i < length; i++)
    if (LOWER[out[outAt + i]!] !== LOWER[out[outStart + tail + i]!]) return outAt + length
  return writeU16(out, outAt, 0xc000 | tail)
}

function recordCount(answer: Answer): number {
  return answer.answers + answer.authorities + answer.additionals
}

function fixedOf(answer: Answer, r: number): number {
  return skipName(answer.packet, answer.start + recordAt[r]!, answer.start + answer.end)
}

function typeOf(answer: Answer, r: number): number {
  return readU16(answer.packet, fixedOf(answer, r))
}

function nameHash(answer: Answer, at: number): number {
  return hashBytes(0, name, 0, expandLower(answer, at, name, 0))
}

/** Expands the name at `at` in lower case. `readAnswer` has found it sound. */
function expandLower(answer: Answer, at: number, out: Uint8Array, outAt: number): number {
  const { packet, start } = answer
  const length = expandName(packet, start, at, start + answer.end, out, outAt)
  for (let i = outAt; i < outAt + length; i++) out[i] = LOWER[out[i]!]!
  return length
}
