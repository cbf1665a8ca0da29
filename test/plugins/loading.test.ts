import { expect, test } from 'vitest'
import { assemble, load, pluginBytes, pluginText, problemOf } from './wat.ts'

test.each<[string, Uint8Array]>([
  ['the least there can be', pluginBytes()],
  [
    'all imports',
    pluginBytes({
      imports: `(import "byname" "log" (func (param i32 i32))) (import "byname" "now" (func (result i64)))
      (import "byname" "counter" (func (param i32 i64))) (import "byname" "counter_name" (func (param i32 i32 i32)))
      (import "byname" "random" (func (result i32))) (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))`,
    }),
  ],
  [
    'a now of floating point',
    pluginBytes({
      imports: '(import "byname" "now" (func $now (result f64)))',
      query: '(i32.lt_u (i32.trunc_sat_f64_u (call $now)) (i32.const 1))',
    }),
  ],
  [
    'an initializer',
    pluginBytes({
      more: '(global $g (mut i32) (i32.const 9)) (func (export "_initialize") (global.set $g (i32.const 0)))',
      query: '(global.get $g)',
    }),
  ],
  [
    'a start function',
    pluginBytes({
      more: '(global $g (mut i32) (i32.const 9)) (func $s (global.set $g (i32.const 0))) (start $s)',
      query: '(global.get $g)',
    }),
  ],
  [
    'a configure with a result',
    assemble(pluginText().replace('(param $length i32) )', '(param i32) (result i32) (i32.const 0))')),
  ],
  [
    'no other sections than it needs',
    pluginBytes({ more: '(table 3 funcref) (elem (i32.const 0) $query) (data (i32.const 8) "abc")' }),
  ],
  [
    'garbage for a section of names',
    Uint8Array.from([...pluginBytes(), 0, 12, 4, 0x6e, 0x61, 0x6d, 0x65, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  ],
  [
    'passive segments',
    pluginBytes({
      more: '(table $t 3 funcref) (elem $e func $query) (data $d "abc")',
      configure:
        '(memory.init $d (i32.const 0) (i32.const 0) (i32.const 3)) (data.drop $d) (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $e) (table.fill $t (i32.const 0) (ref.null func) (i32.const 2)) (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1)) (drop (table.grow $t (ref.null func) (i32.const 5)))',
    }),
  ],
  [
    'vectors',
    pluginBytes({
      query:
        '(i32x4.extract_lane 1 (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.const i32x4 0 0 0 0) (v128.load32_lane 2 (i32.const 0) (v128.load (i32.const 16)))))',
    }),
  ],
  [
    'blocks with parameters',
    pluginBytes({
      query:
        '(i32.const 3) (loop $l (param i32) (result i32) (i32.sub (i32.const 1)) (if (param i32) (result i32) (i32.eqz (i32.const 0)) (then) (else (br $l))))  drop (i32.const 0)',
    }),
  ],
  [
    'a branch table',
    pluginBytes({ query: '(block $a (block $b (br_table $a $b $a (local.get $length)))) (i32.const 0)' }),
  ],
  [
    'a select with a type',
    pluginBytes({
      query: '(drop (select (result funcref) (ref.func $query) (ref.null func) (i32.const 1))) (i32.const 0)',
      more: '(elem declare func $query)',
    }),
  ],
])('a module with %s is taken', (_, bytes) => {
  expect(problemOf(bytes)).toBe('')
})

test('its config stands in the buffer when it is configured', () => {
  const configure =
    '(if (i32.ne (local.get $length) (i32.const 5)) (then unreachable)) (if (i32.ne (i32.load8_u (i32.const 1028)) (i32.const 111)) (then unreachable))'
  expect(problemOf(pluginBytes({ configure }), { config: 'hello' })).toBe('')
  expect(problemOf(pluginBytes({ configure }), { config: 'hell!' })).toMatch(/byname_configure/)
})

test('a config that does not fit the buffer is refused', () => {
  const config = 'x'.repeat(3000)
  expect(
    problemOf(pluginBytes({ memory: '(memory (export "memory") 1)', buffer: '(i32.const 63000)' }), { config }),
  ).toBe('has a buffer of 2536 bytes, and its config has 3000')
})

test('names of counters are those that it gave while it was configured, without control characters', () => {
  const result = load(
    pluginBytes({
      imports: '(import "byname" "counter_name" (func $name (param i32 i32 i32)))',
      more: String.raw`(data (i32.const 0) "hits\n") (data (i32.const 16) "misses")`,
      configure:
        '(call $name (i32.const 2) (i32.const 0) (i32.const 5)) (call $name (i32.const 3) (i32.const 16) (i32.const 6)) (call $name (i32.const 16) (i32.const 0) (i32.const 1)) (call $name (i32.const 4) (i32.const -1) (i32.const 9))',
    }),
  )
  expect('counters' in result && [...result.counters]).toEqual([
    [2, 'hits?'],
    [3, 'misses'],
  ])
})
