import { mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isReplaced, stampOf } from '../../src/base/files.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-stamp-'))
  file = join(folder, 'file')
  writeFileSync(file, 'first')
  // Long ago, so that whatever is written now has another time.
  utimesSync(file, 1000, 1000)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('a stamp is the same as long as nothing happens, through a link as well', () => {
  symlinkSync('file', join(folder, 'link'))
  expect(stampOf(file)).toBe(stampOf(file))
  expect(stampOf(join(folder, 'link'))).toBe(stampOf(file))
})

test('nothing, and a loop of links, have the stamp of nothing', () => {
  symlinkSync('loop', join(folder, 'loop'))
  expect([stampOf(join(folder, 'none')), stampOf(join(folder, 'loop'))]).toEqual(['-', '-'])
})

test.each<[what: string, change: () => void, isAnother: boolean]>([
  ['written over', () => writeFileSync(file, 'other'), false],
  ['made longer', () => writeFileSync(file, 'and more', { flag: 'a' }), false],
  [
    'replaced by a rename',
    () => {
      writeFileSync(join(folder, 'new'), 'first')
      renameSync(join(folder, 'new'), file)
    },
    true,
  ],
])('a file that is %s has another stamp, which tells whether it is another file', (_, change, isAnother) => {
  const before = stampOf(file)
  change()
  const now = stampOf(file)
  expect(now).not.toBe(before)
  expect(isReplaced(before, now)).toBe(isAnother)
})

test.each([
  ['1:2:3 5:6:7', '1:2:3 5:6:7', false],
  ['1:2:3 5:6:7', '1:2:3 5:6:8', false],
  ['1:2:3 5:6:7', '1:22:3 5:6:7', true],
  // The beginning of a number is another number.
  ['1:2:33 5:6:7', '1:2:3 5:6:7', true],
  ['1:2:3 5:6:7', '-', false],
  ['-', '1:2:3 5:6:7', false],
  ['-', '-', false],
])('from %j to %j a file took the place of another: %s', (before, now, expected) => {
  expect(isReplaced(before, now)).toBe(expected)
})
