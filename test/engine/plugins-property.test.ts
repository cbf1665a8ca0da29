/**
 * A plug-in that leaves anything at all in its buffer and returns any action, traps, or never ends, beside servers that answer
 * something: each client gets one reply at most, and one that is its own.
 */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import type { PluginSettings } from '../../src/engine/plugins/plugin-abi.ts'
import { a, cname, message, opt, record, soa, type WireMessage } from '../dns/messages.ts'
import { isLong } from '../long.ts'
import { load, pluginBytes } from '../plugins/wat.ts'
import { imageOf, service } from '../table/compiled.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'

/** Of the message, and of the header's fields that count, some bytes at random. */
const SPOIL = `(if (i32.eqz (i32.rem_u (call $random) (i32.const 2))) (then (i32.store (i32.const 1028) (i32.rem_u (call $random) (i32.const 400)))))
  (if (i32.eqz (i32.rem_u (call $random) (i32.const 2))) (then (i32.store8 (i32.const 1090) (i32.const 0x81))))
  (i32.store16 (i32.const 1076) (i32.rem_u (call $random) (i32.const 24)))
  (i32.store16 (i32.const 1078) (call $random))
  (i32.store (i32.const 1080) (call $random))
  (local.set $n (i32.rem_u (call $random) (i32.const 6)))
  (loop $l
    (if (i32.gt_s (local.get $n) (i32.const 0)) (then
      (i32.store8 (i32.add (i32.const 1088) (i32.rem_u (call $random) (i32.const 120))) (call $random))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $l))))`
/** By what is drawn: an action, a trap, or no end. */
const END = `(local.set $n (i32.rem_u (call $random) (i32.const 24)))
  (if (i32.eq (local.get $n) (i32.const 20)) (then unreachable))
  (if (i32.eq (local.get $n) (i32.const 21)) (then (loop $e (br $e))))
  (if (i32.eq (local.get $n) (i32.const 22)) (then (drop (memory.grow (i32.const 1)))))
  (i32.rem_u (local.get $n) (i32.const 6))`
/** Not when it is tried: then the time of day is the machine's. */
const unlessTried = `(if (i64.gt_u (call $now) (i64.const 1000000000000)) (then (return (i32.const 0))))`

const CHAOS = pluginBytes({
  imports: '(import "byname" "random" (func $random (result i32))) (import "byname" "now" (func $now (result i64)))',
  memory: '(memory (export "memory") 3 5)',
  query: `(local $n i32) ${unlessTried} ${SPOIL} ${END}`,
  reply: `(func (export "byname_reply") (param i32) (result i32) (local $n i32) ${SPOIL} ${END})`,
})

function chaos(onError: 'pass' | 'servfail', name: string): PluginSettings {
  const result = load(CHAOS, { onError, timeoutUs: 50 }, name)
  if ('problem' in result) throw new Error(result.problem)
  return result.settings
}

const table = imageOf(new Map([service('web', 'shop', ['10.0.0.1'])]))
const names = fc.constantFrom(
  'www.example',
  'a.b.example',
  'WWW.Example',
  'x',
  'web.shop',
  'other.test',
  `${'l'.repeat(60)}.example`,
)
const types = fc.constantFrom(Type.A, Type.AAAA, Type.TXT, Type.MX, Type.ANY)
const answers: fc.Arbitrary<WireMessage> = fc.constantFrom<WireMessage>(
  { answers: [a(1)] },
  { answers: [a(1), a(2), a(3)] },
  { answers: [cname('www.example.net'), a(4, 60, 'www.example.net')] },
  { flags: 0x8183, authorities: [soa('example', 60, 60)] },
  { authorities: [soa('example', 60, 60)] },
  { flags: 0x8182 },
  {
    answers: Array.from({ length: 40 }, (_, k) =>
      record(Type.TXT, 60, Uint8Array.of(30, ...Array.from({ length: 30 }, () => k))),
    ),
  },
)
const step = fc.record({
  name: names,
  type: types,
  id: fc.integer({ min: 0, max: 0xffff }),
  edns: fc.option(fc.record({ payload: fc.constantFrom(512, 1232, 4096), dnssecOk: fc.boolean() })),
  tcp: fc.boolean(),
  answer: fc.option(answers),
  waitMs: fc.constantFrom(0, 0, 1, 50, 3000),
})

test('whatever a plug-in does, each reply is one to what its client has asked, and fits', () => {
  let replies = 0
  let waiting = 0
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 40 }),
      fc.constantFrom('pass' as const, 'servfail' as const),
      fc.integer({ min: 1, max: 2 }),
      (steps, onError, count) => {
        const plugins = Array.from({ length: count }, (_, k) => chaos(onError, `chaos-${k}`))
        const byname = new EngineUnderTest({ plugins, cache: { staleSeconds: 3600 } }, table)
        byname.advance(1)
        const all: { asked: Asked; step: (typeof steps)[number] }[] = []
        for (const each of steps) {
          const { name, type, id, edns, tcp, answer, waitMs } = each
          const additionals = edns === null ? [] : [opt(edns)]
          byname.from(Uint8Array.of(127, 0, 0, 1), tcp ? 1 : 0)
          all.push({ asked: byname.askRaw(message({ id, questions: [[name, type]], additionals })), step: each })
          if (answer !== null && byname.outlet.queries.length > 0) byname.answer(answer)
          byname.advance(waitMs)
        }
        for (let k = 0; k < 10; k++) byname.advance(1000)
        for (const { asked, step: each } of all) {
          if (asked.reply === null) continue
          replies++
          expect(asked.reply.id).toBe(each.id)
          expect(asked.reply.questions).toMatchObject([{ name: each.name }])
          const limit = each.tcp ? 65_535 : Math.min(4096, each.edns?.payload ?? 512)
          expect(asked.length).toBeLessThanOrEqual(limit)
          expect(asked.reply.opt !== null).toBe(each.edns !== null)
        }
        waiting += byname.waiting
        // Each query has a reply, or was dropped.
        const unanswered = all.filter(({ asked }) => asked.reply === null).length
        expect(byname.dropped('plugin')).toBe(unanswered)
      },
    ),
    { numRuns: isLong ? 2000 : 150 },
  )
  expect(waiting).toBe(0)
  expect(replies).toBeGreaterThan(500)
})
