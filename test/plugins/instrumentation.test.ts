/** What byname adds to a module changes nothing but how long it may run. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeSafe } from '../../src/plugins/wasm-module.ts'
import { isLong } from '../long.ts'
import { assemble, load, pluginBytes } from './wat.ts'

const BOUNDS = { maxMemoryBytes: 1 << 20, startUnits: 2 ** 30 }
const RUNS = isLong ? 2000 : 300
const TIMEOUT_MS = 120_000

/** Random expressions, statements and functions, as text: locals $a $b (i32), $w (i64), $f (f64); three functions call the later ones. */
const programs = fc.letrec<{ i32: string; i64: string; f64: string; statement: string; block: string }>((tie) => ({
  i32: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.integer().map((value) => `(i32.const ${value})`),
    fc.constantFrom('(local.get $a)', '(local.get $b)', '(global.get $g)', '(memory.size)'),
    fc
      .tuple(
        fc.constantFrom(
          'add',
          'sub',
          'mul',
          'div_s',
          'div_u',
          'rem_s',
          'rem_u',
          'and',
          'or',
          'xor',
          'shl',
          'shr_s',
          'rotl',
          'lt_s',
          'ge_u',
          'eq',
        ),
        tie('i32'),
        tie('i32'),
      )
      .map(([op, one, other]) => `(i32.${op} ${one} ${other})`),
    fc
      .tuple(fc.constantFrom('clz', 'ctz', 'popcnt', 'eqz', 'extend8_s', 'extend16_s'), tie('i32'))
      .map(([op, one]) => `(i32.${op} ${one})`),
    fc
      .tuple(fc.constantFrom('load', 'load8_s', 'load16_u'), tie('i32'))
      .map(([op, at]) => `(i32.${op} offset=3 (i32.and ${at} (i32.const 0xffff)))`),
    tie('i64').map((one) => `(i32.wrap_i64 ${one})`),
    tie('f64').map((one) => `(i32.trunc_sat_f64_s ${one})`),
    fc.tuple(tie('i32'), tie('i32'), tie('i32')).map(([one, other, by]) => `(select ${one} ${other} ${by})`),
    fc
      .tuple(tie('i32'), tie('i32'), tie('i32'))
      .map(([by, one, other]) => `(if (result i32) ${by} (then ${one}) (else ${other}))`),
    tie('i32').map((one) => `(local.tee $b ${one})`),
    tie('i32').map((one) => `(call $next ${one})`),
    tie('i32').map((one) => `(call_indirect (type $unary) ${one} (i32.const 0))`),
    tie('i32').map((one) => `(i32x4.extract_lane 2 (i32x4.mul (i32x4.splat ${one}) (v128.const i32x4 1 2 3 4)))`),
  ),
  i64: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.constant('(local.get $w)'),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => `(i64.const ${value})`),
    fc
      .tuple(fc.constantFrom('add', 'mul', 'div_s', 'rem_u', 'shr_u', 'xor'), tie('i64'), tie('i64'))
      .map(([op, one, other]) => `(i64.${op} ${one} ${other})`),
    tie('i32').map((one) => `(i64.extend_i32_s ${one})`),
  ),
  f64: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.constant('(local.get $f)'),
    fc.integer().map((value) => `(f64.const ${value})`),
    fc
      .tuple(fc.constantFrom('add', 'mul', 'div', 'min', 'copysign'), tie('f64'), tie('f64'))
      .map(([op, one, other]) => `(f64.${op} ${one} ${other})`),
    tie('f64').map((one) => `(f64.sqrt ${one})`),
    tie('i32').map((one) => `(f64.convert_i32_u ${one})`),
  ),
  statement: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    tie('i32').map((one) => `(local.set $a ${one})`),
    tie('i32').map((one) => `(global.set $g ${one})`),
    tie('i64').map((one) => `(local.set $w ${one})`),
    tie('f64').map((one) => `(local.set $f ${one})`),
    fc.tuple(tie('i32'), tie('i32')).map(([at, value]) => `(i32.store8 (i32.and ${at} (i32.const 0xffff)) ${value})`),
    tie('i32').map((length) => `(memory.fill (i32.const 8) (local.get $a) (i32.and ${length} (i32.const 0x1fff)))`),
    tie('i32').map((length) => `(memory.copy (i32.const 9) (i32.const 5) (i32.and ${length} (i32.const 0x1fff)))`),
    tie('i32').map((pages) => `(local.set $a (memory.grow (i32.and ${pages} (i32.const 3))))`),
    fc.tuple(tie('i32'), tie('block')).map(([by, then]) => `(if ${by} (then ${then}))`),
    fc.tuple(tie('i32'), tie('block')).map(([by, then]) => `(block $out (br_if $out ${by}) ${then})`),
    fc.tuple(tie('i32'), tie('block')).map(([by, then]) => `(block $x (block $y (br_table $x $y $x ${by})) ${then})`),
    // At most five rounds: each round of each loop counts down.
    tie('block').map(
      (then) =>
        `(local.set $n (i32.const 5)) (loop $again ${then} (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))`,
    ),
    tie('i32').map((one) => `(if (i32.eq ${one} (i32.const 7)) (then (return ${one})))`),
  ),
  block: fc.array(tie('statement'), { maxLength: 3 }).map((all) => all.join('\n')),
}))

function moduleOf(bodies: readonly (readonly [block: string, result: string])[]): Uint8Array {
  const functions = bodies.map(([block, result], k) => {
    const next = k + 1 < bodies.length ? `$f${k + 1}` : '$last'
    return `(func $f${k} (export "f${k}") (param $a i32) (result i32) (local $b i32) (local $n i32) (local $w i64) (local $f f64)
      ${block} ${result})`.replaceAll('$next', next)
  })
  return assemble(`(module (type $unary (func (param i32) (result i32))) (memory (export "memory") 2 8) (global $g (export "g") (mut i32) (i32.const 3))
    (table 1 funcref) (elem (i32.const 0) $last) (func $last (type $unary) (i32.xor (local.get 0) (global.get $g))) ${functions.join('\n')})`)
}

/** All that a run leaves behind. */
interface Outcome {
  result: unknown
  global: unknown
  memory: Uint8Array
}

/** Without `budget` as it is. */
function run(bytes: Uint8Array, argument: number, budget: number | null): Outcome & { left: number } {
  const safe = budget === null ? null : makeSafe(bytes, BOUNDS)
  if (safe !== null && 'problem' in safe) throw new Error(safe.problem)
  const instance = new WebAssembly.Instance(new WebAssembly.Module(safe?.module.bytes ?? bytes), {})
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as the module was written
  const exports = instance.exports as Record<string, (value: number) => unknown> & {
    memory: WebAssembly.Memory
    g: WebAssembly.Global
  }
  if (safe !== null) exports[safe.module.setBudgetName]!(budget!)
  let result: unknown
  try {
    result = exports['f0']!(argument)
  } catch (error) {
    result = error instanceof RangeError ? 'stack' : String(error)
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as the module was written
  const left = safe === null ? 0 : Number((instance.exports[safe.module.budgetName] as WebAssembly.Global).value)
  return { result, global: exports.g.value, memory: new Uint8Array(exports.memory.buffer).slice(), left }
}

const bodies = fc.array(fc.tuple(programs.block, programs.i32), { minLength: 1, maxLength: 3 })

test(
  'random functions compute the same, trap at the same, and leave the same memory behind',
  () => {
    fc.assert(
      fc.property(bodies, fc.integer(), (all, argument) => {
        const bytes = moduleOf(all)
        const { left, ...instrumented } = run(bytes, argument, 2 ** 31 - 1)
        const { left: _, ...plain } = run(bytes, argument, null)
        expect(instrumented).toEqual(plain)
        expect(left).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

test(
  'with less to spend they compute the same, or end because it is spent',
  () => {
    fc.assert(
      fc.property(bodies, fc.integer(), fc.integer({ min: 0, max: 3000 }), (all, argument, budget) => {
        const bytes = moduleOf(all)
        const { left, result } = run(bytes, argument, budget)
        if (left < 0) expect(result).toMatch(/unreachable/)
        else expect(result).toEqual(run(bytes, argument, null).result)
      }),
      { numRuns: RUNS },
    )
  },
  TIMEOUT_MS,
)

describe('a module that was changed at random', () => {
  const seeds = [
    pluginBytes(),
    pluginBytes({
      imports:
        '(import "byname" "log" (func (param i32 i32))) (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))',
      more: '(global $n (mut i64) (i64.const 9)) (table $t 3 9 funcref) (elem (i32.const 0) $query) (data (i32.const 8) "abc") (data $d "x") (func $s (global.set $n (i64.const 1))) (start $s)',
      query:
        '(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 9)) (br_if $l (i32.eqz (local.get $length)))) (i32.trunc_sat_f64_s (f64.sqrt (f64.const 4)))',
    }),
    moduleOf([
      [
        '(local.set $a (i32x4.extract_lane 1 (v128.const i32x4 1 2 3 4))) (block $x (br_table $x $x (local.get $a)))',
        '(call $next (i32.const 3))',
      ],
    ]),
  ]
  const changed = fc
    .tuple(
      fc.constantFrom(...seeds),
      fc.array(
        fc.tuple(
          fc.constantFrom('set', 'insert', 'remove', 'cut', 'repeat'),
          fc.nat(),
          fc.integer({ min: 0, max: 255 }),
        ),
        { minLength: 1, maxLength: 6 },
      ),
    )
    .map(([bytes, changes]) => {
      let now = [...bytes]
      for (const [kind, place, value] of changes) {
        const at = place % Math.max(1, now.length)
        if (kind === 'set') now[at] = value
        else if (kind === 'insert') now.splice(at, 0, value)
        else if (kind === 'remove') now.splice(at, 1 + (value % 4))
        else if (kind === 'cut') now = now.slice(0, Math.max(8, at))
        else now.splice(at, 0, ...now.slice(at, at + (value % 32)))
      }
      return Uint8Array.from(now)
    })

  test(
    'is taken or refused in one line; one that is taken is still a module',
    () => {
      let valid = 0
      fc.assert(
        fc.property(changed, (bytes) => {
          const safe = makeSafe(bytes, BOUNDS)
          if ('problem' in safe) expect(safe.problem).not.toMatch(/[\r\n]/)
          if (WebAssembly.validate(bytes)) {
            valid++
            if ('module' in safe) expect(WebAssembly.validate(safe.module.bytes)).toBe(true)
          }
          const loaded = load(bytes)
          if ('problem' in loaded) expect(loaded.problem).toMatch(/^[^\r\n]+$/)
        }),
        { numRuns: RUNS * 10 },
      )
      expect(valid).toBeGreaterThan(RUNS / 10)
    },
    TIMEOUT_MS,
  )
})
