import { describe, expect, it } from 'vitest'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { askOnce, pass, serversWith } from './servers.ts'

describe('a slow answer is hedged', () => {
  it.each(['random', 'fastest'] as const)('after 50 ms, to another server, under policy %s', (policy) => {
    const byname = new EngineUnderTest(serversWith(2, policy))
    const asked = byname.ask('example.org')
    pass(byname, 40)
    expect(byname.outlet.queries).toHaveLength(1)
    pass(byname, 20)
    expect(byname.outlet.queries).toHaveLength(2)
    expect(new Set(byname.serversAsked).size).toBe(2)
    byname.answer({ answers: [a(2)] })
    expect(asked.reply?.answers).toHaveLength(1)
  })

  it('the first server may still win', () => {
    const byname = new EngineUnderTest(serversWith(2, 'random'))
    const asked = byname.ask('example.org')
    pass(byname, 60)
    byname.answer({ answers: [a(1)] }, byname.outlet.queries[0])
    expect(asked.reply?.answers[0]?.data).toBe('192.0.2.1')
    expect(byname.cell('inFlight')).toBe(0)
  })

  it('after twice the usual round trip where that is longer', () => {
    const byname = new EngineUnderTest(serversWith(2, 'random'))
    for (let n = 0; n < 60; n++) askOnce(byname, `n${n}.example`, () => 45)
    byname.outlet.queries.length = 0
    byname.ask('example.org')
    pass(byname, 80)
    expect(byname.outlet.queries).toHaveLength(1)
    pass(byname, 20)
    expect(byname.outlet.queries).toHaveLength(2)
  })

  it.each([
    ['sequential', 2],
    ['parallel', 2],
    ['random', 1],
  ] as const)('not under policy %s with %i servers', (policy, count) => {
    const byname = new EngineUnderTest(serversWith(count, policy))
    byname.ask('example.org')
    pass(byname, 900)
    expect(byname.outlet.queries).toHaveLength(policy === 'parallel' ? 2 : 1)
  })

  it('once for a question', () => {
    const byname = new EngineUnderTest(serversWith(4, 'random'))
    byname.ask('example.org')
    pass(byname, 900)
    expect(byname.outlet.queries).toHaveLength(2)
  })

  it('not to a server that is down', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 2; n++) {
      byname.ask(`n${n}.example`)
      pass(byname, 1000)
      byname.answer({ answers: [a(1)] })
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
    byname.engine.configure({ ...byname.settings, routes: [{ ...byname.settings.routes[0]!, policy: 'random' }] })
    byname.outlet.queries.length = 0
    byname.ask('example.org')
    pass(byname, 500)
    expect(byname.serversAsked.filter((server) => server === 1)).toHaveLength(1)
    // Its probe, at the start.
    expect(byname.serversAsked.filter((server) => server === 0).length).toBeLessThanOrEqual(1)
  })

  it('for a tenth of the questions at most: a slow network is not doubled', () => {
    const byname = new EngineUnderTest(serversWith(2, 'random'))
    const questions = 1000
    for (let n = 0; n < questions; n++) {
      byname.ask(`n${n}.example`)
      pass(byname, n % 3 === 0 ? 300 : 1)
      for (const sent of byname.outlet.queries.splice(0)) byname.answer({ answers: [a(1)] }, sent)
    }
    const sent = byname.upstream(0, 'requestsUdp') + byname.upstream(1, 'requestsUdp')
    expect(sent - questions).toBeLessThanOrEqual(questions * 0.1 + 10)
    expect(sent - questions).toBeGreaterThan(50)
    expect(byname.cell('hedges')).toBe(sent - questions)
  })

  it('a dead server is found out although hedges answer for it', () => {
    const byname = new EngineUnderTest(serversWith(2, 'random'))
    for (let n = 0; n < 20; n++) {
      const from = byname.outlet.queries.length
      const asked = byname.ask(`n${n}.example`)
      for (let waited = 0; asked.reply === null && waited < 2000; waited += 20) {
        byname.advance(20)
        const sent = byname.outlet.queries.slice(from).find(({ server }) => server === 1)
        if (sent) byname.answer({ answers: [a(1)] }, sent)
      }
      expect(asked.reply?.rcode).toBe(0)
      pass(byname, 1000)
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
    expect(byname.upstream(1, 'healthy')).toBe(1)
  })
})
