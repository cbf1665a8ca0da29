/**
 * Domain names in wire format (RFC 1035 §3.1): read once from a question, lower-cased and hashed on the way, so that
 * every later look-up is a probe and no string work.
 *
 * ```
 *  packet   3 w w w 7 E x a m p l e 3 o r g 0
 *  lower    3 w w w 7 e x a m p l e 3 o r g 0        own copy
 *  labelAt  0       4               12        16     offsets; the last is the root's
 *  hashAt   seed    h1              h2        h3     hash state before each label: h2 hashes the first two labels
 * ```
 */
import { HEADER_BYTES } from './constants.ts'

/** Longest name on the wire, root included (RFC 1035 §2.3.4). */
export const MAX_NAME = 255
/** Longest label, without its length byte. */
export const MAX_LABEL = 63
const MAX_LABELS = 128
const PRIME = 0x01000193

/** ASCII lower case of each byte. Length bytes (at most 63) are below 'A', so whole wire names can be mapped. */
export const LOWER: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 65 && byte <= 90 ? byte | 32 : byte,
)

/** A name as `scanName` left it. Owned by whoever made it and overwritten by the next scan. */
export class ScannedName {
  /** The name in lower case, `length` bytes of it; a few more bytes may follow them, so it can be read in 32-bit words. */
  readonly lower: Uint8Array = new Uint8Array(MAX_NAME + 5)
  /** Wire length with the root's zero byte: 1 for the root itself. */
  length = 0
  /** Number of labels without the root. */
  labels = 0
  /** Offset of label k in `lower`; entry `labels` is the root's zero byte. */
  readonly labelAt: Uint8Array = new Uint8Array(MAX_LABELS)
  /** Hash state before label k (not yet finished, see `finishHash`); entry `labels` covers the whole name. */
  readonly hashAt: Int32Array = new Int32Array(MAX_LABELS)

  /** Finished hash of the first `labels` labels (all by default). */
  hash(labels: number = this.labels): number {
    return finishHash(this.hashAt[labels]!)
  }

  /** True if the name ends in `suffix` (lower-cased wire format, root included) and has labels before it. */
  endsBelow(suffix: Uint8Array, suffixLabels: number): boolean {
    const first = this.labels - suffixLabels
    if (first <= 0) return false
    const at = this.labelAt[first]!
    if (this.length - at !== suffix.length) return false
    const lower = this.lower
    for (let i = 0; i < suffix.length; i++) if (lower[at + i] !== suffix[i]) return false
    return true
  }
}

/** Spreads the state of the running hash over all its 32 bits. */
export function finishHash(state: number): number {
  let h = state ^ (state >>> 16)
  h = Math.imul(h, 0x7feb352d)
  h ^= h >>> 15
  return h | 0
}

/** Feeds the `length` bytes at `at` (lower-cased here) into the running hash and returns its new state. */
export function hashBytes(state: number, bytes: Uint8Array, at: number, length: number): number {
  let h = state
  for (let i = at; i < at + length; i++) h = Math.imul(h ^ LOWER[bytes[i]!]!, PRIME)
  return h
}

/**
 * Reads the uncompressed name at `at` (a question's: there is nothing before it that a pointer could mean).
 * `end` is the end of the message. Returns the offset after the name, or -1 if it is malformed: a pointer or an
 * extended label, a label over 63 bytes, a name over 255, or the message ends first.
 */
export function scanName(packet: Uint8Array, at: number, end: number, seed: number, into: ScannedName): number {
  const lower = into.lower
  let from = at
  let to = 0
  let labels = 0
  let h = seed
  for (;;) {
    if (from >= end) return -1
    const length = packet[from]!
    into.labelAt[labels] = to
    into.hashAt[labels] = h
    if (length === 0) break
    if (length > MAX_LABEL || to + length + 2 > MAX_NAME || from + length + 1 >= end) return -1
    const stop = from + length
    lower[to++] = length
    h = Math.imul(h ^ length, PRIME)
    while (from < stop) {
      const byte = LOWER[packet[++from]!]!
      lower[to++] = byte
      h = Math.imul(h ^ byte, PRIME)
    }
    from++
    labels++
  }
  lower[to] = 0
  into.length = to + 1
  into.labels = labels
  return from + 1
}

/**
 * Offset after a name that may be compressed (RFC 1035 §4.1.4), without following its pointer: -1 if the message ends
 * within it or a label is of a reserved kind.
 */
export function skipName(packet: Uint8Array, at: number, end: number): number {
  let i = at
  while (i < end) {
    const length = packet[i]!
    if (length === 0) return i + 1
    if (length >= 0xc0) return i + 2 <= end ? i + 2 : -1
    if (length > MAX_LABEL) return -1
    i += length + 1
  }
  return -1
}

/**
 * Expands the name at `at`, following pointers, into `out` at `outAt` (255 bytes must fit; case is kept). `start` is
 * where the message begins: pointers count from there. Returns its wire length, or -1 if it is malformed: a pointer
 * that does not point to a whole name before itself or points into the header, a reserved label kind, over 255 bytes, or
 * past `end`.
 */
export function expandName(
  packet: Uint8Array,
  start: number,
  at: number,
  end: number,
  out: Uint8Array,
  outAt: number,
): number {
  let from = at
  let to = 0
  let lowest = at
  let bound = end
  for (;;) {
    if (from >= bound) return -1
    const length = packet[from]!
    if (length >= 0xc0) {
      if (from + 1 >= bound) return -1
      const target = start + (((length & 0x3f) << 8) | packet[from + 1]!)
      // Each pointer must lead further back than any before it, so that no chain can loop. The header is no name, and
      // another one takes its place when the message is passed on.
      if (target >= lowest || target < start + HEADER_BYTES) return -1
      // And it must point to a name that was complete by then, because later bytes may be truncated.
      bound = lowest
      lowest = target
      from = target
      continue
    }
    if (length > MAX_LABEL || to + length + 1 > MAX_NAME || from + length >= bound) return -1
    for (let i = 0; i <= length; i++) out[outAt + to++] = packet[from++]!
    if (length === 0) return to
  }
}

/**
 * Wire format of a name in presentation format (RFC 1035 §5.1), escapes `\.` and `\DDD` included; case is kept, a
 * missing trailing dot is supplied, characters beyond ASCII become their UTF-8 bytes. Null if it is no name: an empty
 * label, a label over 63 bytes, more than 255 in all, or a broken escape.
 */
export function nameToWire(text: string): Uint8Array | null {
  if (text === '.') return new Uint8Array(1)
  const bytes = new TextEncoder().encode(text)
  const out = new Uint8Array(bytes.length + 2)
  let to = 1
  let labelAt = 0
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i]!
    if (byte === 0x2e) {
      const length = to - labelAt - 1
      if (length === 0 || length > MAX_LABEL) return null
      out[labelAt] = length
      labelAt = to++
      continue
    }
    if (byte === 0x5c) {
      const next = bytes[++i]
      if (next === undefined) return null
      if (next >= 0x30 && next <= 0x39) {
        const digits = new TextDecoder().decode(bytes.subarray(i, i + 3))
        if (!/^\d{3}$/.test(digits) || Number(digits) > 255) return null
        byte = Number(digits)
        i += 2
      } else byte = next
    }
    out[to++] = byte
  }
  const length = to - labelAt - 1
  if (length > MAX_LABEL || (length === 0 && to === 1)) return null
  if (length > 0) {
    out[labelAt] = length
    out[to++] = 0
  }
  return to > MAX_NAME ? null : out.subarray(0, to)
}

/** Presentation format of the uncompressed wire name at `at`, with a trailing dot; odd bytes are escaped as `\DDD`. */
export function nameToText(wire: Uint8Array, at: number = 0): string {
  let text = ''
  for (let i = at; wire[i]; ) {
    const stop = i + wire[i]!
    while (i < stop) {
      const byte = wire[++i]!
      if (byte === 0x2e || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`
      else if (byte > 0x20 && byte < 0x7f) text += String.fromCharCode(byte)
      else text += `\\${String(byte).padStart(3, '0')}`
    }
    text += '.'
    i++
  }
  return text || '.'
}
