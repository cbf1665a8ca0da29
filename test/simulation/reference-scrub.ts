/** Which records of a server's reply belong to its answer: the rules of src/dns/scrub.ts once more, over parsed records. */
import type { ParsedMessage, ParsedRecord } from './message.ts'

const NS = 2
const CNAME = 5
const SOA = 6
const MX = 15
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
/** Bytes of data before the name of a host whose addresses may be added. */
const TARGETS: ReadonlyMap<number, number> = new Map([
  [NS, 0],
  [CNAME, 0],
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

/** The message with what belongs to the answer, null if its CNAMEs are a loop or too many. */
export function scrub(message: ParsedMessage): ParsedMessage | null {
  const [answer, authority, additional] = message.sections
  const chain = chainOf(message)
  if (chain === null) return null
  const last = chain.at(-1)!
  const answers = answer.filter(
    (record) =>
      isIn(record) &&
      (chain.includes(record.owner) ||
        (covered(record) === DNAME && chain.some((name) => isAtOrBelow(name, record.owner)))),
  )
  const authorities = authority.filter((record) => {
    if (!isIn(record)) return false
    if (record.type === NSEC || record.type === NSEC3 || record.type === RRSIG) return true
    const isOfZone = record.type === SOA || record.type === NS || record.type === DS
    return isOfZone && (isAtOrBelow(message.name, record.owner) || isAtOrBelow(last, record.owner))
  })
  const targets = new Set<string>()
  const note = (record: ParsedRecord): void => {
    const before = TARGETS.get(record.type)
    if (before !== undefined) targets.add(record.data.slice(before))
  }
  for (const record of [...answers, ...authorities]) note(record)
  const additionals = additional.filter((record) => {
    const isKept = isIn(record) && (chain.includes(record.owner) || targets.has(record.owner))
    if (isKept) note(record)
    return isKept
  })
  const isScrubbed =
    answers.length < answer.length || authorities.length < authority.length || additionals.length < additional.length
  return { ...message, isScrubbed, sections: [answers, authorities, additionals] }
}

function chainOf({ name, type, sections }: ParsedMessage): string[] | null {
  const chain = [name]
  if (type === CNAME || type === ANY) return chain
  for (;;) {
    const link = sections[0].find((record) => record.type === CNAME && record.owner === chain.at(-1))
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
