/** Denials as real resolvers take them: what is allowed is found with glibc and musl, through a search list, and nothing waits. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildLookUps, runInside } from './c-libraries.ts'

/** Names found of three that rules allow, and of four that they deny. */
export interface LookedUp {
  rules: string
  libc: 'glibc' | 'musl'
  allowed: number
  denied: number
  ms: number
}

/** A resolver that is not answered asks again after this long: musl after half of resolv.conf's timeout. */
const TIMEOUT_MS = 15_000
const folder = mkdtempSync(join(tmpdir(), 'byname-rules-libc-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Needs root, unshare(1), a compiler for each library. */
const missing = buildLookUps(folder)

test.skipIf(missing !== null)(
  'glibc and musl find what rules allow, and no more, whether the rest is denied by NXDOMAIN or NODATA',
  () => {
    const results: LookedUp[] = JSON.parse(runInside(folder, 'rules-inside.ts'))
    expect(results).toHaveLength(8)
    for (const { allowed, denied, libc, ms, rules } of results) {
      expect({ rules, libc, allowed, denied }).toEqual({ rules, libc, allowed: 3, denied: 0 })
      expect(ms).toBeLessThan(TIMEOUT_MS)
    }
  },
)
