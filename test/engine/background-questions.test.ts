import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a, wire } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

test('an answer is refreshed by one question at a time', () => {
  const byname = new EngineUnderTest()
  const name = wire('www.example')
  const key = Uint8Array.of(...name, 0, Type.A, 0)
  for (let k = 0; k < 3; k++) byname.engine.forwarder.prefetch(1234, key, key.length)
  expect(byname.outlet.queries).toHaveLength(1)
  expect(byname.cell('cachePrefetches')).toBe(1)
})

test('questions that nobody waits for are so many at once and no more: of very many servers some are looked at later', () => {
  const many = serversWith(30, 'random')
  const names = many.servers!.map((_, k) => wire(`${k}.probe`))
  const byname = new EngineUnderTest({ ...many, loopProbe: { id: 'probe', names, sends: true } })
  pass(byname, 600)
  expect(byname.outlet.queries).toHaveLength(16)
  expect(byname.ask('www.example').reply).toBeNull()
  expect(byname.outlet.queries.length).toBeGreaterThan(16)
})

test('replies that nobody waits for any more take no place from clients', () => {
  const byname = new EngineUnderTest({ ...serversWith(2, 'parallel'), maxInFlight: 256 })
  // Each leaves the other server's reply out.
  for (let k = 0; k < 100; k++) {
    const asked = byname.ask(`answered-${k}.example`)
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.rcode).toBe(0)
  }
  const waiting = Array.from({ length: 256 }, (_, k) => byname.ask(`waiting-${k}.example`))
  expect(waiting.filter(({ reply }) => reply !== null)).toEqual([])
  expect(byname.ask('one-too-many.example').reply?.rcode).toBe(2)
  pass(byname, 60_000, 1000)
  expect([byname.engine.isQuiet, byname.engine.forwarder.inFlight.open, byname.waiting]).toEqual([true, 0, 0])
})

test('a server that can be reached no more when it is to be asked again without EDNS: the next one is asked', () => {
  const byname = new EngineUnderTest(serversWith(2, 'sequential'))
  const asked = byname.ask('www.example')
  byname.outlet.unreachable.add(0)
  byname.fail(1)
  expect(byname.serversAsked).toEqual([0, 1])
  byname.answer({ answers: [a(1)] })
  expect(asked.reply?.rcode).toBe(0)
})
