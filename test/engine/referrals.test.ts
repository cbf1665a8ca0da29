/** Servers of zones in a resolver's place: what they say of where to ask is no answer (as glibc's resolver sees it). */
import { describe, expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { a, cname, opt, record, soa, wire, type WireMessage } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { serversWith } from './servers.ts'

const NAME = 'www.shop.example'
const ns = record(Type.NS, 86_400, wire('ns1.elsewhere'), 'example')
/** Neither AA nor RA. */
const PLAIN = 0x8100
const AA = 0x8500
const RA = 0x8180

const REFERRALS: [string, WireMessage][] = [
  ['to the zone’s servers', { flags: PLAIN, authorities: [ns] }],
  ['with their addresses', { flags: PLAIN, authorities: [ns], additionals: [a(9, 60, 'ns1.elsewhere'), opt()] }],
  ['up to the root', { flags: PLAIN, authorities: [record(Type.NS, 60, wire('a.root'), '.')] }],
  ['to servers of another zone', { flags: PLAIN, authorities: [record(Type.NS, 60, wire('ns.test'), 'test')] }],
  ['with no word at all', { flags: PLAIN }],
  ['with records of other names alone', { flags: PLAIN, answers: [a(1, 60, 'bank.example')], authorities: [ns] }],
  [
    'behind a CNAME of its own zone',
    { flags: AA, answers: [cname('x.cdn.test')], authorities: [record(Type.NS, 60, wire('ns.cdn.test'), 'cdn.test')] },
  ],
]

describe.each(REFERRALS)('a referral %s', (_, referral) => {
  test('leads to the next server, is not kept, and counts against the one that gave it', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let round = 0; round < 2; round++) {
      const asked = byname.ask(`${round}.${NAME}`)
      byname.answer({ ...referral, answers: referral.answers ?? [] })
      expect([asked.reply, byname.lastQuery.server]).toEqual([null, 1])
      byname.answer({ answers: [a(7)] })
      expect(asked.reply).toMatchObject({ rcode: Rcode.NOERROR, answers: [{ data: '192.0.2.7' }] })
    }
    expect(byname.upstream(0, 'failuresRefused')).toBe(2)
    expect(byname.cell('cacheEntries') <= 2).toBe(true)
  })

  test('is SERVFAIL where nobody knows more, never NODATA', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    byname.answer(referral)
    byname.answer(referral)
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, answers: [], authorities: [] })
    expect(asked.reply!.ede).toBe(Ede.NO_REACHABLE_AUTHORITY)
  })

  test('over TCP is none either', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8380 })
    byname.answerStream(referral)
    expect([asked.reply, byname.lastQuery.server]).toEqual([null, 1])
  })

  test('is an answer to a query without RD, which asks for no more', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.A, { flags: 0 })
    byname.answer(referral)
    expect(asked.reply?.rcode).toBe(Rcode.NOERROR)
  })
})

test.each<[string, WireMessage]>([
  ['of a resolver, with NS alone', { flags: RA, authorities: [ns] }],
  ['of a resolver, without a word', { flags: RA }],
  ['of a server of the zone', { flags: AA, authorities: [ns] }],
  ['with an SOA', { flags: PLAIN, authorities: [soa('example', 60, 60)] }],
  ['that the name does not exist', { flags: PLAIN | 3, authorities: [ns] }],
])('an answer that there is nothing stays one: %s', (_, parts) => {
  const byname = new EngineUnderTest()
  const asked = byname.ask(NAME)
  byname.answer(parts)
  expect([Rcode.NOERROR, Rcode.NXDOMAIN]).toContain(asked.reply?.rcode)
  expect(byname.outlet.queries).toHaveLength(1)
})
