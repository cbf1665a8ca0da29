/** How long an answer is served: its least TTL, clamped; negative ones by their SOA (RFC 2308 §5). */
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { a, cname, soa, type WireMessage } from '../dns/messages.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

const NAME = 'example.org'

/** Seconds for which the answer is served, by asking at the last millisecond and at the first after. */
function lifetime(parts: WireMessage, cache: SettingsChange['cache'] = {}, most = 4000): number {
  const byname = new EngineUnderTest({ cache: { prefetch: false, ...cache } })
  byname.ask(NAME)
  byname.answer(parts)
  for (let second = 1; second <= most; second++) {
    byname.advance(999)
    if (byname.ask(NAME).reply === null) return second - 1
    byname.advance(1)
    if (byname.ask(NAME).reply === null) return second
  }
  return Number.POSITIVE_INFINITY
}

describe('an answer is served', () => {
  it.each<[string, number, WireMessage]>([
    ['for its TTL', 10, { answers: [a(1, 10)] }],
    ['for the least TTL of its records', 3, { answers: [cname('b.example', 60), a(1, 3, 'b.example')] }],
    ['for the TTL of what is kept of it', 60, { answers: [a(1, 60)], authorities: [soa('org', 4, 4)] }],
    ['NXDOMAIN: by the SOA’s MINIMUM', 20, { flags: 0x8183, authorities: [soa('org', 100, 20)] }],
    ['NXDOMAIN: by the SOA’s TTL', 15, { flags: 0x8183, authorities: [soa('org', 15, 100)] }],
    ['no data: by the SOA', 7, { authorities: [soa('org', 7, 9)] }],
    ['NXDOMAIN without an SOA: not at all', 0, { flags: 0x8183 }],
    ['a TTL with the top bit: not at all', 0, { answers: [a(1, 0x8000_0001)] }],
  ])('%s: %i s', (_, seconds, parts) => {
    expect(lifetime(parts)).toBe(seconds)
  })

  it.each<[string, number, WireMessage, SettingsChange['cache']]>([
    ['not beyond maxTtlSeconds', 8, { answers: [a(1, 600)] }, { maxTtlSeconds: 8 }],
    ['not beyond maxNegativeTtlSeconds', 6, { authorities: [soa('org', 90, 90)] }, { maxNegativeTtlSeconds: 6 }],
    ['at least for minTtlSeconds', 12, { answers: [a(1, 2)] }, { minTtlSeconds: 12 }],
    ['not at all where its TTL is 0, whatever the least is', 0, { answers: [a(1, 0)] }, { minTtlSeconds: 12 }],
  ])('%s: %i s', (_, seconds, parts, cache) => {
    expect(lifetime(parts, cache)).toBe(seconds)
  })
})

it('TTLs count down to the end, second by second', () => {
  const byname = new EngineUnderTest({ cache: { prefetch: false } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 5)] })
  const shown = [5, 4, 3, 2, 1]
  for (const ttl of shown) {
    expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(ttl)
    byname.advance(1000)
  }
  expect(byname.ask(NAME).reply).toBeNull()
})

it('what has expired is asked for anew, and the new answer takes its place', () => {
  const byname = new EngineUnderTest({ cache: { prefetch: false } })
  for (let round = 1; round <= 3; round++) {
    const asked = byname.ask(NAME)
    expect([asked.reply, byname.outlet.queries.length]).toEqual([null, round])
    byname.answer({ answers: [a(round, 10)] })
    expect(asked.reply!.answers[0]!.data).toBe(`192.0.2.${round}`)
    byname.advance(9999)
    expect(byname.ask(NAME).reply!.answers).toMatchObject([{ data: `192.0.2.${round}`, ttl: 1 }])
    byname.advance(1)
  }
  expect(byname.engine.cache!.entries).toBe(1)
})

it('each question expires by itself', () => {
  const byname = new EngineUnderTest({ cache: { prefetch: false } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 10)] })
  byname.ask('no.example')
  byname.answer({ flags: 0x8183, authorities: [soa('example', 100, 20)] })
  byname.ask(NAME, Type.MX)
  byname.answer({ authorities: [soa('org', 15, 15)] })
  byname.advance(10_000)
  expect(byname.ask(NAME).reply).toBeNull()
  expect(byname.ask(NAME, Type.MX).reply).toMatchObject({ rcode: Rcode.NOERROR, authorities: [{ ttl: 5 }] })
  byname.advance(9999)
  expect(byname.ask('no.example').reply).toMatchObject({ rcode: Rcode.NXDOMAIN, authorities: [{ ttl: 1 }] })
  byname.advance(1)
  expect(byname.ask('no.example').reply).toBeNull()
})
