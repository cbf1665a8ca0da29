import { expect, test } from 'vitest'
import { reasonAt, RecentFailures } from '../../src/observe/recent-failures.ts'
import type { UpstreamStatus } from '../../src/observe/upstream-metrics.ts'

const server = (label: string, failures: Record<string, number>): UpstreamStatus => ({
  label,
  routes: ['.'],
  isLoop: false,
  healthy: true,
  rttMs: null,
  requests: {},
  failures,
})

test('failures of one kind that follow each other are one entry, the newest first', () => {
  const recent = new RecentFailures()
  recent.look([server('a', { timeout: 7 })], 0)
  expect(recent.servers).toEqual([])
  recent.look([server('a', { timeout: 9 }), server('b', { servfail: 1 })], 5000)
  recent.look([server('a', { timeout: 12 }), server('b', { servfail: 1 })], 10_000)
  recent.look([server('a', { timeout: 13 })], 90_000)
  expect(recent.servers).toEqual([
    { sinceMs: 90_000, untilMs: 90_000, server: 'a', reason: 'timeout', count: 1 },
    { sinceMs: 5000, untilMs: 10_000, server: 'a', reason: 'timeout', count: 5 },
    { sinceMs: 5000, untilMs: 5000, server: 'b', reason: 'servfail', count: 1 },
  ])
})

test('a counter that went back counts from nothing', () => {
  const recent = new RecentFailures()
  recent.look([server('a', { timeout: 100 })], 0)
  recent.look([server('a', { timeout: 2 })], 5000)
  expect(recent.servers).toMatchObject([{ count: 2 }])
})

test('there are never more than fifty', () => {
  const recent = new RecentFailures()
  for (let n = 0; n < 500; n++) recent.look([server(`s${n}`, { timeout: 1 })], n * 5000)
  expect(recent.servers).toHaveLength(50)
  expect(recent.servers[0]).toMatchObject({ server: 's499' })
})

test.each([
  [60_000, 1],
  [60_001, 2],
])('what follows %i ms after the last of its kind makes %i entries, however long the kind lasts', (gapMs, entries) => {
  const recent = new RecentFailures()
  recent.look([server('a', { timeout: 0 })], 0)
  let nowMs = 0
  for (let n = 1; n <= 2; n++) recent.look([server('a', { timeout: n })], (nowMs += gapMs))
  expect(recent.servers).toHaveLength(entries)
  for (let n = 3; n <= 9; n++) recent.look([server('a', { timeout: n })], (nowMs += 50_000))
  expect(recent.servers).toHaveLength(entries)
  expect(recent.servers.reduce((sum, { count }) => sum + count, 0)).toBe(9)
})

test('the same reason of another server, and another reason of the same, are entries of their own', () => {
  const recent = new RecentFailures()
  recent.look([server('a', {}), server('b', {})], 0)
  recent.look([server('a', { timeout: 1, tls: 1 }), server('b', { timeout: 1 })], 1000)
  recent.look([server('a', { timeout: 1, tls: 2 }), server('b', { timeout: 1 })], 2000)
  expect(recent.servers.map(({ server: label, reason, count }) => [label, reason, count])).toEqual([
    ['a', 'tls', 2],
    ['b', 'timeout', 1],
    ['a', 'timeout', 1],
  ])
})

test.each([
  [9999, null],
  [10_000, 'a: 3 timeouts'],
  [19_999, 'a: 3 timeouts'],
  [20_000, 'a: 3 timeouts; b: 1 TLS error'],
  [35_000, 'a: 3 timeouts; b: 1 TLS error'],
  [35_001, 'b: 1 TLS error'],
  [40_000, 'b: 1 TLS error'],
  [40_001, null],
])('around %i ms servers did: %s', (atMs, expected) => {
  const failures = [
    { sinceMs: 20_000, untilMs: 25_000, server: 'a', reason: 'timeout', count: 3 },
    { sinceMs: 30_000, untilMs: 30_000, server: 'b', reason: 'tls', count: 1 },
  ]
  expect(reasonAt(failures, atMs)).toBe(expected)
})
