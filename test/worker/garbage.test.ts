/** A hit allocates nothing: what little garbage there is comes from the times that are read for each batch of 64. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const LOOP = fileURLToPath(new URL('hit-loop.ts', import.meta.url))
const HITS = 1_000_000

/** The smallest object a hit would make it sixteen or more (measured: two, by some 130 bytes a batch). */
const MOST_COLLECTIONS = 4

test.each(['mesh', 'cache'])('a million %s hits: next to no garbage', async (kind) => {
  // A mebibyte of young generation, as the launcher sets it.
  const flags = ['--trace-gc', '--expose-gc', '--max-semi-space-size=1']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, LOOP, kind, String(HITS)])
  const measured = stdout.slice(stdout.indexOf('BEGIN'), stdout.indexOf('END')).split('\n').slice(1, -1)
  expect(Number(/answered (\d+)/.exec(stdout)?.[1])).toBeGreaterThan(HITS)
  expect(measured.length, measured.join('\n')).toBeLessThanOrEqual(MOST_COLLECTIONS)
})
