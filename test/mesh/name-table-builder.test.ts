import { describe, expect, test } from 'vitest'
import { servicesDomainOf } from '../../src/mesh/name-table-builder.ts'
import { documents, ipsOf, service, serviceEntry, slice, tableOf, workload } from './mesh-of.ts'

const web = 'web.shop.svc.cluster.local'

function headless(spec: object = {}): string {
  return service({ spec: { clusterIP: 'None', ...spec } })
}

function selecting(spec: object): string {
  return serviceEntry({ resolution: 'NONE', workloadSelector: { labels: { app: 'billing' } }, ...spec })
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
  const db0 = { addresses: ['10.1.0.1'], hostname: 'db-0', conditions: { ready: true } }
  const db1 = { addresses: ['10.1.0.2'], hostname: 'db-1' }

  test('stand for their pods, each of which has a host of its own', () => {
    expect(tableOf(documents(headless(), slice([db0, db1])))).toEqual({
      [web]: {
        ips: ['10.1.0.1', '10.1.0.2'],
        registry: 'Kubernetes',
        shortname: 'web',
        namespace: 'shop',
        altHosts: [],
      },
      [`db-0.${web}`]: {
        ips: ['10.1.0.1'],
        registry: 'Kubernetes',
        shortname: 'db-0.web',
        namespace: 'shop',
        altHosts: [],
      },
      [`db-1.${web}`]: {
        ips: ['10.1.0.2'],
        registry: 'Kubernetes',
        shortname: 'db-1.web',
        namespace: 'shop',
        altHosts: [],
      },
    })
  })
  test('a pod without a host name goes by its own name', () => {
    const endpoint = { addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', name: 'web-6f7' } }
    expect(ipsOf(documents(headless(), slice([endpoint])))).toHaveProperty([`web-6f7.${web}`], ['10.1.0.1'])
  })
  test('an endpoint that is no pod counts for the service alone', () => {
    expect(ipsOf(documents(headless(), slice([{ addresses: ['10.1.0.1'] }])))).toEqual({ [web]: ['10.1.0.1'] })
  })
  test('without endpoints have no entry', () => {
    expect(ipsOf(headless())).toEqual({})
    expect(ipsOf(documents(headless(), slice([])))).toEqual({})
  })
  test('leave out pods that are not ready', () => {
    const yaml = documents(headless(), slice([db0, { ...db1, conditions: { ready: false } }]))
    expect(ipsOf(yaml)).toEqual({ [web]: ['10.1.0.1'], [`db-0.${web}`]: ['10.1.0.1'] })
  })
  test('with publishNotReadyAddresses name every pod', () => {
    const yaml = documents(
      headless({ publishNotReadyAddresses: true }),
      slice([db0, { ...db1, conditions: { ready: false } }]),
    )
    expect(ipsOf(yaml)).toMatchObject({ [web]: ['10.1.0.1', '10.1.0.2'], [`db-1.${web}`]: ['10.1.0.2'] })
  })
  test('join slices of two families and name an address once', () => {
    const v6 = slice([{ addresses: ['fd00::1'], hostname: 'db-0' }], {}, 'web-2').replace('"IPv4"', '"IPv6"')
    const again = slice([db0], {}, 'web-3')
    const table = ipsOf(documents(headless(), slice([db0]), v6, again))
    expect(table).toEqual({ [web]: ['10.1.0.1', 'fd00::1'], [`db-0.${web}`]: ['10.1.0.1', 'fd00::1'] })
  })
  test('leave out pods of a network that the node cannot reach', () => {
    const there = slice([db1], { 'topology.istio.io/network': 'there' }, 'web-2')
    const yaml = documents(headless(), slice([db0]), there)
    expect(ipsOf(yaml, { network: 'here' })).toEqual({ [web]: ['10.1.0.1'], [`db-0.${web}`]: ['10.1.0.1'] })
    expect(Object.keys(ipsOf(yaml, { network: 'there' }))).toHaveLength(3)
    expect(Object.keys(ipsOf(yaml, { network: '' }))).toHaveLength(3)
  })
  test('put local pods before those of other clusters, and a local pod in the place of a remote one', () => {
    const remote = slice([{ ...db0, addresses: ['10.2.0.1'] }], { 'topology.istio.io/cluster': 'far' }, 'web-0')
    const local = slice([db0], { 'topology.istio.io/cluster': 'near' })
    const yaml = documents(headless(), remote, local)
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
  test('of one host are joined, each address once', () => {
    const yaml = documents(
      serviceEntry({ addresses: ['192.0.2.1', '192.0.2.2'] }),
      serviceEntry({ addresses: ['192.0.2.2', '192.0.2.3'] }, { name: 'more', namespace: 'other' }),
    )
    expect(ipsOf(yaml)).toEqual({ [api]: ['192.0.2.1', '192.0.2.2', '192.0.2.3'] })
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
    expect(ips).toEqual([expect.stringMatching(/^240\.240\./), expect.stringMatching(/^2001:2::f0f0:/)])
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
  test('that select nothing: no entry', () => {
    expect(ipsOf(selecting({}))).toEqual({})
  })
  test('beside addresses: the addresses alone', () => {
    const yaml = documents(selecting({ addresses: ['192.0.2.1'] }), vms)
    expect(ipsOf(yaml)).toEqual({ 'api.example.com': ['192.0.2.1'] })
  })
  test('with resolution STATIC: an automatic address, behind which the workloads are', () => {
    const { 'api.example.com': ips } = ipsOf(documents(selecting({ resolution: 'STATIC' }), vms))
    expect(ips?.[0]).toMatch(/^240\.240\./)
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

test('equal meshes give equal tables, however their files are ordered', () => {
  const one = service({ name: 'a' })
  const two = service({ name: 'b' })
  expect(Object.keys(tableOf(documents(two, one)))).toEqual(Object.keys(tableOf(documents(one, two))))
})

test.each([
  ['shop.svc.cluster.local', 'svc.cluster.local'],
  ['shop.svc.Example.Internal', 'svc.example.internal'],
  ['shop', 'svc.cluster.local'],
  ['', 'svc.cluster.local'],
])('the domain of services in %j is %s', (domain, expected) => {
  expect(servicesDomainOf(domain)).toBe(expected)
})
