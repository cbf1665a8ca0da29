import { expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { Source } from '../../src/stats/counters.ts'
import { bytes, cname, record, soa, u16, wire, type WireMessage } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, server, type SettingsChange } from './engine-under-test.ts'

const NXDOMAIN = 0x8183

/** With an NXDOMAIN for gone.example.org in the cache, good for 60 s. */
function withDenial(change: SettingsChange = {}, parts: WireMessage = {}): EngineUnderTest {
  const byname = new EngineUnderTest({ ...change, cache: { nxdomainCut: true, ...change.cache } })
  byname.ask('gone.example.org', Type.A, { edns: {} })
  byname.answer({ flags: NXDOMAIN, authorities: [soa('example.org', 60, 60)], ...parts })
  return byname
}

const isAnswered = ({ reply }: Asked): boolean => reply?.rcode === Rcode.NXDOMAIN

test('a name that does not exist answers for those below it and for other types', () => {
  const byname = withDenial()
  const { reply } = byname.ask('a.b.Gone.Example.org', Type.TXT, { edns: {} })
  expect(reply).toMatchObject({
    rcode: Rcode.NXDOMAIN,
    aa: false,
    questions: [{ name: 'a.b.Gone.Example.org', type: 'TXT' }],
    answers: [],
    authorities: [{ name: 'Example.org', type: 'SOA', ttl: 60 }],
  })
  expect(reply?.opt).not.toBeNull()
  expect(isAnswered(byname.ask('gone.example.org', Type.AAAA))).toBe(true)
  expect([byname.outlet.queries.length, byname.responses(Source.cache), byname.cell('cacheHitsNegative')]).toEqual([
    1, 2, 2,
  ])
})

test('its TTL counts down, and it ends with it', () => {
  const byname = withDenial()
  byname.advance(20_000)
  expect(byname.ask('x.gone.example.org').reply?.authorities).toMatchObject([{ ttl: 40 }])
  byname.advance(40_000)
  expect(byname.ask('x.gone.example.org').reply).toBeNull()
})

test('names beside and above are asked for', () => {
  const byname = withDenial()
  for (const name of [
    'example.org',
    'xgone.example.org',
    'gone.example',
    'gone.example.org.test',
    'other.example.org',
  ]) {
    expect(byname.ask(name).reply).toBeNull()
  }
})

test('a missing type cuts nothing', () => {
  const byname = new EngineUnderTest({ cache: { nxdomainCut: true } })
  byname.ask('example.org')
  byname.answer({ authorities: [soa('org', 60, 60)] })
  expect(byname.ask('www.example.org').reply).toBeNull()
})

test('an NXDOMAIN for what a CNAME leads to cuts nothing', () => {
  const byname = withDenial({}, { answers: [cname('gone.test')], authorities: [soa('test', 60, 60)] })
  expect(isAnswered(byname.ask('gone.example.org'))).toBe(true)
  expect(byname.ask('x.gone.example.org').reply).toBeNull()
})

test('another route sees another tree', () => {
  const routes = [
    { domains: [wire('inner.gone.example.org')], servers: [1], policy: 'sequential' as const },
    { domains: [new Uint8Array(1)], servers: [0], policy: 'sequential' as const },
  ]
  const byname = withDenial({ servers: [server('one'), server('two')], routes })
  expect(byname.ask('a.inner.gone.example.org').reply).toBeNull()
  expect(byname.lastQuery.server).toBe(1)
  expect(isAnswered(byname.ask('outer.gone.example.org'))).toBe(true)
})

test('answers with DO and without are kept apart, proofs included', () => {
  const byname = withDenial()
  const dnssec = { edns: { dnssecOk: true } }
  byname.ask('x.gone.example.org', Type.A, dnssec)
  const nsec = record(Type.NSEC, 60, bytes(wire('z.example.org'), 0, 1, 0x40), 'a.example.org')
  byname.answer({ flags: NXDOMAIN | 0x20, authorities: [soa('example.org', 60, 60), nsec] })
  const { reply } = byname.ask('y.x.gone.example.org', Type.A, dnssec)
  expect(reply).toMatchObject({ ad: true, authorities: [{ type: 'SOA' }, { name: 'a.example.org', type: 'NSEC' }] })
  expect(byname.ask('y.x.gone.example.org').reply).toMatchObject({ ad: false, authorities: [{ type: 'SOA' }] })
})

test('proofs that do not fit the client’s limit are asked for', () => {
  const byname = new EngineUnderTest({ cache: { nxdomainCut: true } })
  const dnssec = { edns: { dnssecOk: true, payload: 1232 } }
  byname.ask('gone.example.org', Type.A, dnssec)
  const signatures = Array.from({ length: 4 }, () =>
    record(Type.RRSIG, 60, bytes(u16(Type.SOA), new Uint8Array(300)), 'example.org'),
  )
  byname.answer({ flags: NXDOMAIN, authorities: [soa('example.org', 60, 60), ...signatures] })
  expect(byname.ask('x.gone.example.org', Type.A, dnssec).reply).toBeNull()
  expect(byname.ask('x.gone.example.org', Type.A, { ...dnssec, tcp: true }).reply).not.toBeNull()
})

test('flushing the name ends it', () => {
  const byname = withDenial()
  expect(byname.engine.cache!.flushName(wire('gone.example.org'))).toBe(2)
  expect(byname.ask('x.gone.example.org').reply).toBeNull()
})

test('flushing a name below ends it, for that name and all others below', () => {
  const byname = withDenial()
  expect(byname.engine.cache!.flushName(wire('a.b.gone.example.org'))).toBe(1)
  expect(byname.ask('a.b.gone.example.org').reply).toBeNull()
  expect(byname.ask('c.gone.example.org').reply).toBeNull()
  // What was asked for itself is not below anything.
  expect(isAnswered(byname.ask('gone.example.org'))).toBe(true)
})

test('flushing names beside and above leaves it', () => {
  const byname = withDenial()
  for (const name of ['example.org', 'xgone.example.org', 'e.example.org', 'org', '.', 'gone.example.or'])
    expect(byname.engine.cache!.flushName(wire(name))).toBe(0)
  expect(isAnswered(byname.ask('x.gone.example.org'))).toBe(true)
})

test('it is off unless asked for', () => {
  const byname = withDenial({ cache: { nxdomainCut: false } })
  expect(byname.ask('x.gone.example.org').reply).toBeNull()
  expect(byname.engine.cache!.entries).toBe(1)
})
