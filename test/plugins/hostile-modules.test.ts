/** Modules that harm, or would if they could: each is refused when it is loaded, in one line that says why. */
import { expect, test } from 'vitest'
import { assemble, pluginBytes, pluginText, problemOf } from './wat.ts'

const ENDLESS = '(loop $again (br $again)) (i32.const 0)'
const GLOBAL = '(global $n (mut i32) (i32.const 0))'
const RECURSION =
  '(func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))'

test.each<[string, Uint8Array, string | RegExp]>([
  ['nothing', new Uint8Array(0), /^is no WebAssembly module: /],
  ['garbage', Uint8Array.from({ length: 100 }, (_, k) => k), /^is no WebAssembly module: /],
  ['half a module', pluginBytes().slice(0, 60), /^is no WebAssembly module: /],
  ['no exports', assemble('(module)'), 'does not export its memory as "memory"'],
  ['no memory', pluginBytes({ memory: '(memory 2)' }), 'does not export its memory as "memory"'],
  [
    'memory that is a function',
    assemble('(module (func (export "memory")))'),
    'does not export its memory as "memory"',
  ],
  ['a missing function', assemble(pluginText().replace('"byname_query"', '"query"')), 'does not export byname_query'],
  [
    'a function that is a global variable',
    assemble(
      pluginText({ more: '(global (export "byname_abi") i32 (i32.const 1))' }).replace(
        '(func (export "byname_abi")',
        '(func',
      ),
    ),
    'exports byname_abi, and it is no function',
  ],
  [
    'a function of another type',
    assemble(
      pluginText().replace(
        '(export "byname_buffer") (result i32) (i32.const 1024)',
        '(export "byname_buffer") (result i64) (i64.const 1024)',
      ),
    ),
    'exports byname_buffer with the type () → i64; it must be () → i32',
  ],
  [
    'a query without result',
    assemble(pluginText().replace(/\(func \$query.*/s, '(func (export "byname_query") (param i32)))')),
    'exports byname_query with the type (i32) → nothing; it must be (i32) → i32',
  ],
  [
    'another version',
    pluginBytes({ abi: '(i32.const 2)' }),
    'is made for version 2 of the interface, and byname has 1',
  ],
  [
    'a buffer at the end of memory',
    pluginBytes({ buffer: '(i32.const 131000)' }),
    /^has its buffer at 131000, and 131072 bytes of memory/,
  ],
  [
    'a buffer out of bounds',
    pluginBytes({ buffer: '(i32.const -1)' }),
    /^has its buffer at 4294967295, and 131072 bytes/,
  ],
  [
    'an import that there is not',
    pluginBytes({ imports: '(import "env" "open" (func))' }),
    /^imports env\.open, and byname gives only log, now,/,
  ],
  [
    'an import of AssemblyScript',
    pluginBytes({ imports: '(import "env" "abort" (func (param i32 i32 i32 i32)))' }),
    /--use abort=/,
  ],
  [
    'a function of Object',
    pluginBytes({ imports: '(import "byname" "constructor" (func))' }),
    /^imports byname\.constructor, and byname gives/,
  ],
  [
    'a log of another type',
    pluginBytes({ imports: '(import "byname" "log" (func (param i64)))' }),
    "imports byname.log with the type (i64) → nothing, which is another than byname's",
  ],
  [
    'a function WASI does not have',
    pluginBytes({ imports: '(import "wasi_snapshot_preview1" "exec" (func))' }),
    /^imports wasi_snapshot_preview1\.exec/,
  ],
  [
    'imported memory',
    assemble('(module (import "env" "memory" (memory 1)))'),
    'imports the memory "env.memory": only functions can be imported',
  ],
  [
    'an imported table',
    assemble('(module (import "env" "t" (table 1 funcref)))'),
    'imports the table "env.t": only functions can be imported',
  ],
  [
    'an imported global variable',
    assemble('(module (import "env" "g" (global i32)))'),
    'imports the global "env.g": only functions can be imported',
  ],
  [
    'more memory than allowed',
    pluginBytes({ memory: '(memory (export "memory") 257)' }),
    /^needs 16842752 bytes of memory from the start, and maxMemoryBytes is 16777216/,
  ],
  ['two memories', pluginBytes({ memory: '(memory (export "memory") 2) (memory 1)' }), 'has more than one memory'],
  [
    'shared memory',
    pluginBytes({ memory: '(memory (export "memory") 2 4 shared)' }),
    /^has a shared memory .* threads/,
  ],
  ['memory of 64 bits', assemble('(module (memory (export "memory") i64 2))'), /64-bit addresses/],
  ['many tables', pluginBytes({ more: '(table 1 funcref)'.repeat(9) }), 'has 9 tables, more than 8'],
  ['huge tables', pluginBytes({ more: '(table 70000 funcref)' }), 'has tables of more than 65536 entries'],
  [
    'atomics',
    pluginBytes({ query: '(i32.atomic.load (i32.const 0))' }),
    /^has the instruction 0xfe at offset \d+, which belongs to threads/,
  ],
  ['exceptions', pluginBytes({ more: '(tag)', query: '(throw 0)' }), /exception handling/],
  [
    'a trap in the start function',
    pluginBytes({ more: '(func $go unreachable) (start $go)' }),
    /^cannot be started: unreachable/,
  ],
  [
    'a start function without end',
    pluginBytes({ more: `(func $go (loop $l (br $l))) (start $go)` }),
    /^cannot be started: .*used up its time/,
  ],
  [
    'a trap while it is configured',
    pluginBytes({ configure: 'unreachable' }),
    'fails in byname_configure: unreachable',
  ],
  [
    'no end while it is configured',
    pluginBytes({ configure: '(loop $l (br $l))' }),
    'fails in byname_configure: it used up its time',
  ],
  [
    'a refusal of its config',
    assemble(pluginText().replace('(param $length i32) )', '(param i32) (result i32) (i32.const 7))')),
    'refuses its config (byname_configure returned 7)',
  ],
  [
    'no end of a query',
    pluginBytes({ query: ENDLESS }),
    /^fails when it is tried with \S+ \(timeout: it used up its time\)/,
  ],
  [
    'a call without end',
    pluginBytes({ more: RECURSION, query: '(call $deep (i32.const 0))' }),
    /^fails when it is tried with \S+ \((?:timeout|trap): /,
  ],
  ['what is no action', pluginBytes({ query: '(i32.const 5)' }), /it returned 5, which is no action/],
  ['a negative action', pluginBytes({ query: '(i32.const -1)' }), /which is no action/],
  [
    'an access out of bounds',
    pluginBytes({ query: '(i32.load (i32.const 131072))' }),
    /trap: memory access out of bounds/,
  ],
  [
    'growth without end',
    pluginBytes({ query: '(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (i32.const 0)' }),
    /timeout/,
  ],
  [
    'filling without end',
    pluginBytes({
      query: '(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br $l)) (i32.const 0)',
    }),
    /timeout/,
  ],
  [
    'copying without end',
    pluginBytes({
      query: '(loop $l (memory.copy (i32.const 0) (i32.const 1) (i32.const 100000)) (br $l)) (i32.const 0)',
    }),
    /timeout/,
  ],
  [
    'tail calls without end',
    pluginBytes({ more: '(func $on (result i32) (return_call $on))', query: '(call $on)' }),
    /timeout/,
  ],
  [
    'the end of the process',
    pluginBytes({
      imports: '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
      query: '(call $exit (i32.const 1)) (i32.const 0)',
    }),
    /it called proc_exit/,
  ],
  [
    'a reach for the budget',
    pluginBytes({
      more: `${GLOBAL} (export "byname:budget" (global $n)) (export "byname:set_budget" (global $n))`,
      query: ENDLESS,
    }),
    /timeout/,
  ],
])('%s', (_, bytes, problem) => {
  const found = problemOf(bytes)
  expect(found).toMatch(problem)
  expect(found).not.toMatch(/[\r\n]/)
})
