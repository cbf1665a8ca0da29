import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { readQuery, Verdict } from '../../src/dns/query.ts'
import { PASS } from '../../src/engine/answers/answer-stage.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { SOURCES } from '../../src/stats/counters.ts'
import { a, message } from '../dns/messages.ts'
import { imageOf, service } from '../table/compiled.ts'
import { EngineUnderTest, SEED, type SettingsChange } from './engine-under-test.ts'

const PROBE = 'probe.example'
const change: SettingsChange = {
  hosts: [
    {
      name: nameToWire('printer.example')!,
      v4: Uint8Array.of(10, 9, 9, 9),
      v6: new Uint8Array(0),
      target: new Uint8Array(0),
    },
  ],
  loopProbe: { id: 'x', names: [nameToWire(PROBE)], sends: false },
}
const table = imageOf(new Map([service('web', 'shop', ['10.0.0.1'])]))

/** Asks the stages of an engine as `explain` does: without a client and without anything being sent. */
function explain(byname: EngineUnderTest, name: string, type: number): string[] {
  const query = new ClientQuery()
  const packet = message({ questions: [[name, type]] })
  expect(readQuery(packet, 0, packet.length, SEED, query)).toBe(Verdict.OK)
  const out = new Uint8Array(4096)
  const steps: string[] = []
  for (const stage of byname.engine.stages) {
    const length = stage.answer(query, out, 0)
    steps.push(`${stage.name}: ${stage.finding(query)}`)
    if (length !== PASS) return [...steps, `${SOURCES[stage.source]} answers`]
  }
  return [...steps, 'goes on']
}

/** The steps up to the one that tells apart. */
const last = (steps: string[]): string[] => steps.slice(-2)

test.each<[string, number, string, string]>([
  [
    'web.shop.svc.cluster.local',
    Type.A,
    'mesh table: host web.shop.svc.cluster.local.: 1 IPv4 and 0 IPv6 addresses',
    'mesh answers',
  ],
  [
    'web.shop.shop.svc.cluster.local',
    Type.A,
    'mesh table: host web.shop.svc.cluster.local., by the search domain: 1 IPv4 and 0 IPv6 addresses',
    'mesh answers',
  ],
  ['1.0.0.10.in-addr.arpa', Type.PTR, 'mesh addresses: address of host web.shop.svc.cluster.local.', 'mesh answers'],
  ['localhost', Type.A, 'special names: a name that no resolver looks up', 'local answers'],
  ['printer.example', Type.A, 'hosts file: the file has the name', 'local answers'],
  [PROBE, Type.HINFO, 'loop probe: a probe of ours that a server sent back', 'local answers'],
  ['some.example', Type.ANY, 'type ANY: answered with one HINFO record (RFC 8482)', 'local answers'],
  ['some.example', Type.A, 'cache: nothing', 'goes on'],
])('the stages tell of %s %i what the engine does with it', (name, type, finding, end) => {
  const byname = new EngineUnderTest(change, table)
  expect(last(explain(byname, name, type))).toEqual([finding, end])
  // Nothing was counted, sent or told.
  expect([byname.requests, byname.responses(), byname.outlet.queries.length, byname.loops]).toEqual([0, 0, 0, []])
  const { reply } = byname.ask(name, type)
  expect(reply === null ? 'goes on' : `${SOURCES.find((_, k) => byname.responses(k) === 1)} answers`).toBe(end)
})

test('the cache tells of what it has, and counts nothing for it', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 60 } })
  byname.ask('www.example')
  byname.answer({ answers: [a(1, 10)] })
  byname.advance(9000)
  expect(last(explain(byname, 'www.example', Type.A))).toEqual(['cache: an answer, 9 of 10 s old', 'cache answers'])
  // The last tenth of its life: a client's hit would refresh it.
  expect([byname.outlet.queries.length, byname.cell('cacheRequests'), byname.cell('cacheHitsPositive')]).toEqual([
    1, 1, 0,
  ])
  byname.advance(3000)
  expect(last(explain(byname, 'www.example', Type.A))).toEqual(['cache: an expired answer, 12 of 10 s old', 'goes on'])
})

test('before the first table the stages say that it is waited for', () => {
  const byname = new EngineUnderTest({ beforeSync: 'servfail' })
  expect(last(explain(byname, 'www.example', Type.A))).toEqual([
    'wait for the first table: there is no table yet, and mesh.beforeSync says wait',
    'local answers',
  ])
})
