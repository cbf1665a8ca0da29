import { describe, expect, it } from 'vitest'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

describe('policy parallel', () => {
  it('asks three servers at once and takes the first answer', () => {
    const byname = new EngineUnderTest(serversWith(5, 'parallel'))
    const asked = byname.ask('example.org')
    expect(new Set(byname.serversAsked).size).toBe(3)
    expect(byname.outlet.queries).toHaveLength(3)
    byname.advance(5)
    byname.answer({ answers: [a(7)] }, byname.outlet.queries[1])
    expect(asked.reply?.answers[0]?.data).toBe('192.0.2.7')
    expect(byname.cell('inFlight')).toBe(0)
  })

  it('two servers are asked once each', () => {
    const byname = new EngineUnderTest(serversWith(2, 'parallel'))
    byname.ask('example.org')
    expect(byname.serversAsked.toSorted((x, y) => x - y)).toEqual([0, 1])
  })

  it.each([2, 5])('rcode %i does not end it while others are out', (rcode) => {
    const byname = new EngineUnderTest(serversWith(3, 'parallel'))
    const asked = byname.ask('example.org')
    const [first, second, third] = byname.outlet.queries
    byname.fail(rcode, first)
    byname.fail(rcode, second)
    expect(asked.reply).toBeNull()
    expect(byname.outlet.queries).toHaveLength(3)
    byname.answer({ answers: [a(3)] }, third)
    expect(asked.reply?.rcode).toBe(0)
  })

  it('the answers that come too late tell how their servers do, and nothing else', () => {
    const byname = new EngineUnderTest(serversWith(3, 'parallel'))
    byname.ask('example.org')
    const [first, second, third] = byname.outlet.queries
    byname.advance(2)
    byname.answer({ answers: [a(1)] }, first)
    byname.advance(28)
    byname.answer({ answers: [a(2)] }, second)
    expect(byname.upstream(second!.server, 'rttSeconds')).toBeCloseTo(0.03)
    expect(byname.upstream(third!.server, 'failuresTimeout')).toBe(0)
    pass(byname, 1000)
    expect(byname.upstream(third!.server, 'failuresTimeout')).toBe(1)
    expect(byname.drops).toBe(0)
    expect(byname.ask('example.org').reply?.answers[0]?.data).toBe('192.0.2.1')
  })

  it('an equal question that comes while the losers are awaited is asked anew', () => {
    const byname = new EngineUnderTest(serversWith(2, 'parallel'))
    byname.ask('example.org')
    byname.answer({ answers: [a(1, 0)] }, byname.outlet.queries[0])
    const again = byname.ask('example.org')
    expect(byname.outlet.queries).toHaveLength(4)
    byname.answer({ answers: [a(2, 0)] }, byname.outlet.queries[3])
    expect(again.reply?.answers[0]?.data).toBe('192.0.2.2')
  })

  it('a server that never answers is found out and asked no more beside the others', () => {
    const byname = new EngineUnderTest(serversWith(3, 'parallel'))
    for (let n = 0; n < 3; n++) {
      const from = byname.outlet.queries.length
      byname.ask(`n${n}.example`)
      for (const sent of byname.outlet.queries.slice(from))
        if (sent.server !== 1) byname.answer({ answers: [a(1)] }, sent)
      pass(byname, 1100)
    }
    expect(byname.upstream(1, 'healthy')).toBe(0)
    byname.outlet.queries.length = 0
    byname.ask('last.example')
    // The third is its probe at most.
    expect(byname.serversAsked.slice(0, 2).toSorted((x, y) => x - y)).toEqual([0, 2])
  })

  it('after all have failed it goes on to the next ones, within the bound', () => {
    const byname = new EngineUnderTest(serversWith(6, 'parallel'))
    const asked = byname.ask('example.org')
    for (let done = 0; done < byname.outlet.queries.length; done++) byname.fail(2, byname.outlet.queries[done])
    expect(asked.reply?.rcode).toBe(2)
    expect(byname.outlet.queries).toHaveLength(8)
    expect(new Set(byname.serversAsked.slice(0, 6)).size).toBe(6)
  })
})
