/** Which records of a server's reply belong to its answer: the rules of src/dns/scrub.ts once more, over parsed records. */
import type { ParsedMessage, ParsedRecord } from './message.ts'

const A = 1
const NS = 2
const CNAME = 5
const SOA = 6
const MX = 15
const AAAA = 28
const SRV = 33
const DS = 43
const RRSIG = 46
const NSEC = 47
const NSEC3 = 50
const SVCB = 64
const HTTPS = 65
const ANY = 255
const MAX_LINKS = 16
/** Types that say how a host is reached. */
const HOST_TYPES: ReadonlySet<number> = new Set([A, AAAA, SVCB, HTTPS])
/** Types whose names may be compressed by a server, but not by us: a message with them may grow. */
const WRITTEN_OUT: ReadonlySet<number> = new Set([SRV, SVCB, HTTPS])
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

/**
 * The message in the form in which clients get it: what belongs to the answer, its CNAMEs in order; null if they are a loop
 * or too many. No server of the simulation has DNAMEs.
 */
export function scrub(message: ParsedMessage, dnssecOk: boolean): ParsedMessage | null {
  const asked = message.type
  const [answer, authority, additional] = message.sections
  const chain = chainOf(message)
  if (chain === null) return null
  const last = chain.at(-1)!
  const signed = (records: ParsedRecord[], owner: string, about: number): ParsedRecord[] =>
    dnssecOk && about !== RRSIG
      ? records.filter((record) => record.type === RRSIG && record.owner === owner && covered(record) === about)
      : []
  const inClass = answer.filter(isIn)
  const answers: ParsedRecord[] = []
  for (const name of chain.slice(0, -1)) {
    answers.push(inClass.find((record) => record.type === CNAME && record.owner === name)!)
    answers.push(...signed(inClass, name, CNAME))
  }
  const found = inClass.filter((record) => record.owner === last && (record.type === asked || asked === ANY))
  const distinct = [...new Map(found.map((record) => [record.id, record])).values()].map(
    ({ id }) => found.find((record) => record.id === id)!,
  )
  answers.push(...distinct, ...(distinct.length > 0 ? signed(inClass, last, asked) : []))
  const soa =
    distinct.length > 0
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
        ((about === SOA && record.owner === soa?.owner) || (about === DS && soa === undefined && distinct.length === 0))
      )
    const isOfReferral = record.type === NS || (record.type === DS && dnssecOk)
    return isOfReferral && distinct.length === 0 && soa === undefined && isAtOrBelow(last, record.owner)
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
  return { ...message, isScrubbed, sections: [answers, authorities, additionals] }
}

function chainOf({ name, type, sections }: ParsedMessage): string[] | null {
  const chain = [name]
  if (type === CNAME || type === ANY) return chain
  for (;;) {
    const link = sections[0].find((record) => isIn(record) && record.type === CNAME && record.owner === chain.at(-1))
    if (link === undefined) return chain
    if (chain.length > MAX_LINKS || chain.includes(link.data)) return null
    chain.push(link.data)
  }
}

/** True if `name` is `zone` or below it. */
export function isAtOrBelow(name: string, zone: string): boolean {
  for (let at = 0; ; at += name.charCodeAt(at) + 1) {
    if (name.length - at === zone.length) return name.endsWith(zone)
    if (name.length - at < zone.length || name.charCodeAt(at) === 0) return false
  }
}
