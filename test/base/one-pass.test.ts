/** Work that is done once, without V8's most thorough compiler: by what V8 says that it compiles. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { WAIT_MS } from '../wait.ts'

const SOURCE = join(import.meta.dirname, '../../src/base/one-pass.ts')
/** Each function is called often enough for every compiler. */
const SCRIPT = `
  import { setFlagsFromString } from 'node:v8'
  import { onePass } from ${JSON.stringify(SOURCE)}
  setFlagsFromString('--trace-opt')
  function before(n) { let sum = 0; for (let i = 0; i < n; i++) sum = (sum + i * 3) | 0; return sum }
  function meanwhile(n) { let sum = 0; for (let i = 0; i < n; i++) sum = (sum + i * 5) | 0; return sum }
  function later(n) { let sum = 0; for (let i = 0; i < n; i++) sum = (sum + i * 7) | 0; return sum }
  const bytes = Number(process.env.INPUT_BYTES)
  for (let i = 0; i < 60_000; i++) before(300)
  const returned = onePass(bytes, () => { for (let i = 0; i < 60_000; i++) meanwhile(300); return 'returned' })
  try { onePass(bytes, () => { throw new Error('thrown') }) } catch (error) { console.log(returned, error.message) }
  for (let i = 0; i < 60_000; i++) later(300)
`

/** Those of the three functions that the most thorough compiler took. */
function compiled(inputBytes: number, flags: string[] = []): string[] {
  // Compiled at once, and not when another thread has time.
  const args = ['--no-concurrent-recompilation', ...flags, '--input-type=module', '-']
  const env = { ...process.env, INPUT_BYTES: String(inputBytes), NODE_OPTIONS: '' }
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    // Not among the arguments, where flags are looked for.
    input: SCRIPT,
    env,
    timeout: WAIT_MS,
  })
  expect(stderr).toBe('')
  expect(stdout).toContain('returned thrown')
  const lines = stdout.split('\n').filter((line) => /completed compiling.*TURBOFAN/.test(line))
  return ['before', 'meanwhile', 'later'].filter((name) => lines.some((line) => line.includes(`<JSFunction ${name} `)))
}

test('a small input is gone through without it, whose turn comes again afterwards, also after an error', () =>
  expect(compiled(1_000_000)).toEqual(['before', 'later']))

test('it takes part where the input is large', () =>
  expect(compiled(10_000_000)).toEqual(['before', 'meanwhile', 'later']))

test('nothing is changed where flags choose compilers', () =>
  expect(compiled(1_000_000, ['--max-opt=999'])).toEqual(['before', 'meanwhile', 'later']))
