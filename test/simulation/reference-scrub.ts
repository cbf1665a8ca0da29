/** Which records of a server's reply belong to its answer: the rules of src/dns/scrub.ts once more, over parsed records. */
import { type ParsedMessage, type ParsedRecord, recordId } from './message.ts'

const A = 1
const NS = 2
const NOERROR = 0
const YXDOMAIN = 6
const CNAME = 5
const SOA = 6
const MX = 15
const AAAA = 28
const SRV = 33
const DNAME = 39
const DS = 43
const RRSIG = 46
const NSEC = 47
const NSEC3 = 50
const SVCB = 64
const HTTPS = 65
const ANY = 255
const MAX_LINKS = 16
const LONGEST_NAME = 255
/** A CNAME that follows from a DNAME takes so many bytes at most. */
const LINK_BYTES = 270
const FLAG_AA = 0x0400
const FLAG_RA = 0x0080
/** Types that say how a host is reached. */
const HOST_TYPES: ReadonlySet<number> = new Set([A, AAAA, SVCB, HTTPS])
/** Types whose names may be compressed by a server, but not by us (RFC 6672 §2.5, for one): a message with them may grow. */
const WRITTEN_OUT: ReadonlySet<number> = new Set([SRV, DNAME, SVCB, HTTPS])
/** Bytes of data before the name of a host whose addresses may be added. */
const TARGETS: ReadonlyMap<number, number> = new Map([
  [NS, 0],
  [MX, 2],
  [SRV, 6],
  [SVCB, 2],
  [HTTPS, 2],
])

function isIn(record: ParsedRecord): boolean {
  return record.class === 1
}

/** The type that a signature is about, or the record's own (RFC 4034 §3.1). */
function covered(record: ParsedRecord): number {
  return record.type === RRSIG ? (record.data.charCodeAt(0) << 8) | record.data.charCodeAt(1) : record.type
}

/** Records of a type at a name, those of one section. */
function recordsAt(records: readonly ParsedRecord[], owner: string, type: number): ParsedRecord[] {
  return records.filter((record) => record.owner === owner && record.type === type)
}

/** The signatures of records of a type at a name, if the query wants some. */
function signatures(records: readonly ParsedRecord[], owner: string, about: number, dnssecOk: boolean): ParsedRecord[] {
  if (!dnssecOk || about === RRSIG) return []
  return recordsAt(records, owner, RRSIG).filter((record) => covered(record) === about)
}

/**
 * The message in the form in which clients get it: what belongs to the answer, its CNAMEs in order, those that follow from
 * DNAMEs too (RFC 6672 §3.2); null if they are a loop or too many.
 */
export function scrub(message: ParsedMessage, dnssecOk: boolean): ParsedMessage | null {
  const asked = message.type
  const [answer, authority, additional] = message.sections
  const inClass = answer.filter(isIn)
  const path = pathOf(message, inClass, dnssecOk)
  if (path === null) return null
  const { end, last, made } = path
  const answers = [...path.records]
  const found = end === 'name' ? inClass.filter((record) => record.owner === last && isOfType(record, asked)) : []
  const distinct = [...new Map(found.map((record) => [record.id, record])).values()].map(
    ({ id }) => found.find((record) => record.id === id)!,
  )
  answers.push(...distinct, ...(distinct.length > 0 ? signatures(inClass, last, asked, dnssecOk) : []))
  const hasAnswer = distinct.length > 0 || end === 'alias'
  const soa = hasAnswer
    ? undefined
    : authority.find((record) => isIn(record) && record.type === SOA && isAtOrBelow(last, record.owner))
  const authorities = authority.filter((record) => {
    if (!isIn(record)) return false
    const about = covered(record)
    if (about === NSEC || about === NSEC3) return dnssecOk
    if (record === soa) return true
    if (record.type === RRSIG)
      return (
        dnssecOk &&
        ((about === SOA && record.owner === soa?.owner) || (about === DS && soa === undefined && !hasAnswer))
      )
    const isOfReferral = record.type === NS || (record.type === DS && dnssecOk)
    return isOfReferral && !hasAnswer && soa === undefined && isAtOrBelow(last, record.owner)
  })
  const targets = new Set<string>()
  const note = (record: ParsedRecord): void => {
    const before = TARGETS.get(record.type)
    if (before !== undefined) targets.add(record.data.slice(before))
  }
  for (const record of [...distinct, ...authorities]) note(record)
  const additionals = additional.filter((record) => {
    const isOfHost = HOST_TYPES.has(record.type === RRSIG && dnssecOk ? covered(record) : record.type)
    const isKept = isIn(record) && isOfHost && targets.has(record.owner)
    if (isKept && (record.type === SVCB || record.type === HTTPS)) note(record)
    return isKept
  })
  const isScrubbed =
    answers.length < answer.length ||
    authorities.length < authority.length ||
    additionals.length < additional.length ||
    answers.some(({ type }) => WRITTEN_OUT.has(type))
  return {
    ...message,
    rcode: end === 'too long' ? YXDOMAIN : message.rcode,
    isScrubbed,
    bytesBeforeOpt: message.bytesBeforeOpt + made * LINK_BYTES,
    sections: [answers, authorities, additionals],
  }
}

/**
 * The DNAMEs and CNAMEs from the question on, and the last name: where to look for the type asked, or behind an alias that
 * was asked for itself, or before a DNAME that makes a name which is too long. `made`: CNAMEs that the server did not give.
 */
interface Path {
  records: ParsedRecord[]
  last: string
  end: 'name' | 'alias' | 'too long'
  made: number
}

function pathOf({ name, rcode, type }: ParsedMessage, answer: ParsedRecord[], dnssecOk: boolean): Path | null {
  const records: ParsedRecord[] = []
  const names = [name]
  for (let made = 0; ; ) {
    const last = names.at(-1)!
    const alias = type === CNAME || type === ANY ? undefined : recordsAt(answer, last, CNAME)[0]
    const dname = dnameAbove(last, answer)
    if (dname !== undefined && !records.includes(dname))
      records.push(dname, ...signatures(answer, dname.owner, DNAME, dnssecOk))
    const isThere = answer.some((record) => record.owner === last && isOfType(record, type))
    if (alias === undefined && (dname === undefined || isThere || rcode === YXDOMAIN))
      return { records, last, end: 'name', made }
    if (names.length > MAX_LINKS) return null
    if (alias !== undefined) {
      records.push(alias, ...signatures(answer, last, CNAME, dnssecOk))
      names.push(alias.data)
    } else {
      const { data, owner, ttl } = dname!
      const target = last.slice(0, -owner.length) + data
      if (target.length > LONGEST_NAME) return { records, last, end: 'too long', made }
      const id = recordId(last, CNAME, 1, target)
      records.push({ id, owner: last, type: CNAME, class: 1, ttl, data: target })
      names.push(target)
      made++
      if (type === CNAME) return { records, last: target, end: 'alias', made }
    }
    if (names.indexOf(names.at(-1)!) < names.length - 1) return null
  }
}

/** The nearest DNAME above a name. */
function dnameAbove(name: string, answer: readonly ParsedRecord[]): ParsedRecord | undefined {
  const above = answer.filter(({ owner, type }) => type === DNAME && owner !== name && isAtOrBelow(name, owner))
  const longest = Math.max(...above.map(({ owner }) => owner.length))
  return above.find(({ owner }) => owner.length === longest)
}

function isOfType(record: ParsedRecord, type: number): boolean {
  return record.type === type || type === ANY
}

/** True for a scrubbed answer that has none, nor says that there is none, of a server that does not recurse: it points elsewhere. */
export function isReferral({ flags, rcode, sections: [answers, authority], type }: ParsedMessage): boolean {
  if (rcode !== NOERROR || (flags & FLAG_RA) !== 0 || authority.some((record) => record.type === SOA)) return false
  if (answers.some((record) => isOfType(record, type))) return false
  return answers.length === 0 ? (flags & FLAG_AA) === 0 : authority.length > 0
}

/** True if `name` is `zone` or below it. */
export function isAtOrBelow(name: string, zone: string): boolean {
  for (let at = 0; ; at += name.charCodeAt(at) + 1) {
    if (name.length - at === zone.length) return name.endsWith(zone)
    if (name.length - at < zone.length || name.charCodeAt(at) === 0) return false
  }
}
