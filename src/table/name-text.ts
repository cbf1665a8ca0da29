/** Names on their way from the bytes of a name table to the bytes of its image, and identities in wire format. */
import { LOWER, nameToWire } from '../dns/name.ts'
import type { TableIdentity } from './identity.ts'

const DOT = 0x2e
const BACKSLASH = 0x5c
const MAX_LABEL = 63
const MAX_NAME = 255
/** Longest text of a name, if every byte is escaped as `\DDD`. */
const MAX_TEXT = 4 * MAX_NAME

/** Bytes that `textToWire` may write at most. */
export const MAX_WIRE_SCRATCH: number = MAX_TEXT + 2

/**
 * Writes the name in presentation format at `at` to `out` as a lower-cased wire name. Returns its length with the root,
 * or 0 if it is no name; the root itself is none here. As `nameToWire`, which it leaves escapes to.
 *
 * It goes from right to left, where a label's length is known when its dot is met, and where the names of a table are
 * alike, which the processor's branch prediction rewards (three fifths of the time that the other direction takes).
 */
export function textToWire(text: Uint8Array, at: number, length: number, out: Uint8Array, outAt: number): number {
  if (length === 0 || length > MAX_TEXT) return 0
  const stop = text[at + length - 1] === DOT ? at + length - 1 : at + length
  let to = outAt + (stop - at) + 1
  const wireLength = to + 1 - outAt
  let run = 0
  out[to--] = 0
  for (let i = stop - 1; i >= at; i--) {
    const byte = text[i]!
    if (byte === DOT) {
      if (run === 0 || run > MAX_LABEL) return oddTextToWire(text, at, length, out, outAt)
      out[to--] = run
      run = 0
    } else if (byte === BACKSLASH) return oddTextToWire(text, at, length, out, outAt)
    else {
      out[to--] = LOWER[byte]!
      run++
    }
  }
  out[to] = run
  return run > 0 && run <= MAX_LABEL && wireLength <= MAX_NAME ? wireLength : 0
}

/** Text with an escape, or with an empty label, which may be one: the dot before it may be escaped. */
function oddTextToWire(text: Uint8Array, at: number, length: number, out: Uint8Array, outAt: number): number {
  // With the mark of byte order, if there is one: it is a character like others here, as in text without escapes.
  const wire = nameToWire(new TextDecoder('utf-8', { ignoreBOM: true }).decode(text.slice(at, at + length)))
  if (wire === null) return 0
  for (let i = 0; i < wire.length; i++) out[outAt + i] = LOWER[wire[i]!]!
  return wire.length
}

/** Order of the wire names at `a` and `b` as text, byte by byte: negative if that at `a` comes first. */
export function compareNames(bytes: Uint8Array, a: number, b: number): number {
  let i = a
  let k = b
  let left = bytes[i++]!
  let otherLeft = bytes[k++]!
  let wireOrder = left - otherLeft
  for (;;) {
    // At the end of a label its dot counts, at the end of the name nothing.
    const ends = left === 0
    const otherEnds = otherLeft === 0
    if (ends) left = bytes[i]! + 1
    if (otherEnds) otherLeft = bytes[k]! + 1
    const byte = ends ? (bytes[i] === 0 ? -1 : DOT) : bytes[i]!
    const otherByte = otherEnds ? (bytes[k] === 0 ? -1 : DOT) : bytes[k]!
    if (byte !== otherByte) return byte - otherByte
    // Only an escaped dot gives two names of the same text: their bytes decide, so that the order is total.
    if (wireOrder === 0) wireOrder = bytes[i]! - bytes[k]!
    if (byte === -1) return wireOrder
    i++
    k++
    left--
    otherLeft--
  }
}

/** Labels of the wire name at `at`, without the root. */
export function countLabels(wire: Uint8Array, at: number): number {
  let labels = 0
  for (let i = at; wire[i]! !== 0; i += wire[i]! + 1) labels++
  return labels
}

/** True if `text` at `at` and `prefix` are alike but for the case of ASCII letters, as far as `prefix` goes. */
export function startsWithText(
  text: Uint8Array,
  at: number,
  prefix: Uint8Array,
  prefixAt: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) if (LOWER[text[at + i]!] !== LOWER[prefix[prefixAt + i]!]) return false
  return true
}

/**
 * Length on the wire of the labels at `at` that spell the `length` bytes of text at `textAt`, 0 if the name does not go
 * on with these labels. Text with escapes or a trailing dot is not recognized.
 */
export function labelsOfText(wire: Uint8Array, at: number, text: Uint8Array, textAt: number, length: number): number {
  if (length === 0) return 0
  let to = at
  let left = wire[to++]!
  for (let i = textAt; i < textAt + length; i++) {
    const byte = text[i]!
    if (left-- > 0) {
      if (byte === DOT || byte === BACKSLASH || LOWER[byte] !== wire[to++]) return 0
    } else {
      left = wire[to++]!
      if (byte !== DOT || left === 0) return 0
    }
  }
  return left === 0 ? to - at : 0
}

/** An identity as the compiler compares it with the bytes of a table. */
export interface WireIdentity {
  identity: TableIdentity
  namespace: Uint8Array
  /** Domain less its namespace, lower-cased wire name; the root alone if nothing is left. */
  cluster: Uint8Array
  /** First search domain, lower-cased wire name; empty if there is none. */
  search: Uint8Array
  searchLabels: number
}

/** Throws an Error that names the field if the domain or the search domain is no name: configuration has been checked before. */
export function toWireIdentity(identity: TableIdentity): WireIdentity {
  const domain = wireName(identity.domain, 'domain')
  const search = wireName(identity.searchDomain ?? '', 'searchDomain')
  const searchLabels = countLabels(search, 0)
  return {
    identity,
    namespace: new TextEncoder().encode(identity.namespace),
    cluster: domain.subarray(domain[0] === 0 ? 0 : domain[0]! + 1),
    search: searchLabels === 0 ? new Uint8Array(0) : search,
    searchLabels,
  }
}

function wireName(text: string, field: keyof TableIdentity): Uint8Array {
  const wire = text === '' ? new Uint8Array(1) : nameToWire(text)
  if (wire === null) throw new Error(`identity.${field}: "${text}" is not a domain name`)
  return wire.map((byte) => LOWER[byte]!)
}
