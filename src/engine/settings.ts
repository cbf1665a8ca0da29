/** What an engine must know, as plain data: the daemon derives it from the configuration and posts it to every worker. */
import type { PluginSettings } from './plugins/plugin-abi.ts'

import type { RuleSet } from '../rules/rule-set.ts'

/** One upstream server. */
export interface UpstreamServer {
  /** As the configuration or resolv.conf names it (`10.96.0.10:53`, `tls://9.9.9.9:853#dns.quad9.net`): the metrics' label. */
  label: string
  transport: 'udp' | 'tcp' | 'tls' | 'https'
  /** Literal address, without brackets; an IPv6 one may carry a zone (`fe80::1%eth0`). */
  address: string
  port: number
  /** Name the certificate must carry (tls, https). */
  serverName?: string
  /** Path of the resource (https, RFC 8484). */
  path?: string
  /**
   * Stands for the label where there is little room, as in the cache: 1 … MOST_SERVER_NUMBER, never another server's as long
   * as the daemon runs. Not given: there was none left, and who an answer is from is not remembered.
   */
  number?: number
}

/** Numbers of servers are 1 … this. */
export const MOST_SERVER_NUMBER = 255

/** Servers for the names at and below `domains`. */
export interface UpstreamRoute {
  /** What rules call it; not given: they do not. */
  name?: string
  /** Wire format, lower case, root included. The default route has the root alone. None: rules alone choose it. */
  domains: Uint8Array[]
  /** Indices into `EngineSettings.servers`. */
  servers: number[]
  policy: 'random' | 'sequential' | 'fastest' | 'parallel'
  /** What an attempt may take, if not as long as elsewhere. */
  attemptTimeoutMs?: number
  /** Servers picked for one question at most, repeats included; 8 if not given, and never more. */
  maxAttempts?: number
}

/** Routes that an engine tells apart, the default route included. */
export const MOST_ROUTES = 65_536

/** An address prefix: `address` in 4 or 16 bytes, network byte order. */
export interface Prefix {
  address: Uint8Array
  length: number
}

/** A name of the hosts file, or the reverse name of one of its addresses. Names in wire format, lower case. */
export interface HostEntry {
  name: Uint8Array
  /** Addresses one after the other, 4 and 16 bytes each. */
  v4: Uint8Array
  v6: Uint8Array
  /** What PTR gives; empty if the name is not a reverse one. */
  target: Uint8Array
}

/** What servers are asked for to find loops (loop-probe.ts). */
export interface LoopProbeNames {
  /** Another one for other names. */
  id: string
  /** By server: a name in wire format, lower case; null for one that is not asked. */
  names: readonly (Uint8Array | null)[]
  /** All workers know the names, because a query may come back to any; one of them asks. */
  sends: boolean
}

/** All that an engine is told; the same for all workers but for `loopProbe.sends` and the cache's share. */
export interface EngineSettings {
  /** TTL of mesh answers. */
  ttlSeconds: number
  /** Longest time that a denial of a name below a Kubernetes host of the table is kept; as others if not given. */
  headlessNegativeTtlSeconds?: number
  httpsRecords: 'nodata' | 'forward'
  /**
   * Short names with fewer dots than this (ndots of resolv.conf) reach the mesh by the search list: they are not answered
   * absolutely where they end in a top-level domain. Not given: all are.
   */
  searchedBelowDots?: number
  /** Search domains of the cluster, in wire format and lower case, the longest first; none if not given (search-storms.ts). */
  searchStorms?: readonly Uint8Array[]
  /** Why AAAA questions that byname has no answer to are answered NODATA, in words; not given: they are asked upstream. */
  aaaaWithheld?: string
  beforeSync: 'servfail' | 'forward' | 'auto'
  /** When the daemon started, in the engine's own time (`beforeSync: auto` counts from it). */
  startedAtMs: number
  /** Largest UDP reply towards loopback and own addresses, and towards others, in bytes. */
  maxUdpPayload: { local: number; remote: number }
  /** Who may ask besides loopback. */
  access: Prefix[]
  /** 16 bytes that server cookies are made with, the same for all workers. Without them cookies go unanswered. */
  cookieSecret?: Uint8Array
  /** What one client address may ask of one worker; no limit if not given or 0 a second. */
  rateLimit?: { queriesPerSecond: number; burst: number }
  /** Addresses of this machine: they count as local. */
  ownAddresses: Uint8Array[]
  /** At most as many as there are counters for (MAX_SERVERS). */
  servers: UpstreamServer[]
  /** The default route last; at least one, at most MOST_ROUTES. */
  routes: UpstreamRoute[]
  attemptTimeoutMs: number
  deadlineMs: number
  maxInFlight: number
  /** Ask in a mixture of capitals and small letters that replies must repeat; off if not given. */
  caseRandomization?: boolean
  /** Not given: loops are not looked for. */
  loopProbe?: LoopProbeNames
  /** In the order in which they are asked, at most 16; none if not given. */
  plugins?: readonly PluginSettings[]
  /** What the hosts file says. */
  hosts?: readonly HostEntry[]
  /** Not given: there are none. */
  rules?: RuleSet
  cache: {
    /** This worker's share. 0 turns the cache off. */
    maxBytes: number
    minTtlSeconds: number
    maxTtlSeconds: number
    maxNegativeTtlSeconds: number
    staleSeconds: number
    prefetch: boolean
    /** For so long after a positive answer one server's denial is not believed; off if not given. */
    staleOnDenialSeconds?: number
    /** An NXDOMAIN answers for all names below (RFC 8020); off if not given. */
    nxdomainCut?: boolean
  }
}

/** True if two settings send every name to the same servers. */
export function isSameRouting(one: EngineSettings, other: EngineSettings): boolean {
  const { routes, servers } = one
  if (routes.length !== other.routes.length || servers.length !== other.servers.length) return false
  if (!servers.every(({ label }, k) => label === other.servers[k]!.label)) return false
  return routes.every((route, k) => {
    const { domains, servers: asked } = other.routes[k]!
    if (route.servers.join() !== asked.join() || route.domains.length !== domains.length) return false
    return route.domains.every(
      (domain, d) => domain.length === domains[d]!.length && domain.every((byte, at) => byte === domains[d]![at]),
    )
  })
}
