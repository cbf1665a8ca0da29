/** From the configuration, resolv.conf and this machine's addresses to what the engine must know. Pure. */
import type { ServerAddress, SocketAddress } from '../config/address.ts'
import type { HostsFile } from '../config/hosts-file.ts'
import type { ResolvConf } from '../config/resolv-conf.ts'
import { type Config, MAX_SERVERS } from '../config/schema.ts'
import { nameToText, nameToWire } from '../dns/name.ts'
import { isLoopback } from '../engine/access.ts'
import type {
  EngineSettings,
  HostEntry,
  LoopProbeNames,
  Prefix,
  UpstreamRoute,
  UpstreamServer,
} from '../engine/settings.ts'
import { addressBytes } from '../dns/address.ts'
import { hasGlobalIpv6 } from './ipv6-use.ts'
import { isWildcard } from '../os/socket-address.ts'

/** Always beside loopback and own addresses: link scope. */
const LINK_SCOPE = ['169.254.0.0/16', 'fe80::/10']
/** On a wildcard address as well: private ranges, carrier-grade NAT, unique-local. Never the whole Internet by accident. */
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7']
const DNS_PORT = 53

/** Unless the configuration or resolv.conf says otherwise. */
const ATTEMPT_TIMEOUT_MS = 1000
const LEAST_ATTEMPTS = 2
/** The engine sends no more for one question. */
const MAX_ATTEMPTS = 8

/** Settings, and the servers that were left out because asking them would be a loop. */
export interface DerivedSettings {
  settings: EngineSettings
  loops: string[]
}

/**
 * The settings that the configuration and resolv.conf make together. Of resolv.conf's options (resolv.conf(5)):
 *
 * - `timeout`: what an attempt at resolv.conf's servers may take, if `upstream.attemptTimeoutMs` is not set; at most half of
 *   the deadline, so that a second server is asked before the client gives up.
 * - `attempts`: rounds through resolv.conf's servers, as far as the engine's bound on messages goes. Neither this nor
 *   `timeout` is meant for the routes of the configuration, which have servers of their own.
 * - `use-vc`: resolv.conf's servers are asked over TCP (resolv-conf.ts).
 * - `rotate`: nothing to do. The default policy spreads questions over all servers anyway, and another policy is the
 *   configuration's wish.
 * - `edns0`: nothing to do, servers are always asked with EDNS. `ndots` is for who searches, which we never do.
 *
 * `ownAddresses`: literal addresses of this machine's interfaces; `hosts`: what `hostEntries` made of the hosts file;
 * `isIpv6Routed`: whether IPv6 leads out of this machine, null where that is not known.
 */
export function deriveSettings(
  config: Config,
  resolvConf: ResolvConf,
  ownAddresses: readonly string[],
  hosts: readonly HostEntry[] = [],
  isIpv6Routed: boolean | null = null,
): DerivedSettings {
  const loops: string[] = []
  const servers: UpstreamServer[] = []
  const indexOf = (server: ServerAddress): number | null => {
    if (isOwnListener(server, config.listen, ownAddresses)) {
      loops.push(server.label)
      return null
    }
    const known = servers.findIndex((other) => other.label === server.label)
    if (known >= 0) return known
    return servers.length < MAX_SERVERS ? servers.push(server) - 1 : null
  }
  const indices = (list: readonly ServerAddress[]): number[] => list.map(indexOf).filter((index) => index !== null)
  const { upstream } = config
  const isFromFile = upstream.servers.length === 0
  // However many resolv.conf names, those of the routes find room: the configuration has seen to it for their number.
  const ofRoutes = new Set(upstream.routes.flatMap((route) => route.servers.map(({ label }) => label)))
  const defaults = indices(isFromFile ? resolvConf.servers.slice(0, MAX_SERVERS - ofRoutes.size) : upstream.servers)
  const fallback: UpstreamRoute = {
    domains: [new Uint8Array(1)],
    servers: defaults,
    policy: upstream.policy,
    ...(isFromFile && attemptsOf(config, resolvConf, defaults.length)),
  }
  const routes = upstream.routes.map(
    (route): UpstreamRoute => ({
      ...(route.name !== undefined && { name: route.name }),
      domains: route.domains.map((domain) => nameToWire(domain)!),
      servers: indices(route.servers),
      policy: route.policy,
    }),
  )
  const settings: EngineSettings = {
    ttlSeconds: config.mesh.ttlSeconds,
    headlessNegativeTtlSeconds: config.mesh.headlessNegativeTtlSeconds,
    httpsRecords: config.mesh.httpsRecords,
    ...(config.mesh.shortNames === 'auto' &&
      resolvConf.search.length > 0 && { searchedBelowDots: resolvConf.options.ndots ?? 1 }),
    ...(config.search.storms === 'auto' && { searchStorms: clusterSearchDomains(config.identity.domain, resolvConf) }),
    ...aaaaWithheld(config, ownAddresses, isIpv6Routed),
    beforeSync: beforeSync(config),
    startedAtMs: 0,
    maxUdpPayload: config.maxUdpPayload,
    access: accessOf(config),
    rateLimit: config.rateLimit,
    ownAddresses: ownAddresses.map(addressBytes),
    servers,
    routes: [...routes, fallback],
    attemptTimeoutMs: upstream.attemptTimeoutMs ?? boundAttempt(ATTEMPT_TIMEOUT_MS, upstream.deadlineMs),
    deadlineMs: upstream.deadlineMs,
    maxInFlight: upstream.maxInFlight,
    caseRandomization: upstream.caseRandomization,
    hosts,
    cache: { ...config.cache, maxBytes: Math.floor(config.cache.maxBytes / config.workers) },
  }
  return { settings, loops }
}

/** What the engine must know of a hosts file: its names, and the reverse names of its addresses (RFC 1035 §3.5). */
export function hostEntries({ addresses, names }: HostsFile): HostEntry[] {
  const none = new Uint8Array(0)
  const forward = [...addresses].map(([name, literals]): [string, HostEntry] => {
    const all = literals.map(addressBytes)
    const of = (length: number): Uint8Array =>
      new Uint8Array(all.filter((each) => each.length === length).flatMap((each) => [...each]))
    return [name, { name: nameToWire(name)!, v4: of(4), v6: of(16), target: none }]
  })
  // Both in one entry, should the file have a name that is a reverse one.
  const entries = new Map(forward)
  for (const [literal, name] of names) {
    const reversed = reverseName(addressBytes(literal))
    const known = entries.get(reversed) ?? { name: nameToWire(reversed)!, v4: none, v6: none, target: none }
    if (known.target.length === 0) entries.set(reversed, { ...known, target: nameToWire(name)! })
  }
  return [...entries.values()]
}

/** `4.3.2.1.in-addr.arpa` or the nibbles of `ip6.arpa` (RFC 3596 §2.5). */
function reverseName(address: Uint8Array): string {
  if (address.length === 4) return `${[...address].toReversed().join('.')}.in-addr.arpa`
  const nibbles = [...address].flatMap((byte) => [byte >> 4, byte & 15])
  return `${nibbles
    .toReversed()
    .map((nibble) => nibble.toString(16))
    .join('.')}.ip6.arpa`
}

/** What resolv.conf's options say of the attempts at its `servers` servers. */
function attemptsOf(
  { upstream }: Config,
  { options }: ResolvConf,
  servers: number,
): Pick<UpstreamRoute, 'attemptTimeoutMs' | 'maxAttempts'> {
  const { attempts, timeoutSeconds } = options
  const isTimed = upstream.attemptTimeoutMs === null && timeoutSeconds !== undefined
  return {
    ...(isTimed && { attemptTimeoutMs: boundAttempt(timeoutSeconds * 1000, upstream.deadlineMs) }),
    // Never one alone: then a single lost datagram would make a name fail.
    ...(attempts !== undefined && {
      maxAttempts: Math.min(MAX_ATTEMPTS, Math.max(LEAST_ATTEMPTS, attempts * servers)),
    }),
  }
}

/** Half of the deadline at most. */
function boundAttempt(milliseconds: number, deadlineMs: number): number {
  return Math.min(milliseconds, Math.ceil(deadlineMs / 2))
}

/**
 * A name for each server, which nobody else can know, to find out whether it forwards to us: one of the names that it is
 * asked for. Null for a server of no route, and where the name would be too long.
 */
export function loopProbeNames(id: string, { routes, servers }: EngineSettings): LoopProbeNames {
  const nameFor = (server: number): Uint8Array | null => {
    // The default route comes last, and takes every name.
    const route = routes.findLast((each) => each.servers.includes(server))
    // One for rules alone may get any name.
    const domain = route === undefined ? undefined : (route.domains[0] ?? new Uint8Array(1))
    return domain === undefined ? null : nameToWire(`${server}.${id}.${domain.length === 1 ? '' : nameToText(domain)}`)
  }
  return { id, names: servers.map((_, k) => nameFor(k)), sends: true }
}

/** What each server is used for, in their order; `loops`: labels of those that were found to forward to us. */
export function serverUses(
  { routes, servers }: EngineSettings,
  loops: ReadonlySet<string>,
): { routes: string[]; isLoop: boolean }[] {
  return servers.map(({ label }, k) => ({
    routes: routes
      .filter((route) => route.servers.includes(k))
      .flatMap(({ domains, name }) =>
        domains.length === 0
          ? [`rules:${name}`]
          : domains.map((domain) => (domain.length === 1 ? '.' : nameToText(domain, 0).replace(/\.$/, ''))),
      ),
    isLoop: loops.has(label),
  }))
}

/**
 * The search domains of the cluster: those at or under `cluster.local`, if the workload's domain is
 * `NAMESPACE.svc.cluster.local`. In wire format, the longest first.
 */
function clusterSearchDomains(domain: string, { search }: ResolvConf): Uint8Array[] {
  const cluster = domain
    .toLowerCase()
    .replace(/\.$/, '')
    .replace(/^[^.]*\.(?:svc\.)?/, '')
  if (cluster === '' || !domain.includes('.')) return []
  return search
    .filter((each) => each === cluster || each.endsWith(`.${cluster}`))
    .map((each) => nameToWire(each))
    .filter((each) => each !== null)
    .toSorted((one, other) => other.length - one.length)
}

/** Only what is proven counts: where addresses or routes cannot be seen, AAAA is asked for. */
function aaaaWithheld(
  { aaaa }: Config,
  ownAddresses: readonly string[],
  isIpv6Routed: boolean | null,
): Pick<EngineSettings, 'aaaaWithheld'> {
  if (aaaa === 'off') return { aaaaWithheld: 'aaaa is off' }
  const isProven = ownAddresses.length > 0 && !hasGlobalIpv6(ownAddresses) && isIpv6Routed === false
  if (aaaa === 'on' || !isProven) return {}
  return { aaaaWithheld: 'aaaa is auto, and this machine has neither a global IPv6 address nor an IPv6 route' }
}

/**
 * Without a source no table comes, so there is none to wait for. On a VM that listens on port 53 itself nothing else can
 * answer before the first table: forward at once.
 */
function beforeSync(config: Config): EngineSettings['beforeSync'] {
  if (config.mesh.source.kind === 'none') return 'forward'
  const isResolver = config.listen.some(({ port }) => port === DNS_PORT)
  return config.mesh.beforeSync === 'auto' && isResolver ? 'forward' : config.mesh.beforeSync
}

function accessOf(config: Config): Prefix[] {
  if (config.access.length > 0) return config.access.map(({ address, length }) => ({ address, length }))
  const hasWildcard = config.listen.some(({ address }) => isWildcard(address))
  return [...LINK_SCOPE, ...(hasWildcard ? PRIVATE : [])].map((text) => {
    const [address = '', length] = text.split('/')
    return { address: addressBytes(address), length: Number(length) }
  })
}

/** True for a server that is one of our own listeners: asking it would be a loop. */
function isOwnListener(
  server: ServerAddress,
  listen: readonly SocketAddress[],
  ownAddresses: readonly string[],
): boolean {
  if (server.transport !== 'udp' && server.transport !== 'tcp') return false
  // By bytes: an address has more than one spelling.
  const asked = addressBytes(server.address)
  const isAsked = (address: string): boolean => Buffer.compare(addressBytes(address), asked) === 0
  return listen.some(({ address, port }) => {
    if (port !== server.port) return false
    return (
      isAsked(address) || (isWildcard(address) && (isLoopback(asked, 0, asked.length) || ownAddresses.some(isAsked)))
    )
  })
}
