/**
 * Server cookies of version 1 (RFC 9018 §4), as every server that answers with this secret makes them.
 *
 * ```
 *  0 client cookie (8) │ 8 version 1 │ 9 reserved (3) │ 12 timestamp (4) │ 16 hash (8)
 *  hash = SipHash-2-4(bytes 0 … 15 and the client's address, secret)
 * ```
 */
import { copyBytes, readU32, writeU32 } from './reply.ts'
import { sipHash24 } from './siphash.ts'

const CLIENT_COOKIE_BYTES = 8
/** Client and server cookie together. */
export const COOKIE_BYTES = 24
/** Length of the secret that cookies are made with. */
export const COOKIE_SECRET_BYTES = 16
const VERSION = 1

/** Made once: what the hash covers, an IPv6 address included. Overwritten by each call. */
const hashed: Uint8Array = new Uint8Array(32)

/**
 * Writes the data of a COOKIE option, 24 bytes, into `out` at `outAt`: the client cookie that stands at `clientAt` of
 * `packet`, and a server cookie for it. `seconds` is the time, `address` the client's (`addressLength` 4 or 16 bytes at
 * `addressAt`), `secret` has 16 bytes.
 */
export function writeCookie(
  secret: Uint8Array,
  packet: Uint8Array,
  clientAt: number,
  seconds: number,
  address: Uint8Array,
  addressAt: number,
  addressLength: number,
  out: Uint8Array,
  outAt: number,
): void {
  copyBytes(packet, clientAt, CLIENT_COOKIE_BYTES, hashed, 0)
  writeU32(hashed, 8, VERSION << 24)
  writeU32(hashed, 12, seconds)
  copyBytes(address, addressAt, addressLength, hashed, 16)
  copyBytes(hashed, 0, 16, out, outAt)
  sipHash24(secret, hashed, 0, 16 + addressLength, out, outAt + 16)
}

/** How long a server cookie proves its client's address, and how far ahead another process's clock may be (RFC 9018 §4.3). */
const VALID_SECONDS = 3600
const AHEAD_SECONDS = 300
/** Made once: the cookie that should have come. Overwritten by each call. */
const expected: Uint8Array = new Uint8Array(COOKIE_BYTES)

/**
 * Whether the COOKIE option's data, `length` bytes at `at` of `packet`, holds a server cookie of ours for this client that is still
 * valid: then the client has got a reply of ours at its address, which is no forged one. Other arguments as in `writeCookie`.
 */
export function isOwnCookie(
  secret: Uint8Array,
  packet: Uint8Array,
  at: number,
  length: number,
  seconds: number,
  address: Uint8Array,
  addressAt: number,
  addressLength: number,
): boolean {
  if (length !== COOKIE_BYTES) return false
  const made = readU32(packet, at + 12)
  if (made < seconds - VALID_SECONDS || made > seconds + AHEAD_SECONDS) return false
  writeCookie(secret, packet, at, made, address, addressAt, addressLength, expected, 0)
  // All of it, so that the time this takes tells nobody how much of a guess was right.
  let difference = 0
  for (let k = CLIENT_COOKIE_BYTES; k < COOKIE_BYTES; k++) difference |= packet[at + k]! ^ expected[k]!
  return difference === 0
}
