/** Sizes are those of the answer with its names compressed, whatever the server's encoding was. */
import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { bytes, cname, record, u16, wire, type WireRecord } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const NAME = 'app.datadoghq.example'
const TARGET = 'alb-web-shard1-1950469440.us-east-1.elb.amazonaws.example'
const addresses = (count: number, owner: string): WireRecord[] =>
  Array.from({ length: count }, (_, k) => record(Type.A, 5, Uint8Array.of(10, 0, k >> 8, k), owner))

test.each([
  ['an alias and its addresses', Type.A, [cname(TARGET, 5, NAME), ...addresses(20, TARGET)], 21],
  ['addresses of the question’s own name', Type.A, addresses(25, NAME), 25],
  [
    'mail hosts under one name',
    Type.MX,
    Array.from({ length: 20 }, (_, k) => record(Type.MX, 5, bytes(u16(k), wire(`mx${k}.mail.of.a.long.name.example`)))),
    20,
  ],
])('%s fit, over UDP and from the cache, if they do when compressed', (_, type, answers, count) => {
  const byname = new EngineUnderTest()
  const first = byname.ask(NAME, type)
  byname.answer({ answers })
  for (const asked of [first, byname.ask(NAME, type)]) {
    expect(asked.length).toBeLessThanOrEqual(512)
    expect(asked.reply).toMatchObject({ tc: false, rcode: 0 })
    expect(asked.reply!.answers).toHaveLength(count)
  }
})

test('as many as fit are given of those that do not, and over TCP all', () => {
  const byname = new EngineUnderTest()
  const first = byname.ask(NAME)
  byname.answer({ answers: [cname(TARGET, 5, NAME), ...addresses(60, TARGET)] })
  expect(first.reply!.tc).toBe(true)
  expect(512 - first.length).toBeLessThan(16)
  const whole = byname.ask(NAME, Type.A, { tcp: true })
  expect(whole.reply!.answers).toHaveLength(61)
  expect(whole.length).toBeLessThan(12 + 30 + 80 + 61 * 16)
})

test('name servers that nobody asked for are no reason for TC', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask(NAME)
  const authorities = Array.from({ length: 20 }, (_, k) =>
    record(Type.NS, 60, wire(`ns${k}.very.long.name.test`), 'example'),
  )
  byname.answer({ answers: addresses(20, NAME), authorities })
  expect(asked.reply).toMatchObject({ tc: false, authorities: [] })
  expect(asked.reply!.answers).toHaveLength(20)
})
