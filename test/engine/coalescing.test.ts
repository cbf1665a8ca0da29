/** Equal questions in flight are one pending query, whose answer goes to all who wait: each in its own way, or not at all. */
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { a } from '../dns/messages.ts'
import { type Asking, EngineUnderTest } from './engine-under-test.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }

describe('equal questions in flight', () => {
  it('are one pending query; each client gets its own id, case, flags and limit', () => {
    const byname = new EngineUnderTest()
    const plain = byname.ask('example.org', Type.A, { id: 1 })
    const upper = byname.ask('EXAMPLE.ORG', Type.A, { id: 2, flags: 0x0120 })
    const edns = byname.ask('Example.Org', Type.A, { id: 3, edns: { payload: 4096 } })
    const tcp = byname.ask('example.ORG', Type.A, { id: 4, tcp: true })
    expect(byname.outlet.queries.length).toBe(1)
    expect(byname.cell('coalesced')).toBe(3)
    expect(byname.cell('inFlight')).toBe(1)
    byname.answer({ flags: 0x81a0, answers: Array.from({ length: 60 }, (_, k) => a(k)) })
    const all = [plain, upper, edns, tcp].map(({ reply }) => [
      reply!.id,
      reply!.questions[0]!.name,
      reply!.ad,
      reply!.tc,
    ])
    expect(all).toEqual([
      [1, 'example.org', false, true],
      [2, 'EXAMPLE.ORG', true, true],
      [3, 'Example.Org', false, false],
      [4, 'example.ORG', false, false],
    ])
    expect([plain.reply!.opt, edns.reply!.opt !== null]).toEqual([null, true])
    expect(byname.cell('inFlight')).toBe(0)
  })

  it('are told of a failure all together', () => {
    const byname = new EngineUnderTest()
    const asked = Array.from({ length: 5 }, (_, id) => byname.ask(NAME, Type.A, { id }))
    byname.advance(4500)
    for (let at = 0; at < 10; at++) byname.advance(1000)
    expect(asked.map(({ reply }) => [reply!.id, reply!.rcode])).toEqual([0, 1, 2, 3, 4].map((id) => [id, 2]))
    expect(byname.waiting).toBe(0)
  })

  it.each<[string, number, Asking]>([
    ['type', Type.AAAA, {}],
    ['DO', Type.A, { edns: { dnssecOk: true } }],
    ['CD', Type.A, { flags: 0x0110 }],
    ['RD', Type.A, { flags: 0 }],
  ])('are not those that differ in %s', (_, type, asking) => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    const other = byname.ask(NAME, type, asking)
    expect(byname.outlet.queries.length).toBe(2)
    byname.answer(ANSWER, byname.outlet.queries[0])
    expect(other.reply).toBeNull()
  })

  it.each([0, 3, 6])('one of seven whose client has gone (number %i) costs the others nothing', (gone) => {
    const byname = new EngineUnderTest()
    const asked = Array.from({ length: 7 }, (_, id) => {
      const one = byname.ask(NAME, Type.A, { id, tcp: true })
      if (id === gone) byname.outlet.gone.add(byname.outlet.lastHeld)
      return one
    })
    byname.answer(ANSWER)
    asked.forEach(({ reply }, id) => expect(reply?.answers.length).toBe(id === gone ? undefined : 1))
    expect([byname.waiting, byname.engine.forwarder.inFlight.waiters.held]).toEqual([0, 0])
  })

  it('one whose answer does not fit gets TC, the others all of it', () => {
    const byname = new EngineUnderTest()
    const payloads = [4096, 512, 4096]
    const asked = payloads.map((payload, id) => byname.ask(NAME, Type.A, { id, edns: { payload } }))
    byname.answer({ answers: Array.from({ length: 60 }, (_, k) => a(k)) })
    expect(asked.map(({ reply }) => reply!.tc)).toEqual([false, true, false])
    expect(asked.map(({ reply }) => reply!.answers.length === 60)).toEqual([true, false, true])
  })

  it('of a slow and popular name a fourth of all who may wait get the answer, and others still find a place', () => {
    const byname = new EngineUnderTest({ maxInFlight: 4096 })
    const asked = Array.from({ length: 2049 }, (_, id) => byname.ask(NAME, Type.A, { id }))
    expect(asked.map(({ reply }) => reply?.rcode ?? -1)).toEqual([...Array(2048).fill(-1), Rcode.SERVFAIL])
    const [popular] = byname.outlet.queries
    const other = byname.ask('other.example')
    byname.answer(ANSWER)
    expect(other.reply).toMatchObject({ rcode: Rcode.NOERROR })
    byname.answer(ANSWER, popular)
    expect(asked.filter(({ reply }) => reply!.rcode === Rcode.NOERROR)).toHaveLength(2048)
    expect([byname.outlet.queries.length, byname.dropped('waitersFull'), byname.waiting]).toEqual([2, 1, 0])
  })

  it('one too many gets SERVFAIL, the others their answer', () => {
    const byname = new EngineUnderTest({ maxInFlight: 600 })
    const asked = Array.from({ length: 514 }, (_, id) => byname.ask(NAME, Type.A, { id }))
    expect(asked.map(({ reply }) => reply?.rcode).filter((rcode) => rcode === 2)).toHaveLength(2)
    expect(byname.dropped('waitersFull')).toBe(2)
    byname.answer(ANSWER)
    expect(asked.filter(({ reply }) => reply!.rcode === 0)).toHaveLength(512)
    expect(byname.outlet.queries).toHaveLength(1)
  })

  it('the last ones to come wait no longer than the first: one deadline', () => {
    const byname = new EngineUnderTest()
    const first = byname.ask(NAME)
    for (let at = 0; at < 4400; at += 100) byname.advance(100)
    const last = byname.ask(NAME)
    byname.advance(100)
    expect([first.reply?.rcode, last.reply?.rcode]).toEqual([2, 2])
  })
})
