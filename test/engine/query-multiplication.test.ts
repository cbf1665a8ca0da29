import { describe, expect, it } from 'vitest'
import { a, cname, record } from '../dns/messages.ts'
import { EngineUnderTest, randomNumbers, replyTo } from './engine-under-test.ts'
import type { SentQuery, SentStream } from './fake-outlet.ts'
import { pass, serversWith } from './servers.ts'

/** Queries that one client query may cause, and the probe of one server that is down. */
const MOST = 8
const PROBE = 1

const messages = (byname: EngineUnderTest): number => byname.outlet.queries.length + byname.outlet.streams.length

/** What servers do to a query; each gets it under its own number. */
const HABITS: Record<string, (byname: EngineUnderTest, sent: SentQuery) => void> = {
  silence: () => {},
  SERVFAIL: (byname, sent) => byname.fail(2, sent),
  REFUSED: (byname, sent) => byname.fail(5, sent),
  FORMERR: (byname, sent) => byname.fail(1, sent),
  NOTIMP: (byname, sent) => byname.fail(4, sent),
  'FORMERR without a question': (byname, sent) =>
    byname.datagram(sent.socket, Uint8Array.of(sent.bytes[0]!, sent.bytes[1]!, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0)),
  truncation: (byname, sent) => byname.answer({ flags: 0x8380 }, sent),
  'a malformed reply': (byname, sent) => byname.answer({ answers: [record(1, 60, Uint8Array.of(1))] }, sent),
  'socket errors': (byname, sent) => byname.socketFailed(sent.socket),
  'spoofed replies': (byname, sent) => {
    const reply = replyTo(sent.bytes, { answers: [a(6)] })
    for (let k = 0; k < 100; k++) {
      const forged = reply.slice()
      forged[1] = (forged[1]! + 1 + k) & 0xff
      byname.datagram(sent.socket, forged)
    }
  },
}

const STREAM_HABITS: ((byname: EngineUnderTest, sent: SentStream) => void)[] = [
  () => {},
  (byname, sent) => byname.failStream('network', sent),
  (byname, sent) => byname.failStream('timeout', sent),
  (byname, sent) => byname.answerStream({ flags: 0x8182 }, sent),
  (byname, sent) => byname.answerStream({ flags: 0x8181 }, sent),
]

/** Lets servers do as they do for as long as a question may take. */
function play(
  byname: EngineUnderTest,
  udp: () => (typeof HABITS)[string],
  tcp: () => (typeof STREAM_HABITS)[number],
): void {
  let queries = 0
  let streams = 0
  for (let turn = 0; turn < 300; turn++) {
    while (queries < byname.outlet.queries.length) udp()(byname, byname.outlet.queries[queries++]!)
    while (streams < byname.outlet.streams.length) tcp()(byname, byname.outlet.streams[streams++]!)
    byname.advance(20)
  }
}

describe('one client query never causes more than eight upstream queries and a probe', () => {
  for (const policy of ['random', 'sequential', 'fastest', 'parallel'] as const) {
    for (const [habit, does] of Object.entries(HABITS)) {
      it.each([1, 2, 5, 32])(`${policy}, ${habit}, %i servers`, (count) => {
        for (const tcp of STREAM_HABITS) {
          const byname = new EngineUnderTest(serversWith(count, policy))
          const asked = byname.ask('example.org')
          play(
            byname,
            () => does,
            () => tcp,
          )
          expect(messages(byname)).toBeLessThanOrEqual(MOST)
          // What all have cut off is passed on, cut off.
          expect(asked.reply).toMatchObject(habit === 'truncation' ? { rcode: 0, tc: true } : { rcode: 2 })
        }
      })
    }
  }

  it('whatever mixture of it servers do, also while some are down and probed', () => {
    const random = randomNumbers(11)
    const habits = Object.values(HABITS)
    const pick = <T>(list: readonly T[]): T => list[(random() >>> 0) % list.length]!
    for (let round = 0; round < 150; round++) {
      const policy = pick(['random', 'sequential', 'fastest', 'parallel'] as const)
      const byname = new EngineUnderTest(serversWith(1 + ((random() >>> 0) % 6), policy))
      for (let n = 0; n < 4; n++) {
        byname.outlet.queries.length = 0
        byname.outlet.streams.length = 0
        byname.ask(`n${n}.example`)
        play(
          byname,
          () => pick(habits),
          () => pick(STREAM_HABITS),
        )
        expect(messages(byname)).toBeLessThanOrEqual(MOST + PROBE)
      }
      expect(byname.waiting).toBe(0)
      expect(byname.engine.isQuiet).toBe(true)
    }
  })

  it('equal queries of many clients are one question', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 100; n++) byname.ask('example.org', 1, { id: n })
    pass(byname, 6000)
    expect(messages(byname)).toBeLessThanOrEqual(MOST)
    expect(byname.responses()).toBe(100)
  })

  it('an answer full of aliases is not followed: the client gets what the server gave', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask('n0.example')
    const chain = Array.from({ length: 6 }, (_, k) => cname(`n${k + 1}.example`, 60, `n${k}.example`))
    byname.answer({ answers: chain })
    expect(asked.reply?.rcode).toBe(0)
    expect(messages(byname)).toBe(1)
  })

  it('a server that asks us back waits for itself: no second round', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask('example.org')
    // It forwards to us what we forward to it, each time under another id.
    for (let n = 0; n < 50; n++) byname.ask('example.org', 1, { id: 500 + n, edns: {} })
    expect(messages(byname)).toBe(1)
    pass(byname, 5000)
    expect(messages(byname)).toBeLessThanOrEqual(MOST)
    expect(asked.reply?.rcode).toBe(2)
    expect(byname.waiting).toBe(0)
  })

  it('a loop that changes DO and CD on its way makes eight variants of a question at most', () => {
    const byname = new EngineUnderTest()
    for (let n = 0; n < 64; n++) {
      byname.ask('example.org', 1, {
        id: n,
        flags: (n & 1 ? 0x0100 : 0) | (n & 2 ? 0x10 : 0),
        edns: { dnssecOk: (n & 4) !== 0 },
      })
    }
    expect(messages(byname)).toBeLessThanOrEqual(8)
  })
})
