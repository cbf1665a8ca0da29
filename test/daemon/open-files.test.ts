import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openFilesLimit, type OpenFilesPlan, roomFor } from '../../src/daemon/open-files.ts'

const PLAN: OpenFilesPlan = { listeners: 1, workers: 1, driver: 'batch', servers: 1, connections: 1024 }

/** The least limit with which a plan is not refused. */
function least(plan: OpenFilesPlan): number {
  for (let limit = 1; ; limit++) if (!('problem' in roomFor(plan, limit))) return limit
}

test('what is needed grows with addresses, workers and servers, and each more so with workers', () => {
  const base = least(PLAN)
  expect(base).toBeGreaterThan(42)
  for (const more of [{ listeners: 2 }, { workers: 2 }, { servers: 2 }]) {
    expect(least({ ...PLAN, ...more })).toBeGreaterThan(base)
  }
  const four = least({ ...PLAN, workers: 4 })
  for (const more of [{ listeners: 2 }, { servers: 2 }]) {
    expect(least({ ...PLAN, workers: 4, ...more }) - four).toBeGreaterThan(least({ ...PLAN, ...more }) - base)
  }
  expect(least({ ...PLAN, driver: 'dgram', workers: 4, listeners: 3 })).toBeGreaterThan(
    least({ ...PLAN, workers: 4, listeners: 3 }),
  )
})

test('one file fewer than needed is refused, with the limit, what needs how many, and the remedy', () => {
  const limit = least(PLAN) - 1
  expect(roomFor(PLAN, limit)).toEqual({
    problem: `at most ${limit} files may be open, and 1 addresses, 1 workers and 1 upstream servers need ${limit + 1} at least; raise the limit (ulimit -n, LimitNOFILE= of systemd)`,
  })
})

test('connections of clients get what is left, half of it, and a warning names how many', () => {
  expect(roomFor(PLAN, least(PLAN))).toMatchObject({ connections: 4 })
  const room = roomFor(PLAN, least(PLAN) + 200)
  expect(room).toMatchObject({ connections: 102 })
  expect(room).toHaveProperty('warning', expect.stringContaining('102 TCP connections of clients are served at a time'))
})

test('with room for all nothing is said, nor where there is no limit', () => {
  for (const limit of [4096, 1_000_000, null]) {
    expect(roomFor(PLAN, limit)).toEqual({ connections: 1024, warning: null })
  }
})

test('the limit of this process is more than it has open', () => {
  expect(openFilesLimit()).toBeGreaterThan(readdirSync('/proc/self/fd').length)
})
