/** The Helm chart: what it renders is in the golden files beside this one, and every object in them is one of Kubernetes. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { variableOf } from '../../src/config/environment.ts'
import { configSchema } from '../../src/config/schema.ts'
import { leavesOf } from '../../src/config/schema-keys.ts'
import { CHART_CASES } from './chart-cases.ts'
import { CHART, dataOf, helm, type KubernetesObject, objectsIn, render, whyNoHelm } from './helm.ts'
import { type Definitions, definitionOf, faultsOf } from './schema.ts'

const GOLDENS = join(import.meta.dirname, 'chart')
const SCHEMAS = JSON.parse(readFileSync(join(import.meta.dirname, 'schemas.json'), 'utf8')) as Definitions
const CASES = Object.entries(CHART_CASES)

if (whyNoHelm !== null) process.stderr.write(`NOT TESTED, what the Helm chart renders: ${whyNoHelm}\n`)

function golden(name: string): string {
  return readFileSync(join(GOLDENS, `${name}.yaml`), 'utf8')
}

function faults(object: KubernetesObject): string[] {
  const definition = definitionOf(object.apiVersion, object.kind)
  return faultsOf(object, { $ref: definition }, SCHEMAS, object.kind)
}

describe.skipIf(whyNoHelm !== null)('helm', () => {
  test.each(CASES)('template %s: renders its golden file (UPDATE_GOLDENS=1 writes it)', (name, args) => {
    const { code, out, err } = render(args)
    expect(err).toBe('')
    expect(code).toBe(0)
    if (process.env['UPDATE_GOLDENS'] === '1') writeFileSync(join(GOLDENS, `${name}.yaml`), out)
    expect(out).toBe(golden(name))
  })

  test.each(CASES)('lint --strict %s: is content', (_, args) => {
    const { code, out, err } = helm('lint', '--strict', '--kube-version', '1.37', ...args, CHART)
    expect(`${out}${err}`).not.toMatch(/\[(?:WARNING|ERROR)\]/)
    expect(code).toBe(0)
  })

  test.each<[what: string, args: string[], line: RegExp]>([
    [
      'no policy API',
      ['--set', 'injection.mode=policy', '--kube-version', '1.35'],
      /injection\.mode: policy needs MutatingAdmissionPolicy \(Kubernetes 1\.36 or later\), and this cluster is Kubernetes v1\.35: use injection\.mode=template/,
    ],
    [
      'an old Kubernetes',
      ['--kube-version', '1.28.3'],
      /this cluster is Kubernetes v1\.28\.3: byname needs 1\.29 or later/,
    ],
    [
      'an old Istio',
      ['--set', 'istio.version=1.26.4'],
      /istio\.version: byname's template and policy need Istio 1\.27 or later, not 1\.26\.4/,
    ],
    [
      'a long revision',
      ['--set', `revision=${'a'.repeat(57)}`],
      /revision: "a{57}" has 57 characters, and may have 56: istiod's Service/,
    ],
    [
      'a long name',
      ['--set', `fullnameOverride=${'a'.repeat(53)}`],
      /fullnameOverride: "a{53}" has 53 characters, and may have 52/,
    ],
    [
      'a long tag',
      ['--set', 'injection.mode=policy', '--set', `revisionTags={${'a'.repeat(43)}}`],
      /revisionTags: "a{43}" has 43 characters, and may have 42/,
    ],
    [
      'a revision that is no name',
      ['--set', 'revision=Canary_1'],
      /revision: "Canary_1" may have small letters, digits and hyphens only/,
    ],
    [
      'revision default',
      ['--set', 'revision=default'],
      /revision: "default" is the revision without a name; leave the value empty/,
    ],
    ['tags without policy', ['--set', 'revisionTags={prod}'], /revisionTags: only injection\.mode=policy has them/],
    [
      'a PodMonitor of merged metrics',
      ['--set', 'podMonitor.enabled=true'],
      /podMonitor\.enabled: needs metrics\.scrape=direct, not merged/,
    ],
    [
      'a link-local address without a program to add it',
      ['--set', 'mode=node', '--set', 'node.linkLocalAddress=169.254.20.53'],
      /node\.linkLocalAddress: needs node\.addressImage, an image with the program ip/,
    ],
    [
      'a link-local address in the pod network',
      ['--set', 'mode=node', '--set', 'node.linkLocalAddress=169.254.20.53', '--set', 'node.hostNetwork=false'],
      /node\.linkLocalAddress: needs node\.hostNetwork=true/,
    ],
    ["Istio's port", ['--set', 'metrics.port=15020'], /metrics\.port: 15020 is a port of Istio's or byname's/],
    ['a variable of the chart', ['--set', 'env.POD_NAME=x'], /env\.POD_NAME: belongs to the chart; remove it/],
    [
      'a setting of the chart',
      ['--set', 'config.listen=127.0.0.1:53'],
      /config\.listen: belongs to the chart; remove it/,
    ],
  ])('%s: one line that names the value and the remedy, and no output', (_, args, line) => {
    const { code, out, err } = helm('template', 'byname', CHART, ...withKubernetes(args))
    expect(code).toBe(1)
    expect(out).toBe('')
    const lines = err.split('\n').filter((each) => each !== '' && !each.startsWith('Use --debug'))
    expect(lines).toEqual([expect.stringMatching(line)])
    expect(lines[0]).not.toMatch(/error calling|<.*>|\{\{/)
  })

  test.each<[what: string, args: string[], line: string]>([
    ['a text for a number', ['--set', 'metrics.port=dns'], "- at '/metrics/port': got string, want integer"],
    ['a number for a text', ['--set', 'revision=12'], "- at '/revision': got number, want string"],
    [
      'a text for a boolean',
      ['--set-string', 'podMonitor.enabled=true'],
      "- at '/podMonitor/enabled': got string, want boolean",
    ],
    ['a text for a list', ['--set', 'revisionTags=prod'], "- at '/revisionTags': got string, want array"],
    ['a text for a map', ['--set', 'config=x'], "- at '/config': got string, want object"],
    ['a list for a map', ['--set', 'resources={a}'], "- at '/resources': got array, want object"],
    [
      'no such mode',
      ['--set', 'injection.mode=webhook'],
      "- at '/injection/mode': value must be one of 'template', 'policy', 'none'",
    ],
    ['a misspelt key', ['--set', 'injektion.mode=policy'], "- at '': additional properties 'injektion' not allowed"],
    [
      'a digest that is none',
      ['--set', 'image.digest=latest'],
      "- at '/image/digest': 'latest' does not match pattern",
    ],
    ['a port out of range', ['--set', 'metrics.port=70000'], "- at '/metrics/port': maximum: got 70,000, want 65,535"],
  ])('%s: one line with its path, before any template runs', (_, args, line) => {
    const { code, err } = helm('template', 'byname', CHART, ...withKubernetes(args))
    expect(code).toBe(1)
    expect(err.split('\n').filter((each) => each.startsWith('- at'))).toEqual([expect.stringContaining(line)])
    expect(err).not.toMatch(/template:|execution error/)
  })

  test('every value of values.yaml has a comment and a place in the schema', () => {
    const text = readFileSync(join(CHART, 'values.yaml'), 'utf8')
    const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'))
    const undocumented: string[] = []
    const missing: string[] = []
    let commented = false
    const at: string[] = []
    for (const line of text.split('\n')) {
      const [, indent, key, rest] = /^( *)([A-Za-z]\w*):(.*)$/.exec(line) ?? []
      if (line.trim().startsWith('#')) commented = true
      else if (line.trim() === '') commented = false
      else if (key !== undefined) {
        at.length = indent!.length / 2
        at.push(key)
        // A section may leave the comment to its keys; keys in a row share the comment above them.
        if (!commented && at.length === 1 && rest !== '') undocumented.push(at.join('.'))
        let place = schema
        for (const step of at) place = place?.properties?.[step]
        if (place === undefined && !isInside(schema, at)) missing.push(at.join('.'))
      }
    }
    expect({ undocumented, missing }).toEqual({ undocumented: [], missing: [] })
  })

  test('every setting of byname has the variable that byname reads, over what the chart sets itself', () => {
    const paths = leavesOf(configSchema)
      .map(({ path }) => path)
      .filter(([section]) => !['listen', 'metrics', 'admin'].includes(section!))
    const config = paths.reduceRight<object>((whole, path) => withLeaf(whole, path), {})
    const { out, err } = render(['--set', 'mode=node', '--set-json', `config=${JSON.stringify(config)}`])
    expect(err).toBe('')
    const { spec } = objectsIn(out).find(({ kind }) => kind === 'DaemonSet') as unknown as { spec: DaemonSetSpec }
    const variables = spec.template.spec.containers[0]!.env.filter(({ name }) => name.startsWith('BYNAME_'))
    const expected = paths.map((path): [string, string] => [variableOf(path), 'x'])
    const own = ['BYNAME_ACCESS', 'BYNAME_IDENTITY_DOMAIN', 'BYNAME_LISTEN', 'BYNAME_METRICS_LISTEN']
    const read = Object.fromEntries(variables.map(({ name, value }) => [name, value]))
    expect(read).toMatchObject(Object.fromEntries(expected))
    expect(
      Object.keys(read).filter((name) => !own.includes(name) && !expected.some(([known]) => known === name)),
    ).toEqual([])
  })

  test('rules and dashboard are those of config/prometheus and config/grafana, behind a value each', () => {
    const config = join(CHART, '../..')
    const rules = readFileSync(join(config, 'prometheus/byname.rules.yaml'), 'utf8')
    const board = readFileSync(join(config, 'grafana/byname.json'), 'utf8')
    const { out } = render(['--set', 'prometheusRule.enabled=true', '--set', 'dashboard.enabled=true'])
    const objects = objectsIn(out)
    const rule = objects.find(({ kind }) => kind === 'PrometheusRule')
    expect(rule?.['spec']).toEqual(parse(rules))
    const dashboard = objects.find(({ metadata }) => metadata.name === 'byname-dashboard')
    expect(JSON.parse(dataOf(dashboard)['byname.json']!)).toEqual(JSON.parse(board))
    expect(objects.flatMap(faults)).toEqual([])
    expect(objectsIn(render([]).out).map(({ kind }) => kind)).toEqual(['ConfigMap'])
  })
})

describe('what the chart renders', () => {
  test('has a golden file for each case, and no other', () => {
    expect(readdirSync(GOLDENS).toSorted()).toEqual(CASES.map(([name]) => `${name}.yaml`).toSorted())
  })

  test.each(CASES)('%s: objects that Kubernetes 1.37 and the Prometheus operator know, each field', (name) => {
    const objects = objectsIn(golden(name))
    expect(objects.length).toBeGreaterThan(0)
    expect(objects.flatMap(faults)).toEqual([])
    for (const { metadata } of objects) {
      expect(metadata.labels).toMatchObject({
        'app.kubernetes.io/name': 'byname',
        'app.kubernetes.io/instance': 'byname',
      })
    }
  })

  test('and a fault in an object is found', () => {
    const daemonSet = objectsIn(golden('node')).find(({ kind }) => kind === 'DaemonSet')!
    const spoilt = JSON.parse(
      JSON.stringify(daemonSet).replace('"hostNetwork":true', '"hostNetwork":"true","hostNetwrok":true'),
    )
    delete spoilt.spec.selector
    expect(faults(spoilt)).toEqual([
      'DaemonSet.spec.selector: is missing',
      'DaemonSet.spec.template.spec.hostNetwork: is no boolean',
      'DaemonSet.spec.template.spec.hostNetwrok: is unknown',
    ])
  })

  test('node mode: one on each node, full names only, a token for istiod, out of the way of Istio and of evictions', () => {
    const objects = objectsIn(golden('node'))
    const { spec } = objects.find(({ kind }) => kind === 'DaemonSet') as unknown as { spec: DaemonSetSpec }
    expect(spec.updateStrategy).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1 } })
    const pod = spec.template.spec
    expect(pod).toMatchObject({
      hostNetwork: true,
      dnsPolicy: 'ClusterFirstWithHostNet',
      priorityClassName: 'system-node-critical',
      automountServiceAccountToken: false,
    })
    expect(spec.template.metadata.labels).toMatchObject({
      'sidecar.istio.io/inject': 'false',
      'istio.io/dataplane-mode': 'none',
    })
    const env = Object.fromEntries(pod.containers[0]!.env.map(({ name, value }) => [name, value]))
    expect(env).toMatchObject({ BYNAME_MESH_SHORT_NAMES: 'none', BYNAME_LISTEN: '$(HOST_IP):53' })
    expect(pod.volumes).toContainEqual({
      name: 'istio-token',
      projected: {
        sources: [{ serviceAccountToken: { path: 'istio-token', expirationSeconds: 43200, audience: 'istio-ca' } }],
      },
    })
    expect(pod.volumes).toContainEqual({ name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } })
    const service = objects.find(({ kind }) => kind === 'Service')
    expect(service?.['spec']).toMatchObject({ internalTrafficPolicy: 'Local', selector: spec.selector.matchLabels })
  })

  test('node mode with a link-local address: added before byname starts, by a container that may do that alone', () => {
    const { spec } = objectsIn(golden('node-link-local')).find(({ kind }) => kind === 'DaemonSet') as unknown as {
      spec: DaemonSetSpec
    }
    const { initContainers, containers } = spec.template.spec
    expect(initContainers).toMatchObject([
      {
        command: ['ip', 'address', 'replace', '169.254.20.53/32', 'dev', 'lo'],
        securityContext: { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } },
      },
    ])
    expect(containers[0]!.env).toContainEqual({ name: 'BYNAME_LISTEN', value: '$(HOST_IP):53,169.254.20.53:53' })
    // What it is made of stands before it.
    const names = containers[0]!.env.map(({ name }) => name)
    expect(names.indexOf('HOST_IP')).toBeLessThan(names.indexOf('BYNAME_LISTEN'))
  })

  test('every setting in an environment is one that byname reads', async () => {
    const { readEnvironment } = await import('../../src/config/environment.ts')
    for (const [name] of CASES) {
      const names = [...golden(name).matchAll(/\bBYNAME_[A-Z_]+/g)].map(([variable]) => variable)
      const { warnings } = readEnvironment(Object.fromEntries(names.map((variable) => [variable, '1'])))
      expect([name, warnings]).toEqual([name, []])
    }
  })
})

interface DaemonSetSpec {
  selector: { matchLabels: Record<string, string> }
  updateStrategy: unknown
  template: {
    metadata: { labels: Record<string, string> }
    spec: { containers: { env: { name: string; value?: string }[] }[]; volumes: unknown[]; [key: string]: unknown }
  }
}

/** `whole` with the text "x" at the path. */
function withLeaf(whole: object, [key, ...rest]: readonly string[]): object {
  const below = (whole as Record<string, object>)[key!] ?? {}
  return { ...whole, [key!]: rest.length === 0 ? 'x' : withLeaf(below, rest) }
}

/** The arguments, and a Kubernetes that has everything unless they name one. */
function withKubernetes(args: readonly string[]): string[] {
  return args.includes('--kube-version') ? [...args] : [...args, '--kube-version', '1.37']
}

/** Whether the path leads into a map whose keys the schema leaves open. */
function isInside(schema: unknown, path: readonly string[]): boolean {
  let place = schema as
    | { properties?: Record<string, unknown>; $ref?: string; additionalProperties?: unknown }
    | undefined
  for (const step of path) {
    if (place?.$ref !== undefined || place?.properties === undefined) return true
    place = place.properties[step] as typeof place
    if (place === undefined) return false
  }
  return true
}
