/**
 * A strict reader of DNS messages, straight from RFC 1035 §4 and RFC 6891 §6.1, that shares no code with src/dns. It says
 * what is wrong with a message, and where its parts are; it makes nothing of them.
 *
 * Stricter than a resolver must be: no byte may be left over, a pointer must lead to a name that stands whole before it,
 * and data of the types that RFC 1035 knows must have exactly the shape they say.
 */

const HEADER = 12
const MAX_NAME = 255
const MAX_LABEL = 63
const MAX_RECORDS = 6000

const A = 1
const SOA = 6
const HINFO = 13
const MX = 15
const TXT = 16
const AAAA = 28
const SRV = 33
const OPT = 41
const MINFO = 14
/** Types whose data is one name: NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME. */
const ONE_NAME: ReadonlySet<number> = new Set([2, 3, 4, 5, 7, 8, 9, 12, 39])
/** Types that no record can have: the OPT's own is looked at apart, the others are for questions (RFC 6895 §3.1). */
const QUESTION_ONLY: ReadonlySet<number> = new Set([251, 252, 253, 254, 255])

export const COOKIE = 10
const EDE = 15

/** A message as `read` left it; offsets count from the message's start. Overwritten by the next one. */
export class SecondParser {
  id = 0
  flags = 0
  questions = 0
  /** Where the first question begins and ends; 0 and 0 without one. */
  questionAt = 0
  questionEnd = 0
  /** Answers, authorities, additionals, as the header says. */
  readonly counts: number[] = [0, 0, 0]
  records = 0
  readonly typeAt: Uint16Array = new Uint16Array(MAX_RECORDS)
  readonly types: Uint16Array = new Uint16Array(MAX_RECORDS)
  hasOpt = false
  payload = 0
  /** The header's four bits and the OPT's eight. */
  rcode = 0
  version = 0
  dnssecOk = false
  /** Bytes of the COOKIE option, -1 without one; of the extended error. */
  cookie = -1
  ede = -1
  otherOptions = 0
  /** Records behind the OPT. */
  behindOpt = 0
  /** Data of types that are passed on unread (TXT, HINFO) in which the strings do not add up. */
  oddData = 0
  /** Records of types that only questions can have. */
  oddTypes = 0
  #bytes: Uint8Array = new Uint8Array(0)
  #start = 0
  #end = 0

  /** Reads the `length` bytes at `at`. Null, or what is wrong with them in a few words. */
  read(bytes: Uint8Array, at: number, length: number): string | null {
    this.#bytes = bytes
    this.#start = at
    this.#end = length
    if (length < HEADER) return 'shorter than a header'
    if (length > 65_535) return 'longer than a message can be'
    this.id = this.#u16(0)
    this.flags = this.#u16(2)
    this.questions = this.#u16(4)
    this.questionAt = 0
    this.questionEnd = 0
    this.records = 0
    this.hasOpt = false
    this.rcode = this.flags & 15
    this.payload = 0
    this.version = 0
    this.dnssecOk = false
    this.cookie = -1
    this.ede = -1
    this.otherOptions = 0
    this.behindOpt = 0
    this.oddData = 0
    this.oddTypes = 0
    let i = HEADER
    for (let k = 0; k < this.questions; k++) {
      const end = this.#name(i, this.#end)
      if (end < 0) return `the name of question ${k} is none`
      if (end + 4 > length) return `question ${k} is cut off`
      if (k === 0) {
        this.questionAt = i
        this.questionEnd = end + 4
      }
      i = end + 4
    }
    for (let section = 0; section < 3; section++) {
      const count = this.#u16(6 + 2 * section)
      this.counts[section] = count
      for (let k = 0; k < count; k++) {
        i = this.#record(i, section)
        if (i < 0) return `record ${k} of section ${section}: ${this.#fault}`
      }
    }
    return i === length ? null : `${length - i} bytes are left over`
  }

  #fault = ''

  #wrong(what: string): number {
    this.#fault = what
    return -1
  }

  #record(at: number, section: number): number {
    if (this.records === MAX_RECORDS) return this.#wrong('too many')
    const fixed = this.#name(at, this.#end)
    if (fixed < 0) return this.#wrong('its owner is no name')
    if (fixed + 10 > this.#end) return this.#wrong('it is cut off')
    const type = this.#u16(fixed)
    const data = fixed + 10
    const end = data + this.#u16(fixed + 8)
    if (end > this.#end) return this.#wrong('its data runs past the end')
    this.typeAt[this.records] = fixed
    this.types[this.records++] = type
    if (this.hasOpt) this.behindOpt++
    if (QUESTION_ONLY.has(type)) this.oddTypes++
    if (type === OPT) return this.#opt(at, fixed, end, section)
    return this.#isDataSound(type, data, end) ? end : this.#wrong(`data of type ${type} is not of its shape`)
  }

  #isDataSound(type: number, data: number, end: number): boolean {
    if (ONE_NAME.has(type)) return this.#name(data, end) === end
    switch (type) {
      case A:
        return end - data === 4
      case AAAA:
        return end - data === 16
      case MX:
        return data + 2 < end && this.#name(data + 2, end) === end
      case SRV:
        return data + 6 < end && this.#name(data + 6, end) === end
      case MINFO:
      case SOA: {
        const first = this.#name(data, end)
        const second = first < 0 ? -1 : this.#name(first, end)
        return second >= 0 && second + (type === SOA ? 20 : 0) === end
      }
      case TXT:
        if (data === end || this.#strings(data, end) < 0) this.oddData++
        return true
      case HINFO:
        if (this.#strings(data, end) !== 2) this.oddData++
        return true
      default:
        return true
    }
  }

  /** Number of character strings that fill the bytes, -1 if they do not. */
  #strings(data: number, end: number): number {
    let count = 0
    let i = data
    for (; i < end; count++) i += 1 + this.#u8(i)
    return i === end ? count : -1
  }

  #opt(owner: number, fixed: number, end: number, section: number): number {
    if (section !== 2) return this.#wrong('an OPT that is not in the additional section')
    if (this.hasOpt) return this.#wrong('a second OPT')
    if (this.#u8(owner) !== 0) return this.#wrong('an OPT of another name than the root')
    this.hasOpt = true
    this.payload = this.#u16(fixed + 2)
    this.rcode |= this.#u8(fixed + 4) << 4
    this.version = this.#u8(fixed + 5)
    this.dnssecOk = (this.#u8(fixed + 6) & 0x80) !== 0
    let i = fixed + 10
    while (i < end) {
      if (i + 4 > end) return this.#wrong('an option that is cut off')
      const code = this.#u16(i)
      const length = this.#u16(i + 2)
      if (code === COOKIE && this.cookie < 0) this.cookie = length
      else if (code === EDE && this.ede < 0) this.ede = length
      else this.otherOptions++
      i += 4 + length
    }
    return i === end ? end : this.#wrong('an option that runs past the OPT')
  }

  /** Offset after the name at `at`, which must end before `stop`; -1 if it is none. */
  #name(at: number, stop: number): number {
    let i = at
    let limit = stop
    let after = -1
    let length = 0
    let lowest = at
    for (;;) {
      if (i >= limit) return -1
      const size = this.#u8(i)
      if (size >= 0xc0) {
        if (i + 2 > limit) return -1
        if (after < 0) after = i + 2
        const target = this.#u16(i) & 0x3fff
        if (target < HEADER || target >= lowest) return -1
        // What it means must stand whole before it.
        limit = lowest
        lowest = target
        i = target
        continue
      }
      if (size > MAX_LABEL) return -1
      length += size + 1
      if (length > MAX_NAME || i + size >= limit) return -1
      if (size === 0) return after < 0 ? i + 1 : after
      i += size + 1
    }
  }

  #u8(at: number): number {
    return this.#bytes[this.#start + at]!
  }

  #u16(at: number): number {
    return (this.#bytes[this.#start + at]! << 8) | this.#bytes[this.#start + at + 1]!
  }
}
