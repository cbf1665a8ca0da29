/** All places for pending queries are taken, as by a server that answers nothing: who makes room, and who keeps a place. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Rcode } from '../../src/dns/constants.ts'
import { NONE } from '../../src/engine/forward/attempts.ts'
import { Room } from '../../src/engine/forward/room.ts'
import { a, wire } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, server } from './engine-under-test.ts'

const ANSWER = { answers: [a(1)] }
/** Twice the least round trip that counts: so long a server without one has time. */
const ENOUGH_MS = 50
const PLACES = 64

/** A private route of a server that is silent, and a default one. */
const withPrivateRoute = (): EngineUnderTest =>
  new EngineUnderTest({
    maxInFlight: PLACES,
    servers: [server('default'), server('silent')],
    routes: [
      { domains: [wire('corp.example')], servers: [1], policy: 'sequential' },
      { domains: [new Uint8Array(1)], servers: [0], policy: 'sequential' },
    ],
  })

/** Asks so many names below a domain. */
const flood = (byname: EngineUnderTest, count: number, domain: string): Asked[] =>
  Array.from({ length: count }, (_, k) => byname.ask(`n${k}.${domain}`))

const rcodes = (asked: readonly Asked[]): (number | undefined)[] => asked.map(({ reply }) => reply?.rcode)

describe('a server that is silent for many names', () => {
  it('does not keep others waiting: the longest waiting makes room, and is told', () => {
    const byname = new EngineUnderTest({ maxInFlight: 4 })
    const silent = flood(byname, 4, 'silent.example')
    byname.advance(ENOUGH_MS)
    const asked = byname.ask('fine.example')
    expect(rcodes(silent)).toEqual([Rcode.SERVFAIL, undefined, undefined, undefined])
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
    expect([byname.dropped('inFlightFull'), byname.cell('inFlight')]).toEqual([1, 3])
  })

  it('answers 6,000 other names meanwhile, each at once', () => {
    const byname = new EngineUnderTest({ maxInFlight: PLACES })
    flood(byname, 6000, 'silent.example')
    byname.advance(ENOUGH_MS)
    for (let n = 0; n < 6000; n++) {
      if (n % 100 === 0) byname.advance(1)
      const asked = byname.ask(`fine${n}.example`)
      byname.answer(ANSWER)
      expect(asked.reply?.rcode).toBe(0)
    }
    expect(byname.cell('inFlight')).toBeLessThanOrEqual(PLACES)
  })

  it('is given the time that it usually takes: what was asked a moment ago keeps its place', () => {
    const byname = new EngineUnderTest({ maxInFlight: 2 })
    const waiting = flood(byname, 2, 'slow.example')
    byname.advance(ENOUGH_MS - 1)
    expect(byname.ask('fine.example').reply?.rcode).toBe(Rcode.SERVFAIL)
    expect(rcodes(waiting)).toEqual([undefined, undefined])
  })

  it('costs those that were given up no memory of a failure: they are asked again', () => {
    const byname = new EngineUnderTest({ maxInFlight: 1 })
    byname.ask('first.example')
    byname.advance(ENOUGH_MS)
    byname.ask('second.example')
    byname.answer(ANSWER)
    const again = byname.ask('first.example')
    byname.answer(ANSWER)
    expect(again.reply?.rcode).toBe(0)
  })

  it('leaves whoever has a stale answer that answer', () => {
    const byname = new EngineUnderTest({ maxInFlight: 1, cache: { staleSeconds: 60 } })
    byname.ask('stale.example')
    byname.answer({ answers: [a(1, 1)] })
    byname.advance(5000)
    const asked = byname.ask('stale.example')
    byname.advance(ENOUGH_MS)
    byname.ask('other.example')
    expect(asked.reply).toMatchObject({ rcode: 0, answers: [{ ttl: 30 }] })
  })

  it('does not own the table: others find a quarter of it free, at once', () => {
    const byname = withPrivateRoute()
    const silent = flood(byname, 6000, 'corp.example')
    expect(silent.filter(({ reply }) => reply === null)).toHaveLength((PLACES * 3) / 4)
    const asked = byname.ask('fine.example')
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
    // Its own share is renewed from within.
    byname.advance(ENOUGH_MS)
    const next = byname.ask('next.corp.example')
    expect([next.reply, silent.filter(({ reply }) => reply === null).length]).toEqual([null, (PLACES * 3) / 4 - 1])
  })

  it('takes from the route that has most places, not from others', () => {
    const byname = withPrivateRoute()
    const few = flood(byname, PLACES / 4, 'example.org')
    const many = flood(byname, (PLACES * 3) / 4, 'corp.example')
    byname.advance(ENOUGH_MS)
    expect(byname.ask('one-more.example').reply).toBeNull()
    expect([
      few.filter(({ reply }) => reply !== null).length,
      many.filter(({ reply }) => reply !== null).length,
    ]).toEqual([0, 1])
  })

  it('does not hold a join back where all places for clients are taken, and the query that it joins stays', () => {
    const byname = new EngineUnderTest({ maxInFlight: 2 })
    const first = byname.ask('a.example')
    byname.ask('b.example', 1, { id: 1 })
    for (let id = 2; id < 4; id++) byname.ask('b.example', 1, { id })
    byname.advance(ENOUGH_MS)
    const joined = byname.ask('a.example', 1, { id: 9 })
    expect([first.reply, joined.reply]).toEqual([null, null])
    byname.answer(ANSWER, byname.outlet.queries[0])
    expect([first.reply?.rcode, joined.reply?.rcode]).toEqual([0, 0])
  })

  it('does not hide behind a query that goes on although its client has a stale answer: that has no place for a client to give', () => {
    const byname = new EngineUnderTest({ maxInFlight: 2, cache: { staleSeconds: 60 } })
    byname.ask('stale.example')
    byname.answer({ answers: [a(1, 1)] })
    byname.advance(5000)
    const stale = byname.ask('stale.example')
    byname.advance(2000)
    expect([stale.reply?.rcode, byname.cell('inFlight')]).toEqual([0, 1])
    const silent = Array.from({ length: 4 }, (_, id) => byname.ask('silent.example', 1, { id }))
    byname.advance(200)
    const asked = byname.ask('fine.example')
    expect([rcodes(silent), asked.reply]).toEqual([Array(4).fill(Rcode.SERVFAIL), null])
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it('keeps its order when settings change', () => {
    const byname = new EngineUnderTest({ maxInFlight: 3 })
    const waiting: Asked[] = []
    for (let k = 0; k < 3; k++) {
      waiting.push(byname.ask(`n${k}.example`))
      byname.advance(1)
    }
    byname.engine.configure({ ...byname.settings, attemptTimeoutMs: 900 })
    byname.advance(ENOUGH_MS)
    byname.ask('fine.example')
    expect(rcodes(waiting)).toEqual([Rcode.SERVFAIL, undefined, undefined])
  })

  it('makes room also where a route has more places than its share since settings changed', () => {
    const byname = new EngineUnderTest({ maxInFlight: 16 })
    flood(byname, 16, 'silent.example')
    const routes = ['corp.example', '.'].map((domain) => ({
      domains: [wire(domain)],
      servers: [0],
      policy: 'sequential' as const,
    }))
    byname.engine.configure({ ...byname.settings, routes })
    byname.advance(ENOUGH_MS)
    const asked = byname.ask('fine.example')
    byname.answer(ANSWER)
    expect(asked.reply?.rcode).toBe(0)
  })

  it.each(['sequential', 'parallel'] as const)('leaves others the messages that they need (%s)', (policy) => {
    const servers = ['default', 'silent', 'silent too', 'and this'].map((label) => server(label))
    const byname = new EngineUnderTest({
      maxInFlight: PLACES,
      servers,
      routes: [
        { domains: [wire('corp.example')], servers: [1, 2, 3], policy },
        { domains: [new Uint8Array(1)], servers: [0], policy: 'sequential' },
      ],
    })
    for (let n = 0; n < 500; n++) {
      flood(byname, 4, `${n}.corp.example`)
      const asked = byname.ask(`fine${n}.example`)
      expect([n, byname.lastQuery.server]).toEqual([n, 0])
      byname.answer(ANSWER)
      expect(asked.reply?.rcode).toBe(0)
      byname.advance(20)
    }
  })

  it('everybody is answered, once', () => {
    const byname = withPrivateRoute()
    const asked: Asked[] = []
    for (let n = 0; n < 400; n++) {
      asked.push(byname.ask(`n${n}.${n % 3 === 0 ? 'example.org' : 'corp.example'}`))
      byname.advance(n % 7)
    }
    for (let k = 0; k < 200; k++) byname.advance(50)
    expect(asked.every(({ reply }) => reply !== null)).toBe(true)
    expect([byname.engine.isQuiet, byname.waiting, byname.cell('inFlight')]).toEqual([true, 0, 0])
  })
})

describe('places', () => {
  it('are given and given back, and the one that has waited longest is known, whatever the order', () => {
    const step = fc.record({ p: fc.nat(11), route: fc.nat(2) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 3 }), (steps, routes) => {
        const room = new Room(12, 12)
        room.configure(routes)
        let model: { p: number; route: number }[] = []
        for (const { p, route: any } of steps) {
          const route = any % routes
          if (model.some((each) => each.p === p)) {
            room.leave(p)
            model = model.filter((each) => each.p !== p)
          } else {
            room.take(p, route)
            model.push({ p, route })
          }
          const of = (r: number): number[] => model.filter((each) => each.route === r).map((each) => each.p)
          expect(room.taken).toBe(model.length)
          const most = routes === 1 ? 12 : 9
          for (let r = 0; r < routes; r++) {
            expect(room.isFreeFor(r)).toBe(model.length < 12 && of(r).length < most)
            // A route that has its share makes room from within.
            if (of(r).length >= most) expect(room.longestWaiting(r)).toBe(of(r)[0])
            of(r).forEach((one, k, all) => expect(room.nextLongest(one)).toBe(all[k + 1] ?? NONE))
          }
          if (routes === 1) expect(room.longestWaiting(0)).toBe(of(0)[0] ?? NONE)
        }
      }),
    )
  })
})
