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

describe('a server that does not understand EDNS', () => {
  it.each([Rcode.FORMERR, Rcode.NOTIMP])('and says so by rcode %i is asked without, and stays so', (rcode) => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.fail(rcode)
    expect(byname.serversAsked).toEqual([0, 0])
    expect(hasOpt(byname)).toBe(false)
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
    byname.ask('other.example')
    expect(hasOpt(byname)).toBe(false)
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

  it('but fails without it as well: the next one is asked, and EDNS was not the reason', () => {
    const byname = withTwo()
    byname.ask(NAME)
    byname.fail(Rcode.FORMERR)
    byname.fail(Rcode.FORMERR)
    expect(byname.serversAsked).toEqual([0, 0, 1])
    byname.answer(ANSWER)
    byname.ask('other.example')
    expect(hasOpt(byname)).toBe(true)
  })

  it('is tried with it again after a quarter of an hour: it may have been replaced', () => {
    const byname = withTwo()
    byname.ask(NAME)
    byname.fail(Rcode.FORMERR)
    byname.answer(ANSWER)
    pass(byname, REMEMBERED_MS - 1, 10_000)
    byname.ask('a.example')
    expect(hasOpt(byname)).toBe(false)
    byname.answer(ANSWER)
    byname.advance(1)
    byname.ask('b.example')
    expect(hasOpt(byname)).toBe(true)
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
    const byname = withTwo()
    byname.ask(NAME)
    byname.fail(Rcode.FORMERR)
    byname.fail(Rcode.SERVFAIL)
    expect([byname.lastQuery.server, hasOpt(byname)]).toEqual([1, true])
  })

  it('is not thought worse of', () => {
    const byname = withTwo()
    for (let n = 0; n < 5; n++) {
      byname.ask(`n${n}.example`)
      if (hasOpt(byname)) byname.fail(Rcode.FORMERR)
      byname.answer(ANSWER)
    }
    expect([byname.upstream(0, 'healthy'), byname.upstream(0, 'failuresFormerr')]).toEqual([1, 1])
  })
})
