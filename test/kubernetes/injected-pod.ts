/** What injection makes of a pod, as far as byname is concerned. */
import type { KubernetesObject } from './helm.ts'

export interface Container {
  name: string
  image: string
  restartPolicy?: string
  env?: { name: string; value?: string }[]
  volumeMounts?: { name: string; mountPath: string }[]
  securityContext?: Record<string, unknown>
  startupProbe?: Record<string, unknown>
  [key: string]: unknown
}

export interface Pod {
  metadata: { name: string; annotations?: Record<string, string> }
  spec: { initContainers?: Container[]; containers: Container[]; volumes?: { name: string }[] }
}

/** A pod in short: the golden files of the policy hold these, since the API server's defaults fill hundreds of lines. */
export interface PodSummary {
  name: string
  /** Names, in the order in which they start. */
  initContainers: string[]
  containers: string[]
  volumes: string[]
  istioInit: Record<string, string | undefined>
  istioProxy: Record<string, string | undefined>
  byname: Container | null
}

/** The pod, or the pod of a Job. */
export function podOf(object: KubernetesObject): Pod {
  if (object.kind !== 'Job') return object as unknown as Pod
  const { template } = object['spec'] as { template: Pod }
  return { ...template, metadata: { ...template.metadata, name: object.metadata.name } }
}

export function containersOf({ spec }: Pod): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers]
}

export function namesOf(containers: readonly { name: string }[] | undefined): string[] {
  return (containers ?? []).map(({ name }) => name)
}

/** The variables of a container; empty if there is no such container. */
export function envOf(pod: Pod, container: string): Record<string, string | undefined> {
  const { env = [] } = containersOf(pod).find(({ name }) => name === container) ?? {}
  return Object.fromEntries(env.map(({ name, value }) => [name, value]))
}

export function summaryOf(pod: Pod): PodSummary {
  return {
    name: pod.metadata.name,
    initContainers: namesOf(pod.spec.initContainers),
    containers: namesOf(pod.spec.containers),
    volumes: namesOf(pod.spec.volumes),
    istioInit: envOf(pod, 'istio-init'),
    istioProxy: envOf(pod, 'istio-proxy'),
    byname: containersOf(pod).find(({ name }) => name === 'byname') ?? null,
  }
}
