/** Answers that servers cut off: asked for again over TCP, and passed on as they are only where nobody has the whole. */
import { describe, expect, it } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { a, bytes, cname, decode, message, opt, record, wire, type WireMessage } from '../dns/messages.ts'
import { EngineUnderTest, replyTo, server } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }
const CUT: WireMessage = { flags: 0x8380 }
const HALF: WireMessage = { flags: 0x83a0, answers: [a(1), a(2)], additionals: [opt()] }

const withTwo = (): EngineUnderTest => new EngineUnderTest(serversWith(2, 'sequential'))

describe('a truncated reply', () => {
  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['by TC', (byname) => byname.answer(CUT)],
    [
      'by our buffer',
      (byname) => byname.datagram(byname.lastQuery.socket, replyTo(byname.lastQuery.bytes, ANSWER), true),
    ],
  ])('%s is asked for again over TCP before the client hears anything', (_, cut) => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    cut(byname)
    expect(asked.reply).toBeNull()
    const stream = byname.lastStream
    expect([stream.server, stream.transport, stream.timeoutMs]).toEqual([0, 'tcp', 4500])
    expect(decode(stream.bytes).questions[0]!.name).toBe(NAME)
    byname.answerStream({ answers: Array.from({ length: 100 }, (_none, k) => a(k)) })
    expect(asked.reply!.tc).toBe(true)
    expect(byname.ask(NAME, Type.A, { tcp: true }).reply!.answers.length).toBe(100)
    expect(byname.upstream(0, 'requestsTcp')).toBe(1)
  })

  it('comes twice: the second is none of ours', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer(CUT)
    byname.answer(CUT)
    expect(byname.outlet.streams.length).toBe(1)
    expect(byname.dropped('spoofedReply')).toBe(1)
  })

  it.each(['timeout', 'refused', 'network', 'malformed', 'tls'] as const)(
    'and a stream that fails (%s): the next server is asked',
    (failure) => {
      const byname = withTwo()
      byname.ask(NAME)
      byname.answer(CUT)
      byname.failStream(failure)
      expect(byname.serversAsked).toEqual([0, 1])
    },
  )

  it('whose stream takes long: the next server is asked, and the stream’s answer still counts', () => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.answer(CUT)
    byname.advance(1000)
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answerStream(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('over TCP as well is a failure, not an answer', () => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.answer(CUT)
    byname.answerStream({ ...ANSWER, flags: 0x8380 })
    expect(asked.reply).toBeNull()
    expect(byname.serversAsked).toEqual([0, 1])
    expect(byname.upstream(0, 'failuresTruncated')).toBe(1)
  })
})

describe('a server that has no TCP for what it cut off', () => {
  it('alone: the client gets what there is, with TC, and it is not cached', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask('Example.ORG', Type.A, { id: 77, flags: 0x0120, edns: {} })
    byname.answer(HALF)
    byname.failStream('refused')
    const reply = asked.reply!
    expect(reply).toMatchObject({ id: 77, rcode: Rcode.NOERROR, tc: true, ad: true, ede: null })
    expect(reply.answers).toMatchObject([{ name: 'Example.ORG' }, { name: 'Example.ORG' }])
    expect([byname.cell('truncated'), byname.engine.cache!.entries, byname.engine.isQuiet]).toEqual([1, 0, true])
    expect(byname.ask(NAME).reply).toBeNull()
    expect(byname.outlet.queries).toHaveLength(2)
  })

  it('alone: a client over TCP gets SERVFAIL, as it could not ask for more, and nothing is kept', () => {
    const byname = new EngineUnderTest()
    const overTcp = byname.ask(NAME, Type.A, { tcp: true, edns: {} })
    const overUdp = byname.ask(NAME)
    byname.answer(HALF)
    byname.failStream('refused')
    expect(overTcp.reply).toMatchObject({ rcode: Rcode.SERVFAIL, tc: false, answers: [], ede: Ede.NETWORK_ERROR })
    expect(overUdp.reply).toMatchObject({ rcode: 0, tc: true })
    expect([byname.engine.cache!.entries, byname.waiting, byname.engine.isQuiet]).toEqual([0, 0, true])
  })

  it('another one that has the whole: that is the answer', () => {
    const byname = withTwo()
    const asked = byname.ask(NAME, Type.A, { tcp: true })
    byname.answer(HALF)
    byname.failStream('refused')
    byname.answer(HALF)
    expect([asked.reply, byname.lastStream.server]).toEqual([null, 1])
    byname.answerStream({ answers: Array.from({ length: 90 }, (_, k) => a(k)) })
    expect(asked.reply).toMatchObject({ tc: false, rcode: 0 })
    expect(asked.reply!.answers).toHaveLength(90)
    expect(byname.ask(NAME, Type.A, { tcp: true }).reply!.answers).toHaveLength(90)
  })

  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['SERVFAIL', (byname) => byname.fail(Rcode.SERVFAIL)],
    ['REFUSED', (byname) => byname.fail(Rcode.REFUSED)],
    ['silence', (byname) => pass(byname, 2000)],
    [
      'a partial answer as well',
      (byname) => {
        byname.answer(HALF)
        byname.failStream('refused')
      },
    ],
  ])('and the other one has nothing better (%s): what there is, within 2 s', (_, react) => {
    const byname = withTwo()
    const asked = byname.ask(NAME)
    byname.answer(HALF)
    byname.failStream('refused')
    react(byname)
    expect(asked.reply).toMatchObject({ rcode: 0, tc: true })
    expect(asked.reply!.answers).toHaveLength(2)
    expect(byname.outlet.queries).toHaveLength(2)
  })

  it('but never says so: what there is after 1.8 s, and an answer over TCP until then', () => {
    for (const answersAfter of [1500, null]) {
      const byname = new EngineUnderTest()
      const asked = byname.ask(NAME)
      byname.answer(HALF)
      if (answersAfter !== null) {
        pass(byname, answersAfter)
        byname.answerStream(ANSWER)
      } else pass(byname, 1900)
      expect(asked.reply!.tc).toBe(answersAfter === null)
      expect(byname.outlet.queries).toHaveLength(1)
    }
  })

  it('cut off anywhere: the records that are whole, with TC', () => {
    const records = [a(1), cname('x.example', 60, 'y.example'), a(2)]
    const query = message({ id: 7, questions: [[NAME, Type.A]] })
    const whole = replyTo(query, { flags: 0x8380, answers: records })
    const ends = records.map((_, k) => replyTo(query, { answers: records.slice(0, k + 1) }).length)
    for (let length = ends[0]! - 16; length < whole.length; length++) {
      const byname = new EngineUnderTest()
      const asked = byname.ask(NAME)
      const { bytes: sent, socket } = byname.lastQuery
      const reply = whole.slice(0, length)
      reply.set(sent.subarray(0, 2))
      byname.datagram(socket, reply)
      byname.failStream('refused')
      expect(asked.reply).toMatchObject({ rcode: 0, tc: true })
      expect(asked.reply!.answers.map(({ data }) => data)).toEqual(length < ends[0]! ? [] : ['192.0.2.1'])
    }
  })

  it('cut off in its authority or its additional section: what is whole, with TC', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.MX, { edns: {} })
    const mx = record(Type.MX, 60, bytes(0, 10, wire('mail.example.org')))
    const { bytes: query, socket } = byname.lastQuery
    const whole = replyTo(query, { flags: 0x8380, answers: [mx], additionals: [a(1, 60, 'mail.example.org'), opt()] })
    byname.datagram(socket, whole.slice(0, whole.length - 3))
    byname.failStream('refused')
    expect(asked.reply).toMatchObject({
      tc: true,
      answers: [{ type: 'MX' }],
      additionals: [{ type: 'A' }, { type: 'OPT' }],
    })
  })

  it('whose whole part cannot be read: header and question, with TC', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8380, answers: [record(Type.CNAME, 60, bytes(0xc0, 0xff)), a(1)] })
    byname.failStream('refused')
    expect(asked.reply).toMatchObject({ rcode: 0, tc: true, answers: [] })
  })

  it('records that do not belong to the answer are left out of half of one, too', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8380, answers: [a(1), a(66, 60, 'bank.example')] })
    byname.failStream('refused')
    expect(asked.reply!.answers).toMatchObject([{ name: NAME, data: '192.0.2.1' }])
  })

  it('an expired answer that is whole is better', () => {
    const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
    byname.ask(NAME)
    byname.answer({ answers: [a(7, 10)] })
    byname.advance(11_000)
    const asked = byname.ask(NAME)
    byname.answer(HALF)
    byname.failStream('refused')
    expect(asked.reply).toMatchObject({ tc: false, answers: [{ data: '192.0.2.7', ttl: 30 }] })
  })

  it('an error that is cut off is an error', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    for (let n = 0; n < 4 && asked.reply === null; n++) {
      byname.answer({ flags: 0x8382 })
      byname.failStream('refused')
      pass(byname, 600)
    }
    pass(byname, 5000)
    expect(asked.reply!.rcode).toBe(Rcode.SERVFAIL)
  })

  it('a TCP server that sets TC alone: what it gave', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tcp')] })
    const asked = byname.ask(NAME)
    byname.answerStream(HALF)
    expect(asked.reply).toMatchObject({ tc: true, rcode: 0 })
  })

  it('nothing is left over from one question to the next', () => {
    const byname = new EngineUnderTest()
    for (let n = 0; n < 600; n++) {
      const name = `n${n}.example`
      const asked = byname.ask(name)
      if (n % 2 === 0) {
        byname.answer({ ...HALF, answers: [a(n & 255)] })
        byname.failStream('refused')
        expect(asked.reply!.answers).toMatchObject([{ name, data: `192.0.2.${n & 255}` }])
      } else {
        byname.fail(Rcode.SERVFAIL)
        byname.fail(Rcode.SERVFAIL)
        expect(asked.reply!.rcode).toBe(Rcode.SERVFAIL)
      }
    }
  })

  it('a large reply that is cut by our buffer is not kept', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    const { bytes: query, socket } = byname.lastQuery
    byname.datagram(socket, bytes(replyTo(query, ANSWER), new Uint8Array(5000)), true)
    byname.failStream('refused')
    expect(asked.reply).toMatchObject({ tc: true, answers: [] })
  })
})
