import {
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
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { removeLeftOvers, writeAtomicFile } from '../../src/base/atomic-file.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-atomic-'))
  file = join(folder, 'table')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('a file is made or replaced, for its owner alone, and nothing else is left', async () => {
  for (const content of ['first', Buffer.from('second')]) {
    await writeAtomicFile(file, content)
    expect(readFileSync(file, 'utf8')).toBe(String(content))
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder)).toEqual(['table'])
  }
})

test('links at names that could be guessed are not followed, nor is one at the path itself', async () => {
  const victim = join(folder, 'victim')
  writeFileSync(victim, 'precious')
  for (const name of ['table', 'table.tmp', `table.${process.pid}.tmp`]) symlinkSync('victim', join(folder, name))
  await writeAtomicFile(file, 'content')
  expect(readFileSync(victim, 'utf8')).toBe('precious')
  expect(readFileSync(file, 'utf8')).toBe('content')
})

test('a write that fails leaves the old file, and nothing beside it', async () => {
  mkdirSync(file)
  writeFileSync(join(file, 'inner'), '')
  await expect(writeAtomicFile(file, 'content')).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/)
  expect(readdirSync(folder)).toEqual(['table'])
  await expect(writeAtomicFile(join(folder, 'none', 'table'), 'content')).rejects.toThrow('ENOENT')
})

test('writers at the same time leave one of their contents whole', async () => {
  const contents = Array.from({ length: 10 }, (_, k) => String(k).repeat(100_000))
  await Promise.all(contents.map((content) => writeAtomicFile(file, content)))
  expect(contents).toContain(readFileSync(file, 'utf8'))
  expect(readdirSync(folder)).toEqual(['table'])
})

test('left-overs of writers that are gone are removed, those of others and what only looks like one are not', async () => {
  const gone = spawnSync(process.execPath, ['-e', '']).pid
  const alive = process.ppid
  const leftOvers = [`table.${gone}.0123456789abcdef.tmp`, `table.${gone}.tmp`, `table.${process.pid}.tmp`]
  const others = [
    `table.${alive}.0123456789abcdef.tmp`,
    'table',
    'table.tmp',
    `other.${gone}.tmp`,
    `table.x${gone}.tmp`,
    `table.${gone}.tmp.old`,
    `table.new.${gone}.tmp`,
    `table.${gone}.0123456789abcde.tmp`,
    `table.${gone}.0123456789abcdeX.tmp`,
  ]
  for (const name of [...leftOvers, ...others]) writeFileSync(join(folder, name), '')
  mkdirSync(join(folder, `table.${gone}.fedcba9876543210.tmp`))
  await removeLeftOvers(file)
  expect(readdirSync(folder).toSorted()).toEqual([...others, `table.${gone}.fedcba9876543210.tmp`].toSorted())
  await removeLeftOvers(join(folder, 'none', 'table'))
})

test('what a process is writing that belongs to somebody else stays', async () => {
  const refused = Object.assign(new Error('kill EPERM'), { code: 'EPERM' })
  const kill = vi.spyOn(process, 'kill').mockImplementation(() => {
    throw refused
  })
  writeFileSync(`${file}.4711.0123456789abcdef.tmp`, '')
  await removeLeftOvers(file)
  expect([readdirSync(folder), kill.mock.calls]).toEqual([['table.4711.0123456789abcdef.tmp'], [[4711, 0]]])
  kill.mockRestore()
})

test('no descriptor is left open, whatever the end', async () => {
  await writeAtomicFile(file, 'first')
  const before = readdirSync('/proc/self/fd').length
  mkdirSync(join(folder, 'taken'))
  await writeAtomicFile(file, 'second')
  await expect(writeAtomicFile(join(folder, 'taken'), 'third')).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/)
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})
