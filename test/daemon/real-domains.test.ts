import { expect, test } from 'vitest'
import { realDomainWarnings, RealDomains } from '../../src/daemon/real-domains.ts'
import { imageOf, info, service } from '../table/compiled.ts'

const table = new Map([
  service('yahoo', 'com', ['10.0.0.1']),
  service('pay', 'com', ['10.0.0.2']),
  service('api', 'ops', ['10.0.0.3']),
  ['www.example.org', info({ shortname: 'www', namespace: 'example' })] as const,
  // Of another cluster's domain: it has no short names.
  ['pay.dev.svc.other.local', { ...info(), registry: 'Kubernetes', shortname: 'pay', namespace: 'dev' }] as const,
])
const ALL =
  "namespace com is a top-level domain: yahoo.com. is answered from the mesh, although it may be somebody's real domain; rename the namespace, or set mesh.shortNames to auto where resolv.conf has a search list and ndots of 2 or more"
const LEFT =
  'namespace com is a top-level domain: the absolute name yahoo.com. is asked of servers, and answered from the mesh only with a search domain (mesh.shortNames: auto)'

function watched(): { domains: RealDomains; lines: string[] } {
  const lines: string[] = []
  return { domains: new RealDomains({ warn: (_, line) => void lines.push(line) }), lines }
}

test('each namespace that is a top-level domain is warned of once in the log, and in the status as long as the table has it', () => {
  const { domains, lines } = watched()
  domains.taken(imageOf(table), false)
  domains.taken(imageOf(table), false)
  expect(lines).toEqual([ALL])
  expect([domains.warnings(false), domains.warnings(true)]).toEqual([[ALL], [LEFT]])
  domains.taken(imageOf(new Map([service('api', 'ops', ['10.0.0.3'])])), false)
  expect(domains.warnings(false)).toEqual([])
})

test('five are named, and how many more there are', () => {
  const { domains, lines } = watched()
  const names = ['com', 'org', 'net', 'dev', 'app', 'prod', 'shop']
  domains.taken(imageOf(new Map(names.map((namespace) => service('web', namespace, ['10.0.0.1'])))), true)
  expect(lines).toHaveLength(5)
  expect(domains.warnings(true).at(-1)).toBe('2 more namespaces are top-level domains')
})

test('services that are known by short name and namespace are judged alike', () => {
  const known = [
    ['yahoo', 'com'],
    ['pay', 'com'],
    ['api', 'ops'],
    ['odd', ''],
    ['odd', 'a.com'],
  ]
  expect(realDomainWarnings(known, false)).toEqual([ALL])
})
