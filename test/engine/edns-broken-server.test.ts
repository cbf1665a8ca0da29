/** Servers that do not understand an OPT (RFC 6891 §7): asked without, and remembered. */
import { describe, expect, it } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { a, decode, opt } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }
const REMEMBERED_MS = 900_000

const withTwo = (): EngineUnderTest => new EngineUnderTest(serversWith(2, 'sequential'))
const hasOpt = (byname: EngineUnderTest): boolean => decode(byname.lastQuery.bytes).opt !== null

/** A question that the server answers only without an OPT. */
function lose(byname: EngineUnderTest, name: string): void {
  const asked = byname.ask(name)
  expect(hasOpt(byname)).toBe(true)
  byname.fail(Rcode.FORMERR)
  expect(hasOpt(byname)).toBe(false)
  byname.answer(ANSWER)
  expect(asked.reply!.rcode).toBe(0)
}

/** With server 0 known not to understand an OPT. */
function withBroken(): EngineUnderTest {
  const byname = withTwo()
  for (const name of ['a.example', 'b.example', 'c.example']) lose(byname, name)
  return byname
}

describe('a server that does not understand EDNS', () => {
  it.each([Rcode.FORMERR, Rcode.NOTIMP])('and says so by rcode %i is asked without, for this question', (rcode) => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.fail(rcode)
    expect([byname.serversAsked, hasOpt(byname)]).toEqual([[0, 0], false])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
    byname.ask('other.example')
    expect(hasOpt(byname)).toBe(true)
  })

  it('and says so by a bare header is asked without', () => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8181, questions: [] })
    expect([byname.serversAsked, hasOpt(byname)]).toEqual([[0, 0], false])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('and says so by BADVERS is asked without', () => {
    const byname = withTwo()
    byname.ask(NAME)
    byname.answer({ additionals: [opt({ rcode: 1 })] })
    expect([byname.serversAsked, hasOpt(byname)]).toEqual([[0, 0], false])
  })

  it('stays without it over TCP, where the answer is cut off', () => {
    const byname = withTwo()
    byname.ask(NAME)
    byname.fail(Rcode.FORMERR)
    byname.answer({ flags: 0x8380 })
    expect(decode(byname.lastStream.bytes).opt).toBeNull()
  })

  it('and answers three questions in a row only without is asked without from then on', () => {
    const byname = withBroken()
    byname.ask(NAME)
    expect([byname.serversAsked, hasOpt(byname)]).toEqual([[0, 0, 0, 0, 0, 0, 0], false])
  })

  it('and says of a name that there is none: that is an answer as well', () => {
    const byname = withTwo()
    for (const name of ['a.example', 'b.example', 'c.example']) {
      byname.ask(name)
      byname.fail(Rcode.FORMERR)
      byname.fail(Rcode.NXDOMAIN)
    }
    byname.ask(NAME)
    expect(hasOpt(byname)).toBe(false)
  })

  it('is tried with it again after a quarter of an hour; nothing new, and one question is enough', () => {
    const byname = withBroken()
    pass(byname, REMEMBERED_MS - 1, 10_000)
    byname.ask('d.example')
    expect(hasOpt(byname)).toBe(false)
    byname.answer(ANSWER)
    byname.advance(1)
    lose(byname, 'e.example')
    byname.ask('f.example')
    expect(hasOpt(byname)).toBe(false)
  })

  it('its clients get an OPT all the same, and no DNSSEC', () => {
    const byname = withTwo()
    const asked = byname.ask(NAME, 1, { edns: { dnssecOk: true } })
    byname.fail(Rcode.FORMERR)
    byname.answer(ANSWER)
    expect(asked.reply!.opt).toMatchObject({ udpPayloadSize: 4096, flag_do: true })
    expect(asked.reply!.answers).toHaveLength(1)
  })

  it('is remembered alone: others go on getting an OPT', () => {
    const byname = withBroken()
    byname.ask(NAME)
    byname.fail(Rcode.SERVFAIL)
    expect([byname.lastQuery.server, hasOpt(byname)]).toEqual([1, true])
  })

  it('is not thought worse of', () => {
    const byname = withTwo()
    for (let n = 0; n < 6; n++) {
      byname.ask(`n${n}.example`)
      if (hasOpt(byname)) byname.fail(Rcode.FORMERR)
      byname.answer(ANSWER)
    }
    expect([byname.upstream(0, 'healthy'), byname.upstream(0, 'failuresFormerr')]).toEqual([1, 3])
  })

  it('and was down is found well again: after a probe with an OPT comes one without', () => {
    const byname = withTwo()
    for (const name of ['a.example', 'b.example']) {
      byname.ask(name)
      byname.advance(1000)
      byname.answer(ANSWER)
    }
    for (const isWithOpt of [true, false]) {
      expect(byname.upstream(0, 'healthy')).toBe(0)
      byname.advance(2000)
      byname.ask(`${isWithOpt}.example`)
      const [question, probe] = byname.outlet.queries.slice(-2)
      expect([probe!.server, decode(probe!.bytes).opt !== null]).toEqual([0, isWithOpt])
      if (isWithOpt) byname.fail(Rcode.FORMERR, probe)
      else byname.answer(ANSWER, probe)
      byname.answer(ANSWER, question)
    }
    expect(byname.upstream(0, 'healthy')).toBe(1)
    // For its questions that proves nothing.
    byname.ask(NAME)
    expect([byname.lastQuery.server, hasOpt(byname)]).toEqual([0, true])
  })
})

describe('EDNS was not the reason, if the server', () => {
  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['fails without it as well', (byname) => byname.fail(Rcode.FORMERR)],
    ['says SERVFAIL without it', (byname) => byname.fail(Rcode.SERVFAIL)],
    ['says nothing without it', (byname) => byname.advance(1000)],
    ['is not there without it', (byname) => byname.socketFailed(byname.lastQuery.socket)],
  ])('%s: the next one is asked, and this one with EDNS the next time', (_, then) => {
    const byname = withTwo()
    for (let n = 0; n < 5; n++) {
      const asked = byname.ask(`n${n}.example`)
      const { length } = byname.outlet.queries
      byname.fail(Rcode.FORMERR)
      then(byname)
      expect(byname.serversAsked.slice(length)).toEqual([0, 1])
      byname.answer(ANSWER)
      expect(asked.reply!.rcode).toBe(0)
      // So that it stays in its turn.
      byname.ask(`m${n}.example`)
      expect([byname.lastQuery.server, hasOpt(byname)]).toEqual([0, true])
      byname.answer({ ...ANSWER, additionals: [opt()] })
    }
  })

  it('answers with it in between: the complaints were forged', () => {
    const byname = withTwo()
    for (let n = 0; n < 5; n++) {
      lose(byname, `a${n}.example`)
      lose(byname, `b${n}.example`)
      byname.ask(`c${n}.example`)
      expect(hasOpt(byname)).toBe(true)
      byname.answer(ANSWER)
    }
  })

  it('complains of a question that nobody waits for any more', () => {
    const byname = new EngineUnderTest(serversWith(2, 'parallel'))
    for (let n = 0; n < 5; n++) {
      byname.ask(`n${n}.example`)
      const [first, second] = byname.outlet.queries.slice(-2)
      expect([first, second].every((sent) => decode(sent!.bytes).opt !== null)).toBe(true)
      byname.answer(ANSWER, first)
      byname.fail(Rcode.FORMERR, second)
      // Twice, once without a question.
      byname.answer({ flags: 0x8181, questions: [] }, second)
    }
  })
})
