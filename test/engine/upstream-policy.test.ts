import { describe, expect, it } from 'vitest'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { askOnce, serversWith } from './servers.ts'

describe('the policy chooses the server', () => {
  it('random: all about equally often', () => {
    const byname = new EngineUnderTest(serversWith(3, 'random'))
    const counts = [0, 0, 0]
    for (let n = 0; n < 600; n++) counts[askOnce(byname, `n${n}.example`, () => 1)]!++
    for (const count of counts) expect(count).toBeGreaterThan(140)
  })

  it('sequential: the first, as long as it answers', () => {
    const byname = new EngineUnderTest(serversWith(3, 'sequential'))
    for (let n = 0; n < 20; n++) expect(askOnce(byname, `n${n}.example`, () => 1)).toBe(0)
  })

  it('sequential: the next in order when one fails', () => {
    const byname = new EngineUnderTest(serversWith(3, 'sequential'))
    byname.ask('example.org')
    byname.fail(2)
    byname.fail(2)
    expect(byname.serversAsked).toEqual([0, 1, 2])
  })

  it('fastest: nearly always the one with the least round trip, and now and then another', () => {
    const byname = new EngineUnderTest(serversWith(3, 'fastest'))
    const counts = [0, 0, 0]
    for (let n = 0; n < 1000; n++) counts[askOnce(byname, `n${n}.example`, (server) => [9, 3, 30][server]!)]!++
    expect(counts[1]).toBeGreaterThan(900)
    expect(counts[0]).toBeGreaterThan(5)
    expect(counts[2]).toBeGreaterThan(5)
  })

  it('fastest: follows when the fast one becomes slow', () => {
    const byname = new EngineUnderTest(serversWith(2, 'fastest'))
    for (let n = 0; n < 100; n++) askOnce(byname, `a${n}.example`, (server) => [3, 9][server]!)
    let late = 0
    for (let n = 0; n < 200; n++) if (askOnce(byname, `b${n}.example`, (server) => [40, 9][server]!) === 0) late++
    expect(late).toBeLessThan(30)
  })

  it('fastest: one that only refuses is not the fastest', () => {
    const byname = new EngineUnderTest(serversWith(2, 'fastest'))
    let refused = 0
    for (let n = 0; n < 100; n++) {
      const asked = byname.ask(`n${n}.example`)
      byname.advance(1)
      if (byname.lastQuery.server === 0) {
        refused++
        byname.fail(5)
      }
      byname.advance(5)
      byname.answer({ answers: [a(1)] })
      expect(asked.reply?.rcode).toBe(0)
    }
    expect(refused).toBeLessThan(20)
    expect(byname.upstream(0, 'healthy')).toBe(0)
  })
})
