/** Builds the name table of a node as istiod does (its name_table.go), from the resources of a mesh. Pure. */
import type { NameInfo, NameTable } from '../table/nds.ts'
import type { Vip } from './auto-vip.ts'
import type {
  EndpointSliceResource,
  MeshResource,
  ServiceEntryResource,
  ServiceResource,
  WorkloadEntryResource,
} from './mesh-resources.ts'

/** Whom a table is for, as far as it depends on that. Nodes that are equal here have equal tables. */
export interface TableNode {
  namespace: string
  /** Domain of the cluster's services: `svc.cluster.local`. */
  servicesDomain: string
  /** '' where unknown: then every cluster counts as its own, every network as reachable. */
  cluster: string
  network: string
}

/** A mesh, indexed for building tables. Never changed once made. */
export interface Mesh {
  services: readonly ServiceResource[]
  serviceEntries: readonly ServiceEntryResource[]
  /** By `namespace/name` of the service. */
  slices: ReadonlyMap<string, readonly EndpointSliceResource[]>
  /** By namespace. */
  workloads: ReadonlyMap<string, readonly WorkloadEntryResource[]>
  /** Automatic addresses by host. */
  vips: ReadonlyMap<string, Vip>
}

/** Indexes what a mesh consists of. */
export function indexMesh(resources: readonly MeshResource[], vips: ReadonlyMap<string, Vip> = new Map()): Mesh {
  const slices = resources.filter((resource) => resource.kind === 'EndpointSlice')
  const workloads = resources.filter((resource) => resource.kind === 'WorkloadEntry')
  return {
    services: resources.filter((resource) => resource.kind === 'Service'),
    serviceEntries: resources.filter((resource) => resource.kind === 'ServiceEntry'),
    slices: Map.groupBy(slices, ({ namespace, service }) => `${namespace}/${service}`),
    workloads: Map.groupBy(workloads, ({ namespace }) => namespace),
    vips,
  }
}

/** The cluster's part of a namespace's domain: `shop.svc.cluster.local` → `svc.cluster.local`. */
export function servicesDomainOf(domain: string): string {
  const dot = domain.indexOf('.')
  return dot === -1 || dot === domain.length - 1 ? 'svc.cluster.local' : domain.slice(dot + 1).toLowerCase()
}

/**
 * The table for `node`, hosts sorted, so that equal meshes give equal bytes. Unlike istiod's, addresses of both families
 * are in it whatever addresses the node itself has: which of them to use is for the program that asks.
 */
export function buildNameTable(mesh: Mesh, node: TableNode): NameTable {
  const table: NameTable = new Map()
  // Kubernetes first: a ServiceEntry of the same host adds nothing to it.
  for (const service of mesh.services) if (isVisible(service, node)) addService(table, mesh, node, service)
  for (const entry of mesh.serviceEntries) if (isVisible(entry, node)) addServiceEntry(table, mesh, node, entry)
  return new Map([...table].toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** `*` beats all, then `~` (nobody), then `.` (the own namespace) and names of namespaces. Nothing at all is `*`. */
function isVisible({ exportTo, namespace }: ServiceResource | ServiceEntryResource, node: TableNode): boolean {
  if (exportTo.length === 0 || exportTo.includes('*')) return true
  if (exportTo.includes('~')) return false
  return exportTo.some((target) => (target === '.' ? namespace : target) === node.namespace)
}

function addService(table: NameTable, mesh: Mesh, node: TableNode, service: ServiceResource): void {
  const { name, namespace, isHeadless, isExternalName } = service
  if (isExternalName) return
  const addresses = isHeadless ? addPods(table, mesh, node, service) : new Set(service.clusterIps)
  if (addresses.size > 0) table.set(hostOf(name, namespace, node), kubernetes(name, namespace, addresses, node))
}

/** Adds a host for each pod of a headless service and returns the addresses of the service itself. */
function addPods(table: NameTable, mesh: Mesh, node: TableNode, service: ServiceResource): Set<string> {
  const { name, namespace } = service
  const all = new Places()
  const pods = new Map<string, Places>()
  for (const slice of mesh.slices.get(`${namespace}/${name}`) ?? []) {
    if (!isSameOrUnknown(slice.network, node.network)) continue
    const isLocal = isSameOrUnknown(slice.cluster, node.cluster)
    for (const { addresses, hostname, isReady } of slice.endpoints) {
      if (!isReady && !service.publishesNotReady) continue
      all.add(isLocal, addresses)
      if (hostname === '') continue
      const pod = pods.get(hostname) ?? new Places()
      pods.set(hostname, pod)
      pod.add(isLocal, addresses)
    }
  }
  if (Object.keys(service.selector).length > 0) addWorkloads(all, mesh, node, namespace, service.selector)
  for (const [hostname, pod] of pods) {
    // Pods of one name in two clusters: the near one is meant.
    const addresses = pod.local.size > 0 ? pod.local : pod.remote
    const shortname = `${hostname}.${name}`
    if (addresses.size > 0)
      table.set(hostOf(shortname, namespace, node), kubernetes(shortname, namespace, addresses, node))
  }
  return all.localFirst()
}

function addServiceEntry(table: NameTable, mesh: Mesh, node: TableNode, entry: ServiceEntryResource): void {
  const shared = entry.hasAddresses ? new Set(entry.addresses) : selectedAddresses(mesh, node, entry)
  for (const host of entry.hosts) {
    const addresses = entry.hasAddresses || entry.resolution === 'NONE' ? shared : automatic(mesh, entry, host)
    if (addresses.size === 0) continue
    const held = table.get(host)
    if (held === undefined) {
      table.set(host, { ips: [...addresses], registry: 'External', shortname: '', namespace: '', altHosts: [] })
    } else if (held.registry === 'External') held.ips = [...new Set([...held.ips, ...addresses])]
  }
}

/** With resolution NONE and no address, the workloads' own addresses are what there is to connect to. */
function selectedAddresses(mesh: Mesh, node: TableNode, entry: ServiceEntryResource): Set<string> {
  const all = new Places()
  if (entry.resolution === 'NONE' && entry.selector !== null)
    addWorkloads(all, mesh, node, entry.namespace, entry.selector)
  return all.localFirst()
}

function automatic(mesh: Mesh, entry: ServiceEntryResource, host: string): Set<string> {
  if (!entry.mayAllocate) return new Set()
  const allocated = entry.allocated.get(host)
  if (allocated !== undefined) return new Set(allocated)
  if (host.startsWith('*') && entry.resolution !== 'DYNAMIC_DNS') return new Set()
  const vip = mesh.vips.get(host)
  return vip === undefined ? new Set() : new Set([vip.v4, vip.v6])
}

function addWorkloads(
  into: Places,
  mesh: Mesh,
  node: TableNode,
  namespace: string,
  selector: Record<string, string>,
): void {
  for (const { address, labels, network, cluster } of mesh.workloads.get(namespace) ?? []) {
    if (address === '' || !isSameOrUnknown(network, node.network)) continue
    if (Object.entries(selector).every(([key, value]) => labels[key] === value))
      into.add(isSameOrUnknown(cluster, node.cluster), [address])
  }
}

/** Addresses by where they are, each once. */
class Places {
  readonly local: Set<string> = new Set()
  readonly remote: Set<string> = new Set()

  add(isLocal: boolean, addresses: readonly string[]): void {
    for (const address of addresses) (isLocal ? this.local : this.remote).add(address)
  }

  localFirst(): Set<string> {
    return new Set([...this.local, ...this.remote])
  }
}

function hostOf(name: string, namespace: string, node: TableNode): string {
  return `${name}.${namespace}.${node.servicesDomain}`
}

function kubernetes(shortname: string, namespace: string, addresses: Set<string>, node: TableNode): NameInfo {
  const common = { ips: [...addresses], registry: 'Kubernetes', altHosts: [] }
  // The short names of a host of the cluster set would collide with those of the cluster's own service.
  const isClusterSet = `.${node.servicesDomain}`.endsWith('.clusterset.local')
  return isClusterSet ? { ...common, shortname: '', namespace: '' } : { ...common, shortname, namespace }
}

function isSameOrUnknown(a: string, b: string): boolean {
  return a === '' || b === '' || a === b
}
