import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { loadSyscalls } from '../../src/os/syscalls.ts'

const WAIT_MS = 30_000
/** glibc's loader has loaded this Node. */
const isGlibc = readFileSync('/proc/self/maps').includes('/ld-linux-')
const sys = loadSyscalls()

test.skipIf(!isGlibc)(
  "the calls work without koffi's own loader, which would look for its binary with five modules",
  () => {
    const script = `
    const { loadSyscalls } = await import(process.argv[1])
    const { createRequire } = await import('node:module')
    const sys = loadSyscalls()
    const modules = Object.keys(createRequire(process.argv[1]).cache).filter((name) => name.includes('koffi'))
    console.log(JSON.stringify({ modules, isNow: sys.now() > 0 }))`
    const file = createRequire(import.meta.url).resolve('../../src/os/syscalls.ts')
    const args = ['--input-type=module', '--eval', script, file]
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: WAIT_MS })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({ modules: [], isNow: true })
  },
)

test.skipIf(typeof sys === 'string')('random numbers fill memory of any length, to its last byte', () => {
  if (typeof sys === 'string') throw new Error(sys)
  for (const length of [1, 255, 256, 257, 4096, 5000]) {
    const bytes = Buffer.from(new SharedArrayBuffer(length + 1))
    // Zero is one byte in 256, and hardly eight times in a row.
    const seen = Array.from({ length: 8 }, () => {
      expect(sys.random(bytes.subarray(0, length))).toBe(true)
      return bytes[length - 1]
    })
    expect(seen.some((byte) => byte !== 0)).toBe(true)
    expect(bytes[length]).toBe(0)
  }
})
