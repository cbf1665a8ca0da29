/**
 * The five files that make a machine outside of Kubernetes a part of the mesh, value by value as
 * `istioctl x workload entry configure` writes them: cluster.env, mesh.yaml, root-cert.pem, istio-token, hosts.
 */
import { isIP } from 'node:net'
import { stringify } from 'yaml'
import { readYaml } from '../yaml/plain-yaml.ts'
import { quoteShell } from './cluster-env.ts'
import type { WorkloadGroup } from './workload-group.ts'

/** Names of the files, in the order in which they are written. */
export const VM_FILES = ['cluster.env', 'mesh.yaml', 'root-cert.pem', 'istio-token', 'hosts'] as const

/** What the cluster contributes, and the options of the command. */
export interface VmOptions {
  /** The mesh's configuration (key `mesh` of the ConfigMap `istio`): YAML; '' for the defaults. */
  meshConfig: string
  /** What problems call it. */
  meshConfigFile: string
  clusterId: string
  istioNamespace: string
  /** Of the control plane; '' and `default` are the same. */
  revision: string
  /** PEM. */
  rootCert: string
  token: string
  /** Where the control plane is reached from the machine; '' leaves hosts empty. */
  ingressIp: string
  internalIp: string
  externalIp: string
  isDnsCaptured: boolean
  isAutoRegistered: boolean
}

type Plain = Record<string, unknown>

const DEFAULT_TRUST_DOMAIN = 'cluster.local'
const PROXY_CONFIG = 'proxy.istio.io/config'
const CANONICAL_NAME = 'service.istio.io/canonical-name'
const CANONICAL_REVISION = 'service.istio.io/canonical-revision'

/** The files' contents by name, or what is wrong with what they were to be made of, one line each. */
export function vmFiles(
  group: WorkloadGroup,
  options: VmOptions,
): { files: Record<string, string> } | { problems: string[] } {
  const problems: string[] = []
  const mesh = readSection(options.meshConfig, options.meshConfigFile, problems)
  const annotated = [group.annotations, group.workloadAnnotations]
    .map((annotations) => annotations[PROXY_CONFIG])
    .filter((each) => each !== undefined)
    .map((yaml) => readSection(yaml, `annotation ${PROXY_CONFIG}`, problems))
  for (const [key, ip] of Object.entries({
    ingressIp: options.ingressIp,
    internalIp: options.internalIp,
    externalIp: options.externalIp,
  }))
    if (ip !== '' && isIP(ip) === 0) problems.push(`${key}: must be an IP address, not ${JSON.stringify(ip)}`)
  if (problems.length > 0) return { problems }

  const configs = [defaultConfigOf(mesh, options), ...annotated]
  const config = configs.reduce<Plain>(mergeDeep, {})
  const metadata = metadataOf(
    group,
    options,
    configs,
    stringOf(config['meshId']),
    stringOf(mesh['trustDomain']) || DEFAULT_TRUST_DOMAIN,
  )
  const whole = { ...config, proxyMetadata: metadata, ...(group.probe !== null && { readinessProbe: group.probe }) }
  const host = istiodHost(options)
  return {
    files: {
      'cluster.env': clusterEnv(group, options, metadata, config['statusPort']),
      'mesh.yaml': stringify({ defaultConfig: whole }, { sortMapEntries: true, lineWidth: 0, singleQuote: true }),
      'root-cert.pem': options.rootCert,
      'istio-token': options.token,
      hosts: options.ingressIp === '' ? '' : `${options.ingressIp} ${host}\n`,
    },
  }
}

function isRevisioned({ revision }: VmOptions): boolean {
  return revision !== '' && revision !== 'default'
}

/** `istiod.istio-system.svc`, `istiod-canary.istio-system.svc`. */
function istiodHost(options: VmOptions): string {
  return `istiod${isRevisioned(options) ? `-${options.revision}` : ''}.${options.istioNamespace}.svc`
}

function defaultConfigOf(mesh: Plain, options: VmOptions): Plain {
  const config = isPlain(mesh['defaultConfig']) ? mesh['defaultConfig'] : {}
  if (stringOf(config['discoveryAddress']) !== '') return config
  return { ...config, discoveryAddress: `${istiodHost(options)}:15012` }
}

/** Metadata of all configurations, the later ones over the earlier ones, and what the group says. */
function metadataOf(
  group: WorkloadGroup,
  options: VmOptions,
  configs: readonly Plain[],
  meshId: string,
  trustDomain: string,
): Record<string, string> {
  const { template } = group
  const labels: Record<string, string> = { ...group.workloadLabels, ...template.labels }
  const service = labels[CANONICAL_NAME] || labels['app.kubernetes.io/name'] || labels['app'] || group.name
  const revision = labels[CANONICAL_REVISION] || labels['app.kubernetes.io/version'] || labels['version'] || 'latest'
  const ports = Object.entries(template.ports)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, containerPort]) => ({ name, containerPort, protocol: '' }))
  return {
    ...Object.fromEntries(
      configs
        .flatMap(({ proxyMetadata }) => (isPlain(proxyMetadata) ? Object.entries(proxyMetadata) : []))
        .map(([key, value]) => [key, stringOf(value)]),
    ),
    CANONICAL_SERVICE: service,
    CANONICAL_REVISION: revision,
    POD_NAMESPACE: group.namespace,
    SERVICE_ACCOUNT: template.serviceAccount,
    TRUST_DOMAIN: trustDomain,
    ISTIO_META_CLUSTER_ID: options.clusterId,
    ISTIO_META_MESH_ID: meshId,
    ISTIO_META_NETWORK: template.network,
    ...(ports.length > 0 && { ISTIO_META_POD_PORTS: goJson(ports) }),
    ISTIO_META_WORKLOAD_NAME: group.name,
    ISTIO_METAJSON_LABELS: goJson(sorted({ ...labels, [CANONICAL_NAME]: service, [CANONICAL_REVISION]: revision })),
    ...(options.isDnsCaptured && { ISTIO_META_DNS_CAPTURE: 'true' }),
    ...(options.isAutoRegistered && { ISTIO_META_AUTO_REGISTER_GROUP: group.name }),
  }
}

function clusterEnv(
  group: WorkloadGroup,
  options: VmOptions,
  metadata: Record<string, string>,
  statusPort: unknown,
): string {
  const { template } = group
  const ports = Object.entries(template.ports).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const address = options.internalIp || options.externalIp
  const isElsewhere = statusPort === 15_090 || statusPort === 15_021
  const status = typeof statusPort === 'number' && statusPort !== 0 ? statusPort : 15_020
  const env: Record<string, string> = {
    ...metadata,
    ISTIO_INBOUND_PORTS: ports.length === 0 ? '*' : ports.map(([, port]) => port).join(','),
    ISTIO_NAMESPACE: group.namespace,
    ISTIO_SERVICE: `${group.name}.${group.namespace}`,
    ISTIO_SERVICE_CIDR: '*',
    ISTIO_LOCAL_EXCLUDE_PORTS: `22,15090,15021${isElsewhere ? '' : `,${status}`}`,
    SERVICE_ACCOUNT: template.serviceAccount,
    ...(isRevisioned(options) && { CA_ADDR: `${istiodHost(options)}:15012` }),
    ...(address !== '' && { ISTIO_SVC_IP: address }),
    ...(options.internalIp === '' &&
      options.externalIp !== '' && { REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION: 'true' }),
  }
  const lines = Object.entries(env).map(([key, value]) => `${key}=${quoteShell(value)}\n`)
  return lines.toSorted().join('')
}

function readSection(yaml: string, what: string, problems: string[]): Plain {
  const [document, second] = readYaml(yaml)
  const problem = second !== undefined ? 'is more than one document' : document?.problems[0]?.message
  const values = document?.values ?? {}
  if (problem === undefined && isPlain(values)) return values
  problems.push(`${what}: ${problem ?? 'must be a section of keys'}`)
  return {}
}

/** Sections are merged, everything else replaced. */
function mergeDeep(below: Plain, above: Plain): Plain {
  const merged = new Map(Object.entries(below))
  for (const [key, value] of Object.entries(above)) {
    const known = merged.get(key)
    merged.set(key, isPlain(known) && isPlain(value) ? mergeDeep(known, value) : value)
  }
  return Object.fromEntries(merged)
}

function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function stringOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value)
}

function sorted(labels: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** Go's encoding/json also escapes what would be markup in HTML. */
function goJson(value: unknown): string {
  const escape: Record<string, string> = {
    '<': '\\u003c',
    '>': '\\u003e',
    '&': '\\u0026',
    '\u2028': '\\u2028',
    '\u2029': '\\u2029',
  }
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (char) => escape[char]!)
}
