import { describe, expect, test } from 'vitest'
import { searchedName, TopNamesCollector } from '../../src/observe/top-names.ts'
import type { QuerySample } from '../../src/querylog/query-feed.ts'
import { Source } from '../../src/stats/counters.ts'

const SEARCH = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']

function sample(name: string, changes: Partial<QuerySample> = {}): QuerySample {
  return {
    atMs: 1000,
    name,
    type: 1,
    rcode: 0,
    source: Source.upstream,
    latencyMs: 1,
    client: '10.0.0.9',
    weight: 1,
    isFailure: false,
    ...changes,
  }
}

function below(name: string, weight: number): QuerySample {
  return sample(`${name}.cluster.local.`, { rcode: 3, weight })
}

function collect(samples: QuerySample[]): TopNamesCollector {
  const collector = new TopNamesCollector(() => SEARCH)
  for (const each of samples) collector.add(each)
  return collector
}

const names = (shares: { names: { name: string }[] }): string[] => shares.names.map(({ name }) => name)

test('names are ranked by the answers that their samples stand for', () => {
  const { asked } = collect([
    sample('a.example.', { weight: 8 }),
    ...Array.from({ length: 2 }, () => sample('b.example.')),
  ]).read()
  expect(asked.names).toEqual([
    { name: 'a.example.', share: 0.8, error: 0 },
    { name: 'b.example.', share: 0.2, error: 0 },
  ])
})

test('a failure that is told of besides counts as a failure, and not as an answer again', () => {
  const failed = { rcode: 2, isFailure: true }
  const collector = collect([
    sample('a.example.', failed),
    sample('b.example.', { ...failed, weight: 0, atMs: 2000, type: 28 }),
    sample('b.example.', { ...failed, weight: 0, atMs: 3000, source: Source.local }),
  ])
  const { asked, failing } = collector.read()
  expect(names(asked)).toEqual(['a.example.'])
  expect(names(failing)).toEqual(['b.example.', 'a.example.'])
  expect(collector.failures.map(({ name, atMs, type, rcode, source }) => [name, atMs, type, rcode, source])).toEqual([
    ['b.example.', 3000, 1, 'SERVFAIL', 'local'],
    ['b.example.', 2000, 28, 'SERVFAIL', 'upstream'],
    ['a.example.', 1000, 1, 'SERVFAIL', 'upstream'],
  ])
})

test('the last fifty failures are kept', () => {
  const failures = Array.from({ length: 80 }, (_, n) => sample(`${n}.example.`, { rcode: 2, isFailure: true }))
  const read = collect(failures).failures
  expect([read.length, read[0]!.name, read.at(-1)!.name]).toEqual([50, '79.example.', '30.example.'])
})

describe('NXDOMAIN below search domains', () => {
  test('counts for the name that a program asked for', () => {
    const { searched } = collect([
      sample('api.example.com.shop.svc.cluster.local.', { rcode: 3, weight: 3 }),
      sample('api.example.com.cluster.local.', { rcode: 3 }),
      sample('typo.example.com.', { rcode: 3 }),
      sample('reviews.shop.svc.cluster.local.'),
      sample('', { rcode: 3 }),
    ]).read()
    expect(searched.names).toEqual([{ name: 'api.example.com', share: 1, error: 0 }])
  })

  test('is a storm if most of it is one name', () => {
    expect(collect([below('a', 6), below('b', 4)]).stormName()).toBe('a')
    expect(collect([below('a', 5), below('b', 5)]).stormName()).toBeNull()
    expect(collect([]).stormName()).toBeNull()
    // Half of all only with what it may be too large by: it took the place of another name.
    const many = Array.from({ length: 256 }, (_, n) => below(`a${n}`, 100))
    expect(collect([...many, below('late', 25_580)]).stormName()).toBeNull()
    expect(collect([...many, below('late', 25_800)]).stormName()).toBe('late')
  })

  const searched: [name: string, search: string[], base: string | null][] = [
    ['a.shop.svc.cluster.local.', SEARCH, 'a'],
    ['a.b.svc.cluster.local.', SEARCH, 'a.b'],
    ['svc.cluster.local.', ['svc.cluster.local'], null],
    ['xsvc.cluster.local.', ['svc.cluster.local'], null],
    ['a.corp.', ['Corp'], 'a'],
    ['a.example.', [''], null],
  ]
  test.each(searched)('of %s below %s', (name, search, base) => expect(searchedName(name, search)).toBe(base))
})

test('what was asked a half-life ago counts half', () => {
  const collector = collect([sample('old.example.', { weight: 4 })])
  collector.fade(900)
  collector.add(sample('new.example.', { weight: 6 }))
  expect(collector.read().asked.names).toEqual([
    { name: 'new.example.', share: 0.75, error: 0 },
    { name: 'old.example.', share: 0.25, error: 0 },
  ])
})
