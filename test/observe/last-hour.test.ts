import { expect, test } from 'vitest'
import { LastHour } from '../../src/observe/last-hour.ts'
import type { ObserveSources } from '../../src/observe/sources.ts'
import { statusReport } from '../../src/observe/status.ts'
import type { QuerySample } from '../../src/querylog/query-feed.ts'
import { Source, UpstreamField } from '../../src/stats/counters.ts'
import { fakeSources } from './fake-sources.ts'
import { handClock } from './hand-clock.ts'

/** Samples as a data worker would give them. */
class Feed {
  readonly handlers: Set<(sample: QuerySample) => void> = new Set()

  subscribe(handler: (sample: QuerySample) => void): () => void {
    this.handlers.add(handler)
    return () => this.handlers.delete(handler)
  }

  /** Samples that nobody has looked at yet. */
  readonly late: Partial<QuerySample>[] = []
  catchUp(): void {
    for (const changes of this.late.splice(0)) this.give(changes)
  }

  give(changes: Partial<QuerySample>): void {
    const sample = {
      atMs: 0,
      name: 'a.example.',
      type: 1,
      rcode: 0,
      source: Source.upstream,
      latencyMs: 1,
      client: '',
      weight: 1,
      isFailure: false,
    }
    for (const handler of this.handlers) handler({ ...sample, ...changes })
  }
}

function world(changes: Partial<ObserveSources> = {}) {
  const clock = handClock()
  const feed = new Feed()
  const sources = fakeSources({ samples: feed, nowMs: () => clock.now(), ...changes })
  const usage = { rssBytes: 1, anonymousBytes: null, cpuSeconds: 0 }
  const lastHour: LastHour = new LastHour({
    sources,
    status: () => Promise.resolve(statusReport(sources, 0, lastHour.recentTraffic())),
    usage: () => usage,
    clock,
  })
  lastHour.start()
  return { lastHour, clock, feed, sources }
}

test('a failure is shown with what servers did at that time', async () => {
  const { lastHour, clock, feed, sources } = world()
  const failed = { rcode: 2, isFailure: true, weight: 0 }
  sources.counters()[0]!.upstreamAdd(0, UpstreamField.failuresTimeout, 3)
  feed.give({ ...failed, name: 'lost.example.', atMs: 2000 })
  clock.pass(5000)
  feed.give({ ...failed, name: 'other.example.', atMs: 60_000 })
  const { failures } = await lastHour.overview()
  expect(failures.queries.map(({ name, reason }) => [name, reason])).toEqual([
    ['other.example.', null],
    ['lost.example.', '10.96.0.10:53: 3 timeouts'],
  ])
})

test('a storm of one name is named in the first sentence', async () => {
  const { lastHour, clock, feed, sources } = world()
  for (let n = 0; n < 12; n++) {
    for (let k = 0; k < 200; k++) sources.counters()[0]!.response(Source.cache, 3, 0, 60)
    feed.give({ name: 'api.example.com.cluster.local.', rcode: 3, weight: 200 })
    clock.pass(5000)
  }
  expect((await lastHour.overview()).status.health.sentence).toMatch(
    /^100 % of the replies are NXDOMAIN, most for api\.example\.com below search domains; answering/,
  )
})

test('an overview has what was answered a moment ago', async () => {
  const { lastHour, feed } = world()
  feed.late.push({ name: 'new.example.' })
  expect((await lastHour.overview()).top?.asked.names.map(({ name }) => name)).toEqual(['new.example.'])
})

test('names are collected as long as the configuration allows it, and forgotten when it does no more', async () => {
  let isWanted = true
  const { lastHour, clock, feed } = world({ collectsTopNames: () => isWanted })
  feed.give({})
  expect((await lastHour.overview()).top?.asked.names).toEqual([{ name: 'a.example.', share: 1, error: 0 }])
  isWanted = false
  clock.pass(5000)
  expect([feed.handlers.size, (await lastHour.overview()).top]).toEqual([0, null])
  isWanted = true
  clock.pass(5000)
  expect([feed.handlers.size, (await lastHour.overview()).top?.asked.names]).toEqual([1, []])
  lastHour.stop()
  expect(feed.handlers.size).toBe(0)
})
