/**
 * What Istio's injector makes of pods with the chart's template. The golden files are its output; where istioctl is at hand
 * (`.ci/run --long`) they are made again and compared.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { objectsIn, whyNoHelm } from '../helm.ts'
import { containersOf, envOf, namesOf, type Pod, podOf } from '../injected-pod.ts'
import { type Definitions, definitionOf, faultsOf } from '../schema.ts'
import { inject, ISTIOCTL, ISTIOD_CHART, type World, WORLDS } from './injector.ts'

const SCHEMAS = JSON.parse(readFileSync(join(import.meta.dirname, '../schemas.json'), 'utf8')) as Definitions
/** Which pods are injected in which worlds. */
const FILES: [pods: string, world: string][] = Object.keys(WORLDS)
  .map((world): [string, string] => ['common', world])
  .concat([
    ['special', 'native-cni'],
    ['special', 'container-init'],
  ])
const FOUR = Object.entries(WORLDS).filter(([name]) => name !== 'revision')

function goldenFile(pods: string, world: string): string {
  return join(import.meta.dirname, 'goldens', `${pods}-${world}.yaml`)
}

function injected(pods: string, world: string, name: string): Pod {
  return podOf(objectsIn(readFileSync(goldenFile(pods, world), 'utf8')).find(({ metadata }) => metadata.name === name)!)
}

describe.skipIf(ISTIOCTL === undefined || ISTIOD_CHART === undefined || whyNoHelm !== null)("Istio's injector", () => {
  test.each(FILES)('pods %s in world %s: as in the golden file (UPDATE_GOLDENS=1 writes it)', (pods, world) => {
    const out = inject(join(import.meta.dirname, 'pods', `${pods}.yaml`), WORLDS[world]!)
    const file = goldenFile(pods, world)
    if (process.env['UPDATE_GOLDENS'] === '1' || !existsSync(file)) writeFileSync(file, out)
    expect(out).toBe(readFileSync(file, 'utf8'))
  })
})

test.each(FILES)(
  'pods %s in world %s: objects that Kubernetes knows, each name once, each mount of a volume',
  (pods, world) => {
    const objects = objectsIn(readFileSync(goldenFile(pods, world), 'utf8'))
    for (const object of objects) {
      const name = object.metadata.name
      expect(faultsOf(object, { $ref: definitionOf(object.apiVersion, object.kind) }, SCHEMAS, name)).toEqual([])
      const pod = injected(pods, world, name)
      const names = namesOf(containersOf(pod))
      expect(names).toEqual([...new Set(names)])
      const volumes = (pod.spec.volumes ?? []).map((volume) => volume.name)
      expect(volumes).toEqual([...new Set(volumes)])
      for (const { env = [], volumeMounts = [] } of containersOf(pod)) {
        const variables = env.map((variable) => variable.name)
        expect(variables).toEqual([...new Set(variables)])
        for (const mount of volumeMounts) expect(volumes).toContain(mount.name)
      }
    }
  },
)

describe.each(FOUR)('%s', (name, world: World) => {
  const first = world.hasCni ? 'istio-validation' : 'istio-init'
  const order = (own: string[]): { initContainers: string[]; containers: string[] } =>
    world.isNative
      ? { initContainers: [first, 'istio-proxy', 'byname', ...own], containers: [] }
      : {
          initContainers: world.hasCni ? [first, 'byname', ...own] : ['byname', ...own, first],
          containers: ['istio-proxy'],
        }

  test.each<[pod: string, own: string[], containers: string[]]>([
    ['plain', [], ['app']],
    ['init', ['migrate', 'warm'], ['app', 'helper']],
    ['job', ['fetch'], ['app']],
  ])("%s: byname comes before the application's own init containers %j", (pod, own, containers) => {
    const { spec } = injected('common', name, pod)
    const expected = order(own)
    expect(namesOf(spec.initContainers)).toEqual(expected.initContainers)
    expect(namesOf(spec.containers)).toEqual([...containers, ...expected.containers])
    expect(spec.initContainers!.find((container) => container.name === 'byname')!.restartPolicy).toBe('Always')
  })

  test('host-network: nothing is injected', () => {
    expect(namesOf(containersOf(injected('common', name, 'host-network')))).toEqual(['app'])
  })

  test.each(['plain', 'init', 'job'])('%s: port 15053 is byname’s, and Envoy keeps its automatic addresses', (pod) => {
    const template = injected('common', name, pod)
    const proxy = envOf(template, 'istio-proxy')
    if (world.hasCni) {
      // The plugin reads istio-proxy alone; the agent moves.
      expect(proxy).toMatchObject({ ISTIO_META_DNS_CAPTURE: 'true', DNS_PROXY_ADDR: '127.0.0.1:15055' })
      expect(proxy).not.toHaveProperty('ISTIO_METAJSON_BYNAME')
    } else {
      // The agent has no DNS server and no table of its own; Envoy's node says otherwise.
      expect(proxy).toMatchObject({ ISTIO_META_DNS_CAPTURE: 'false', ISTIO_METAJSON_BYNAME: '{"DNS_CAPTURE":"true"}' })
      expect(proxy).not.toHaveProperty('DNS_PROXY_ADDR')
      expect(envOf(template, 'istio-init')).toEqual({ ISTIO_META_DNS_CAPTURE: 'true' })
    }
    const own = envOf(template, 'byname')
    expect(own).toMatchObject({
      CA_ADDR: 'istiod.istio-system.svc:15012',
      ISTIO_META_DNS_CAPTURE: 'true',
      ISTIO_META_CLUSTER_ID: 'Kubernetes',
      TRUST_DOMAIN: 'cluster.local',
    })
    expect(own).not.toHaveProperty('DNS_PROXY_ADDR')
  })

  test('byname: user and volumes of Istio’s proxy, no privileges, a probe that Istio leaves alone', () => {
    const pod = injected('common', name, 'plain')
    const byname = containersOf(pod).find((container) => container.name === 'byname')!
    const proxy = containersOf(pod).find((container) => container.name === 'istio-proxy')!
    expect(byname.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: proxy.securityContext!['runAsGroup'],
      runAsNonRoot: true,
      runAsUser: proxy.securityContext!['runAsUser'],
      seccompProfile: { type: 'RuntimeDefault' },
    })
    const mounts = Object.fromEntries(byname.volumeMounts!.map((mount) => [mount.name, mount.mountPath]))
    const theirs = Object.fromEntries(proxy.volumeMounts!.map((mount) => [mount.name, mount.mountPath]))
    const shared = ['istio-token', 'istiod-ca-cert', 'istio-podinfo']
    expect(mounts).toEqual({
      'byname-state': '/var/lib/byname',
      ...Object.fromEntries(shared.map((each) => [each, theirs[each]])),
    })
    expect(byname.startupProbe).toMatchObject({ exec: { command: ['byname', 'health', '--ready', '--wait', '30s'] } })
    expect(Object.keys(byname).filter((key) => /Probe$|^lifecycle$/.test(key))).toEqual(['startupProbe'])
    expect(envOf(pod, 'istio-proxy')).not.toHaveProperty('ISTIO_KUBE_APP_PROBERS')
  })

  test('Prometheus gets both from the agent', () => {
    const pod = injected('common', name, 'plain')
    expect(pod.metadata.annotations).toMatchObject({
      'prometheus.io/port': '15020',
      'prometheus.io/path': '/stats/prometheus',
    })
    expect(targetsOf(pod)).toEqual([{ port: '9153', path: '/metrics/byname' }])
  })
})

test("a revision's pod looks for the revision's istiod", () => {
  const pod = injected('common', 'revision', 'plain')
  const own = envOf(pod, 'byname')
  expect(own['CA_ADDR']).toBe('istiod-1-31-0.istio-system.svc:15012')
  expect(JSON.parse(own['PROXY_CONFIG']!)).toMatchObject({ discoveryAddress: 'istiod-1-31-0.istio-system.svc:15012' })
  expect(pod.metadata.annotations).toMatchObject({ 'byname.io/rev': '1-31-0', 'istio.io/rev': '1-31-0' })
})

describe.each(['native-cni', 'container-init'])('special pods in %s', (name) => {
  const isCni = WORLDS[name]!.hasCni

  test("DNS capture that is on already, and an agent that is elsewhere: byname's way wins, and byname stays at 15053", () => {
    const pod = injected('special', name, 'captured-before')
    expect(envOf(pod, 'istio-proxy')).toMatchObject(
      isCni
        ? { ISTIO_META_DNS_CAPTURE: 'true', DNS_PROXY_ADDR: '127.0.0.1:15055' }
        : { ISTIO_META_DNS_CAPTURE: 'false' },
    )
    const own = envOf(pod, 'byname')
    expect(own).toMatchObject({ ISTIO_META_DNS_CAPTURE: 'true', ISTIO_META_DNS_AUTO_ALLOCATE: 'true', OTHER: 'a: b' })
    expect(own).not.toHaveProperty('DNS_PROXY_ADDR')
  })

  test("an application's own metrics stay", () => {
    const own = { port: '9153', path: '/metrics/byname' }
    expect(targetsOf(injected('special', name, 'scraped'))).toEqual([{ port: '8080', path: '/stats' }, own])
    expect(targetsOf(injected('special', name, 'scraped-targets'))).toEqual([
      { port: '8080', path: '/a' },
      { port: '8081', path: '/b' },
      own,
    ])
  })

  test('an istio-proxy of the pod’s own is patched, not doubled', () => {
    const pod = injected('special', name, 'own-proxy')
    expect(envOf(pod, 'istio-proxy')).toMatchObject({ MINE: '1', ISTIO_META_DNS_CAPTURE: isCni ? 'true' : 'false' })
  })

  test.each([
    ['native-by-annotation', true],
    ['not-native-by-annotation', false],
  ])('%s: istio-proxy is where the annotation has it, once', (pod, isNative) => {
    const { spec } = injected('special', name, pod)
    expect(namesOf(spec.initContainers).includes('istio-proxy')).toBe(isNative)
    expect(namesOf(spec.containers).includes('istio-proxy')).toBe(!isNative)
  })

  test('TPROXY: byname is not root, and exempt by its group', () => {
    const byname = containersOf(injected('special', name, 'tproxy')).find((container) => container.name === 'byname')!
    expect(byname.securityContext).toMatchObject({ runAsUser: 1337, runAsGroup: 1337, runAsNonRoot: true })
  })

  test.each([
    ['not-intercepted', /interception mode is NONE/],
    ['unwanted', /label byname\.io\/inject=false/],
  ])('%s: no byname, the agent keeps its port, and an annotation says why', (pod, why) => {
    const template = injected('special', name, pod)
    expect(namesOf(containersOf(template))).not.toContain('byname')
    expect(envOf(template, 'istio-proxy')).not.toHaveProperty('DNS_PROXY_ADDR')
    expect(envOf(template, 'istio-proxy')).not.toHaveProperty('ISTIO_META_DNS_CAPTURE')
    expect(template.metadata.annotations?.['byname.io/skipped']).toMatch(why)
  })
})

/** What the agent scrapes for the pod, besides Envoy. */
function targetsOf(pod: Pod): unknown {
  return JSON.parse(envOf(pod, 'istio-proxy')['ISTIO_PROMETHEUS_ANNOTATIONS']!).targets
}
