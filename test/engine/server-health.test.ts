import { describe, expect, it } from 'vitest'
import { a, cname, record, u16 } from '../dns/messages.ts'
import { EngineUnderTest, server } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

/** Server 0 stays silent, the next one answers. */
function askPastDead(byname: EngineUnderTest, name: string): void {
  const asked = byname.ask(name)
  for (let waited = 0; asked.reply === null && waited < 3000; waited += 100) {
    if (byname.lastQuery.server !== 0) byname.answer({ answers: [a(1)] })
    else pass(byname, 100)
  }
  expect(asked.reply?.rcode).toBe(0)
}

/** With server 0 down. */
function withDown(): EngineUnderTest {
  const byname = new EngineUnderTest(serversWith(2, 'sequential'))
  askPastDead(byname, 'one.example')
  askPastDead(byname, 'two.example')
  expect(byname.upstream(0, 'healthy')).toBe(0)
  byname.outlet.queries.length = 0
  return byname
}

describe('a server that fails', () => {
  it('is asked in its turn after one failure', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    askPastDead(byname, 'one.example')
    expect(byname.upstream(0, 'healthy')).toBe(1)
    byname.ask('two.example')
    expect(byname.lastQuery.server).toBe(0)
  })

  it('twice in a row is tried last', () => {
    const byname = withDown()
    const asked = byname.ask('three.example')
    expect(byname.serversAsked).toEqual([1])
    byname.fail(2)
    expect(byname.serversAsked).toEqual([1, 0])
    byname.answer({ answers: [a(9)] })
    expect(asked.reply?.rcode).toBe(0)
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })

  it('is probed with a live question after a second, and is back when it answers', () => {
    const byname = withDown()
    pass(byname, 1000)
    const asked = byname.ask('three.example')
    expect(byname.serversAsked).toEqual([1, 0])
    const [question, probe] = byname.outlet.queries
    byname.answer({ answers: [a(66)] }, probe)
    expect(asked.reply).toBeNull()
    expect(byname.upstream(0, 'healthy')).toBe(1)
    byname.answer({ answers: [a(1)] }, question)
    expect(asked.reply?.answers[0]?.data).toBe('192.0.2.1')
    byname.ask('four.example')
    expect(byname.lastQuery.server).toBe(0)
  })

  it('is probed after 1, 1, 2, 4 … 30 seconds, whatever the probes bring, once at a time', () => {
    const byname = withDown()
    const probedAt: number[] = []
    const start = byname.now
    for (let n = 0; n < 1500; n++) {
      const asked = byname.ask(`n${n}.example`)
      for (const sent of byname.outlet.queries.splice(0)) {
        if (sent.server === 1) byname.answer({ answers: [a(1)] }, sent)
        else {
          probedAt.push(byname.now - start)
          // Some stay without an answer, some bring one that says nothing.
          if (probedAt.length % 2 === 0) byname.fail(2, sent)
        }
      }
      expect(asked.reply?.rcode).toBe(0)
      pass(byname, 100, 100)
    }
    const gaps = probedAt.slice(1).map((at, k) => Math.round((at - probedAt[k]!) / 1000))
    expect(gaps.slice(0, 6)).toEqual([1, 2, 4, 8, 16, 30])
    expect(Math.max(...gaps)).toBe(30)
    expect(byname.upstream(0, 'healthy')).toBe(0)
  })

  it.each([1, 2, 3])('is probed, and comes back, with maxInFlight %i as well', (maxInFlight) => {
    const byname = new EngineUnderTest({ ...serversWith(2, 'sequential'), maxInFlight })
    askPastDead(byname, 'one.example')
    askPastDead(byname, 'two.example')
    expect(byname.upstream(0, 'healthy')).toBe(0)
    pass(byname, 1000)
    byname.outlet.queries.length = 0
    const asked = byname.ask('three.example')
    expect(byname.serversAsked).toEqual([1, 0])
    // The probe takes nobody's place: as many clients' questions as there may be are under way beside it.
    expect(byname.cell('inFlight')).toBe(1)
    const [question, probe] = byname.outlet.queries
    byname.answer({ answers: [a(1)] }, probe)
    expect(byname.upstream(0, 'healthy')).toBe(1)
    byname.answer({ answers: [a(1)] }, question)
    expect(asked.reply?.rcode).toBe(0)
  })

  it.each(['parallel', 'random'] as const)(
    'is found out although others answer for it (%s), with maxInFlight 1',
    (policy) => {
      const byname = new EngineUnderTest({ ...serversWith(2, policy), maxInFlight: 1 })
      for (let n = 0; n < 20; n++) {
        const from = byname.outlet.queries.length
        const asked = byname.ask(`n${n}.example`)
        for (let waited = 0; asked.reply === null && waited < 2000; waited += 20) {
          byname.advance(20)
          const sent = byname.outlet.queries.slice(from).find((each) => each.server === 1)
          if (sent) byname.answer({ answers: [a(1)] }, sent)
        }
        expect(asked.reply?.rcode).toBe(0)
        pass(byname, 1000)
      }
      expect([byname.upstream(0, 'healthy'), byname.upstream(1, 'healthy')]).toEqual([0, 1])
    },
  )

  it('probes are bounded, and never take a place of a question', () => {
    const byname = new EngineUnderTest({ ...serversWith(32, 'sequential'), maxInFlight: 4, attemptTimeoutMs: 4000 })
    for (let n = 0; n < 200; n++) {
      byname.ask(`n${n}.example`)
      pass(byname, 500, 250)
      for (const sent of byname.outlet.queries.splice(0))
        if (sent.server === 31) byname.answer({ answers: [a(1)] }, sent)
      expect(byname.cell('inFlight')).toBeLessThanOrEqual(4)
      expect(byname.engine.forwarder.inFlight.open).toBeLessThanOrEqual(4 + 32)
    }
    pass(byname, 10_000)
    expect([byname.waiting, byname.engine.isQuiet]).toEqual([0, true])
  })

  it('is not probed by the question that asks it anyway', () => {
    const byname = new EngineUnderTest(serversWith(1, 'random'))
    for (let n = 0; n < 3; n++) {
      byname.ask(`n${n}.example`)
      pass(byname, 6000)
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
    byname.outlet.queries.length = 0
    byname.ask('last.example')
    expect(byname.outlet.queries).toHaveLength(1)
  })

  it('all down: they are asked all the same', () => {
    const byname = new EngineUnderTest(serversWith(3, 'random'))
    for (let n = 0; n < 3; n++) {
      byname.ask(`n${n}.example`)
      pass(byname, 6000)
    }
    for (let k = 0; k < 3; k++) expect(byname.upstream(k, 'healthy')).toBe(0)
    byname.outlet.queries.length = 0
    const asked = byname.ask('last.example')
    // Behind it goes the probe of another one.
    byname.answer({ answers: [a(1)] }, byname.outlet.queries[0])
    expect(asked.reply?.rcode).toBe(0)
  })

  it('SERVFAIL that all servers give says nothing about them', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 10; n++) {
      const asked = byname.ask(`broken${n}.example`)
      while (asked.reply === null) byname.fail(2)
      expect(asked.reply.rcode).toBe(2)
    }
    expect(byname.upstream(0, 'healthy')).toBe(1)
    expect(byname.upstream(1, 'healthy')).toBe(1)
  })

  it('a server that always fails where another one answers is down after four times', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 4; n++) {
      expect(byname.upstream(0, 'healthy')).toBe(1)
      const asked = byname.ask(`n${n}.example`)
      expect(byname.lastQuery.server).toBe(0)
      byname.fail(5)
      byname.answer({ answers: [a(1)] })
      expect(asked.reply?.rcode).toBe(0)
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
    byname.ask('last.example')
    expect(byname.lastQuery.server).toBe(1)
  })

  it('one that fails now and then only stays in its turn', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 40; n++) {
      byname.ask(`n${n}.example`)
      if (n % 3 === 0) byname.answer({ answers: [a(1)] })
      else {
        byname.fail(2)
        byname.answer({ answers: [a(1)] })
      }
    }
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })

  it('a time-out is counted once, however long the pending query goes on', () => {
    const byname = new EngineUnderTest(serversWith(1, 'random', { deadlineMs: 4500 }))
    byname.ask('example.org')
    pass(byname, 5000)
    // The fourth goes over TCP, and it is the last.
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([3, 1])
    expect(byname.upstream(0, 'failuresTimeout')).toBe(4)
  })
})

/** A zone's CNAMEs that are a loop, and those that are too many. */
const LOOP = [cname('b.example'), cname('www.example.org', 60, 'b.example')]
const LONG = Array.from({ length: 20 }, (_, k) =>
  cname(`n${k + 1}.example`, 60, k === 0 ? 'www.example.org' : `n${k}.example`),
)
/** The same as servers write it: each owner is a pointer to the data before it, whose record has 12 bytes and a name. */
const COMPRESSED = LONG.map((link, k) => ({ ...link, owner: k === 0 ? link.owner : pointerTo(k) }))

function pointerTo(link: number): Uint8Array {
  // Header, question, and the records so far: the first name is written out.
  const firstData = 12 + 'www.example.org'.length + 2 + 4 + ('www.example.org'.length + 2) + 10
  const sizes = LONG.slice(0, link - 1).map(({ data }, k) => data.length + 10 + (k + 1 < LONG.length ? 2 : 0))
  return u16(0xc000 | (firstData + sizes.reduce((sum, size) => sum + size, 0)))
}

describe('what whoever owns a zone decides is not held against a server', () => {
  it.each([
    ['CNAMEs that are a loop', LOOP],
    ['CNAMEs without end', LONG],
    ['CNAMEs without end, their names compressed', COMPRESSED],
  ])('%s: each server is asked once, the client gets SERVFAIL, and none is down', (_, answers) => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential', { cache: { maxBytes: 0 } }))
    for (let n = 0; n < 10; n++) {
      byname.outlet.queries.length = 0
      const asked = byname.ask('www.example.org')
      byname.answer({ answers })
      byname.answer({ answers })
      expect([byname.serversAsked, asked.reply?.rcode]).toEqual([[0, 1], 2])
    }
    expect([0, 1].map((index) => byname.upstream(index, 'healthy'))).toEqual([1, 1])
    expect([byname.upstream(0, 'failuresMalformed'), byname.dropped('malformedReply')]).toEqual([10, 20])
  })

  it('a loop that one server alone is given does not put it behind the others', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential', { cache: { maxBytes: 0 } }))
    for (let n = 0; n < 10; n++) {
      const asked = byname.ask('www.example.org')
      expect(byname.lastQuery.server).toBe(0)
      byname.answer({ answers: LOOP })
      byname.answer({ answers: [a(1)] })
      expect(asked.reply?.rcode).toBe(0)
    }
  })

  it('a message that cannot be read is', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (const name of ['a.example', 'b.example']) {
      byname.ask(name)
      byname.answer({ answers: [record(1, 60, Uint8Array.of(1))] })
      byname.failStream('refused')
      byname.answer({ answers: [a(1)] })
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
  })

  it('a message that was cut on the way is not, if the server has TCP', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 5; n++) {
      byname.ask(`n${n}.example`)
      byname.answer({ answers: [record(1, 60, Uint8Array.of(1))] })
      byname.answerStream({ answers: [a(1)] })
    }
    expect(byname.upstream(0, 'healthy')).toBe(1)
  })
})

describe('a server without TCP', () => {
  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['refuses', (byname) => byname.failStream('network')],
    ['does not answer', (byname) => byname.advance(1000)],
  ])('that %s connections is well, however many answers it has to cut off', (_, fails) => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    for (let n = 0; n < 10; n++) {
      const asked = byname.ask(`n${n}.example`)
      expect(byname.lastQuery.server).toBe(0)
      byname.answer({ flags: 0x8380 })
      fails(byname)
      byname.answer({ answers: [a(1)] })
      expect(asked.reply).toMatchObject({ rcode: 0, tc: false })
      byname.advance(2000)
    }
    expect(byname.upstream(0, 'healthy')).toBe(1)
    expect(byname.upstream(0, 'failuresNetwork') + byname.upstream(0, 'failuresTimeout')).toBe(10)
  })

  it('that is one for TCP alone is down after two questions, as ever', () => {
    const servers = [server('one', 'tcp'), server('two')]
    const byname = new EngineUnderTest({ servers })
    for (let n = 0; n < 2; n++) {
      byname.ask(`n${n}.example`)
      byname.failStream('network')
      byname.answer({ answers: [a(1)] })
    }
    expect(byname.upstream(0, 'healthy')).toBe(0)
  })
})
