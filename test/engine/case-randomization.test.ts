import { expect, test } from 'vitest'
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

test.each([0x8180, 0x8182, 0x8183, 0x8380])(
  'a reply of another case is not believed, whatever it says (flags %i)',
  (flags) => {
    const byname = mixing()
    const asked = byname.ask(NAME)
    answerInSmallLetters(byname, flags)
    expect(asked.reply).toBeNull()
    expect(byname.dropped('spoofedReply')).toBe(1)
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([2, 0])
    expect(nameOf(byname.lastQuery.bytes)).toBe(NAME)
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
  },
)

test('a server that does not repeat the case is asked in small letters for an hour', () => {
  const byname = mixing({ servers: [server('one'), server('two')] })
  byname.ask(NAME)
  answerInSmallLetters(byname)
  byname.answer({ answers: [a(1)] })
  byname.ask(NAME, 28)
  expect(nameOf(byname.lastQuery.bytes)).toBe(NAME)
  byname.fail(Rcode.REFUSED)
  // The other one may keep it.
  expect([byname.lastQuery.server, nameOf(byname.lastQuery.bytes) === NAME]).toEqual([1, false])
  byname.advance(3_600_000)
  byname.ask(NAME, 16)
  expect(nameOf(byname.lastQuery.bytes)).not.toBe(NAME)
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
