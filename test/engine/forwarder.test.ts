import { describe, expect, it } from 'vitest'
import { Ede, EdnsOption, Rcode, Type } from '../../src/dns/constants.ts'
import { a, bytes, cname, decode, message, opt, record, soa, u16, wire } from '../dns/messages.ts'
import {
  type Asking,
  EngineUnderTest,
  replyTo,
  server,
  settingsWith,
  type SettingsChange,
} from './engine-under-test.ts'
import type { SentQuery } from './fake-outlet.ts'
import { serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }

function withServers(count: number, change: SettingsChange = {}): EngineUnderTest {
  return new EngineUnderTest(serversWith(count, 'sequential', change))
}

function changed(packet: Uint8Array, change: (packet: Uint8Array) => void): Uint8Array {
  const copy = packet.slice()
  change(copy)
  return copy
}

describe('a query upstream', () => {
  it('asks the name in lower case with RD, AD and an OPT of its own', () => {
    const byname = new EngineUnderTest()
    byname.ask('Example.ORG', Type.MX, { id: 1, flags: 0x0100 })
    const sent = decode(byname.lastQuery.bytes)
    expect(sent.questions).toEqual([{ name: NAME, type: 'MX', class: 'IN' }])
    expect(sent.flags).toBe(0x0120)
    expect(sent.opt).toMatchObject({
      udpPayloadSize: 1232,
      ednsVersion: 0,
      flag_do: false,
      options: [{ code: EdnsOption.COOKIE }],
    })
  })

  it.each<[string, Asking, number, boolean]>([
    ['RD=0', { flags: 0 }, 0x0020, false],
    ['CD', { flags: 0x0110 }, 0x0130, false],
    ['DO', { edns: { dnssecOk: true } }, 0x0120, true],
  ])('passes on %s', (_, asking, flags, dnssecOk) => {
    const byname = new EngineUnderTest()
    byname.ask(NAME, Type.A, asking)
    const sent = decode(byname.lastQuery.bytes)
    expect([sent.flags, sent.opt!.flag_do]).toEqual([flags, dnssecOk])
  })

  it('draws another id each time', () => {
    const byname = new EngineUnderTest()
    for (let k = 0; k < 50; k++) byname.ask(`n${k}.example`, Type.A, { id: 7 })
    expect(new Set(byname.outlet.queries.map((sent) => decode(sent.bytes).id)).size).toBe(50)
  })
})

describe('an upstream answer', () => {
  it('goes to the client with its own id, case, flags and OPT', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask('Example.ORG', Type.A, { id: 0x0707, flags: 0x0110, edns: {} })
    byname.answer({
      flags: 0x85b0,
      answers: [a(1, 77)],
      additionals: [opt({ payload: 999, options: [[3, bytes(1)]] })],
    })
    const reply = asked.reply!
    expect([reply.id, reply.flags, reply.questions[0]!.name]).toEqual([0x0707, 0x8190, 'Example.ORG'])
    expect(reply.answers).toMatchObject([{ name: 'Example.ORG', ttl: 77, data: '192.0.2.1' }])
    expect(reply.opt).toMatchObject({ udpPayloadSize: 4096, options: [] })
    expect(byname.waiting).toBe(0)
    expect(byname.engine.isQuiet).toBe(true)
  })

  it('is cut to the client’s limit, and whole in the cache', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    byname.answer({ answers: Array.from({ length: 60 }, (_, k) => a(k)) })
    expect(asked.reply!.tc).toBe(true)
    expect(asked.length).toBeLessThanOrEqual(512)
    const again = byname.ask(NAME, Type.A, { tcp: true }).reply!
    expect([again.tc, again.answers.length]).toEqual([false, 60])
  })

  it('with another rcode goes to the client and not into the cache', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    byname.fail(6)
    expect(asked.reply!.rcode).toBe(6)
    expect(byname.ask(NAME).reply).toBeNull()
  })
})

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
    ['socket', 'spoofedReply', (sent, reply, byname) => byname.datagram(sent.socket + 1, reply)],
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
    const byname = withServers(2)
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

describe('a server that fails', () => {
  it.each([Rcode.SERVFAIL, Rcode.REFUSED])('with rcode %i: the next one is asked at once', (rcode) => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    byname.fail(rcode)
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
    const field = rcode === Rcode.SERVFAIL ? 'failuresServfail' : 'failuresRefused'
    expect(byname.upstream(0, field)).toBe(1)
  })

  it('with a bare header and an error: the next one is asked', () => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8182, questions: [] })
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('with a malformed reply: counted, and the next one is asked', () => {
    const byname = withServers(2)
    byname.ask(NAME)
    byname.answer({ answers: [record(Type.A, 1, bytes(1))] })
    expect([byname.dropped('malformedReply'), byname.upstream(0, 'failuresMalformed')]).toEqual([1, 1])
    expect(byname.serversAsked).toEqual([0, 1])
  })

  it('by its silence: the next one is asked after the attempt’s time, and the first one’s answer still counts', () => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    const first = byname.lastQuery
    byname.advance(999)
    expect(byname.serversAsked).toEqual([0])
    byname.advance(1)
    expect(byname.serversAsked).toEqual([0, 1])
    byname.advance(500)
    byname.answer({ answers: [a(9)] }, first)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.9')
    expect(byname.upstream(0, 'failuresTimeout')).toBe(1)
  })

  it('alone: it is asked again from another socket under another id, until the deadline', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    for (let at = 0; at < 4500; at += 100) byname.advance(100)
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NO_REACHABLE_AUTHORITY })
    const { queries } = byname.outlet
    expect(queries.length).toBe(5)
    for (let k = 1; k < queries.length; k++) {
      expect(queries[k]!.socket).not.toBe(queries[k - 1]!.socket)
      expect(queries[k]!.bytes.slice(0, 2)).not.toEqual(queries[k - 1]!.bytes.slice(0, 2))
    }
    expect(byname.engine.isQuiet).toBe(true)
    expect(byname.engine.nextDue).toBe(Number.POSITIVE_INFINITY)
  })

  it('whose socket reports an error: it is asked once more, then again after a while', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    byname.socketFailed(byname.lastQuery.socket)
    expect(byname.outlet.queries.length).toBe(2)
    byname.socketFailed(byname.lastQuery.socket)
    expect(byname.outlet.queries.length).toBe(2)
    byname.advance(500)
    expect(byname.outlet.queries.length).toBe(3)
    expect(byname.upstream(0, 'failuresNetwork')).toBe(2)
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('to which no socket can be opened: the next one is asked', () => {
    const byname = withServers(2)
    byname.outlet.unreachable.add(0)
    const asked = byname.ask(NAME)
    for (let at = 0; at < 20; at++) byname.advance(4)
    expect(byname.serversAsked).toEqual([1])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('as all of them: SERVFAIL says that it is the network', () => {
    const byname = withServers(2)
    byname.outlet.unreachable.add(0).add(1)
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    for (let at = 0; at < 4500; at += 50) byname.advance(50)
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NETWORK_ERROR })
    expect(byname.engine.isQuiet).toBe(true)
  })
})

describe('the messages for one question', () => {
  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['SERVFAIL', (byname) => byname.fail(Rcode.SERVFAIL)],
    ['FORMERR', (byname) => byname.fail(Rcode.FORMERR)],
    ['garbage', (byname) => byname.answer({ answers: [record(Type.A, 1, bytes(1))] })],
    ['socket errors', (byname) => byname.socketFailed(byname.lastQuery.socket)],
    ['nothing', () => undefined],
  ])('are bounded where %s comes back', (_, react) => {
    const byname = withServers(10, { deadlineMs: 120_000, attemptTimeoutMs: 100 })
    const asked = byname.ask(NAME)
    let seen = 0
    for (let at = 0; at < 1300; at++) {
      if (byname.outlet.queries.length > seen) {
        seen = byname.outlet.queries.length
        react(byname)
      } else byname.advance(100)
    }
    expect(asked.reply!.rcode).toBe(Rcode.SERVFAIL)
    expect(byname.outlet.queries.length).toBeLessThanOrEqual(8)
    expect(byname.outlet.queries.length).toBeGreaterThan(3)
    expect(byname.engine.isQuiet).toBe(true)
  })
})

describe('a server that does not understand EDNS', () => {
  it.each([Rcode.FORMERR, Rcode.NOTIMP])('and says so by rcode %i is asked without, and stays so', (rcode) => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    byname.fail(rcode)
    expect(byname.serversAsked).toEqual([0, 0])
    expect(decode(byname.lastQuery.bytes).opt).toBeNull()
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
    byname.ask('other.example')
    expect(decode(byname.lastQuery.bytes).opt).toBeNull()
  })

  it('and says so by BADVERS is asked without', () => {
    const byname = withServers(2)
    byname.ask(NAME)
    byname.answer({ additionals: [opt({ rcode: 1 })] })
    expect(byname.serversAsked).toEqual([0, 0])
    expect(decode(byname.lastQuery.bytes).opt).toBeNull()
  })

  it('but fails without it as well: the next one is asked, and EDNS was not the reason', () => {
    const byname = withServers(2)
    byname.ask(NAME)
    byname.fail(Rcode.FORMERR)
    byname.fail(Rcode.FORMERR)
    expect(byname.serversAsked).toEqual([0, 0, 1])
    byname.answer(ANSWER)
    byname.ask('other.example')
    expect(decode(byname.lastQuery.bytes).opt).not.toBeNull()
  })
})

describe('a truncated reply', () => {
  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['by TC', (byname) => byname.answer({ flags: 0x8380 })],
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
    byname.answer({ flags: 0x8380 })
    byname.answer({ flags: 0x8380 })
    expect(byname.outlet.streams.length).toBe(1)
    expect(byname.dropped('spoofedReply')).toBe(1)
  })

  it.each(['timeout', 'refused', 'network', 'malformed', 'tls'] as const)(
    'and a stream that fails (%s): the next server is asked',
    (failure) => {
      const byname = withServers(2)
      byname.ask(NAME)
      byname.answer({ flags: 0x8380 })
      byname.failStream(failure)
      expect(byname.serversAsked).toEqual([0, 1])
    },
  )

  it('whose stream takes long: the next server is asked, and the stream’s answer still counts', () => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8380 })
    byname.advance(1000)
    expect(byname.serversAsked).toEqual([0, 1])
    byname.answerStream(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('over TCP as well is a failure, not an answer', () => {
    const byname = withServers(2)
    const asked = byname.ask(NAME)
    byname.answer({ flags: 0x8380 })
    byname.answerStream({ ...ANSWER, flags: 0x8380 })
    expect(asked.reply).toBeNull()
    expect(byname.serversAsked).toEqual([0, 1])
    expect(byname.upstream(0, 'failuresTruncated')).toBe(1)
  })
})

describe('a stream', () => {
  it.each(['tcp', 'tls', 'https'] as const)('is what a server of transport %s is asked over', (transport) => {
    const byname = new EngineUnderTest({ servers: [server('one', transport)] })
    const asked = byname.ask(NAME)
    expect([byname.outlet.queries.length, byname.lastStream.transport]).toEqual([0, transport])
    byname.answerStream(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('that ends after its exchange has ended is a late reply', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tls')] })
    byname.ask(NAME)
    byname.answerStream(ANSWER)
    byname.answerStream(ANSWER)
    byname.failStream('timeout')
    expect(byname.dropped('lateReply')).toBe(2)
    byname.ask('other.example')
    byname.answerStream(ANSWER, byname.outlet.streams[0])
    expect(byname.dropped('lateReply')).toBe(3)
  })

  it('with a runt in it has failed', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tcp'), server('two')] })
    byname.ask(NAME)
    byname.engine.streamReply(byname.lastStream.token, new Uint8Array(11), null)
    expect([byname.upstream(0, 'failuresMalformed'), byname.serversAsked]).toEqual([1, [1]])
  })
})

describe('equal questions in flight', () => {
  it('are one exchange; each client gets its own id, case, flags and limit', () => {
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
})

describe('bounds', () => {
  it('more questions than may be in flight get SERVFAIL, counted', () => {
    const byname = new EngineUnderTest({ maxInFlight: 3 })
    const waiting = [0, 1, 2].map((k) => byname.ask(`n${k}.example`))
    const refused = byname.ask('n3.example')
    expect(refused.reply!.rcode).toBe(Rcode.SERVFAIL)
    expect([byname.dropped('inFlightFull'), byname.outlet.queries.length]).toEqual([1, 3])
    expect(byname.ask('n0.example').reply).toBeNull()
    byname.answer(ANSWER, byname.outlet.queries[0])
    expect(waiting.map(({ reply }) => reply === null)).toEqual([false, true, true])
    expect(byname.ask('n3.example').reply).toBeNull()
  })

  it('more clients than may wait get SERVFAIL, counted', () => {
    const byname = new EngineUnderTest({ maxInFlight: 2 })
    const asked = Array.from({ length: 6 }, (_, id) => byname.ask(NAME, Type.A, { id }))
    expect(asked.map(({ reply }) => reply?.rcode)).toEqual([undefined, undefined, undefined, undefined, 2, 2])
    expect(byname.dropped('waitersFull')).toBe(2)
    expect(byname.ask('other.example').reply!.rcode).toBe(2)
    byname.answer(ANSWER)
    expect(asked.slice(0, 4).every(({ reply }) => reply!.rcode === 0)).toBe(true)
    expect(byname.ask('other.example').reply).toBeNull()
  })
})

describe('what is cached', () => {
  function secondReply(parts: Parameters<EngineUnderTest['answer']>[0], asking: Asking = {}): unknown {
    const byname = new EngineUnderTest()
    byname.ask(NAME, Type.A, asking)
    byname.answer(parts)
    const { reply } = byname.ask(NAME, Type.A, asking)
    return reply === null ? null : reply.rcode
  }

  it.each<[string, Parameters<EngineUnderTest['answer']>[0]]>([
    ['an answer', ANSWER],
    ['NXDOMAIN with an SOA', { flags: 0x8183, authorities: [soa(NAME, 60, 60)] }],
    ['NODATA with an SOA', { authorities: [soa('org', 60, 60)] }],
    ['a CNAME that ends in nothing', { answers: [cname('a.example.org')], authorities: [soa(NAME, 60, 60)] }],
  ])('is %s', (_, parts) => {
    expect(secondReply(parts)).toBe((parts.flags ?? 0) & 15)
  })

  it.each<[string, Parameters<EngineUnderTest['answer']>[0], Asking]>([
    ['a TTL of zero', { answers: [a(1, 0)] }, {}],
    ['NXDOMAIN without SOA', { flags: 0x8183 }, {}],
    ['NODATA without SOA', {}, {}],
    ['an answer to RD=0', ANSWER, { flags: 0 }],
  ])('is not %s', (_, parts, asking) => {
    expect(secondReply(parts, asking)).toBeNull()
  })

  it('keeps DO and CD variants apart', () => {
    const byname = new EngineUnderTest()
    const variants: Asking[] = [
      {},
      { flags: 0x0110 },
      { edns: { dnssecOk: true } },
      { flags: 0x0110, edns: { dnssecOk: true } },
    ]
    variants.forEach((asking, k) => {
      expect(byname.ask(NAME, Type.A, asking).reply).toBeNull()
      byname.answer({ answers: [a(k)] })
    })
    expect(variants.map((asking) => byname.ask(NAME, Type.A, asking).reply!.answers[0]!.data)).toEqual(
      [0, 1, 2, 3].map((k) => `192.0.2.${k}`),
    )
  })

  it('expires by its least TTL, for negative answers by the SOA', () => {
    const byname = new EngineUnderTest({ cache: { prefetch: false } })
    byname.ask(NAME)
    byname.answer({ answers: [a(1, 10)] })
    byname.ask('no.example')
    byname.answer({ flags: 0x8183, authorities: [soa('example', 100, 20)] })
    byname.advance(9999)
    expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(1)
    byname.advance(1)
    expect(byname.ask(NAME).reply).toBeNull()
    byname.advance(9999)
    expect(byname.ask('no.example').reply).toMatchObject({ rcode: 3, authorities: [{ ttl: 1 }] })
    byname.advance(1)
    expect(byname.ask('no.example').reply).toBeNull()
  })

  it('is nothing with a cache of no bytes', () => {
    const byname = new EngineUnderTest({ cache: { maxBytes: 0 } })
    byname.ask(NAME)
    byname.answer(ANSWER)
    expect(byname.ask(NAME).reply).toBeNull()
    expect(byname.engine.cache).toBeNull()
  })
})

describe('a stale answer', () => {
  it('is served after all servers failed, with TTL 30 and an extended error', () => {
    const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
    byname.ask(NAME)
    byname.answer({ answers: [a(1, 10)] })
    byname.advance(11_000)
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    expect(asked.reply).toBeNull()
    for (let at = 0; at < 4500; at += 100) byname.advance(100)
    expect(asked.reply).toMatchObject({ rcode: 0, ede: Ede.STALE_ANSWER, answers: [{ ttl: 30, data: '192.0.2.1' }] })
    expect([byname.cell('cacheHitsStale'), byname.responses(2)]).toEqual([1, 1])
  })

  it('is not served when it is too old', () => {
    const byname = new EngineUnderTest({ cache: { staleSeconds: 5 } })
    byname.ask(NAME)
    byname.answer({ answers: [a(1, 10)] })
    byname.advance(16_000)
    const asked = byname.ask(NAME)
    for (let at = 0; at < 4500; at += 100) byname.advance(100)
    expect(asked.reply!.rcode).toBe(Rcode.SERVFAIL)
  })
})

function aged(prefetch: boolean): EngineUnderTest {
  const byname = new EngineUnderTest({ cache: { prefetch } })
  byname.ask(NAME)
  byname.answer({ answers: [a(1, 100)] })
  byname.advance(89_999)
  expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(11)
  expect(byname.outlet.queries.length).toBe(1)
  byname.advance(1)
  return byname
}

describe('prefetch', () => {
  it('refreshes a hit in the last tenth of its life, once', () => {
    const byname = aged(true)
    for (let k = 0; k < 3; k++) expect(byname.ask(NAME).reply!.answers[0]!.ttl).toBe(10)
    expect([byname.outlet.queries.length, byname.cell('cachePrefetches')]).toEqual([2, 1])
    byname.answer({ answers: [a(2, 100)] })
    expect(byname.ask(NAME).reply!.answers).toMatchObject([{ ttl: 100, data: '192.0.2.2' }])
    expect(byname.engine.isQuiet).toBe(true)
  })

  it('that failed is not tried again', () => {
    const byname = aged(true)
    byname.ask(NAME)
    for (let at = 0; at < 4500; at += 100) byname.advance(100)
    const { length } = byname.outlet.queries
    expect(byname.ask(NAME).reply!.rcode).toBe(0)
    expect(byname.outlet.queries.length).toBe(length)
  })

  it('lets a client join that asks when the answer has expired', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer({ answers: [a(1, 10)] })
    byname.advance(9000)
    expect(byname.ask(NAME).reply).not.toBeNull()
    byname.advance(1000)
    const asked = byname.ask(NAME)
    expect(asked.reply).toBeNull()
    byname.answer({ answers: [a(2)] }, byname.outlet.queries[1])
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.2')
    expect(byname.cell('coalesced')).toBe(1)
  })

  it('is not made when it is off', () => {
    const byname = aged(false)
    byname.ask(NAME)
    expect(byname.outlet.queries.length).toBe(1)
  })
})

/** Two time-outs in a row, the second one's question answered by the other server. */
function withOneDown(): EngineUnderTest {
  const byname = withServers(2, { cache: { maxBytes: 0 } })
  for (const name of ['a.example', 'b.example']) {
    byname.ask(name)
    byname.advance(1000)
    byname.answer(ANSWER)
  }
  expect(byname.upstream(0, 'healthy')).toBe(0)
  return byname
}

describe('a server that is down', () => {
  it('is tried last', () => {
    const byname = withOneDown()
    byname.ask('c.example')
    expect(byname.lastQuery.server).toBe(1)
    byname.fail(Rcode.SERVFAIL)
    expect(byname.lastQuery.server).toBe(0)
  })

  it('is probed with a copy of a live question, and back when it answers', () => {
    const byname = withOneDown()
    byname.advance(1000)
    const asked = byname.ask('c.example')
    const probe = byname.outlet.queries.find(
      (sent) => sent.server === 0 && decode(sent.bytes).questions[0]!.name === 'c.example',
    )!
    expect(probe).toBeDefined()
    byname.answer(ANSWER, probe)
    expect(byname.upstream(0, 'healthy')).toBe(1)
    expect(asked.reply).toBeNull()
    byname.answer(
      ANSWER,
      byname.outlet.queries.findLast((sent) => sent.server === 1),
    )
    expect(asked.reply!.rcode).toBe(0)
    byname.ask('d.example')
    expect(byname.lastQuery.server).toBe(0)
  })

  it('is probed again and again, but ever more rarely', () => {
    const byname = withOneDown()
    const probes: number[] = []
    for (let second = 0; second < 120; second++) {
      byname.advance(1000)
      const before = byname.outlet.queries.length
      byname.ask(`n${second}.example`)
      const sent = byname.outlet.queries.slice(before)
      if (sent.some((one) => one.server === 0)) probes.push(second)
      byname.answer(
        ANSWER,
        sent.find((one) => one.server === 1),
      )
    }
    expect(probes.length).toBeGreaterThan(4)
    expect(probes.length).toBeLessThan(10)
    const gaps = probes.slice(1).map((second, k) => second - probes[k]!)
    expect(gaps).toEqual(gaps.toSorted((x, y) => x - y))
    expect(byname.waiting).toBe(0)
  })

  it('and does not answer its probe costs the client nothing', () => {
    const byname = withOneDown()
    byname.advance(1000)
    const asked = byname.ask('c.example')
    byname.answer(
      ANSWER,
      byname.outlet.queries.findLast((sent) => sent.server === 1),
    )
    expect(asked.reply!.rcode).toBe(0)
    byname.advance(1000)
    byname.advance(1000)
    expect(byname.engine.isQuiet).toBe(true)
  })
})

describe('new settings', () => {
  it('ask the new servers what is under way', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    const old = byname.lastQuery
    byname.engine.configure(settingsWith({ servers: [server('new')] }))
    byname.advance(4)
    expect(byname.outlet.queries.length).toBe(2)
    byname.answer({ answers: [a(66)] }, old)
    expect(asked.reply).toBeNull()
    byname.answer(ANSWER)
    expect(asked.reply!.answers[0]!.data).toBe('192.0.2.1')
  })

  it('keep the cache unless its size changes', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    byname.answer(ANSWER)
    byname.engine.configure(settingsWith({ servers: [server('new')] }))
    expect(byname.ask(NAME).reply).not.toBeNull()
    byname.engine.configure(settingsWith({ cache: { maxBytes: 32 * 1024 } }))
    expect(byname.ask(NAME).reply).toBeNull()
  })
})

describe('routes', () => {
  it('send a name to the servers of the longest domain that it is at or below', () => {
    const servers = ['default', 'corp', 'deep'].map((label) => server(label))
    const routes = [
      { domains: [wire('corp'), wire('example.net')], servers: [1], policy: 'random' as const },
      { domains: [wire('deep.corp')], servers: [2], policy: 'random' as const },
      { domains: [bytes(0)], servers: [0], policy: 'random' as const },
    ]
    const byname = new EngineUnderTest({ servers, routes })
    const names = [
      'org',
      'corp',
      'A.Corp',
      'xcorp',
      'deep.corp',
      'a.b.deep.corp',
      'example.net',
      'net',
      '.',
      'corp.org',
    ]
    for (const name of names) byname.ask(name)
    expect(byname.serversAsked).toEqual([0, 1, 1, 0, 2, 2, 1, 0, 0, 0])
  })
})

it('a message that is no query leaves nothing behind', () => {
  const byname = new EngineUnderTest()
  byname.askRaw(message({ questions: [] }))
  byname.askRaw(u16(1, 2))
  expect(byname.outlet.queries.length + byname.waiting).toBe(0)
})
