import { describe, expect, test } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { a, decode } from '../dns/messages.ts'
import { EngineUnderTest, replyTo, server, type SettingsChange } from './engine-under-test.ts'

const NAME = 'a-name-with-enough-letters.example.org'

const mixing = (change: SettingsChange = {}): EngineUnderTest =>
  new EngineUnderTest({ caseRandomization: true, ...change })
const nameOf = (packet: Uint8Array): string => decode(packet).questions[0]!.name

/** A reply to the query sent last whose question is in small letters. */
function answerInSmallLetters(byname: EngineUnderTest, flags: number = 0x8180): void {
  const { bytes, socket } = byname.lastQuery
  const reply = replyTo(bytes, { flags, answers: [a(66)] })
  for (let i = 12; i < 12 + NAME.length; i++) if (reply[i]! >= 65 && reply[i]! <= 90) reply[i]! |= 0x20
  byname.datagram(socket, reply)
}

/** A question whose reply over UDP is in small letters, and whose answer comes over TCP. */
function lose(byname: EngineUnderTest, type: number): void {
  byname.ask(NAME, type)
  answerInSmallLetters(byname)
  byname.answerStream({})
}

test('servers are asked in a mixture of capitals and small letters, another one each time', () => {
  const byname = mixing()
  byname.ask(NAME)
  byname.ask(NAME, 28)
  const names = byname.outlet.queries.map(({ bytes }) => nameOf(bytes))
  expect(names.map((name) => name.toLowerCase())).toEqual([NAME, NAME])
  expect(new Set([...names, NAME]).size).toBe(3)
})

test('clients see the case they asked in, and the cache is one for all', () => {
  const byname = mixing()
  const asked = byname.ask(NAME.toUpperCase())
  byname.answer({ answers: [a(1)] })
  expect(asked.reply).toMatchObject({
    questions: [{ name: NAME.toUpperCase() }],
    answers: [{ name: NAME.toUpperCase() }],
  })
  expect(byname.ask(NAME).reply?.answers).toMatchObject([{ name: NAME, data: '192.0.2.1' }])
})

describe('a reply of another case', () => {
  test.each([0x8180, 0x8182, 0x8183, 0x8380])(
    'is not believed, whatever it says: the server is asked over TCP, which nobody forges (flags %i)',
    (flags) => {
      const byname = mixing()
      const asked = byname.ask(NAME)
      answerInSmallLetters(byname, flags)
      expect(asked.reply).toBeNull()
      expect(byname.dropped('spoofedReply')).toBe(1)
      expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([1, 1])
      byname.answerStream({ answers: [a(1)] })
      expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
    },
  )

  test('does not keep the true one from being the answer', () => {
    const byname = mixing()
    const asked = byname.ask(NAME)
    answerInSmallLetters(byname)
    byname.answer({ answers: [a(1)] }, byname.outlet.queries[0])
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
    expect(byname.engine.isQuiet).toBe(true)
  })

  test('many of them cause no more messages than one', () => {
    const byname = mixing()
    byname.ask(NAME)
    for (let n = 0; n < 100; n++) answerInSmallLetters(byname)
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([1, 1])
    expect(byname.dropped('spoofedReply')).toBe(100)
  })

  test('of a server without TCP: it is asked in small letters, for this question', () => {
    const byname = mixing()
    const asked = byname.ask(NAME)
    answerInSmallLetters(byname)
    byname.failStream('refused')
    expect([byname.outlet.queries.length, nameOf(byname.lastQuery.bytes)]).toEqual([2, NAME])
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
    byname.ask(NAME, 28)
    expect(nameOf(byname.lastQuery.bytes)).not.toBe(NAME)
  })

  test('of a server that is gone a moment later: another one is asked at once', () => {
    const byname = mixing({ servers: [server('one'), server('two')] })
    const asked = byname.ask(NAME)
    answerInSmallLetters(byname)
    byname.socketFailed(byname.lastQuery.socket)
    byname.failStream('network')
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toHaveLength(1)
  })

  test('is no failure of the server', () => {
    const byname = mixing()
    byname.ask(NAME)
    answerInSmallLetters(byname)
    byname.advance(900)
    byname.answerStream({ answers: [a(1)] })
    byname.advance(5000)
    expect([byname.upstream(0, 'failuresTimeout'), byname.upstream(0, 'healthy')]).toEqual([0, 1])
  })
})

describe('capitals are given up', () => {
  test('for an hour, for a server that does not repeat them in three questions in a row', () => {
    const byname = mixing({ servers: [server('one'), server('two')] })
    for (const type of [1, 2, 15]) {
      lose(byname, type)
      expect(nameOf(byname.outlet.queries.at(-1)!.bytes)).not.toBe(NAME)
    }
    byname.ask(NAME, 28)
    expect(nameOf(byname.lastQuery.bytes)).toBe(NAME)
    byname.fail(Rcode.REFUSED)
    // The other one may keep it.
    expect([byname.lastQuery.server, nameOf(byname.lastQuery.bytes) === NAME]).toEqual([1, false])
    byname.advance(3_600_000)
    byname.ask(NAME, 16)
    expect(nameOf(byname.lastQuery.bytes)).not.toBe(NAME)
  })

  test('even if names without letters, which show nothing, are asked in between', () => {
    const byname = mixing()
    for (const type of [1, 2, 15]) {
      lose(byname, type)
      byname.ask('1.2.3', type)
      byname.answer({})
    }
    byname.ask(NAME, 28)
    expect(nameOf(byname.lastQuery.bytes)).toBe(NAME)
  })

  test('not because of forged replies between true ones', () => {
    const byname = mixing()
    for (let n = 0; n < 50; n++) {
      byname.ask(NAME, 1000 + n)
      if (n % 3 === 2) byname.answer({})
      else lose(byname, 2000 + n)
      expect(nameOf(byname.lastQuery.bytes)).not.toBe(NAME)
    }
  })

  test('not because of a single question, however often a reply to it was wrong', () => {
    const byname = mixing()
    byname.ask(NAME)
    for (let n = 0; n < 20; n++) answerInSmallLetters(byname)
    byname.failStream('refused')
    byname.answer({ answers: [a(1)] })
    byname.ask(NAME, 28)
    expect(nameOf(byname.lastQuery.bytes)).not.toBe(NAME)
  })
})

test('probes are in small letters: nothing that comes of them is believed', () => {
  const byname = mixing({ servers: [server('one'), server('two')] })
  for (let n = 0; n < 2; n++) {
    byname.ask(`n${n}.example`)
    byname.advance(1000)
    byname.answer({ answers: [a(1)] })
  }
  expect(byname.upstream(0, 'healthy')).toBe(0)
  byname.advance(1000)
  byname.ask(NAME)
  const probe = byname.outlet.queries.findLast((sent) => sent.server === 0)!
  expect(nameOf(probe.bytes)).toBe(NAME)
  byname.answer({ answers: [a(1)] }, probe)
  expect(byname.upstream(0, 'healthy')).toBe(1)
})

test('a truncated reply is asked for over TCP in small letters: nobody forges a stream', () => {
  const byname = mixing()
  const asked = byname.ask(NAME)
  byname.answer({ flags: 0x8380 })
  expect(nameOf(byname.lastStream.bytes)).toBe(NAME)
  byname.answerStream({ answers: [a(1)] })
  expect(asked.reply?.answers).toHaveLength(1)
})

test('it is off unless asked for', () => {
  const byname = new EngineUnderTest()
  byname.ask(NAME)
  expect(nameOf(byname.lastQuery.bytes)).toBe(NAME)
  answerInSmallLetters(byname)
  expect(byname.dropped('spoofedReply')).toBe(0)
})
