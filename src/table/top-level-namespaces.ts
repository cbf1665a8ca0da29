/** Namespaces that are top-level domains: `pay.dev.`, a name of the mesh, may be somebody's real domain. */
import type { LabelSet } from '../dns/label-set.ts'
import { nameToText, nameToWire } from '../dns/name.ts'
import type { Image } from './image.ts'
import {
  AT_RECORDS,
  AT_RECORDS_END,
  FLAG_ALIAS,
  FLAG_KUBERNETES,
  FLAG_SHADOWED,
  RECORD_HEADER,
  recordBytes,
} from './image-layout.ts'

/**
 * By such a namespace the first of its short names, `pay.dev.`, in the table's order. Only hosts of the identity's own cluster
 * have any. For people: walks through all records.
 */
export function topLevelNamespaces(image: Image, topLevel: LabelSet): Map<string, string> {
  const { bytes } = image
  const words = new Int32Array(image.buffer)
  const domain = nameToWire(image.domain) ?? new Uint8Array(1)
  const cluster = domain.subarray(domain[0] === 0 ? 0 : domain[0]! + 1)
  const found = new Map<string, string>()
  for (let at = words[AT_RECORDS]!; at < words[AT_RECORDS_END]!; at += recordBytes(bytes, at)) {
    if ((bytes[at]! & (FLAG_ALIAS | FLAG_SHADOWED | FLAG_KUBERNETES)) !== FLAG_KUBERNETES) continue
    const nameAt = at + RECORD_HEADER
    const short = bytes[at + 2]!
    const namespace = bytes[at + 3]!
    if (short === 0 || namespace === 0 || !topLevel.has(bytes, nameAt + short)) continue
    const length = short + namespace
    if (!isTail(bytes, nameAt + length, nameAt + bytes[at + 1]!, cluster)) continue
    const name = new Uint8Array(length + 1)
    name.set(bytes.subarray(nameAt, nameAt + length))
    const text = nameToText(name, short).slice(0, -1)
    if (!found.has(text)) found.set(text, nameToText(name))
  }
  return found
}

/** True if the name that ends at `end` ends in `tail`, which begins at `from` at the earliest. */
function isTail(bytes: Uint8Array, from: number, end: number, tail: Uint8Array): boolean {
  const at = end - tail.length
  return (
    tail.length > 1 &&
    at >= from &&
    tail.every((byte, k) => bytes[at + k] === (byte >= 65 && byte <= 90 ? byte | 32 : byte))
  )
}
