/**
 * The examples of the SDKs, built by their compilers and run in an engine. AssemblyScript's comes with npm; where CI runs, clang
 * must be there as well; Rust's is tried where it has the target.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { PluginCell } from '../../src/stats/counters.ts'
import { a, decode } from '../dns/messages.ts'
import { EngineUnderTest } from '../engine/engine-under-test.ts'
import { load } from '../plugins/wat.ts'

const SDK = fileURLToPath(new URL('../../sdk', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'byname-sdk-'))
afterAll(() => rmSync(folder, { recursive: true }))

const PATH_WITHOUT_NPM = (process.env['PATH'] ?? '')
  .split(':')
  .filter((part) => !part.includes('node_modules'))
  .join(':')

type Build = (example: string) => Promise<Uint8Array>

/** In a process of its own: its types would change those of all tests. */
const ASC = fileURLToPath(new URL('../../node_modules/assemblyscript/bin/asc.js', import.meta.url))

function buildAssemblyScript(example: string): Promise<Uint8Array> {
  const out = join(folder, `as-${example}.wasm`)
  const options = ['--runtime', 'stub', '--optimize', '--use', 'abort=', '--outFile', out]
  const cwd = join(SDK, 'assemblyscript')
  const built = spawnSync(process.execPath, [ASC, `examples/${example}.ts`, ...options], { cwd, encoding: 'utf8' })
  if (built.status !== 0) throw new Error(built.stderr)
  return Promise.resolve(new Uint8Array(readFileSync(out)))
}

function buildC(example: string): Promise<Uint8Array> {
  const out = join(folder, `c-${example}.wasm`)
  const flags = ['--target=wasm32', '-O2', '-fno-builtin', '-nostdlib', '-Wl,--no-entry,--strip-all']
  const built = spawnSync(
    'clang',
    [...flags, '-Wall', '-Wextra', '-Werror', '-o', out, join(SDK, 'c/examples', `${example}.c`)],
    // Without npm's folders: clang would run the wasm-opt that it finds there.
    { encoding: 'utf8', env: { PATH: PATH_WITHOUT_NPM } },
  )
  if (built.status !== 0) throw new Error(built.stderr)
  return Promise.resolve(new Uint8Array(readFileSync(out)))
}

const RUST_TARGET = 'wasm32-unknown-unknown'

function buildRust(example: string): Promise<Uint8Array> {
  const args = ['build', '--release', '--offline', '--locked', '--target', RUST_TARGET, '--examples']
  const target = join(folder, 'rust')
  const built = spawnSync('cargo', [...args, '--target-dir', target], { cwd: join(SDK, 'rust'), encoding: 'utf8' })
  if (built.status !== 0) throw new Error(built.stderr)
  const out = join(target, RUST_TARGET, 'release/examples', `${example.replaceAll('-', '_')}.wasm`)
  return Promise.resolve(new Uint8Array(readFileSync(out)))
}

/** Whether a program runs; CI has the ones that its list names. */
function has(program: string, ...args: string[]): boolean {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' })
  return (
    status === 0 &&
    (program !== 'rustc' || spawnSync('ls', [join(stdout.trim(), 'lib/rustlib', RUST_TARGET)]).status === 0)
  )
}

const languages: [string, Build, boolean][] = [
  ['AssemblyScript', buildAssemblyScript, true],
  ['C', buildC, process.env['CI'] !== undefined || (has('clang', '--version') && has('wasm-ld', '--version'))],
  ['Rust', buildRust, has('cargo', '--version') && has('rustc', '--print', 'sysroot')],
]
for (const [language, , isThere] of languages) {
  if (!isThere) process.stdout.write(`SKIPPED: the examples in ${language}, whose compiler is not here\n`)
}

describe.each(languages.filter(([, , isThere]) => isThere))('in %s', (_, build) => {
  const built = new Map<string, Promise<Uint8Array>>()
  const bytesOf = (example: string): Promise<Uint8Array> => {
    const bytes = built.get(example) ?? build(example)
    built.set(example, bytes)
    return bytes
  }
  async function running(example: string, config: string): Promise<EngineUnderTest> {
    const loaded = load(await bytesOf(example), { config }, example)
    if ('problem' in loaded) throw new Error(loaded.problem)
    return new EngineUnderTest({ plugins: [loaded.settings], access: [{ address: new Uint8Array(4), length: 0 }] })
  }

  test('the block list denies its names and those below them', async () => {
    const byname = await running('block-list', ' ads.example\n tracker.example.org. x ')
    for (const name of ['ads.example', 'Some.ADS.example', 'a.b.tracker.example.org', 'x']) {
      expect(byname.ask(name, Type.A, { edns: {} }).reply, name).toMatchObject({
        rcode: Rcode.NXDOMAIN,
        authorities: [{ type: 'SOA' }],
        opt: { options: [{ code: 15, data: Buffer.from([0, 15]) }] },
      })
    }
    for (const name of ['example', 'badads.example', 'ads.example.org', 'tracker.example']) {
      expect(byname.ask(name).reply, name).toBeNull()
    }
    expect(byname.counters.pluginGet(0, PluginCell.own)).toBe(4)
    expect(load(await bytesOf('block-list'), { config: 'a..b' })).toMatchObject({
      problem: expect.stringMatching(/^refuses its config/),
    })
    expect(load(await bytesOf('block-list'))).not.toHaveProperty('problem')
  })

  test('the other name is asked for, and the client sees its own', async () => {
    const byname = await running('rename', 'old.example new.example.org a b')
    const asked = byname.ask('WWW.Old.example')
    expect(decode(byname.lastQuery.bytes).questions).toMatchObject([{ name: 'www.new.example.org', type: 'A' }])
    byname.answer({ answers: [a(7)] })
    expect(asked.reply).toMatchObject({
      questions: [{ name: 'WWW.Old.example' }],
      answers: [{ name: 'WWW.Old.example', data: '192.0.2.7' }],
    })
    byname.ask('a', Type.AAAA, { edns: { dnssecOk: true } })
    expect(decode(byname.lastQuery.bytes)).toMatchObject({ questions: [{ name: 'b', type: 'AAAA' }] })
    byname.ask('aa')
    expect(decode(byname.lastQuery.bytes).questions).toMatchObject([{ name: 'aa' }])
    // 255 bytes would be too few: it is asked for as it is.
    const long = `${'x'.repeat(63)}.${'y'.repeat(63)}.${'z'.repeat(63)}.${'w'.repeat(46)}.old.example`
    byname.ask(long)
    expect(decode(byname.lastQuery.bytes).questions).toMatchObject([{ name: long }])
    expect(load(await bytesOf('rename'), { config: 'old.example' })).toMatchObject({
      problem: expect.stringMatching(/^refuses/),
    })
  })

  test('the view gives some clients another address', async () => {
    const byname = await running(
      'view',
      '10.1.0.0/16 api.example 10.9.9.9 0.0.0.0/0 all.example 10.9.9.8 10.1.2.3 one.example 10.9.9.7',
    )
    byname.from(Uint8Array.of(10, 1, 2, 3))
    expect(byname.ask('API.example', Type.A, { edns: {} }).reply).toMatchObject({
      answers: [{ name: 'API.example', type: 'A', ttl: 30, data: '10.9.9.9' }],
      opt: {},
    })
    expect(byname.ask('api.example', Type.AAAA).reply).toMatchObject({ rcode: Rcode.NOERROR, answers: [] })
    expect(byname.ask('one.example').reply).toMatchObject({ answers: [{ data: '10.9.9.7' }] })
    expect([byname.ask('api.example', Type.MX).reply, byname.ask('www.api.example').reply]).toEqual([null, null])
    byname.from(Uint8Array.of(10, 2, 2, 3))
    expect([byname.ask('api.example').reply, byname.ask('one.example').reply]).toEqual([null, null])
    expect(byname.ask('all.example').reply).toMatchObject({ answers: [{ data: '10.9.9.8' }] })
    for (const config of ['10.1.0.0/33 a b', '10.1.0/8 a 1.2.3.4', '10.0.0.0/8 a 1.2.3', '10.0.0.0/8 a']) {
      expect(load(await bytesOf('view'), { config }), config).toMatchObject({
        problem: expect.stringMatching(/^refuses/),
      })
    }
  })

  test('latency comes of queries that get no reply', async () => {
    const byname = await running('latency', '40 slow.example')
    let dropped = 0
    for (let k = 0; k < 500; k++) {
      const before = byname.dropped('plugin')
      byname.ask(`n${k}.slow.example`)
      dropped += byname.dropped('plugin') - before
      byname.ask('fast.example')
    }
    expect(dropped).toBeGreaterThan(150)
    expect(dropped).toBeLessThan(250)
    expect(byname.counters.pluginGet(0, PluginCell.own)).toBe(dropped)
    expect(byname.dropped('plugin')).toBe(dropped)
  })
})
