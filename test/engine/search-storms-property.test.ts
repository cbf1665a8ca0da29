/**
 * Search storms beside a reference: over any zone, what a client is told of a name is what the zone says, whether a server
 * was asked or not, unless the search domain was turned off, when every question is asked.
 */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { a, decode, soa, type WireMessage, wire } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const SEARCH = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']
const LABELS = ['a', 'com', 'com', 'prod', 'svc', 'shop']
const APEX = 'cluster.local'

/** A zone as RFC 1034 and 4592 have it, and one way in which servers get it wrong. */
interface Zone {
  /** Names with an A record; `*` as the first label is a wildcard. */
  hosts: string[]
  /** Zones below, with names of their own. */
  delegated: string[]
  ttl: number
  hasSoa: boolean
  /** Empty non-terminals are denied, as some servers do. */
  isBroken: boolean
  /** Names two labels or more below it are answered whatever they are (CoreDNS's plugin template). */
  template: string | null
}

const label = fc.constantFrom(...LABELS)
const nameBelow = (most: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(label, { minLength: 1, maxLength: most }), fc.constantFrom(...SEARCH))
    .map(([labels, domain]) => `${labels.join('.')}.${domain}`)
const zones: fc.Arbitrary<Zone> = fc.record({
  hosts: fc.array(
    fc.tuple(nameBelow(3), fc.boolean()).map(([name, isWildcard]) => (isWildcard ? `*.${name}` : name)),
    { maxLength: 6 },
  ),
  delegated: fc.array(nameBelow(2), { maxLength: 2 }),
  ttl: fc.integer({ min: 0, max: 60 }),
  hasSoa: fc.integer({ min: 0, max: 7 }).map((one) => one > 0),
  isBroken: fc.constant(false),
  template: fc.constant(null),
})

const isAtOrBelow = (name: string, other: string): boolean => name === other || name.endsWith(`.${other}`)

const isTwoBelow = (name: string, other: string): boolean =>
  name.endsWith(`.${other}`) && name.slice(0, -other.length - 1).includes('.')

/** The zone that a name is in: the deepest cut above or at it. */
function zoneOf(name: string, { delegated }: Zone): string {
  const cuts = delegated.filter((cut) => isAtOrBelow(name, cut))
  return cuts.toSorted((one, other) => other.length - one.length)[0] ?? APEX
}

/** What the zone says of a name: 'address', 'nodata' or 'nxdomain'. */
function truthOf(name: string, zone: Zone): 'address' | 'nodata' | 'nxdomain' {
  if (zone.template !== null && isTwoBelow(name, zone.template)) return 'address'
  const own = zoneOf(name, zone)
  const hosts = zone.hosts.filter((host) => zoneOf(host, zone) === own)
  if (hosts.includes(name)) return 'address'
  if (name === own) return 'nodata'
  const exists = (each: string): boolean =>
    each === own ||
    hosts.includes(each) ||
    (!zone.isBroken && [...hosts, ...zone.delegated].some((host) => isAtOrBelow(host, each)))
  if (exists(name)) return 'nodata'
  // RFC 4592 §3.3.1: the closest encloser decides which wildcard there is.
  let encloser = name
  while (!exists(encloser)) encloser = encloser.slice(encloser.indexOf('.') + 1)
  return hosts.includes(`*.${encloser}`) ? 'address' : 'nxdomain'
}

function replyOf(name: string, zone: Zone): WireMessage {
  const truth = truthOf(name, zone)
  if (truth === 'address') return { answers: [a(1, Math.max(1, zone.ttl))] }
  const authorities = zone.hasSoa ? [soa(zoneOf(name, zone), zone.ttl, zone.ttl)] : []
  return { flags: truth === 'nxdomain' ? 0x8183 : 0x8180, authorities }
}

interface Question {
  name: string
  waitSeconds: number
  /** The server answers all that it was asked, in this order: as it came, or the last first. */
  isReversed: boolean
  /** The server answers after this question; else the next one comes first. */
  isAnswered: boolean
}

const questions: fc.Arbitrary<Question[]> = fc.array(
  fc.record({
    name: nameBelow(4),
    waitSeconds: fc.constantFrom(0, 0, 1, 3, 12),
    isReversed: fc.boolean(),
    isAnswered: fc.integer({ min: 0, max: 3 }).map((one) => one > 0),
  }),
  { minLength: 1, maxLength: 40 },
)

/** Plays the questions; returns what each client got that is not what the zone says, and whether a domain was turned off. */
function play(zone: Zone, asked: readonly Question[]): { wrong: string[]; off: string[]; denials: number } {
  const byname = new EngineUnderTest({
    searchStorms: SEARCH.map(wire),
    // Expired at once: all that is answered without a server is a denial.
    cache: { maxTtlSeconds: 3600 },
  })
  const waiting: { name: string; asked: ReturnType<EngineUnderTest['ask']> }[] = []
  let answered = 0
  const serve = (isReversed: boolean): void => {
    // What is sent while replies come in is answered as well.
    while (answered < byname.outlet.queries.length) {
      const sent = byname.outlet.queries.slice(answered)
      answered += sent.length
      for (const query of isReversed ? sent.toReversed() : sent)
        byname.answer(replyOf(decode(query.bytes).questions[0]!.name.toLowerCase(), zone), query)
    }
  }
  for (const question of asked) {
    waiting.push({ name: question.name, asked: byname.ask(question.name) })
    if (question.isAnswered) serve(question.isReversed)
    byname.advance(question.isAnswered ? question.waitSeconds * 1000 : 1)
  }
  serve(false)
  const wrong = waiting.flatMap(({ name, asked: { reply } }) => {
    const truth = truthOf(name, zone)
    const isDenied = reply?.rcode === Rcode.NXDOMAIN
    const is = isDenied ? 'nxdomain' : reply?.answers.length === 0 ? 'nodata' : 'address'
    return reply === null || is !== truth ? [`${name}: ${is} instead of ${truth}`] : []
  })
  return { wrong, off: byname.stormsOff.map(([domain]) => domain), denials: byname.cell('stormDenials') }
}

test('over any zone with wildcards, delegations and empty non-terminals every client is told what the zone says', () => {
  let denials = 0
  fc.assert(
    fc.property(zones, questions, (zone, asked) => {
      const { wrong, denials: count } = play(zone, asked)
      denials += count
      expect(wrong).toEqual([])
    }),
    { numRuns: 300 },
  )
  // It would prove nothing if none had been denied here.
  expect(denials).toBeGreaterThan(100)
})

test('a template that answers all below a search domain, but not what is directly below, turns that domain off before anything is denied', () => {
  fc.assert(
    fc.property(zones, questions, fc.constantFrom(...SEARCH), (zone, asked, domain) => {
      const broken: Zone = { ...zone, ttl: 60, hasSoa: true, hosts: [], delegated: [], template: domain }
      const first: Question = { name: `a.com.${domain}`, waitSeconds: 0, isReversed: false, isAnswered: true }
      const { wrong, off } = play(broken, [first, ...asked])
      expect({ wrong, isOff: off.includes(`${domain}.`) }).toEqual({ wrong: [], isOff: true })
    }),
    { numRuns: 200 },
  )
})
