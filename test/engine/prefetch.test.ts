/** Answers in the last tenth of their life are refreshed while they are served: once, and nobody waits for it. */
import { describe, expect, it } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { pass } from './servers.ts'

const NAME = 'example.org'

/** An answer of 100 s whose last tenth has just begun. */
function aged(prefetch: boolean): EngineUnderTest {
  const byname = new EngineUnderTest({ cache: { prefetch } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 100)] })
  byname.advance(89_999)
  expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(11)
  expect(byname.outlet.queries.length).toBe(1)
  byname.advance(1)
  return byname
}

describe('prefetch', () => {
  it('refreshes a hit in the last tenth of its life, once', () => {
    const byname = aged(true)
    for (let k = 0; k < 3; k++) expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(10)
    expect([byname.outlet.queries.length, byname.cell('cachePrefetches')]).toEqual([2, 1])
    byname.answer({ answers: [a(2, 100)] })
    expect(byname.ask(NAME).reply!.answers).toMatchObject([{ ttl: 100, data: '192.0.2.2' }])
    expect(byname.engine.isQuiet).toBe(true)
  })

  it('of a name that everybody asks for is one question to the server a life', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer({ answers: [a(0, 100)] })
    for (let life = 1; life <= 5; life++) {
      // Hundreds of hits while the server has not answered yet.
      for (let hits = 0; hits < 300; byname.advance(hits === 0 ? 50 : 1)) {
        expect(byname.ask(NAME).reply!.rcode).toBe(0)
        if (byname.outlet.queries.length > life) hits++
      }
      expect(byname.outlet.queries).toHaveLength(1 + life)
      byname.answer({ answers: [a(life, 100)] })
      expect(byname.ask(NAME).reply!.answers[0]!.data).toBe(`192.0.2.${life}`)
    }
    expect(byname.cell('cachePrefetches')).toBe(5)
  })

  it('that failed is not tried again, and does no harm to the answer there is', () => {
    const byname = aged(true)
    byname.ask(NAME)
    byname.fail(Rcode.SERVFAIL)
    byname.fail(Rcode.SERVFAIL)
    const { length } = byname.outlet.queries
    for (let n = 0; n < 90; n++) {
      byname.advance(100)
      expect(byname.ask(NAME).reply).toMatchObject({ rcode: 0, answers: [{ data: '192.0.2.1' }] })
    }
    expect(byname.outlet.queries.length).toBe(length)
  })

  it('that nobody answers ends with its deadline', () => {
    const byname = aged(true)
    byname.ask(NAME)
    pass(byname, 4500, 100)
    const { length } = byname.outlet.queries
    expect(byname.ask(NAME).reply!.rcode).toBe(0)
    expect([byname.outlet.queries.length, byname.engine.isQuiet]).toEqual([length, true])
  })

  it('lets a client join that asks when the answer has expired', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer({ answers: [a(1, 10)] })
    byname.advance(9000)
    expect(byname.ask(NAME).reply).not.toBeNull()
    byname.advance(1000)
    const asked = byname.ask(NAME)
    expect(asked.reply).toBeNull()
    byname.answer({ answers: [a(2)] }, byname.outlet.queries[1])
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.2')
    expect(byname.cell('coalesced')).toBe(1)
  })

  it('is not made when it is off', () => {
    const byname = aged(false)
    byname.ask(NAME)
    expect(byname.outlet.queries.length).toBe(1)
  })
})
