/** Whether a reply is one that the reference would give. Each check returns what is wrong, or null. */
import type { KnownAnswer } from './reference-resolver.ts'
import { type ParsedMessage, type ParsedRecord, parseMessage } from './message.ts'
import type { Expectation, Told } from './reference-resolver.ts'
import type { Asked } from './queries.ts'

const FLAG_QR = 0x8000
const FLAG_OPCODE = 0x7800
const FLAG_AA = 0x0400
const FLAG_TC = 0x0200
const FLAG_RD = 0x0100
const FLAG_RA = 0x0080
const FLAG_Z = 0x0040
const FLAG_AD = 0x0020
const FLAG_CD = 0x0010
const CNAME = 5
const DNAME = 39
const SOA = 6
const COOKIE = 10
const EDE = 15
const EDE_BYTES = 6
/** Sources of answers that have AA. */
const AUTHORITATIVE: ReadonlySet<string> = new Set(['mesh', 'hosts', 'records of a rule'])
/** Extended errors (RFC 8914 §4, RFC 9520, RFC 8767); NONE: the reply has none. */
export const Ede = {
  NONE: -1,
  OTHER: 0,
  STALE: 3,
  CACHED_ERROR: 13,
  NOT_READY: 14,
  PROHIBITED: 18,
  STALE_NXDOMAIN: 19,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
  SYNTHESIZED: 29,
} as const
export const STALE_TTL = 30

/** Limits that a query's client sets. */
export interface ReplyLimits {
  /** Most bytes of the reply. */
  limit: number
  /** Payload size that our OPT must name. */
  advertise: number
  /** Time in a server cookie, in seconds; -1: queries with a cookie get none back. */
  cookieSeconds: number
}

/** What every reply must be, whatever it says. The parsed message, or what is wrong. */
export function checkForm(
  asked: Asked,
  limits: ReplyLimits,
  bytes: Buffer,
  at: number,
  length: number,
): ParsedMessage | string {
  if (length > limits.limit) return `${length} bytes, the limit is ${limits.limit}`
  const reply = parseMessage(bytes, at, length)
  if (typeof reply === 'string') return `malformed: ${reply}`
  const { flags } = reply
  if (reply.behindOpt > 0) return 'records behind the OPT'
  if (reply.id !== asked.id) return `id ${reply.id}, the query's is ${asked.id}`
  if ((flags & FLAG_QR) === 0) return 'not a response'
  if ((flags & FLAG_RA) === 0) return 'RA is not set'
  if ((flags & FLAG_Z) !== 0) return 'Z is set'
  const copied = FLAG_OPCODE | FLAG_RD | FLAG_CD
  if ((flags & copied) !== (asked.flags & copied))
    return `flags ${flags.toString(16)} to a query with ${asked.flags.toString(16)}`
  if ((flags & FLAG_AD) !== 0 && (asked.flags & FLAG_AD) === 0 && !asked.edns?.dnssecOk)
    return 'AD, for which nobody asked'
  if (reply.question !== asked.question && !(asked.isBroken && reply.question === ''))
    return `another question: ${JSON.stringify(reply.question)}`
  return checkOpt(asked, limits, reply) ?? reply
}

function checkOpt(asked: Asked, limits: ReplyLimits, reply: ParsedMessage): string | null {
  const { opt } = reply
  if (opt === null) return asked.edns === null ? null : 'no OPT to a query that has one'
  if (asked.edns === null) return 'an OPT to a query without'
  if (opt.payload !== limits.advertise) return `OPT says ${opt.payload} bytes instead of ${limits.advertise}`
  if (opt.version !== 0 || opt.dnssecOk !== asked.edns.dnssecOk) return 'OPT with another version or DO bit'
  const { cookie } = asked.edns
  const isOwed = cookie !== '' && limits.cookieSeconds >= 0
  if (isOwed && !isCookieRight(opt.options.get(COOKIE) ?? '', cookie, limits.cookieSeconds))
    return 'a query with a cookie is not answered with a cookie for it'
  for (const [code, data] of opt.options) {
    // A server's text may be anything; that of a rule is looked at with the rule.
    if (code === EDE && (data.length === 2 || /^(?:rule|no rule) /.test(data.slice(2)))) continue
    if (code === COOKIE && isOwed) continue
    return `OPT with an option ${code} of ${data.length} bytes`
  }
  return null
}

/** RFC 9018 §4: the client's cookie, version 1, the time, and a hash, which the tests of src/dns/cookie.ts look at. */
function isCookieRight(data: string, client: string, seconds: number): boolean {
  if (data.length !== 24 || !data.startsWith(client) || data.slice(8, 12) !== '\u0001\0\0\0') return false
  return Buffer.from(data.slice(12, 16), 'latin1').readUInt32BE(0) === seconds
}

/** Checks that a reply says why it is what it is (RFC 8914), in one of these codes, −1 for none; what is wrong, or null. */
export function checkEde(asked: Asked, reply: ParsedMessage, ...codes: number[]): string | null {
  if (asked.edns === null || reply.opt === null || codes.includes(edeOf(reply))) return null
  return `extended error ${edeOf(reply)} instead of ${codes.join(' or ')}`
}

/** Checks that a reply says why a rule made it so, with the rule's text where there is room; what is wrong, or null. */
export function checkTold(
  asked: Asked,
  reply: ParsedMessage,
  { code, text }: Told,
  { limit }: ReplyLimits,
): string | null {
  if (asked.edns === null || reply.opt === null) return null
  const data = reply.opt.options.get(EDE)
  const room = limit - reply.bytes + (data === undefined ? 0 : data.length + 4)
  const wanted =
    room < EDE_BYTES
      ? undefined
      : String.fromCharCode(code >> 8, code & 255) + (room < EDE_BYTES + text.length ? '' : text)
  return data === wanted ? null : `extended error ${JSON.stringify(data)} instead of ${JSON.stringify(wanted)}`
}

/**
 * Checks that the reply says so, unless it has all of the answer, which a server may have cut off before, and there is no
 * room for it; what is wrong, or null. No record is left out for its sake.
 */
export function checkEdeIfRoom(
  asked: Asked,
  reply: ParsedMessage,
  { message }: KnownAnswer,
  limits: ReplyLimits,
  code: number,
): string | null {
  const hasRoom = countRecords(reply) < countRecords(message) || reply.bytes + EDE_BYTES <= limits.limit
  return checkEde(asked, reply, code, ...(hasRoom && asked.isRewritten !== true ? [] : [Ede.NONE]))
}

function countRecords({ sections }: ParsedMessage): number {
  return sections.reduce((sum, section) => sum + section.length, 0)
}

/** Code of the extended error, −1 without one. */
export function edeOf(message: ParsedMessage): number {
  const data = message.opt?.options.get(EDE)
  return data === undefined ? -1 : (data.charCodeAt(0) << 8) | data.charCodeAt(1)
}

export function isTruncated(reply: ParsedMessage): boolean {
  return (reply.flags & FLAG_TC) !== 0
}

/** Checks a reply that the engine makes up itself: of the mesh, of a special name. */
export function checkLocal(
  wanted: Extract<Expectation, { kind: 'local' }>,
  reply: ParsedMessage,
  limits: ReplyLimits,
): string | null {
  const [answers, authority, additional] = reply.sections
  if (reply.rcode !== wanted.rcode) return `rcode ${reply.rcode} instead of ${wanted.rcode}`
  if (((reply.flags & FLAG_AA) !== 0) !== AUTHORITATIVE.has(wanted.from)) return 'AA is wrong'
  if (additional.length > 0) return 'additional records'
  const left = new Set(wanted.answers)
  for (const record of answers) {
    if (!left.delete(record.id)) return `a record that is not the host's, or twice: ${JSON.stringify(record.id)}`
    if (record.ttl !== wanted.ttl) return `TTL ${record.ttl} instead of ${wanted.ttl}`
  }
  // An alias comes before what it leads to.
  if (answers.length > 0 && wanted.answers[0]!.includes('|5|') && answers[0]!.id !== wanted.answers[0])
    return 'the CNAME is not the first record'
  const isWhole = left.size === 0 && authority.length === (wanted.soa === null ? 0 : 1)
  if (isTruncated(reply)) {
    if (isWhole || localBytes(reply, wanted) <= limits.limit) return 'TC, although all would fit'
    return reply.bytes + smallest(left) <= limits.limit ? 'TC, although another record would fit' : null
  }
  if (!isWhole) return `${left.size} records are missing, ${authority.length} in authority`
  return wanted.soa === null ? null : checkSoa(authority[0]!, wanted.soa)
}

function checkSoa(record: ParsedRecord, wanted: { owner: string; ttl: number }): string | null {
  const isIts = record.owner === wanted.owner || record.shownId?.startsWith(`${wanted.owner}|`) === true
  if (record.type !== SOA || !isIts)
    return `SOA of ${JSON.stringify(record.owner)} instead of ${JSON.stringify(wanted.owner)}`
  const minimum = Buffer.from(record.data.slice(-4), 'latin1').readUInt32BE(0)
  return record.ttl === wanted.ttl && minimum === wanted.ttl
    ? null
    : `SOA with TTL ${record.ttl} and MINIMUM ${minimum} instead of ${wanted.ttl}`
}

function optBytes({ opt }: ParsedMessage): number {
  if (opt === null) return 0
  return [...opt.options.values()].reduce((sum, data) => sum + 4 + data.length, 11)
}

/** Bytes of the first record that is missing: addresses of one family come before those of the other. */
function smallest(left: ReadonlySet<string>): number {
  const types = new Set([...left].map((id) => id.split('|', 2)[1]))
  // How long an alias or an SOA would be depends on what it can point to.
  if (types.size === 0 || types.has('5')) return Number.POSITIVE_INFINITY
  return types.has('1') ? 16 : 28
}

/** Bytes of the whole reply, if names are compressed as far as they can be by pointing to the question and the alias's target. */
function localBytes(reply: ParsedMessage, wanted: Extract<Expectation, { kind: 'local' }>): number {
  let bytes = 12 + reply.question.length + optBytes(reply)
  for (const id of wanted.answers) {
    const type = id.split('|', 2)[1]
    const data = id.slice(id.indexOf('|', id.indexOf('|', id.indexOf('|') + 1) + 1) + 1)
    bytes += 12 + (type === '12' ? 2 : data.length)
  }
  return bytes + (wanted.soa === null ? 0 : 12 + 22)
}

function isLink({ type }: ParsedRecord): boolean {
  return type === CNAME || type === DNAME
}

function isSame({ id, shownId }: ParsedRecord, wanted: ParsedRecord): boolean {
  return id === wanted.id || shownId === wanted.id
}

/** True if the aliases are the first records and in the order of the answer; the others rotate. */
function isInOrder(records: readonly ParsedRecord[], answer: readonly ParsedRecord[]): boolean {
  const end = answer.findIndex((record) => !isLink(record))
  const ends = end < 0 ? answer.length : end
  return records.every((record, k) => (k < ends ? isSame(record, answer[k]!) : !isLink(record)))
}

/**
 * Checks that a reply is this answer at an age (all TTLs `staleTtl` if that is not negative), whole or cut to the limit.
 */
export function checkKnown(
  asked: Asked,
  reply: ParsedMessage,
  known: KnownAnswer,
  age: number,
  staleTtl: number,
  limits: ReplyLimits,
): string | null {
  const { message, ttls } = known
  if (reply.rcode !== message.rcode) return `rcode ${reply.rcode} instead of ${message.rcode}`
  if ((reply.flags & FLAG_AA) !== 0) return 'AA on an answer from upstream'
  const isRewritten = asked.isRewritten === true
  // What is rewritten may become too long, and then nothing of it is left.
  if (isRewritten && isTruncated(reply) && countRecords(reply) === 0) return null
  const mayAd = !isRewritten && ((asked.flags & FLAG_AD) !== 0 || asked.edns?.dnssecOk === true)
  if (((reply.flags & FLAG_AD) !== 0) !== (mayAd && (message.flags & FLAG_AD) !== 0)) return 'AD is wrong'
  for (let section = 0; section < 3; section++) {
    const wanted = ttls[section]!
    for (const record of reply.sections[section]!) {
      const ttl = wanted.get(record.id) ?? wanted.get(record.shownId ?? '')
      if (ttl === undefined) return `a record that the answer has not: ${JSON.stringify(record.id)}`
      const expected = staleTtl >= 0 ? staleTtl : Math.max(0, ttl - age)
      if (record.ttl !== expected) return `TTL ${record.ttl} instead of ${expected} after ${age} s`
    }
  }
  if (!isInOrder(reply.sections[0], message.sections[0])) return 'CNAMEs that are not in order before what they lead to'
  const isWhole =
    reply.sections[0].length === message.sections[0].length && reply.sections[1].length === message.sections[1].length
  // Cut off by the server: there is no more.
  if ((message.flags & FLAG_TC) !== 0) return isTruncated(reply) ? null : 'a part of an answer as if it were all'
  if (!isTruncated(reply)) return isWhole ? null : 'records are missing, and TC is not set'
  // An answer of which records were left out is written anew, with longer names.
  if (known.isScrubbed || isRewritten) return null
  // An extended error is no reason to leave records out.
  const ownOpt = optBytes(reply) - (edeOf(reply) === Ede.NONE ? 0 : EDE_BYTES)
  return message.bytesBeforeOpt + ownOpt > limits.limit ? null : 'TC, although all would fit'
}
