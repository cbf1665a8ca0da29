/** A TTL of 0 is good for those who wait, and for nobody after them (RFC 1035 §3.2.1). */
import { describe, expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { a, cname, soa, type WireMessage } from '../dns/messages.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'
import { pass } from './servers.ts'

const NAME = 'example.org'

const ask = (byname: EngineUnderTest): Asked => byname.ask(NAME, Type.A, { edns: {} })

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

/** With an expired answer for the name that was given after 1.8 s, and would be at once for 30 s more. */
function withStale(): EngineUnderTest {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  ask(byname)
  byname.answer({ answers: [a(1)] })
  byname.advance(60_000)
  const asked = ask(byname)
  pass(byname, 1800)
  expect(asked.reply).toMatchObject({ ede: Ede.STALE_ANSWER, answers: [{ data: '192.0.2.1' }] })
  return byname
}

describe('after a stale answer was given for want of one in time', () => {
  test.each<[string, WireMessage]>([
    ['TTL 0', { answers: [a(2, 0)] }],
    ['no records and no SOA', {}],
    ['no such name and no SOA', { flags: 0x8183 }],
  ])('one with %s ends it: the next question is asked, and what was before never comes back', (_, parts) => {
    const byname = withStale()
    byname.answer(parts)
    expect(byname.engine.cache!.entries).toBe(0)
    const next = ask(byname)
    expect(next.reply).toBeNull()
    byname.answer(parts)
    expect(next.reply).toMatchObject({ rcode: (parts.flags ?? 0) & 15, ede: null })
    const last = ask(byname)
    pass(byname, 5000)
    expect(last.reply).toMatchObject({ rcode: Rcode.SERVFAIL, answers: [] })
  })

  test('one to a question without RD, and an rcode that says nothing of the name, leave it', () => {
    const byname = withStale()
    byname.answer({ flags: 0x8189 })
    expect(ask(byname).reply).toMatchObject({ ede: Ede.STALE_ANSWER })
    const direct = byname.ask(NAME, Type.A, { flags: 0 })
    byname.answer({ answers: [a(2, 0)] })
    expect(direct.reply).toMatchObject({ answers: [{ data: '192.0.2.2' }] })
    expect(ask(byname).reply).toMatchObject({ ede: Ede.STALE_ANSWER })
  })
})

test('a refresh ahead of time that may not be kept ends the answer before it', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 60)] })
  byname.advance(55_000)
  expect(byname.ask(NAME).reply).toMatchObject({ answers: [{ data: '192.0.2.1' }] })
  byname.answer({ answers: [a(2, 0)] })
  expect(byname.ask(NAME).reply).toBeNull()
})
