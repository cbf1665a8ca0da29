import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Ede, Type } from '../../src/dns/constants.ts'
import { ageOf, AnswerStore, storedBytes, StoredFlag, writeStored } from '../../src/engine/cache/stored-answer.ts'
import {
  a,
  bytes,
  cname,
  decode,
  type DecodedMessage,
  opt,
  record,
  soa,
  u16,
  type WireMessage,
} from '../dns/messages.ts'
import { randomNumbers } from './engine-under-test.ts'
import { type AskingStored, BOUNDS, clientQuery, keyOf, StoredMessage } from './stored-message.ts'

interface Serving extends AskingStored {
  age?: number
  stale?: number
  ede?: number
  random?: number
}

function serve(stored: StoredMessage, name: string, serving: Serving = {}): DecodedMessage & { length: number } {
  const { age = 0, stale = -1, ede = Ede.NONE, random = 0 } = serving
  const out = new Uint8Array(70_000).fill(0xee)
  const query = clientQuery(name, serving)
  const length = writeStored(stored.store, stored.at, query, age, stale, ede, random, out, 7)
  expect(length).toBeLessThanOrEqual(query.limit)
  expect(out[7 + length]).toBe(0xee)
  return { ...decode(out.slice(7, 7 + length)), length }
}

function ttls(reply: DecodedMessage): number[] {
  return [...reply.answers, ...reply.authorities, ...reply.additionals.filter(({ type }) => type !== 'OPT')].map(
    ({ ttl }) => ttl,
  )
}

function addresses(reply: DecodedMessage): unknown[] {
  return reply.answers.filter(({ type }) => type === 'A').map(({ data }) => data)
}

function isNegative(parts: WireMessage): boolean {
  const { store, at } = new StoredMessage('a', parts)
  return store.has(at, StoredFlag.NEGATIVE)
}

describe('how long an answer may be served', () => {
  it.each<[string, WireMessage, number]>([
    [
      'the least TTL of all records',
      { answers: [cname('x', 200), a(1, 100, 'x')], authorities: [record(2, 50, bytes(0))] },
      50,
    ],
    ['additional records included', { answers: [a(1, 100)], additionals: [a(2, 5, 'ns')] }, 5],
    ['but not the OPT, whose TTL is none', { answers: [a(1, 100)], additionals: [opt()] }, 100],
    ['not at all with a TTL of zero', { answers: [a(1, 0), a(2, 60)] }, 0],
    ['not at all with the top bit set', { answers: [a(1, 0x80000001)] }, 0],
    ['at most the maximum', { answers: [a(1, 100_000)] }, 3600],
    ['NXDOMAIN by the SOA’s TTL', { flags: 0x8183, authorities: [soa('org', 20, 30)] }, 20],
    ['NXDOMAIN by the SOA’s MINIMUM', { flags: 0x8183, authorities: [soa('org', 30, 20)] }, 20],
    ['NODATA by the SOA', { authorities: [soa('org', 30, 20)] }, 20],
    ['NODATA behind a CNAME by the lesser', { answers: [cname('x', 10)], authorities: [soa('org', 30, 20)] }, 10],
    ['a negative answer at most its own maximum', { flags: 0x8183, authorities: [soa('org', 9999, 9999)] }, 300],
    ['NXDOMAIN without SOA not at all', { flags: 0x8183 }, 0],
    ['NODATA without SOA not at all', {}, 0],
    ['a negative answer of MINIMUM 0 not at all', { authorities: [soa('org', 30, 0)] }, 0],
    ['another rcode not at all', { flags: 0x8186, answers: [a(1, 60)] }, 0],
    ['an extended rcode not at all', { answers: [a(1, 60)], additionals: [opt({ rcode: 1 })] }, 0],
  ])('%s', (_, parts, seconds) => {
    expect(new StoredMessage('example.org', parts).lifetime).toBe(seconds)
  })

  it('is at least the minimum, unless the TTL is zero', () => {
    const bounds = { ...BOUNDS, minTtlSeconds: 30 }
    expect(new StoredMessage('a', { answers: [a(1, 5)] }, { bounds }).lifetime).toBe(30)
    expect(new StoredMessage('a', { answers: [a(1, 0)] }, { bounds }).lifetime).toBe(0)
    const stored = new StoredMessage('a', { answers: [a(1, 5), a(2, 40)] }, { bounds })
    expect(ttls(serve(stored, 'a'))).toEqual([30, 40])
  })

  it('lets the greatest bound win where they contradict each other', () => {
    const bounds = { minTtlSeconds: 60, maxTtlSeconds: 3600, maxNegativeTtlSeconds: 10 }
    expect(new StoredMessage('a', { authorities: [soa('org', 30, 30)] }, { bounds }).lifetime).toBe(10)
  })

  it('is counted in whole seconds since it was stored', () => {
    const { store, at } = new StoredMessage('a', { answers: [a(1)] }, { now: 5000 })
    expect([5000, 5999, 6000, 4000].map((now) => ageOf(store, at, now))).toEqual([0, 0, 1, 0])
  })
})

describe('a stored answer', () => {
  const two: WireMessage = {
    answers: [a(1, 60), a(2, 100)],
    authorities: [record(2, 500, bytes(0))],
    additionals: [a(9, 3, 'ns')],
  }

  it('counts its TTLs down, to zero and no further', () => {
    const stored = new StoredMessage('example.org', two)
    expect(ttls(serve(stored, 'example.org', { age: 0 }))).toEqual([60, 100, 500, 3])
    expect(ttls(serve(stored, 'example.org', { age: 10 }))).toEqual([50, 90, 490, 0])
  })

  it('shows all TTLs as the stale one once it is stale', () => {
    const stored = new StoredMessage('example.org', two)
    const reply = serve(stored, 'example.org', { age: 10_000, stale: 30, ede: Ede.STALE_ANSWER, edns: {} })
    expect(ttls(reply)).toEqual([30, 30, 30, 30])
    expect(reply.ede).toBe(Ede.STALE_ANSWER)
  })

  it('shows a negative answer’s SOA with the negative TTL', () => {
    const stored = new StoredMessage('example.org', { flags: 0x8183, authorities: [soa('org', 3000, 100)] })
    const reply = serve(stored, 'example.org', { age: 30 })
    expect([reply.rcode, ...ttls(reply)]).toEqual([3, 70])
  })

  it('puts every address first about equally often', () => {
    const answers = Array.from({ length: 7 }, (_, k) => a(k + 1))
    const stored = new StoredMessage('example.org', {
      answers: [cname('x'), ...answers.map((one) => ({ ...one, owner: u16(0xc000 | 41) }))],
    })
    const first = new Map<unknown, number>()
    const random = randomNumbers(3)
    for (let k = 0; k < 350; k++) {
      const reply = serve(stored, 'example.org', { random: random() })
      expect(reply.answers[0]!.type).toBe('CNAME')
      const order = addresses(reply)
      expect(new Set(order).size).toBe(7)
      first.set(order[0], (first.get(order[0]) ?? 0) + 1)
    }
    expect(first.size).toBe(7)
    for (const count of first.values()) expect(count).toBeGreaterThan(25)
  })

  it('keeps the order of what is rotated', () => {
    const stored = new StoredMessage('example.org', { answers: [1, 2, 3, 4].map((k) => a(k)) })
    expect(addresses(serve(stored, 'example.org', { random: 2 }))).toEqual([
      '192.0.2.3',
      '192.0.2.4',
      '192.0.2.1',
      '192.0.2.2',
    ])
  })

  it('repeats the question in the client’s case', () => {
    const stored = new StoredMessage('eXAMPLE.org', two)
    const reply = serve(stored, 'Example.ORG')
    expect(reply.questions[0]!.name).toBe('Example.ORG')
    expect(reply.answers[0]!.name).toBe('Example.ORG')
    expect(reply.id).toBe(0x4242)
  })

  it('takes RD and CD from the client, sets RA, and neither AA nor the server’s Z', () => {
    const stored = new StoredMessage('a', { ...two, flags: 0x87f0 & ~0x0200 })
    expect(serve(stored, 'a', { flags: 0x0110 }).flags).toBe(0x8190)
    expect(serve(stored, 'a', { flags: 0x0000 }).flags).toBe(0x8080)
  })

  it('shows AD only to clients that asked for it, by AD or DO', () => {
    const authentic = new StoredMessage('a', { ...two, flags: 0x81a0 })
    expect(serve(authentic, 'a').ad).toBe(false)
    expect(serve(authentic, 'a', { flags: 0x0120 }).ad).toBe(true)
    expect(serve(authentic, 'a', { edns: { dnssecOk: true } }).ad).toBe(true)
    expect(serve(authentic, 'a', { edns: {} }).ad).toBe(false)
    expect(serve(new StoredMessage('a', two), 'a', { flags: 0x0120 }).ad).toBe(false)
  })

  it('has an OPT if the client sent one, its own and not the server’s', () => {
    const stored = new StoredMessage('a', {
      ...two,
      additionals: [a(9, 3, 'ns'), opt({ payload: 999, options: [[3, bytes(1)]] })],
    })
    expect(serve(stored, 'a').opt).toBeNull()
    const reply = serve(stored, 'a', { edns: { dnssecOk: true } })
    expect(reply.opt).toMatchObject({ udpPayloadSize: 1232, flag_do: true, options: [] })
    expect(reply.additionals.length).toBe(2)
  })

  it('is put anywhere in a store', () => {
    const stored = new StoredMessage('example.org', two, { at: 4096 })
    expect(ttls(serve(stored, 'example.org', { age: 1 }))).toEqual([59, 99, 499, 2])
    expect(stored.store.size(4096) % 8).toBe(0)
    expect(stored.store.hasKey(4096, bytes(0, keyOf('example.org')), 1, keyOf('example.org').length)).toBe(true)
    expect(stored.store.hasKey(4096, keyOf('example.org', Type.AAAA), 0, keyOf('example.org').length)).toBe(false)
    expect(stored.store.hasKey(4096, keyOf('xample.org'), 0, keyOf('xample.org').length)).toBe(false)
  })

  it('takes the bytes that are counted for it', () => {
    const stored = new StoredMessage('a', { answers: [a(1)] })
    expect(stored.store.size(0)).toBe(storedBytes(12 + 7 + 16, 1, 6))
    expect(new AnswerStore(1007).bytes.length).toBe(1000)
  })

  it('is known as negative or not', () => {
    expect(isNegative({ answers: [a(1)] })).toBe(false)
    expect(isNegative({ answers: [cname('b')], authorities: [soa('.', 1, 1)] })).toBe(true)
    expect(isNegative({ flags: 0x8183 })).toBe(true)
  })
})

describe('an answer over the client’s limit', () => {
  const many = Array.from({ length: 40 }, (_, k) => a(k + 1, 100))
  const length = 12 + 17 + 40 * 16

  it('keeps whole records and sets TC', () => {
    const stored = new StoredMessage('example.org', { answers: many, authorities: [record(2, 1, bytes(0))] })
    const reply = serve(stored, 'example.org', { age: 40 })
    expect([reply.tc, reply.answers.length, reply.authorities.length]).toEqual([true, 30, 0])
    expect(ttls(reply)).toEqual(Array.from({ length: 30 }, () => 60))
    expect(reply.length).toBeLessThanOrEqual(512)
    expect(reply.length + 16).toBeGreaterThan(512)
  })

  it('leaves room for the OPT and its extended error', () => {
    const stored = new StoredMessage('example.org', { answers: many })
    for (const limit of [512, 520, 528, 540, 600]) {
      const reply = serve(stored, 'example.org', { edns: { payload: limit }, limit, ede: Ede.STALE_ANSWER, stale: 30 })
      expect(reply.tc).toBe(true)
      expect(reply.ede).toBe(Ede.STALE_ANSWER)
      expect(reply.length + 16).toBeGreaterThan(limit)
      expect(reply.answers[0]!.ttl).toBe(30)
    }
  })

  it('is whole at exactly the limit', () => {
    const stored = new StoredMessage('example.org', { answers: many })
    expect(serve(stored, 'example.org', { limit: length })).toMatchObject({ tc: false, length })
    expect(serve(stored, 'example.org', { limit: length - 1 })).toMatchObject({ tc: true, length: length - 16 })
    expect(serve(stored, 'example.org', { limit: length + 11, edns: {} })).toMatchObject({ tc: false })
    expect(serve(stored, 'example.org', { limit: length + 10, edns: {} })).toMatchObject({ tc: true })
  })

  it('loses additional records without TC', () => {
    const stored = new StoredMessage('example.org', { answers: many.slice(0, 20), additionals: many })
    const reply = serve(stored, 'example.org')
    expect([reply.tc, reply.answers.length]).toEqual([false, 20])
    expect(reply.additionals.length).toBeGreaterThan(0)
    expect(reply.additionals.length).toBeLessThan(40)
  })

  it('sets TC where authority records are lost', () => {
    const stored = new StoredMessage('example.org', { answers: [a(1)], authorities: many })
    expect(serve(stored, 'example.org')).toMatchObject({ tc: true })
  })

  it('respects every limit', () => {
    const stored = new StoredMessage('example.org', {
      answers: many,
      authorities: [soa('org', 60, 60)],
      additionals: many,
    })
    fc.assert(
      fc.property(fc.integer({ min: 512, max: 1600 }), fc.boolean(), (limit, edns) => {
        const reply = serve(stored, 'example.org', edns ? { limit, edns: {} } : { limit })
        expect(reply.opt !== null).toBe(edns)
        expect(reply.tc).toBe(reply.authorities.length === 0)
      }),
    )
  })
})
