/** What the Helm chart says of a cluster that lacks something: one line, before anything is installed. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CHART, HELM, whyNoHelm } from './helm.ts'

/** Paths of the API that a cluster serves, with what is there. */
type Served = Readonly<Record<string, object>>

const resource = (name: string, kind: string, namespaced: boolean): object => ({
  name,
  kind,
  namespaced,
  singularName: '',
  verbs: ['get', 'list'],
})
const listOf = (groupVersion: string, ...resources: object[]): object => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion,
  resources,
})
const groupOf = (name: string): object => {
  const version = { groupVersion: `${name}/v1`, version: 'v1' }
  return { name, versions: [version], preferredVersion: version }
}
const object = (apiVersion: string, kind: string, name: string, rest: object = {}): object => ({
  apiVersion,
  kind,
  metadata: { name, namespace: 'istio-system' },
  ...rest,
})

/** Kubernetes 1.37 with nothing in it. */
const BARE: Served = {
  '/version': { major: '1', minor: '37', gitVersion: 'v1.37.2' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/api/v1': listOf(
    'v1',
    resource('namespaces', 'Namespace', false),
    resource('configmaps', 'ConfigMap', true),
    resource('services', 'Service', true),
    resource('serviceaccounts', 'ServiceAccount', true),
  ),
  '/apis': {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: [groupOf('apps'), groupOf('admissionregistration.k8s.io')],
  },
  '/apis/apps/v1': listOf(
    'apps/v1',
    resource('deployments', 'Deployment', true),
    resource('daemonsets', 'DaemonSet', true),
  ),
  '/apis/admissionregistration.k8s.io/v1': listOf(
    'admissionregistration.k8s.io/v1',
    resource('mutatingadmissionpolicies', 'MutatingAdmissionPolicy', false),
    resource('mutatingadmissionpolicybindings', 'MutatingAdmissionPolicyBinding', false),
    resource('mutatingwebhookconfigurations', 'MutatingWebhookConfiguration', false),
  ),
  '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations': {
    kind: 'MutatingWebhookConfigurationList',
    apiVersion: 'admissionregistration.k8s.io/v1',
    items: [],
  },
  '/api/v1/namespaces/kube-system': object('v1', 'Namespace', 'kube-system'),
}

/** With istiod of a version and a revision. */
function withIstio(image: string, revision = ''): Served {
  const suffix = revision === '' ? '' : `-${revision}`
  const core = '/api/v1/namespaces/istio-system'
  const deployment = object('apps/v1', 'Deployment', `istiod${suffix}`, {
    spec: { template: { spec: { containers: [{ name: 'discovery', image }] } } },
  })
  return {
    ...BARE,
    [`${core}/configmaps/istio-sidecar-injector${suffix}`]: object(
      'v1',
      'ConfigMap',
      `istio-sidecar-injector${suffix}`,
    ),
    [`${core}/services/istiod${suffix}`]: object('v1', 'Service', `istiod${suffix}`),
    [`/apis/apps/v1/namespaces/istio-system/deployments/istiod${suffix}`]: deployment,
  }
}

/** That does not serve what the policy is made of. */
const WITHOUT_POLICIES: Served = {
  ...withIstio('pilot:1.31.0'),
  '/apis/admissionregistration.k8s.io/v1': listOf(
    'admissionregistration.k8s.io/v1',
    resource('mutatingwebhookconfigurations', 'MutatingWebhookConfiguration', false),
  ),
}
const OLD_KUBERNETES: Served = {
  ...withIstio('pilot:1.31.0'),
  '/version': { major: '1', minor: '35', gitVersion: 'v1.35.1' },
}
const POLICY = ['--set', 'injection.mode=policy']
const NODE = ['--set', 'mode=node']

describe.skipIf(whyNoHelm !== null)('helm, of a cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-chart-cluster-'))
  let server: Server
  let served: Served = {}

  beforeAll(async () => {
    server = createServer(({ url = '' }, response) => {
      const found = served[new URL(url, 'http://cluster').pathname]
      const missing = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 }
      response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(found ?? missing))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'one',
      clusters: [{ name: 'one', cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name: 'one', user: {} }],
      contexts: [{ name: 'one', context: { cluster: 'one', user: 'one' } }],
    }
    writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(config))
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true })
  })

  /** The last line of what helm complains, '' if it renders. */
  async function complaintOf(cluster: Served, args: readonly string[]): Promise<string> {
    served = cluster
    const render = [
      'template',
      'byname',
      CHART,
      '-n',
      'byname',
      '--dry-run=server',
      '--disable-openapi-validation',
      ...args,
    ]
    // What it knows of an API server is kept by address in the home folder.
    const env = {
      PATH: process.env['PATH'],
      HOME: mkdtempSync(join(folder, 'home-')),
      KUBECONFIG: join(folder, 'kubeconfig'),
    }
    try {
      await promisify(execFile)(HELM, render, { env, maxBuffer: 64 << 20 })
      return ''
    } catch (error) {
      const lines = (error as { stderr: string }).stderr.trim().split('\n')
      return lines.filter((line) => line !== '' && !line.startsWith('Use --debug')).join('\n')
    }
  }

  test.each<[what: string, cluster: Served, args: string[], line: RegExp]>([
    [
      'without Istio, by template',
      BARE,
      [],
      /: istiod is not in namespace istio-system \(there is no ConfigMap istio-sidecar-injector\): install Istio first, or set istio\.namespace and revision$/,
    ],
    [
      'without Istio, by policy',
      BARE,
      POLICY,
      /: istiod is not in namespace istio-system \(there is no ConfigMap istio-sidecar-injector\): install Istio first/,
    ],
    [
      'without Istio, one on each node',
      BARE,
      NODE,
      /: there is no Service istiod in namespace istio-system: install Istio first, or set istio\.namespace and revision, or node\.discoveryAddress$/,
    ],
    [
      'with Istio elsewhere',
      withIstio('pilot:1.31.0'),
      ['--set', 'istio.namespace=mesh'],
      /: istiod is not in namespace mesh /,
    ],
    [
      'with another revision',
      withIstio('pilot:1.31.0', 'old'),
      ['--set', 'revision=new'],
      /: istiod of revision new is not in namespace istio-system \(there is no ConfigMap istio-sidecar-injector-new\)/,
    ],
    [
      'with an old Istio, by template',
      withIstio('pilot:1.26.1-distroless'),
      [],
      /: istiod's image pilot:1\.26\.1-distroless: byname's template and policy need Istio 1\.27 or later, not 1\.26\.1-distroless$/,
    ],
    [
      'with an old Istio of a revision, by policy',
      withIstio('r.example:5000/pilot:1.9.0', 'old'),
      [...POLICY, '--set', 'revision=old'],
      /: istiod's image r\.example:5000\/pilot:1\.9\.0: byname's template and policy need Istio 1\.27 or later, not 1\.9\.0$/,
    ],
    [
      'that serves no policies',
      WITHOUT_POLICIES,
      POLICY,
      /: injection\.mode: this cluster does not serve MutatingAdmissionPolicy \(admissionregistration\.k8s\.io\/v1\): use injection\.mode=template, or turn the API on$/,
    ],
    [
      'of an older Kubernetes',
      OLD_KUBERNETES,
      POLICY,
      /: injection\.mode: policy needs MutatingAdmissionPolicy \(Kubernetes 1\.36 or later\), and this cluster is Kubernetes v1\.35\.1: use injection\.mode=template$/,
    ],
  ])('%s: one line that names what is missing and the remedy', async (_, cluster, args, line) => {
    expect((await complaintOf(cluster, args)).split('\n')).toEqual([expect.stringMatching(line)])
  })

  test.each<[what: string, cluster: Served, args: string[]]>([
    ['with Istio, by template', withIstio('pilot:1.31.0'), []],
    ['with Istio, by policy', withIstio('pilot:1.31.0'), POLICY],
    ['with Istio, one on each node', withIstio('pilot:1.26.0'), NODE],
    [
      'without Istio, one on each node, with istiod elsewhere',
      BARE,
      [...NODE, '--set', 'node.discoveryAddress=istiod.example:15012'],
    ],
    ['without Istio, to be pasted', BARE, ['--set', 'injection.mode=none']],
    ['with an Istio whose image says no version', withIstio('pilot@sha256:00'), []],
    ['with an old Istio whose version is said to be new', withIstio('pilot:1.1-ours'), ['--set', 'istio.version=1.31']],
    ['that serves no policies, by template', WITHOUT_POLICIES, []],
  ])('%s: nothing to complain of', async (_, cluster, args) => {
    expect(await complaintOf(cluster, args)).toBe('')
  })
})
