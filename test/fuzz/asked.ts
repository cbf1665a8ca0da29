/** What a query asked, read without any code of src: what its reply is held against. */
import { Anatomy } from './anatomy.ts'
import { COOKIE, SecondParser } from './second-parser.ts'

const MAX_QUESTION = 260
const OPT = 41
const ADDITIONAL = 2

// Used by one query after the other; nothing in them is read across calls.
const anatomy = new Anatomy()
const parser = new SecondParser()

export class Asked {
  id = 0
  flags = 0
  isTcp = false
  /** False for a client that may not ask. */
  isAllowed = true
  /** Most bytes of the reply. */
  limit = 512
  /** Payload size that the reply's OPT must name. */
  advertise = 0
  /** When it was asked, and until when it must be answered, in ms of the clock in use. */
  askedAt = 0
  deadlineAt = 0
  /** The question as it stands, 0 bytes if there is none or it cannot be read. */
  questionLength = 0
  readonly question: Uint8Array = new Uint8Array(MAX_QUESTION)
  type = 0
  /** An OPT is among its records. */
  hasOpt = false
  /** One that can be read stands where it belongs: the reply must have one. */
  owesOpt = false
  dnssecOk = false
  version = 0
  hasCookie = false
  /** By the book: whole, nothing left over, every record of its shape. */
  isSound = false
  /** No query by any book: it must be refused as malformed. */
  isBroken = false
  /** The datagram was too large to be read whole: its header is all there is. */
  isCut = false

  /** Reads the query of `length` bytes at `at`, at least a header. `advertise`: our own limit towards its client over UDP. */
  read(bytes: Uint8Array, at: number, length: number, isTcp: boolean, advertise: number): void {
    const u16 = (i: number): number => (bytes[at + i]! << 8) | bytes[at + i + 1]!
    this.id = u16(0)
    this.flags = u16(2)
    this.isTcp = isTcp
    this.advertise = advertise
    this.questionLength = 0
    this.type = 0
    this.hasOpt = false
    this.owesOpt = false
    this.dnssecOk = false
    this.version = 0
    this.hasCookie = false
    this.isSound = false
    this.isBroken = false
    this.isCut = false
    let payload = 512
    const questions = u16(4)
    const end = questions === 1 ? questionEnd(bytes, at + 12, at + length) : -1
    if (end >= 0) {
      this.questionLength = end - at - 12
      for (let i = 0; i < this.questionLength; i++) this.question[i] = bytes[at + 12 + i]!
      this.type = (bytes[end - 4]! << 8) | bytes[end - 3]!
    }
    anatomy.read(bytes, at, length)
    this.owesOpt = hasReadableOpt(bytes, at)
    for (let r = 0; r < anatomy.records; r++) {
      if (anatomy.type[r] !== OPT) continue
      this.hasOpt = true
      const fixed = anatomy.fixed[r]!
      payload = Math.max(payload, u16(fixed + 2))
      this.version ||= bytes[at + fixed + 5]!
      this.dnssecOk ||= (bytes[at + fixed + 6]! & 0x80) !== 0
      this.hasCookie ||= hasOption(bytes, at + fixed + 10, at + anatomy.end[r]!, COOKIE)
    }
    // Records beyond those that the anatomy holds: anything may be among them.
    if (anatomy.records === anatomy.owner.length) {
      this.hasOpt = true
      payload = 65_535
    }
    this.limit = isTcp ? 65_535 : Math.min(payload, advertise)
    if ((this.flags & 0x7800) !== 0) return
    const isAlone = u16(6) === 0 && u16(8) === 0
    this.isBroken =
      questions > 1 ||
      (questions === 1 && (end < 0 || (isAlone && (hasBrokenRecords(bytes, at) || isNoType(this.type, end, bytes)))))
    this.isSound =
      questions === 1 &&
      end >= 0 &&
      isAlone &&
      parser.read(bytes, at, length) === null &&
      parser.oddTypes === 0 &&
      (parser.cookie < 0 || parser.cookie === 8 || (parser.cookie >= 16 && parser.cookie <= 40)) &&
      this.type !== OPT &&
      this.type !== 0
  }
}

/** True if the message, which the anatomy has read, is whole and its first OPT in the additional section is one. */
function hasReadableOpt(bytes: Uint8Array, at: number): boolean {
  if (!anatomy.isWhole) return false
  for (let r = 0; r < anatomy.records; r++)
    if (anatomy.type[r] === OPT && anatomy.section[r] === ADDITIONAL) return bytes[at + anatomy.owner[r]!] === 0
  return false
}

/** True if the additional section, which the anatomy has read, is not there as a whole, or its OPT is none (RFC 6891 §6.1.1). */
function hasBrokenRecords(bytes: Uint8Array, at: number): boolean {
  if (!anatomy.isWhole) return true
  let opts = 0
  for (let r = 0; r < anatomy.records; r++) {
    if (anatomy.type[r] !== OPT) continue
    const data = at + anatomy.fixed[r]! + 10
    const isOurVersion = bytes[data - 5] === 0
    if (++opts > 1 || bytes[at + anatomy.owner[r]!] !== 0) return true
    if (isOurVersion && hasBrokenOptions(bytes, data, at + anatomy.end[r]!)) return true
  }
  return false
}

/** True if an option runs past the end, or the first cookie has a length that none may have (RFC 7873 §5.2.2). */
function hasBrokenOptions(bytes: Uint8Array, data: number, end: number): boolean {
  let i = data
  let isFirst = true
  while (i < end) {
    if (i + 4 > end) return true
    const code = (bytes[i]! << 8) | bytes[i + 1]!
    const length = (bytes[i + 2]! << 8) | bytes[i + 3]!
    i += 4 + length
    if (code !== COOKIE || !isFirst) continue
    if (length !== 8 && (length < 16 || length > 40)) return true
    isFirst = false
  }
  return i !== end
}

/** True for types that nobody can ask for, in class IN. */
function isNoType(type: number, end: number, bytes: Uint8Array): boolean {
  return (type === OPT || type === 0) && bytes[end - 1] === 1 && bytes[end - 2] === 0
}

/** Offset after a question whose name is written out, -1 if it is none. */
function questionEnd(bytes: Uint8Array, at: number, stop: number): number {
  let i = at
  while (i < stop && bytes[i] !== 0) {
    if (bytes[i]! > 63) return -1
    i += bytes[i]! + 1
  }
  return i + 1 - at > 255 || i + 5 > stop ? -1 : i + 5
}

function hasOption(bytes: Uint8Array, at: number, end: number, code: number): boolean {
  let i = at
  while (i + 4 <= end) {
    const length = (bytes[i + 2]! << 8) | bytes[i + 3]!
    if (i + 4 + length > end) return false
    if (((bytes[i]! << 8) | bytes[i + 1]!) === code) return true
    i += 4 + length
  }
  return false
}
