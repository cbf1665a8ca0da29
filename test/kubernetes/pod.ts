/** A pod as the API server shows it, as far as the proof looks. */
export interface Pod {
  metadata: { name: string; annotations?: Record<string, string>; labels?: Record<string, string> }
  spec: { nodeName?: string; initContainers?: { name: string; image: string }[]; containers: { name: string }[] }
  status: {
    podIP?: string
    containerStatuses?: ContainerStatus[]
    initContainerStatuses?: ContainerStatus[]
    conditions?: { type: string; status: string }[]
  }
}

interface ContainerStatus {
  name: string
  containerID: string
  restartCount: number
  started?: boolean
}

/** The names of its init containers, in order. */
export function initNames(pod: Pod): string {
  return (pod.spec.initContainers ?? []).map((container) => container.name).join(', ')
}

/** byname's image as the proof names it, such as `byname:1`; '' without byname. */
export function imageOf(pod: Pod): string {
  const byname = pod.spec.initContainers?.find((container) => container.name === 'byname')
  return byname?.image.replace('localhost/', '') ?? ''
}

/** The status of its container `byname`. @throws Error if it has none */
export function bynameOf(pod: Pod): ContainerStatus {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status
  const status = [...initContainerStatuses, ...containerStatuses].find(({ name }) => name === 'byname')
  if (status === undefined) throw new Error(`${pod.metadata.name} has no byname: ${initNames(pod)}`)
  return status
}

export function isReady(pod: Pod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
}
