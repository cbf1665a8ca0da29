/** Which server an answer is from: told of the answer itself, of its copies in the cache, and after other settings. */
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { clientText, nameOf, QueryFeed } from '../../src/querylog/query-feed.ts'
import { QueryTap } from '../../src/querylog/query-tap.ts'
import { createRing } from '../../src/querylog/ring-layout.ts'
import { SOURCES } from '../../src/stats/counters.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { a, soa } from '../dns/messages.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import { message } from '../dns/messages.ts'
import { EngineUnderTest, randomNumbers, server, type SettingsChange, settingsWith } from './engine-under-test.ts'

const ONE: UpstreamServer = { ...server('one'), number: 200 }
const TWO: UpstreamServer = { ...server('two'), number: 7 }

/** An engine that tells of its answers, and what it has told since the last look: `NAME SOURCE NUMBER`. */
function begin(change: SettingsChange = {}): { byname: EngineUnderTest; told: () => string[] } {
  const ring = createRing(256 * 1024)
  const feed = new QueryFeed([ring], new FakeClock())
  const byname = new EngineUnderTest(
    { servers: [ONE, TWO], ...change },
    null,
    new QueryTap(ring, randomNumbers(3), () => 0),
  )
  let lines: string[] = []
  const all = { sources: -1, rcodes: -1, logPeriod: 1, leastLatencyMicros: 0, hasMessages: false }
  const wishes = {
    ...all,
    handle: (record: Parameters<typeof nameOf>[0]): void => {
      expect(clientText(record)).toBe('127.0.0.1')
      lines.push(`${nameOf(record)} ${SOURCES[record.source]} ${record.server}`)
    },
    sliceEnded: () => {},
  }
  feed.setLog(wishes)
  byname.advance(0)
  const told = (): string[] => {
    byname.engine.endBatch(byname.now)
    feed.setLog(wishes)
    byname.advance(0)
    const seen = lines
    lines = []
    return seen
  }
  return { byname, told }
}

function findingOf({ engine }: EngineUnderTest, name: string): { finding: string | undefined; cached: unknown } {
  const packet = message({ flags: 0x0100, questions: [[name, Type.A]] })
  const { stages, cached } = explainQuery(engine, packet, null)
  return { finding: stages.find((stage) => stage.name === 'cache')?.finding, cached }
}

describe('the server of an answer', () => {
  it('is told of all who waited, and of who gets it from the cache', () => {
    const { byname, told } = begin()
    byname.ask('x.example')
    byname.ask('x.example')
    byname.answer({ answers: [a(1)] })
    byname.ask('x.example')
    byname.ask('localhost')
    expect(told()).toEqual([
      'x.example. upstream 200',
      'x.example. upstream 200',
      'x.example. cache 200',
      'localhost. local 0',
    ])
  })

  it('is the one that answered, and not the one that was asked first', () => {
    const { byname, told } = begin()
    byname.ask('x.example')
    byname.fail(Rcode.SERVFAIL)
    byname.answer({ answers: [a(1)] })
    byname.ask('x.example')
    expect(byname.serversAsked).toEqual([0, 1])
    expect(told()).toEqual(['x.example. upstream 7', 'x.example. cache 7'])
  })

  it('of a failure is none', () => {
    const { byname, told } = begin({ servers: [ONE] })
    byname.ask('x.example')
    for (let k = 0; k < 8 && byname.waiting > 0; k++) byname.fail(Rcode.SERVFAIL)
    byname.advance(0)
    byname.ask('x.example')
    expect(told()).toEqual(['x.example. upstream 0', 'x.example. cache 0'])
  })

  it('of a denial of all names below is that of the denial', () => {
    const { byname, told } = begin({ cache: { nxdomainCut: true } })
    byname.ask('x.example')
    byname.answer({ flags: 0x8183, authorities: [soa('example', 60, 60)] })
    byname.ask('a.x.example')
    expect(told()).toEqual(['x.example. upstream 200', 'a.x.example. cache 200'])
  })

  it('is not lost when the answer becomes stale, or is moved in the cache', () => {
    const { byname, told } = begin({ cache: { staleSeconds: 3600, maxBytes: 8192 } })
    byname.ask('x.example')
    byname.answer({ answers: [a(1, 10)] })
    for (let k = 0; k < 300; k++) {
      byname.ask(`n${k}.example`)
      byname.answer({ answers: [a(1)] })
      byname.ask('x.example')
    }
    expect(byname.cell('cacheEvictions')).toBe(0)
    expect(new Set(told().filter((line) => line.startsWith('x.')))).toEqual(
      new Set(['x.example. upstream 200', 'x.example. cache 200']),
    )
    byname.advance(20_000)
    byname.ask('x.example')
    for (let k = 0; k < 100; k++) byname.advance(50)
    byname.ask('x.example')
    expect(told()).toEqual(['x.example. stale 200', 'x.example. stale 200'])
  })

  it('is known by name after settings that have it no more, and never taken for the one in its place', () => {
    const { byname } = begin()
    byname.ask('x.example')
    byname.answer({ answers: [a(1, 60)] })
    byname.engine.configure(settingsWith({ servers: [TWO, { ...server('three'), number: 3 }] }))
    byname.advance(12_000)
    expect(findingOf(byname, 'x.example')).toEqual({
      finding: 'an answer from one, 12 s ago, 48 s left',
      cached: { server: 'one', ageSeconds: 12, leftSeconds: 48 },
    })
  })

  it('without a number is not told', () => {
    const { byname, told } = begin({ servers: [server('one')] })
    byname.ask('x.example')
    byname.answer({ answers: [a(1, 60)] })
    expect(told()).toEqual(['x.example. upstream 0'])
    expect(findingOf(byname, 'x.example').finding).toBe('an answer, 0 s ago, 60 s left')
    expect(findingOf(byname, 'y.example')).toEqual({ finding: 'nothing', cached: null })
  })
})
