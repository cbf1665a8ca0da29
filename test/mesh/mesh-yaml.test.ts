import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readMeshYaml } from '../../src/mesh/mesh-yaml.ts'
import { buildNameTable, indexMesh } from '../../src/mesh/name-table-builder.ts'
import { shopNode } from './mesh-of.ts'

const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.0.0.1 }
`

function problemsOf(yaml: string): string[] {
  return readMeshYaml(yaml, 'bad.yaml').problems
}

/** A ServiceEntry in one line, with `field` in its spec. */
function entry(field: string): string {
  const hosts = field.startsWith('hosts') ? '' : 'hosts: [a.example], '
  return `{ apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: { name: a }, spec: { ${hosts}${field} } }`
}
const AT = 'bad.yaml: document 1, line 1: spec.'

/** A ServiceEntry with a thousand addresses. */
function largeEntry(hosts: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: large }
spec:
  hosts: [${Array.from({ length: hosts }, (_, k) => `h${k}.example`).join(', ')}]
  addresses: [${Array.from({ length: 1000 }, (_, k) => `10.0.${k >> 8}.${k & 255}`).join(', ')}]
`
}

function namesOf(yaml: string): string[] {
  const { resources, problems } = readMeshYaml(yaml, 'good.yaml')
  expect(problems).toEqual([])
  return resources.map(({ resource: { kind, namespace, name } }) => `${kind} ${namespace}/${name}`)
}

describe('what is read', () => {
  test('several documents, with empty ones between them', () => {
    expect(namesOf(`# nothing\n---\n${SERVICE}---\n---\n${SERVICE.replace('web', 'db')}`)).toEqual([
      'Service shop/web',
      'Service shop/db',
    ])
  })
  test('lists, of any kind and of one', () => {
    const items = `items:\n- ${SERVICE.trim().replaceAll('\n', '\n  ')}`
    expect(namesOf(`apiVersion: v1\nkind: List\n${items}`)).toEqual(['Service shop/web'])
    const bare = 'items: [{ metadata: { name: web }, spec: { clusterIP: 10.0.0.1 } }]'
    expect(namesOf(`apiVersion: v1\nkind: ServiceList\n${bare}`)).toEqual(['Service default/web'])
    expect(namesOf('apiVersion: v1\nkind: List\nitems: []')).toEqual([])
  })
  test.each(['v1', 'v1beta1', 'v1alpha3'])('Istio resources of version %s', (version) => {
    const yaml = `{ apiVersion: networking.istio.io/${version}, kind: ServiceEntry, metadata: { name: a }, spec: { hosts: [a.example.com] } }`
    expect(namesOf(yaml)).toEqual(['ServiceEntry default/a'])
  })
  test('fields that are null or unknown do no harm', () => {
    const yaml = `${SERVICE}  \nstatus: { loadBalancer: {} }\nextra: null`
    expect(namesOf(yaml.replace('10.0.0.1', '10.0.0.1, ports: null, frobnicate: [1]'))).toEqual(['Service shop/web'])
  })
  test('anchors and merge keys', () => {
    const yaml = `
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: { name: one, labels: &labels { app: x } }
    spec: { clusterIP: 10.0.0.1, selector: *labels }
`
    expect(namesOf(yaml)).toEqual(['Service default/one'])
  })
  test('an empty file', () => expect(namesOf('')).toEqual([]))
  test('other kinds are passed over and counted', () => {
    const { ignoredKinds, problems } = readMeshYaml(
      `{ apiVersion: apps/v1, kind: Deployment }\n---\n{ apiVersion: serving.knative.dev/v1, kind: Service }`,
      'x.yaml',
    )
    expect(ignoredKinds).toEqual(['Deployment (apps/v1)', 'Service (serving.knative.dev/v1)'])
    expect(problems).toEqual([])
  })
  test('a service without an address is noted', () => {
    const { notes } = readMeshYaml(SERVICE.replace('clusterIP: 10.0.0.1', ''), 'x.yaml')
    expect(notes).toEqual([
      'x.yaml: document 1, line 2: Service shop/web has no spec.clusterIP (the API server gives one), so its name is left out',
    ])
  })
})

describe('what is wrong is told with file, document, line and path', () => {
  test.each([
    [
      'a number that is none, in the second document',
      `${SERVICE}---\napiVersion: v1\nkind: Service\nmetadata:\n  name: db\nspec:\n  ports:\n    - port: "80"\n`,
      'bad.yaml: document 2, line 13: spec.ports[0].port: expected a number',
    ],
    [
      'a missing field, at what should contain it',
      'apiVersion: v1\nkind: Service\nmetadata:\n  namespace: shop\nspec: {}\n',
      'bad.yaml: document 1, line 4: metadata.name: is missing',
    ],
    ['a missing section', 'apiVersion: v1\nkind: Service\n', 'bad.yaml: document 1, line 1: metadata: is missing'],
    [
      'an address that is none',
      SERVICE.replace('10.0.0.1', '10.0.0.300'),
      'bad.yaml: document 1, line 5: spec.clusterIP: expected an IP address or None',
    ],
    [
      'a list that is none',
      SERVICE.replace('10.0.0.1', '10.0.0.1, ports: 80'),
      'bad.yaml: document 1, line 5: spec.ports: expected a list',
    ],
    [
      'a label that is no string',
      'apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    example.com/version: 1\nspec: {}',
      'bad.yaml: document 1, line 6: metadata.labels["example.com/version"]: expected a string',
    ],
    [
      'a host that is no name',
      'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: a }\nspec:\n  hosts:\n    - good.example.com\n    - "bad..example.com"\n',
      'bad.yaml: document 1, line 7: spec.hosts[1]: expected a host name, perhaps with "*." in front',
    ],
    [
      'a word that is none of those known',
      '{ apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: { name: a }, spec: { hosts: [a.b], resolution: MAYBE } }',
      'bad.yaml: document 1, line 1: spec.resolution: expected NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS',
    ],
    [
      'an endpoint address that is none',
      'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: a }\naddressType: IPv4\nendpoints:\n  - addresses: [10.0.0.1]\n  - addresses: [pod.example.com]\n',
      'bad.yaml: document 1, line 7: endpoints[1].addresses[0]: expected an IP address',
    ],
    [
      'an item of a list',
      'apiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: Service\n    metadata: { name: a }\n    spec:\n      publishNotReadyAddresses: "yes"\n',
      'bad.yaml: document 1, line 8: items[0].spec.publishNotReadyAddresses: expected a boolean',
    ],
    [
      'something that is no resource',
      '- a\n- b\n',
      'bad.yaml: document 1, line 1: expected a resource with apiVersion, kind and metadata',
    ],
    ['a document without a kind', 'replicas: 3\n', 'bad.yaml: document 1, line 1: apiVersion: is missing'],
    [
      'a port in words',
      entry('ports: [{ number: http }]'),
      String.raw`${AT}ports[0].number: Invalid string: must match pattern /^\d+$/`,
    ],
    [
      'a port that is neither number nor text',
      entry('ports: [{ number: true }]'),
      `${AT}ports[0].number: Invalid input`,
    ],
    ['a port without a number', entry('ports: [{}]'), `${AT}ports[0].number: Invalid input`],
    ['no host', entry('hosts: []'), `${AT}hosts: expected at least one host`],
    ['a text for a section', entry('workloadSelector: a'), `${AT}workloadSelector: expected a mapping`],
    [
      'a list for labels',
      entry('workloadSelector: { labels: [a] }'),
      `${AT}workloadSelector.labels: expected a mapping`,
    ],
    [
      'a CIDR of too many bits',
      entry('addresses: [10.0.0.0/33]'),
      `${AT}addresses[0]: expected an IP address or a CIDR`,
    ],
    [
      'a name with capital letters',
      SERVICE.replace('web', 'Web'),
      'bad.yaml: document 1, line 4: metadata.name: expected a Kubernetes name (lower-case letters, digits, "-")',
    ],
    ['a number for a kind', '{ apiVersion: v1, kind: 1 }', 'bad.yaml: document 1, line 1: kind: expected a string'],
  ])('%s', (_, yaml, problem) => {
    expect(problemsOf(yaml)).toContain(problem)
  })
  test('YAML that is none', () => {
    const [problem, ...more] = problemsOf(`${SERVICE}---\nkind: [Service\nmetadata: }\n`)
    expect(problem).toMatch(/^bad\.yaml: document 2, line \d+: \w/)
    expect(more).toEqual([])
  })
  test('a key twice', () => {
    expect(problemsOf('kind: Service\nkind: Service\n')[0]).toMatch(
      /^bad\.yaml: document 1, line 2: key "kind" occurs twice/,
    )
  })
  test('an alias without an anchor, and too many aliases', () => {
    expect(problemsOf('a: *nothing\n')[0]).toMatch(/^bad\.yaml: document 1, line 1: /)
    const bomb = `a: &a [1,1,1,1,1,1,1,1,1,1]\n${'bcdefghi'
      .split('')
      .map((key, index) => `${key}: &${key} [${Array(10).fill(`*${'abcdefghi'[index]}`).join(',')}]`)
      .join('\n')}`
    expect(problemsOf(bomb)[0]).toMatch(/^bad\.yaml: document 1, line 6: aliases make more than/)
  })
  test('a list that contains itself', () => {
    expect(problemsOf('# one\n&l { apiVersion: v1, kind: List, items: [*l] }')).toEqual([
      'bad.yaml: document 1, line 2: alias *l stands in the value that it means',
    ])
  })
  test('a host below whose wildcard no name fits', () => {
    const name = [61, 63, 63, 63].map((length) => 'a'.repeat(length)).join('.')
    const yaml = `{ apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: { name: a }, spec: { hosts: ["*.${name}"] } }`
    expect(problemsOf(yaml)).toEqual([expect.stringMatching(/line 1: spec.hosts\[0\]: expected a host name/)])
  })
  test('a key of a thousand letters, in one line that can be read', () => {
    const yaml = SERVICE.replace('name: web', `name: web, labels: { ${'k'.repeat(1000)}: 1 }`)
    expect(problemsOf(yaml)).toEqual([expect.stringMatching(/^bad.yaml: .{20,200}$/)])
  })
  test('brackets without end', () => {
    expect(problemsOf('['.repeat(100_000))[0]).toMatch(/^bad\.yaml: /)
  })
  test('no more than ten of them', () => {
    const ports = Array.from({ length: 50 }, () => '{ port: x }').join(', ')
    const problems = problemsOf(SERVICE.replace('10.0.0.1', `10.0.0.1, ports: [${ports}]`))
    expect(problems).toHaveLength(11)
    expect(problems.at(-1)).toBe('bad.yaml: and 40 more')
  })
  test('a ServiceEntry that would fill all memory: each host has all its addresses', () => {
    expect(problemsOf(largeEntry(1000))).toEqual([])
    expect(problemsOf(largeEntry(1001))).toEqual([
      'bad.yaml: document 1, line 6: spec.addresses: would give 1000 addresses to each of 1001 hosts, and 1000000 together are the most: split it',
    ])
  })
  test('of a hundred thousand no more either, and their places are not looked for', () => {
    const labels = Array.from({ length: 100_000 }, (_, k) => `k${k}: 1`).join(', ')
    const before = process.cpuUsage()
    const problems = problemsOf(SERVICE.replace('name: web', `name: web, labels: { ${labels} }`))
    expect(problems[0]).toBe('bad.yaml: document 1, line 4: metadata.labels.k0: expected a string')
    expect(problems).toHaveLength(11)
    // The search for all places took half a minute.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(15_000)
  })
})

describe('whatever a file holds, reading it does not fail', () => {
  test('any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        readMeshYaml(text, 'any.yaml')
      }),
    )
  })
  test('any values in the place of those of a resource', () => {
    const head = fc.constantFrom(
      { apiVersion: 'v1', kind: 'Service' },
      { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
      { apiVersion: 'networking.istio.io/v1', kind: 'ServiceEntry' },
      { apiVersion: 'networking.istio.io/v1', kind: 'WorkloadEntry' },
      { apiVersion: 'v1', kind: 'List' },
    )
    const key = fc.constantFrom('hosts', 'addresses', 'ports', 'labels', 'clusterIP', 'clusterIPs', 'host', '__proto__')
    const value = fc.oneof(fc.jsonValue(), fc.dictionary(key, fc.jsonValue()))
    const names = ['metadata', 'spec', 'status', 'endpoints', 'items']
    const body = fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] })
    fc.assert(
      fc.property(head, body, (start, rest) => {
        const metadata = { name: 'any' }
        for (const resource of [
          { metadata, ...rest },
          { ...rest, metadata },
        ]) {
          const { resources } = readMeshYaml(JSON.stringify({ ...start, ...resource }), 'any.yaml')
          buildNameTable(indexMesh(resources.map((placed) => placed.resource)), shopNode)
        }
      }),
    )
  })
})
