import { describe, expect, test } from 'vitest'
import { buildNameTable, familiesOf, servicesDomainOf } from '../../src/mesh/name-table-builder.ts'
import {
  documents,
  endpoint,
  ipsOf,
  meshOf,
  pod,
  service,
  serviceEntry,
  shopNode,
  slice,
  tableOf,
  workload,
} from './mesh-of.ts'

const web = 'web.shop.svc.cluster.local'

function headless(spec: object = {}): string {
  return service({ spec: { clusterIP: 'None', ...spec } })
}

function selecting(spec: object): string {
  return serviceEntry({ resolution: 'NONE', workloadSelector: { labels: { app: 'billing' } }, ...spec })
}

/** A ServiceEntry for api.example.com that is called after its address. */
function aged(namespace: string, address: string, created?: string, spec: object = {}): string {
  const time = created === undefined ? {} : { creationTimestamp: created }
  return serviceEntry({ addresses: [address], ...spec }, { namespace, name: `e${address.at(-1)}`, ...time })
}

/** Namespaces of those whose table is not empty. */
function seers(yaml: string): string[] {
  return ['shop', 'default', 'other'].filter((namespace) => Object.keys(tableOf(yaml, { namespace })).length > 0)
}

describe('services with a cluster IP', () => {
  test('carry registry, short name and namespace', () => {
    expect(tableOf(service())).toEqual({
      [web]: { ips: ['10.0.0.1'], registry: 'Kubernetes', shortname: 'web', namespace: 'shop', altHosts: [] },
    })
  })
  test('dual stack has both addresses, the primary one first', () => {
    const spec = { clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1', 'fd00::1'] }
    expect(ipsOf(service({ spec }))).toEqual({ [web]: ['10.0.0.1', 'fd00::1'] })
  })
  test('are named in the domain of the node that asks', () => {
    const table = tableOf(service(), { servicesDomain: servicesDomainOf('shop.svc.example.internal') })
    expect(Object.keys(table)).toEqual(['web.shop.svc.example.internal'])
  })
  test('in the cluster set carry neither short name nor namespace', () => {
    const { 'web.shop.svc.clusterset.local': info } = tableOf(service(), { servicesDomain: 'svc.clusterset.local' })
    expect(info).toMatchObject({ ips: ['10.0.0.1'], registry: 'Kubernetes', shortname: '', namespace: '' })
  })
  test.each([
    ['ExternalName', { type: 'ExternalName', externalName: 'other.example.com', clusterIP: null }],
    ['ExternalName with an address left over', { type: 'ExternalName', externalName: 'other.example.com' }],
    ['a service without an address yet', { clusterIP: '' }],
  ])('%s has no entry', (_, spec) => {
    expect(ipsOf(service({ spec }))).toEqual({})
  })
})

describe('headless services', () => {
  const db0 = endpoint('db-0', '10.1.0.1', { conditions: { ready: true } })
  const db1 = endpoint('db-1', '10.1.0.2')
  const pods = documents(pod('db-0'), pod('db-1'))

  test('stand for their pods, each of which has a host of its own', () => {
    const kubernetes = { registry: 'Kubernetes', namespace: 'shop', altHosts: [] }
    expect(tableOf(documents(headless(), slice([db0, db1]), pods))).toEqual({
      [web]: { ...kubernetes, ips: ['10.1.0.1', '10.1.0.2'], shortname: 'web' },
      [`db-0.${web}`]: { ...kubernetes, ips: ['10.1.0.1'], shortname: 'db-0.web' },
      [`db-1.${web}`]: { ...kubernetes, ips: ['10.1.0.2'], shortname: 'db-1.web' },
    })
  })
  test("a pod's host is made of its hostname and subdomain, whatever it is called itself", () => {
    const yaml = documents(headless(), slice([db0]), pod('db-0', { hostname: 'First', subdomain: 'cluster' }))
    expect(tableOf(yaml)['first.cluster.shop.svc.cluster.local']).toMatchObject({
      ips: ['10.1.0.1'],
      shortname: 'first.cluster',
    })
    expect(Object.keys(tableOf(yaml))).toHaveLength(2)
  })
  test.each([
    ['without a hostname', { subdomain: 'web' }],
    ['without a subdomain', { hostname: 'db-0' }],
    ['without either', {}],
  ])('a pod %s counts for the service alone', (_, spec) => {
    expect(ipsOf(documents(headless(), slice([db0]), pod('db-0', spec)))).toEqual({ [web]: ['10.1.0.1'] })
  })
  test('an endpoint that refers to no pod counts for the service alone, whatever its slice calls it', () => {
    const alone = { addresses: ['10.1.0.1'], hostname: 'db-0' }
    expect(ipsOf(documents(headless(), slice([alone]), pods))).toEqual({ [web]: ['10.1.0.1'] })
  })
  test('an endpoint whose Pod is missing, or is in another namespace, is left out', () => {
    expect(ipsOf(documents(headless(), slice([db0, db1]), pod('db-1')))).toEqual({
      [web]: ['10.1.0.2'],
      [`db-1.${web}`]: ['10.1.0.2'],
    })
    expect(ipsOf(documents(headless(), slice([db0]), pod('db-0', undefined, 'other')))).toEqual({})
  })
  test('a pod of the same namespace is meant where the endpoint names none', () => {
    const near = { addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', name: 'db-0' } }
    expect(ipsOf(documents(headless(), slice([near]), pods))).toHaveProperty([`db-0.${web}`], ['10.1.0.1'])
  })
  test('without endpoints have no entry', () => {
    expect(ipsOf(headless())).toEqual({})
    expect(ipsOf(documents(headless(), slice([])))).toEqual({})
  })
  test('leave out pods that are not ready', () => {
    const yaml = documents(headless(), slice([db0, { ...db1, conditions: { ready: false } }]), pods)
    expect(ipsOf(yaml)).toEqual({ [web]: ['10.1.0.1'], [`db-0.${web}`]: ['10.1.0.1'] })
  })
  test('with publishNotReadyAddresses name every pod', () => {
    const yaml = documents(
      headless({ publishNotReadyAddresses: true }),
      slice([db0, { ...db1, conditions: { ready: false } }]),
      pods,
    )
    expect(ipsOf(yaml)).toMatchObject({ [web]: ['10.1.0.1', '10.1.0.2'], [`db-1.${web}`]: ['10.1.0.2'] })
  })
  test('join slices of two families and name an address once, whatever families the node has', () => {
    const v6 = slice([endpoint('db-0', 'fd00::1')], {}, 'web-2').replace('"IPv4"', '"IPv6"')
    const again = slice([db0], {}, 'web-3')
    const table = ipsOf(documents(headless(), slice([db0]), v6, again, pods), { families: { v4: true, v6: false } })
    expect(table).toEqual({ [web]: ['10.1.0.1', 'fd00::1'], [`db-0.${web}`]: ['10.1.0.1', 'fd00::1'] })
  })
  test('leave out pods of a network that the node cannot reach', () => {
    const there = slice([db1], { 'topology.istio.io/network': 'there' }, 'web-2')
    const yaml = documents(headless(), slice([db0]), there, pods)
    expect(ipsOf(yaml, { network: 'here' })).toEqual({ [web]: ['10.1.0.1'], [`db-0.${web}`]: ['10.1.0.1'] })
    expect(Object.keys(ipsOf(yaml, { network: 'there' }))).toHaveLength(3)
    expect(Object.keys(ipsOf(yaml, { network: '' }))).toHaveLength(3)
  })
  test('put local pods before those of other clusters, and a local pod in the place of a remote one', () => {
    const remote = slice([endpoint('db-0', '10.2.0.1')], { 'topology.istio.io/cluster': 'far' }, 'web-0')
    const local = slice([db0], { 'topology.istio.io/cluster': 'near' })
    const yaml = documents(headless(), remote, local, pods)
    expect(ipsOf(yaml, { cluster: 'near' })).toEqual({
      [web]: ['10.1.0.1', '10.2.0.1'],
      [`db-0.${web}`]: ['10.1.0.1'],
    })
    expect(ipsOf(yaml, { cluster: 'far' })[`db-0.${web}`]).toEqual(['10.2.0.1'])
    expect(ipsOf(yaml, { cluster: 'third' })[`db-0.${web}`]).toEqual(['10.2.0.1', '10.1.0.1'])
  })
  test('select WorkloadEntries of their namespace by label', () => {
    const yaml = documents(
      headless({ selector: { app: 'web' } }),
      workload('vm-1', { address: '10.3.0.1', labels: { app: 'web', version: 'v1' } }),
      workload('vm-2', { address: '10.3.0.2', labels: { app: 'other' } }),
      workload('vm-3', { address: '10.3.0.3', labels: { app: 'web' } }, { namespace: 'other' }),
    )
    expect(ipsOf(yaml)).toEqual({ [web]: ['10.3.0.1'] })
  })
  test('select WorkloadEntries that have every label of the selector', () => {
    const yaml = documents(
      headless({ selector: { app: 'web', tier: 'front' } }),
      workload('vm-1', { address: '10.3.0.1', labels: { app: 'web', tier: 'front' } }),
      workload('vm-2', { address: '10.3.0.2', labels: { app: 'web' } }),
      workload('vm-3', { address: '10.3.0.3', labels: { tier: 'front' } }),
    )
    expect(ipsOf(yaml)).toEqual({ [web]: ['10.3.0.1'] })
  })
  test('without a selector stand for no WorkloadEntry', () => {
    const yaml = documents(headless(), slice([db0]), pods, workload('vm-1', { address: '10.3.0.1' }))
    expect(ipsOf(yaml)[web]).toEqual(['10.1.0.1'])
  })
  test('a pod without an address has no host', () => {
    const yaml = documents(headless(), slice([db0, endpoint('db-1', '', { addresses: [] })]), pods)
    expect(Object.keys(ipsOf(yaml))).toEqual([`db-0.${web}`, web])
  })
})

describe('service entries', () => {
  const api = 'api.example.com'

  test('carry neither short name nor namespace', () => {
    expect(tableOf(serviceEntry({ addresses: ['192.0.2.1'] }))).toEqual({
      [api]: { ips: ['192.0.2.1'], registry: 'External', shortname: '', namespace: '', altHosts: [] },
    })
  })
  test('have an entry for each host, wildcards too, in lower case', () => {
    const hosts = ['API.example.com', '*.apps.example.org']
    const ips = ['192.0.2.1', '2001:db8::1']
    expect(ipsOf(serviceEntry({ hosts, addresses: ips, resolution: 'NONE' }))).toEqual({
      'api.example.com': ips,
      '*.apps.example.org': ips,
    })
  })
  test('of one host and namespace are joined, each address once', () => {
    const yaml = documents(
      serviceEntry({ addresses: ['192.0.2.1', '192.0.2.2'] }),
      serviceEntry({ addresses: ['192.0.2.2', '192.0.2.3'] }, { name: 'more' }),
    )
    expect(ipsOf(yaml)).toEqual({ [api]: ['192.0.2.1', '192.0.2.2', '192.0.2.3'] })
  })
  describe('of one host in several namespaces', () => {
    const [old, middle, young] = ['2024-01-01T00:00:00Z', '2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z']

    test("count in the node's own namespace alone", () => {
      const yaml = documents(aged('other', '192.0.2.1', old), aged('shop', '192.0.2.2', young))
      expect(ipsOf(yaml)).toEqual({ [api]: ['192.0.2.2'] })
      expect(ipsOf(yaml, { namespace: 'other' })).toEqual({ [api]: ['192.0.2.1'] })
    })
    test('else in that of the oldest entry, all of them there', () => {
      const yaml = documents(
        aged('b', '192.0.2.1', middle),
        aged('a', '192.0.2.2', old),
        aged('b', '192.0.2.3', middle),
        aged('a', '192.0.2.4', young),
      )
      expect(ipsOf(yaml)).toEqual({ [api]: ['192.0.2.2', '192.0.2.4'] })
    })
    test('the first in the files is the oldest where they have no time', () => {
      expect(ipsOf(documents(aged('b', '192.0.2.1'), aged('a', '192.0.2.2')))).toEqual({ [api]: ['192.0.2.1'] })
      expect(ipsOf(documents(aged('b', '192.0.2.1'), aged('a', '192.0.2.2', young)))).toEqual({
        [api]: ['192.0.2.2'],
      })
    })
    test('those that the node does not see count for nothing', () => {
      const hidden = aged('b', '192.0.2.1', old, { exportTo: ['.'] })
      expect(ipsOf(documents(hidden, aged('a', '192.0.2.2', young)))).toEqual({ [api]: ['192.0.2.2'] })
    })
    test('each host of an entry is looked at by itself', () => {
      const both = serviceEntry({ hosts: [api, 'b.example.com'], addresses: ['192.0.2.1'] }, { namespace: 'other' })
      expect(ipsOf(documents(both, aged('shop', '192.0.2.2')))).toEqual({
        [api]: ['192.0.2.2'],
        'b.example.com': ['192.0.2.1'],
      })
    })
  })
  test.each(['before', 'after'])('give way to a Kubernetes service of the same host that stands %s', (order) => {
    const entry = serviceEntry({ hosts: [web], addresses: ['192.0.2.1'] })
    const yaml = order === 'before' ? documents(service(), entry) : documents(entry, service())
    expect(tableOf(yaml)[web]).toMatchObject({ ips: ['10.0.0.1'], registry: 'Kubernetes', shortname: 'web' })
  })
  test('stand in for a headless service that has no endpoints', () => {
    const entry = serviceEntry({ hosts: [web], addresses: ['192.0.2.1'] })
    const yaml = documents(service({ spec: { clusterIP: 'None' } }), entry)
    expect(tableOf(yaml)[web]).toMatchObject({ ips: ['192.0.2.1'], registry: 'External' })
  })
  test('with CIDRs have the addresses among them; networks of one address are addresses', () => {
    const addresses = ['192.0.2.0/24', '192.0.2.1/32', '2001:db8::1/128', '198.51.100.1']
    expect(ipsOf(serviceEntry({ addresses }))).toEqual({ [api]: ['192.0.2.1', '2001:db8::1', '198.51.100.1'] })
  })
  test('with nothing but CIDRs have no entry, and no automatic address', () => {
    expect(ipsOf(serviceEntry({ addresses: ['192.0.2.0/24'] }))).toEqual({})
  })
  test('without addresses have automatic ones of both families', () => {
    const { [api]: ips } = ipsOf(serviceEntry({}))
    expect(ips).toEqual(['240.240.0.1', '2001:2::1'])
  })
  test('two of one host without addresses have two automatic ones of each family', () => {
    const yaml = documents(serviceEntry({}), serviceEntry({}, { name: 'again' }))
    expect(ipsOf(yaml)).toEqual({ [api]: ['240.240.0.1', '2001:2::1', '240.240.0.2', '2001:2::2'] })
  })
  test('are written with a partial wildcard among their hosts, which matches nothing', () => {
    const hosts = ['*.good.example', '*post.example', '*-prod.example.com', 'good.example']
    expect(Object.keys(ipsOf(serviceEntry({ hosts, addresses: ['192.0.2.1'] })))).toEqual([
      '*.good.example',
      'good.example',
    ])
  })
  test('without addresses have those that istiod wrote into the status, if it did', () => {
    const status = {
      addresses: [
        { host: api, value: '240.240.0.9' },
        { host: api, value: '2001:2::9' },
      ],
    }
    expect(ipsOf(serviceEntry({}, {}, status))).toEqual({ [api]: ['240.240.0.9', '2001:2::9'] })
  })
  test.each([
    ['resolution NONE', { resolution: 'NONE' }, {}],
    ['a wildcard host', { hosts: ['*.example.com'] }, {}],
    ['the label that forbids it', {}, { labels: { 'networking.istio.io/enable-autoallocate-ip': 'false' } }],
  ])('with %s have no automatic address', (_, spec, metadata) => {
    expect(ipsOf(serviceEntry(spec, metadata))).toEqual({})
  })
  test('have an automatic address for a wildcard host that is resolved name by name', () => {
    const table = ipsOf(serviceEntry({ hosts: ['*.example.com'], resolution: 'DYNAMIC_DNS' }))
    expect(Object.keys(table)).toEqual(['*.example.com'])
  })
})

describe('workload selectors', () => {
  const vms = documents(
    workload('vm-1', { address: '10.3.0.1', labels: { app: 'billing' } }),
    workload('vm-2', { address: '10.3.0.2', network: 'there' }, { labels: { app: 'billing' } }),
    workload('vm-3', { address: 'vm.example.com', labels: { app: 'billing' } }),
    workload('vm-4', { address: 'unix:///run/billing.sock', labels: { app: 'billing' } }),
    workload('vm-5', { address: '10.3.0.5', labels: { app: 'other' } }),
    workload('vm-6', { address: '10.3.0.6', labels: { app: 'billing' } }, { namespace: 'other' }),
  )

  test('with resolution NONE and no address: the addresses of the workloads', () => {
    expect(ipsOf(documents(selecting({}), vms))).toEqual({ 'api.example.com': ['10.3.0.1', '10.3.0.2'] })
  })
  test('leave out workloads of a network that the node cannot reach', () => {
    expect(ipsOf(documents(selecting({}), vms), { network: 'here' })).toEqual({ 'api.example.com': ['10.3.0.1'] })
  })
  test('no selector at all: no entry, whatever workloads there are', () => {
    expect(ipsOf(documents(serviceEntry({ resolution: 'NONE' }), vms))).toEqual({})
  })
  test('that select nothing: no entry', () => {
    expect(ipsOf(selecting({}))).toEqual({})
  })
  test('beside addresses: the addresses alone', () => {
    const yaml = documents(selecting({ addresses: ['192.0.2.1'] }), vms)
    expect(ipsOf(yaml)).toEqual({ 'api.example.com': ['192.0.2.1'] })
  })
  test('with resolution STATIC: an automatic address, behind which the workloads are', () => {
    const { 'api.example.com': ips } = ipsOf(documents(selecting({ resolution: 'STATIC' }), vms))
    expect(ips?.[0]).toBe('240.240.0.1')
  })
})

describe('visibility', () => {
  const cases: [exportTo: string[], seenBy: string[]][] = [
    [[], ['shop', 'default', 'other']],
    [['*'], ['shop', 'default', 'other']],
    [['.'], ['shop']],
    [['default'], ['default']],
    [
      ['.', 'default'],
      ['shop', 'default'],
    ],
    [['~'], []],
    [['~', '.'], []],
    [
      ['*', '~'],
      ['shop', 'default', 'other'],
    ],
  ]

  test.each(cases)('exportTo %j of a service entry', (exportTo, seenBy) => {
    expect(seers(serviceEntry({ addresses: ['192.0.2.1'], exportTo }))).toEqual(seenBy)
  })
  test.each(cases)('annotation exportTo %j of a service', (exportTo, seenBy) => {
    expect(seers(service({ annotations: { 'networking.istio.io/exportTo': exportTo.join(', ') } }))).toEqual(seenBy)
  })
  test('pods are seen by those who see their service', () => {
    const annotations = { 'networking.istio.io/exportTo': '.' }
    const yaml = documents(
      service({ spec: { clusterIP: 'None' }, annotations }),
      slice([{ addresses: ['10.1.0.1'], hostname: 'db-0' }]),
    )
    expect(seers(yaml)).toEqual(['shop'])
  })
})

describe('a node of one family', () => {
  const spec = { clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1', 'fd00::1'] }
  const status = {
    addresses: [
      { host: 'given.example.com', value: '240.240.0.9' },
      { host: 'given.example.com', value: '2001:2::9' },
    ],
  }
  const yaml = documents(
    service({ spec }),
    service({ name: 'six', spec: { clusterIP: 'fd00::6' } }),
    serviceEntry({}),
    serviceEntry({ hosts: ['given.example.com'] }, { name: 'given' }, status),
    serviceEntry({ hosts: ['dual.example.com'], addresses: ['192.0.2.1', '2001:db8::1'] }, { name: 'dual' }),
  )
  test('has service and automatic addresses of that family, and all that somebody chose', () => {
    expect(ipsOf(yaml, { families: { v4: true, v6: false } })).toEqual({
      [web]: ['10.0.0.1'],
      'api.example.com': ['240.240.0.1'],
      'given.example.com': ['240.240.0.9'],
      'dual.example.com': ['192.0.2.1', '2001:db8::1'],
    })
    expect(ipsOf(yaml, { families: { v4: false, v6: true } })).toEqual({
      [web]: ['fd00::1'],
      'six.shop.svc.cluster.local': ['fd00::6'],
      'api.example.com': ['2001:2::1'],
      'given.example.com': ['2001:2::9'],
      'dual.example.com': ['192.0.2.1', '2001:db8::1'],
    })
  })
  test('a node that declines automatic addresses has none, given by whomever', () => {
    expect(Object.keys(ipsOf(yaml, { takesAutomaticVips: false })).toSorted()).toEqual(
      [web, 'six.shop.svc.cluster.local', 'dual.example.com'].toSorted(),
    )
  })
  test.each<[string, string, boolean, boolean]>([
    ['10.0.0.1', '', true, false],
    ['10.0.0.1, fd00::1', '', true, true],
    ['fd00::1', '10.0.0.1', false, true],
    ['10.0.0.1,nonsense', 'fd00::1', false, true],
    ['', '10.0.0.1', true, false],
    ['', 'fd00::1', false, true],
    ['', '', true, true],
    ['', 'nonsense', true, true],
    ['127.0.0.1', '', true, true],
    ['', '::1', true, true],
    ['127.0.0.1,fd00::1', '', false, true],
    ['fd00::1,::', '', false, true],
    ['10.127.0.1', '', true, false],
    ['fd00::127', '', false, true],
    ['::', '', true, true],
    ['::2', '', false, true],
    ['::11', '', false, true],
  ])('INSTANCE_IPS %j and address %j: IPv4 %s, IPv6 %s', (instanceIps, ip, v4, v6) => {
    expect(familiesOf(instanceIps, ip)).toEqual({ v4, v6 })
  })
})

test('a host without an automatic address yet has no entry', () => {
  const mesh = { ...meshOf(serviceEntry({})), vips: new Map() }
  expect(buildNameTable(mesh, shopNode)).toEqual(new Map())
})

test('equal meshes give equal tables, however their files are ordered', () => {
  const one = service({ name: 'a' })
  const two = service({ name: 'b' })
  expect(Object.keys(tableOf(documents(two, one)))).toEqual(Object.keys(tableOf(documents(one, two))))
})

test.each([
  ['shop.svc.cluster.local', 'svc.cluster.local'],
  ['shop.svc.Example.Internal', 'svc.example.internal'],
  ['shop', 'svc.cluster.local'],
  ['shop.', 'svc.cluster.local'],
  ['', 'svc.cluster.local'],
])('the domain of services in %j is %s', (domain, expected) => {
  expect(servicesDomainOf(domain)).toBe(expected)
})
