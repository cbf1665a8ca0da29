import { expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { Source } from '../../src/stats/counters.ts'
import { a, soa } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, server, settingsWith } from './engine-under-test.ts'

/** Asks, and lets all servers fail as long as they are asked. */
function askInVain(byname: EngineUnderTest, name: string = 'example.org'): Asked {
  let seen = byname.outlet.queries.length
  const asked = byname.ask(name, Type.A, { edns: {} })
  while (byname.outlet.queries.length > seen) {
    seen = byname.outlet.queries.length
    byname.fail(Rcode.SERVFAIL)
  }
  return asked
}

test('a question that all servers failed is answered from the cache for a second, and says so', () => {
  const byname = new EngineUnderTest({ servers: [server('one'), server('two')] })
  const first = askInVain(byname)
  expect(first.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NO_REACHABLE_AUTHORITY })
  const asked = byname.outlet.queries.length
  byname.advance(999)
  const again = byname.ask('Example.ORG', Type.A, { edns: {} })
  expect(again.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.CACHED_ERROR, answers: [], authorities: [] })
  expect(again.reply?.questions[0]?.name).toBe('Example.ORG')
  expect(byname.ask('example.org').reply).toMatchObject({ rcode: Rcode.SERVFAIL, opt: null })
  expect(byname.outlet.queries).toHaveLength(asked)
  expect(byname.responses(Source.cache)).toBe(2)
  byname.advance(1)
  expect(byname.ask('example.org').reply).toBeNull()
})

test('the time doubles as long as it goes on, up to 5 seconds', () => {
  const byname = new EngineUnderTest()
  for (const seconds of [1, 2, 4, 5, 5]) {
    askInVain(byname)
    byname.advance(seconds * 1000 - 1)
    expect(byname.ask('example.org').reply?.rcode).toBe(Rcode.SERVFAIL)
    byname.advance(1)
  }
  askInVain(byname)
  byname.advance(40_000)
  askInVain(byname)
  byname.advance(1000)
  expect(byname.ask('example.org').reply).toBeNull()
})

test('it is kept for each question alone', () => {
  const byname = new EngineUnderTest()
  askInVain(byname)
  expect(byname.ask('example.org', Type.AAAA).reply).toBeNull()
  expect(byname.ask('example.org', Type.A, { edns: { dnssecOk: true } }).reply).toBeNull()
  expect(byname.ask('www.example.org').reply).toBeNull()
})

test('an answer ends it', () => {
  const byname = new EngineUnderTest()
  askInVain(byname)
  byname.advance(1000)
  const asked = byname.ask('example.org')
  byname.answer({ answers: [a(1)] })
  expect(asked.reply?.answers).toHaveLength(1)
  expect(byname.ask('example.org').reply?.answers).toHaveLength(1)
})

test('it never serves as a stale answer', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  askInVain(byname)
  byname.advance(1500)
  expect(askInVain(byname).reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NO_REACHABLE_AUTHORITY })
})

test('new settings end it: other servers may know better', () => {
  const byname = new EngineUnderTest()
  askInVain(byname)
  byname.engine.configure(settingsWith({ servers: [server('other')] }))
  expect(byname.ask('example.org').reply).toBeNull()
})

test('new settings end it as long as it makes the next one longer', () => {
  const byname = new EngineUnderTest()
  byname.ask('other.example')
  byname.answer({ answers: [a(1)] })
  askInVain(byname)
  byname.advance(34_000)
  byname.engine.configure(settingsWith())
  expect(byname.engine.cache!.entries).toBe(1)
  askInVain(byname)
  byname.advance(1000)
  // As the first time, not twice as long.
  expect(byname.ask('example.org').reply).toBeNull()
})

test('one that plays no part any more is not looked for', () => {
  const byname = new EngineUnderTest()
  askInVain(byname)
  byname.advance(35_001)
  byname.engine.configure(settingsWith())
  expect(byname.engine.cache!.entries).toBe(1)
  askInVain(byname)
  byname.advance(1000)
  expect(byname.ask('example.org').reply).toBeNull()
})

test('a failure that is ours is not kept', () => {
  const byname = new EngineUnderTest({ maxInFlight: 1 })
  byname.ask('one.example')
  expect(byname.ask('two.example').reply?.rcode).toBe(Rcode.SERVFAIL)
  byname.answer({ answers: [a(1)] })
  expect(byname.ask('two.example').reply).toBeNull()

  const alone = new EngineUnderTest({ routes: [{ domains: [new Uint8Array(1)], servers: [], policy: 'random' }] })
  expect(alone.ask('example.org').reply?.rcode).toBe(Rcode.SERVFAIL)
  alone.engine.configure(settingsWith())
  expect(alone.ask('example.org').reply).toBeNull()
})

test('a question without recursion is asked each time', () => {
  const byname = new EngineUnderTest()
  byname.ask('example.org', Type.A, { flags: 0 })
  byname.fail(Rcode.REFUSED)
  byname.fail(Rcode.REFUSED)
  expect(byname.ask('example.org', Type.A, { flags: 0 }).reply).toBeNull()
})

test('a negative answer is no failure', () => {
  const byname = new EngineUnderTest()
  byname.ask('example.org')
  byname.answer({ flags: 0x8183, authorities: [soa('org', 60, 60)] })
  expect(byname.ask('example.org', Type.A, { edns: {} }).reply).toMatchObject({ rcode: Rcode.NXDOMAIN, ede: null })
})

test('without a cache nothing is kept', () => {
  const byname = new EngineUnderTest({ cache: { maxBytes: 0 } })
  askInVain(byname)
  expect(byname.ask('example.org').reply).toBeNull()
})
