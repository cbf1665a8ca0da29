import { expect, test } from 'vitest'
import { nameToWire } from '../../src/dns/name.ts'
import { LabelSet } from '../../src/dns/label-set.ts'
import { TOP_LEVEL_DOMAINS } from '../../src/dns/top-level-domains.ts'
import { Type } from '../../src/dns/constants.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import type { NameInfo } from '../../src/table/nds.ts'
import { message } from '../dns/messages.ts'
import { imageOf, info, service, SHOP } from '../table/compiled.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

const S0 = 'shop.svc.cluster.local'
const services: [string, NameInfo][] = [
  service('yahoo', 'com', ['10.0.0.1']),
  service('pay', 'dev', ['10.0.0.2']),
  service('web', 'shop', ['10.0.0.3']),
  service('api', 'ops', ['10.0.0.4']),
  [
    'pay-0.pay.dev.svc.cluster.local',
    { ...info({ ips: ['10.0.0.5'] }), registry: 'Kubernetes', shortname: 'pay-0.pay', namespace: 'dev' },
  ],
]
const auto: SettingsChange = { searchedBelowDots: 5 }

function under(
  change: SettingsChange,
  more: [string, NameInfo][] = [],
  searchDomain: string | null = S0,
): EngineUnderTest {
  return new EngineUnderTest(change, imageOf(new Map([...services, ...more]), { ...SHOP, searchDomain }))
}

/** The address that the mesh has for a name, null if a server is asked. */
function meshAddress(byname: EngineUnderTest, name: string): unknown {
  const { reply } = byname.ask(name)
  return reply === null ? null : reply.answers.at(-1)?.data
}

test.each([
  ['yahoo.com', '10.0.0.1'],
  ['Pay.DEV', '10.0.0.2'],
  ['pay-0.pay.dev', '10.0.0.5'],
])('%s is asked of servers, but for the search domain, which resolvers try first', (name, address) => {
  const byname = under(auto)
  expect(meshAddress(byname, name)).toBeNull()
  expect(meshAddress(byname, `${name}.${S0}`)).toBe(address)
  expect(meshAddress(byname, `${name}.svc.cluster.local`)).toBe(address)
  expect(meshAddress(byname, `${name}.svc`)).toBe(address)
  // As Istio's agent has it.
  expect(meshAddress(under({}), name)).toBe(address)
})

test.each([
  ['a namespace that is no top-level domain', 'api.ops', '10.0.0.4'],
  ['one label', 'web', '10.0.0.3'],
])('short names of %s are answered absolutely', (_, name, address) => {
  expect(meshAddress(under(auto), name)).toBe(address)
})

test.each<[string, SettingsChange, string | null, string, string]>([
  ['there is no search domain', auto, null, 'pay.dev', '10.0.0.2'],
  ['resolvers ask for it absolutely first (ndots:1)', { searchedBelowDots: 1 }, S0, 'pay.dev', '10.0.0.2'],
  ['it has as many dots as ndots', { searchedBelowDots: 2 }, S0, 'pay-0.pay.dev', '10.0.0.5'],
])('it is answered absolutely where %s', (_, change, searchDomain, name, address) => {
  expect(meshAddress(under(change, [], searchDomain), name)).toBe(address)
})

test('a host of that very name, and a wildcard host that has it, are answered', () => {
  const more: [string, NameInfo][] = [
    ['yahoo.com', info({ ips: ['192.0.2.1'] })],
    ['*.dev', info({ ips: ['192.0.2.2'] })],
  ]
  const byname = under(auto, more)
  expect([meshAddress(byname, 'yahoo.com'), meshAddress(byname, 'pay.dev')]).toEqual(['192.0.2.1', '192.0.2.2'])
  expect(meshAddress(byname, `pay.dev.${S0}`)).toBe('10.0.0.2')
})

test('explain names the rule', () => {
  const { stages } = explainQuery(under(auto).engine, message({ questions: [['pay.dev', Type.A]] }), null)
  expect(stages[0]).toEqual({
    name: 'mesh table',
    answers: false,
    finding:
      'a short name of host pay.dev.svc.cluster.local, but dev. is a top-level domain: without a search domain it is asked of servers (mesh.shortNames: auto)',
  })
})

test('the list has what is a top-level domain, in any case, and nothing else', () => {
  const set = new LabelSet(TOP_LEVEL_DOMAINS)
  const has = (label: string): boolean => set.has(nameToWire(label)!, 0)
  for (const label of ['com', 'DEV', 'de', 'co', 'app', 'prod', 'shop', 'xn--p1ai'])
    expect([label, has(label)]).toEqual([label, true])
  for (const label of ['svc', 'local', 'cluster', 'ops', 'comm', 'internal', 'c', 'default'])
    expect([label, has(label)]).toEqual([label, false])
})
