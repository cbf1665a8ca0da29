/** Plug-ins in a real daemon: their files change under load, good ones and bad ones. */
import { mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { byname } from '../cli/byname-process.ts'
import { pluginBytes } from '../plugins/wat.ts'
import { rcodeOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()
const REFUSED = 5
const NXDOMAIN = 3

/** Answers names that begin with b with an rcode. */
const denying = (rcode: number): Uint8Array =>
  pluginBytes({
    imports:
      '(import "byname" "log" (func $log (param i32 i32))) (import "byname" "counter" (func $count (param i32 i32))) (import "byname" "counter_name" (func $name (param i32 i32 i32)))',
    more: '(data (i32.const 0) "denied")',
    configure: '(call $name (i32.const 0) (i32.const 0) (i32.const 6))',
    query: `(if (result i32) (i32.eq (i32.load8_u (i32.const 1101)) (i32.const 98))
      (then (call $log (i32.const 0) (i32.const 6)) (call $count (i32.const 0) (i32.const 1)) (i32.store16 (i32.const 1076) (i32.const ${rcode})) (i32.const 3))
      (else (i32.const 0)))`,
  })
const trapping = pluginBytes({
  query: '(if (i32.eq (i32.load8_u (i32.const 1101)) (i32.const 116)) (then (loop $l (br $l)))) (i32.const 0)',
})

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'byname-plugins-'))
  stage.closing(() => rmSync(made, { recursive: true }))
  return made
}

test.each(['batch', 'dgram'])(
  'a plug-in answers, and its file may change under load; nothing is lost (%s)',
  async (driver) => {
    const upstream = await stage.resolver((query) => query.answer('192.0.2.7', 0))
    const here = folder()
    const file = join(here, 'block.wasm')
    // As a mounted ConfigMap is swapped: by a link.
    writeFileSync(join(here, 'one'), denying(NXDOMAIN))
    symlinkSync('one', file)
    const daemon = await stage.daemon({
      config: { driver, upstream: { servers: [upstream.text] }, plugins: [{ file }] },
    })
    const client = await stage.client()
    const ask = async (name: string): Promise<string> => rcodeOf((await client.ask(daemon.at(), name)).packet)
    expect([await ask('bad.example'), await ask('good.example')]).toEqual(['NXDOMAIN', 'NOERROR'])
    expect(await daemon.metric('byname_plugin_calls_total', { plugin: 'block', action: 'rcode' })).toBe(1)
    expect(
      await daemon.metric('byname_plugin_calls_total', { plugin: 'block', action: 'pass' }),
    ).toBeGreaterThanOrEqual(1)
    expect(await daemon.metric('byname_plugin_counter_total', { plugin: 'block', counter: 'denied' })).toBe(1)
    expect(await daemon.line('a plug-in says')).toMatchObject({ plugin: 'block', text: 'denied' })

    let asked = 0
    const seen = new Set<string>()
    const over = new AbortController()
    const load = async (): Promise<void> => {
      while (!over.signal.aborted) {
        // A query without an answer within its time rejects.
        seen.add(await ask(`b${asked++}.example`))
        expect(await ask(`good${asked++}.example`)).toBe('NOERROR')
      }
    }
    const loads = [load(), load(), load()]
    writeFileSync(join(here, 'two'), denying(REFUSED))
    symlinkSync('two', `${file}.new`)
    renameSync(`${file}.new`, file)
    await daemon.line('plug-in changed')
    await until(async () => expect(await ask('bad.example')).toBe('REFUSED'))
    writeFileSync(join(here, 'three'), denying(REFUSED).subarray(0, 100))
    symlinkSync('three', `${file}.new`)
    renameSync(`${file}.new`, file)
    const line = await daemon.line('plug-in block: ')
    expect(line.msg).toMatch(/^plug-in block: \S+block\.wasm is no WebAssembly module: .*: the one in use stays$/)
    expect(await ask('bad.example')).toBe('REFUSED')
    expect(await daemon.metric('byname_problems', { about: 'plugins' })).toBe(1)
    over.abort()
    await Promise.all(loads)
    expect([...seen].toSorted()).toEqual(['NXDOMAIN', 'REFUSED'])
  },
)

test('one that never ends is stopped, and after ten times switched off, until its file is another', async () => {
  const upstream = await stage.resolver((query) => query.answer('192.0.2.7', 0))
  const file = join(folder(), 'endless.wasm')
  writeFileSync(file, trapping)
  const daemon = await stage.daemon({
    config: { upstream: { servers: [upstream.text] }, plugins: [{ file, onError: 'servfail' }] },
  })
  const client = await stage.client()
  const ask = async (name: string): Promise<string> => rcodeOf((await client.ask(daemon.at(), name)).packet)
  expect(await ask('fine.example')).toBe('NOERROR')
  await until(async () => {
    expect(await ask('t.example')).toBe('SERVFAIL')
    expect(daemon.lines.some(({ msg }) => msg.startsWith('plug-in endless is switched off'))).toBe(true)
  })
  expect(await daemon.metric('byname_plugin_errors_total', { plugin: 'endless', reason: 'timeout' })).toBe(10)
  expect(await daemon.metric('byname_problems', { about: 'plugins' })).toBe(1)
  expect(await daemon.metric('byname_plugin_up', { plugin: 'endless' })).toBe(0)
  expect(await ask('fine.example')).toBe('SERVFAIL')
  writeFileSync(`${file}.new`, denying(REFUSED))
  renameSync(`${file}.new`, file)
  await until(async () => expect(await ask('bad.example')).toBe('REFUSED'))
  expect(await daemon.metric('byname_problems', { about: 'plugins' })).toBe(0)
})

test('they come, change and go with the configuration, and one without a file does what onError says', async () => {
  const upstream = await stage.resolver((query) => query.answer('192.0.2.7', 0))
  const here = folder()
  const file = join(here, 'block.wasm')
  const configuration = {
    upstream: { servers: [upstream.text] },
    mesh: { source: { table: join(here, 'table.json') } },
  }
  writeFileSync(join(here, 'table.json'), '{}')
  const daemon = await stage.daemon({ config: configuration })
  const client = await stage.client()
  const ask = async (name: string): Promise<string> => rcodeOf((await client.ask(daemon.at(), name)).packet)
  const configure = async (plugins: object[]): Promise<void> => {
    const path = join(daemon.folder, 'byname.yaml')
    const whole: object = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(`${path}.new`, JSON.stringify({ ...whole, plugins }))
    renameSync(`${path}.new`, path)
    await daemon.nthLine('configuration read again', ++readings)
  }
  let readings = 0
  expect(await ask('bad.example')).toBe('NOERROR')
  await configure([{ file, onError: 'servfail' }])
  await daemon.line('plug-in block: ')
  await until(async () => expect(await ask('bad.example')).toBe('SERVFAIL'))
  expect(await daemon.metric('byname_plugin_errors_total', { plugin: 'block', reason: 'unavailable' })).toBeGreaterThan(
    0,
  )
  writeFileSync(`${file}.new`, denying(NXDOMAIN))
  renameSync(`${file}.new`, file)
  await until(async () => expect(await ask('bad.example')).toBe('NXDOMAIN'))
  expect(await daemon.metric('byname_plugin_up', { plugin: 'block' })).toBe(1)
  await configure([{ file, config: 'other' }])
  expect(await ask('bad.example')).toBe('NXDOMAIN')
  await configure([])
  await until(async () => expect(await ask('bad.example')).toBe('NOERROR'))
})

test('explain names what each plug-in does, and leaves the ones that answer alone', async () => {
  const upstream = await stage.resolver((query) => query.answer('192.0.2.7', 0))
  const here = folder()
  const [one, two] = [join(here, 'rename.wasm'), join(here, 'block.wasm')]
  writeFileSync(
    one,
    pluginBytes({
      query:
        '(if (result i32) (i32.eq (i32.load8_u (i32.const 1101)) (i32.const 111)) (then (i32.store8 (i32.const 1101) (i32.const 98)) (i32.const 2)) (else (i32.const 0)))',
    }),
  )
  writeFileSync(two, denying(NXDOMAIN))
  const daemon = await stage.daemon({
    config: {
      upstream: { servers: [upstream.text] },
      rules: [{ name: 'alias.example', rewrite: 'old.example' }],
      plugins: [{ file: one }, { file: two }],
    },
  })
  const { address, port } = await daemon.line('admin endpoint is listening')
  const admin = `${String(address)}:${String(port)}`
  const { out } = await byname(['explain', 'old.example.', 'A', '--admin', admin])
  expect(out).toContain('plug-in rename')
  expect(out).toContain('changes the question to bld.example. (type 1)')
  expect(out).toMatch(/plug-in block.*answers without records: NXDOMAIN/)
  // A rule comes first: plug-ins see what it has made of the question.
  const byRule = await byname(['explain', 'alias.example.', 'A', '--admin', admin])
  expect(byRule.out).toContain('changes the question to bld.example. (type 1)')
  expect(byRule.out).toMatch(/plug-in block.*answers without records: NXDOMAIN/)
  const client = await stage.client()
  const { packet } = await client.ask(daemon.at(), 'alias.example')
  expect([rcodeOf(packet), packet.questions?.[0]?.name]).toEqual(['NXDOMAIN', 'alias.example'])
  expect((await byname(['explain', 'good.example.', 'A', '--admin', admin])).out).toMatch(/plug-in block.*passes it on/)
  expect(await daemon.metric('byname_plugin_calls_total', { plugin: 'block', action: 'pass' })).toBe(0)
})

test('check tries each plug-in', async () => {
  const here = folder()
  const config = join(here, 'byname.yaml')
  const file = join(here, 'block.wasm')
  writeFileSync(file, denying(NXDOMAIN))
  writeFileSync(
    config,
    JSON.stringify({
      upstream: { servers: ['192.0.2.1'] },
      plugins: [{ file, config: { names: ['a'] }, timeoutUs: 500 }],
    }),
  )
  const good = await byname(['check', '--config', config])
  expect([good.code, good.out]).toEqual([0, expect.stringMatching(/plug-in +\S+block\.wasm, tried: 500 µs a call/)])
  writeFileSync(file, pluginBytes({ query: '(loop $l (br $l)) (i32.const 0)' }))
  const bad = await byname(['check', '--config', config])
  expect([bad.code, bad.err]).toEqual([
    2,
    expect.stringMatching(/plugins\[0\]\.file: \S+block\.wasm fails when it is tried/),
  ])
  writeFileSync(file, '')
  truncateSync(file, 50 * 1024 * 1024)
  expect((await byname(['check', '--config', config])).err).toMatch(/block\.wasm is larger than 8 MiB/)
  rmSync(file)
  expect((await byname(['check', '--config', config])).err).toMatch(/plugins\[0\]\.file: \S+block\.wasm does not exist/)
})
