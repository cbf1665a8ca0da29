import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Ede, EdnsOption, Rcode, Type } from '../../src/dns/constants.ts'
import { Engine } from '../../src/engine/engine.ts'
import { Cell } from '../../src/stats/counters.ts'
import type { Image } from '../../src/table/image.ts'
import { compiled, imageOf, info, newCompiler, service } from '../table/compiled.ts'
import { a, bytes, decode, message, opt, type WireMessage } from '../dns/messages.ts'
import { EngineUnderTest, randomNumbers, settingsWith } from './engine-under-test.ts'

const STRANGER = Uint8Array.of(203, 0, 113, 9)
const WEB = 'web.shop.svc.cluster.local'
const table = new Map([
  service('web', 'shop', ['10.0.0.1', '10.0.0.2']),
  ['many.example', info({ ips: Array.from({ length: 90 }, (_, k) => `10.1.0.${k}`) })],
  ['*.wild.example', info({ ips: ['192.0.2.8', 'fd00::8'] })],
  ['x.localhost', info({ ips: ['192.0.2.9'] })],
])
const image: Image = imageOf(table)

describe('the order of answers', () => {
  it('is mesh, special names, cache, upstream', () => {
    const byname = new EngineUnderTest({}, image)
    byname.ask(WEB)
    byname.ask('x.localhost')
    byname.ask('localhost')
    byname.ask('example.org')
    byname.answer({ answers: [a(1)] })
    byname.ask('example.org')
    expect([0, 1, 2, 3, 4].map((source) => byname.responses(source))).toEqual([2, 1, 0, 1, 1])
  })

  it('changes at once for a name that becomes a mesh name, though it is cached', () => {
    const byname = new EngineUnderTest()
    byname.ask(WEB)
    byname.answer({ answers: [a(77)] })
    expect(byname.ask(WEB).reply!.answers[0]!.data).toBe('192.0.2.77')
    byname.engine.adopt(image)
    expect(byname.ask(WEB).reply!.answers.length).toBe(2)
    expect(byname.cell('imageGeneration')).toBe(image.generation)
    expect(byname.engine.image).toBe(image)
  })

  it('leaves nothing of the cache under another seed', () => {
    const byname = new EngineUnderTest()
    byname.ask('example.org')
    byname.answer({ answers: [a(1)] })
    byname.engine.adopt(compiled(newCompiler({ seed: 99 }), table).image)
    expect(byname.ask('example.org').reply).toBeNull()
    byname.answer({ answers: [a(2)] })
    expect(byname.ask('example.org').reply!.answers[0]!.data).toBe('192.0.2.2')
    expect(byname.ask(WEB).reply!.answers.length).toBe(2)
  })
})

describe('before the first table', () => {
  it.each<['servfail' | 'forward' | 'auto', number, boolean]>([
    ['servfail', 0, true],
    ['servfail', 3_600_000, true],
    ['forward', 0, false],
    ['auto', 0, true],
    ['auto', 4999, true],
    ['auto', 5000, false],
  ])('%s after %i ms: SERVFAIL %s', (beforeSync, after, isRefused) => {
    const byname = new EngineUnderTest({ beforeSync })
    byname.advance(after)
    const asked = byname.ask('example.org', Type.A, { edns: {} })
    if (isRefused) expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NOT_READY })
    else expect(asked.reply).toBeNull()
    expect(byname.outlet.queries.length).toBe(isRefused ? 0 : 1)
    expect(byname.ask('localhost').reply!.rcode).toBe(0)
  })

  it('counts from when the daemon started, not the worker', () => {
    const byname = new EngineUnderTest({ beforeSync: 'auto', startedAtMs: 2000 })
    byname.advance(6999)
    expect(byname.ask('example.org').reply!.rcode).toBe(Rcode.SERVFAIL)
    byname.advance(1)
    expect(byname.ask('example.org').reply).toBeNull()
  })

  it('is over with the table', () => {
    const byname = new EngineUnderTest({ beforeSync: 'servfail' }, image)
    expect(byname.ask(WEB).reply!.rcode).toBe(0)
    expect(byname.ask('example.org').reply).toBeNull()
  })
})

describe('who may ask', () => {
  it('strangers are refused, whatever they ask, and counted', () => {
    const byname = new EngineUnderTest({}, image)
    byname.from(STRANGER)
    for (const name of [WEB, 'localhost', 'example.org']) {
      expect(byname.ask(name, Type.A, { edns: {} }).reply).toMatchObject({
        rcode: Rcode.REFUSED,
        ede: Ede.PROHIBITED,
        answers: [],
      })
    }
    expect(byname.counters.responsesOf(4, Rcode.REFUSED)).toBe(3)
    expect(byname.outlet.queries.length).toBe(0)
    byname.from(Uint8Array.of(127, 0, 0, 1))
    expect(byname.ask(WEB).reply!.rcode).toBe(0)
  })

  it('those that access names may, with the payload for others', () => {
    const byname = new EngineUnderTest({ access: [{ address: Uint8Array.of(203, 0, 113, 0), length: 24 }] }, image)
    byname.from(STRANGER)
    expect(byname.ask(WEB, Type.A, { edns: {} }).reply!.opt!.udpPayloadSize).toBe(1232)
  })

  it('own addresses may, with the payload for this machine', () => {
    const byname = new EngineUnderTest({ ownAddresses: [STRANGER] }, image)
    byname.from(STRANGER)
    expect(byname.ask(WEB, Type.A, { edns: {} }).reply!.opt!.udpPayloadSize).toBe(4096)
  })
})

describe('what is no ordinary query', () => {
  const byname = new EngineUnderTest({}, image)
  const ask = (parts: WireMessage): ReturnType<EngineUnderTest['askRaw']>['reply'] =>
    byname.askRaw(message(parts)).reply
  const question: WireMessage = { questions: [['Example.org', 1]] }

  it.each<[string, WireMessage, number]>([
    ['another opcode', { ...question, flags: 0x1100 }, Rcode.NOTIMP],
    [
      'two questions',
      {
        questions: [
          ['a', 1],
          ['b', 1],
        ],
      },
      Rcode.FORMERR,
    ],
    ['no question', {}, Rcode.FORMERR],
    ['class CH', { questions: [['version.bind', 16, 3]] }, Rcode.REFUSED],
    ['AXFR', { questions: [['example.org', 252]] }, Rcode.REFUSED],
    ['two OPTs', { ...question, additionals: [opt(), opt()] }, Rcode.FORMERR],
    ['EDNS version 1', { ...question, additionals: [opt({ version: 1 })] }, Rcode.BADVERS],
  ])('%s is answered without records', (_, parts, rcode) => {
    const reply = ask({ id: 0x1111, ...parts })!
    expect([reply.id, reply.rcode, reply.ra, reply.answers.length]).toEqual([0x1111, rcode, true, 0])
    expect(reply.opt !== null).toBe(parts.additionals !== undefined)
    if (reply.questions.length > 0) expect(reply.questions[0]!.name).toBe(parts.questions![0]![0])
  })

  it('no question but a cookie is answered with NOERROR', () => {
    const reply = ask({ additionals: [opt({ options: [[EdnsOption.COOKIE, new Uint8Array(8)]] })] })!
    expect([reply.rcode, reply.questions.length, reply.opt !== null]).toEqual([0, 0, true])
  })

  it('UPDATE and DSO have counts of their own', () => {
    const fresh = new EngineUnderTest()
    fresh.askRaw(message({ ...question, flags: 0x2800 }))
    fresh.askRaw(message({ flags: 0x3000 }))
    fresh.askRaw(message({ flags: 0x1000 }))
    expect([fresh.cell('updateRequests'), fresh.cell('dsoRequests')]).toEqual([1, 1])
    expect(fresh.counters.responsesOf(4, Rcode.NOTIMP)).toBe(3)
  })

  it('a runt or a response gets no reply, and is counted', () => {
    const fresh = new EngineUnderTest()
    expect(fresh.askRaw(new Uint8Array(11)).reply).toBeNull()
    expect(fresh.askRaw(message({ ...question, flags: 0x8100 })).reply).toBeNull()
    expect([fresh.dropped('runt'), fresh.dropped('response'), fresh.requests, fresh.waiting]).toEqual([1, 1, 0, 0])
  })

  it('a datagram larger than any buffer is FORMERR', () => {
    const fresh = new EngineUnderTest()
    const out = new Uint8Array(600)
    const cut = (packet: Uint8Array): Uint8Array => out.slice(5, 5 + fresh.engine.cutQuery(bytes(0, packet), 1, out, 5))
    expect(decode(cut(message({ id: 9, ...question })))).toMatchObject({ id: 9, rcode: Rcode.FORMERR, questions: [] })
    expect(cut(message({ ...question, flags: 0x8000 })).length).toBe(0)
    expect([fresh.requests, fresh.responses(), fresh.dropped('response')]).toEqual([1, 1, 1])
  })

  it('a datagram larger than any buffer, from somebody who may not ask, is REFUSED and no FORMERR', () => {
    const fresh = new EngineUnderTest()
    const out = new Uint8Array(600)
    const packet = message({ id: 9, ...question, additionals: [opt({})] })
    const cut = (): Uint8Array => out.slice(5, 5 + fresh.engine.cutQuery(packet, 0, out, 5))
    fresh.from(STRANGER)
    // Nothing behind the header was read: no question is repeated, and no OPT.
    expect(decode(cut())).toMatchObject({ id: 9, rcode: Rcode.REFUSED, questions: [], answers: [], opt: null })
    expect([fresh.requests, fresh.counters.responsesOf(4, Rcode.REFUSED), fresh.waiting]).toEqual([1, 1, 0])
    fresh.from(Uint8Array.of(127, 0, 0, 1))
    expect(decode(cut())).toMatchObject({ rcode: Rcode.FORMERR })
  })
})

describe('counts', () => {
  it('of requests tell type, family and transport', () => {
    const byname = new EngineUnderTest({}, image)
    byname.ask(WEB, Type.AAAA, { tcp: true })
    byname.from(bytes(new Uint8Array(15), 1))
    byname.ask(WEB)
    byname.ask(WEB, 999)
    expect(byname.counters.requestsOf(1, 0, 2)).toBe(1)
    expect([byname.counters.requestsOf(0, 1, 1), byname.counters.requestsOf(0, 1, 0)]).toEqual([1, 1])
    expect(byname.requests).toBe(3)
  })

  it('of durations take a batch’s answers together, and those that waited one by one', () => {
    const byname = new EngineUnderTest({}, image)
    byname.ask(WEB)
    byname.ask(WEB)
    byname.ask('example.org')
    byname.engine.endBatch(0.2)
    expect(byname.counters.durationSumOf(0)).toBeCloseTo(0.0004)
    expect(byname.counters.durationsOf(0).reduce((x, y) => x + y)).toBe(2)
    byname.advance(300)
    byname.answer({ answers: [a(1)] })
    byname.engine.endBatch(byname.now)
    expect(byname.counters.durationSumOf(3)).toBeCloseTo(0.3)
    expect([byname.cell('cacheEntries'), byname.cell('cacheEvictions')]).toEqual([1, 0])
    expect(byname.cell('cacheBytes')).toBe(byname.engine.cache!.bytes)
    byname.engine.endBatch(byname.now + 5)
    expect(byname.counters.durationsOf(0).reduce((x, y) => x + y)).toBe(2)
  })

  it('of the cache show that it was turned off', () => {
    const byname = new EngineUnderTest()
    byname.ask('example.org')
    byname.answer({ answers: [a(1)] })
    byname.engine.endBatch(byname.now)
    expect(byname.cell('cacheEntries')).toBe(1)
    byname.engine.configure(settingsWith({ cache: { maxBytes: 0 } }))
    byname.engine.endBatch(byname.now)
    expect([byname.cell('cacheEntries'), byname.cell('cacheBytes')]).toEqual([0, 0])
  })

  it('of what is under way begin anew with the worker that takes a dead one’s place', () => {
    const byname = new EngineUnderTest()
    byname.ask('example.org')
    const { counters, engine, outlet, settings } = byname
    expect(counters.get(Cell.inFlight)).toBe(1)
    const next = new Engine({ settings, outlet, counters, random: randomNumbers(), seed: engine.seed, now: 0 })
    expect([next.isQuiet, counters.get(Cell.inFlight)]).toEqual([true, 0])
  })

  it('of the cache tell hits and misses', () => {
    const byname = new EngineUnderTest()
    byname.ask('example.org')
    byname.answer({ answers: [a(1)] })
    byname.ask('example.org')
    byname.ask('example.org', Type.A, { flags: 0 })
    expect([byname.cell('cacheRequests'), byname.cell('cacheHitsPositive'), byname.cell('cacheHitsNegative')]).toEqual([
      2, 1, 0,
    ])
  })
})

it('time never goes back', () => {
  const byname = new EngineUnderTest()
  byname.advance(1000)
  byname.engine.advance(500)
  expect(byname.engine.now).toBe(1000)
})

const names = fc.constantFrom(
  WEB,
  'web',
  'a.wild.example.shop.svc.cluster.local',
  'many.example',
  'A.Wild.example',
  'localhost',
  'x.onion',
  'example.org',
  'other.example',
  '1.0.0.10.in-addr.arpa',
  '.',
)

const query = fc
  .record({
    id: fc.nat(0xffff),
    flags: fc.constantFrom(0x0100, 0x0110, 0x0120, 0, 0x2800, 0x0300),
    name: names,
    type: fc.constantFrom(1, 1, 28, 12, 15, 65, 255, 252, 6),
    qclass: fc.constantFrom(1, 1, 1, 1, 1, 3, 255),
    edns: fc.option(fc.record({ payload: fc.nat(5000), version: fc.constantFrom(0, 0, 0, 1), dnssecOk: fc.boolean() })),
  })
  .map(({ id, flags, name, type, qclass, edns }) =>
    message({ id, flags, questions: [[name, type, qclass]], additionals: edns === null ? [] : [opt(edns)] }),
  )

const packet = fc.oneof(
  { weight: 3, arbitrary: query },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        query,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.option(fc.nat(), { freq: 3 }),
        fc.uint8Array({ maxLength: 8 }),
      )
      .map(([whole, changes, cut, tail]) => {
        const changed = whole.slice(0, cut === null ? undefined : cut % whole.length)
        if (changed.length > 0) for (const [at, value] of changes) changed[at % changed.length] = value
        return bytes(changed, tail)
      }),
  },
)

type Step =
  | { kind: 'ask'; packet: Uint8Array; tcp: boolean; stranger: boolean }
  | { kind: 'wait'; ms: number }
  | { kind: 'upstream'; seed: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      packet,
      tcp: fc.boolean(),
      stranger: fc.nat(9).map((n) => n === 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(3000) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('upstream' as const), seed: fc.nat() }) },
)

/** Lets an upstream server say something to a question of the engine: sense, nonsense, or nothing but an error. */
function speak(byname: EngineUnderTest, seed: number): void {
  const random = randomNumbers(seed)
  const { queries, streams } = byname.outlet
  const kind = (random() >>> 0) % 8
  if (kind === 0 && streams.length > 0) return byname.answerStream({ answers: [a(1)] })
  const sent = queries[(random() >>> 0) % Math.max(1, queries.length)]
  if (sent === undefined) return
  if (kind === 1) return byname.fail((random() >>> 0) % 16, sent)
  if (kind === 2) return byname.answer({ flags: 0x8380 }, sent)
  if (kind === 3) return byname.socketFailed(sent.socket)
  const parts: WireMessage = { answers: Array.from({ length: (random() >>> 0) % 70 }, (_, k) => a(k, 1 + (k % 9))) }
  if (kind < 6) return byname.answer(parts, sent)
  const noise = message({ ...parts, id: decode(sent.bytes).id, flags: 0x8180, questions: [['example.org', 1]] })
  for (let k = 0; k < 3; k++) noise[12 + ((random() >>> 0) % (noise.length - 12))] = random()
  byname.datagram(sent.socket, noise)
}

describe('whatever arrives', () => {
  it('nothing throws, every reply parses and fits, and every query is accounted for', () => {
    let replies = 0
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const byname = new EngineUnderTest({ maxInFlight: 8, cache: { maxBytes: 4096, staleSeconds: 60 } }, image)
        const local = Uint8Array.of(127, 0, 0, 1)
        const all: { packet: Uint8Array; tcp: boolean; asked: ReturnType<EngineUnderTest['askRaw']> }[] = []
        for (const one of steps) {
          if (one.kind === 'wait') byname.advance(one.ms)
          else if (one.kind === 'upstream') speak(byname, one.seed)
          else {
            byname.from(one.stranger ? STRANGER : local, one.tcp ? 1 : 0)
            // The reply has been decoded by dns-packet if there was one.
            all.push({ packet: one.packet, tcp: one.tcp, asked: byname.askRaw(one.packet) })
          }
        }
        for (let at = 0; at < 20; at++) byname.advance(500)
        for (const { packet: sent, tcp, asked } of all) {
          if (sent.length < 12 || (sent[2]! & 0x80) !== 0) {
            expect(asked.reply).toBeNull()
            continue
          }
          const got = asked.reply!
          replies++
          expect(got.id).toBe((sent[0]! << 8) | sent[1]!)
          expect([got.ra, got.flags & 0x8000]).toEqual([true, 0x8000])
          expect(asked.length).toBeLessThanOrEqual(tcp ? 65_535 : limitOf(sent))
          if (got.questions.length === 0) expect([0, 1, 4, 5]).toContain(got.rcode)
          else
            expect(questionOf(got)).toEqual(
              questionOf(decode(bytes(sent.slice(0, 4), 0, 1, 0, 0, 0, 0, 0, 0, sent.slice(12, questionEnd(sent))))),
            )
        }
        expect(byname.waiting).toBe(0)
        expect(byname.engine.isQuiet).toBe(true)
        expect(byname.requests).toBe(byname.responses())
        expect(byname.requests + byname.dropped('runt') + byname.dropped('response')).toBe(all.length)
      }),
      { numRuns: 300, interruptAfterTimeLimit: 10_000 },
    )
    expect(replies).toBeGreaterThan(200)
  })
})

function questionOf(got: { questions: unknown[] }): unknown {
  return got.questions[0]
}

function questionEnd(sent: Uint8Array): number {
  let at = 12
  while (sent[at]! !== 0) at += sent[at]! + 1
  return at + 5
}

/** The most that a client may be sent: the payload of an OPT where there is a whole one, else 512. */
function limitOf(sent: Uint8Array): number {
  try {
    return Math.max(512, decode(sent).opt?.udpPayloadSize ?? 512)
  } catch {
    return 4096
  }
}
