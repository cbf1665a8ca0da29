/** Addresses as Node prints them, in bytes. */
import { isIPv4, isIPv6 } from 'node:net'

/**
 * 4 or 16 bytes of an address in network byte order; an IPv4-mapped one (`::ffff:127.0.0.1`) gives 4, a zone
 * (`fe80::1%eth0`) is left out. Null if the text is no address.
 */
export function addressBytes(text: string): Uint8Array | null {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number)
  if (!isIPv6(text)) return null
  const percent = text.indexOf('%')
  const [head, tail] = (percent < 0 ? text : text.slice(0, percent)).split('::')
  const first = groups(head!)
  const last = tail === undefined ? [] : groups(tail)
  const bytes = new Uint8Array(16)
  bytes.set(first)
  bytes.set(last, 16 - last.length)
  return isMapped(bytes) ? bytes.slice(12) : bytes
}

/** True for a loopback address as Node prints it; undefined, of a socket that has gone, is none. */
export function isLoopbackText(text: string | undefined): boolean {
  const bytes = text === undefined ? null : addressBytes(text)
  if (bytes === null) return false
  return bytes.length === 4 ? bytes[0] === 127 : bytes.every((byte, k) => byte === (k === 15 ? 1 : 0))
}

/** Bytes of colon-separated groups; the last may be a dotted IPv4 address. */
function groups(text: string): number[] {
  if (text === '') return []
  const bytes: number[] = []
  for (const group of text.split(':')) {
    if (group.includes('.')) bytes.push(...group.split('.').map(Number))
    else {
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 0xff)
    }
  }
  return bytes
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false
  return bytes[10] === 0xff && bytes[11] === 0xff
}
