/**
 * The environment that Istio's sidecar injector, and cluster.env on a VM, give Istio's agent: byname takes the same, so
 * that it runs in the agent's place. A VM's files only have to be read into an environment first.
 */

import { join } from 'node:path'
import type { VmEnvironment } from '../istio/vm-environment.ts'
import { readYaml } from '../yaml/plain-yaml.ts'
import { parseHostPort, quote, socketText } from './address.ts'
import { type Environment, readBoolean } from './environment.ts'
import { parseGoDuration } from './go-duration.ts'
import { configSchema, type IstioConfig } from './schema.ts'
import { leavesOf } from './schema-keys.ts'
import { isMap, type PlainMap, type Setting } from './layer.ts'

/** Where istiod is if nothing says otherwise, and where the kubelet puts the token for it. */
const ISTIOD = 'istiod.istio-system.svc:15012'
const TOKEN = '/var/run/secrets/tokens/istio-token'
/** Root certificates as the injector mounts them, and as a machine has them. */
const ROOT_CERTS = ['/etc/certs/root-cert.pem', '/var/run/secrets/istio/root-cert.pem']

/** What Istio's environment says. */
export interface IstioEnvironment {
  istio: IstioConfig
  /** To be laid under BYNAME_*. */
  settings: Setting[]
  /** The control plane to use if the configuration names no mesh source. Null outside Istio. */
  source: Setting | null
  /** What fills keys of mesh.source.xds that nobody has set, whatever address it has. */
  defaults: { rootCert: string; serverName: string; certificateAuthority: string; certificateFolder: string }
  problems: string[]
}

const METADATA = 'ISTIO_META_'
const JSON_METADATA = 'ISTIO_METAJSON_'

/** Variables whose text is not the value itself. They return undefined for what sets nothing. */
const READERS: Readonly<Record<string, (written: string, report: (problem: string) => void) => unknown>> = {
  DNS_PROXY_ADDR: listenAddresses,
  ISTIO_METAJSON_LABELS: readLabels,
  DNS_FORWARD_PARALLEL: (written, report) => {
    const isParallel = readBoolean(written)
    if (isParallel === null) report(`must be true or false, not ${quote(written)}`)
    return isParallel === true ? 'parallel' : undefined
  },
  DNS_FORWARD_TIMEOUT: (written, report) => {
    const ms = parseGoDuration(written)
    if (ms !== null && ms > 0) return Math.ceil(ms)
    report(`must be a duration such as 2s or 500ms, not ${quote(written)}`)
    return undefined
  },
}

/** Reads Istio's variables, those of a machine's files below those of the process. Those that are empty count as unset. */
export function readIstioEnvironment(given: Environment, vm: VmEnvironment | null = null): IstioEnvironment {
  const problems: string[] = [...(vm?.problems ?? [])]
  const env: Environment = { ...vm?.variables, ...given }
  const proxy = readProxyConfig(env.PROXY_CONFIG ?? '', problems)
  // The injector sets proxyMetadata as variables too; a container of our own sees it in PROXY_CONFIG only. Its
  // DNS_PROXY_ADDR is left out: that is how the agent is moved away from the port that byname takes.
  const { DNS_PROXY_ADDR: _agents, ...metadata } = proxy.metadata
  const all: Environment = { ...metadata, ...env }
  const settings = leavesOf(configSchema).flatMap(({ path, notes: { istio } }): Setting[] => {
    const written = istio === undefined ? undefined : all[istio]
    if (istio === undefined || written === undefined || written === '') return []
    const read = READERS[istio]
    const value = read === undefined ? written : read(written, (problem) => problems.push(`${istio}: ${problem}`))
    return value === undefined ? [] : [{ path, value, from: istio }]
  })
  // A machine whose resolv.conf leads to byname itself has its own resolvers beside it.
  if (vm !== null && vm.resolvConf !== '')
    settings.push({ path: ['upstream', 'resolvConf'], value: vm.resolvConf, from: vm.resolvConf })
  const isDetected =
    vm !== null ||
    Object.entries(all).some(
      ([name, value]) =>
        value && (/^ISTIO_META(?:JSON)?_/.test(name) || /^(?:PROXY_CONFIG|CA_ADDR|XDS_ROOT_CA)$/.test(name)),
    )
  return {
    istio: {
      isDetected,
      metadata: nodeMetadata(all, problems),
      ...filesOf(all, vm),
      origins: vm?.origins ?? {},
    },
    settings,
    source: isDetected ? sourceOf(proxy, vm) : null,
    defaults: {
      rootCert: all.XDS_ROOT_CA ?? '',
      serverName: all.ISTIOD_SAN ?? '',
      certificateAuthority: all.CA_ADDR ?? '',
      certificateFolder: all.OUTPUT_CERTS ?? '',
    },
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

/** Where Istio's agent looks for certificates (control plane and client), and for names of the control plane. */
function filesOf(
  env: Environment,
  vm: VmEnvironment | null,
): Pick<IstioConfig, 'rootCerts' | 'certificates' | 'hostsFiles'> {
  const provided = env.PROV_CERT ?? ''
  const mounted = env.FILE_MOUNTED_CERTS === 'true' ? ['/etc/certs'] : []
  const folders = [...(provided === '' ? [] : [provided]), ...mounted]
  const roots = vm?.rootCerts ?? []
  return {
    rootCerts: [...new Set([...folders.map((folder) => join(folder, 'root-cert.pem')), ...roots, ...ROOT_CERTS])],
    certificates: folders.map((folder) => ({ cert: join(folder, 'cert-chain.pem'), key: join(folder, 'key.pem') })),
    hostsFiles: [...new Set([...(vm === null ? [] : [vm.hosts]), '/etc/hosts'])],
  }
}

function sourceOf(proxy: ProxyConfig, vm: VmEnvironment | null): Setting {
  const address = proxy.discoveryAddress || ISTIOD
  // Port 15010 is istiod's plaintext port.
  const isPlaintext = proxy.isPlaintext || address.endsWith(':15010')
  const secured = { address, tls: {}, token: vm?.token ?? TOKEN }
  // A machine's token lives for an hour, and nobody writes another one: a certificate takes its place.
  const own = vm === null ? {} : { certificate: 'istiod', certificateFolder: vm.certificates }
  const xds = isPlaintext ? { address } : { ...secured, ...own }
  return {
    path: ['mesh', 'source', 'xds'],
    value: xds,
    from: proxy.discoveryAddress ? 'PROXY_CONFIG' : "Istio's environment",
  }
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

function readLabels(json: string, report: (problem: string) => void): PlainMap | undefined {
  const read = readJson(json)
  if (isMap(read)) return Object.fromEntries(Object.entries(read).map(([name, value]) => [name, String(value)]))
  report('must be a JSON object of labels')
  return undefined
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
