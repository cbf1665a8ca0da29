/**
 * The resources as they stand in YAML. Unknown fields are left alone, as real manifests are full of them; what is used
 * must have the right type. Messages complete the sentence "spec.ports[0].port: …".
 */
import { isIP } from 'node:net'
import * as z from 'zod/mini'
import { nameToWire } from '../dns/name.ts'
import { readValues } from '../yaml/read-values.ts'
import type { EndpointSliceResource, MeshResource, ServiceEntryResource, ServiceResource } from './mesh-resources.ts'

const NETWORK_LABEL = 'topology.istio.io/network'
const CLUSTER_LABEL = 'topology.istio.io/cluster'
/** Of all hosts of a ServiceEntry together: each has all its addresses, and a small file could make a table beyond all memory. */
const MOST_ADDRESSES = 1_000_000

const stringMap = z.prefault(z.record(z.string(), z.string()), {})
const resourceName = z.string().check(
  z.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, {
    error: 'expected a Kubernetes name (lower-case letters, digits, "-")',
  }),
)
const headSchema = z.object({ apiVersion: z.string(), kind: z.string() })
const metadata = z.object({
  name: resourceName,
  namespace: z.prefault(resourceName, 'default'),
  labels: stringMap,
  annotations: stringMap,
  creationTimestamp: z.optional(z.unknown()),
})

const service = z.object({
  metadata,
  spec: z.object({
    type: textOr('ClusterIP'),
    clusterIP: z.prefault(
      textThat((text) => text === 'None' || text === '' || isAddress(text), 'expected an IP address or None'),
      '',
    ),
    clusterIPs: list(textThat((text) => text === 'None' || isAddress(text), 'expected an IP address or None')),
    publishNotReadyAddresses: z.prefault(z.boolean(), false),
    selector: stringMap,
    ports: list(z.object({ port: z.number() })),
  }),
})

const endpointSlice = z.object({
  metadata,
  addressType: z.optional(z.enum(['IPv4', 'IPv6', 'FQDN'])),
  endpoints: list(
    z.object({
      addresses: list(z.string()),
      conditions: z.optional(z.object({ ready: z.prefault(z.boolean(), true) })),
      targetRef: z.optional(z.object({ kind: textOr(''), name: textOr(''), namespace: textOr('') })),
    }),
  ),
})
const endpointSliceChecked = endpointSlice.check(
  z.superRefine((slice, context) => {
    if (slice.addressType === 'FQDN') return
    for (const [i, endpoint] of slice.endpoints.entries())
      for (const [k, address] of endpoint.addresses.entries())
        if (!isAddress(address))
          context.addIssue({
            code: 'custom',
            path: ['endpoints', i, 'addresses', k],
            message: 'expected an IP address',
          })
  }),
)

const pod = z.object({
  metadata,
  spec: z.prefault(z.object({ hostname: textOr(''), subdomain: textOr('') }), {}),
})

// JSON of protobuf has numbers as text, too.
const portNumber = z.union([
  z.number(),
  z.string().check(z.regex(/^\d+$/, { error: String.raw`Invalid string: must match pattern /^\d+$/` })),
])
const serviceEntry = z.object({
  metadata,
  spec: z.object({
    hosts: z
      .array(textThat(isHost, 'expected a host name, perhaps with "*." in front'))
      .check(z.minLength(1, { error: 'expected at least one host' })),
    addresses: list(textThat(isAddressOrCidr, 'expected an IP address or a CIDR')),
    ports: list(z.object({ number: portNumber })),
    resolution: z.prefault(z.enum(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS']), 'NONE'),
    workloadSelector: z.optional(z.object({ labels: stringMap })),
    exportTo: list(z.string()),
  }),
  status: z.optional(
    z.object({
      addresses: list(z.object({ value: textThat(isAddress, 'expected an IP address'), host: textOr('') })),
    }),
  ),
})
const serviceEntryChecked = serviceEntry.check(
  z.superRefine(({ spec: { addresses, hosts } }, context) => {
    if (hosts.length * addresses.length <= MOST_ADDRESSES) return
    const message = `would give ${addresses.length} addresses to each of ${hosts.length} hosts, and ${MOST_ADDRESSES} together are the most: split it`
    context.addIssue({ code: 'custom', path: ['spec', 'addresses'], message })
  }),
)

const workloadEntry = z.object({
  metadata,
  spec: z.object({ address: textOr(''), labels: stringMap, network: textOr('') }),
})

function textOr(byDefault: string): z.ZodMiniPrefault<z.ZodMiniString> {
  return z.prefault(z.string(), byDefault)
}

function textThat(fits: (text: string) => boolean, error: string): z.ZodMiniString {
  return z.string().check(z.refine(fits, { error }))
}

/** A list, empty where there is none. */
function list<T extends z.ZodMiniType>(element: T): z.ZodMiniPrefault<z.ZodMiniArray<T>> {
  return z.prefault(z.array(element), [])
}

/** Why a value does not fit. */
interface ResourceProblem {
  path: PropertyKey[]
  message: string
}

/** A resource read, one of no interest, or why it cannot be read. */
export type ReadResource =
  | { resource: MeshResource; note: string }
  | { ignored: string }
  | { problems: readonly ResourceProblem[] }

/** Reads one resource, as plain values. `note`: what is odd about it and no error; '' for nothing. */
export function readResource(raw: unknown): ReadResource {
  const values = withoutNulls(raw)
  const head = headSchema.safeParse(values, { error: messageOf })
  if (!head.success) return { problems: head.error.issues }
  const { apiVersion, kind } = head.data
  switch (`${groupOf(apiVersion)} ${kind}`) {
    case ' Service':
      return read(service, values, toService)
    case 'discovery.k8s.io EndpointSlice':
      return read(endpointSliceChecked, values, toEndpointSlice)
    case ' Pod':
      return read(pod, values, toPod)
    case 'networking.istio.io ServiceEntry':
      return read(serviceEntryChecked, values, toServiceEntry)
    case 'networking.istio.io WorkloadEntry':
      return read(workloadEntry, values, toWorkloadEntry)
    default:
      return { ignored: `${kind} (${apiVersion})` }
  }
}

type WithNote = { resource: MeshResource; note: string } | { ignored: string }

function read<T extends z.ZodMiniType>(
  schema: T,
  values: unknown,
  convert: (read: z.infer<T>) => WithNote,
): ReadResource {
  const { data, issues } = readValues(schema, values, { error: messageOf })
  return issues === null ? convert(data) : { problems: issues }
}

function toService({ metadata: meta, spec }: z.infer<typeof service>): WithNote {
  const isExternalName = spec.type === 'ExternalName'
  const isHeadless = !isExternalName && (spec.clusterIP === 'None' || spec.clusterIPs[0] === 'None')
  // clusterIP is the first of clusterIPs, where the API server wrote both.
  const ips = new Set([spec.clusterIP, ...spec.clusterIPs].filter((ip) => ip !== '' && ip !== 'None'))
  const resource: ServiceResource = {
    kind: 'Service',
    name: meta.name,
    namespace: meta.namespace,
    clusterIps: isExternalName || isHeadless ? [] : [...ips],
    isHeadless,
    isExternalName,
    publishesNotReady: spec.publishNotReadyAddresses,
    selector: spec.selector,
    exportTo: listOf(meta.annotations['networking.istio.io/exportTo']),
  }
  const lacksAddress = !isExternalName && !isHeadless && ips.size === 0
  return {
    resource,
    note: lacksAddress ? 'has no spec.clusterIP (the API server gives one), so its name is left out' : '',
  }
}

function toEndpointSlice(slice: z.infer<typeof endpointSlice>): WithNote {
  const { name, namespace, labels } = slice.metadata
  const owner = labels['kubernetes.io/service-name'] ?? ''
  const resource: EndpointSliceResource = {
    kind: 'EndpointSlice',
    name,
    namespace,
    service: owner,
    cluster: labels[CLUSTER_LABEL] ?? '',
    network: labels[NETWORK_LABEL] ?? '',
    endpoints: slice.endpoints.map(({ addresses, conditions, targetRef }) => ({
      addresses: addresses.filter(isAddress),
      pod: targetRef?.kind === 'Pod' ? `${targetRef.namespace || namespace}/${targetRef.name}` : '',
      isReady: conditions?.ready ?? true,
    })),
  }
  return { resource, note: owner === '' ? 'has no label kubernetes.io/service-name: it belongs to no service' : '' }
}

function toPod({ metadata: { name, namespace }, spec }: z.infer<typeof pod>): WithNote {
  const { hostname, subdomain } = spec
  return {
    resource: { kind: 'Pod', name, namespace, hostname: hostname.toLowerCase(), subdomain: subdomain.toLowerCase() },
    note: '',
  }
}

function toServiceEntry({ metadata: meta, spec, status }: z.infer<typeof serviceEntry>): WithNote {
  const allocated = new Map<string, string[]>()
  for (const { value, host: owner } of status?.addresses ?? []) {
    const addresses = allocated.get(toHost(owner))
    if (addresses === undefined) allocated.set(toHost(owner), [value])
    else addresses.push(value)
  }
  const resource: ServiceEntryResource = {
    kind: 'ServiceEntry',
    name: meta.name,
    namespace: meta.namespace,
    createdAtMs: timeOf(meta.creationTimestamp),
    hosts: [...new Set(spec.hosts.filter((text) => !isPartialWildcard(text)).map(toHost))],
    addresses: spec.addresses.map(withoutFullPrefix).filter((address) => isAddress(address) && !isUnspecified(address)),
    hasAddresses: spec.addresses.length > 0,
    resolution: spec.resolution,
    selector: spec.workloadSelector?.labels ?? null,
    allocated,
    mayAllocate: meta.labels['networking.istio.io/enable-autoallocate-ip']?.toLowerCase() !== 'false',
    exportTo: spec.exportTo,
  }
  const partial = spec.hosts.find(isPartialWildcard)
  return {
    resource,
    note:
      partial === undefined
        ? ''
        : `has the host ${JSON.stringify(partial)}, which matches no name: write "*." and whole labels`,
  }
}

function toWorkloadEntry({ metadata: meta, spec }: z.infer<typeof workloadEntry>): WithNote {
  const { name, namespace } = meta
  const labels = { ...spec.labels, ...meta.labels }
  const address = isAddress(spec.address) ? spec.address : ''
  const network = spec.network || (labels[NETWORK_LABEL] ?? '')
  const cluster = labels[CLUSTER_LABEL] ?? ''
  return { resource: { kind: 'WorkloadEntry', name, namespace, address, labels, cluster, network }, note: '' }
}

/** Group of `group/version`; '' for Kubernetes' core (`v1`). Every version has the fields that are used here. */
function groupOf(apiVersion: string): string {
  return apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
}

/** To Kubernetes a field that is null is one that is not there. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  const kept = Object.entries(value).filter(([, inner]) => inner !== null && inner !== undefined)
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutNulls(inner)]))
}

const EXPECTED: Record<string, string> = { array: 'a list', object: 'a mapping', record: 'a mapping' }

function messageOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type')
    return issue.input === undefined ? 'is missing' : `expected ${EXPECTED[issue.expected] ?? `a ${issue.expected}`}`
  if (issue.code === 'invalid_value') return `expected ${issue.values.join(', ')}`
  return undefined
}

function isAddress(text: string): boolean {
  // Node takes an address with a zone for one; it means nothing on another machine.
  return isIP(text) !== 0 && !text.includes('%')
}

function isUnspecified(address: string): boolean {
  return address === '0.0.0.0' || address === '::'
}

function isAddressOrCidr(text: string): boolean {
  const [address, bits, ...rest] = text.split('/')
  if (rest.length > 0 || !isAddress(address!)) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIP(address!) === 4 ? 32 : 128))
}

/** A network of one address is that address. */
function withoutFullPrefix(text: string): string {
  const address = text.replace(/\/(?:32|128)$/, '')
  return text.endsWith('/32') && isIP(address) === 6 ? text : address
}

/** `*post.example`: istiod takes it with a warning, and no name ever matches it. */
function isPartialWildcard(text: string): boolean {
  return /^\*[^.]/.test(text)
}

/** Milliseconds since 1970; Infinity for no time at all. */
function timeOf(timestamp: unknown): number {
  const timeMs = typeof timestamp === 'string' ? Date.parse(timestamp) : Number.NaN
  return Number.isNaN(timeMs) ? Infinity : timeMs
}

function isHost(text: string): boolean {
  if (text === '*') return true
  const name = isPartialWildcard(text) ? text.slice(1) : text.startsWith('*.') ? text.slice(2) : text
  return /^[\w-]+(\.[\w-]+)*\.?$/.test(name) && nameToWire(text) !== null
}

function toHost(text: string): string {
  return text.toLowerCase().replace(/\.$/, '')
}

function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}
