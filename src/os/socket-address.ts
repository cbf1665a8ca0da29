/** `struct sockaddr_in` and `sockaddr_in6` as bytes: family in the machine's order, everything else in the network's. */
import { networkInterfaces } from 'node:os'
import ipaddr from 'ipaddr.js'
import { AF_INET, AF_INET6, SOCKADDR_BYTES, SOCKADDR_IN_BYTES } from './syscalls.ts'

/** Sockaddr of a literal address; an IPv6 one may carry a zone (`fe80::1%eth0` or `%2`). Throws for what is no address. */
export function socketAddress(address: string, port: number): { family: number; bytes: Uint8Array } {
  const [literal, zone] = address.split('%') as [string, string | undefined]
  const parsed = ipaddr.parse(withoutDots(literal))
  if (parsed.kind() === 'ipv4') {
    const bytes = Buffer.from(new SharedArrayBuffer(SOCKADDR_IN_BYTES))
    bytes.writeUInt16LE(AF_INET, 0)
    bytes.writeUInt16BE(port, 2)
    bytes.set(parsed.toByteArray(), 4)
    return { family: AF_INET, bytes }
  }
  const bytes = Buffer.from(new SharedArrayBuffer(SOCKADDR_BYTES))
  bytes.writeUInt16LE(AF_INET6, 0)
  bytes.writeUInt16BE(port, 2)
  bytes.set(parsed.toByteArray(), 8)
  if (zone !== undefined) bytes.writeUInt32LE(scopeOf(zone), 24)
  return { family: AF_INET6, bytes }
}

/** Index of the interface that a zone names. */
function scopeOf(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone)
  for (const info of networkInterfaces()[zone] ?? []) if (info.family === 'IPv6') return info.scopeid
  throw new Error(`no interface ${zone} with an IPv6 address`)
}

/** True for 0.0.0.0 and ::. */
export function isWildcard(address: string): boolean {
  return ipaddr
    .parse(withoutDots(address))
    .toByteArray()
    .every((byte) => byte === 0)
}

/** The literal address that 4 or 16 bytes are. */
export function addressText(bytes: Uint8Array): string {
  return ipaddr.fromByteArray([...bytes]).toString()
}

/** The bytes of a literal address, 4 or 16; an IPv4-mapped one has 4. */
export function addressBytes(address: string): Uint8Array {
  return Uint8Array.from(ipaddr.process(withoutDots(address.split('%')[0]!)).toByteArray())
}

/** ipaddr.js takes `::192.0.2.1` for `::ffff:192.0.2.1`, so the four bytes behind a colon are written as two groups first. */
function withoutDots(literal: string): string {
  return literal.replace(/(?<=:)[\d.]+$/, (dotted) => {
    const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number)
    return dotted.includes('.') ? `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}` : dotted
  })
}
