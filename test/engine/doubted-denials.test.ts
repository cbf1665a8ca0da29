import { describe, expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { Source } from '../../src/stats/counters.ts'
import { a, soa } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, server } from './engine-under-test.ts'
import { pass } from './servers.ts'

const DENIAL = { flags: 0x8183, authorities: [soa('example', 60, 60)] }
const NODATA = { authorities: [soa('example', 60, 60)] }

function engineWith(servers: number, change: object = {}): EngineUnderTest {
  const labels = ['one', 'two', 'three'].slice(0, servers)
  return new EngineUnderTest({
    servers: labels.map((label) => server(label)),
    cache: { staleOnDenialSeconds: 300, staleSeconds: 3600, prefetch: false, ...change },
  })
}

/** Asks for a name and has it answered with an address for 30 s; then that has expired. */
function known(byname: EngineUnderTest): void {
  byname.ask('www.example')
  byname.answer({ answers: [a(1, 30)] })
  byname.advance(40_000)
}

const staleOf = ({ reply }: Asked): unknown => [reply?.rcode, reply?.answers.map(({ data, ttl }) => [data, ttl])]
const STALE = [Rcode.NOERROR, [['192.0.2.1', 30]]]

describe.each([
  ['NXDOMAIN', DENIAL],
  ['NODATA', NODATA],
])('%s of a name that was there a moment ago', (_, denial) => {
  test('is not believed: the second server is asked, and its answer counts', () => {
    const byname = engineWith(2)
    known(byname)
    const asked = byname.ask('www.example')
    byname.answer(denial)
    expect(asked.reply).toBeNull()
    expect(byname.serversAsked).toEqual([0, 0, 1])
    byname.answer({ answers: [a(2)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.2' }])
    expect(byname.cell('doubtedDenials')).toBe(1)
    expect(byname.ask('www.example').reply?.answers).toMatchObject([{ data: '192.0.2.2' }])
  })

  test('is believed once a second server says so', () => {
    const byname = engineWith(2)
    known(byname)
    const asked = byname.ask('www.example')
    byname.answer(denial)
    byname.answer(denial)
    expect([asked.reply?.rcode, asked.reply?.answers]).toEqual([denial === DENIAL ? Rcode.NXDOMAIN : Rcode.NOERROR, []])
    expect(byname.ask('www.example').reply?.answers).toEqual([])
  })

  test('gives way to the stale answer if the second server fails', () => {
    const byname = engineWith(2)
    known(byname)
    const asked = byname.ask('www.example', Type.A, { edns: {} })
    byname.answer(denial)
    byname.fail(Rcode.SERVFAIL)
    pass(byname, 5000)
    expect(staleOf(asked)).toEqual(STALE)
    expect(asked.reply?.opt?.options?.[0]?.data[1]).toBe(Ede.STALE_ANSWER)
    expect(byname.responses(Source.stale)).toBe(1)
  })

  test('with one server the stale answer is served, at once for a while, and until the time is over', () => {
    const byname = engineWith(1)
    known(byname)
    const asked = byname.ask('www.example')
    byname.answer(denial)
    expect(staleOf(asked)).toEqual(STALE)
    const { length } = byname.outlet.queries
    expect(staleOf(byname.ask('www.example'))).toEqual(STALE)
    expect(byname.outlet.queries).toHaveLength(length)
    byname.advance(261_000)
    const later = byname.ask('www.example')
    byname.answer(denial)
    expect(later.reply?.answers).toEqual([])
  })

  test('a refresh in the background takes nothing away', () => {
    const byname = engineWith(1, { prefetch: true })
    byname.ask('www.example')
    byname.answer({ answers: [a(1, 30)] })
    byname.advance(28_000)
    byname.ask('www.example')
    byname.answer(denial)
    expect(byname.ask('www.example').reply?.answers).toMatchObject([{ data: '192.0.2.1', ttl: 2 }])
  })

  test('is believed at once if that is off, and where nothing was known', () => {
    const off = engineWith(2, { staleOnDenialSeconds: 0 })
    known(off)
    const asked = off.ask('www.example')
    off.answer(denial)
    expect(asked.reply?.answers).toEqual([])
    const fresh = engineWith(2)
    const first = fresh.ask('www.example')
    fresh.answer(denial)
    expect(first.reply?.answers).toEqual([])
    expect(fresh.serversAsked).toEqual([0])
  })
})

test('a denial that was believed is renewed without a second server', () => {
  const byname = engineWith(2)
  known(byname)
  byname.ask('www.example')
  byname.answer(DENIAL)
  byname.answer(DENIAL)
  byname.advance(61_000)
  const asked = byname.ask('www.example')
  byname.answer(DENIAL)
  expect(asked.reply?.rcode).toBe(Rcode.NXDOMAIN)
})

test('the answer of before is forgotten when another type is denied: each type is for itself', () => {
  const byname = engineWith(1)
  known(byname)
  const asked = byname.ask('www.example', Type.AAAA)
  byname.answer(NODATA)
  expect(asked.reply?.answers).toEqual([])
})
