/** Replies of a wrong id, question or address: counted, believed by nobody, and the wait goes on (RFC 5452 §9.1). */
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a } from '../dns/messages.ts'
import { type Asking, EngineUnderTest, randomNumbers, replyTo } from './engine-under-test.ts'
import type { SentQuery } from './fake-outlet.ts'
import { serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }

function changed(packet: Uint8Array, change: (packet: Uint8Array) => void): Uint8Array {
  const copy = packet.slice()
  change(copy)
  return copy
}

describe('a reply that does not fit', () => {
  it.each<
    [string, 'spoofedReply' | 'lateReply', (sent: SentQuery, reply: Uint8Array, byname: EngineUnderTest) => void]
  >([
    [
      'id',
      'spoofedReply',
      (sent, reply, byname) =>
        byname.datagram(
          sent.socket,
          changed(reply, (p) => (p[0]! ^= 1)),
        ),
    ],
    // The kernel lets a server's own address through to the socket that is connected to it, and no other.
    ['address and port', 'spoofedReply', (sent, reply, byname) => byname.datagram(sent.socket + 1, reply)],
    [
      'question’s name',
      'spoofedReply',
      (sent, reply, byname) =>
        byname.datagram(
          sent.socket,
          changed(reply, (p) => (p[13]! ^= 1)),
        ),
    ],
    [
      'question’s type',
      'spoofedReply',
      (sent, _, byname) => byname.answer({ ...ANSWER, questions: [[NAME, Type.AAAA]] }, sent),
    ],
    [
      'question’s class',
      'spoofedReply',
      (sent, _, byname) => byname.answer({ ...ANSWER, questions: [[NAME, Type.A, 3]] }, sent),
    ],
    ['opcode', 'spoofedReply', (sent, _, byname) => byname.answer({ ...ANSWER, flags: 0xa180 }, sent)],
    ['QR', 'spoofedReply', (sent, _, byname) => byname.answer({ ...ANSWER, flags: 0x0180 }, sent)],
    ['question, without an error', 'spoofedReply', (sent, _, byname) => byname.answer({ questions: [] }, sent)],
    ['header', 'spoofedReply', (sent, reply, byname) => byname.datagram(sent.socket, reply.slice(0, 11))],
  ])('in its %s is counted, and the wait goes on', (_, reason, send) => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    const asked = byname.ask(NAME)
    const sent = byname.lastQuery
    send(sent, replyTo(sent.bytes, ANSWER), byname)
    expect(asked.reply).toBeNull()
    expect(byname.dropped(reason)).toBe(1)
    expect(byname.serversAsked).toEqual([0])
    byname.answer(ANSWER, sent)
    expect(asked.reply!.answers.length).toBe(1)
  })

  it('comes a second time: the first one counted', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer(ANSWER)
    byname.answer({ answers: [a(66)] })
    expect(byname.dropped('lateReply')).toBe(1)
    expect(byname.ask(NAME).reply!.answers[0]!.data).toBe('192.0.2.1')
  })
})

describe('a server that only lies', () => {
  it('has not answered: the next one is asked after the attempt’s time', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    const asked = byname.ask(NAME)
    const lie = { answers: [a(66, 60, 'bank.example')], questions: [['bank.example', Type.A]] as [string, number][] }
    for (let n = 0; n < 4; n++) {
      byname.answer(lie, byname.outlet.queries[0])
      byname.advance(250)
    }
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answer(ANSWER)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
    expect(byname.dropped('spoofedReply')).toBe(4)
    expect(byname.ask('bank.example').reply).toBeNull()
  })

  it('and guesses ids blindly is not believed, right as the last guess may be: the question goes over TCP', () => {
    const byname = new EngineUnderTest(serversWith(1, 'random'))
    const asked = byname.ask(NAME)
    const { bytes, socket } = byname.lastQuery
    const random = randomNumbers(3)
    for (let n = 0; n < 2000; n++) {
      const forged = replyTo(bytes, { answers: [a(66)] })
      const id = (bytes[0]! << 8) | bytes[1]!
      const guess = random() & 0xffff
      if (guess === id) continue
      forged[0] = guess >> 8
      forged[1] = guess & 0xff
      byname.datagram(socket, forged)
    }
    expect(asked.reply).toBeNull()
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([1, 1])
    byname.answer({ answers: [a(66)] })
    byname.answerStream(ANSWER)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
  })
})

const GUESSES = 5
const otherId = (sent: SentQuery, byname: EngineUnderTest, n: number): void => {
  const forged = replyTo(sent.bytes, { answers: [a(66)] })
  forged[0] = forged[0]! ^ 0x55
  forged[1] = forged[1]! ^ (n + 1)
  byname.datagram(sent.socket, forged)
}
const otherQuestion = (sent: SentQuery, byname: EngineUnderTest): void =>
  byname.answer({ answers: [a(66)], questions: [['bank.example', Type.A]] }, sent)

describe('somebody who guesses at the reply to a question', () => {
  it.each<[string, Asking, (sent: SentQuery, byname: EngineUnderTest, n: number) => void]>([
    ['id', {}, otherId],
    ['id, where the client validates', { edns: { dnssecOk: true } }, otherId],
    ['id, where the client checks by itself', { flags: 0x0110 }, otherId],
    ['id, of a question without recursion', { flags: 0 }, otherId],
    ['question', {}, otherQuestion],
  ])('by another %s is not counted as late, and after a few guesses the question goes over TCP', (_, asking, guess) => {
    const byname = new EngineUnderTest()
    const asked = byname.ask('Forged.Example', Type.A, asking)
    const sent = byname.lastQuery
    for (let n = 0; n < GUESSES; n++) {
      expect([n, byname.outlet.streams.length]).toEqual([n, 0])
      guess(sent, byname, n)
    }
    expect([byname.dropped('lateReply'), byname.dropped('spoofedReply')]).toEqual([0, GUESSES])
    expect(byname.outlet.streams).toHaveLength(1)
    // What is guessed right now comes too late.
    byname.answer({ answers: [a(66)] }, sent)
    expect(asked.reply).toBeNull()
    byname.answerStream(ANSWER)
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
  })

  it('of a server without TCP: it is asked by datagrams again, from another socket under another id', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    const sent = byname.lastQuery
    for (let n = 0; n < GUESSES; n++) otherId(sent, byname, n)
    byname.failStream('refused')
    expect(byname.outlet.queries).toHaveLength(2)
    expect(byname.lastQuery.socket).not.toBe(sent.socket)
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it('for ever costs no more than eight messages', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    for (let n = 0; n < 200; n++) {
      otherId(byname.lastQuery, byname, n)
      if (byname.outlet.streams.length > 0 && n % 5 === 4)
        byname.failStream('refused', byname.outlet.streams.splice(0)[0])
    }
    expect(byname.outlet.queries.length).toBeLessThanOrEqual(8)
  })

  it('at another question, or another port, changes nothing', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    const sent = byname.lastQuery
    for (let n = 0; n < 20; n++) {
      const forged = replyTo(sent.bytes, { answers: [a(66)] })
      forged[1] = forged[1]! ^ (n + 1)
      byname.datagram(sent.socket + 1, forged)
    }
    expect([byname.dropped('lateReply'), byname.outlet.streams.length]).toEqual([20, 0])
  })
})
