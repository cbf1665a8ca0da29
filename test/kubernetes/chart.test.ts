/** The Helm chart: what it renders is in the golden files beside this one, and every object in them is one of Kubernetes. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { variableOf } from '../../src/config/environment.ts'
import { configSchema } from '../../src/config/schema.ts'
import { type Leaf, leavesOf, wordsOf } from '../../src/config/schema-keys.ts'
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

  test('every setting of byname has the variable that byname reads, over what the chart sets itself', () => {
    const leaves = leavesOf(configSchema).filter(({ path }) => !['listen', 'metrics', 'admin'].includes(path[0]!))
    const config = leaves.reduceRight<object>((whole, leaf) => withLeaf(whole, leaf.path, valueOf(leaf)), {})
    const { out, err } = render(['--set', 'mode=node', '--set-json', `config=${JSON.stringify(config)}`])
    expect(err).toBe('')
    const { spec } = objectsIn(out).find(({ kind }) => kind === 'DaemonSet') as unknown as { spec: DaemonSetSpec }
    const variables = spec.template.spec.containers[0]!.env.filter(({ name }) => name.startsWith('BYNAME_'))
    const expected = leaves.map((leaf): [string, string] => [variableOf(leaf.path), valueOf(leaf)])
    const own = ['BYNAME_ACCESS', 'BYNAME_IDENTITY_DOMAIN', 'BYNAME_LISTEN', 'BYNAME_METRICS_LISTEN']
    const read = Object.fromEntries(variables.map(({ name, value }) => [name, value]))
    expect(read).toMatchObject(Object.fromEntries(expected))
    expect(
      Object.keys(read).filter((name) => !own.includes(name) && !expected.some(([known]) => known === name)),
    ).toEqual([])
  })

  test.each<[seconds: number, waitFor: string, probe: object]>([
    [600, 'table', { command: '--ready,--wait,30s', timeoutSeconds: 35, failureThreshold: 20 }],
    [45, 'answering', { command: '--wait,30s', timeoutSeconds: 35, failureThreshold: 2 }],
    [30, 'table', { command: '--ready,--wait,30s', timeoutSeconds: 35, failureThreshold: 1 }],
    [1, 'table', { command: '--ready,--wait,1s', timeoutSeconds: 6, failureThreshold: 1 }],
    [86400, 'table', { command: '--ready,--wait,30s', timeoutSeconds: 35, failureThreshold: 2880 }],
  ])('a start may take %i seconds: one program waits for the %s, and ends before the kubelet ends it', (...given) => {
    const [seconds, waitFor, expected] = given
    const sets = ['--set', `startup.seconds=${seconds}`, '--set', `startup.waitFor=${waitFor}`]
    const { out, err } = render(['--set', 'injection.mode=none', ...sets])
    expect(err).toBe('')
    const pod = parse(dataOf(objectsIn(out)[0])['pod.yaml']!)
    const { exec, ...probe } = pod.spec.initContainers[0].startupProbe
    expect(exec.command.slice(0, 2)).toEqual(['byname', 'health'])
    expect({ ...probe, command: exec.command.slice(2).join() }).toEqual({ ...expected, periodSeconds: 1 })
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
    // Nobody rewrites them here, and no probe starts a program.
    expect(pod.containers[0]).toMatchObject({
      startupProbe: { httpGet: { path: '/readyz', port: 'byname-metrics' } },
      readinessProbe: { httpGet: { path: '/healthz', port: 'byname-metrics' } },
    })
    const service = objects.find(({ kind }) => kind === 'Service')
    expect(service?.['spec']).toMatchObject({
      internalTrafficPolicy: 'Local',
      publishNotReadyAddresses: true,
      selector: spec.selector.matchLabels,
    })
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
/** One that the key takes, as far as the chart can know. */
function valueOf(leaf: Leaf): string {
  return wordsOf(leaf)?.[0] ?? 'x'
}

function withLeaf(whole: object, [key, ...rest]: readonly string[], value: string): object {
  const below = (whole as Record<string, object>)[key!] ?? {}
  return { ...whole, [key!]: rest.length === 0 ? value : withLeaf(below, rest, value) }
}
