import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'

/** What names are resolved with, asked for afresh each time. */
export interface NameSettings {
  /** Addresses that the machine's hosts file has for a name. */
  hosts: (name: string) => readonly string[]
  /** The resolvers that byname forwards to, `ADDRESS:PORT`; empty: the system resolves. */
  servers: () => readonly string[]
  /** Search domains, and how many dots make a name be tried as it is first (resolv.conf(5)). */
  search: () => { domains: readonly string[]; ndots: number }
}

const QUERY_MS = 2000
const TRIES = 2
const LOOPBACK = ['127.0.0.1', '::1'] as const

/**
 * Resolves the control plane's own name without byname: byname may be the machine's only resolver, and has no names before
 * the control plane has sent them. The hosts file comes first, then the resolvers that byname itself forwards to.
 */
export class ControlPlaneName {
  readonly #settings: NameSettings
  /** Counts attempts, to alternate between address families. */
  #attempts = 0

  constructor(settings: NameSettings) {
    this.#settings = settings
  }

  /** What gRPC is to connect to for `address` (`HOST:PORT`), or in one line why nothing. `signal` ends the wait. */
  async target(address: string, signal: AbortSignal): Promise<{ target: string } | { failure: string }> {
    const at = address.lastIndexOf(':')
    const host = address.slice(0, at).replace(/^\[|\]$/g, '')
    const port = address.slice(at + 1)
    const literals = this.#known(host)
    if (literals.length > 0) return { target: this.#targetOf(literals, port) }
    const servers = this.#settings.servers()
    if (servers.length === 0) return { target: `dns:${address}` }
    const asked = await this.#ask(host, servers, signal)
    return 'failure' in asked ? asked : { target: this.#targetOf(asked.addresses, port) }
  }

  /** Addresses that need no question. */
  #known(host: string): readonly string[] {
    if (isIP(host) !== 0) return [host]
    const listed = this.#settings.hosts(host)
    if (listed.length > 0) return listed
    return host === 'localhost' ? LOOPBACK : []
  }

  async #ask(
    host: string,
    servers: readonly string[],
    signal: AbortSignal,
  ): Promise<{ addresses: string[] } | { failure: string }> {
    const resolver = new Resolver({ timeout: QUERY_MS, tries: TRIES })
    resolver.setServers(servers)
    const onAbort = (): void => resolver.cancel()
    signal.addEventListener('abort', onAbort)
    try {
      const names = candidates(host, this.#settings.search())
      let reason = ''
      for (const name of names) {
        if (signal.aborted) break
        const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
        const addresses = found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
        if (addresses.length > 0) return { addresses }
        const failed = found.find((each) => each.status === 'rejected')
        const code = failed === undefined ? 'ENODATA' : codeOf(failed.reason)
        // What a server did not answer says more than that another name does not exist.
        if (reason === '' || (code !== 'ENOTFOUND' && code !== 'ENODATA')) reason = code
      }
      return {
        failure: `cannot resolve ${host} (${reason}): asked ${servers.join(', ')} for ${names.join(', ')}; mend the resolver, or name an address in mesh.source.xds.address`,
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** gRPC takes addresses of one family; with both, attempts alternate. */
  #targetOf(addresses: readonly string[], port: string): string {
    const v4 = addresses.filter((address) => isIP(address) === 4).map((address) => `${address}:${port}`)
    const v6 = addresses.filter((address) => isIP(address) === 6).map((address) => `[${address}]:${port}`)
    const isV6 = v4.length === 0 || (v6.length > 0 && this.#attempts++ % 2 === 1)
    return isV6 ? `ipv6:${v6.join(',')}` : `ipv4:${v4.join(',')}`
  }
}

/** Names to ask for, in the order of resolv.conf(5). */
export function candidates(host: string, { domains, ndots }: { domains: readonly string[]; ndots: number }): string[] {
  if (host.endsWith('.')) return [host.slice(0, -1)]
  const searched = domains.map((domain) => `${host}.${domain.replace(/\.$/, '')}`)
  const dots = host.split('.').length - 1
  return dots >= ndots ? [host, ...searched] : [...searched, host]
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
