/** A server that answers, but slowly: hedged to another one where there is one, waited for where there is none. */
import { describe, expect, it } from 'vitest'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { askOnce, pass, serversWith } from './servers.ts'

const NAME = 'example.org'

describe('a server that answers slowly', () => {
  it('alone, within the attempt’s time: one question, and its answer is the answer', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    pass(byname, 900)
    byname.answer({ answers: [a(1)] })
    expect([asked.reply!.rcode, byname.outlet.queries.length]).toEqual([0, 1])
    expect(byname.upstream(0, 'rttSeconds')).toBeCloseTo(0.9)
  })

  it('alone, beyond the attempt’s time: asked again, and the first answer counts, by whichever message it came', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    pass(byname, 1500)
    const [first, second] = byname.outlet.queries
    byname.answer({ answers: [a(1)] }, first)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
    byname.answer({ answers: [a(2)] }, second)
    expect(byname.ask(NAME).reply!.answers[0]!.data).toBe('192.0.2.1')
  })

  it('beyond the deadline: SERVFAIL, and what comes then is late', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    pass(byname, 4600)
    expect(asked.reply!.rcode).toBe(2)
    byname.answer({ answers: [a(1)] })
    expect(byname.dropped('lateReply')).toBe(1)
  })

  it('is believed to be well: slow is not dead', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 20; n++) expect(askOnce(byname, `n${n}.example`, () => 950)).toBe(0)
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })

  it('and one that has timed out again and again but answers late is asked last, and comes back when it is quick', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 2; n++) {
      byname.ask(`n${n}.example`)
      const slow = byname.lastQuery
      pass(byname, 1010)
      byname.answer({ answers: [a(1)] })
      byname.answer({ answers: [a(2)] }, slow)
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
    pass(byname, 1000)
    byname.ask('probe.example')
    const probe = byname.outlet.queries.findLast(({ server }) => server === 0)!
    byname.answer({ answers: [a(1)] }, probe)
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })

  it.each(['random', 'fastest'] as const)('beside a quick one costs its clients 50 ms at most, under %s', (policy) => {
    const byname = new EngineUnderTest(serversWith(2, policy))
    const waits: number[] = []
    for (let n = 0; n < 40; n++) {
      const from = byname.outlet.queries.length
      const asked = byname.ask(`n${n}.example`)
      const startedAt = byname.now
      while (asked.reply === null) {
        byname.advance(5)
        const quick = byname.outlet.queries.slice(from).find(({ server }) => server === 1)
        if (quick !== undefined) byname.answer({ answers: [a(1)] }, quick)
      }
      waits.push(byname.now - startedAt)
      pass(byname, 300)
    }
    expect(Math.max(...waits)).toBeLessThanOrEqual(60)
  })

  it('under policy fastest is hardly asked any more', () => {
    const byname = new EngineUnderTest(serversWith(2, 'fastest'))
    let slow = 0
    for (let n = 0; n < 200; n++) if (askOnce(byname, `n${n}.example`, (server) => [400, 5][server]!) === 0) slow++
    expect(slow).toBeLessThan(30)
  })
})
