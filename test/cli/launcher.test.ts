/** bin/byname: what the shell does with it, and the code that is kept between starts. */
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
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
import { LAUNCHER } from './byname-process.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-launcher-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** A program that says how it was called. */
function witness(file: string, name: string): void {
  mkdirSync(dirname(file), { recursive: true })
  const script = `#!/bin/sh\necho "${name} $*"\necho "memory [$MALLOC_ARENA_MAX] [$MALLOC_MMAP_THRESHOLD_]"\n`
  writeFileSync(file, script, { mode: 0o755 })
}

/** The Node that the lock file brings. */
function own(): void {
  witness(join(folder, 'package', 'node_modules', '.bin', 'node'), 'own')
}

describe('the launcher by its name', () => {
  let launcher: string
  beforeEach(() => {
    launcher = join(folder, 'package', 'bin', 'byname')
    mkdirSync(dirname(launcher), { recursive: true })
    copyFileSync(LAUNCHER, launcher)
    witness(join(folder, 'path', 'node'), 'another')
  })

  /** What the Node that it went to was told. */
  function start(args: string[], env: Record<string, string> = {}, by: string = launcher): string[] {
    const PATH = `${join(folder, 'path')}:/usr/bin:/bin`
    const { stdout, stderr } = spawnSync(by, args, { encoding: 'utf8', env: { PATH, ...env } })
    expect(stderr).toBe('')
    return stdout.trimEnd().split('\n')
  }

  test.each(['run', 'demo', 'control-plane'])(
    '%s goes straight to the Node beside it, with all that it needs',
    (command) => {
      own()
      const flags = '--disable-sigusr1 --max-semi-space-size=1'
      expect(start([command, '--config', 'a b'])).toEqual([
        `own ${flags} ${launcher} ${command} --config a b`,
        'memory [1] [65536]',
      ])
    },
  )

  test('through a symbolic link, as npm installs it, too', () => {
    own()
    const link = join(folder, 'path', 'byname')
    symlinkSync('../package/bin/byname', link)
    expect(start(['run'], {}, link)[0]).toBe(`own --disable-sigusr1 --max-semi-space-size=1 ${link} run`)
  })

  test('commands that do not serve need nothing', () => {
    own()
    expect(start(['status'])).toEqual([`own ${launcher} status`, 'memory [] []'])
    expect(start([])).toEqual([`own ${launcher}`, 'memory [] []'])
  })

  test.each([
    ['NODE_OPTIONS', '--max-semi-space-size=4', '[] []'],
    ['MALLOC_ARENA_MAX', '2', '[2] []'],
    ['MALLOC_MMAP_THRESHOLD_', '1000', '[] [1000]'],
  ])('where somebody set %s it is left to the launcher’s JavaScript what to add', (name, value, memory) => {
    own()
    expect(start(['run'], { [name]: value })).toEqual([`own ${launcher} run`, `memory ${memory}`])
  })

  test('without a Node beside it the one of the path is asked, which may be too old', () => {
    expect(start(['run'])).toEqual([`another ${launcher} run`, 'memory [] []'])
  })
})

describe('the code of a bundle', () => {
  const LOADER = join(dirname(LAUNCHER), 'code-cache.js')
  /** Two bundles of one length. */
  const FIRST = 'exports.value = (() => 1)()'
  const SECOND = 'exports.value = (() => 2)()'

  let bundle: string
  let code: string
  beforeEach(() => {
    bundle = join(folder, 'bundle.cjs')
    code = join(folder, 'cache', 'command')
  })

  /** What the bundle exports, loaded by a process of its own. */
  function load(source: string): string {
    writeFileSync(bundle, source)
    const script = `const { loadWithCode } = require(process.argv[1])
      console.log(loadWithCode(process.argv[2], process.argv[3], false).value)`
    const args = ['--eval', script, LOADER, bundle, code]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect(stderr).toBe('')
    return stdout.trim()
  }

  test('is written at the end of the first run, and left alone by those that use it', () => {
    expect(load(FIRST)).toBe('1')
    const { ino } = statSync(code)
    expect(load(FIRST)).toBe('1')
    expect(statSync(code).ino).toBe(ino)
    expect(readdirSync(dirname(code))).toEqual(['command'])
  })

  test('of another bundle, of the same length even, is not run and is replaced', () => {
    load(FIRST)
    const before = readFileSync(code)
    expect(load(SECOND)).toBe('2')
    expect(readFileSync(code).equals(before)).toBe(false)
    expect(load(SECOND)).toBe('2')
  })

  test.each([
    ['empty', () => Buffer.alloc(0)],
    ['cut', (file: Buffer) => file.subarray(0, -1)],
    ['damaged', (file: Buffer) => file.fill(0x55, file.length - 9, file.length - 8)],
    ['of another V8', (file: Buffer) => file.fill(0x55, 40, 48)],
  ])('that is %s is made anew', (_how, change) => {
    load(FIRST)
    const whole = readFileSync(code)
    writeFileSync(code, change(Buffer.from(whole)))
    expect(load(FIRST)).toBe('1')
    expect(readFileSync(code).length).toBe(whole.length)
  })

  test('that cannot be written is done without', () => {
    writeFileSync(join(folder, 'cache'), 'a file where the folder would be')
    expect(load(FIRST)).toBe('1')
  })

  test('is not twice as large for a character that is not ASCII: there is none in what is bundled', () => {
    expect(readFileSync(join(dirname(LAUNCHER), '..', 'dist', 'byname.cjs'), 'latin1')).not.toMatch(/[^\0-\x7f]/)
  })
})
