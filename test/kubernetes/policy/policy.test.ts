/**
 * The MutatingAdmissionPolicy. The golden files are what a real API server made of pods, with a webhook in which Istio's own
 * injector runs; they are compared with what the template makes of the same pods. Where the programs are at hand
 * (`.ci/run --long`) the golden files are made again.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { parse, stringify } from 'yaml'
import { CHART, helm, type KubernetesObject, objectsIn, render, whyNoHelm } from '../helm.ts'
import { containersOf, namesOf, type Pod, podOf, type PodSummary, summaryOf } from '../injected-pod.ts'
import { inject, ISTIOCTL, ISTIOD_CHART, type World, WORLDS } from '../injection/injector.ts'
import { ApiServer, HYPER } from './api-server.ts'

const FOUR = Object.keys(WORLDS).filter((name) => name !== 'revision')
const PODS = join(import.meta.dirname, '../injection/pods')

function goldenFile(world: string): string {
  return join(import.meta.dirname, 'goldens', `${world}.yaml`)
}

/** Pods to be made, as an application's author writes them: no template is asked for. */
function pods(): Pod[] {
  const objects = ['common', 'special'].flatMap((name) => objectsIn(readFileSync(join(PODS, `${name}.yaml`), 'utf8')))
  return objects.map(podOf).map((pod) => {
    const { 'inject.istio.io/templates': _, ...annotations } = pod.metadata.annotations ?? {}
    // Its token is refused for a pod without one; nobody gives it the default here.
    return { ...pod, metadata: { ...pod.metadata, annotations }, spec: { ...pod.spec, serviceAccountName: 'default' } }
  })
}

const isHere = HYPER !== undefined && ISTIOCTL !== undefined && ISTIOD_CHART !== undefined && whyNoHelm === null

describe.skipIf(!isHere)('a real API server', { timeout: 120_000 }, () => {
  let api: ApiServer
  let webhook: Webhook

  beforeAll(async () => {
    api = await ApiServer.start()
    webhook = await Webhook.start()
    await api.create(objectsIn(render(['--set', 'injection.mode=policy']).out))
    const release = ['--set', 'injection.mode=policy', '--set', 'revision=1-31-0', '--set', 'revisionTags={prod,both}']
    await api.create(
      objectsIn(render([...release, '--set', 'fullnameOverride=byname-new', '--set', 'image.tag=new']).out),
    )
    const old = ['--set', 'injection.mode=policy', '--set', 'revision=1-30-0', '--set', 'revisionTags={both}']
    await api.create(objectsIn(render([...old, '--set', 'fullnameOverride=byname-old', '--set', 'image.tag=old']).out))
    const namespaces: Record<string, Record<string, string>> = {
      shop: { 'byname.io/rev': 'default' },
      'by-inject': { 'byname.io/inject': 'true' },
      'by-revision': { 'byname.io/rev': '1-31-0' },
      'by-tag': { 'byname.io/rev': 'prod' },
      'by-both': { 'byname.io/rev': 'both', 'byname.io/inject': 'true' },
      'by-nobody': {},
    }
    await api.create(
      Object.entries(namespaces).map(([name, labels]) => ({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels },
      })),
    )
    await api.create([webhook.configuration()])
    // Each policy takes a moment to be in force.
    for (const namespace of Object.keys(namespaces).filter((name) => name !== 'by-nobody')) {
      await vi.waitFor(
        async () => expect(namesOf(containersOf(await create('plain', namespace)))).toContain('byname'),
        { timeout: 60_000, interval: 300 },
      )
    }
  }, 300_000)

  afterAll(async () => {
    await webhook?.stop()
    await api?.stop()
  })

  async function create(name: string, namespace: string): Promise<Pod> {
    const pod = pods().find(({ metadata }) => metadata.name === name)!
    const asked = { ...pod, apiVersion: 'v1', kind: 'Pod', metadata: { ...pod.metadata, namespace } }
    const { status, object } = await api.call('POST', `/api/v1/namespaces/${namespace}/pods?dryRun=All`, asked)
    expect([name, status, object.message]).toEqual([name, 201, undefined])
    return podOf(object)
  }

  test.each(FOUR)('%s: as in the golden file (UPDATE_GOLDENS=1 writes it)', async (name) => {
    webhook.world = WORLDS[name]!
    const made: PodSummary[] = []
    for (const pod of pods()) made.push(summaryOf(await create(pod.metadata.name, 'shop')))
    const out = stringify(made, { lineWidth: 0, aliasDuplicateObjects: false })
    const file = goldenFile(name)
    if (process.env['UPDATE_GOLDENS'] === '1' || !existsSync(file)) writeFileSync(file, out)
    expect(out).toBe(readFileSync(file, 'utf8'))
  })

  test.each([
    ['by-inject', 'byname:0.1.0'],
    ['by-revision', 'byname:new'],
    ['by-tag', 'byname:new'],
  ])('namespace %s: %s', async (namespace, image) => {
    const pod = await create('init', namespace)
    expect(containersOf(pod).filter(({ name }) => name === 'byname')).toMatchObject([{ image }])
  })

  test('a tag of two releases, while it moves: one byname', async () => {
    expect(namesOf(containersOf(await create('plain', 'by-both'))).filter((name) => name === 'byname')).toHaveLength(1)
  })

  test('a namespace without a label: none', async () => {
    expect(namesOf(containersOf(await create('plain', 'by-nobody')))).not.toContain('byname')
  })
})

describe.skipIf(!isHere)('helm on a real API server', { timeout: 120_000 }, () => {
  let api: ApiServer
  beforeAll(async () => void (api = await ApiServer.start()), 120_000)
  afterAll(async () => await api?.stop())

  test('without Istio, without the revision, with an old Istio: one line each; then it installs, and leaves nothing', async () => {
    expect(install(api, 'byname').problem).toMatch(
      /: istiod is not in namespace istio-system \(there is no ConfigMap istio-sidecar-injector\): install Istio first, or set istio\.namespace and revision$/,
    )
    expect(install(api, 'byname-node', '--set', 'mode=node').problem).toMatch(
      /: there is no Service istiod in namespace istio-system: install Istio first, or set istio\.namespace and revision, or node\.discoveryAddress$/,
    )
    const injector = { apiVersion: 'v1', kind: 'ConfigMap' }
    const old = {
      metadata: { labels: { app: 'istiod' } },
      spec: { containers: [{ name: 'discovery', image: 'registry.example:5000/pilot:1.26.1-distroless' }] },
    }
    await api.create([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'istio-system' } },
      { ...injector, metadata: { name: 'istio-sidecar-injector', namespace: 'istio-system' } },
      { ...injector, metadata: { name: 'istio-sidecar-injector-old', namespace: 'istio-system' } },
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'istiod-old', namespace: 'istio-system' },
        spec: { selector: { matchLabels: { app: 'istiod' } }, template: old },
      },
    ])
    expect(install(api, 'byname-new', '--set', 'revision=new').problem).toMatch(
      /: istiod of revision new is not in namespace istio-system/,
    )
    expect(install(api, 'byname-old', '--set', 'revision=old').problem).toMatch(
      /: istiod's image registry\.example:5000\/pilot:1\.26\.1-distroless: byname's template and policy need Istio 1\.27 or later, not 1\.26\.1-distroless$/,
    )
    const { problem, out } = install(api, 'byname')
    expect(problem).toBe('')
    expect(out).toContain('kubectl label namespace NAMESPACE byname.io/rev=default')
    const policies = '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies'
    const names = async (): Promise<unknown> =>
      ((await api.call('GET', policies)).object['items'] as KubernetesObject[]).map(({ metadata }) => metadata.name)
    expect(await names()).toEqual(['byname'])
    expect(helm('uninstall', 'byname', '--namespace', 'byname', '--kubeconfig', api.kubeconfig).code).toBe(0)
    expect(await names()).toEqual([])
  })
})

/** Installs the chart with injection.mode=policy. `problem` is the last line that helm complains, '' if it does not. */
function install(api: ApiServer, name: string, ...args: string[]): { problem: string; out: string } {
  const policy = ['--set', 'injection.mode=policy', '--kubeconfig', api.kubeconfig]
  const release = ['--namespace', 'byname', '--create-namespace', ...policy, ...args]
  const { code, out, err } = helm('install', name, CHART, ...release)
  return { problem: code === 0 ? '' : err.trim().split('\n').at(-1)!, out }
}

describe.each(FOUR)('%s', (world) => {
  // Without the file nothing is like the template's.
  const made = existsSync(goldenFile(world)) ? (parse(readFileSync(goldenFile(world), 'utf8')) as PodSummary[]) : []
  const template = ['common', 'special'].flatMap((name) => {
    const file = join(import.meta.dirname, '../injection/goldens', `${name}-${world}.yaml`)
    return existsSync(file) ? objectsIn(readFileSync(file, 'utf8')).map((object) => summaryOf(podOf(object))) : []
  })

  test.each(template.map(({ name }) => name))('%s: as the template makes it', (name) => {
    const { byname, ...pod } =
      made.find((summary) => summary.name === name) ?? summaryOf({ metadata: { name }, spec: { containers: [] } })
    const { byname: theirs, ...other } = template.find((summary) => summary.name === name)!
    expect(comparable(pod)).toEqual(comparable(other))
    expect(byname === null).toBe(theirs === null)
    if (byname === null || theirs === null) return
    const { env, volumeMounts, ...rest } = theirs
    // The API server adds its defaults.
    expect(byname).toMatchObject(rest)
    const variables = Object.fromEntries(byname.env!.map((variable) => [variable.name, variable]))
    // Of the mesh's own variables byname finds those that it reads in PROXY_CONFIG.
    const expected = env!.filter((variable) => variable.name !== 'OTHER').map((variable) => [variable.name, variable])
    expect(variables).toMatchObject(Object.fromEntries(expected))
    expect(Object.keys(variables)).toHaveLength(byname.env!.length)
    expect(variables).not.toHaveProperty('DNS_PROXY_ADDR')
    expect(namesOf(byname.volumeMounts).toSorted()).toEqual(namesOf(volumeMounts).toSorted())
  })
})

/** Without the order of volumes, and what the API server's defaults and a Pod in place of its Job change. */
function comparable(pod: Omit<PodSummary, 'byname'>): object {
  const { ISTIO_META_POD_PORTS: _ports, ISTIO_META_OWNER: _owner, ...istioProxy } = pod.istioProxy
  return { ...pod, istioProxy, volumes: pod.volumes.toSorted() }
}

/** Istio's injector behind an admission webhook, as istiod is. */
class Webhook {
  world: World = WORLDS['native-init']!
  readonly #server: Server
  readonly #certificate: string

  private constructor(key: string, certificate: string) {
    this.#certificate = certificate
    this.#server = createServer({ key, cert: certificate }, (asked, response) => {
      let text = ''
      asked.setEncoding('utf8').on('data', (part: string) => (text += part))
      asked.on('end', () => {
        const { request } = JSON.parse(text) as { request: { uid: string; object: Pod; namespace: string } }
        const answer = { uid: request.uid, allowed: true, ...this.#patchOf(request.object) }
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }))
      })
    })
  }

  static async start(): Promise<Webhook> {
    const folder = mkdtempSync(join(tmpdir(), 'byname-webhook-'))
    try {
      const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
      const subject = ['-subj', '/CN=webhook', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
      execFileSync(
        'openssl',
        ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, ...subject],
        { stdio: 'ignore' },
      )
      const webhook = new Webhook(readFileSync(key, 'utf8'), readFileSync(certificate, 'utf8'))
      webhook.#server.listen(0, '127.0.0.1')
      await once(webhook.#server, 'listening')
      return webhook
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  /** The pod is replaced by what the injector makes of it. */
  #patchOf(pod: Pod): object {
    const folder = mkdtempSync(join(tmpdir(), 'byname-webhook-'))
    try {
      const file = join(folder, 'pod.yaml')
      const templates = { ...pod.metadata.annotations, 'inject.istio.io/templates': 'sidecar' }
      const asked = { ...pod, apiVersion: 'v1', kind: 'Pod', metadata: { ...pod.metadata, annotations: templates } }
      writeFileSync(file, JSON.stringify(asked))
      const [injected] = objectsIn(inject(file, this.world))
      const { 'inject.istio.io/templates': _, ...annotations } = injected!.metadata.annotations ?? {}
      const patch = [
        { op: 'add', path: '/metadata/annotations', value: annotations },
        { op: 'add', path: '/metadata/labels', value: injected!.metadata.labels ?? {} },
        { op: 'replace', path: '/spec', value: injected!['spec'] },
      ]
      return { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  configuration(): KubernetesObject {
    const { port } = this.#server.address() as AddressInfo
    return {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: 'istio-sidecar-injector' },
      webhooks: [
        {
          name: 'injector.istio.io',
          clientConfig: {
            url: `https://127.0.0.1:${port}/inject`,
            caBundle: Buffer.from(this.#certificate).toString('base64'),
          },
          rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          timeoutSeconds: 30,
          failurePolicy: 'Fail',
          reinvocationPolicy: 'Never',
        },
      ],
    }
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
