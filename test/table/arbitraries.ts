import * as fc from 'fast-check'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'

/** Names from few labels, so that hosts, short names, wildcards and search domains collide in every way. */
const label = fc.constantFrom(
  'a',
  'b',
  'A',
  'shop',
  'ops',
  'svc',
  'cluster',
  'local',
  'x',
  '*',
  'a\\.b',
  'a.b',
  'é',
  'B'.repeat(63),
)
const prefix = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
const suffix = fc.constantFrom(
  '',
  '.',
  '.shop.svc.cluster.local',
  '.ops.svc.cluster.local',
  '.SVC.cluster.local',
  '.svc.cluster.local',
  '.shop.svc.cluster.local.shop.svc.cluster.local',
  '.cluster.local.',
  '.x',
  '.example.org',
)
const rubbish = fc.constantFrom(
  '',
  '.',
  '*',
  '*.',
  '..',
  'a..b',
  '.a',
  'a\\',
  '\\999',
  'c'.repeat(64),
  `${'d'.repeat(50)}.`.repeat(5),
)

/** Hosts as they may stand in a table. */
export const host: fc.Arbitrary<string> = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(prefix, suffix).map(([a, b]) => a + b) },
  { weight: 4, arbitrary: fc.tuple(prefix, suffix).map(([a, b]) => `*.${a}${b}`) },
  { weight: 1, arbitrary: rubbish },
)

export const ip: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    '192.0.2.1',
    '192.0.2.2',
    '192.0.2.3',
    '10.0.0.400',
    '10.0.0.0/8',
    'fd00::1',
    'FD00:0::1',
    '::ffff:192.0.2.1',
    '',
    'x',
  ),
  fc.ipV4(),
  fc.ipV6(),
)

export const nameInfo: fc.Arbitrary<NameInfo> = fc.record({
  ips: fc.array(ip, { maxLength: 20 }),
  registry: fc.constantFrom('Kubernetes', 'Kubernetes', 'External', '', 'kubernetes'),
  shortname: fc.oneof(fc.constantFrom('', 'a', 'a.b', 'B', 'a.', 'b.a'), prefix),
  namespace: fc.constantFrom('', 'shop', 'Shop', 'ops', 'x', 'shop.svc', 'a..'),
  altHosts: fc.oneof(
    { weight: 4, arbitrary: fc.constant<string[]>([]) },
    { weight: 1, arbitrary: fc.array(host, { maxLength: 3 }) },
  ),
})

/** A Kubernetes host whose fields fit its name, as all of istiod's do. */
const kubernetes: fc.Arbitrary<[string, NameInfo]> = fc
  .record({
    name: fc.constantFrom('a', 'b', 'a.b', 'shop', 'B'),
    namespace: fc.constantFrom('shop', 'ops', 'svc'),
    ips: fc.array(ip, { minLength: 1, maxLength: 3 }),
  })
  .map(({ name, namespace, ips }) => [
    `${name}.${namespace}.svc.cluster.local`,
    { ips, registry: 'Kubernetes', shortname: name, namespace, altHosts: [] },
  ])

export const nameTable: fc.Arbitrary<NameTable> = fc
  .array(fc.oneof(fc.tuple(host, nameInfo), kubernetes), { maxLength: 40 })
  .map((entries) => new Map(entries))

export const identity: fc.Arbitrary<TableIdentity> = fc.record({
  namespace: fc.constantFrom('shop', 'ops', ''),
  domain: fc.constantFrom('shop.svc.cluster.local', 'Shop.svc.Cluster.local.', 'shop.svc', 'shop', ''),
  searchDomain: fc.constantFrom('shop.svc.cluster.local', 'SHOP.svc.cluster.local.', 'x', 'a.b', null, '', '.'),
})
