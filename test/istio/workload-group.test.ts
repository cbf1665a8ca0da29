import { describe, expect, test } from 'vitest'
import { readWorkloadGroup } from '../../src/istio/workload-group.ts'

const HEAD = 'apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: pay-vm, namespace: shop}\n'
/** A group in which one key of the template, or of the probe, is written. */
const template = (key: string): string => `${HEAD}spec: {template: {${key}}}`
const probe = (key: string): string => `${HEAD}spec: {probe: {${key}}}`

function problemsOf(text: string): string[] {
  const read = readWorkloadGroup(text, 'g.yaml', 'default')
  return 'problems' in read ? read.problems : []
}

describe('a workload group is read', () => {
  test.each(['v1', 'v1beta1', 'v1alpha3'])('of version %s', (version) => {
    const read = readWorkloadGroup(`${HEAD.replace('/v1', `/${version}`)}spec: {template: {}}`, 'g.yaml', 'default')
    expect(read).toMatchObject({
      value: { name: 'pay-vm', namespace: 'shop', template: { serviceAccount: 'default', network: '' } },
    })
  })

  test('as JSON, with what the API server adds', () => {
    const json = JSON.stringify({
      apiVersion: 'networking.istio.io/v1',
      kind: 'WorkloadGroup',
      metadata: { name: 'a', uid: 'u', resourceVersion: '7', managedFields: [{ manager: 'kubectl' }] },
      spec: {
        template: { service_account: 'vm', ports: { http: 80 } },
        probe: { http_get: { port: 80 }, period_seconds: 5 },
      },
      status: { conditions: [] },
    })
    expect(readWorkloadGroup(json, 'g.json', 'left')).toEqual({
      value: {
        name: 'a',
        namespace: 'left',
        annotations: {},
        workloadLabels: {},
        workloadAnnotations: {},
        template: { serviceAccount: 'vm', network: '', ports: { http: 80 }, labels: {} },
        probe: { httpGet: { port: 80 }, periodSeconds: 5 },
      },
    })
  })

  test('names of the user keep their spelling, keys without a value are left out', () => {
    const spec =
      'spec:\n  metadata: {labels: {my_label: x}, annotations: }\n  template: {ports: {my-port: 1}, network: }\n'
    const read = readWorkloadGroup(HEAD + spec, 'g.yaml', 'default')
    expect(read).toMatchObject({
      value: { workloadLabels: { my_label: 'x' }, template: { ports: { 'my-port': 1 }, network: '' } },
    })
  })

  test('between empty documents', () => {
    expect(problemsOf(`---\n${HEAD}spec: {}\n---\n`)).toEqual([])
  })
})

describe('what does not fit is named with line and key', () => {
  test.each([
    ['', ['g.yaml: is empty; it must hold one WorkloadGroup']],
    ['# nothing\n', ['g.yaml: is empty; it must hold one WorkloadGroup']],
    ['just text\n', ['g.yaml:1: must be a WorkloadGroup with apiVersion, kind, metadata and spec']],
    [
      `${HEAD}spec: {}\n---\n${HEAD}spec: {}\n`,
      ['g.yaml:6: begins a second document; name a file with one WorkloadGroup'],
    ],
    ['\tkind: x\n', ['g.yaml:1: Tabs are not allowed as indentation']],
    [HEAD, ['g.yaml:1: spec: is missing']],
    [HEAD.replace('WorkloadGroup', 'WorkloadEntry') + 'spec: {}', ['g.yaml:2: kind: must be WorkloadGroup']],
    [
      HEAD.replace('networking.istio.io/v1', 'v1') + 'spec: {}',
      [
        'g.yaml:1: apiVersion: must be one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3',
      ],
    ],
    [`${HEAD}spec:\n  templates: {}\n`, ['g.yaml:5: spec.templates: unknown field']],
    [`${HEAD}spec:\n  template:\n    prots: {}\n    network: n\n`, ['g.yaml:6: spec.template.prots: unknown field']],
    [
      `${HEAD}spec:\n  template:\n    ports:\n      http: 0\n`,
      ['g.yaml:7: spec.template.ports.http: must be a whole number from 1 to 65535'],
    ],
    [
      `${HEAD}spec:\n  template:\n    ports:\n      http: "80"\n`,
      ['g.yaml:7: spec.template.ports.http: must be a whole number from 1 to 65535'],
    ],
    [`${HEAD}spec:\n  metadata:\n    labels: {a: 1}\n`, ['g.yaml:6: spec.metadata.labels.a: must be a text']],
    [`${HEAD}spec:\n  probe:\n    httpGet: {path: /}\n`, ['g.yaml:6: spec.probe.httpGet.port: is missing']],
    [
      `${HEAD}spec:\n  probe:\n    httpGet: {port: 1}\n    exec: {command: [a]}\n`,
      ['g.yaml:6: spec.probe: takes one of httpGet and exec'],
    ],
    [
      HEAD.replace('pay-vm', 'Pay_VM') + 'spec: {}',
      ['g.yaml:3: metadata.name: must be a Kubernetes name (lower-case letters, digits, "-" and ".")'],
    ],
    [`${HEAD}spec: x`, ['g.yaml:4: spec: must be a section of keys']],
    [
      HEAD.replace(/metadata:.*/s, 'metadata: x\nspec: {}'),
      ['g.yaml:3: metadata: must be a section with name and namespace'],
    ],
    [template('ports: {"a b": 1}'), ['g.yaml:4: spec.template.ports.a b: must be a section of port numbers']],
    [template('ports: [1]'), ['g.yaml:4: spec.template.ports: must be a section of port numbers']],
    [template('ports: {a: 1.5}'), ['g.yaml:4: spec.template.ports.a: must be a whole number from 1 to 65535']],
    [template('labels: 1'), ['g.yaml:4: spec.template.labels: must be a section of texts']],
    [template(`address: ${'a'.repeat(257)}`), ['g.yaml:4: spec.template.address: must be at most 256 characters']],
    [template('weight: -1'), ['g.yaml:4: spec.template.weight: must be a whole number from 0 to 4294967295']],
    [probe('exec: {command: []}'), ['g.yaml:4: spec.probe.exec.command: must not be empty']],
    [probe('exec: {command: a}'), ['g.yaml:4: spec.probe.exec.command: must be a list of texts']],
    [probe('httpGet: {port: 1, scheme: FTP}'), ['g.yaml:4: spec.probe.httpGet.scheme: must be HTTP or HTTPS']],
    [
      probe('httpGet: {port: 1, httpHeaders: {a: b}}'),
      ['g.yaml:4: spec.probe.httpGet.httpHeaders: must be a list of name and value'],
    ],
    [
      probe('httpGet: {port: 1, httpHeaders: [{name: 1}]}'),
      [
        'g.yaml:4: spec.probe.httpGet.httpHeaders[0].name: must be a text',
        'g.yaml:4: spec.probe.httpGet.httpHeaders[0].value: is missing',
      ],
    ],
  ])('%j', (text, problems) => {
    expect(problemsOf(text)).toEqual(problems)
  })

  test('at most ten of them', () => {
    const ports = Array.from({ length: 20 }, (_, index) => `p${index}: 0`).join(', ')
    expect(problemsOf(`${HEAD}spec: {template: {ports: {${ports}}}}`)).toHaveLength(10)
  })
})
