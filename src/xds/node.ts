import { isIP } from 'node:net'
import { type Json, type Node, toStruct } from '../proto/ads.ts'

/** Who the workload is towards the control plane. Empty strings where nothing is known. */
export interface NodeIdentity {
  namespace: string
  /** Domain of the namespace: `shop.svc.cluster.local`. */
  domain: string
  pod: string
  ip: string
  serviceAccount: string
  cluster: string
  network: string
  labels: Record<string, string>
}

/** What a node is made of. */
export interface NodeOptions {
  identity: NodeIdentity
  /** Node metadata that Istio's environment names (ISTIO_META_*, ISTIO_METAJSON_*), keys without that prefix. */
  metadata: Record<string, unknown>
  /** Addresses of this machine, loopback excepted: they stand in where the identity names none. Link-local ones do not count. */
  ownAddresses: readonly string[]
  /** byname's version. */
  version: string
}

/**
 * The node that subscribes: Istio's `sidecar~IP~POD.NAMESPACE~DOMAIN` and its metadata. The identity wins over the
 * environment, except for INSTANCE_IPS, of which the identity has but one.
 *
 * DNS_CAPTURE is the environment's, and "true" without it: istiod sends a name table whatever it says, but leaves automatic
 * addresses out if it is "false".
 *
 * ISTIO_VERSION is sent only if the environment names it: istiod treats a node without as a new one, and one of an older
 * version as unable to do what came after it. GENERATOR is never sent, it would select another kind of table.
 */
export function buildNode(options: NodeOptions): Node {
  const { identity } = options
  const environment = fromEnvironment(options.metadata)
  const addresses = instanceAddresses(options, environment.INSTANCE_IPS)
  const known: Record<string, Json> = {
    NAMESPACE: identity.namespace,
    SERVICE_ACCOUNT: identity.serviceAccount,
    CLUSTER_ID: identity.cluster,
    NETWORK: identity.network,
    INSTANCE_IPS: addresses.join(','),
  }
  const metadata = { DNS_CAPTURE: 'true', ...environment, ...withoutEmpty(known), LABELS: { ...identity.labels } }
  const ip = isAddress(identity.ip) ? identity.ip : addresses[0]!
  return {
    id: `sidecar~${ip}~${identity.pod || 'byname'}.${identity.namespace}~${identity.domain}`,
    cluster: '',
    metadata: toStruct(metadata),
    user_agent_name: 'byname',
    user_agent_version: options.version,
  }
}

/** istiod reads the metadata into typed fields: one JSON boolean where it expects the text breaks all of it. */
function fromEnvironment(metadata: Record<string, unknown>): Record<string, Json> {
  const read: Record<string, Json> = {}
  for (const [key, value] of Object.entries(metadata)) {
    if (key === 'GENERATOR' || value === undefined) continue
    read[key] = typeof value === 'boolean' ? String(value) : toJson(value)
  }
  return read
}

function toJson(value: unknown): Json {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object') return null
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]))
}

/** At least one: istiod refuses a node without any. It takes none of the list if one of them is invalid, so those go. */
function instanceAddresses(options: NodeOptions, written: Json | undefined): string[] {
  const listed = typeof written === 'string' ? written.split(',').map((each) => each.trim()) : []
  // A link-local address is of every machine: Istio's agent leaves it out, and it must not make a node one of two families.
  const own = options.ownAddresses.filter((address) => !/^(?:fe[89ab][0-9a-f]:|169\.254\.)/i.test(address))
  for (const candidates of [listed, [options.identity.ip], own]) {
    const valid = candidates.filter(isAddress)
    if (valid.length > 0) return valid
  }
  return ['127.0.0.1']
}

/** Node takes an address with a zone for one, Go does not. */
function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes('%')
}

function withoutEmpty(fields: Record<string, Json>): Record<string, Json> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''))
}
