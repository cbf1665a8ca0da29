/**
 * Gives an upstream reply the form in which clients get answers, whatever form the server gave it. Stub resolvers read the
 * answer section in order (as the examples of RFC 1034 §3.6.2 have it; glibc relies on it). Records that nobody asked for are
 * neither passed on nor kept, so a server cannot plant names.
 *
 * ```
 *  answer       from the question: DNAME above the name, CNAME of the name, and on to the next name; at the last name the
 *               records of the type asked, each once; after each set its RRSIGs, if DO asked for them
 *  authority    of an answer: with DO, NSEC and NSEC3 (a wildcard's proof); of a negative one: the SOA of a zone above the last name,
 *               with DO its proof; of a referral: NS above the last name
 *  additional   addresses of hosts that the data of records above name
 * ```
 * A DNAME without the CNAME that follows from it gets one (RFC 6672 §3.1). Most replies have this form already (`isPlain`)
 * and are left as they are; the others are written anew, with all names compressed.
 */
import { type Answer, MAX_LINKS, MAX_RECORDS, readAnswer } from './answer.ts'
import { CLASS_IN, Flag, HEADER_BYTES, MAX_MESSAGE, Rcode, Type } from './constants.ts'
import { Field, fieldsOf } from './data-fields.ts'
import { expandName, hashBytes, LOWER, MAX_NAME, skipName } from './name.ts'
import { beginCopy, copyRecord, writeNameRecord } from './record-copy.ts'
import { copyBytes, readU16, readU32, setCounts } from './reply.ts'

const NAME_STRIDE = MAX_NAME + 1
/** Names that additional records may belong to; more are not looked at. */
const MAX_TARGETS = 128
const FIXED_BYTES = 10
/** A power of two, more than there are records in a message. */
const DATA_SLOTS = 16_384
const NONE = -1

// Made once and overwritten by each reply: reading one is synchronous, and nothing is read across calls.
const recordAt = new Uint16Array(MAX_RECORDS)
const ownerHash = new Int32Array(MAX_RECORDS)
const isWritten = new Uint8Array(MAX_RECORDS)
const chain = new Uint8Array((MAX_LINKS + 2) * NAME_STRIDE)
const chainLength = new Uint8Array(MAX_LINKS + 2)
const chainHash = new Int32Array(MAX_LINKS + 2)
let chainNames = 0
const targetHash = new Int32Array(MAX_TARGETS)
const targetName = new Uint8Array(MAX_TARGETS * NAME_STRIDE)
const targetLength = new Uint8Array(MAX_TARGETS)
let targets = 0
const name = new Uint8Array(NAME_STRIDE)
/** Records of the type asked by the hash of their data: place + 1. Cleared where it was used. */
const slotOfData = new Uint16Array(DATA_SLOTS)
const data = new Uint8Array(MAX_MESSAGE + 2 * NAME_STRIDE)
const otherData = new Uint8Array(MAX_MESSAGE + 2 * NAME_STRIDE)
/** The last record that is copied may be as long as all others together. */
const rebuilt = new Uint8Array(2 * MAX_MESSAGE + 1024)
/** Where the next record is written to, and records written by section. */
let writeAt = 0
const written = new Uint16Array(3)

/**
 * Reads a reply as `readAnswer` does and leaves its answer, in the form above, in `into`, whose `packet` and `start` say
 * where it stands: in place, or in a buffer that the next call overwrites. `dnssecOk`: the query had DO. False if the reply
 * is malformed, or if it is well-formed (`isSound`) and still cannot be used: its CNAMEs are a loop or too many, or it is too long
 * with its names written out. That is the zone's fault, and every server would reply so.
 */
export function readReply(
  packet: Uint8Array,
  start: number,
  length: number,
  questionEnd: number,
  type: number,
  dnssecOk: boolean,
  into: Answer,
): boolean {
  into.isSound = readAnswer(packet, start, length, questionEnd, type, into)
  if (!into.isSound) return false
  if (!into.isPlain && !rebuild(into, type, dnssecOk)) return false
  into.isReferral = isReferral(into)
  return true
}

/**
 * True for NOERROR that has no answer and no SOA to say that there is none, from a server that does not recurse and is not
 * responsible for the name: it points to other servers, or to nothing at all. glibc asks the next server then, too.
 */
function isReferral({ answers, authorities, flags, hasAnswer, rcode, soaTtl }: Answer): boolean {
  if (rcode !== Rcode.NOERROR || hasAnswer || soaTtl >= 0 || (flags & Flag.RA) !== 0) return false
  // AA is about the first name: after a CNAME out of its zone the server may still point elsewhere.
  return answers === 0 ? (flags & Flag.AA) === 0 : authorities > 0
}

/** Writes the reply anew. False if its CNAMEs are a loop or too many, or it is too long. */
function rebuild(into: Answer, type: number, dnssecOk: boolean): boolean {
  const { packet, start, questionEnd, cookieAt, cookieLength, ede } = into
  let { rcode } = into
  indexRecords(into)
  copyBytes(packet, start, questionEnd, rebuilt, 0)
  beginCopy(rebuilt, 0)
  writeAt = questionEnd
  written.fill(0)
  targets = 0
  const end = writeChain(into, type, dnssecOk)
  if (end === Chain.USELESS) return false
  if (end === Chain.TOO_LONG) rcode = Rcode.YXDOMAIN
  const hasAnswer = end === Chain.AT_ALIAS || (end === Chain.COMPLETE && writeAsked(into, type, dnssecOk))
  writeAuthority(into, hasAnswer, dnssecOk)
  writeAdditional(into, dnssecOk)
  if (writeAt > MAX_MESSAGE) return false
  setCounts(rebuilt, 0, written[0]!, written[1]!, written[2]!)
  if (!readAnswer(rebuilt, 0, writeAt, questionEnd, type, into)) return false
  into.rcode = rcode
  // What stood in the OPT.
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
    isWritten[r] = 0
    ownerHash[r] = hashBytes(0, name, 0, expandLower(answer, at, name, 0))
    const fixed = skipName(packet, at, stop)
    at = fixed + FIXED_BYTES + readU16(packet, fixed + 8)
  }
}

/**
 * How the names from the question on end. COMPLETE: at a name for whose records the type asked is to be looked. AT_ALIAS: with
 * the CNAME that was asked for and follows from a DNAME. TOO_LONG: a DNAME makes a name of more than 255 bytes (RFC 6672 §2.2).
 * USELESS: in a circle, or after too many.
 */
const Chain = { COMPLETE: 0, AT_ALIAS: 1, TOO_LONG: 2, USELESS: 3 } as const

/** Writes the DNAMEs and CNAMEs that lead from the question to the last name, and collects the names. Returns a Chain. */
function writeChain(answer: Answer, type: number, dnssecOk: boolean): number {
  chainNames = 0
  addToChain(answer, answer.start + HEADER_BYTES)
  for (;;) {
    const c = chainNames - 1
    const isDirect = find(answer, c, type) >= 0 || type === Type.ANY
    const alias = type === Type.CNAME || type === Type.ANY ? NONE : find(answer, c, Type.CNAME)
    const dname = findDname(answer, c)
    if (dname >= 0 && isWritten[dname] === 0) {
      write(answer, dname, 0)
      if (dnssecOk) writeSignatures(answer, dname, Type.DNAME, 0)
    }
    if (alias >= 0) {
      if (chainNames > MAX_LINKS) return Chain.USELESS
      write(answer, alias, 0)
      if (dnssecOk) writeSignatures(answer, alias, Type.CNAME, 0)
      addToChain(answer, fixedOf(answer, alias) + FIXED_BYTES)
    } else if (dname < 0 || isDirect || answer.rcode === Rcode.YXDOMAIN) return Chain.COMPLETE
    else {
      if (chainNames > MAX_LINKS) return Chain.USELESS
      if (!followDname(answer, dname)) return Chain.TOO_LONG
      if (type === Type.CNAME) return Chain.AT_ALIAS
    }
    for (let before = 0; before < chainNames - 1; before++) if (areSame(before, chainNames - 1)) return Chain.USELESS
  }
}

/** Adds the name that a DNAME makes of the last name, and writes the CNAME between them. False if that is too long. */
function followDname(answer: Answer, dname: number): boolean {
  const c = chainNames - 1
  const fixed = fixedOf(answer, dname)
  const ownerLength = expandLower(answer, answer.start + recordAt[dname]!, name, 0)
  const prefix = chainLength[c]! - ownerLength
  const from = c * NAME_STRIDE
  const to = from + NAME_STRIDE
  // Its data are compared nowhere: the case of the target stays.
  const targetBytes = expandName(answer.packet, answer.start, fixed + FIXED_BYTES, answer.start + answer.end, name, 0)
  if (prefix + targetBytes > MAX_NAME) return false
  copyBytes(chain, from, prefix, chain, to)
  copyBytes(name, 0, targetBytes, chain, to + prefix)
  writeAt = writeNameRecord(chain, from, Type.CNAME, readU32(answer.packet, fixed + 4), chain, to, writeAt)
  written[0]!++
  for (let i = to; i < to + prefix + targetBytes; i++) chain[i] = LOWER[chain[i]!]!
  closeName(prefix + targetBytes)
  return true
}

function addToChain(answer: Answer, at: number): void {
  closeName(expandLower(answer, at, chain, chainNames * NAME_STRIDE))
}

/** Ends the next name of the chain, whose bytes stand in their place. */
function closeName(length: number): void {
  const c = chainNames++
  chainLength[c] = length
  chainHash[c] = hashBytes(0, chain, c * NAME_STRIDE, length)
}

/** The first record of the answer section of a name of the chain that has this type, or NONE. */
function find(answer: Answer, c: number, type: number): number {
  for (let r = 0; r < answer.answers; r++)
    if (ownerHash[r] === chainHash[c] && typeOf(answer, r) === type && isIn(answer, r) && isOwner(answer, r, c))
      return r
  return NONE
}

/** The DNAME of the answer section whose owner is above a name of the chain, the nearest one; or NONE. */
function findDname(answer: Answer, c: number): number {
  let nearest = NONE
  let longest = 0
  for (let r = 0; r < answer.answers; r++) {
    if (typeOf(answer, r) !== Type.DNAME || !isIn(answer, r)) continue
    const length = lengthAbove(answer, r, c)
    if (length <= longest || length === chainLength[c]) continue
    nearest = r
    longest = length
  }
  return nearest
}

/** Writes the records of the last name that have the type asked, each once, and their signatures; true if there are any. */
function writeAsked(answer: Answer, type: number, dnssecOk: boolean): boolean {
  const c = chainNames - 1
  const before = written[0]!
  for (let r = 0; r < answer.answers; r++) {
    if (ownerHash[r] !== chainHash[c] || isWritten[r] !== 0) continue
    if ((type !== Type.ANY && typeOf(answer, r) !== type) || !isIn(answer, r) || !isOwner(answer, r, c)) continue
    if (isDuplicate(answer, r)) continue
    write(answer, r, 0)
    noteTarget(answer, r)
  }
  slotOfData.fill(0)
  if (written[0] === before) return false
  if (dnssecOk && type !== Type.RRSIG) writeSignatures(answer, find(answer, c, type), type, 0)
  return true
}

/** True if a record of this type and these data was given here since the table was cleared (RFC 2181 §5). */
function isDuplicate(answer: Answer, r: number): boolean {
  const length = expandData(answer, r, data)
  for (let slot = hashBytes(0, data, 0, length) & (DATA_SLOTS - 1); ; slot = (slot + 1) & (DATA_SLOTS - 1)) {
    const other = slotOfData[slot]! - 1
    if (other < 0) {
      slotOfData[slot] = r + 1
      return false
    }
    if (typeOf(answer, other) !== typeOf(answer, r) || expandData(answer, other, otherData) !== length) continue
    let i = 0
    while (i < length && data[i] === otherData[i]) i++
    if (i === length) return true
  }
}

/** Copies a record's data with the names in it written out in lower case; returns their length. */
function expandData(answer: Answer, r: number, out: Uint8Array): number {
  const { packet } = answer
  const fixed = fixedOf(answer, r)
  const stop = fixed + FIXED_BYTES + readU16(packet, fixed + 8)
  let from = fixed + FIXED_BYTES
  let to = 0
  const fields = fieldsOf(readU16(packet, fixed))
  for (let k = 0; k < fields.length; k++) {
    const field = fields[k]!
    if (field === Field.NAME) {
      to += expandLower(answer, from, out, to)
      from = skipName(packet, from, stop)
      continue
    }
    if (field === Field.ANY || field === Field.PARAMS) break
    const length = field === Field.STRING ? packet[from]! + 1 : field
    copyBytes(packet, from, length, out, to)
    to += length
    from += length
  }
  copyBytes(packet, from, stop - from, out, to)
  return to + stop - from
}

function writeAuthority(answer: Answer, hasAnswer: boolean, dnssecOk: boolean): void {
  const { answers, authorities } = answer
  const stop = answers + authorities
  let soa = NONE
  if (!hasAnswer) {
    for (let r = answers; r < stop && soa < 0; r++)
      if (typeOf(answer, r) === Type.SOA && isIn(answer, r) && lengthAbove(answer, r, chainNames - 1) > 0) soa = r
    if (soa >= 0) write(answer, soa, 1)
  }
  for (let r = answers; r < stop; r++) {
    if (!isIn(answer, r)) continue
    const type = typeOf(answer, r)
    const covered = type === Type.RRSIG ? coveredBy(answer, r) : type
    if (covered === Type.NSEC || covered === Type.NSEC3) {
      if (dnssecOk) write(answer, r, 1)
    } else if (type === Type.RRSIG) {
      const isOfSoa = soa >= 0 && covered === Type.SOA && haveSameOwner(answer, r, soa)
      if (dnssecOk && (isOfSoa || (covered === Type.DS && soa < 0 && !hasAnswer))) write(answer, r, 1)
    } else if (!hasAnswer && soa < 0 && (type === Type.NS || (type === Type.DS && dnssecOk))) {
      if (lengthAbove(answer, r, chainNames - 1) === 0) continue
      write(answer, r, 1)
      noteTarget(answer, r)
    }
  }
}

function writeAdditional(answer: Answer, dnssecOk: boolean): void {
  if (targets === 0) return
  const count = recordCount(answer)
  for (let r = answer.answers + answer.authorities; r < count; r++) {
    if (!isIn(answer, r) || !isTarget(answer, r)) continue
    const type = typeOf(answer, r)
    const covered = type === Type.RRSIG && dnssecOk ? coveredBy(answer, r) : type
    if (isOfHost(covered)) write(answer, r, 2)
    // The target of one alias may be another one (RFC 9460 §2.4.2).
    if (type === Type.SVCB || type === Type.HTTPS) noteTarget(answer, r)
  }
}

/** True for the types that say how a host is reached. */
function isOfHost(type: number): boolean {
  return type === Type.A || type === Type.AAAA || type === Type.SVCB || type === Type.HTTPS
}

/** Writes the RRSIGs of the answer section that cover the type `covered` at the owner of record `of`. */
function writeSignatures(answer: Answer, of: number, covered: number, section: number): void {
  if (of < 0) return
  for (let r = 0; r < answer.answers; r++) {
    if (isWritten[r] !== 0 || typeOf(answer, r) !== Type.RRSIG || !isIn(answer, r)) continue
    if (coveredBy(answer, r) === covered && haveSameOwner(answer, r, of)) write(answer, r, section)
  }
}

/** Copies a record and marks it as used. */
function write(answer: Answer, r: number, section: number): void {
  const { packet, start } = answer
  isWritten[r] = 1
  // Beyond, the reply is too long, whatever follows.
  if (writeAt > MAX_MESSAGE) return
  writeAt = copyRecord(packet, start, start + recordAt[r]!, start + answer.end, writeAt)
  written[section]!++
}

/** The type that a signature covers: its data begin with it (RFC 4034 §3.1). */
function coveredBy(answer: Answer, r: number): number {
  return readU16(answer.packet, fixedOf(answer, r) + FIXED_BYTES)
}

function isIn(answer: Answer, r: number): boolean {
  return readU16(answer.packet, fixedOf(answer, r) + 2) === CLASS_IN
}

function areSame(a: number, b: number): boolean {
  if (chainHash[a] !== chainHash[b] || chainLength[a] !== chainLength[b]) return false
  for (let i = 0; i < chainLength[a]!; i++) if (chain[a * NAME_STRIDE + i] !== chain[b * NAME_STRIDE + i]) return false
  return true
}

function isOwner(answer: Answer, r: number, c: number): boolean {
  return chainLength[c] !== 0 && lengthAbove(answer, r, c) === chainLength[c]
}

/** Length of a record's owner if it is a name of the chain or one of those above it; else 0. */
function lengthAbove(answer: Answer, r: number, c: number): number {
  const length = expandLower(answer, answer.start + recordAt[r]!, name, 0)
  const stop = c * NAME_STRIDE + chainLength[c]!
  let at = c * NAME_STRIDE
  while (stop - at > length) at += chain[at]! + 1
  if (stop - at !== length) return 0
  for (let i = 0; i < length; i++) if (name[i] !== chain[at + i]) return 0
  return length
}

function haveSameOwner(answer: Answer, one: number, other: number): boolean {
  if (ownerHash[one] !== ownerHash[other]) return false
  const length = expandLower(answer, answer.start + recordAt[one]!, data, 0)
  if (length !== expandLower(answer, answer.start + recordAt[other]!, otherData, 0)) return false
  for (let i = 0; i < length; i++) if (data[i] !== otherData[i]) return false
  return true
}

/** Where the data of a type name a host whose addresses may be added (RFC 1035 §3.3, RFC 2782, RFC 9460 §4.1), or NONE. */
function targetOffset(type: number): number {
  switch (type) {
    case Type.NS:
      return 0
    case Type.MX:
    case Type.SVCB:
    case Type.HTTPS:
      return 2
    case Type.SRV:
      return 6
    default:
      return NONE
  }
}

/** Notes the host that the data of a record that is kept name. */
function noteTarget(answer: Answer, r: number): void {
  const type = typeOf(answer, r)
  const offset = targetOffset(type)
  if (offset < 0 || targets === MAX_TARGETS || answer.additionals === 0) return
  const at = targets * NAME_STRIDE
  let length = expandLower(answer, fixedOf(answer, r) + FIXED_BYTES + offset, targetName, at)
  // The root stands for the owner itself (RFC 9460 §2.5).
  if (length === 1 && (type === Type.SVCB || type === Type.HTTPS))
    length = expandLower(answer, answer.start + recordAt[r]!, targetName, at)
  targetLength[targets] = length
  targetHash[targets++] = hashBytes(0, targetName, at, length)
}

function isTarget(answer: Answer, r: number): boolean {
  for (let t = 0; t < targets; t++) {
    if (ownerHash[r] !== targetHash[t]) continue
    const length = expandLower(answer, answer.start + recordAt[r]!, name, 0)
    if (length !== targetLength[t]) continue
    let i = 0
    while (i < length && name[i] === targetName[t * NAME_STRIDE + i]) i++
    if (i === length) return true
  }
  return false
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

/** Expands the name at `at` in lower case. `readAnswer` has found it sound. */
function expandLower(answer: Answer, at: number, out: Uint8Array, outAt: number): number {
  const { packet, start } = answer
  const length = expandName(packet, start, at, start + answer.end, out, outAt)
  for (let i = outAt; i < outAt + length; i++) out[i] = LOWER[out[i]!]!
  return length
}
