import { describe, expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { Source } from '../../src/stats/counters.ts'
import { a, soa } from '../dns/messages.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'

/** With an answer for example.org in the cache whose 60 seconds are over. */
function withStale(): EngineUnderTest {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 }, attemptTimeoutMs: 1000, deadlineMs: 4500 })
  byname.ask('example.org')
  byname.answer({ answers: [a(1), a(2)] })
  byname.advance(60_000)
  return byname
}

const ask = (byname: EngineUnderTest): Asked => byname.ask('example.org', Type.A, { edns: {} })

/** Moves on in small steps, as drivers do. */
function pass(byname: EngineUnderTest, milliseconds: number): void {
  for (let left = milliseconds; left > 0; left -= 50) byname.advance(Math.min(50, left))
}

function expectStale(asked: Asked): void {
  expect(asked.reply).toMatchObject({ rcode: Rcode.NOERROR, ede: Ede.STALE_ANSWER })
  expect(asked.reply?.answers.map(({ ttl }) => ttl)).toEqual([30, 30])
}

describe('while the servers are silent', () => {
  test('those who wait get the stale answer after 1.8 s', () => {
    const byname = withStale()
    const first = ask(byname)
    pass(byname, 1000)
    const second = ask(byname)
    pass(byname, 750)
    expect([first.reply, second.reply]).toEqual([null, null])
    pass(byname, 50)
    expectStale(first)
    expectStale(second)
    expect([byname.responses(Source.stale), byname.cell('cacheHitsStale'), byname.waiting]).toEqual([2, 2, 0])
  })

  test('the engine says when it is to be called', () => {
    const byname = withStale()
    ask(byname)
    byname.advance(1000)
    expect(byname.engine.nextDue).toBe(byname.now + 800)
  })

  test('whoever asks after that gets it at once, and nobody new is asked for 30 s', () => {
    const byname = withStale()
    ask(byname)
    pass(byname, 1800)
    expectStale(ask(byname))
    pass(byname, 10_000)
    const asked = byname.outlet.queries.length
    pass(byname, 21_000)
    expectStale(ask(byname))
    expect(byname.outlet.queries).toHaveLength(asked)
    pass(byname, 6000)
    expect(ask(byname).reply).toBeNull()
    expect(byname.outlet.queries.length).toBeGreaterThan(asked)
  })

  test('the pending query goes on, and its answer is the fresh one', () => {
    const byname = withStale()
    expect(ask(byname).reply).toBeNull()
    pass(byname, 2500)
    byname.answer({ answers: [a(9)] })
    const { reply } = ask(byname)
    expect(reply).toMatchObject({ ede: null, answers: [{ data: '192.0.2.9', ttl: 60 }] })
    expect(byname.engine.isQuiet).toBe(true)
    expect(byname.engine.nextDue).toBe(Number.POSITIVE_INFINITY)
  })
})

test('a fresh answer that comes in time is the one given', () => {
  const byname = withStale()
  const asked = ask(byname)
  pass(byname, 500)
  byname.answer({ answers: [a(9)] })
  expect(asked.reply).toMatchObject({ ede: null, answers: [{ data: '192.0.2.9' }] })
  pass(byname, 5000)
  expect(byname.responses(Source.stale)).toBe(0)
})

test('when all servers have failed the stale answer comes at once, and stays for 30 s without asking', () => {
  const byname = withStale()
  const asked = ask(byname)
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  expectStale(asked)
  const sent = byname.outlet.queries.length
  pass(byname, 29_000)
  expectStale(ask(byname))
  expect(byname.outlet.queries).toHaveLength(sent)
  pass(byname, 1000)
  expect(ask(byname).reply).toBeNull()
})

test('an answer that is past staleSeconds is not served', () => {
  const byname = withStale()
  byname.advance(3_600_000)
  const asked = ask(byname)
  pass(byname, 1850)
  expect(asked.reply).toBeNull()
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  pass(byname, 3000)
  expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
})

test('a question that was never answered waits for its servers', () => {
  const byname = withStale()
  const asked = byname.ask('other.example')
  pass(byname, 2000)
  expect(asked.reply).toBeNull()
})

test('negative answers serve stale as well', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  byname.ask('example.org')
  byname.answer({ flags: 0x8183, authorities: [soa('org', 60, 60)] })
  byname.advance(60_000)
  const asked = ask(byname)
  pass(byname, 1800)
  expect(asked.reply).toMatchObject({ rcode: Rcode.NXDOMAIN, ede: Ede.STALE_NXDOMAIN, authorities: [{ ttl: 30 }] })
})

test('with staleSeconds 0 nothing is served stale', () => {
  const byname = new EngineUnderTest()
  byname.ask('example.org')
  byname.answer({ answers: [a(1)] })
  byname.advance(60_000)
  const asked = ask(byname)
  pass(byname, 2000)
  expect(asked.reply).toBeNull()
})

test('stale, then fresh: the question that the stale answer was given to brings the fresh one for all after it', () => {
  const byname = withStale()
  const asked = ask(byname)
  pass(byname, 1800)
  expectStale(asked)
  for (let n = 0; n < 10; n++) expectStale(ask(byname))
  expect(byname.outlet.queries).toHaveLength(2 + 1)
  byname.answer({ answers: [a(9)] })
  for (let n = 0; n < 10; n++) {
    expect(ask(byname).reply).toMatchObject({ ede: null, answers: [{ data: '192.0.2.9', ttl: 60 - n }] })
    byname.advance(1000)
  }
  expect([byname.responses(Source.stale), byname.cell('cacheHitsStale')]).toEqual([11, 11])
})

test('an answer stays stale as long as servers are down, and is fresh with the first question after they are well', () => {
  const byname = withStale()
  for (let minute = 0; minute < 50; minute++) {
    const asked = ask(byname)
    pass(byname, 2000)
    expectStale(asked)
    pass(byname, 58_000)
  }
  const asked = ask(byname)
  byname.answer({ answers: [a(9)] })
  expect(asked.reply).toMatchObject({ ede: null, answers: [{ data: '192.0.2.9' }] })
})
