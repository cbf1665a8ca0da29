import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { History, type HistorySample, MOST_SAMPLES } from '../../src/observe/history.ts'
import { percentile } from '../../src/observe/percentile.ts'
import type { ProcessUsage } from '../../src/observe/process-usage.ts'
import type { ObserveSources } from '../../src/observe/sources.ts'
import { Cell, Drop, Source, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { fakeSources } from './fake-sources.ts'

/** A history over two workers, and a hand on time. */
class World {
  readonly workers = [new WorkerCounters(), new WorkerCounters()] as const
  readonly usage: ProcessUsage = { rssBytes: 80_000_000, anonymousBytes: 40_000_000, cpuSeconds: 1 }
  steadyMs = 1000
  labels: string[] = ['10.0.0.2:53']
  readonly history: History

  constructor(changes: Partial<ObserveSources> = {}) {
    const sources = fakeSources({ counters: () => this.workers, serverLabels: () => this.labels, ...changes })
    this.history = new History(
      sources,
      () => this.usage,
      () => this.steadyMs,
    )
  }

  sample(seconds: number = 5): HistorySample {
    this.steadyMs += seconds * 1000
    this.history.sample()
    return this.history.last()!
  }
}

describe('a sample', () => {
  test('has what happened since the last one, per second, all workers together', () => {
    const world = new World()
    const [one, other] = world.workers
    for (let n = 0; n < 10; n++) one.request(0, 0, 1)
    for (let n = 0; n < 20; n++) other.request(1, 1, 28)
    one.response(Source.mesh, 0, 0, 60)
    for (let n = 0; n < 4; n++) other.response(Source.upstream, 3, 0, 60)
    other.response(Source.upstream, 2, 0, 60)
    other.response(Source.local, 5, 0, 60)
    other.response(Source.local, 16, 0, 60)
    one.drop(Drop.runt)
    other.add(Cell.cacheRequests, 8)
    other.add(Cell.cacheHitsPositive, 4)
    other.add(Cell.cacheHitsNegative, 2)
    one.set(Cell.inFlight, 3)
    other.set(Cell.inFlight, 4)
    world.usage.cpuSeconds += 0.1
    const { figures } = world.sample(5)
    expect(figures).toMatchObject({
      queriesPerSecond: 6,
      meshPerSecond: 0.2,
      upstreamPerSecond: 1,
      localPerSecond: 0.4,
      cachePerSecond: 0,
      noerrorPerSecond: 0.2,
      nxdomainPerSecond: 0.8,
      servfailPerSecond: 0.2,
      refusedPerSecond: 0.2,
      otherRcodesPerSecond: 0.2,
      cacheHitRatio: 0.75,
      droppedPerSecond: 0.2,
      pendingQueries: 7,
      tableHosts: 12,
      tableBytes: 4096,
      tableAgeSeconds: 30,
      rssBytes: 80_000_000,
      anonymousBytes: 40_000_000,
      cpuRatio: 0.02,
    })
    expect(world.sample().figures).toMatchObject({ queriesPerSecond: 0, upstreamPerSecond: 0, cpuRatio: 0 })
  })

  test('has no ratio and no percentile of nothing', () => {
    const world = new World({ mesh: () => ({ ...fakeSources().mesh(), updatedAtMs: null }) })
    expect(world.sample().figures).toMatchObject({
      cacheHitRatio: null,
      p50Ms: null,
      p99Ms: null,
      tableAgeSeconds: null,
    })
  })

  test('has percentiles of that time alone', () => {
    const world = new World()
    world.workers[0].duration(Source.upstream, 2, 1000)
    world.sample()
    world.workers[0].duration(Source.mesh, 0.000_02, 98)
    world.workers[1].duration(Source.upstream, 0.02, 2)
    const { figures } = world.sample()
    expect(figures.p50Ms).toBeLessThanOrEqual(0.05)
    expect(figures.p99Ms).toBeGreaterThan(10)
    expect(figures.p99Ms).toBeLessThanOrEqual(25)
  })

  test('has each upstream server', () => {
    const world = new World()
    world.workers[0].upstreamAdd(0, UpstreamField.requestsUdp, 10)
    world.workers[1].upstreamAdd(0, UpstreamField.requestsTcp, 5)
    world.workers[1].upstreamAdd(0, UpstreamField.failuresTimeout, 5)
    world.workers[1].upstreamSet(0, UpstreamField.rttSeconds, 0.0125)
    const first = world.sample()
    expect(first.servers).toEqual([
      { label: '10.0.0.2:53', rttMs: 12.5, isHealthy: 0, queriesPerSecond: 3, failuresPerSecond: 1 },
    ])
    world.workers[0].upstreamSet(0, UpstreamField.healthy, 1)
    expect(world.sample().servers).toMatchObject([{ isHealthy: 1, queriesPerSecond: 0 }])
  })

  test('begins anew for a server that takes the place of another', () => {
    const world = new World()
    world.workers[0].upstreamAdd(0, UpstreamField.requestsUdp, 1000)
    world.sample()
    world.workers[0].upstreamClear(0)
    world.workers[0].upstreamAdd(0, UpstreamField.requestsUdp, 10)
    world.labels = ['10.0.0.9:53']
    expect(world.sample().servers).toMatchObject([{ label: '10.0.0.9:53', queriesPerSecond: 2 }])
    expect(world.history.columns().servers).toMatchObject([{ queriesPerSecond: [null, 2] }])
  })

  test('of no time is none', () => {
    const world = new World()
    world.history.sample()
    expect([world.history.last(), world.history.columns().times]).toEqual([null, []])
  })
})

test('the newest hour is kept, the oldest first', () => {
  let now = 0
  const world = new World({ nowMs: () => now })
  for (let n = 0; n < MOST_SAMPLES + 10; n++) {
    now = n * 5000
    world.workers[0].set(Cell.inFlight, n)
    world.sample()
  }
  const { times, figures, servers } = world.history.columns()
  expect([times.length, times[0], times.at(-1)]).toEqual([MOST_SAMPLES, 50_000, now])
  expect([figures.pendingQueries[0], figures.pendingQueries.at(-1)]).toEqual([10, MOST_SAMPLES + 9])
  expect(servers[0]!.rttMs).toHaveLength(MOST_SAMPLES)
  expect(world.history.columns(3).times).toEqual([now - 10_000, now - 5000, now])
})

test('what the summary is told of the last minute is its mean', () => {
  const world = new World()
  for (let n = 0; n < 12; n++) {
    expect(world.history.recentTraffic()).toBeNull()
    for (let k = 0; k < 5; k++) world.workers[0].response(Source.upstream, n < 6 ? 3 : 2, 0, 60)
    world.sample()
  }
  expect(world.history.recentTraffic()).toEqual({
    repliesPerSecond: 1,
    servfailRatio: 0.5,
    nxdomainRatio: 0.5,
    searchedName: null,
  })
})

describe('a percentile', () => {
  const bounds = [1, 2, 5]
  test('is read off within its bucket', () => {
    expect(percentile(Float64Array.of(0, 10, 0, 0), bounds, 0.5)).toBe(1.5)
    expect(percentile(Float64Array.of(10, 0, 10, 0), bounds, 0.75)).toBe(3.5)
    expect(percentile(Float64Array.of(0, 0, 0, 1), bounds, 0.5)).toBe(5)
    // Half of all are in the first bucket: its bound, not the beginning of the next one that is not empty.
    expect(percentile(Float64Array.of(10, 0, 10, 0), bounds, 0.5)).toBe(1)
    expect(percentile(new Float64Array(4), bounds, 0.5)).toBeNaN()
  })

  test('lies in the bucket that the sorted values have there, and rises with q', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.001, max: 4.99, noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, q) => {
          const counts = new Float64Array(4)
          for (const value of values) counts[bounds.findIndex((bound) => value <= bound)]!++
          const exact = values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(q * values.length) - 1)]!
          const bucket = bounds.findIndex((bound) => exact <= bound)
          const read = percentile(counts, bounds, q)
          expect(read).toBeGreaterThanOrEqual(bucket === 0 ? 0 : bounds[bucket - 1]!)
          expect(read).toBeLessThanOrEqual(bounds[bucket]! + 1e-9)
          expect(percentile(counts, bounds, Math.min(1, q + 0.1))).toBeGreaterThanOrEqual(read)
        },
      ),
    )
  })
})
