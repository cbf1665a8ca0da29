import { expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { istioAgentMetrics } from '../../src/observe/dns-metrics.ts'
import { Source } from '../../src/stats/counters.ts'
import { a } from '../dns/messages.ts'
import { fakeSources } from '../observe/fake-sources.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

const sources = Object.entries(Source)

/** Who answered the replies counted so far with this rcode, one name a reply. */
function answeredBy(byname: EngineUnderTest, rcode: number): string[] {
  return sources.flatMap(([name, source]) =>
    Array.from({ length: byname.counters.responsesOf(source, rcode) }, () => name),
  )
}

async function istio(byname: EngineUnderTest, name: string): Promise<number> {
  byname.engine.endBatch(byname.now)
  const metrics = istioAgentMetrics(fakeSources({ counters: () => [byname.counters] }))
  const [sample] = await metrics.find((metric) => metric.name === `istio_agent_dns_${name}`)!.read()
  return sample!.value
}

/** Forwarded queries, and those of them that failed. */
const asIstioCounts = (byname: EngineUnderTest): Promise<number[]> =>
  Promise.all([istio(byname, 'upstream_requests_total'), istio(byname, 'upstream_failures_total')])

test('SERVFAIL because all servers failed is upstream’s answer, and Istio’s counters have it', async () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.example')
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
  expect(answeredBy(byname, Rcode.SERVFAIL)).toEqual(['upstream'])
  expect(await asIstioCounts(byname)).toEqual([1, 1])
})

test('so is SERVFAIL after silence until the deadline, for each that waits', async () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example')
  byname.ask('www.example', Type.A, { id: 2 })
  for (let k = 0; k < 50; k++) byname.advance(100)
  expect(answeredBy(byname, Rcode.SERVFAIL)).toEqual(['upstream', 'upstream'])
  expect(await asIstioCounts(byname)).toEqual([2, 2])
})

test('so is SERVFAIL over TCP where servers have only a truncated answer', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example', Type.A, { tcp: true })
  byname.answer({ flags: 0x8380, answers: [a(1)] })
  byname.failStream('refused')
  for (let k = 0; k < 50; k++) byname.advance(100)
  expect(answeredBy(byname, Rcode.SERVFAIL)).toEqual(['upstream'])
})

test('a stale answer after a failure is a forwarded query that failed for Istio; one before is a forwarded query, and one at once is none', async () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  byname.ask('www.example')
  byname.answer({ answers: [a(1, 1)] })
  byname.advance(2000)
  const failed = byname.ask('www.example')
  for (let k = 0; k < 8 && failed.reply === null; k++) byname.fail(Rcode.SERVFAIL)
  expect(failed.reply).toMatchObject({ rcode: 0, answers: [{ ttl: 30 }] })
  expect(await asIstioCounts(byname)).toEqual([2, 1])
  // The failure is remembered for half a minute.
  expect(byname.ask('www.example').reply?.answers).toMatchObject([{ ttl: 30 }])
  expect(await asIstioCounts(byname)).toEqual([2, 1])
  byname.advance(40_000)
  const slow = byname.ask('www.example')
  for (let k = 0; k < 19; k++) byname.advance(100)
  expect(slow.reply).toMatchObject({ rcode: 0, answers: [{ ttl: 30 }] })
  expect(await asIstioCounts(byname)).toEqual([3, 1])
})

test('an answer of a server is counted as no failure; a kept failure is the cache’s', async () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example')
  byname.answer({ answers: [a(1)] })
  expect(await asIstioCounts(byname)).toEqual([1, 0])
  byname.ask('other.example')
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  byname.ask('other.example')
  expect(answeredBy(byname, Rcode.SERVFAIL)).toEqual(['cache', 'upstream'])
  expect(await asIstioCounts(byname)).toEqual([2, 1])
})

test.each<[string, SettingsChange, (byname: EngineUnderTest) => void, number]>([
  ['who may not ask', {}, (byname) => byname.from(Uint8Array.of(203, 0, 113, 1)), Rcode.REFUSED],
  ['before the first table', { beforeSync: 'servfail' }, () => {}, Rcode.SERVFAIL],
])('an error of our own stays local: %s', async (_, change, before, rcode) => {
  const byname = new EngineUnderTest(change)
  before(byname)
  byname.ask('www.example')
  expect(answeredBy(byname, rcode)).toEqual(['local'])
  expect(await asIstioCounts(byname)).toEqual([0, 0])
})

test('SERVFAIL because there is no room to ask is local: no server was asked', () => {
  const byname = new EngineUnderTest({ maxInFlight: 1 })
  byname.ask('one.example')
  byname.ask('two.example')
  expect(answeredBy(byname, Rcode.SERVFAIL)).toEqual(['local'])
})

test('a version of EDNS that we do not know is refused with its extended rcode', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example', Type.A, { edns: { version: 1 } })
  expect(answeredBy(byname, Rcode.BADVERS)).toEqual(['local'])
})
