/** What search storms cost, with real resolvers: programs built with glibc and musl look a thousand new names up. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildLookUps, runInside } from './c-libraries.ts'

/** Questions (A and AAAA) that servers were asked for a thousand look-ups. */
export interface StormFigure {
  libc: 'glibc' | 'musl'
  storms: 'auto' | 'off'
  found: number
  questions: number
  /** To the server, one after the other, until the first look-up was over. */
  firstRoundTrips: number
}

const folder = mkdtempSync(join(tmpdir(), 'byname-storms-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Needs root, unshare(1), a compiler for each library. */
const missing = buildLookUps(folder)

test.skipIf(missing !== null)(
  'a new outside name costs 2.05 questions at most instead of 8, and the first is found no later, with glibc and with musl',
  () => {
    const figures: StormFigure[] = JSON.parse(runInside(folder, 'search-storms-inside.ts'))
    const firstWithout = new Map(
      figures.filter(({ storms }) => storms === 'off').map((each) => [each.libc, each.firstRoundTrips]),
    )
    for (const { libc, storms, found, questions, firstRoundTrips } of figures) {
      const perLookUp = questions / 1000
      process.stdout.write(
        `${libc}, search.storms: ${storms}: ${perLookUp} questions for each new name, the first in ${firstRoundTrips} round trips\n`,
      )
      expect(found).toBe(1000)
      if (storms === 'off') expect(perLookUp).toBe(8)
      else {
        expect(perLookUp).toBeLessThanOrEqual(2.05)
        expect(firstRoundTrips).toBeLessThanOrEqual(firstWithout.get(libc)!)
      }
    }
    expect(figures).toHaveLength(4)
  },
)
