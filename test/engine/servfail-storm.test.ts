/** All servers fail for everything, and clients do not let up: what that costs, and how it ends. */
import { describe, expect, it } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

const NAMES = 50

/** Everything that was sent since the last call is answered by `rcode`. */
class Servers {
  rcode: number = Rcode.SERVFAIL
  messages = 0
  readonly #byname: EngineUnderTest
  #seen = 0

  constructor(byname: EngineUnderTest) {
    this.#byname = byname
  }

  react(): void {
    const { queries } = this.#byname.outlet
    while (this.#seen < queries.length) {
      const sent = queries[this.#seen++]!
      this.messages++
      this.#byname.answer(this.rcode === 0 ? { answers: [a(1)] } : { flags: 0x8180 | this.rcode }, sent)
    }
  }
}

describe('a storm of SERVFAIL', () => {
  it.each(['random', 'sequential', 'fastest', 'parallel'] as const)(
    'reaches each client at once, and the servers seldom (%s)',
    (policy) => {
      const byname = new EngineUnderTest(serversWith(3, policy))
      const servers = new Servers(byname)
      const seconds = 30
      for (let n = 0; n < seconds * 1000; n++) {
        const asked = byname.ask(`n${n % NAMES}.example`)
        servers.react()
        expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
        byname.advance(1)
      }
      // Kept for 1, 2, 4, then 5 s each (RFC 9520): of 30,000 questions not even one in ten is asked, times 8 messages.
      const rounds = 3 + Math.ceil((seconds - 7) / 5) + 1
      expect(servers.messages).toBeLessThanOrEqual(NAMES * rounds * 8)
      expect(byname.waiting).toBe(0)
      expect(byname.engine.isQuiet).toBe(true)
    },
  )

  it('is over as soon as the servers are well: within the 5 s that a failure is kept, for every name', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential'))
    const servers = new Servers(byname)
    for (let n = 0; n < 20_000; n++) {
      byname.ask(`n${n % NAMES}.example`)
      servers.react()
      byname.advance(1)
    }
    servers.rcode = 0
    pass(byname, 5000)
    for (let n = 0; n < NAMES; n++) {
      const asked = byname.ask(`n${n}.example`)
      servers.react()
      expect(asked.reply?.rcode).toBe(0)
    }
    for (const server of [0, 1]) expect(byname.upstream(server, 'healthy')).toBe(1)
  })

  it('of one server is no storm where another one answers', () => {
    const byname = new EngineUnderTest(serversWith(2, 'sequential', { cache: { maxBytes: 0 } }))
    let failed = 0
    for (let n = 0; n < 500; n++) {
      const asked = byname.ask(`n${n}.example`)
      for (const sent of byname.outlet.queries.splice(0)) {
        if (sent.server === 0) failed++
        if (sent.server === 0) byname.fail(Rcode.SERVFAIL, sent)
        else byname.answer({ answers: [a(1)] }, sent)
      }
      // Turned to the second by the first one's failure.
      for (const sent of byname.outlet.queries.splice(0)) byname.answer({ answers: [a(1)] }, sent)
      expect(asked.reply?.rcode).toBe(0)
      byname.advance(10)
    }
    // It is out of its turn after a few, and asked again only to see whether it is well.
    expect(failed).toBeLessThan(20)
  })

  it('answers of before it serve as long as they may', () => {
    const byname = new EngineUnderTest({ ...serversWith(2, 'random'), cache: { staleSeconds: 60 } })
    const servers = new Servers(byname)
    servers.rcode = 0
    for (let n = 0; n < NAMES; n++) byname.ask(`n${n}.example`)
    servers.react()
    servers.rcode = Rcode.SERVFAIL
    byname.advance(61_000)
    const before = servers.messages
    for (let n = 0; n < 10 * NAMES; n++) {
      const asked = byname.ask(`n${n % NAMES}.example`, Type.A, { edns: {} })
      servers.react()
      expect(asked.reply).toMatchObject({ rcode: 0, ede: Ede.STALE_ANSWER, answers: [{ ttl: 30 }] })
      byname.advance(50)
    }
    // Each name was asked for once: after a failure stale answers come without asking, for half a minute.
    expect(servers.messages - before).toBeLessThanOrEqual(NAMES * 8)
    byname.advance(60_000)
    const asked = byname.ask('n0.example')
    servers.react()
    expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
  })

  it('of ever new names is bounded by the cache and by maxInFlight', () => {
    const byname = new EngineUnderTest({ ...serversWith(2, 'random'), maxInFlight: 16, cache: { maxBytes: 16 * 1024 } })
    const servers = new Servers(byname)
    for (let n = 0; n < 5000; n++) {
      byname.ask(`n${n}.example`)
      expect(byname.cell('inFlight')).toBeLessThanOrEqual(16)
      if (n % 20 === 0) servers.react()
      expect(byname.engine.cache!.bytes).toBeLessThanOrEqual(16 * 1024)
      byname.advance(1)
    }
    servers.react()
    pass(byname, 5000)
    expect([byname.waiting, byname.engine.isQuiet]).toEqual([0, true])
    expect(byname.responses()).toBe(5000)
  })
})
