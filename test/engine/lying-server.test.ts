/** Replies of a wrong id, question or address: counted, believed by nobody, and the wait goes on (RFC 5452 §9.1). */
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a } from '../dns/messages.ts'
import { EngineUnderTest, randomNumbers, replyTo } from './engine-under-test.ts'
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
      'lateReply',
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
    for (let n = 0; n < 10; n++) {
      byname.answer(lie, byname.outlet.queries[0])
      byname.advance(100)
    }
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answer(ANSWER)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
    expect(byname.dropped('spoofedReply')).toBe(10)
    expect(byname.ask('bank.example').reply).toBeNull()
  })

  it('and guesses ids blindly is told by nothing when it comes near', () => {
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
    expect(byname.outlet.queries).toHaveLength(1)
    byname.answer(ANSWER)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
  })
})
