/** A call ends within its time, whatever it is busy with. */
import { expect, test } from 'vitest'
import { PluginError } from '../../src/engine/plugins/plugin-abi.ts'
import { FAILED, PluginInstance } from '../../src/engine/plugins/plugin-instance.ts'
import { loaded } from './wat.ts'

const TIMEOUT_US = 1000
/** What real time may be of that, at worst: of some instructions the processor, not byname, knows what they cost. */
const FACTOR = 6
/** The best of so many calls: a machine that is busy elsewhere makes any of them long. */
const TRIES = 7

const HOST = {
  log: () => undefined,
  now: () => 0,
  count: () => undefined,
  nameCounter: () => undefined,
  random: () => 0,
}
const again = (body: string): string => `(loop $l ${body} (br $l))`

/** It is not busy when it is tried. */
const isTrial = (letter: number): string =>
  `(if (i32.eq (i32.load8_u (i32.const 1101)) (i32.const ${letter})) (then (return (i32.const 0))))`

test.each<[string, string]>([
  ['nothing', again('')],
  ['divisions', again('(local.set $n (i32.div_u (i32.const 100000) (i32.add (local.get $n) (i32.const 1))))')],
  [
    'long remainders',
    again('(local.set $w (i64.rem_u (i64.const 0x7fffffffffffffff) (i64.add (local.get $w) (i64.const 3))))'),
  ],
  ['square roots', again('(local.set $f (f64.sqrt (f64.add (local.get $f) (f64.const 1))))')],
  ['divisions of vectors', again('(local.set $v (f64x2.div (local.get $v) (v128.const f64x2 3 3)))')],
  ['loads', again('(local.set $n (i32.load (i32.and (local.get $n) (i32.const 0xffff))))')],
  [
    'loads all over its memory',
    again(
      '(local.set $n (i32.and (i32.add (i32.load (local.get $n)) (i32.mul (local.get $n) (i32.const 1664525))) (i32.const 0xffff0)))',
    ),
  ],
  ['filling all its memory', again('(memory.fill (i32.const 0) (local.get $n) (i32.const 1000000))')],
  ['filling little', again('(memory.fill (i32.const 0) (local.get $n) (i32.const 1))')],
  ['copying much', again('(memory.copy (i32.const 1) (i32.const 0) (i32.const 1000000))')],
  ['copying little', again('(memory.copy (i32.const 1) (i32.const 0) (i32.const 8))')],
  ['asking for no memory', again('(drop (memory.grow (i32.const 0)))')],
  ['asking for too much memory', again('(drop (memory.grow (i32.const 50000)))')],
  ['growing', again('(drop (memory.grow (i32.const 1)))')],
  ['calls', again('(call $nothing)')],
  ['calls by a table', again('(call_indirect (i32.const 0))')],
  ['growing a table', again('(drop (table.grow $t (ref.null func) (i32.const 1)))')],
  ['filling a table', again('(table.fill $t (i32.const 0) (ref.func $nothing) (i32.const 1000))')],
  ['writing to a table', again('(table.set $t (i32.const 1) (ref.func $nothing))')],
  ['asking for the time', again('(drop (call $now))')],
  ['logging', again('(call $log (i32.const 0) (i32.const 200))')],
  ['calling itself', '(call $deep)'],
  ['calling itself instead', '(call $tail)'],
  ['code without loops', Array.from({ length: 200 }, () => '(call $long)').join('\n')],
  ['jumping', again('(br_table $l $l (local.get $n))')],
])('busy with %s', (_, body) => {
  const settings = loaded(
    {
      imports: '(import "byname" "now" (func $now (result i64))) (import "byname" "log" (func $log (param i32 i32)))',
      memory: '(memory (export "memory") 16)',
      more: `(table $t 2000 funcref) (elem (i32.const 0) $nothing $nothing) (func $nothing)
        (func $deep (call $deep)) (func $tail (return_call $tail))
        (func $long (local $n i32) ${'(local.set $n (i32.add (local.get $n) (i32.const 1)))'.repeat(20_000)})`,
      query: `(local $n i32) (local $f f64) (local $v v128) (local $w i64) ${isTrial(98)} ${isTrial(97)} ${body} (i32.const 0)`,
    },
    { timeoutUs: TIMEOUT_US, maxMemoryBytes: 1 << 20 },
  )
  const micros = Array.from({ length: TRIES }, () => {
    const instance = new PluginInstance(settings, HOST)
    const began = performance.now()
    expect(instance.query(100)).toBe(FAILED)
    const took = (performance.now() - began) * 1000
    if (body !== '(call $deep)') expect(instance.failure).toBe(PluginError.TIMEOUT)
    return took
  })
  expect(Math.min(...micros)).toBeLessThan(TIMEOUT_US * FACTOR)
})

test('what takes half of its time is let be', () => {
  const settings = loaded(
    {
      query:
        '(local $n i32) (loop $l (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 30000)))) (i32.const 0)',
    },
    { timeoutUs: TIMEOUT_US },
  )
  expect(new PluginInstance(settings, HOST).query(100)).toBe(0)
})
