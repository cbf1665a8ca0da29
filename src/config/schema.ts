/**
 * The whole configuration: its shape once read (`Config`) and the zod schema that reads it from plain YAML values.
 * Every key is optional, unknown keys are errors, and messages complete the sentence "KEY: …".
 */

import { isIP } from 'node:net'
import * as z from 'zod'
import type { AddressPrefix, HostPort, Parsed, ServerAddress, SocketAddress } from './address.ts'
import { isHostName, parseHostPort, parsePrefix, parseServer, parseSocketAddress, quote } from './address.ts'

/** How an upstream server is chosen among several. */
type UpstreamPolicy = 'random' | 'sequential' | 'fastest' | 'parallel'

/** Who the workload is. Empty strings where nothing is known. */
interface IdentityConfig {
  namespace: string
  /** Domain of the namespace, without a trailing dot: `shop.svc.cluster.local`. */
  domain: string
  pod: string
  ip: string
  serviceAccount: string
  cluster: string
  network: string
  labels: Record<string, string>
}

/** Files for TLS towards the control plane. Empty strings where nothing is configured. */
interface XdsTlsConfig {
  /** File of root certificates, `SYSTEM` for the system's, empty to look where Istio's agent looks. */
  rootCert: string
  cert: string
  key: string
  /** Name that the control plane's certificate must carry; empty: its host name. */
  serverName: string
}

/** A control plane to subscribe to. */
interface XdsSourceConfig {
  kind: 'xds'
  /** Tried in turn; at least one. */
  addresses: HostPort[]
  /** Null: plaintext. */
  tls: XdsTlsConfig | null
  /** File of the bearer token, empty for none. Read afresh for every connection. */
  token: string
  /** True: delta ADS; false: state of the world. */
  delta: boolean
}

/** Where the name table comes from. */
export type MeshSourceConfig = XdsSourceConfig | { kind: 'table'; file: string } | { kind: 'files'; folder: string }

/** Servers for the names at and below `domains`. */
interface RouteConfig {
  /** Lower case, without trailing dots. */
  domains: string[]
  servers: ServerAddress[]
  policy: UpstreamPolicy
}

/** The configuration as the schema returns it: complete, defaults filled in. */
export interface FileConfig {
  /** UDP and TCP on each; at least one. */
  listen: SocketAddress[]
  workers: number
  driver: 'auto' | 'batch' | 'dgram'
  identity: IdentityConfig
  mesh: {
    /** Null: none is named, `loadConfig` chooses. */
    source: MeshSourceConfig | null
    ttlSeconds: number
    httpsRecords: 'nodata' | 'forward'
    beforeSync: 'auto' | 'servfail' | 'forward'
    /** File that keeps the table across restarts; empty: none. */
    lastKnownGood: string
  }
  upstream: {
    resolvConf: string
    /** Empty: those of `resolvConf`. */
    servers: ServerAddress[]
    routes: RouteConfig[]
    policy: UpstreamPolicy
    /** Null: as resolv.conf's `timeout` says if its servers are used, else a second. */
    attemptTimeoutMs: number | null
    deadlineMs: number
    maxInFlight: number
    /** Ask in a mixture of capitals and small letters that replies must repeat ("0x20"). */
    caseRandomization: boolean
    /** File of root certificates (PEM) that servers over TLS and HTTPS are verified by; empty: those that Node brings. */
    rootCert: string
  }
  /** Bytes. */
  maxUdpPayload: { local: number; remote: number }
  /** Who may ask; empty: the defaults. */
  access: AddressPrefix[]
  /** Names for it to answer, hosts(5), watched; empty: none. */
  hostsFile: string
  /** For each client address and worker; 0 queries a second: no limit. */
  rateLimit: { queriesPerSecond: number; burst: number }
  cache: {
    /** For all workers together; 0 turns the cache off. */
    maxBytes: number
    minTtlSeconds: number
    maxTtlSeconds: number
    maxNegativeTtlSeconds: number
    staleSeconds: number
    prefetch: boolean
    /** An NXDOMAIN answers for all names below (RFC 8020). */
    nxdomainCut: boolean
  }
  /** Null: off. */
  metrics: { listen: SocketAddress | null }
  /** Null: off. */
  admin: { listen: SocketAddress | null }
  log: { level: LogLevel; format: 'auto' | 'json' | 'pretty' }
}

/** Least level that is logged. */
type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** What Istio's environment says beyond the configuration: the xDS node and credentials need it. */
export interface IstioConfig {
  /** True if byname was started as Istio's agent is (in an injected pod, on a VM). */
  isDetected: boolean
  /** Node metadata from ISTIO_META_* and ISTIO_METAJSON_*; values as Istio sends them (booleans are strings). */
  metadata: Record<string, unknown>
  /** CA_ADDR, empty if unset. */
  caAddress: string
}

/** The configuration in use. */
export interface Config extends FileConfig {
  mesh: FileConfig['mesh'] & { source: MeshSourceConfig }
  istio: IstioConfig
}

/** A number of servers that metrics can label; the counters have as many slots. */
export const MAX_SERVERS = 32
/** Servers that resolv.conf may name where the configuration names none but those of routes (resolv.conf(5), MAXNS). */
export const RESOLV_CONF_SERVERS = 3
/** Routes at most. The engine tells 65,536 apart; a file of so many takes long to read. */
export const MAX_ROUTES = 4096

function parsed<T>(parse: (text: string) => Parsed<T>, what: string): z.ZodType<T, string> {
  return z.string({ error: `must be ${what}` }).transform((text, context) => {
    const result = parse(text)
    if ('value' in result) return result.value
    context.issues.push({ code: 'custom', message: result.reason, input: text })
    return z.NEVER
  })
}

function wholeNumber(least: number, most: number): z.ZodNumber {
  const error = `must be a whole number from ${least} to ${most}`
  return z.number({ error }).int({ error }).min(least, { error }).max(most, { error })
}

function oneOf<const T extends string>(...values: T[]): z.ZodType<T, T> {
  return z.enum(values, { error: `must be ${values.slice(0, -1).join(', ')} or ${values.at(-1)}` })
}

function listOf<T, I>(element: z.ZodType<T, I>, what: string): z.ZodType<T[], I[]> {
  const error = `must be a list of ${what}`
  return z.array(element, { error: (issue) => (issue.input === undefined ? `is missing; it ${error}` : error) })
}

function section<T extends z.ZodRawShape>(shape: T): z.ZodObject<T, z.core.$strict> {
  return z.strictObject(shape, {
    // Undefined leaves unknown keys to the reader of the issues, which knows the keys there are.
    error: (issue) => (issue.code === 'invalid_type' ? 'must be a section of keys' : undefined),
  })
}

const text = z.string({ error: 'must be a text' })
const flag = z.boolean({ error: 'must be true or false' })
const file = z.string({ error: 'must be the name of a file' })
const requiredPath = z.string({ error: 'must be a path' }).min(1, { error: 'must not be empty' })
const domainName = parsed<string>((written) => {
  const name = written.toLowerCase().replace(/\.$/, '')
  return isHostName(written) ? { value: name } : { reason: `${quote(written)} is no domain name` }
}, 'a domain name')
const ipOrEmpty = parsed<string>(
  (written) => (written === '' || isIP(written) !== 0 ? { value: written } : { reason: 'must be an IP address' }),
  'an IP address',
)
const listenAddress = parsed(parseSocketAddress, 'an address and port')
const listenOrOff = parsed<SocketAddress | null>(
  (written) => (written === '' ? { value: null } : parseSocketAddress(written)),
  'an address and port, or "" for none',
)
const server = parsed(parseServer, 'a server')
const policy = oneOf('random', 'sequential', 'fastest', 'parallel')

const identity = section({
  namespace: domainName.prefault('default'),
  domain: domainName.optional(),
  pod: text.default(''),
  ip: ipOrEmpty.prefault(''),
  serviceAccount: text.default(''),
  cluster: text.default(''),
  network: text.default(''),
  labels: z.record(z.string(), text, { error: 'must be a section of texts' }).default({}),
}).transform((read): IdentityConfig => ({ ...read, domain: read.domain ?? `${read.namespace}.svc.cluster.local` }))

const controlPlane = parsed(parseHostPort, 'an address and port')
const xds = section({
  address: z.preprocess(
    (written) => (typeof written === 'string' ? [written] : written),
    z
      .array(controlPlane, {
        error: (issue) => (issue.input === undefined ? 'is missing; write HOST:PORT' : 'must be an address or a list'),
      })
      .min(1, { error: 'must name at least one address' }),
  ),
  tls: section({
    rootCert: file.default(''),
    cert: file.default(''),
    key: file.default(''),
    serverName: text.default(''),
  }).optional(),
  token: file.default(''),
  delta: flag.default(true),
})
const source = section({
  xds: xds.optional(),
  table: requiredPath.optional(),
  files: requiredPath.optional(),
}).transform((read, context): MeshSourceConfig | null => {
  if (Object.keys(read).length > 1) {
    const message = `takes one of xds, table and files, not ${Object.keys(read).join(' and ')}`
    context.issues.push({ code: 'custom', message, input: read })
  }
  if (read.table !== undefined) return { kind: 'table', file: read.table }
  if (read.files !== undefined) return { kind: 'files', folder: read.files }
  if (read.xds === undefined) return null
  const { address, tls, token, delta } = read.xds
  return { kind: 'xds', addresses: address, tls: tls ?? null, token, delta }
})

const upstream = section({
  resolvConf: file.default('/etc/resolv.conf'),
  servers: listOf(server, 'servers').default([]),
  routes: listOf(
    section({
      domains: listOf(domainName, 'domain names'),
      servers: listOf(server, 'servers'),
      policy: policy.optional(),
    }),
    'routes',
  ).default([]),
  policy: policy.default('random'),
  attemptTimeoutMs: wholeNumber(10, 60_000).optional(),
  deadlineMs: wholeNumber(10, 120_000).default(4500),
  maxInFlight: wholeNumber(1, 16_384).default(4096),
  caseRandomization: flag.default(false),
  rootCert: file.default(''),
}).transform((read, context): FileConfig['upstream'] => {
  const attemptTimeoutMs = read.attemptTimeoutMs ?? null
  if (attemptTimeoutMs !== null && attemptTimeoutMs > read.deadlineMs) {
    context.issues.push(problem(['attemptTimeoutMs'], `must not be over deadlineMs (${read.deadlineMs})`, read))
  }
  read.routes.forEach((route, index) => {
    for (const key of ['domains', 'servers'] as const) {
      if (route[key].length === 0) context.issues.push(problem(['routes', index, key], 'must not be empty', read))
    }
  })
  const labels = [...read.servers, ...read.routes.flatMap((route) => route.servers)].map((each) => each.label)
  const most = read.servers.length > 0 ? MAX_SERVERS : MAX_SERVERS - RESOLV_CONF_SERVERS
  if (new Set(labels).size > most) {
    const others = read.servers.length > 0 ? 'those of routes included' : 'as resolv.conf names some, too'
    context.issues.push(problem(['servers'], `must be at most ${most} servers, ${others}`, read))
  }
  if (read.routes.length > MAX_ROUTES) {
    context.issues.push(
      problem(['routes'], `must be at most ${MAX_ROUTES} routes; give one route several domains`, read),
    )
  }
  const routes = read.routes.map((route) => ({ ...route, policy: route.policy ?? read.policy }))
  return { ...read, routes, attemptTimeoutMs }
})

const cache = section({
  maxBytes: wholeNumber(0, 2 ** 40).default(8 * 1024 * 1024),
  minTtlSeconds: wholeNumber(0, 86_400).default(0),
  maxTtlSeconds: wholeNumber(1, 604_800).default(3600),
  maxNegativeTtlSeconds: wholeNumber(0, 86_400).default(300),
  staleSeconds: wholeNumber(0, 604_800).default(3600),
  prefetch: flag.default(true),
  nxdomainCut: flag.default(false),
}).transform((read, context): FileConfig['cache'] => {
  if (read.minTtlSeconds > read.maxTtlSeconds) {
    context.issues.push(problem(['minTtlSeconds'], `must not be over maxTtlSeconds (${read.maxTtlSeconds})`, read))
  }
  return read
})

/** Reads plain values (YAML, environment and flags merged) into a complete configuration. */
export const configSchema: z.ZodType<FileConfig> = section({
  listen: listOf(listenAddress, 'addresses').prefault(['127.0.0.1:15053', '[::1]:15053']),
  workers: wholeNumber(1, 64).default(1),
  driver: oneOf('auto', 'batch', 'dgram').default('auto'),
  identity: identity.prefault({}),
  mesh: section({
    source: source.prefault({}),
    ttlSeconds: wholeNumber(1, 86_400).default(30),
    httpsRecords: oneOf('nodata', 'forward').default('nodata'),
    beforeSync: oneOf('auto', 'servfail', 'forward').default('auto'),
    lastKnownGood: file.default(''),
  }).prefault({}),
  upstream: upstream.prefault({}),
  maxUdpPayload: section({
    local: wholeNumber(512, 65_507).default(4096),
    remote: wholeNumber(512, 65_507).default(1232),
  }).prefault({}),
  access: listOf(parsed(parsePrefix, 'a prefix'), 'prefixes').default([]),
  hostsFile: file.default(''),
  rateLimit: section({
    queriesPerSecond: wholeNumber(0, 1_000_000).default(0),
    burst: wholeNumber(1, 1_000_000).default(100),
  }).prefault({}),
  cache: cache.prefault({}),
  metrics: section({ listen: listenOrOff.prefault('[::]:9153') }).prefault({}),
  admin: section({ listen: listenOrOff.prefault('127.0.0.1:15054') }).prefault({}),
  log: section({
    level: oneOf('debug', 'info', 'warn', 'error').default('info'),
    format: oneOf('auto', 'json', 'pretty').default('auto'),
  }).prefault({}),
}).transform((read, context): FileConfig => {
  if (read.listen.length === 0) context.issues.push(problem(['listen'], 'must name at least one address', read))
  read.listen.forEach((address, index) => {
    if (address.port === 0 || read.listen.findIndex((other) => other.text === address.text) === index) return
    context.issues.push(problem(['listen', index], `${address.text} is there twice`, read))
  })
  return read
})

/** An issue at a key below the section it is found in, for what only several keys together show. */
function problem(path: (string | number)[], message: string, input: unknown): z.core.$ZodRawIssue {
  return { code: 'custom', path, message, input }
}
