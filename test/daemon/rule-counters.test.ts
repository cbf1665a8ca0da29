import { expect, test } from 'vitest'
import { RuleCounters } from '../../src/daemon/rule-counters.ts'
import { RuleLog } from '../../src/daemon/rule-log.ts'
import type { RuleMatch } from '../../src/engine/rule-reports.ts'
import { Act } from '../../src/rules/rule-set.ts'
import { MAX_RULE_COUNTERS, WorkerCounters } from '../../src/stats/counters.ts'

/** A query that a rule under audit has matched. */
const match = (name: string, change: Partial<RuleMatch> = {}): RuleMatch => ({
  rule: 'ads',
  isLog: false,
  act: Act.NXDOMAIN,
  name,
  type: 28,
  client: Uint8Array.of(10, 0, 0, 1),
  untold: 0,
  ...change,
})

test('a rule counts on, whatever comes before it, and the counts of all workers are one', () => {
  const workers = [new WorkerCounters(), new WorkerCounters()]
  const counters = new RuleCounters(() => workers)
  counters.begin()
  const first = counters.placeOf('ads', 'nxdomain')
  for (const worker of workers) worker.ruleMatch(first)
  counters.begin()
  const other = counters.placeOf('new', 'nodata')
  expect([counters.placeOf('ads', 'nxdomain'), other === first]).toEqual([first, false])
  workers[1]!.ruleMatch(other)
  expect(counters.matches).toEqual([
    { rule: 'ads', action: 'nxdomain', matches: 2 },
    { rule: 'new', action: 'nodata', matches: 1 },
  ])
  expect(counters.placeOf('ads', 'audit')).not.toBe(first)
})

test('places of rules that are gone are given to others, which begin at 0', () => {
  const worker = new WorkerCounters()
  const counters = new RuleCounters(() => [worker])
  const half = MAX_RULE_COUNTERS / 2
  for (let round = 0; round < 5; round++) {
    counters.begin()
    const places = Array.from({ length: half }, (_, k) => counters.placeOf(`rule-${round}-${k}`, 'nxdomain'))
    expect(new Set(places).size).toBe(half)
    expect(counters.matches.map(({ matches }) => matches)).toEqual(places.map(() => 0))
    for (const place of places) {
      expect(place).toBeGreaterThanOrEqual(0)
      worker.ruleMatch(place)
    }
    expect(counters.matches.map(({ matches }) => matches)).toEqual(places.map(() => 1))
  }
})

test('a name is logged once, and again after an hour; as many as there is room for are kept', () => {
  let now = 1_000_000
  const lines: string[] = []
  const log = new RuleLog(
    { info: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`) },
    () => now,
  )
  log.matched(match('a.example.'))
  log.matched(match('a.example.'))
  log.matched(match('a.example.', { rule: null, act: Act.NODATA, untold: 7 }))
  log.matched(match('b.example.', { isLog: true, act: Act.LOG, type: 65_280 }))
  expect(lines).toEqual([
    'rule ads: this query would be denied (nxdomain) (audit) {"rule":"ads","name":"a.example.","type":"AAAA","client":"10.0.0.1"}',
    'no rule allows this name: it would be denied (nodata) (egress.audit) {"rule":"egress","name":"a.example.","type":"AAAA","client":"10.0.0.1","untold":7}',
    'rule ads logs a query {"rule":"ads","name":"b.example.","type":"TYPE65280","client":"10.0.0.1"}',
  ])
  expect(log.recent.map(({ name, rule, times, what }) => [name, rule, times, what])).toEqual([
    ['b.example.', 'ads', 1, 'logged'],
    ['a.example.', 'egress', 1, 'would be denied (nodata)'],
    ['a.example.', 'ads', 2, 'would be denied (nxdomain)'],
  ])
  now += 3_600_000
  log.matched(match('a.example.'))
  expect(lines).toHaveLength(4)
  for (let k = 0; k < 2000; k++) log.matched(match(`n${k}.example.`))
  expect(log.recent).toHaveLength(500)
})
