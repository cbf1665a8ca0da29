/**
 * The environment that Istio's sidecar injector, and cluster.env on a VM, give Istio's agent: byname takes the same, so
 * that it runs in the agent's place. A VM's files only have to be read into an environment first.
 */

import { readYaml } from '../yaml/plain-yaml.ts'
import { parseHostPort, quote, socketText } from './address.ts'
import { type Environment, readBoolean } from './environment.ts'
import { parseGoDuration } from './go-duration.ts'
import type { IstioConfig } from './schema.ts'
import { isMap, type PlainMap, type Setting } from './setting.ts'

/** Where istiod is if nothing says otherwise, and where the kubelet puts the token for it. */
const ISTIOD = 'istiod.istio-system.svc:15012'
const TOKEN = '/var/run/secrets/tokens/istio-token'

/** What Istio's environment says. */
export interface IstioEnvironment {
  istio: IstioConfig
  /** To be laid under BYNAME_*. */
  settings: Setting[]
  /** The control plane to use if the configuration names no mesh source. */
  source: Setting
  /** XDS_ROOT_CA, empty if unset. */
  rootCert: string
  problems: string[]
}

const METADATA = 'ISTIO_META_'
const JSON_METADATA = 'ISTIO_METAJSON_'

/** Reads Istio's variables. Those that are empty count as unset. */
export function readIstioEnvironment(env: Environment): IstioEnvironment {
  const problems: string[] = []
  const proxy = readProxyConfig(env.PROXY_CONFIG ?? '', problems)
  // The injector sets proxyMetadata as variables too; a container of our own sees it in PROXY_CONFIG only. Its
  // DNS_PROXY_ADDR is left out: that is how the agent is moved away from the port that byname takes.
  const { DNS_PROXY_ADDR: _agents, ...metadata } = proxy.metadata
  const all: Environment = { ...metadata, ...env }
  const settings: Setting[] = []
  const set = (name: string, path: string[], read: (value: string) => unknown = (value) => value): void => {
    const written = all[name]
    if (written === undefined || written === '') return
    const value = read(written)
    if (value !== undefined) settings.push({ path, value, from: name })
  }
  set('POD_NAME', ['identity', 'pod'])
  set('POD_NAMESPACE', ['identity', 'namespace'])
  set('INSTANCE_IP', ['identity', 'ip'])
  set('SERVICE_ACCOUNT', ['identity', 'serviceAccount'])
  set('ISTIO_META_CLUSTER_ID', ['identity', 'cluster'])
  set('ISTIO_META_NETWORK', ['identity', 'network'])
  set('ISTIO_METAJSON_LABELS', ['identity', 'labels'], (json) => readLabels(json, problems))
  set('DNS_PROXY_ADDR', ['listen'], (address) => listenAddresses(address))
  set('DNS_FORWARD_PARALLEL', ['upstream', 'policy'], (value) => {
    const isParallel = readBoolean(value)
    if (isParallel === null) problems.push(`DNS_FORWARD_PARALLEL: must be true or false, not ${quote(value)}`)
    return isParallel === true ? 'parallel' : undefined
  })
  set('DNS_FORWARD_TIMEOUT', ['upstream', 'attemptTimeoutMs'], (value) => {
    const ms = parseGoDuration(value)
    if (ms !== null && ms > 0) return Math.ceil(ms)
    problems.push(`DNS_FORWARD_TIMEOUT: must be a duration such as 2s or 500ms, not ${quote(value)}`)
    return undefined
  })
  const isDetected = Object.entries(all).some(
    ([name, value]) =>
      value && (/^ISTIO_META(?:JSON)?_/.test(name) || /^(?:PROXY_CONFIG|CA_ADDR|XDS_ROOT_CA)$/.test(name)),
  )
  return {
    istio: { isDetected, metadata: nodeMetadata(all, problems), caAddress: all.CA_ADDR ?? '' },
    settings,
    source: sourceOf(proxy),
    rootCert: all.XDS_ROOT_CA ?? '',
    problems,
  }
}

interface ProxyConfig {
  discoveryAddress: string
  isPlaintext: boolean
  metadata: Record<string, string>
}

/** PROXY_CONFIG: the ProxyConfig message of Istio's mesh configuration, in JSON or YAML. */
function readProxyConfig(text: string, problems: string[]): ProxyConfig {
  const [document, second] = readYaml(text)
  const reason = second === undefined ? document?.problems[0]?.message : 'it is more than one document'
  const read = document?.values ?? {}
  if (reason !== undefined || !isMap(read)) {
    problems.push(`PROXY_CONFIG: must be YAML with keys such as discoveryAddress${reason ? ` (${reason})` : ''}`)
    return { discoveryAddress: '', isPlaintext: false, metadata: {} }
  }
  const address = read.discoveryAddress
  const isAddress = typeof address === 'string' && 'value' in parseHostPort(address)
  if (address !== undefined && address !== null && address !== '' && !isAddress) {
    const shown = typeof address === 'string' ? quote(address) : `a ${typeof address}`
    problems.push(`PROXY_CONFIG: discoveryAddress: must be HOST:PORT, not ${shown}`)
  }
  const metadata = isMap(read.proxyMetadata) ? Object.entries(read.proxyMetadata) : []
  return {
    discoveryAddress: isAddress ? address : '',
    isPlaintext: read.controlPlaneAuthPolicy === 'NONE',
    metadata: Object.fromEntries(metadata.map(([name, value]) => [name, String(value)])),
  }
}

function sourceOf(proxy: ProxyConfig): Setting {
  const address = proxy.discoveryAddress || ISTIOD
  // Port 15010 is istiod's plaintext port.
  const isPlaintext = proxy.isPlaintext || address.endsWith(':15010')
  const xds = isPlaintext ? { address } : { address, tls: {}, token: TOKEN }
  return { path: ['mesh', 'source', 'xds'], value: xds, from: proxy.discoveryAddress ? 'PROXY_CONFIG' : 'default' }
}

/** Go's listen addresses: `localhost:15053` is both loopbacks, `:53` every address. */
function listenAddresses(written: string): string[] {
  const [, host, port] = /^(.*):(\d+)$/.exec(written.trim()) ?? []
  if (host === 'localhost') return [socketText('127.0.0.1', Number(port)), socketText('::1', Number(port))]
  if (host === '') return [socketText('0.0.0.0', Number(port)), socketText('::', Number(port))]
  return [written]
}

/** ISTIO_META_NAME is a text; ISTIO_METAJSON_NAME is a JSON object whose keys join the metadata, labels excepted. */
function nodeMetadata(env: Environment, problems: string[]): PlainMap {
  // A Map and fromEntries, because a key of `__proto__` must stay a key.
  const metadata = new Map<string, unknown>()
  for (const [name, value] of Object.entries(env)) {
    if (!value) continue
    if (name.startsWith(METADATA)) metadata.set(name.slice(METADATA.length), value)
    else if (name.startsWith(JSON_METADATA) && name !== 'ISTIO_METAJSON_LABELS') {
      const read = readJson(value)
      if (isMap(read)) for (const [key, inner] of Object.entries(read)) metadata.set(key, inner)
      else problems.push(`${name}: must be a JSON object`)
    }
  }
  return Object.fromEntries(metadata)
}

function readLabels(json: string, problems: string[]): PlainMap | undefined {
  const read = readJson(json)
  if (isMap(read)) return Object.fromEntries(Object.entries(read).map(([name, value]) => [name, String(value)]))
  problems.push('ISTIO_METAJSON_LABELS: must be a JSON object of labels')
  return undefined
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
