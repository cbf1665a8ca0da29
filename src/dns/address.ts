/**
 * IP addresses: text to bytes and back (RFC 4291 §2.2, RFC 5952; dotted decimal without leading zeros). Everything that reads or
 * writes an address does it here. Addresses in bytes are 4 or 16 in network byte order.
 */

const DOT = 0x2e
const COLON = 0x3a

/**
 * Parses the `length` bytes of text at `at` and writes the address to `out` at `outAt`, where 16 bytes must fit.
 * Returns 4 or 16, the bytes written, or 0 if the text is no address: a prefix length, a zone and white space are none
 * of it. `::ffff:192.0.2.1` stays an IPv6 address.
 */
export function parseAddress(text: Uint8Array, at: number, length: number, out: Uint8Array, outAt: number): number {
  const end = at + length
  for (let i = at; i < end && i < at + 5; i++) {
    if (text[i] === DOT) return parseV4(text, at, end, out, outAt) ? 4 : 0
    if (text[i] === COLON) break
  }
  return parseV6(text, at, end, out, outAt) ? 16 : 0
}

function parseV4(text: Uint8Array, at: number, end: number, out: Uint8Array, outAt: number): boolean {
  let i = at
  for (let octet = 0; octet < 4; octet++) {
    if (octet > 0 && (i >= end || text[i++] !== DOT)) return false
    const start = i
    let value = 0
    while (i < end) {
      const digit = text[i]! - 0x30
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
      i++
    }
    const digits = i - start
    if (digits === 0 || digits > 3 || value > 255 || (digits > 1 && text[start] === 0x30)) return false
    out[outAt + octet] = value
  }
  return i === end
}

function parseV6(text: Uint8Array, at: number, end: number, out: Uint8Array, outAt: number): boolean {
  let i = at
  let to = outAt
  const stop = outAt + 16
  // Where `::` stands in `out`.
  let gap = -1
  if (end - at < 2) return false
  if (text[i] === COLON) {
    if (text[i + 1] !== COLON) return false
    gap = to
    i += 2
  }
  while (i < end) {
    if (to === stop) return false
    const start = i
    let value = 0
    while (i < end) {
      const digit = hexDigit(text[i]!)
      if (digit < 0) break
      value = (value << 4) | digit
      i++
      if (i - start > 4) return false
    }
    if (i === start) return false
    if (i < end && text[i] === DOT) {
      if (to + 4 > stop || !parseV4(text, start, end, out, to)) return false
      to += 4
      i = end
      break
    }
    out[to++] = value >> 8
    out[to++] = value & 0xff
    if (i === end) break
    if (text[i] !== COLON) return false
    i++
    if (i === end) return false
    if (text[i] === COLON) {
      if (gap !== -1) return false
      gap = to
      i++
    }
  }
  if (gap === -1) return to === stop
  // `::` stands for at least one group.
  if (to === stop) return false
  const tail = to - gap
  out.copyWithin(stop - tail, gap, to)
  out.fill(0, gap, stop - tail)
  return true
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** Bytes of a literal address as it is written, a zone (`fe80::1%eth0`) left out. Throws for what is no address. */
export function literalBytes(text: string): Uint8Array {
  const percent = text.indexOf('%')
  const end = percent < 0 ? text.length : percent
  const ascii = new Uint8Array(end)
  for (let i = 0; i < end; i++) ascii[i] = Math.min(0xff, text.charCodeAt(i))
  const bytes = new Uint8Array(16)
  const length = parseAddress(ascii, 0, end, bytes, 0)
  if (length === 0) throw new Error(`${JSON.stringify(text)} is no address`)
  return bytes.subarray(0, length)
}

/** The same, but an IPv4-mapped address (`::ffff:192.0.2.1`), which is an IPv4 one to whoever asks, has 4 bytes. */
export function addressBytes(text: string): Uint8Array {
  const bytes = literalBytes(text)
  return bytes.length === 16 && isMapped(bytes) ? bytes.subarray(12) : bytes
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false
  return bytes[10] === 0xff && bytes[11] === 0xff
}

/** True for a loopback address as Node prints it; undefined, of a socket that has gone, is none. */
export function isLoopbackText(text: string | undefined): boolean {
  if (text === undefined || text === '') return false
  const bytes = addressBytes(text)
  return bytes.length === 4 ? bytes[0] === 127 : bytes.every((byte, k) => byte === (k === 15 ? 1 : 0))
}

/** The literal address that 4 or 16 bytes are, see `formatAddress`. */
export function addressText(bytes: Uint8Array): string {
  return formatAddress(bytes, 0, bytes.length === 4 ? 4 : 16)
}

/** Text form of the address of 4 or 16 bytes at `at`; IPv6 as RFC 5952 has it. */
export function formatAddress(bytes: Uint8Array, at: number, length: 4 | 16): string {
  if (length === 4) return `${bytes[at]!}.${bytes[at + 1]!}.${bytes[at + 2]!}.${bytes[at + 3]!}`
  const groups = Array.from({ length: 8 }, (_, k) => (bytes[at + 2 * k]! << 8) | bytes[at + 2 * k + 1]!)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.subarray(at + 12, at + 16).join('.')}`
  }
  let longest = 1
  let from = -1
  for (let k = 0; k < 8; k++) {
    let zeros = 0
    while (k + zeros < 8 && groups[k + zeros] === 0) zeros++
    if (zeros > longest) {
      longest = zeros
      from = k
    }
  }
  const text = groups.map((group) => group.toString(16))
  if (from === -1) return text.join(':')
  return `${text.slice(0, from).join(':')}::${text.slice(from + longest).join(':')}`
}
