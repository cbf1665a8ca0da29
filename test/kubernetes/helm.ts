/** The program `helm`, on the chart of this project. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'

export const CHART: string = fileURLToPath(new URL('../../config/helm/byname', import.meta.url))

/** Where .ci/run puts it. */
const KEPT = join(homedir(), '.cache/byname/helm-4.1.4/helm')
export const HELM: string = process.env['HELM'] ?? (existsSync(KEPT) ? KEPT : 'helm')
/** Of the cluster that the chart is rendered for, unless a test says otherwise. */
const KUBERNETES = '1.37'

export interface HelmResult {
  code: number | null
  out: string
  err: string
}

/** A Kubernetes object, as far as every one is alike. */
export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  [key: string]: unknown
}

/** Runs `helm`. It knows no cluster, whatever this machine is set up for. */
export function helm(...args: string[]): HelmResult {
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], KUBECONFIG: '/dev/null' }
  const { status, stdout, stderr, error } = spawnSync(HELM, args, { encoding: 'utf8', env, maxBuffer: 64 << 20 })
  if (error) throw error
  return { code: status, out: stdout, err: stderr }
}

/** Why helm cannot be run here, or null. */
export const whyNoHelm: string | null = (() => {
  const { error } = spawnSync(HELM, ['version'], { env: { PATH: process.env['PATH'] } })
  return error ? 'helm is not here' : null
})()

/** Renders the chart with further arguments, as a release `byname` in the namespace `byname`. */
export function render(args: readonly string[], kubernetes: string = KUBERNETES): HelmResult {
  return helm('template', 'byname', CHART, '--namespace', 'byname', '--kube-version', kubernetes, ...args)
}

/** The texts in a ConfigMap; empty for anything else. */
export function dataOf(map: KubernetesObject | undefined): Record<string, string> {
  return (map?.['data'] ?? {}) as Record<string, string>
}

/** The objects in YAML of any number of documents. */
export function objectsIn(yaml: string): KubernetesObject[] {
  return parseAllDocuments(yaml).flatMap((document) => {
    const object = document.toJS() as KubernetesObject | null
    return object === null ? [] : [object]
  })
}
