/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012), the keyed hash of DNS cookies. 64-bit words are pairs of 32-bit halves:
 * BigInt would allocate.
 */

/** v0 … v3 of the hash in hand, low half first. Made once; synchronous use only, nothing in it outlives a call. */
const v: Int32Array = new Int32Array(8)

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

/** One SipRound. The carry of a 64-bit addition shows in the low half: the sum is less than what was added. */
function round(): void {
  let v0l = v[0]!
  let v0h = v[1]!
  let v1l = v[2]!
  let v1h = v[3]!
  let v2l = v[4]!
  let v2h = v[5]!
  let v3l = v[6]!
  let v3h = v[7]!
  let low: number

  v0l = (v0l + v1l) | 0
  v0h = (v0h + v1h + (v0l >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
  low = (v1l << 13) | (v1h >>> 19)
  v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h
  v1l = low ^ v0l
  low = v0h
  v0h = v0l
  v0l = low

  v2l = (v2l + v3l) | 0
  v2h = (v2h + v3h + (v2l >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
  low = (v3l << 16) | (v3h >>> 16)
  v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h
  v3l = low ^ v2l

  v0l = (v0l + v3l) | 0
  v0h = (v0h + v3h + (v0l >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
  low = (v3l << 21) | (v3h >>> 11)
  v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h
  v3l = low ^ v0l

  v2l = (v2l + v1l) | 0
  v2h = (v2h + v1h + (v2l >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
  low = (v1l << 17) | (v1h >>> 15)
  v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h
  v1l = low ^ v2l
  low = v2h
  v2h = v2l
  v2l = low

  v[0] = v0l
  v[1] = v0h
  v[2] = v1l
  v[3] = v1h
  v[4] = v2l
  v[5] = v2h
  v[6] = v3l
  v[7] = v3h
}

function absorb(low: number, high: number): void {
  v[6]! ^= low
  v[7]! ^= high
  round()
  round()
  v[0]! ^= low
  v[1]! ^= high
}

/**
 * Writes the 8-byte hash of the `length` bytes at `at` under a key of 16 bytes into `out` at `outAt`, least significant
 * byte first, as the reference implementation does and RFC 9018 §4.4 wants it.
 */
export function sipHash24(
  key: Uint8Array,
  bytes: Uint8Array,
  at: number,
  length: number,
  out: Uint8Array,
  outAt: number,
): void {
  v[0] = word(key, 0) ^ 0x70736575
  v[1] = word(key, 4) ^ 0x736f6d65
  v[2] = word(key, 8) ^ 0x6e646f6d
  v[3] = word(key, 12) ^ 0x646f7261
  v[4] = word(key, 0) ^ 0x6e657261
  v[5] = word(key, 4) ^ 0x6c796765
  v[6] = word(key, 8) ^ 0x79746573
  v[7] = word(key, 12) ^ 0x74656462
  const stop = at + (length & ~7)
  for (let i = at; i < stop; i += 8) absorb(word(bytes, i), word(bytes, i + 4))
  let low = 0
  let high = length << 24
  for (let k = 0; k < (length & 7); k++) {
    if (k < 4) low |= bytes[stop + k]! << (k * 8)
    else high |= bytes[stop + k]! << ((k - 4) * 8)
  }
  absorb(low, high)
  v[4] ^= 0xff
  round()
  round()
  round()
  round()
  const hashLow = v[0] ^ v[2] ^ v[4] ^ v[6]
  const hashHigh = v[1] ^ v[3] ^ v[5] ^ v[7]
  for (let k = 0; k < 4; k++) {
    out[outAt + k] = hashLow >>> (k * 8)
    out[outAt + 4 + k] = hashHigh >>> (k * 8)
  }
}
