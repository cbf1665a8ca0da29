/** bin/byname: what the shell does with it, and the code that is kept between starts. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WAIT_MS } from '../wait.ts'
import { LAUNCHER } from './byname-process.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-launcher-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** A program that says how it was called. */
function witness(file: string, name: string): void {
  mkdirSync(dirname(file), { recursive: true })
  const script = `#!/bin/sh\nprintf '%s|' ${name} "$@"\necho "memory [$MALLOC_ARENA_MAX] [$MALLOC_MMAP_THRESHOLD_]"\n`
  writeFileSync(file, script, { mode: 0o755 })
}

/** The Node that the lock file brings. */
function own(script?: string): void {
  const file = join(folder, 'the package', 'node_modules', '.bin', 'node')
  witness(file, 'own')
  if (script !== undefined) writeFileSync(file, script)
}

describe('the launcher by its name', () => {
  const FLAGS = ['--disable-sigusr1', '--max-semi-space-size=1', '--single-threaded-gc']
  let launcher: string
  beforeEach(() => {
    launcher = join(folder, 'the package', 'bin', 'byname')
    mkdirSync(dirname(launcher), { recursive: true })
    copyFileSync(LAUNCHER, launcher)
    witness(join(folder, 'path', 'node'), 'another')
  })

  /** What the Node that it went to was told. */
  function start(args: string[], env: Record<string, string> = {}, by: string = launcher): string[] {
    const PATH = `${join(folder, 'path')}:/usr/bin:/bin`
    const { stdout, stderr } = spawnSync(by, args, { encoding: 'utf8', env: { PATH, ...env } })
    expect(stderr).toBe('')
    return stdout.trimEnd().split('|')
  }

  test.each(['run', 'demo', 'control-plane'])(
    '%s goes straight to the Node beside it, with all that it needs',
    (command) => {
      own()
      const args = [command, '--config', 'a b', '', '*', '"$(x)"']
      expect(start(args)).toEqual(['own', ...FLAGS, launcher, ...args, 'memory [1] [65536]'])
    },
  )

  test('through a symbolic link, as npm installs it, too', () => {
    own()
    const link = join(folder, 'path', 'byname')
    symlinkSync('../the package/bin/byname', link)
    expect(start(['run'], {}, link)).toEqual(['own', ...FLAGS, link, 'run', 'memory [1] [65536]'])
  })

  test('commands that do not serve need nothing', () => {
    own()
    expect(start(['status'])).toEqual(['own', launcher, 'status', 'memory [] []'])
    expect(start([])).toEqual(['own', launcher, 'memory [] []'])
  })

  test.each([
    ['NODE_OPTIONS', '--max-semi-space-size=4', '[] []'],
    ['MALLOC_ARENA_MAX', '2', '[2] []'],
    ['MALLOC_ARENA_MAX', '', '[] []'],
    ['MALLOC_MMAP_THRESHOLD_', '1000', '[] [1000]'],
  ])('where somebody set %s to "%s" it is left to the launcher’s JavaScript what to add', (name, value, memory) => {
    own()
    expect(start(['run'], { [name]: value })).toEqual(['own', launcher, 'run', `memory ${memory}`])
  })

  test.each([
    ['without a Node beside it', () => {}],
    ['beside a Node that does not run here, for another C library say', () => own('#!/lib/ld-of-another-system\n')],
  ])('%s the one of the path is asked, which may be too old', (_where, prepare) => {
    prepare()
    expect(start(['run'])).toEqual(['another', launcher, 'run', 'memory [] []'])
  })

  test('a Node that lacks a library here gets the one that the package brings; with all of its own it gets none', () => {
    own('#!/bin/sh\n[ -n "$LD_LIBRARY_PATH" ] || exit 127\necho "$LD_LIBRARY_PATH"\n')
    expect(start(['status'])).toEqual(['another', launcher, 'status', 'memory [] []'])
    const lib = join(folder, 'the package', 'lib')
    mkdirSync(lib)
    expect(start(['status'])).toEqual([lib])
    expect(start(['status'], { LD_LIBRARY_PATH: '/opt/lib' })).toEqual(['/opt/lib'])
    own('#!/bin/sh\necho "[$LD_LIBRARY_PATH]"\n')
    expect(start(['status'])).toEqual(['[]'])
  })

  test('certificates that Node is to read from what is no file are left out: it would wait for ever', () => {
    own('#!/bin/sh\necho "[$NODE_EXTRA_CA_CERTS]"\n')
    const real = join(folder, 'extra.pem')
    writeFileSync(real, '')
    const given = [real, '/dev/null', folder].map((file) => start(['status'], { NODE_EXTRA_CA_CERTS: file })[0])
    expect(given).toEqual([`[${real}]`, '[]', '[]'])
  })

  test('without any Node it says where to get one', () => {
    const { status, stderr } = spawnSync(launcher, ['run'], {
      encoding: 'utf8',
      env: { PATH: join(folder, 'nothing') },
    })
    expect(status).toBe(1)
    expect(stderr).toBe(
      `byname: there is no Node.js; run "npm ci" in ${dirname(dirname(launcher))}, which brings one, or install Node.js 24 or newer\n`,
    )
  })
})

describe('the code of a bundle', () => {
  const LOADER = join(dirname(LAUNCHER), 'code-cache.js')
  /** Two bundles of one length. */
  const FIRST = 'exports.value = (() => 1)()'
  const SECOND = 'exports.value = (() => 2)()'

  let bundle: string
  let cache: string
  beforeEach(() => {
    bundle = join(folder, 'bundle.cjs')
    cache = join(folder, 'cache')
  })

  /** What the bundle exports, loaded by a process of its own, which then runs `after`. */
  function load(source: string, { after = '', isService = false, flags = [] as string[] } = {}): string {
    writeFileSync(bundle, source)
    const script = `const { loadWithCode } = require(process.argv[1])
      console.log(loadWithCode(process.argv[2], process.argv[3], ${isService}).value)
      ${after}`
    const args = [...flags, '--eval', script, LOADER, bundle, join(cache, 'command')]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: WAIT_MS })
    expect(stderr).toBe('')
    return stdout.trim()
  }

  function codeFile(): string {
    const [name, ...others] = readdirSync(cache)
    expect(others).toEqual([])
    return join(cache, name!)
  }

  test('is written at the end of the first run, and left alone by those that use it', () => {
    expect(load(FIRST)).toBe('1')
    const { ino, mode } = statSync(codeFile())
    expect(mode & 0o022).toBe(0)
    expect(load(FIRST)).toBe('1')
    expect(statSync(codeFile()).ino).toBe(ino)
  })

  test('holds what has run, so that it is larger after more', () => {
    const source = 'exports.value = 1; exports.more = () => [1, 2, 3].map((n) => n * 7).join("-")'
    load(source)
    const before = statSync(codeFile()).size
    rmSync(cache, { recursive: true })
    load(source.replace('exports.value = 1', 'exports.value = 1; setImmediate(() => exports.more())'))
    expect(statSync(codeFile()).size).toBeGreaterThan(before)
  })

  test('of a run that failed is not kept: it was no command, or did not get far', () => {
    expect(load(FIRST, { after: 'process.exitCode = 2' })).toBe('1')
    expect(existsSync(cache)).toBe(false)
  })

  test('of a service is written once it has started', () => {
    const isThere = `process.stdin.resume()
      const timer = setInterval(() => {
        const { existsSync, readdirSync } = require('node:fs')
        const cache = require('node:path').dirname(process.argv[3])
        if (!existsSync(cache) || readdirSync(cache).some((name) => name.endsWith('.tmp'))) return
        process.exit()
      }, 10)`
    load(FIRST, { isService: true, after: isThere })
    expect(load(FIRST, { after: 'process.exitCode = 1' })).toBe('1')
    expect(codeFile()).toContain('command-')
  })

  test('of another bundle, of the same length even, is not run and is replaced', () => {
    load(FIRST)
    const before = readFileSync(codeFile())
    expect(load(SECOND)).toBe('2')
    expect(readFileSync(codeFile()).equals(before)).toBe(false)
    expect(load(SECOND)).toBe('2')
  })

  test('made under other flags of V8 is kept beside it', () => {
    load(FIRST)
    expect(load(FIRST, { flags: ['--no-opt'] })).toBe('1')
    expect(readdirSync(cache)).toHaveLength(2)
  })

  test.each([
    ['empty', () => Buffer.alloc(0)],
    ['cut', (file: Buffer) => file.subarray(0, -1)],
    ['damaged', (file: Buffer) => file.fill(0x55, file.length - 9, file.length - 8)],
    ['of another V8', (file: Buffer) => file.fill(0x55, 40, 48)],
  ])('that is %s is made anew', (_how, change) => {
    load(FIRST)
    const whole = readFileSync(codeFile())
    writeFileSync(codeFile(), change(Buffer.from(whole)))
    expect(load(FIRST)).toBe('1')
    expect(readFileSync(codeFile()).length).toBe(whole.length)
  })

  test('that others may write is not trusted', () => {
    load(FIRST)
    const { ino } = statSync(codeFile())
    chmodSync(codeFile(), 0o666)
    expect(load(FIRST)).toBe('1')
    expect(statSync(codeFile())).not.toMatchObject({ ino })
  })

  test('that cannot be written is done without', () => {
    writeFileSync(cache, 'a file where the folder would be')
    expect(load(FIRST)).toBe('1')
  })

  test('that cannot be put in its place is done without, and leaves nothing', () => {
    load(FIRST)
    const file = codeFile()
    rmSync(file)
    mkdirSync(join(file, 'in the way'), { recursive: true })
    expect(load(FIRST)).toBe('1')
    expect(codeFile()).toBe(file)
  })
})

describe('what is bundled', () => {
  const dist = join(dirname(LAUNCHER), '..', 'dist')
  const files = readdirSync(dist).filter((name) => /\.c?js$/.test(name))
  const text = (name: string): string => readFileSync(join(dist, name), 'latin1')

  test('is the commands, the health check apart, and two threads', () =>
    expect(files.toSorted()).toEqual(['byname.cjs', 'data-worker.js', 'health.cjs', 'stream-worker.js']))
  test('is ASCII: of any other V8 keeps two bytes a character', () => {
    for (const name of files) expect(text(name)).not.toMatch(/[^\0-\x7f]/)
  })
  test('comes with the code of the data worker, which V8 takes under the flags that the launcher gives it', () => {
    const [, flags] = /^SERVICE_FLAGS='([^']*)'$/m.exec(readFileSync(LAUNCHER, 'latin1'))!
    const script = `const [, bundle] = process.argv
      const cachedData = require('node:fs').readFileSync(bundle + '.code')
      const source = require('node:fs').readFileSync(bundle, 'latin1')
      console.log(new (require('node:vm').Script)(source, { filename: bundle, cachedData }).cachedDataRejected)`
    const rejected = (more: string[]): string => {
      const args = [...flags!.split(' '), ...more, '--eval', script, join(dist, 'data-worker.js')]
      return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: WAIT_MS }).stdout.trim()
    }
    expect(rejected([])).toBe('false')
    expect(rejected(['--no-opt'])).toBe('true')
  })
  test('requires nothing that a module cannot', () => {
    for (const name of files) expect(text(name)).not.toContain('Dynamic require of')
  })
  test('is strict', () => expect(text('byname.cjs')).toMatch(/^['"]use strict['"];/))
})
