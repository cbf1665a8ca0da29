import { expect, test } from 'vitest'
import { RecentFailures } from '../../src/observe/recent-failures.ts'
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
