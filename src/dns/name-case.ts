/**
 * Names in a mixture of capitals and small letters that only we know ("0x20", draft-vixie-dnsext-dns0x20): a reply must
 * repeat it, which makes it harder to forge. The mixture follows from a number, so only that number is kept.
 */
import { finishHash } from './name.ts'

const CASE_BIT = 0x20
const LETTERS_A_WORD = 32

/** Copies a lower-cased wire name in the mixture of `seed`; `from` and `out` may not overlap. */
export function mixCase(
  from: Uint8Array,
  fromAt: number,
  length: number,
  seed: number,
  out: Uint8Array,
  outAt: number,
): void {
  let letters = 0
  let bits = 0
  for (let i = 0; i < length; i++) {
    const byte = from[fromAt + i]!
    if (byte < 0x61 || byte > 0x7a) {
      out[outAt + i] = byte
      continue
    }
    bits = letters % LETTERS_A_WORD === 0 ? wordOf(seed, letters) : bits >>> 1
    letters++
    out[outAt + i] = (bits & 1) === 0 ? byte : byte ^ CASE_BIT
  }
}

/** True if the name at `at` is the lower-cased one at `fromAt` in the mixture of `seed`, byte for byte. */
export function hasMixedCase(
  packet: Uint8Array,
  at: number,
  from: Uint8Array,
  fromAt: number,
  length: number,
  seed: number,
): boolean {
  mixCase(from, fromAt, length, seed, mixed, 0)
  for (let i = 0; i < length; i++) if (packet[at + i] !== mixed[i]) return false
  return true
}

/** True if a wire name has capitals. Label lengths are below the letters and never count. */
export function hasCapitals(packet: Uint8Array, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (packet[i]! >= 0x41 && packet[i]! <= 0x5a) return true
  return false
}

/** Made once and overwritten by each comparison. */
const mixed = new Uint8Array(256)

function wordOf(seed: number, letters: number): number {
  return finishHash(seed ^ Math.imul(letters + 1, 0x9e3779b1))
}
