/** Whether this machine, or pod, has a use for IPv6 addresses: an address of its own that is more than a link's, and a way out. */
import { readBoundedText } from '../base/bounded-file.ts'
import { addressBytes } from '../dns/address.ts'

const ROUTES_FILE = '/proc/net/ipv6_route'
/** Some thousand routes. */
const MAX_ROUTES_BYTES = 1024 * 1024
/** Flags of a route (linux/ipv6_route.h, linux/route.h). */
const RTF_UP = 0x1
const RTF_REJECT = 0x200
const RTF_ANYCAST = 0x10_0000
const RTF_LOCAL = 0x8000_0000

/** True if one of these literal addresses is an IPv6 address of more than this machine or a link. */
export function hasGlobalIpv6(addresses: readonly string[]): boolean {
  return addresses.some((literal) => {
    const bytes = addressBytes(literal.replace(/%.*$/, ''))
    return bytes.length === 16 && !isOfLink(bytes) && !isLoopback(bytes)
  })
}

/**
 * True if Linux has an IPv6 route that leads out of this machine and further than a link; false if it certainly has none;
 * null where that cannot be told.
 */
export function hasIpv6Route(platform: NodeJS.Platform = process.platform, file: string = ROUTES_FILE): boolean | null {
  if (platform !== 'linux') return null
  const read = readBoundedText(file, MAX_ROUTES_BYTES)
  if ('text' in read) return read.text.split('\n').some(leadsOut)
  // A kernel without IPv6, or one where it is turned off, has no such file.
  return read.problem.code === 'ENOENT' && 'text' in readBoundedText('/proc/net/route', MAX_ROUTES_BYTES) ? false : null
}

/**
 * A line: destination, prefix length, source, prefix length, next hop, metric, references, uses, flags (all hexadecimal),
 * interface.
 */
function leadsOut(line: string): boolean {
  const fields = line.trim().split(/\s+/)
  const [destination = '', , , , , , , , flagsText = '', interfaceName] = fields
  if (fields.length < 10 || interfaceName === 'lo') return false
  const flags = Number.parseInt(flagsText, 16)
  if ((flags & RTF_UP) === 0 || (flags & (RTF_REJECT | RTF_ANYCAST | RTF_LOCAL)) !== 0) return false
  return !isOfLink(Buffer.from(destination, 'hex'))
}

/** Link-local and multicast addresses. */
function isOfLink(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff || (bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80)
}

function isLoopback(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 15).every((byte) => byte === 0) && bytes[15]! <= 1
}
