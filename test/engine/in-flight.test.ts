import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { MAX_ATTEMPTS, NONE } from '../../src/engine/forward/attempts.ts'
import { InFlight } from '../../src/engine/forward/in-flight.ts'
import { randomNumbers } from './engine-under-test.ts'
import { clientQuery, keyOf, weakHash } from './stored-message.ts'

function open(inFlight: InFlight, name: string, joinable: boolean = true): number {
  const key = keyOf(name)
  return inFlight.start(weakHash(key), key, key.length, joinable)
}

function find(inFlight: InFlight, name: string): number {
  const key = keyOf(name)
  return inFlight.find(weakHash(key), key, key.length)
}

describe('pending queries', () => {
  it('are found by their key as long as they are open', () => {
    const inFlight = new InFlight(4)
    const x = open(inFlight, 'a')
    expect(find(inFlight, 'a')).toBe(x)
    expect(find(inFlight, 'b')).toBe(NONE)
    inFlight.end(x)
    expect(find(inFlight, 'a')).toBe(NONE)
    expect(inFlight.open).toBe(0)
  })

  it('are not found if nobody may join', () => {
    const inFlight = new InFlight(4)
    const alone = open(inFlight, 'a', false)
    expect(find(inFlight, 'a')).toBe(NONE)
    const joinable = open(inFlight, 'a')
    inFlight.end(alone)
    expect(find(inFlight, 'a')).toBe(joinable)
  })

  it('are as many as there may be', () => {
    const inFlight = new InFlight(2)
    const first = open(inFlight, 'a')
    open(inFlight, 'b')
    expect(open(inFlight, 'c')).toBe(NONE)
    inFlight.end(first)
    expect(open(inFlight, 'c')).not.toBe(NONE)
  })

  it('have a capacity between 1 and 16,384', () => {
    expect([0, 1, 60_000].map((capacity) => new InFlight(capacity).capacity)).toEqual([1, 1, 16_384])
  })

  it('have places beside those, for what no client waits for', () => {
    const inFlight = new InFlight(2, 3)
    expect([inFlight.capacity, inFlight.waiters.capacity]).toEqual([5, 4])
  })

  it('have tokens that are good for one use', () => {
    const inFlight = new InFlight(3)
    open(inFlight, 'z')
    const x = open(inFlight, 'a')
    const token = inFlight.token(x)
    expect(inFlight.ofToken(token)).toBe(x)
    inFlight.end(x)
    expect(inFlight.ofToken(token)).toBe(NONE)
    expect(open(inFlight, 'a')).toBe(x)
    expect(inFlight.ofToken(token)).toBe(NONE)
    expect(inFlight.ofToken(65_535)).toBe(NONE)
    expect(inFlight.token(x)).toBeLessThan(2 ** 37)
  })

  it('stay apart from each other, whatever is opened and closed', () => {
    const names = Array.from({ length: 12 }, (_, k) => `n${k}`)
    fc.assert(
      fc.property(fc.array(fc.nat(names.length - 1), { maxLength: 80 }), (steps) => {
        const inFlight = new InFlight(6)
        const model = new Map<string, number>()
        for (const step of steps) {
          const name = names[step]!
          const known = model.get(name)
          if (known !== undefined) {
            inFlight.end(known)
            model.delete(name)
          } else {
            const x = open(inFlight, name)
            expect(x === NONE).toBe(model.size === 6)
            if (x !== NONE) model.set(name, x)
          }
          expect(inFlight.open).toBe(model.size)
          for (const other of names) expect(find(inFlight, other)).toBe(model.get(other) ?? NONE)
        }
      }),
    )
  })
})

describe('waiters', () => {
  it('come back in order, each with its own query', () => {
    const inFlight = new InFlight(4)
    const x = open(inFlight, 'a')
    const queries = ['A.example', 'a.EXAMPLE'].map((name, k) => {
      const query = clientQuery(name, {
        type: Type.MX,
        flags: k === 0 ? 0x0130 : 0x0100,
        ...(k === 0 ? { edns: { dnssecOk: true } } : {}),
      })
      query.id = 100 + k
      query.packet[query.at + 1] = 100 + k
      query.packet[query.at] = 0
      query.limit = 600 + k
      query.proto = k
      query.family = 1 - k
      query.receivedAt = 0.5 + k
      query.advertise = 4096 - k
      inFlight.waiters.add(x, query)
      return query
    })
    expect([inFlight.waiters.of(x), inFlight.waiters.held]).toEqual([2, 2])
    const taken = new ClientQuery()
    for (const query of queries) {
      const w = inFlight.waiters.take(x, taken)
      expect(w).not.toBe(NONE)
      for (const field of [
        'id',
        'flags',
        'type',
        'hasEdns',
        'dnssecOk',
        'limit',
        'proto',
        'family',
        'receivedAt',
        'advertise',
      ] as const) {
        expect(taken[field], field).toBe(query[field])
      }
      expect(taken.packet.slice(taken.at, taken.questionEnd)).toEqual(query.packet.slice(query.at, query.questionEnd))
      inFlight.waiters.release(w)
    }
    expect(inFlight.waiters.take(x, taken)).toBe(NONE)
    expect(inFlight.waiters.held).toBe(0)
  })

  it('keep their place until they are given back', () => {
    const inFlight = new InFlight(1)
    const x = open(inFlight, 'a')
    const query = clientQuery('a')
    expect(
      [inFlight.waiters.add(x, query), inFlight.waiters.add(x, query), inFlight.waiters.add(x, query)].indexOf(NONE),
    ).toBe(2)
    const w = inFlight.waiters.take(x, new ClientQuery())
    expect(inFlight.waiters.add(x, query)).toBe(NONE)
    inFlight.waiters.release(w)
    expect(inFlight.waiters.add(x, query)).toBe(w)
  })

  it.each([
    [1000, 512],
    [4096, 2048],
    [16_384, 8192],
  ])('with room for %i queries are at most %i to one', (capacity, most) => {
    const inFlight = new InFlight(capacity)
    const x = open(inFlight, 'a')
    const query = clientQuery('a')
    for (let k = 0; k < most; k++) expect(inFlight.waiters.add(x, query)).not.toBe(NONE)
    expect(inFlight.waiters.add(x, query)).toBe(NONE)
    expect(inFlight.waiters.add(open(inFlight, 'b'), query)).not.toBe(NONE)
  })

  it('hold the longest question', () => {
    const inFlight = new InFlight(4)
    const label = 'x'.repeat(63)
    const query = clientQuery(`${label}.${label}.${label}.${'y'.repeat(61)}`)
    const x = open(inFlight, 'a')
    inFlight.waiters.add(x, query)
    inFlight.waiters.add(x, clientQuery('after'))
    const taken = new ClientQuery()
    inFlight.waiters.take(x, taken)
    expect(taken.packet.slice(taken.at, taken.questionEnd)).toEqual(query.packet.slice(query.at, query.questionEnd))
  })
})

describe('attempts', () => {
  it('have ids of their own, even where the random numbers repeat', () => {
    const inFlight = new InFlight(200)
    const ids = new Set<number>()
    for (let k = 0; k < 200; k++) {
      const a = inFlight.attempts.start(open(inFlight, `n${k}`), 0, 0, () => 0x1_ffff)
      expect(inFlight.attempts.byId(inFlight.attempts.id(a))).toBe(a)
      ids.add(inFlight.attempts.id(a))
    }
    expect(ids.size).toBe(200)
  })

  it('are bounded for each pending query and in all', () => {
    const inFlight = new InFlight(2)
    const x = open(inFlight, 'a')
    const random = randomNumbers()
    for (let k = 0; k < MAX_ATTEMPTS; k++) expect(inFlight.attempts.start(x, k, 0, random)).not.toBe(NONE)
    expect(inFlight.attempts.start(x, 9, 0, random)).toBe(NONE)
    const y = open(inFlight, 'b')
    while (inFlight.attempts.start(y, 0, 0, random) !== NONE);
    expect(inFlight.attempts.open).toBe(inFlight.attempts.capacity)
  })

  it('of a query that has several make room for one that has fewer, those first whose time is up', () => {
    const inFlight = new InFlight(2)
    const { attempts } = inFlight
    const random = randomNumbers()
    const x = open(inFlight, 'a')
    const ofX = Array.from({ length: MAX_ATTEMPTS }, (_, server) => attempts.start(x, server, 0, random))
    attempts.timeOut(ofX[5]!)
    const y = open(inFlight, 'b')
    while (attempts.open < attempts.capacity) attempts.start(y, 0, 0, random)
    expect(attempts.start(y, 1, 0, random)).toBe(ofX[5])
    expect([attempts.pendingOf(ofX[5]!), attempts.open]).toEqual([y, attempts.capacity])
    while (attempts.start(y, 1, 0, random) !== NONE);
    expect(Math.abs(attempts.openOf(x) - attempts.openOf(y))).toBeLessThanOrEqual(1)
  })

  it('of every pending query are one at least', () => {
    const inFlight = new InFlight(40)
    const random = randomNumbers()
    for (let k = 0; k < 40; k++) {
      const p = open(inFlight, `n${k}`)
      expect(inFlight.attempts.start(p, 0, 0, random)).not.toBe(NONE)
      while (inFlight.attempts.start(p, 0, 0, random) !== NONE);
    }
  })

  it('end with their pending query, and their ids with them', () => {
    const inFlight = new InFlight(4)
    const x = open(inFlight, 'a')
    const random = randomNumbers()
    const ids = [0, 1, 2].map((server) => inFlight.attempts.id(inFlight.attempts.start(x, server, 0, random)))
    inFlight.attempts.close(inFlight.attempts.byId(ids[1]!))
    expect(ids.map((id) => inFlight.attempts.byId(id) === NONE)).toEqual([false, true, false])
    inFlight.end(x)
    expect(ids.map((id) => inFlight.attempts.byId(id))).toEqual([NONE, NONE, NONE])
    expect(inFlight.attempts.open).toBe(0)
  })
})
