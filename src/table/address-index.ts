/**
 * The index by which an image finds the host of an address (image-layout.ts). Of several hosts with one address a pod or
 * service of Kubernetes comes before others, then the first by name, whatever order the table has them in.
 */
import { hashAddress } from './image.ts'
import {
  align4,
  FLAG_ALIAS,
  FLAG_KUBERNETES,
  FLAG_SHADOWED,
  FLAG_WILDCARD,
  KEY_MASK,
  RECORD_HEADER,
  recordBytes,
} from './image-layout.ts'
import { compareNames } from './name-text.ts'

/**
 * Fills the index, which must be zeroed, from the records between `recordsAt` and `recordsEnd`. Wildcard hosts are no
 * name that an address could be given.
 */
export function writeAddressIndex(
  index: Int32Array,
  bytes: Uint8Array,
  recordsAt: number,
  recordsEnd: number,
  seed: number,
): void {
  for (let record = recordsAt; record < recordsEnd; ) {
    const end = record + recordBytes(bytes, record)
    if ((bytes[record]! & (FLAG_WILDCARD | FLAG_SHADOWED | FLAG_ALIAS)) === 0) {
      const v4At = record + RECORD_HEADER + align4(bytes[record + 1]!)
      const v6At = v4At + (bytes[record + 4]! | (bytes[record + 5]! << 8)) * 4
      for (let at = v4At; at < v6At; at += 4) addAddress(index, bytes, record, at, 4, seed)
      for (let at = v6At; at < end; at += 16) addAddress(index, bytes, record | 1, at, 16, seed)
    }
    record = end
  }
}

function addAddress(
  index: Int32Array,
  bytes: Uint8Array,
  entry: number,
  at: number,
  length: 4 | 16,
  seed: number,
): void {
  const mask = index.length - 1
  let slot = (hashAddress(seed, bytes, at, length) << 1) & mask
  for (let other = index[slot]!; other !== 0; other = index[slot]!) {
    if ((other & 1) === (entry & 1) && isSameAddress(bytes, index[slot + 1]!, at, length)) {
      if (wins(bytes, entry & ~KEY_MASK, other & ~KEY_MASK)) {
        index[slot] = entry
        index[slot + 1] = at
      }
      return
    }
    slot = (slot + 2) & mask
  }
  index[slot] = entry
  index[slot + 1] = at
}

function isSameAddress(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false
  return true
}

function wins(bytes: Uint8Array, record: number, other: number): boolean {
  const kubernetes = bytes[record]! & FLAG_KUBERNETES
  const otherKubernetes = bytes[other]! & FLAG_KUBERNETES
  if (kubernetes !== otherKubernetes) return kubernetes > otherKubernetes
  return compareNames(bytes, record + RECORD_HEADER, other + RECORD_HEADER) < 0
}
