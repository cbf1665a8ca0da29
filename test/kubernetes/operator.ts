import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Cluster, collected, until } from './cluster.ts'
import { applicationPod, CLUSTER_DNS, ISTIOD_VALUES, meshOf, OUTSIDE, type PodOptions, RESOLVE } from './manifests.ts'
import { imageOf, initNames, isReady, type Pod } from './pod.ts'
import { expect, type Report } from './report.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const CHART = join(HERE, '../../config/helm/byname')
const LOAD = readFileSync(join(HERE, 'load.mjs'), 'utf8')
const UNTIL_ANSWERED = readFileSync(join(HERE, 'until-answered.mjs'), 'utf8')
const POD_MS = 120_000

/** What load.mjs says of its queries. */
export interface LoadResult {
  sent: number
  answered: number
  failed: number
  lost: number
  slowestMs: number
}

/** What the operator of a mesh does: releases of istiod and of byname, namespaces, pods, and looking into them. */
export class Operator {
  readonly cluster: Cluster
  readonly report: Report
  readonly folder: string
  readonly #charts: string

  /** `folder` is the cluster's; `charts` has Istio's base and istio-discovery. */
  constructor(cluster: Cluster, report: Report, folder: string, charts: string) {
    this.cluster = cluster
    this.report = report
    this.folder = folder
    this.#charts = charts
  }

  // ── releases ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The cluster's DNS and a default istiod. */
  async prepare(): Promise<void> {
    await this.cluster.apply(CLUSTER_DNS)
    const base = ['install', 'istio-base', join(this.#charts, 'base'), '-n', 'istio-system', '--create-namespace']
    await this.cluster.helm(...base)
    writeFileSync(join(this.folder, 'istiod-values.yaml'), ISTIOD_VALUES)
    await this.cluster.kubectl(['wait', '-n', 'kube-system', 'pod/coredns', '--for=condition=Ready', '--timeout=60s'])
    await this.istiod('istiod')
  }

  /** Installs or upgrades a release of istiod, with further arguments for helm. */
  async istiod(release: string, ...more: readonly string[]): Promise<void> {
    const values = join(this.folder, 'istiod-values.yaml')
    const chart = join(this.#charts, 'istio-discovery')
    const args = ['-n', 'istio-system', '--wait', '--timeout', '4m', '-f', values, ...more]
    await this.cluster.helm('upgrade', '--install', release, chart, ...args)
  }

  /** Installs or upgrades a release of byname, with values of texts. */
  async byname(release: string, ...sets: readonly string[]): Promise<void> {
    const values = ['image.repository=localhost/byname', ...sets].flatMap((set) => [
      /^(?!image\.).*=(true|false|\d+)$/.test(set) ? '--set' : '--set-string',
      set,
    ])
    const args = ['-n', 'byname', '--create-namespace', ...values]
    await this.cluster.helm('upgrade', '--install', release, CHART, ...args)
  }

  /** A file with what a release of byname gives to istiod. */
  async templateValues(release: string): Promise<string> {
    const path = 'jsonpath={.data.values\\.yaml}'
    const map = ['get', 'configmap', `${release}-istiod-values`, '-n', 'byname', '-o', path]
    const file = join(this.folder, `${release}-istiod-values.yaml`)
    writeFileSync(file, await this.cluster.kubectl(map))
    return file
  }

  /** Hands the default istiod the template, as NOTES.txt of the chart says. */
  async handTemplate(...more: readonly string[]): Promise<void> {
    await this.istiod('istiod', '-f', await this.templateValues('byname'), ...more)
  }

  // ── pods ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A namespace with a Service `web` and a ServiceEntry, ready for pods. */
  async makeNamespace(name: string, labels: Readonly<Record<string, string>>): Promise<void> {
    await this.cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }))
    await until(30_000, 'a default service account', async () => {
      const { code } = await this.cluster.run(['kubectl', 'get', 'serviceaccount', 'default', '-n', name])
      return code === 0 || null
    })
    await this.cluster.apply(meshOf(name))
  }

  pod(namespace: string, name: string): Promise<Pod> {
    return this.cluster.get<Pod>('pod', name, namespace)
  }

  /** Pods with a label. */
  async podsOf(namespace: string, selector: string): Promise<Pod[]> {
    const all = await this.cluster.kubectl(['get', 'pods', '-n', namespace, '-l', selector, '-o', 'json'])
    return JSON.parse(all).items
  }

  /** Starts an application's pod and waits until it is ready. */
  async startPod(namespace: string, name: string, options: PodOptions = {}): Promise<Pod> {
    await this.cluster.apply(applicationPod(namespace, name, options))
    return await this.whenReady(namespace, name)
  }

  async whenReady(namespace: string, name: string): Promise<Pod> {
    let last: Pod | undefined
    try {
      return await until(POD_MS, `pod ${name} is ready`, async () => {
        last = await this.pod(namespace, name)
        return isReady(last) ? last : null
      })
    } catch (error) {
      const selector = `involvedObject.name=${name}`
      const events = await this.cluster.kubectl(['get', 'events', '-n', namespace, '--field-selector', selector])
      throw new Error(`${String(error)}; containers: ${last === undefined ? '' : initNames(last)}; ${events}`, {
        cause: error,
      })
    }
  }

  /** Waits until new pods have this image of byname: the API server notices a webhook or a policy that is new a moment later. */
  async whenInjected(namespace: string, image: string): Promise<void> {
    await until(POD_MS, `new pods in ${namespace} have ${image}`, async () => {
      const dry = ['create', '--dry-run=server', '-o', 'json', '-f', '-']
      const read: Pod = JSON.parse(await this.cluster.kubectl(dry, applicationPod(namespace, 'dry')))
      return imageOf(read) === image || null
    })
  }

  async removePod(namespace: string, name: string): Promise<void> {
    await this.cluster.kubectl(['delete', 'pod', name, '-n', namespace, '--grace-period=1'])
  }

  // ── within pods ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs a program of Node's in the application's container. */
  async script(namespace: string, name: string, text: string, args: readonly string[]): Promise<string> {
    const node = ['node', '--input-type=module', '-', ...args]
    const exec = ['kubectl', 'exec', '-i', '-n', namespace, name, '-c', 'app', '--', ...node]
    const [program, all] = this.cluster.inside(exec)
    const { code, out, err } = await collected(spawn(program, all, { stdio: ['pipe', 'pipe', 'pipe'] }), text)
    expect(code === 0, `a script in ${name}: ${err}`)
    return out.trim()
  }

  /** Sends `rate` queries a second for `seconds` to the pod's resolver. */
  async load(
    namespace: string,
    name: string,
    rate: number,
    seconds: number,
    names: readonly string[],
  ): Promise<LoadResult> {
    const text = await this.script(namespace, name, LOAD, [String(rate), String(seconds), ...names])
    const read: LoadResult = JSON.parse(text)
    return read
  }

  /** Asks the pod's resolver every 20 ms; the clock in milliseconds when the first address comes. */
  async untilAnswered(namespace: string, name: string, host: string): Promise<number> {
    return Number(await this.script(namespace, name, UNTIL_ANSWERED, [host]))
  }

  /** The same, but the first address that comes after 200 ms without any. */
  async untilAnsweredAgain(namespace: string, name: string, host: string): Promise<number> {
    return Number(await this.script(namespace, name, UNTIL_ANSWERED, [host, '200']))
  }

  /** The first line that `dig +short` prints in the application's container. */
  async dig(namespace: string, name: string, ...question: readonly string[]): Promise<string> {
    const { out } = await this.cluster.exec(namespace, name, 'app', ['dig', '+short', ...question])
    return out.trim().split('\n')[0]!
  }

  /**
   * What an application's container sees of names by the C library, and what its init container has seen and logged.
   * @throws Error if any name has not the address that it must have
   */
  async expectNames(namespace: string, name: string): Promise<string> {
    const path = 'jsonpath={.spec.clusterIP}'
    const web = (await this.cluster.kubectl(['get', 'service', 'web', '-n', namespace, '-o', path])).trim()
    const now = (await this.cluster.exec(namespace, name, 'app', ['bash', '-c', RESOLVE])).out
    const atFirst = await this.cluster.kubectl(['logs', '-n', namespace, name, '-c', 'first'])
    for (const [who, text] of [
      ['the application', now],
      ['its init container', atFirst],
    ] as const) {
      const lines = text.trim().split('\n')
      const seen = new Map(lines.map((line): [string, string] => [line.split(' ')[0]!, line.split(' ')[1] ?? '']))
      expect(seen.get('web') === web && seen.get(`web.${namespace}`) === web, `${who} sees of web: ${text}`)
      const automatic = seen.get('api.partner.test')?.startsWith('240.240.') === true
      expect(automatic, `${who} sees no automatic address: ${text}`)
      expect(seen.get(OUTSIDE.name) === OUTSIDE.address, `${who} sees of ${OUTSIDE.name}: ${text}`)
    }
    return now.trim().replace(/\n/g, '; ')
  }
}
