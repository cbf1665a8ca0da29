/**
 * Addresses as people write them in configuration: socket addresses, control plane addresses, upstream servers and
 * prefixes. Every parser returns the value or one line that says what is wrong with it; none throws.
 */

import { isIP, isIPv6 } from 'node:net'
import { addressText, literalBytes } from '../dns/address.ts'

/** What a parser found, or why it found nothing (a phrase that follows the key's path in an error). */
export type Parsed<T> = { value: T } | { reason: string }

/** An address to listen on. */
export interface SocketAddress {
  /** Literal address without brackets; an IPv6 one may carry a zone (`fe80::1%eth0`). */
  address: string
  /** 0 lets the system choose. */
  port: number
  family: 4 | 6
  /** `127.0.0.1:15053`, `[::1]:15053`. */
  text: string
}

/** A host to connect to: a literal address or a name. */
export interface HostPort {
  /** Without brackets. */
  host: string
  port: number
  /** `istiod.istio-system.svc:15012`, `[::1]:15010`. */
  text: string
}

/** An upstream server. Same shape as the engine's. */
export interface ServerAddress {
  /** In one form whatever was written: `10.96.0.10:53`, `[fd00::10]:53`, `tls://9.9.9.9:853#dns.quad9.net`. */
  label: string
  transport: 'udp' | 'tcp' | 'tls' | 'https'
  /** Literal address without brackets; an IPv6 one may carry a zone. */
  address: string
  port: number
  /** Name that the certificate must carry (tls, https); without it the certificate must carry the address. */
  serverName?: string
  /** Path of the resource (https, RFC 8484). */
  path?: string
}

/** An address prefix, its host bits cleared. */
export interface AddressPrefix {
  /** 4 or 16 bytes, network byte order. */
  address: Uint8Array
  /** Bits that count. */
  length: number
  /** `10.0.0.0/8`. */
  text: string
}

/** `ADDRESS:PORT` with IPv6 in brackets. */
export function socketText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Reads `IP:PORT` or `[IPv6]:PORT`. */
export function parseSocketAddress(text: string): Parsed<SocketAddress> {
  const split = splitHostPort(text)
  const example = 'write IP:PORT such as 127.0.0.1:15053 or [::1]:15053'
  if ('reason' in split) return { reason: `${split.reason}; ${example}` }
  const { host, port } = split.value
  const family = isIP(host)
  if (family === 0) return { reason: `${quote(host)} is no IP address; ${example}` }
  if (port === null) return { reason: `${quote(text)} has no port; ${example}` }
  if (isLinkLocal(host)) return { reason: linkLocalReason(host, port) }
  return { value: { address: host, port, family: family === 4 ? 4 : 6, text: socketText(host, port) } }
}

/** Reads `HOST:PORT`, where HOST is a name or an address (IPv6 in brackets). */
export function parseHostPort(text: string): Parsed<HostPort> {
  const split = splitHostPort(text)
  const example = 'write HOST:PORT such as istiod.istio-system.svc:15012'
  if ('reason' in split) return { reason: `${split.reason}; ${example}` }
  const { host, port } = split.value
  if (port === null || port === 0) return { reason: `${quote(text)} has no port; ${example}` }
  if (isIP(host) === 0 && !isHostName(host)) return { reason: `${quote(host)} is no host name; ${example}` }
  return { value: { host, port, text: socketText(host, port) } }
}

/** True for an IPv6 address that means something on one link alone, and does not say on which (RFC 4007 §11). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab].:/i.test(host) && !host.includes('%')
}

function linkLocalReason(host: string, port: number): string {
  return `${quote(host)} is an address of one link; name its interface, as in ${socketText(`${host}%eth0`, port)}`
}

const DEFAULT_PORTS = { udp: 53, tcp: 53, tls: 853, https: 443 } as const

/**
 * Reads an upstream server: `IP`, `IP:PORT`, `[IPv6]:PORT`, `udp://…`, `tcp://…`, `tls://IP:853#name` or
 * `https://IP/dns-query#name`. A server is named by its address: to look its name up would need another server first.
 */
export function parseServer(text: string): Parsed<ServerAddress> {
  const match = /^(?:([a-z]+):\/\/)?([^/#?\s]*)(\/[^#\s]*)?(?:#(\S*))?$/i.exec(text.trim())
  const forms = 'IP, IP:PORT, tcp://IP:PORT, tls://IP:853#NAME or https://IP/dns-query#NAME'
  // Not quoted: a password does not belong into a log.
  if (/^(?:[a-z]+:\/\/)?[^/]*@/i.test(text.trim()))
    return { reason: `a server takes no user and password before @; write ${forms}` }
  if (match === null) return { reason: `${quote(text)} is no server; write ${forms}` }
  const transport = (match[1] ?? 'udp').toLowerCase()
  if (transport !== 'udp' && transport !== 'tcp' && transport !== 'tls' && transport !== 'https') {
    return { reason: `${quote(`${transport}://`)} is no transport; write ${forms}` }
  }
  const split = splitHostPort(match[2]!)
  if ('reason' in split) return { reason: `${split.reason}; write ${forms}` }
  const { host } = split.value
  if (isIP(host) === 0) {
    if (!isHostName(host)) return { reason: `${quote(text)} is no server; write ${forms}` }
    const secure = transport === 'https' ? `https://IP${match[3] ?? '/dns-query'}#${host}` : `${transport}://IP#${host}`
    const form = transport === 'udp' || transport === 'tcp' ? `write ${forms}` : `write ${secure}`
    return { reason: `${quote(host)} is a name, and a server is needed before names can be looked up; ${form}` }
  }
  const port = split.value.port ?? DEFAULT_PORTS[transport]
  if (port === 0) return { reason: `${quote(text)} has port 0; write ${forms}` }
  if (/^[0:.]+$/.test(host)) return { reason: `${quote(host)} is nobody's address; write ${forms}` }
  if (/^(?:2(?:2[4-9]|[3-5]\d)\.|ff..:)/i.test(host)) {
    return { reason: `${quote(host)} is no address of one server; write ${forms}` }
  }
  if (isLinkLocal(host)) return { reason: linkLocalReason(host, port) }
  const secure = transport === 'tls' || transport === 'https'
  const [path, name] = [match[3], match[4]]
  if (path !== undefined && transport !== 'https') return { reason: `${quote(text)}: only https:// takes a path` }
  if (name !== undefined && !secure) return { reason: `${quote(text)}: only tls:// and https:// take a #NAME` }
  if (name !== undefined && !isHostName(name)) return { reason: `${quote(name)} after # is no host name` }
  const resource = transport === 'https' ? (path ?? '/dns-query') : undefined
  const scheme = transport === 'udp' ? '' : `${transport}://`
  const label = `${scheme}${socketText(host, port)}${resource ?? ''}${name === undefined ? '' : `#${name}`}`
  return {
    value: {
      label,
      transport,
      address: host,
      port,
      ...(name === undefined ? {} : { serverName: name }),
      ...(resource === undefined ? {} : { path: resource }),
    },
  }
}

/** Reads `10.0.0.0/8`, `fd00::/8` or a single address. Host bits are cleared. */
export function parsePrefix(text: string): Parsed<AddressPrefix> {
  const reason = `${quote(text)} is no prefix; write CIDR such as 10.0.0.0/8 or fd00::/8`
  const slash = text.indexOf('/')
  const host = slash < 0 ? text : text.slice(0, slash)
  if (isIP(host) === 0 || host.includes('%')) return { reason }
  const bytes = literalBytes(host)
  const bits = bytes.length * 8
  const lengthText = slash < 0 ? String(bits) : text.slice(slash + 1)
  const length = /^\d{1,3}$/.test(lengthText) ? Number(lengthText) : -1
  if (length < 0 || length > bits) return { reason }
  for (let bit = length; bit < bits; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7))
  return { value: { address: bytes, length, text: `${addressText(bytes)}/${length}` } }
}

/** True for a host name of letters, digits, hyphens and underscores, with or without a trailing dot. */
export function isHostName(text: string): boolean {
  const name = text.replace(/\.$/, '')
  // With the lengths of its labels and the root's, 255 bytes on the wire.
  if (name.length > 253) return false
  const labels = name.split('.')
  return labels.every((label) => label.length <= 63 && /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/i.test(label))
}

/** Splits `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` and bare IPv6; the port is null where there is none. */
function splitHostPort(text: string): Parsed<{ host: string; port: number | null }> {
  const trimmed = text.trim()
  if (trimmed === '') return { reason: 'the address is empty' }
  // Node's pattern for IPv6 takes 10 ms to compile: not for an IPv4 address and its port.
  if (/:.*:/.test(trimmed) && isIPv6(trimmed)) return { value: { host: trimmed, port: null } }
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(trimmed)
  if (match === null) return { reason: `${quote(trimmed)} is no address` }
  const host = match[1] ?? match[2]!
  if (match[1] !== undefined && !isIPv6(host)) return { reason: `${quote(host)} is no IPv6 address` }
  const port = match[3] === undefined ? null : Number(match[3])
  if (port !== null && port > 65_535) return { reason: `${quote(trimmed)} has a port over 65535` }
  return { value: { host, port } }
}

/** The text in double quotes on one line, cut when it is long. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text)
}
