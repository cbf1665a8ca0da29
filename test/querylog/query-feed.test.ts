import { beforeEach, describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { clientText, type LogWishes, nameOf, QueryFeed, type QuerySample } from '../../src/querylog/query-feed.ts'
import { QueryTap } from '../../src/querylog/query-tap.ts'
import { createRing } from '../../src/querylog/ring-layout.ts'
import type { QueryRecord } from '../../src/querylog/ring-reader.ts'
import { Source, SOURCES } from '../../src/stats/counters.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { decode, a } from '../dns/messages.ts'
import { EngineUnderTest, randomNumbers } from '../engine/engine-under-test.ts'

const EPOCH_MS = Date.UTC(2026, 10, 30, 18)

interface Line {
  atMs: number
  client: string
  proto: number
  name: string
  type: number
  rcode: number
  source: string
  micros: number
  size: number
  server: number
  query: Uint8Array
  reply: Uint8Array
}

function lineOf(record: QueryRecord): Line {
  const { bytes } = record
  return {
    atMs: record.receivedAtMs,
    client: `${clientText(record)} ${record.port}`,
    proto: record.proto,
    name: nameOf(record),
    type: record.type,
    rcode: record.rcode,
    source: SOURCES[record.source]!,
    micros: record.latencyMicros,
    size: record.size,
    server: record.server,
    query: bytes.slice(record.queryAt, record.queryAt + record.queryLength),
    reply: bytes.slice(record.replyAt, record.replyAt + record.replyLength),
  }
}

let clock: FakeClock
let feed: QueryFeed
let byname: EngineUnderTest
let lines: Line[]
let samples: QuerySample[]

beforeEach(() => {
  begin()
})

function begin(ringBytes: number = 64 * 1024): void {
  const ring = createRing(ringBytes)
  clock = new FakeClock()
  feed = new QueryFeed([ring], clock)
  byname = new EngineUnderTest({}, null, new QueryTap(ring, randomNumbers(7), () => EPOCH_MS + byname.now))
  lines = []
  samples = []
}

function note(record: QueryRecord): void {
  lines.push(lineOf(record))
}

function log(changes: Partial<LogWishes> = {}): void {
  const all = { sources: -1, rcodes: -1, logPeriod: 1, leastLatencyMicros: 0, hasMessages: false }
  feed.setLog({ ...all, handle: note, sliceEnded: () => {}, ...changes })
  byname.advance(0)
}

function sample(): () => void {
  const end = feed.subscribe((each) => void samples.push(each))
  byname.advance(0)
  return end
}

/** Ends the batch after so long, and lets the control thread look. */
function endBatch(millis = 0.25): void {
  byname.engine.endBatch(byname.now + millis)
  clock.advance(5000)
}

describe('the log is told', () => {
  it('who asked what, what the answer was and how long it took', () => {
    log()
    byname.advance(5)
    byname.from(Uint8Array.of(127, 0, 0, 1), 0, 40_000)
    byname.ask('Reviews.Example', Type.A)
    byname.advance(20)
    byname.answer({ answers: [a(1), a(2)] })
    byname.ask('reviews.example', Type.A)
    endBatch()
    expect(lines).toMatchObject([
      {
        atMs: EPOCH_MS + 5,
        client: '127.0.0.1 40000',
        proto: 0,
        name: 'Reviews.Example.',
        type: Type.A,
        rcode: Rcode.NOERROR,
        source: 'upstream',
        micros: 20_000,
      },
      { atMs: EPOCH_MS + 25, client: '127.0.0.1 40000', name: 'reviews.example.', source: 'cache', micros: 250 },
    ])
    expect(lines[0]!.size).toBe(lines[1]!.size)
  })

  it('the address and port of each client that waited for the same answer, of either family and transport', () => {
    log()
    const six = Uint8Array.from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    byname.settings.access.push({ address: six, length: 128 })
    const address = Uint8Array.of(127, 0, 0, 9)
    byname.from(address, 0, 1001)
    byname.ask('example.org')
    // The driver's memory has somebody else's by the time of the answer.
    address.fill(1)
    byname.from(six, 1, 65_535)
    byname.ask('example.org')
    byname.answer({ answers: [a(1)] })
    endBatch()
    expect(lines.map(({ client, proto }) => [client, proto])).toEqual([
      ['127.0.0.9 1001', 0],
      ['2001:db8::1 65535', 1],
    ])
  })

  it('of errors, also to queries that have no question', () => {
    log()
    byname.askRaw(Uint8Array.of(0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    byname.from(Uint8Array.of(192, 0, 2, 1), 0, 9)
    byname.ask('example.org')
    endBatch()
    expect(lines).toMatchObject([
      { name: '', rcode: Rcode.FORMERR, source: 'local' },
      { name: 'example.org.', rcode: Rcode.REFUSED, client: '192.0.2.1 9' },
    ])
  })

  it('nothing of what was answered before anybody wanted to know, or after the log has ended', () => {
    byname.advance(0)
    byname.ask('example.org', Type.ANY)
    endBatch()
    log()
    byname.ask('example.net', Type.ANY)
    endBatch()
    feed.setLog(null)
    byname.advance(0)
    byname.ask('example.com', Type.ANY)
    endBatch()
    expect(lines.map(({ name }) => name)).toEqual(['example.net.'])
    expect(clock.pending).toEqual([])
  })

  it('what was answered last, when the daemon stops', () => {
    log()
    byname.ask('example.org', Type.ANY)
    byname.engine.endBatch(byname.now)
    feed.stop()
    expect(lines).toHaveLength(1)
    expect(clock.pending).toEqual([])
  })

  it('only of the sources, rcodes and latencies that are wanted', () => {
    const wishes = [
      { sources: 1 << Source.local },
      { rcodes: 1 << Rcode.NXDOMAIN },
      { leastLatencyMicros: 10_000 },
      { leastLatencyMicros: 1000 },
    ]
    for (const wish of wishes) {
      log(wish)
      byname.ask('localhost')
      byname.ask('example.org')
      byname.advance(30)
      byname.fail(Rcode.NXDOMAIN)
      byname.ask('example.com')
      byname.answer({ answers: [a(1)] })
      endBatch(2)
      byname.engine.cache!.flush()
    }
    expect(lines.map(({ name }) => name)).toEqual([
      'localhost.',
      'example.org.',
      'example.org.',
      'localhost.',
      'example.org.',
      'example.com.',
    ])
  })

  it('of one in so many, at random', () => {
    log({ logPeriod: 10 })
    for (let k = 0; k < 5000; k++) {
      byname.ask('localhost', k % 2 === 0 ? Type.A : Type.AAAA)
      if (k % 50 === 0) endBatch()
    }
    endBatch()
    const v4 = lines.filter(({ type }) => type === Type.A).length
    expect(lines.length / 500).toBeCloseTo(1, 0)
    expect(v4 / lines.length).toBeCloseTo(0.5, 1)
  })

  it('query and reply as they were, where they are wanted; of a query that waited its options are gone', () => {
    log({ hasMessages: true })
    byname.ask('example.org', Type.AAAA, { id: 0x1234, edns: { payload: 4000, dnssecOk: true } })
    byname.answer({ answers: [a(1)] })
    const asked = byname.ask('localhost', Type.A, { id: 7, edns: { payload: 1400 } })
    endBatch()
    const [waited, atOnce] = lines.map(({ query }) => decode(query))
    expect(waited).toMatchObject({ id: 0x1234, opt: { udpPayloadSize: 4000, flag_do: true } })
    expect(atOnce).toMatchObject({ id: 7, opt: { udpPayloadSize: 1400, flag_do: false } })
    expect(decode(lines[1]!.reply)).toEqual(asked.reply)
    expect(lines[1]!.reply).toHaveLength(lines[1]!.size)
  })
})

it('every answer is either told of or counted as dropped', () => {
  begin(0)
  log()
  for (let k = 0; k < 500; k++) {
    byname.ask('localhost', k % 2 === 0 ? Type.A : Type.AAAA)
    if (k % 250 === 0) endBatch()
  }
  endBatch()
  expect(feed.dropped).toBeGreaterThan(0)
  expect(lines.length + feed.dropped).toBe(byname.responses())
})

describe('samples', () => {
  it('are all answers as long as these are few, with names in lower case', () => {
    sample()
    for (let k = 0; k < 20; k++) byname.ask('LocalHost')
    endBatch(0.5)
    expect(samples).toHaveLength(20)
    expect(samples[0]).toEqual({
      atMs: EPOCH_MS,
      name: 'localhost.',
      type: Type.A,
      rcode: Rcode.NOERROR,
      source: Source.local,
      latencyMs: 0.5,
      client: '127.0.0.1',
      weight: 1,
      isFailure: false,
    })
  })

  it('stay few however many answers there are, and their weights tell how many', () => {
    begin(1024 * 1024)
    sample()
    const seconds = 8
    const rate = 5000
    for (let second = 0; second < seconds; second++) {
      const before = samples.length
      for (let k = 0; k < rate; k++) {
        byname.ask('localhost')
        if (k % 64 === 0) byname.engine.endBatch(byname.now)
      }
      endBatch()
      byname.advance(1000)
      expect(samples.length - before).toBeLessThan(1000)
    }
    const weight = samples.reduce((sum, each) => sum + each.weight, 0)
    expect(weight / (seconds * rate)).toBeCloseTo(1, 0)
    const before = samples.length
    // When it has become quiet again all of the few are seen.
    for (let second = 0; second < 20; second++) byname.advance(1000)
    for (let k = 0; k < 5; k++) byname.ask('localhost')
    endBatch()
    expect(samples.length - before).toBe(5)
  })

  it('have failures beside them, a bounded number in a second', () => {
    sample()
    for (let k = 0; k < 5000; k++) byname.ask('localhost')
    endBatch()
    samples.length = 0
    for (let k = 0; k < 80; k++) byname.ask(`n${k}.example`)
    byname.advance(10)
    byname.advance(5000)
    endBatch()
    byname.advance(1000)
    const failures = samples.filter(({ isFailure }) => isFailure)
    expect(failures.length).toBeGreaterThanOrEqual(50)
    expect(failures.length).toBeLessThan(80)
    expect(new Set(failures.map(({ name }) => name)).size).toBe(failures.length)
  })

  it('go to whoever has subscribed, until that ends', () => {
    const others: QuerySample[] = []
    const endFirst = sample()
    const endSecond = feed.subscribe((each) => void others.push(each))
    byname.ask('localhost')
    endBatch()
    endFirst()
    endFirst()
    byname.ask('localhost')
    endBatch()
    endSecond()
    byname.advance(0)
    byname.ask('localhost')
    endBatch()
    expect([samples.length, others.length]).toEqual([1, 2])
    expect(clock.pending).toEqual([])
  })

  it('and the log are taken apart', () => {
    sample()
    log({ rcodes: 1 << Rcode.NXDOMAIN })
    byname.ask('localhost')
    byname.ask('example.invalid')
    endBatch()
    expect(lines.map(({ name }) => name)).toEqual(['example.invalid.'])
    expect(samples.map(({ name }) => name)).toEqual(['localhost.', 'example.invalid.'])
  })
})
