import { expect, test } from 'vitest'
import { statusReport } from '../../src/observe/status.ts'
import { Cell, Drop, Source, UpstreamField } from '../../src/stats/counters.ts'
import { fakeMesh, fakeSources } from './fake-sources.ts'

test('figures of all workers are added up', () => {
  const sources = fakeSources()
  const [first, second] = sources.counters()
  first!.request(0, 0, 1)
  second!.request(1, 1, 28)
  second!.drop(Drop.runt)
  first!.add(Cell.cacheRequests, 10)
  second!.add(Cell.cacheRequests, 10)
  first!.add(Cell.cacheHitsPositive, 3)
  second!.add(Cell.cacheHitsStale, 2)
  first!.set(Cell.receiveBufferBytes, 212_992)
  first!.response(Source.mesh, 0, 0, 100)
  second!.response(Source.mesh, 23, 1, 100)
  second!.response(Source.upstream, 2, 0, 100)
  const report = statusReport(sources, 0)
  expect(report.drops).toEqual({ runt: 1 })
  expect(report).toMatchObject({
    requests: 2,
    responses: { mesh: 2, cache: 0, stale: 0, upstream: 1, local: 0 },
    cache: { requests: 20, hits: 5, positiveHits: 3, staleHits: 2, misses: 15, hitRatio: 0.25 },
    receiveBufferBytes: 212_992,
    workers: { count: 2, restarts: 0 },
    warnings: [],
  })
})

test('what needs attention is among the warnings', () => {
  const sources = fakeSources({ mesh: () => fakeMesh({ fromLastKnownGood: true, skippedHosts: 2 }) })
  // The first was asked and fails, the second was never asked.
  sources.counters()[0]!.upstreamAdd(0, UpstreamField.requestsUdp, 3)
  expect(statusReport(sources, 7).warnings).toEqual([
    expect.stringContaining('table kept on disk'),
    expect.stringContaining('2 hosts'),
    'upstream server 10.96.0.10:53 keeps failing',
    expect.stringContaining('dropped 7 datagrams'),
  ])
})

test('what was never counted is absent, or has no ratio', () => {
  const report = statusReport(fakeSources(), 0)
  expect([report.drops, report.cache.hitRatio, report.cache.misses, report.receiveBufferBytes]).toEqual([
    {},
    null,
    0,
    0,
  ])
})

test('hits that are counted before their look-ups make no ratio above one, and no negative misses', () => {
  const sources = fakeSources()
  sources.counters()[0]!.add(Cell.cacheRequests, 2)
  sources.counters()[0]!.add(Cell.cacheHitsPositive, 3)
  expect(statusReport(sources, 0).cache).toMatchObject({ hitRatio: 1, misses: 0 })
})

test('credentials say when they expire and how long that is, in seconds; one that has expired is negative', () => {
  const nowMs = Date.UTC(2026, 10, 1)
  const base = { kind: 'token', from: '/t', problem: null, problemSinceMs: null, isNeeded: true } as const
  const credentials = [90_500, -1500, null].map((afterMs) => ({
    ...base,
    expiresAtMs: afterMs === null ? null : nowMs + afterMs,
  }))
  const sources = fakeSources({ nowMs: () => nowMs, credentials: () => credentials })
  expect(statusReport(sources, 0).credentials).toEqual(
    [
      ['2026-11-01T00:01:30.500Z', 90.5],
      ['2026-10-31T23:59:58.500Z', -1.5],
      [null, null],
    ].map(([expires, secondsLeft]) => ({
      kind: 'token',
      from: '/t',
      expires,
      secondsLeft,
      problem: null,
      isNeeded: true,
      isEndingSoon: expires !== null,
    })),
  )
})

test('before the first table there is no age', () => {
  const mesh = fakeMesh({ updatedAtMs: null, hosts: 0 })
  expect(statusReport(fakeSources({ mesh: () => mesh }), 0).table).toMatchObject({ ageSeconds: null, hosts: 0 })
})

test('a clock that was set back makes no negative times', () => {
  const report = statusReport(fakeSources({ nowMs: () => 0 }), 0)
  expect([report.uptimeSeconds, report.table.ageSeconds]).toEqual([0, 0])
})
