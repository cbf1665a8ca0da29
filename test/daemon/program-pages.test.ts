import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { unwrittenMappings } from '../../src/daemon/program-pages.ts'
import { settlingSteps } from '../../src/daemon/settling.ts'
import { loadSyscalls } from '../../src/os/syscalls.ts'

/** A mapping as proc_pid_smaps(5) shows it, shortened. */
function mapping(range: string, flags: string, file: string, anonymousKb: number): string {
  return `${range} ${flags} 00000000 08:01 1234                     ${file}\nSize:                 16 kB\nRss:                  12 kB\nAnonymous:      ${String(anonymousKb).padStart(8)} kB\nVmFlags: rd mr mw me\n`
}

test('only what cannot be written to and never was is found, of that file alone', () => {
  const smaps = [
    mapping('00400000-00404000', 'r--p', '/usr/bin/node', 0),
    mapping('00404000-00414000', 'r-xp', '/usr/bin/node', 0),
    // Sealed after the relocations were written.
    mapping('00414000-00418000', 'r--p', '/usr/bin/node', 8),
    mapping('00418000-0041c000', 'rw-p', '/usr/bin/node', 0),
    mapping('0041c000-00420000', 'r-xs', '/usr/bin/node', 0),
    mapping('7f0000000000-7f0000004000', 'r-xp', '/usr/lib/libc.so.6', 0),
    mapping('7f0000004000-7f0000008000', 'r--p', '/usr/bin/node (deleted)', 0),
    mapping('7fff00000000-7fff00004000', 'rw-p', '', 16),
  ].join('')
  expect(unwrittenMappings(smaps, '/usr/bin/node')).toEqual([
    { address: 0x400000, bytes: 0x4000 },
    { address: 0x404000, bytes: 0x10000 },
  ])
})

const sys = loadSyscalls()
const residentFileKb = (): number => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1])

test.skipIf(typeof sys === 'string')('the program runs on without them, in less memory; settling does it once', () => {
  if (typeof sys === 'string') throw new Error(sys)
  const dropped: number[] = []
  const watched = {
    ...sys,
    dropPages: (address: number, bytes: number): number => {
      const result = sys.dropPages(address, bytes)
      dropped.push(result)
      return result
    },
  }
  const steps = settlingSteps(watched, () => {})
  const before = residentFileKb()
  for (const step of steps) step()
  expect(dropped.length).toBeGreaterThan(0)
  expect(new Set(dropped)).toEqual(new Set([0]))
  expect(residentFileKb()).toBeLessThan(before)
  const times = dropped.length
  for (const step of steps) step()
  expect(dropped).toHaveLength(times)
})
