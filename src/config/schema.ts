/**
 * The whole configuration, each key declared once: its values, default, unit, meaning, and what it takes to change it.
 * All else follows from here: the types, config/byname.yaml, docs/configuration.md, `--help`, the BYNAME_… variables, and
 * what a reload takes over. Every key is optional, unknown keys are errors, messages complete the sentence "KEY: …".
 */
import * as z from 'zod/mini'
import { RCODES, SOURCES } from '../stats/counters.ts'
import { type HostPort, type Parsed, parseHostPort, parsePrefix, parseServer, parseSocketAddress } from './address.ts'
import { egressSetting, routeIssues, ruleId, rulesSetting } from './rules-schema.ts'
import { group, optionalGroup, optionalSetting, requiredSetting, setting } from './setting.ts'
import {
  autoOrOff,
  domainName,
  file,
  flag,
  flagOrAuto,
  fraction,
  ipOrEmpty,
  issueAt,
  listenOrOff,
  listOf,
  oneOf,
  oneOrMore,
  onOffOrAuto,
  parsed,
  pluginConfig,
  quantity,
  requiredPath,
  section,
  text,
  transformed,
  wholeNumber,
} from './value-types.ts'

/** A number of servers that metrics can label; the counters have as many slots. */
export const MAX_SERVERS = 32
/** The query log is written in pieces of 64 KiB: a file must have room for some. */
const LEAST_FILE_BYTES = 1024 * 1024
/** Servers that resolv.conf may name where the configuration names none but those of routes (resolv.conf(5), MAXNS). */
export const RESOLV_CONF_SERVERS = 3
/** Routes at most. The engine tells 65,536 apart; a file of so many takes long to read. */
export const MAX_ROUTES = 4096
/** Plug-ins at most: the counters have as many places. */
const MAX_PLUGINS = 16

const listenAddress = parsed(parseSocketAddress, 'an address and port')
const server = parsed(parseServer, 'a server')
const policy = oneOf('random', 'sequential', 'fastest', 'parallel')

const identityKeys = section({
  namespace: setting(domainName, 'default', {
    about: 'Namespace of the workload: its services answer to their short names.',
    istio: 'POD_NAMESPACE',
    reload: 'handover',
  }),
  domain: optionalSetting(domainName, {
    about: 'Domain of the namespace; NAMESPACE.svc.cluster.local unless set.',
    example: 'default.svc.cluster.local',
    reload: 'handover',
  }),
  pod: setting(text, '', { about: "The pod's name.", istio: 'POD_NAME', reload: 'handover' }),
  ip: setting(ipOrEmpty, '', { about: "The workload's address.", istio: 'INSTANCE_IP', reload: 'handover' }),
  serviceAccount: setting(text, '', {
    about: 'Its service account.',
    istio: 'SERVICE_ACCOUNT',
    reload: 'handover',
  }),
  cluster: setting(text, '', {
    about: 'Its cluster, as istiod calls it.',
    istio: 'ISTIO_META_CLUSTER_ID',
    reload: 'handover',
  }),
  trustDomain: setting(domainName, 'cluster.local', {
    about: 'Trust domain of the mesh: the identity in certificates begins with it.',
    istio: 'TRUST_DOMAIN',
    reload: 'handover',
  }),
  network: setting(text, '', { about: 'Its network.', istio: 'ISTIO_META_NETWORK', reload: 'handover' }),
  labels: setting(
    z.record(z.string(), text, { error: 'must be a section of texts' }),
    {},
    { about: "The workload's labels.", istio: 'ISTIO_METAJSON_LABELS', reload: 'handover' },
  ),
})
const identity = transformed(identityKeys, (read) => ({
  ...read,
  domain: read.domain ?? `${read.namespace}.svc.cluster.local`,
}))

const controlPlanes = oneOrMore(
  z
    .array(parsed(parseHostPort, 'an address and port'), {
      error: (issue) => (issue.input === undefined ? 'is missing; write HOST:PORT' : 'must be an address or a list'),
    })
    .check(z.minLength(1, { error: 'must name at least one address' })),
)

const authorityOrEmpty = parsed(
  (written): Parsed<HostPort | null> => (written === '' ? { value: null } : parseHostPort(written)),
  'an address and port',
)

const xds = section({
  address: requiredSetting(controlPlanes, {
    about: 'HOST:PORT of the control plane, or a list of them, tried in turn.',
    example: '127.0.0.1:15010',
    reload: 'handover',
  }),
  tls: optionalGroup(
    section({
      rootCert: setting(file, '', {
        about:
          "File of root certificates, or SYSTEM for the system's; empty: XDS_ROOT_CA, else where Istio's agent looks.",
        reload: 'handover',
      }),
      cert: setting(file, '', { about: "File of the client's certificate (PEM).", reload: 'handover' }),
      key: setting(file, '', { about: 'File of its key.', reload: 'handover' }),
      serverName: setting(text, '', {
        about: "Name that the control plane's certificate must carry; empty: ISTIOD_SAN, else the address's host.",
        reload: 'handover',
      }),
    }),
    'TLS towards the control plane; without this section plaintext.',
  ),
  token: setting(file, '', { about: 'File of a bearer token, read afresh for every connection.', reload: 'handover' }),
  certificate: setting(oneOf('none', 'istiod'), 'none', {
    about:
      'Whether byname has istiod sign a client certificate for it: istiod (the token vouches for the first certificate, each certificate for the next) or none. On a VM of Istio the default is istiod.',
    reload: 'handover',
  }),
  certificateAuthority: setting(authorityOrEmpty, '', {
    about: 'HOST:PORT of the authority that signs it; empty: CA_ADDR, else the control plane.',
    reload: 'handover',
  }),
  certificateFolder: setting(file, '', {
    about: 'Folder that keeps the certificate for the next start; empty: OUTPUT_CERTS, else only memory.',
    reload: 'handover',
  }),
  delta: setting(flag, true, { about: 'Delta xDS; false: state of the world.', reload: 'handover' }),
  automaticVips: setting(flagOrAuto, 'auto', {
    about:
      'Ask for the automatic addresses that istiod gives to hosts without one. They lead nowhere unless Envoy or ztunnel routes them. auto: as ISTIO_META_DNS_CAPTURE says, true without it.',
    reload: 'handover',
  }),
})

const sourceKeys = section({
  xds: optionalGroup(xds, 'A control plane.'),
  table: optionalSetting(requiredPath, {
    about: 'File with a name table in JSON, as "byname table --json" prints it; watched.',
    example: 'table.json',
    reload: 'handover',
  }),
  files: optionalSetting(requiredPath, {
    about: 'Folder of Service, EndpointSlice, Pod, ServiceEntry and WorkloadEntry YAML or JSON; watched.',
    example: 'mesh/',
    reload: 'handover',
  }),
})
const source = transformed(sourceKeys, (read, context) => {
  if (Object.keys(read).length > 1) {
    const message = `takes one of xds, table and files, not ${Object.keys(read).join(' and ')}`
    context.issues.push({ code: 'custom', message, input: read })
  }
  if (read.table !== undefined) return { kind: 'table' as const, file: read.table }
  if (read.files !== undefined) return { kind: 'files' as const, folder: read.files }
  if (read.xds === undefined) return { kind: 'none' as const }
  const { address, tls, ...rest } = read.xds
  return { kind: 'xds' as const, addresses: address, tls: tls ?? null, ...rest }
})

const mesh = section({
  source: setting(
    source,
    {},
    {
      about:
        "Where the name table comes from: at most one of the three. Without any, what Istio's environment says (istiod.istio-system.svc:15012 if it names no other); outside Istio there are no mesh names, and every name goes upstream.",
      reload: 'handover',
    },
  ),
  ttlSeconds: setting(quantity('seconds', 1, 86_400), 30, { about: 'TTL of mesh answers.', reload: 'live' }),
  headlessNegativeTtlSeconds: setting(quantity('seconds', 0, 86_400), 1, {
    about:
      'Longest time a negative answer for a name below a Kubernetes host of the table is kept, by byname and by clients: a pod of a StatefulSet may be there a moment later. A new table ends it at once.',
    reload: 'live',
  }),
  httpsRecords: setting(oneOf('nodata', 'forward'), 'nodata', {
    about: 'HTTPS and SVCB records of mesh names: nodata (there are none) or forward (asked upstream).',
    reload: 'live',
  }),
  shortNames: setting(oneOf('auto', 'all', 'none'), 'all', {
    about:
      "Which names of a Kubernetes host are answered besides its full one: all (SHORT in identity.namespace, SHORT.NAMESPACE, and those with the search domain, as Istio's agent does), auto (the same, but a name such as pay.dev., where NAMESPACE is a top-level domain, only with the search domain, if resolv.conf brings applications there first) or none, for a byname that serves workloads of every namespace.",
    reload: 'handover',
  }),
  beforeSync: setting(oneOf('auto', 'servfail', 'forward'), 'auto', {
    about: 'Queries before the first table: servfail, forward, or auto (SERVFAIL for at most 5 s, then forward).',
    reload: 'live',
  }),
  lastKnownGood: setting(file, '', {
    about: 'File that keeps the table across restarts; under systemd it is in the state directory; "" turns it off.',
    isOffWhenEmpty: true,
    reload: 'handover',
  }),
})

const upstreamKeys = section({
  resolvConf: setting(requiredPath, '/etc/resolv.conf', {
    about: 'resolv.conf(5) with the servers and search domains; watched.',
    reload: 'live',
  }),
  servers: setting(listOf(server, 'servers'), [], {
    about:
      'Servers instead of those of resolv.conf: "IP:PORT", "tcp://IP", "tls://IP:853#NAME", "https://IP/dns-query#NAME".',
    reload: 'live',
  }),
  routes: setting(
    listOf(
      section({
        name: z.optional(ruleId),
        domains: z.optional(listOf(domainName, 'domain names')),
        servers: listOf(server, 'servers'),
        policy: z.optional(policy),
      }),
      'routes',
    ),
    [],
    {
      about:
        'Other servers for some domains, as [{ domains: [corp.example], servers: [10.0.0.53], policy: random }]; the longest domain wins. One with a name is for rules as well (route: NAME), and needs no domains.',
      reload: 'live',
    },
  ),
  policy: setting(policy, 'random', {
    about: 'How a server is chosen among several: random, sequential, fastest or parallel.',
    istio: 'DNS_FORWARD_PARALLEL',
    reload: 'live',
  }),
  attemptTimeoutMs: optionalSetting(quantity('ms', 10, 60_000), {
    about: 'How long one attempt may take. Unless set: what "options timeout" of resolv.conf says, else 1000.',
    example: '1000',
    istio: 'DNS_FORWARD_TIMEOUT',
    reload: 'live',
  }),
  deadlineMs: setting(quantity('ms', 10, 120_000), 4500, {
    about: 'How long all attempts together may take: less than the 5 s that clients wait.',
    reload: 'live',
  }),
  maxInFlight: setting(wholeNumber(1, 16_384), 4096, {
    about: 'Pending queries at most, for each worker.',
    reload: 'handover',
  }),
  caseRandomization: setting(flag, false, {
    about:
      'Ask in random capitals that replies must repeat, which makes them harder to forge ("0x20"). A server whose reply does not is asked over TCP; after three such replies in a row it is asked without for an hour.',
    reload: 'live',
  }),
  rootCert: setting(file, '', {
    about: "File of root certificates (PEM) for tls:// and https:// servers; empty: Node's own.",
    isOffWhenEmpty: true,
    reload: 'live',
  }),
})
const upstream = transformed(upstreamKeys, (read, context) => {
  const attemptTimeoutMs = read.attemptTimeoutMs ?? null
  if (attemptTimeoutMs !== null && attemptTimeoutMs > read.deadlineMs) {
    context.issues.push(issueAt(['attemptTimeoutMs'], `must not be over deadlineMs (${read.deadlineMs})`, read))
  }
  const named = new Map<string, number>()
  read.routes.forEach((route, index) => {
    for (const key of ['domains', 'servers'] as const) {
      if (route[key]?.length === 0) context.issues.push(issueAt(['routes', index, key], 'must not be empty', read))
    }
    if (route.domains === undefined && route.name === undefined) {
      context.issues.push(
        issueAt(['routes', index, 'domains'], 'is missing; name domains, or give the route a name for rules', read),
      )
    }
    if (route.name === undefined) return
    const first = named.get(route.name)
    if (first === undefined) named.set(route.name, index)
    else context.issues.push(issueAt(['routes', index, 'name'], `is that of routes[${first}] as well`, read))
  })
  const labels = [...read.servers, ...read.routes.flatMap((route) => route.servers)].map((each) => each.label)
  const most = read.servers.length > 0 ? MAX_SERVERS : MAX_SERVERS - RESOLV_CONF_SERVERS
  if (new Set(labels).size > most) {
    const others = read.servers.length > 0 ? 'those of routes included' : 'as resolv.conf names some, too'
    context.issues.push(issueAt(['servers'], `must be at most ${most} servers, ${others}`, read))
  }
  if (read.routes.length > MAX_ROUTES) {
    context.issues.push(
      issueAt(['routes'], `must be at most ${MAX_ROUTES} routes; give one route several domains`, read),
    )
  }
  const routes = read.routes.map((route) => ({
    ...route,
    domains: route.domains ?? [],
    policy: route.policy ?? read.policy,
  }))
  return { ...read, routes, attemptTimeoutMs }
})

const cacheKeys = section({
  maxBytes: setting(quantity('bytes', 0, 2 ** 40), 8 * 1024 * 1024, {
    about: 'Size of the cache, of all workers together; 0 turns it off. A change empties it.',
    reload: 'live',
  }),
  minTtlSeconds: setting(quantity('seconds', 0, 86_400), 0, {
    about: 'Shortest time an answer is kept.',
    reload: 'live',
  }),
  maxTtlSeconds: setting(quantity('seconds', 1, 604_800), 3600, {
    about: 'Longest time an answer is kept.',
    reload: 'live',
  }),
  maxNegativeTtlSeconds: setting(quantity('seconds', 0, 86_400), 300, {
    about: 'Longest time a negative answer (no such name, no such record) is kept.',
    reload: 'live',
  }),
  staleSeconds: setting(quantity('seconds', 0, 604_800), 3600, {
    about: 'How long after its TTL an answer may still serve while no server answers (RFC 8767).',
    reload: 'live',
  }),
  staleOnDenialSeconds: setting(quantity('seconds', 0, 86_400), 0, {
    about:
      'For so long after a positive answer the denial of its name, or type, by one server is not believed: a second server is asked, and unless it denies it as well the answer is served on as a stale one. With one server alone it is served on until then. 0: a denial counts at once.',
    reload: 'live',
  }),
  prefetch: setting(flag, true, {
    about: 'Refresh an answer that is asked for in the last tenth of its TTL.',
    reload: 'live',
  }),
  nxdomainCut: setting(flag, false, {
    about: 'A name that does not exist answers for all names below it (RFC 8020).',
    reload: 'live',
  }),
})
const cache = transformed(cacheKeys, (read, context) => {
  if (read.minTtlSeconds > read.maxTtlSeconds) {
    context.issues.push(issueAt(['minTtlSeconds'], `must not be over maxTtlSeconds (${read.maxTtlSeconds})`, read))
  }
  return read
})

const queryLogKeys = section({
  file: setting(file, '', {
    about:
      'File that entries are appended to, or stdout; empty: none. SIGHUP begins a new one if it has been moved away. Under dnstap a file that is there becomes FILE.1 first.',
    isOffWhenEmpty: true,
    reload: 'live',
  }),
  socket: setting(file, '', {
    about: 'Unix socket that entries are sent to instead, under dnstap as frame streams; empty: none.',
    isOffWhenEmpty: true,
    reload: 'live',
  }),
  format: setting(oneOf('json', 'dnstap'), 'json', {
    about: 'json (one object a line) or dnstap (query and reply as they were on the wire).',
    reload: 'live',
  }),
  sample: setting(fraction, 1, { about: 'Part of the answers that is logged, chosen at random.', reload: 'live' }),
  names: setting(listOf(domainName, 'domain names'), [], {
    about: 'Only these names and those below them. Empty: all.',
    reload: 'live',
  }),
  rcodes: setting(listOf(oneOf(...RCODES.filter((name) => /^[A-Z]/.test(name))), 'response codes'), [], {
    about: 'Only answers with these codes, such as [SERVFAIL, NXDOMAIN]. Empty: all.',
    reload: 'live',
  }),
  sources: setting(listOf(oneOf(...SOURCES), 'sources'), [], {
    about: 'Only answers from these: mesh, cache, stale, upstream, local. Empty: all.',
    reload: 'live',
  }),
  minLatencyMs: setting(quantity('ms', 0, 120_000), 0, {
    about: 'Only answers that took so long at least.',
    reload: 'live',
  }),
  maxFileBytes: setting(quantity('bytes', 0, 2 ** 50), 2 ** 30, {
    about: 'A file that would become larger is moved to FILE.1, and a new one begins; 0: no bound.',
    reload: 'live',
  }),
})
const queryLog = transformed(queryLogKeys, (read, context) => {
  if (read.file !== '' && read.socket !== '') {
    context.issues.push(issueAt(['socket'], 'must be empty where file is set: the log goes to one place', read))
  }
  if (read.maxFileBytes > 0 && read.maxFileBytes < LEAST_FILE_BYTES) {
    context.issues.push(issueAt(['maxFileBytes'], 'must be 0 or at least 1 MiB', read))
  }
  return read
})

const pluginKeys = section({
  file: requiredPath,
  config: z.optional(pluginConfig),
  timeoutUs: z.optional(wholeNumber(1, 1_000_000)),
  maxMemoryBytes: z.optional(quantity('bytes', 65_536, 2 ** 30)),
  onError: z.optional(oneOf('pass', 'servfail')),
})
const plugin = transformed(pluginKeys, ({ file: path, config, timeoutUs, maxMemoryBytes, onError }) => ({
  file: path,
  config: config ?? '',
  timeoutUs: timeoutUs ?? 1000,
  maxMemoryBytes: maxMemoryBytes ?? 16 * 1024 * 1024,
  onError: onError ?? ('pass' as const),
}))

const root = section({
  listen: setting(listOf(listenAddress, 'addresses'), ['127.0.0.1:15053', '[::1]:15053'], {
    about: 'UDP and TCP on each address. An IPv6 query that is redirected arrives at ::1.',
    istio: 'DNS_PROXY_ADDR',
    reload: 'handover',
  }),
  workers: setting(wholeNumber(1, 64), 1, {
    about: 'Data threads. One answers more than 100,000 queries a second.',
    reload: 'handover',
  }),
  driver: setting(oneOf('auto', 'batch', 'dgram'), 'auto', {
    about:
      'How workers do I/O: batch (many datagrams a system call, Linux), dgram (Node\'s own), or auto: batch where a trial of its system calls succeeds, which a seccomp profile may refuse. "byname status" says which one runs, and why.',
    reload: 'handover',
  }),
  watchConfig: setting(flag, true, {
    about: 'Read the configuration file again when it changes, as on SIGHUP.',
    reload: 'live',
  }),
  access: setting(listOf(parsed(parsePrefix, 'a prefix'), 'prefixes'), [], {
    about:
      'Who may ask, as CIDRs such as 10.0.0.0/8. Empty: this machine and link scope; on a wildcard listen address private ranges too.',
    reload: 'live',
  }),
  hostsFile: setting(file, '', {
    about: 'Names of this file (such as /etc/hosts, watched) are answered here, after mesh names. Empty: none.',
    isOffWhenEmpty: true,
    reload: 'live',
  }),
  aaaa: setting(onOffOrAuto, 'on', {
    about:
      'IPv6 addresses of names outside the mesh: on (asked upstream), off (there are none: NODATA, and nobody is asked) or auto (off while this machine has no global IPv6 address and no IPv6 route, as on Linux /proc/net/ipv6_route shows). Questions with DNSSEC are always asked.',
    reload: 'live',
  }),
  plugins: setting(listOf(plugin, 'plug-ins'), [], {
    about:
      'WebAssembly modules that see queries for names outside the mesh, in their order, as [{ file: /etc/byname/block.wasm, config: "ads.example", timeoutUs: 1000, maxMemoryBytes: 16Mi, onError: pass }]. config: a text, or anything else, which the plug-in gets as JSON. timeoutUs: what one call may take, in microseconds. onError: pass (go on as if it were not there) or servfail. The files are watched.',
    reload: 'live',
  }),
  identity: group(identity, {}, 'Who the workload is.'),
  mesh: group(mesh, {}, 'Names of the mesh.'),
  upstream: group(upstream, {}, 'Who is asked for all other names.'),
  maxUdpPayload: group(
    section({
      local: setting(quantity('bytes', 512, 65_507), 4096, {
        about: "Towards this machine's own addresses.",
        reload: 'handover',
      }),
      remote: setting(quantity('bytes', 512, 65_507), 1232, { about: 'Towards others.', reload: 'handover' }),
    }),
    {},
    'Largest UDP replies.',
  ),
  rateLimit: group(
    section({
      queriesPerSecond: setting(wholeNumber(0, 1_000_000), 0, { about: '0: no limit.', reload: 'live' }),
      burst: setting(wholeNumber(1, 1_000_000), 100, { about: 'Queries at once.', reload: 'live' }),
    }),
    {},
    'What one client address (IPv6: one /64) may ask of each worker. The one client is usually the workload itself. Beyond it datagrams are dropped and counted, and TCP queries get REFUSED.',
  ),
  rules: rulesSetting,
  egress: egressSetting,
  cache: group(cache, {}, 'The cache of answers from upstream.'),
  search: group(
    section({
      storms: setting(autoOrOff, 'auto', {
        about:
          "What resolvers with ndots:5 ask below the search domains of the cluster for every outside name: auto (denied here once the name above is known not to exist) or off (every question is asked). Only domains of resolv.conf's search list count that are those of identity.domain.",
        reload: 'live',
      }),
    }),
    {},
    'Names with a search domain appended.',
  ),
  metrics: group(
    section({
      listen: setting(listenOrOff, '[::]:9153', {
        about: 'Where /metrics, /healthz and /readyz are served; "" or off: nowhere.',
        isOffWhenEmpty: true,
        reload: 'handover',
      }),
    }),
    {},
    'For Prometheus and for probes.',
  ),
  admin: group(
    section({
      listen: setting(listenOrOff, '127.0.0.1:15054', {
        about: 'Where the status page and /debug/* are served; "" or off: nowhere. Off loopback a token is needed.',
        isOffWhenEmpty: true,
        reload: 'handover',
      }),
      token: setting(file, '', {
        about:
          'File of a token that requests must carry (Authorization: Bearer TOKEN), read afresh for each; empty: none.',
        isOffWhenEmpty: true,
        reload: 'handover',
      }),
      topNames: setting(flag, true, {
        about:
          'Sample answers to show which names are asked for most, fail most, or do not exist below search domains.',
        reload: 'live',
      }),
    }),
    {},
    'For operators.',
  ),
  queryLog: group(queryLog, {}, 'A log of queries and their answers, apart from the log of byname itself.'),
  log: group(
    section({
      level: setting(oneOf('debug', 'info', 'warn', 'error'), 'info', {
        about: 'Least level that is logged: debug, info, warn or error.',
        reload: 'live',
      }),
      format: setting(oneOf('auto', 'json', 'pretty'), 'auto', {
        about: 'json, pretty, or auto: pretty on a terminal, else JSON.',
        reload: 'handover',
      }),
    }),
    {},
    'Log lines go to standard error.',
  ),
})

/** Reads plain values (YAML, environment and flags merged) into a complete configuration. */
export const configSchema = transformed(root, (read, context) => {
  if (read.listen.length === 0) context.issues.push(issueAt(['listen'], 'must name at least one address', read))
  const addresses = new Set<string>()
  read.listen.forEach(({ port, text: address }, index) => {
    if (port !== 0 && addresses.has(address))
      context.issues.push(issueAt(['listen', index], `${address} is there twice`, read))
    addresses.add(address)
  })
  const routes = read.upstream.routes.flatMap(({ name }) => name ?? [])
  context.issues.push(...routeIssues(read.rules, routes))
  if (read.plugins.length > MAX_PLUGINS) {
    context.issues.push(issueAt(['plugins'], `must be at most ${MAX_PLUGINS} plug-ins`, read))
  }
  return read
})

/** The configuration as the schema returns it: complete, defaults filled in, quantities in the units that keys name. */
export type FileConfig = z.output<typeof configSchema>

/** Where the name table comes from. */
export type MeshSourceConfig = FileConfig['mesh']['source']

/** What Istio's environment says beyond the configuration: the xDS node and credentials need it. */
export interface IstioConfig {
  /** True if byname was started as Istio's agent is (in an injected pod, on a VM). */
  isDetected: boolean
  /** Node metadata from ISTIO_META_* and ISTIO_METAJSON_*; values as Istio sends them (booleans are strings). */
  metadata: Record<string, unknown>
  /** Files of root certificates: the first that exists verifies the control plane, unless the configuration names one. */
  rootCerts: readonly string[]
  /** Client certificates and their keys: the first that exists is shown, unless the configuration names one. */
  certificates: readonly { cert: string; key: string }[]
  /** Hosts files with names of the control plane. */
  hostsFiles: readonly string[]
  /** On a machine: where each variable comes from. */
  origins: Readonly<Record<string, string>>
}

/** The configuration in use. */
export type Config = FileConfig & { istio: IstioConfig }
