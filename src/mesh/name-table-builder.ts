/** Builds the name table of a node as istiod does (its name_table.go), from the resources of a mesh. Pure. */
import { isIP } from 'node:net'
import type { NameInfo, NameTable } from '../table/nds.ts'
import { isAllocated, type Vip, vipKey } from './auto-vip.ts'
import type {
  EndpointSliceResource,
  MeshResource,
  PodResource,
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
  /** Service addresses and automatic ones of other families are left out. */
  families: NodeFamilies
  /** False: without automatic addresses, for a node on which nothing routes them. */
  takesAutomaticVips: boolean
}

/** Address families that a node has addresses of. */
export interface NodeFamilies {
  v4: boolean
  v6: boolean
}

/**
 * Whether a node takes automatic addresses, by its metadata DNS_CAPTURE ('' if it says nothing), a boolean as Go writes it.
 * ★ A node that says nothing takes them, unlike istiod's: who asks for a name table answers from it.
 */
export function takesAutomaticVips(dnsCapture: string): boolean {
  return !['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(dnsCapture)
}

/** A mesh, indexed for building tables. Never changed once made. */
export interface Mesh {
  services: readonly ServiceResource[]
  /** The oldest first. */
  serviceEntries: readonly ServiceEntryResource[]
  /** By `namespace/name` of the service. */
  slices: ReadonlyMap<string, readonly EndpointSliceResource[]>
  /** By `namespace/name`. */
  pods: ReadonlyMap<string, PodResource>
  /** By namespace. */
  workloads: ReadonlyMap<string, readonly WorkloadEntryResource[]>
  /** Automatic addresses by `vipKey`. */
  vips: ReadonlyMap<string, Vip>
}

/** Indexes what a mesh consists of. Of resources without a creation time the order of `resources` is that of their age. */
export function indexMesh(resources: readonly MeshResource[], vips: ReadonlyMap<string, Vip> = new Map()): Mesh {
  const slices = resources.filter((resource) => resource.kind === 'EndpointSlice')
  const workloads = resources.filter((resource) => resource.kind === 'WorkloadEntry')
  const pods = resources.filter((resource) => resource.kind === 'Pod')
  return {
    services: resources.filter((resource) => resource.kind === 'Service'),
    serviceEntries: resources
      .filter((resource) => resource.kind === 'ServiceEntry')
      .toSorted((a, b) => (a.createdAtMs === b.createdAtMs ? 0 : a.createdAtMs - b.createdAtMs)),
    slices: Map.groupBy(slices, ({ namespace, service }) => `${namespace}/${service}`),
    pods: new Map(pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod])),
    workloads: Map.groupBy(workloads, ({ namespace }) => namespace),
    vips,
  }
}

/**
 * The families of a node's addresses, read as istiod does: those of INSTANCE_IPS (with commas between them) if all of these
 * are valid, else that of `ip`. A loopback address says nothing; where nothing is known it is both.
 */
export function familiesOf(instanceIps: string, ip: string): NodeFamilies {
  const listed = instanceIps.split(',').map((address) => address.trim())
  const addresses = listed.every((address) => isIP(address) !== 0) ? listed : [ip]
  const known = addresses.filter((address) => isIP(address) !== 0 && !/^127\.|^::1?$/.test(address))
  if (known.length === 0) return { v4: true, v6: true }
  return { v4: known.some((address) => isIP(address) === 4), v6: known.some((address) => isIP(address) === 6) }
}

/** The cluster's part of a namespace's domain: `shop.svc.cluster.local` → `svc.cluster.local`. */
export function servicesDomainOf(domain: string): string {
  const dot = domain.indexOf('.')
  return dot === -1 || dot === domain.length - 1 ? 'svc.cluster.local' : domain.slice(dot + 1).toLowerCase()
}

/** The table for `node`, hosts sorted, so that equal meshes give equal bytes. */
export function buildNameTable(mesh: Mesh, node: TableNode): NameTable {
  const table: NameTable = new Map()
  // Kubernetes first: a ServiceEntry of the same host adds nothing to it.
  for (const service of mesh.services) if (isVisible(service, node)) addService(table, mesh, node, service)
  for (const [host, entries] of entriesByHost(mesh.serviceEntries, node)) {
    if (!table.has(host)) addExternal(table, mesh, node, host, entriesThatCount(entries, node))
  }
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
  const addresses = isHeadless ? addPods(table, mesh, node, service) : new Set(ofFamilies(service.clusterIps, node))
  if (addresses.size > 0) table.set(hostOf(name, namespace, node), kubernetes(name, namespace, addresses, node))
}

/** Adds a host for each pod of a headless service and returns the addresses of the service itself. */
function addPods(table: NameTable, mesh: Mesh, node: TableNode, service: ServiceResource): Set<string> {
  const { name, namespace } = service
  const all = new Places()
  /** By short name. */
  const pods = new Map<string, Places>()
  for (const slice of mesh.slices.get(`${namespace}/${name}`) ?? []) {
    if (!isSameOrUnknown(slice.network, node.network)) continue
    const isLocal = isSameOrUnknown(slice.cluster, node.cluster)
    for (const { addresses, pod: podKey, isReady } of slice.endpoints) {
      if (!isReady && !service.publishesNotReady) continue
      const pod = mesh.pods.get(podKey)
      // istiod waits for the Pod, and until it comes the endpoint is none.
      if (podKey !== '' && pod === undefined) continue
      all.add(isLocal, addresses)
      if (pod === undefined || pod.hostname === '' || pod.subdomain === '') continue
      const shortname = `${pod.hostname}.${pod.subdomain}`
      const places = pods.get(shortname) ?? new Places()
      pods.set(shortname, places)
      places.add(isLocal, addresses)
    }
  }
  if (Object.keys(service.selector).length > 0) addWorkloads(all, mesh, node, namespace, service.selector)
  for (const [shortname, pod] of pods) {
    // Pods of one name in two clusters: the near one is meant.
    const addresses = pod.local.size > 0 ? pod.local : pod.remote
    if (addresses.size > 0)
      table.set(hostOf(shortname, namespace, node), kubernetes(shortname, namespace, addresses, node))
  }
  return all.localFirst()
}

/** The entries that the node sees, by host, the oldest first. */
function entriesByHost(
  entries: readonly ServiceEntryResource[],
  node: TableNode,
): Map<string, [ServiceEntryResource, ...ServiceEntryResource[]]> {
  const byHost = new Map<string, [ServiceEntryResource, ...ServiceEntryResource[]]>()
  for (const entry of entries) {
    if (!isVisible(entry, node)) continue
    for (const host of entry.hosts) {
      const others = byHost.get(host)
      if (others === undefined) byHost.set(host, [entry])
      else others.push(entry)
    }
  }
  return byHost
}

/** Those of one namespace: the node's own, else the oldest entry's. */
function entriesThatCount(
  entries: [ServiceEntryResource, ...ServiceEntryResource[]],
  node: TableNode,
): readonly ServiceEntryResource[] {
  const own = entries.filter(({ namespace }) => namespace === node.namespace)
  return own.length > 0 ? own : entries.filter(({ namespace }) => namespace === entries[0].namespace)
}

function addExternal(
  table: NameTable,
  mesh: Mesh,
  node: TableNode,
  host: string,
  entries: readonly ServiceEntryResource[],
): void {
  const ips = new Set(entries.flatMap((entry) => addressesOf(mesh, node, entry, host)))
  if (ips.size > 0) table.set(host, { ips: [...ips], registry: 'External', shortname: '', namespace: '', altHosts: [] })
}

function addressesOf(mesh: Mesh, node: TableNode, entry: ServiceEntryResource, host: string): string[] {
  if (entry.hasAddresses) return entry.addresses
  if (entry.resolution === 'NONE') return [...selectedAddresses(mesh, node, entry)]
  if (!node.takesAutomaticVips || !isAllocated(entry, host)) return []
  const vip = mesh.vips.get(vipKey(entry, host))
  return ofFamilies(entry.allocated.get(host) ?? (vip === undefined ? [] : [vip.v4, vip.v6]), node)
}

/** With resolution NONE and no address, the workloads' own addresses are what there is to connect to. */
function selectedAddresses(mesh: Mesh, node: TableNode, entry: ServiceEntryResource): Set<string> {
  const all = new Places()
  if (entry.selector !== null) addWorkloads(all, mesh, node, entry.namespace, entry.selector)
  return all.localFirst()
}

function ofFamilies(addresses: readonly string[], { families }: TableNode): string[] {
  return addresses.filter((address) => (isIP(address) === 4 ? families.v4 : families.v6))
}

function addWorkloads(
  into: Places,
  mesh: Mesh,
  node: TableNode,
  namespace: string,
  selector: Record<string, string>,
): void {
  const wanted = Object.entries(selector)
  for (const { address, labels, network, cluster } of mesh.workloads.get(namespace) ?? []) {
    if (address === '' || !isSameOrUnknown(network, node.network)) continue
    if (wanted.every(([key, value]) => labels[key] === value))
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
