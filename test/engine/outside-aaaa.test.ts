import { expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import { Source } from '../../src/stats/counters.ts'
import { message, record, soa } from '../dns/messages.ts'
import { imageOf, service } from '../table/compiled.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

const WHY = 'aaaa is off'
const table = imageOf(new Map([service('web', 'shop', ['10.0.0.1', 'fd00::1']), service('db', 'shop', ['10.0.0.2'])]))

function without(change: SettingsChange = {}): EngineUnderTest {
  return new EngineUnderTest({ aaaaWithheld: WHY, ...change }, table)
}

/** What the engine would do with AAAA of an outside name, a line each. */
function stepsOf(byname: EngineUnderTest): string[] {
  const { stages } = explainQuery(byname.engine, message({ questions: [['www.example', Type.AAAA]] }), null)
  return stages.map(({ name, finding }) => `${name}: ${finding}`)
}

test('AAAA of an outside name is NODATA with an SOA, and nobody is asked', () => {
  const byname = without()
  const { reply } = byname.ask('www.example', Type.AAAA, { edns: {} })
  expect(reply).toMatchObject({
    rcode: Rcode.NOERROR,
    answers: [],
    authorities: [{ name: 'www.example', type: 'SOA', ttl: 30, data: { minimum: 30 } }],
    opt: { options: [{ code: 15, data: Buffer.from([0, Ede.SYNTHESIZED]) }] },
  })
  expect([byname.outlet.queries.length, byname.responses(Source.local)]).toEqual([0, 1])
  expect(byname.ask('www.example', Type.AAAA).reply).toMatchObject({ rcode: Rcode.NOERROR, opt: null })
})

test('all other questions are asked as before', () => {
  const byname = without()
  for (const type of [Type.A, Type.HTTPS, Type.MX, Type.PTR]) expect(byname.ask('www.example', type).reply).toBeNull()
  expect(byname.ask('www.example', Type.AAAA, { edns: { dnssecOk: true } }).reply).toBeNull()
})

test('names of the mesh, and special ones, have their addresses', () => {
  const byname = without()
  expect(byname.ask('web', Type.AAAA).reply?.answers).toMatchObject([{ type: 'AAAA', data: 'fd00::1' }])
  expect(byname.ask('localhost', Type.AAAA).reply?.answers).toMatchObject([{ type: 'AAAA', data: '::1' }])
})

test('a pod that is not there yet has none for a second only', () => {
  const byname = without({ headlessNegativeTtlSeconds: 1 })
  const { reply } = byname.ask('db-1.db.shop.svc.cluster.local', Type.AAAA)
  expect(reply?.authorities).toMatchObject([{ ttl: 1, data: { minimum: 1 } }])
})

test('what the cache has is forgotten when there is no more use for it, and asked for again when there is', () => {
  const byname = new EngineUnderTest({}, table)
  const ipv6 = record(Type.AAAA, 300, new Uint8Array(16))
  byname.ask('www.example', Type.AAAA)
  byname.answer({ answers: [ipv6] })
  byname.ask('www.example')
  byname.answer({ answers: [record(Type.A, 300, new Uint8Array(4))] })
  byname.ask('late.example', Type.AAAA)
  const late = byname.lastQuery
  byname.engine.configure({ ...byname.settings, aaaaWithheld: WHY })
  byname.answer({ answers: [ipv6] }, late)
  for (const name of ['www.example', 'late.example']) expect(byname.ask(name, Type.AAAA).reply?.answers).toEqual([])
  expect(byname.ask('www.example').reply?.answers.length).toBe(1)
  byname.engine.configure(byname.settings)
  expect(byname.ask('www.example', Type.AAAA).reply).toBeNull()
})

test('a name that does not exist is NODATA as well, also below one whose denial answers for all below', () => {
  const byname = without({ cache: { nxdomainCut: true } })
  byname.ask('gone.example')
  byname.answer({ flags: 0x8183, authorities: [soa('example', 60, 60)] })
  for (const name of ['gone.example', 'x.gone.example']) {
    expect(byname.ask(name).reply?.rcode).toBe(Rcode.NXDOMAIN)
    expect(byname.ask(name, Type.AAAA).reply?.rcode).toBe(Rcode.NOERROR)
  }
})

test('a failure that was under way when there was no more use for it is not kept', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example', Type.AAAA)
  byname.engine.configure({ ...byname.settings, aaaaWithheld: WHY })
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  expect(byname.ask('www.example', Type.AAAA).reply?.rcode).toBe(Rcode.NOERROR)
})

test('explain says why, and has no such step where AAAA is asked for', () => {
  expect(stepsOf(without()).at(-1)).toBe(`aaaa: there is no such record: ${WHY}`)
  expect(stepsOf(new EngineUnderTest()).at(-1)).toBe('cache: nothing')
})
