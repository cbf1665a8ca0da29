import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import { SOURCES } from '../../src/stats/counters.ts'
import { a, message } from '../dns/messages.ts'
import { imageOf, info, service } from '../table/compiled.ts'
import { EngineUnderTest, server, type SettingsChange } from './engine-under-test.ts'

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

/** What the engine would do with a question, a line each. */
function explain(byname: EngineUnderTest, name: string, type: number): string[] {
  const { stages, source } = explainQuery(byname.engine, message({ questions: [[name, type]] }), null)
  const steps = stages.map((stage) => `${stage.name}: ${stage.finding}`)
  return [...steps, source === null ? 'goes on' : `${source} answers`]
}

/** The steps up to the one that tells apart. */
const last = (steps: string[]): string[] => steps.slice(-2)

test.each<[string, number, string, string]>([
  [
    'web.shop.svc.cluster.local',
    Type.A,
    'mesh table: host web.shop.svc.cluster.local (Kubernetes, namespace shop): 1 IPv4 and 0 IPv6 addresses',
    'mesh answers',
  ],
  [
    'web.shop.shop.svc.cluster.local',
    Type.A,
    'mesh table: host web.shop.svc.cluster.local (Kubernetes, namespace shop), by the search domain: 1 IPv4 and 0 IPv6 addresses',
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
  const byname = new EngineUnderTest({
    servers: [{ ...server('192.0.2.53:53'), number: 7 }],
    cache: { staleSeconds: 60 },
  })
  byname.ask('www.example')
  byname.answer({ answers: [a(1, 10)] })
  byname.advance(9000)
  expect(last(explain(byname, 'www.example', Type.A))).toEqual([
    'cache: an answer from 192.0.2.53:53, 9 s ago, 1 s left',
    'cache answers',
  ])
  // The last tenth of its life: a client's hit would refresh it.
  expect([byname.outlet.queries.length, byname.cell('cacheRequests'), byname.cell('cacheHitsPositive')]).toEqual([
    1, 1, 0,
  ])
  byname.advance(3000)
  expect(last(explain(byname, 'www.example', Type.A))).toEqual([
    'cache: an expired answer from 192.0.2.53:53, 12 s ago, 2 s over its time',
    'goes on',
  ])
})

test('before the first table the stages say that it is waited for', () => {
  const byname = new EngineUnderTest({ beforeSync: 'servfail' })
  expect(last(explain(byname, 'www.example', Type.A))).toEqual([
    'wait for the first table: there is no table yet, and mesh.beforeSync says wait',
    'local answers',
  ])
})

test('a question that goes on is explained with its route, the state of its servers, and whether it is being asked', () => {
  const byname = new EngineUnderTest({
    servers: [server('one'), server('two')],
    routes: [
      { domains: [nameToWire('corp.example')!], servers: [1], policy: 'sequential' },
      { domains: [new Uint8Array(1)], servers: [0, 1], policy: 'random' },
    ],
  })
  const forwardOf = (name: string): unknown =>
    explainQuery(byname.engine, message({ questions: [[name, Type.A]] }), null).forward
  expect(forwardOf('www.corp.example')).toEqual({
    route: ['corp.example.'],
    policy: 'sequential',
    servers: [{ label: 'two', isDown: false, rttMs: null, isPlain: false }],
    isPending: false,
  })
  byname.ask('www.example')
  expect(forwardOf('www.example')).toMatchObject({ route: ['.'], policy: 'random', isPending: true })
  byname.advance(20)
  byname.answer({ answers: [a(1, 10)] })
  expect(forwardOf('else.example')).toMatchObject({ servers: [{ rttMs: 20 }, { rttMs: null }], isPending: false })
})

test.each([
  ['a client on this machine', null, null],
  ['a client of a network that may ask', Uint8Array.of(10, 1, 2, 3), null],
  [
    'a client of no such network',
    Uint8Array.of(192, 0, 2, 1),
    'REFUSED: the client is not on this machine, and in no network of `access`',
  ],
])('%s is told so, before any stage is asked', (_, from, refusal) => {
  const byname = new EngineUnderTest({ access: [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }] }, table)
  const explanation = explainQuery(
    byname.engine,
    message({ questions: [['web.shop.svc.cluster.local', Type.A]] }),
    from,
  )
  expect(explanation.refusal).toBe(refusal)
  expect(explanation.source).toBe(refusal === null ? 'mesh' : null)
})

test('a wildcard host, and a type that is not the mesh’s, are named', () => {
  const wild = imageOf(new Map([['*.wild.example', info({ ips: ['10.0.0.9'] })]]))
  const byname = new EngineUnderTest({}, wild)
  const findingOf = (name: string, type: number): string =>
    explainQuery(byname.engine, message({ questions: [[name, type]] }), null).stages[0]!.finding
  expect(findingOf('some.wild.example', Type.A)).toBe(
    'host *.wild.example (External), a wildcard: 1 IPv4 and 0 IPv6 addresses',
  )
  expect(findingOf('some.wild.example', Type.MX)).toContain("; other types are not the mesh's")
})
