/** Denials as real resolvers take them: what is allowed is found with glibc and musl, through a search list, and nothing waits. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

/** Names found of three that rules allow, and of four that they deny. */
export interface LookedUp {
  rules: string
  libc: 'glibc' | 'musl'
  allowed: number
  denied: number
  ms: number
}

/** A resolver that is not answered asks again after this long. */
const TIMEOUT_MS = 2500
const folder = mkdtempSync(join(tmpdir(), 'byname-rules-libc-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Needs root, unshare(1), a compiler for each library. */
function build(): string | null {
  const source = join(import.meta.dirname, 'look-up-all.c')
  for (const [libc, compiler] of [
    ['glibc', 'gcc'],
    ['musl', 'musl-gcc'],
  ] as const) {
    const isStatic = libc === 'musl' ? ['-static'] : []
    if (spawnSync(compiler, ['-o', join(folder, libc), source, ...isStatic]).status !== 0) return `no ${compiler}`
  }
  const isolated = spawnSync('unshare', ['-nm', 'sh', '-c', 'ip link set lo up && mount --bind /etc/hosts /etc/hosts'])
  return isolated.status === 0 ? null : 'no namespaces'
}

const missing = build()

test.skipIf(missing !== null)(
  'glibc and musl find what rules allow, and no more, whether the rest is denied by NXDOMAIN or NODATA',
  () => {
    writeFileSync(join(folder, 'resolv.conf'), '')
    const inside = join(import.meta.dirname, 'rules-inside.ts')
    const script = `ip link set lo up && mount --bind ${folder}/resolv.conf /etc/resolv.conf && exec "$@"`
    const args = ['-nm', 'sh', '-c', script, 'sh', process.execPath, inside, folder]
    const { stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 120_000 })
    expect(stderr).toBe('')
    const results: LookedUp[] = JSON.parse(stdout)
    expect(results).toHaveLength(8)
    for (const { allowed, denied, libc, ms, rules } of results) {
      expect({ rules, libc, allowed, denied }).toEqual({ rules, libc, allowed: 3, denied: 0 })
      expect(ms).toBeLessThan(TIMEOUT_MS)
    }
  },
  150_000,
)
