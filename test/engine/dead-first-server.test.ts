/** The first server of resolv.conf is dead, as on the day that somebody shuts it down: who notices, and for how long. */
import { describe, expect, it } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { a, decode, opt } from '../dns/messages.ts'
import { EngineUnderTest, server, type SettingsChange } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

const NAME = 'example.org'
const ANSWER = { answers: [a(1)] }
const ATTEMPT_MS = 1000

function withServers(count: number, change: SettingsChange = {}): EngineUnderTest {
  return new EngineUnderTest(serversWith(count, 'sequential', change))
}

/** Asks, lets all servers but the first answer after a round trip of 10 ms, and returns how long the client waited. */
function waited(byname: EngineUnderTest, name: string): number {
  let seen = byname.outlet.queries.length
  const asked = byname.ask(name)
  const startedAt = byname.now
  while (asked.reply === null) {
    byname.advance(10)
    for (; seen < byname.outlet.queries.length; seen++) {
      const sent = byname.outlet.queries[seen]!
      if (sent.server !== 0) byname.answer(ANSWER, sent)
    }
  }
  expect(asked.reply.rcode).toBe(0)
  return byname.now - startedAt
}

describe('a dead first server', () => {
  it('costs two questions one attempt’s time each, and the others nothing', () => {
    const byname = withServers(2)
    const times = Array.from({ length: 50 }, (_, n) => waited(byname, `n${n}.example`))
    expect(times.filter((ms) => ms >= ATTEMPT_MS)).toHaveLength(2)
    expect(Math.max(...times)).toBeLessThanOrEqual(ATTEMPT_MS + 20)
    expect(times.slice(2).every((ms) => ms <= 20)).toBe(true)
    expect(byname.upstream(0, 'healthy')).toBe(0)
  })

  it.each(['random', 'fastest'] as const)('costs no question more than a hedge’s time, under policy %s', (policy) => {
    const byname = new EngineUnderTest(serversWith(2, policy))
    const times = Array.from({ length: 50 }, (_, n) => {
      const ms = waited(byname, `n${n}.example`)
      pass(byname, 100)
      return ms
    })
    expect(Math.max(...times)).toBeLessThanOrEqual(100)
  })

  it('costs nothing at all under policy parallel', () => {
    const byname = new EngineUnderTest(serversWith(2, 'parallel'))
    for (let n = 0; n < 50; n++) expect(waited(byname, `n${n}.example`)).toBeLessThanOrEqual(10)
  })

  it('and a dead second one: the third answers, within the deadline', () => {
    const byname = withServers(3)
    const asked = byname.ask(NAME)
    pass(byname, 2100)
    expect(byname.serversAsked).toEqual([0, 1, 2])
    byname.answer(ANSWER)
    expect(asked.reply!.rcode).toBe(0)
  })

  it('the next one is asked after the attempt’s time, and the first one’s answer still counts', () => {
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

  it('alone: it is asked again from another socket under another id, three times, then over TCP', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME, Type.A, { edns: {} })
    pass(byname, 4400, 100)
    const { queries, streams } = byname.outlet
    expect([queries.length, streams.length, asked.reply]).toEqual([3, 1, null])
    expect(byname.lastStream).toMatchObject({ server: 0, transport: 'tcp', timeoutMs: 1500 })
    for (let k = 1; k < queries.length; k++) {
      expect(queries[k]!.socket).not.toBe(queries[k - 1]!.socket)
      expect(queries[k]!.bytes.slice(0, 2)).not.toEqual(queries[k - 1]!.bytes.slice(0, 2))
    }
    pass(byname, 100)
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NO_REACHABLE_AUTHORITY })
    expect(byname.engine.isQuiet).toBe(true)
    expect(byname.engine.nextDue).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('a server that three datagrams do not reach', () => {
  it('answers over TCP: the client gets its answer', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    pass(byname, 3000)
    byname.answerStream(ANSWER)
    expect(asked.reply).toMatchObject({ rcode: 0, answers: [{ data: '192.0.2.1' }] })
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })

  it.each(['refused', 'network', 'timeout', 'malformed'] as const)(
    'and has no TCP (%s): nothing more is asked, and a late answer still counts',
    (failure) => {
      const byname = new EngineUnderTest()
      const asked = byname.ask(NAME)
      pass(byname, 3000)
      byname.failStream(failure)
      pass(byname, 1000)
      expect([byname.outlet.queries.length, byname.outlet.streams.length, asked.reply]).toEqual([3, 1, null])
      byname.answer(ANSWER, byname.outlet.queries[1])
      expect(asked.reply?.rcode).toBe(0)
    },
  )

  it.each(['FORMERR', 'BADVERS'])('and says %s over TCP is asked over TCP without an OPT', (what) => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    pass(byname, 3000)
    byname.answerStream(what === 'FORMERR' ? { flags: 0x8181 } : { flags: 0x8180, additionals: [opt({ rcode: 1 })] })
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([3, 2])
    byname.answerStream(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it('is asked by datagrams for the next question', () => {
    const byname = new EngineUnderTest()
    byname.ask(NAME)
    pass(byname, 5000)
    byname.ask('other.example')
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([4, 1])
  })

  it('does not count those that met an error: a resolver that restarts is asked by datagrams again', () => {
    const byname = new EngineUnderTest()
    const asked = byname.ask(NAME)
    for (let n = 0; n < 6; n++) {
      byname.socketFailed(byname.lastQuery.socket)
      pass(byname, 520)
    }
    expect([byname.outlet.queries.length > 4, byname.outlet.streams.length]).toEqual([true, 0])
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it.each(['tcp', 'tls', 'https'] as const)(
    'is one over %s, and the third time nobody is there: it is asked again',
    (transport) => {
      const byname = new EngineUnderTest({ servers: [server('one', transport)] })
      const asked = byname.ask(NAME)
      pass(byname, 2000)
      byname.failStream('network')
      byname.advance(500)
      byname.answerStream(ANSWER)
      expect(asked.reply?.rcode).toBe(0)
    },
  )

  it.each(['tcp', 'tls', 'https'] as const)('is one over %s: three times, and no more', (transport) => {
    const byname = new EngineUnderTest({ servers: [server('one', transport)], attemptTimeoutMs: 200 })
    const asked = byname.ask(NAME)
    pass(byname, 4400)
    expect([byname.outlet.streams.length, asked.reply]).toEqual([3, null])
    byname.answerStream(ANSWER, byname.outlet.streams[0])
    expect(asked.reply?.rcode).toBe(0)
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
