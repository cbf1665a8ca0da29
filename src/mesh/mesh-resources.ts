/** What is used of the resources that describe a mesh, after their YAML was checked: see resource-schema.ts. */

/** Whether and how a ServiceEntry says that its hosts resolve. */
type Resolution = 'NONE' | 'STATIC' | 'DNS' | 'DNS_ROUND_ROBIN' | 'DYNAMIC_DNS'

/** A Kubernetes Service. */
export interface ServiceResource {
  kind: 'Service'
  name: string
  namespace: string
  /** Cluster IPs of one or two families; empty for the kinds of service that have none. */
  clusterIps: string[]
  isHeadless: boolean
  /** A name for another name (type ExternalName): no addresses of its own. */
  isExternalName: boolean
  publishesNotReady: boolean
  /** Empty: selects nothing. */
  selector: Record<string, string>
  /** From the annotation; empty: everybody. */
  exportTo: string[]
}

/** Endpoints of a Service: a discovery.k8s.io EndpointSlice. */
export interface EndpointSliceResource {
  kind: 'EndpointSlice'
  name: string
  namespace: string
  /** Name of the Service in the same namespace. */
  service: string
  /** Where the endpoints are, by the labels topology.istio.io/cluster and /network; '' for everywhere. */
  cluster: string
  network: string
  endpoints: Endpoint[]
}

/** One endpoint, as a rule a pod. */
interface Endpoint {
  addresses: string[]
  /** `NAMESPACE/NAME` of the Pod that it refers to; '' where it refers to none. */
  pod: string
  isReady: boolean
}

/** A Kubernetes Pod: only what gives it a host of its own. */
export interface PodResource {
  kind: 'Pod'
  name: string
  namespace: string
  /** `spec.hostname` and `spec.subdomain`, '' where it has none; with both the pod's host is `HOSTNAME.SUBDOMAIN`. */
  hostname: string
  subdomain: string
}

/** An Istio ServiceEntry. */
export interface ServiceEntryResource {
  kind: 'ServiceEntry'
  name: string
  namespace: string
  /** From `metadata.creationTimestamp`, milliseconds since 1970; Infinity where the file names none. */
  createdAtMs: number
  /** Lower case, without a trailing dot; perhaps `*.` in front. */
  hosts: string[]
  /** IP addresses. */
  addresses: string[]
  /** True if the resource names addresses at all, CIDRs included: then no automatic ones are made. */
  hasAddresses: boolean
  resolution: Resolution
  /** Labels of the workloads that it selects; null: it selects none. */
  selector: Record<string, string> | null
  /** Addresses that istiod gave a host and wrote into the status. */
  allocated: ReadonlyMap<string, string[]>
  /** False: the label networking.istio.io/enable-autoallocate-ip forbids automatic addresses. */
  mayAllocate: boolean
  /** Empty: everybody. */
  exportTo: string[]
}

/** An Istio WorkloadEntry. */
export interface WorkloadEntryResource {
  kind: 'WorkloadEntry'
  name: string
  namespace: string
  /** An IP address; '' where the resource has a name or a socket instead. */
  address: string
  /** Of metadata and spec. */
  labels: Record<string, string>
  cluster: string
  network: string
}

/** Any of them. */
export type MeshResource =
  | ServiceResource
  | EndpointSliceResource
  | PodResource
  | ServiceEntryResource
  | WorkloadEntryResource
