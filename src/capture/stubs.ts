/**
 * Stub resolvers on this machine: systemd-resolved, dnsmasq, a resolver in the same pod. byname asks the stub, and what the stub asks
 * its own servers would be captured and come back to byname: a loop (Istio 30309, 58611), unless the stub's user is exempt.
 */
import { literalBytes } from '../dns/address.ts'

/** A name server on loopback, and whose sockets it has. */
export interface Stub {
  address: string
  /** Null if nothing listens there. Root's sockets may be a resolver's that asks as another user. */
  uid: number | null
  /** Of its socket; '' if nothing listens there. */
  inode: string
}

/** Who listens at port 53 of those `nameservers` that are on loopback. `sockets`: the text of /proc/net/udp and udp6, proc(5). */
export function findStubs(nameservers: readonly string[], sockets: string): Stub[] {
  const owners = new Map<string, { uid: number; inode: string }>()
  for (const line of sockets.split('\n')) {
    const [, local, , , , , , uid, , inode = ''] = line.trim().split(/\s+/)
    const [, address] = /^([\dA-F]{8}|[\dA-F]{32}):0035$/.exec(local ?? '') ?? []
    if (address !== undefined) owners.set(address, { uid: Number(uid), inode })
  }
  return nameservers.filter(isLoopback).map((address) => {
    const wildcards = ['0'.repeat(8), '0'.repeat(32)].slice(address.includes(':') ? 1 : 0)
    const found = [kernelText(address), ...wildcards].map((each) => owners.get(each)).find((each) => each !== undefined)
    return { address, uid: found?.uid ?? null, inode: found?.inode ?? '' }
  })
}

/** Whether a name server with this literal address is on this machine. */
export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** As the kernel prints it: words of 32 bits, each in the order of the processor, which is little-endian wherever byname runs. */
function kernelText(address: string): string {
  const bytes = literalBytes(address)
  let text = ''
  for (let word = 0; word < bytes.length; word += 4)
    for (let at = 3; at >= 0; at--) text += bytes[word + at]!.toString(16).padStart(2, '0').toUpperCase()
  return text
}
