/** Who may ask, and who counts as local: decided by address, without allocation. */
import type { EngineSettings, Prefix } from './settings.ts'

/** Loopback in both families (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3). `length`: 4 or 16 bytes at `at`. */
export function isLoopback(address: Uint8Array, at: number, length: number): boolean {
  if (length === 4) return address[at] === 127
  for (let i = 0; i < 15; i++) if (address[at + i] !== 0) return false
  return address[at + 15] === 1
}

/** True for loopback and this machine's own addresses: they get the larger UDP payload. */
export function isLocal(settings: EngineSettings, address: Uint8Array, at: number, length: number): boolean {
  if (isLoopback(address, at, length)) return true
  for (const own of settings.ownAddresses) {
    if (own.length === length && matches(own, length * 8, address, at)) return true
  }
  return false
}

/** True if a client that is not local may ask. */
export function isAllowed(settings: EngineSettings, address: Uint8Array, at: number, length: number): boolean {
  return isWithinAny(settings.access, address, at, length)
}

/** True for an address (4 or 16 bytes, an IPv4-mapped one has 4) of one of these prefixes. */
export function isWithinAny(prefixes: readonly Prefix[], address: Uint8Array, at: number, length: number): boolean {
  for (let k = 0; k < prefixes.length; k++) if (isWithin(prefixes[k]!, address, at, length)) return true
  return false
}

function isWithin(prefix: Prefix, address: Uint8Array, at: number, length: number): boolean {
  return prefix.address.length === length && matches(prefix.address, prefix.length, address, at)
}

function matches(wanted: Uint8Array, bits: number, address: Uint8Array, at: number): boolean {
  const whole = bits >> 3
  for (let i = 0; i < whole; i++) if (wanted[i] !== address[at + i]) return false
  const rest = bits & 7
  return rest === 0 || ((wanted[whole]! ^ address[at + whole]!) & (0xff << (8 - rest)) & 0xff) === 0
}
