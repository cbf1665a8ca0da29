/** `struct sockaddr_in` and `sockaddr_in6` as bytes: family in the machine's order, everything else in the network's. */
import { networkInterfaces } from 'node:os'
import { literalBytes } from '../dns/address.ts'
import { AF_INET, AF_INET6, SOCKADDR_BYTES, SOCKADDR_IN_BYTES } from './syscalls.ts'

/** Sockaddr of a literal address; an IPv6 one may carry a zone (`fe80::1%eth0` or `%2`). Throws for what is no address. */
export function socketAddress(address: string, port: number): { family: number; bytes: Uint8Array } {
  const literal = literalBytes(address)
  const zone = address.split('%')[1]
  if (literal.length === 4) {
    const bytes = Buffer.from(new SharedArrayBuffer(SOCKADDR_IN_BYTES))
    bytes.writeUInt16LE(AF_INET, 0)
    bytes.writeUInt16BE(port, 2)
    bytes.set(literal, 4)
    return { family: AF_INET, bytes }
  }
  const bytes = Buffer.from(new SharedArrayBuffer(SOCKADDR_BYTES))
  bytes.writeUInt16LE(AF_INET6, 0)
  bytes.writeUInt16BE(port, 2)
  bytes.set(literal, 8)
  if (zone !== undefined) bytes.writeUInt32LE(scopeOf(zone), 24)
  return { family: AF_INET6, bytes }
}

/** Index of the interface that a zone names. */
function scopeOf(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone)
  // Its global addresses have no scope.
  for (const info of networkInterfaces()[zone] ?? [])
    if (info.family === 'IPv6' && info.scopeid > 0) return info.scopeid
  throw new Error(`there is no interface ${zone} with a link-local address`)
}

/** True for 0.0.0.0 and ::. */
export function isWildcard(address: string): boolean {
  return literalBytes(address).every((byte) => byte === 0)
}
