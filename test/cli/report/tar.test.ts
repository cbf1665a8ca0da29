import { execFileSync } from 'node:child_process'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { writeTar } from '../../../src/cli/report/tar.ts'
import { readArchive } from './read-archive.ts'

const TIME_SECONDS = Date.UTC(2026, 10, 30, 12) / 1000
const files = [
  { path: 'b/second.txt', bytes: Buffer.from('x'.repeat(512)) },
  { path: 'a.txt', bytes: Buffer.from('first ü\n') },
  { path: 'empty', bytes: new Uint8Array() },
]

test('tar lists what was written: names in order, sizes, modes, times', () => {
  const listing = execFileSync('tar', ['tvf', '-', '--utc'], {
    input: writeTar('report', files, TIME_SECONDS),
    encoding: 'utf8',
  })
  expect(listing.split('\n').map((line) => line.replace(/ +/g, ' '))).toEqual([
    'drwx------ 0/0 0 2026-11-30 12:00 report/',
    '-rw------- 0/0 9 2026-11-30 12:00 report/a.txt',
    '-rw------- 0/0 512 2026-11-30 12:00 report/b/second.txt',
    '-rw------- 0/0 0 2026-11-30 12:00 report/empty',
    '',
  ])
})

test('the same files, in any order, are the same bytes', () => {
  expect(writeTar('report', files.toReversed(), TIME_SECONDS)).toEqual(writeTar('report', files, TIME_SECONDS))
})

test('contents come back', () => {
  expect(readArchive(gzipSync(writeTar('report', files, TIME_SECONDS)))).toEqual(
    new Map([
      ['a.txt', 'first ü\n'],
      ['b/second.txt', 'x'.repeat(512)],
      ['empty', ''],
    ]),
  )
})
