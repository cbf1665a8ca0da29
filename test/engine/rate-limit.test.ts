import { describe, expect, test } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { RateLimit } from '../../src/engine/rate-limit.ts'
import { EngineUnderTest, settingsWith } from './engine-under-test.ts'

const v4 = (last: number): Uint8Array => Uint8Array.of(10, 0, last >> 8, last & 255)
const v6 = (network: number, host: number): Uint8Array =>
  Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host)

/** How many of `count` queries at once pass. */
function passed(limit: RateLimit, address: Uint8Array, now: number, count: number): number {
  let taken = 0
  for (let k = 0; k < count; k++) if (limit.take(address, 0, address.length, now)) taken++
  return taken
}

describe('the table of buckets', () => {
  test('lets a burst through, then so many a second, and fills up to the burst', () => {
    const limit = new RateLimit(10, 5, 1)
    expect(passed(limit, v4(1), 1000, 9)).toBe(5)
    expect(passed(limit, v4(1), 1099, 9)).toBe(0)
    expect(passed(limit, v4(1), 1300, 9)).toBe(3)
    expect(passed(limit, v4(1), 60_000, 9)).toBe(5)
  })

  test('does not starve a client that keeps asking too much', () => {
    const limit = new RateLimit(10, 1, 1)
    let taken = 0
    for (let now = 0; now < 10_000; now++) taken += passed(limit, v4(1), now, 1)
    expect(taken).toBeGreaterThanOrEqual(99)
    expect(taken).toBeLessThanOrEqual(101)
  })

  test('keeps clients apart, an IPv6 one by its /64', () => {
    const limit = new RateLimit(1, 2, 1)
    expect([passed(limit, v4(1), 0, 3), passed(limit, v4(2), 0, 3)]).toEqual([2, 2])
    expect([passed(limit, v6(1, 1), 0, 3), passed(limit, v6(1, 2), 0, 3), passed(limit, v6(2, 1), 0, 3)]).toEqual([
      2, 0, 2,
    ])
  })

  test('forgets some of very many clients, and none of those that ask still', () => {
    const limit = new RateLimit(1, 1, 7)
    let again = 0
    passed(limit, v4(0), 0, 1)
    for (let k = 1; k < 60_000; k++) {
      passed(limit, v4(k), k / 1e6, 1)
      again += passed(limit, v4(0), k / 1e6, 1)
    }
    expect(again).toBe(0)
    let forgotten = 0
    for (let k = 1; k < 1000; k++) forgotten += passed(limit, v4(k), 0.1, 1)
    expect(forgotten).toBeGreaterThan(500)
  })
})

describe('queries over the limit', () => {
  const rateLimit = { queriesPerSecond: 10, burst: 2 }

  test('by UDP are dropped and counted, and answered again later', () => {
    const byname = new EngineUnderTest({ rateLimit })
    const lengths = [1, 2, 3].map(() => byname.ask('localhost').length)
    expect(lengths.map((length) => length > 0)).toEqual([true, true, false])
    expect([byname.dropped('rateLimited'), byname.requests, byname.responses()]).toEqual([1, 3, 2])
    byname.advance(100)
    expect(byname.ask('localhost').reply?.rcode).toBe(Rcode.NOERROR)
  })

  test('count where they are larger than any buffer too', () => {
    const byname = new EngineUnderTest({ rateLimit })
    const packet = new Uint8Array(4096)
    const out = new Uint8Array(512)
    expect([1, 2, 3].map(() => byname.engine.cutQuery(packet, 0, out, 0) > 0)).toEqual([true, true, false])
    expect([byname.dropped('rateLimited'), byname.requests, byname.responses()]).toEqual([1, 3, 2])
  })

  test('by TCP are refused', () => {
    const byname = new EngineUnderTest({ rateLimit })
    for (let k = 0; k < 2; k++) byname.ask('localhost', 1, { tcp: true })
    expect(byname.ask('localhost', 1, { tcp: true }).reply?.rcode).toBe(Rcode.REFUSED)
    expect(byname.dropped('rateLimited')).toBe(1)
  })

  test('are none without a limit, which may come and go', () => {
    const byname = new EngineUnderTest()
    for (let k = 0; k < 200; k++) expect(byname.ask('localhost').reply).not.toBeNull()
    byname.engine.configure(settingsWith({ rateLimit }))
    expect([1, 2, 3].map(() => byname.ask('localhost').length > 0)).toEqual([true, true, false])
    // The same limit again leaves the buckets as they are.
    byname.engine.configure(settingsWith({ rateLimit: { ...rateLimit } }))
    expect(byname.ask('localhost').length).toBe(0)
    byname.engine.configure(settingsWith({ rateLimit: { queriesPerSecond: 0, burst: 2 } }))
    expect(byname.ask('localhost').reply?.rcode).toBe(Rcode.NOERROR)
  })
})
