import { describe, expect, it } from 'vitest'
import { Ede, EdnsOption, Rcode, Type } from '../../src/dns/constants.ts'
import { a, bytes, cname, decode, message, opt, record, soa, u16 } from '../dns/messages.ts'
import { type Asking, EngineUnderTest, server, settingsWith, type SettingsChange } from './engine-under-test.ts'
import { serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }

function withServers(count: number, change: SettingsChange = {}): EngineUnderTest {
  return new EngineUnderTest(serversWith(count, 'sequential', change))
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

  it('with a malformed reply: counted, and it is asked over TCP', () => {
    const byname = withServers(2)
    byname.ask(NAME)
    byname.answer({ answers: [record(Type.A, 1, bytes(1))] })
    expect([byname.dropped('malformedReply'), byname.upstream(0, 'failuresMalformed')]).toEqual([1, 1])
    expect([byname.serversAsked, byname.lastStream.server]).toEqual([[0], 0])
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

describe('a stream', () => {
  it.each(['tcp', 'tls', 'https'] as const)('is what a server of transport %s is asked over', (transport) => {
    const byname = new EngineUnderTest({ servers: [server('one', transport)] })
    const asked = byname.ask(NAME)
    expect([byname.outlet.queries.length, byname.lastStream.transport]).toEqual([0, transport])
    byname.answerStream(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('that ends after its pending query has ended is a late reply', () => {
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

  it('whose TLS fails is counted as that and told as a network error', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tls')] })
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    while (asked.reply === null) {
      byname.failStream('tls')
      byname.advance(500)
    }
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: 23 })
    expect([byname.upstream(0, 'failuresTls') >= 5, byname.upstream(0, 'failuresNetwork')]).toEqual([true, 0])
  })

  it('whose TLS fails twice is tried again: one of several behind an address may be bad, or all restart', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tls')] })
    const asked = byname.ask(NAME)
    byname.failStream('tls')
    byname.failStream('tls')
    byname.advance(500)
    byname.answerStream(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it('with a runt in it has failed', () => {
    const byname = new EngineUnderTest({ servers: [server('one', 'tcp'), server('two')] })
    byname.ask(NAME)
    byname.engine.streamReply(byname.lastStream.token, new Uint8Array(11), null)
    expect([byname.upstream(0, 'failuresMalformed'), byname.serversAsked]).toEqual([1, [1]])
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

  it('is nothing with a cache of no bytes', () => {
    const byname = new EngineUnderTest({ cache: { maxBytes: 0 } })
    byname.ask(NAME)
    byname.answer(ANSWER)
    expect(byname.ask(NAME).reply).toBeNull()
    expect(byname.engine.cache).toBeNull()
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

it('a message that is no query leaves nothing behind', () => {
  const byname = new EngineUnderTest()
  byname.askRaw(message({ questions: [] }))
  byname.askRaw(u16(1, 2))
  expect(byname.outlet.queries.length + byname.waiting).toBe(0)
})
