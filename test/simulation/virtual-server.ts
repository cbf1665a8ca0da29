/** Servers in the virtual network: good, broken and malicious ones. What one does with a question follows from its habit and a fate. */
import type { Habit } from './episode.ts'
import type { ParsedMessage } from './message.ts'
import { option } from './queries.ts'
import type { Random } from './random.ts'
import { cookieOption, type Manners, objectionTo, otherCookie, COOKIE, spell } from './server-manners.ts'
import {
  addOpt,
  address,
  begin,
  delegation,
  FLAG_QR,
  records,
  serialName,
  type Served,
  soa,
  truncated,
  TTLS,
  writer,
} from './server-records.ts'
import { zoneAnswer } from './zone-answers.ts'

/** One thing that comes back, `delayMs` after the question came in. */
export interface Reply {
  delayMs: number
  /** Null: no message, but an error of the socket or stream. */
  bytes: Buffer | null
  /** Sent to another socket than the question's. */
  isMisdirected: boolean
}

type Deed =
  | 'answer'
  | 'silence'
  | 'late answer'
  | 'error'
  | 'servfail'
  | 'refused'
  | 'formerr'
  | 'notimp'
  | 'badvers'
  | 'truncate'
  | 'lie'
  | 'malformed'
  | 'odd rcode'

const DEEDS: Record<Habit, readonly (readonly [number, Deed])[]> = {
  perfect: [[1, 'answer']],
  good: [
    [60, 'answer'],
    [1, 'silence'],
  ],
  lossy: [
    [1, 'answer'],
    [1, 'silence'],
  ],
  slow: [
    [1, 'answer'],
    [6, 'late answer'],
  ],
  dead: [[1, 'silence']],
  unreachable: [[1, 'error']],
  // What comes back is what we answered ourselves: the network sees to it.
  looping: [[1, 'silence']],
  servfail: [
    [9, 'servfail'],
    [1, 'answer'],
  ],
  refused: [
    [9, 'refused'],
    [1, 'answer'],
  ],
  formerr: [[1, 'formerr']],
  'formerr to opt': [[1, 'answer']],
  notimp: [[1, 'notimp']],
  badvers: [[1, 'badvers']],
  truncating: [
    [4, 'truncate'],
    [1, 'answer'],
  ],
  lying: [
    [4, 'lie'],
    [1, 'answer'],
  ],
  malformed: [
    [3, 'malformed'],
    [1, 'answer'],
  ],
  'odd rcodes': [[1, 'odd rcode']],
  mixed: [
    [8, 'answer'],
    [1, 'silence'],
    [1, 'late answer'],
    [1, 'error'],
    [1, 'servfail'],
    [1, 'refused'],
    [1, 'formerr'],
    [1, 'truncate'],
    [1, 'lie'],
    [1, 'malformed'],
    [1, 'odd rcode'],
  ],
}

const STORM_DOMAINS = ['\u0007example\0', '\u0004shop\u0003svc\u0007cluster', '\u0003svc\u0007cluster']
const SERVFAIL = 2
const NXDOMAIN = 3
const BADCOOKIE = 23
const OPT_BROKEN: Partial<Record<Habit, number>> = { 'formerr to opt': 1, notimp: 4, badvers: 16 }

function reply(bytes: Buffer | null, delayMs: number = 0, isMisdirected: boolean = false): Reply {
  return { bytes, delayMs, isMisdirected }
}

/** What the server does with the question. `serial` makes every answer's records unlike those of any other. */
export function serve(
  asked: ParsedMessage,
  habit: Habit,
  manners: Manners,
  server: number,
  isStream: boolean,
  hasZones: boolean,
  fate: Random,
  serial: number,
): Reply[] {
  const query: Served = {
    ...asked,
    question: spell(asked.question, manners.spelling, fate),
    cookie: cookieOption(asked, manners, server, serial, fate),
  }
  const brokenRcode = OPT_BROKEN[habit]
  if (brokenRcode !== undefined && query.opt !== null) return [reply(errorReply(query, brokenRcode, fate, serial))]
  switch (objectionTo(asked, manners, server, isStream)) {
    case 'silence':
      return []
    case 'formerr':
      return [reply(errorReply(query, 1, fate, serial))]
    case 'badcookie':
      if (habit !== 'dead' && habit !== 'unreachable') return [reply(errorReply(query, BADCOOKIE, fate, serial))]
      break
    case null:
  }
  const deed = fate.weighted(DEEDS[habit])
  switch (deed) {
    case 'answer': {
      const isPerfect = habit === 'perfect'
      const zoned = hasZones && fate.chance(0.2) ? zoneAnswer(query, isStream, fate, serial, isPerfect) : null
      return [reply(zoned ?? answer(query, isStream, fate, serial, isPerfect))]
    }
    case 'silence':
      return []
    case 'late answer':
      return [reply(answer(query, isStream, fate, serial, false), fate.between(50, 8000))]
    case 'error':
      return [reply(null)]
    case 'servfail':
      return [reply(errorReply(query, SERVFAIL, fate, serial))]
    case 'refused':
      return [reply(errorReply(query, 5, fate, serial))]
    case 'formerr':
      return [reply(errorReply(query, 1, fate, serial))]
    case 'notimp':
      return [reply(errorReply(query, 4, fate, serial))]
    case 'badvers':
      return [reply(errorReply(query, 16, fate, serial))]
    case 'truncate':
      return isStream && fate.chance(0.3) ? [reply(null)] : [reply(truncated(query, fate, serial))]
    case 'lie': {
      const lies = Array.from({ length: 1 + fate.below(3) }, () =>
        reply(lie(query, isStream, fate, serial), fate.between(0, 30), !isStream && fate.chance(0.15)),
      )
      if (fate.chance(0.5)) lies.push(reply(answer(query, isStream, fate, serial, false), 35))
      return isStream ? lies.slice(0, 1) : lies
    }
    case 'malformed':
      return [reply(malformed(query, fate, serial))]
    default:
      return [reply(oddRcode(query, fate, serial))]
  }
}

/**
 * A message that nobody asked for and that nobody may believe, towards some open port. With a cookie that is not ours, if
 * the query has one.
 */
export function forge(query: ParsedMessage, fate: Random, serial: number): Buffer {
  const cookie = query.opt?.options.get(COOKIE)
  const forged: Served = { ...query, cookie: cookie === undefined ? '' : option(otherCookie(cookie.slice(0, 8), fate)) }
  begin(forged, fate.chance(0.2) ? fate.pick([2, 3, 5]) : 0, fate)
  address(forged, 300, serial, fate)
  addOpt(forged, 0, fate)
  return writer.take()
}

function errorReply(query: Served, rcode: number, fate: Random, serial: number): Buffer {
  // A bare header is how some servers say that they do not understand.
  if (rcode < 16 && rcode !== SERVFAIL && fate.chance(0.3)) {
    writer.begin(query.id, FLAG_QR | rcode)
    return writer.take()
  }
  begin(query, rcode & 15, fate)
  if (fate.chance(0.1)) soa(query, 60, 60, serial)
  if (rcode !== 1 && rcode !== 4) addOpt(query, rcode >>> 4, fate)
  return writer.take()
}

function oddRcode(query: Served, fate: Random, serial: number): Buffer {
  const rcode = fate.pick([6, 7, 8, 9, 10, 11, 15, 17, 22, 23, 4095])
  begin(query, rcode & 15, fate)
  if (fate.chance(0.5)) address(query, 300, serial, fate)
  if (rcode > 15 || query.cookie !== '') addOpt(query, rcode >>> 4, fate)
  return writer.take()
}

/** A sound answer: records, no records, or no such name; as large as it happens to be. */
function answer(query: Served, isStream: boolean, fate: Random, serial: number, isPerfect: boolean): Buffer {
  // Most names in a cluster do not exist: what is directly below a search domain, and what is below that.
  const isOfCluster = query.name.endsWith('\u0003svc\u0007cluster\u0005local\0') && fate.chance(0.8)
  const isDenied = isOfCluster || (isOfStorm(query.name) && fate.chance(0.97))
  const shape = fate.weighted([
    [isDenied ? 0 : 12, 'records'],
    [isDenied ? 0 : 3, 'chain'],
    [isDenied ? 0 : 2, 'nodata'],
    [2, 'nxdomain'],
    [isDenied ? 0 : 0.5, 'chain to nothing'],
    [isDenied ? 0 : 0.5, 'empty'],
  ] as const)
  const ttl = fate.weighted(TTLS)
  const isNothing = shape === 'nxdomain' || (shape === 'chain to nothing' && fate.chance(0.5))
  begin(query, isNothing ? NXDOMAIN : 0, fate)
  if (shape === 'records') address(query, ttl, serial, fate)
  else if (shape === 'chain' || shape === 'chain to nothing')
    chain(query, ttl, serial, fate, shape === 'chain', !isPerfect)
  if (shape === 'nodata' || shape === 'nxdomain' || (shape === 'chain to nothing' && fate.chance(0.7)))
    soa(query, ttl, fate.weighted(TTLS), serial)
  if (shape === 'records' && fate.chance(0.2)) delegation(query, fate, serial)
  if (fate.chance(0.05)) unrelated(query, fate)
  addOpt(query, 0, fate)
  if (fate.chance(0.02) && !isPerfect) writer.record(3, '\0', 250, 255, 0, false, () => writer.text('a signature'))
  const room = query.opt === null ? 512 : Math.max(512, query.opt.payload)
  // Some servers ignore the limit, and some have no limit to ignore.
  if (!isStream && writer.length > room && (isPerfect || fate.chance(0.8))) return truncated(query, fate, serial)
  return writer.take()
}

/** True for a name of the outside, or the parent of such names, below a search domain. */
function isOfStorm(name: string): boolean {
  return STORM_DOMAINS.some((domain) => name.includes(`\u0003com${domain}`) || name.includes(`\u0003net${domain}`))
}

function chain(query: Served, ttl: number, serial: number, fate: Random, hasEnd: boolean, mayLoop: boolean): void {
  if (query.type === 5) return records(5, query.question.slice(0, -4), true, ttl, serial, 1, fate)
  let name = query.question.slice(0, -4)
  const links: [owner: string, target: string, ttl: number][] = []
  for (let k = 0; k <= fate.below(3); k++) {
    const target = serialName(`c${k}-`, serial)
    links.push([name, target, fate.weighted(TTLS)])
    name = target
  }
  // Some servers give the records of an answer in no order.
  const isInOrder = serial % 3 !== 0
  const end = (): void => {
    if (hasEnd) records(query.type, name, true, ttl, serial, fate.pick([1, 2, 8]), fate)
  }
  if (!isInOrder) end()
  for (const [alias, target, linkTtl] of isInOrder ? links : links.toReversed())
    writer.record(1, alias, 5, 1, linkTtl, true, () => writer.name(target, true))
  if (isInOrder) end()
  if (mayLoop && !hasEnd && fate.chance(0.2))
    writer.record(1, name, 5, 1, 60, true, () => writer.name(query.question.slice(0, -4), true))
}

/** Records that a server adds to plant them: of other names, of other zones, or of another class. */
function unrelated(query: Served, fate: Random): void {
  const victim = '\u0006victim\u0007example\0'
  const section = 1 + fate.below(3)
  // Sections are written in their order: nothing may come before what is there already.
  if (section < 3 && writer.hasRecords(section + 1)) return
  const kind = fate.below(3)
  if (kind === 0) writer.record(section, victim, 1, 1, 86_400, true, () => writer.u32(0x0666_0666))
  else if (kind === 1) writer.record(section, victim, 2, 1, 86_400, true, () => writer.name(victim, true))
  else writer.record(section, query.question.slice(0, -4), 16, 3, 86_400, true, () => writer.text('\u0004evil'))
}

/** A reply that is not one to this question. */
function lie(query: Served, isStream: boolean, fate: Random, serial: number): Buffer {
  const kinds = isStream ? [1, 2, 3, 4, 5, 6] : [0, 1, 2, 3, 4, 5, 6, 7]
  const kind = fate.pick(kinds)
  const other = { ...query }
  if (kind === 0) other.id = (query.id + 1 + fate.below(65_534)) & 0xffff
  const name = query.question.slice(0, -4)
  const tail = query.question.slice(-4)
  // As long as the true one, or longer.
  if (kind === 1)
    other.question = name === '\0' || fate.chance(0.3) ? `\u0003not\0${tail}` : `${name[0]}~${name.slice(2)}${tail}`
  if (kind === 2) other.question = name + String.fromCharCode(0, query.type === 1 ? 28 : 1) + tail.slice(2)
  if (kind === 3) other.question = `${name}${tail.slice(0, 2)}\0\u0003`
  begin(other, 0, fate)
  if (kind === 6) writer.begin(query.id, FLAG_QR)
  else address(other, 3600, serial, fate)
  const bytes = writer.take()
  if (kind === 4) bytes[2]! &= 0x7f
  if (kind === 5) bytes[2]! |= 0x10
  return kind === 7 ? bytes.subarray(0, fate.below(12)) : bytes
}

/** A reply to this question that cannot be read to its end. */
function malformed(query: Served, fate: Random, serial: number): Buffer {
  begin(query, 0, fate)
  const name = query.question.slice(0, -4)
  const end = writer.length
  const kind = fate.below(8)
  if (kind === 0) writer.record(1, name, 1, 1, 60, true, () => writer.text('12345'))
  else if (kind === 1) writer.record(1, name, 5, 1, 60, true, () => writer.u16(0xc000 | (end + 12)))
  else if (kind === 2) writer.record(1, name, 15, 1, 60, true, () => writer.text('\0\u0001'))
  else if (kind === 3) writer.record(1, name, 6, 1, 60, true, () => writer.text('\0\0'))
  else if (kind === 4) writer.record(1, name, 5, 1, 60, true, () => writer.u16(0xc000 | fate.below(12)))
  else records(query.type === 255 ? 1 : query.type, name, true, 60, serial, 3, fate)
  if (kind === 5) {
    writer.opt(512, 0, 0, false, '')
    writer.opt(512, 0, 0, false, '')
  }
  const bytes = writer.take()
  // One more record than there is, or an end in the middle of one.
  if (kind === 6) bytes[7]! += 1
  return kind === 7 ? bytes.subarray(0, bytes.length - 1 - fate.below(3)) : bytes
}
