/** A TTL of 0 is good for those who wait, and for nobody after them (RFC 1035 §3.2.1). */
import { expect, test } from 'vitest'
import { a, cname, soa, type WireMessage } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const NAME = 'example.org'

test.each<[string, WireMessage]>([
  ['an answer', { answers: [a(1, 0)] }],
  ['one record among others', { answers: [a(1, 60), a(2, 0), a(3, 60)] }],
  ['the CNAME before it', { answers: [cname('b.example', 0), a(1, 60, 'b.example')] }],
  ['an SOA’s TTL', { flags: 0x8183, authorities: [soa('org', 0, 60)] }],
  ['an SOA’s MINIMUM', { authorities: [soa('org', 60, 0)] }],
])('%s of TTL 0 is passed on as it is, and asked for each time', (_, parts) => {
  const byname = new EngineUnderTest()
  for (let round = 1; round <= 3; round++) {
    const asked = byname.ask(NAME)
    expect([asked.reply, byname.outlet.queries.length]).toEqual([null, round])
    byname.answer(parts)
    expect(asked.reply!.rcode).toBe((parts.flags ?? 0) & 15)
    const records = [...asked.reply!.answers, ...asked.reply!.authorities]
    expect(records.map(({ ttl }) => ttl)).toContain(0)
  }
  expect([byname.engine.cache!.entries, byname.cell('cacheHitsPositive')]).toEqual([0, 0])
})

test('all who asked while it was under way get it', () => {
  const byname = new EngineUnderTest()
  const asked = Array.from({ length: 20 }, (_, id) => byname.ask(NAME, 1, { id }))
  byname.answer({ answers: [a(1, 0)] })
  for (const { reply } of asked) expect(reply!.answers).toMatchObject([{ ttl: 0, data: '192.0.2.1' }])
  expect(byname.outlet.queries).toHaveLength(1)
})

test('it takes the place of nothing, and never serves stale', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 0)] })
  const asked = byname.ask(NAME)
  byname.fail(2)
  byname.fail(2)
  expect(asked.reply).toMatchObject({ rcode: 2, answers: [] })
})

test('a name that goes from a TTL to none is no longer served from before', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 0, prefetch: false } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 5)] })
  byname.advance(5000)
  byname.ask(NAME)
  byname.answer({ answers: [a(2, 0)] })
  const asked = byname.ask(NAME)
  expect(asked.reply).toBeNull()
  byname.answer({ answers: [a(3, 0)] })
  expect(asked.reply!.answers[0]!.data).toBe('192.0.2.3')
})
