/**
 * Lays the addresses of the few entries that changed over a copy of the image held. That is right where an entry differs
 * in nothing but which addresses it has, as many of each family as before: then no record moves, and every name stays
 * its host's.
 */
import { align4, RECORD_HEADER, recordBytes } from './image-layout.ts'
import type { IntList } from './int-list.ts'

/**
 * Orders `gone`, ordinals of entries of the table held, so that number k is the old state of number k of the new records.
 * False if one has none: the table is another in more than addresses. `heldOutlines` are those of all entries held,
 * `outlines` those of the new records, which are in `bytes` (RecordWriter.outlines).
 */
export function pairUp(
  heldBytes: Uint8Array,
  heldOutlines: IntList,
  gone: IntList,
  bytes: Uint8Array,
  outlines: IntList,
): boolean {
  const ordinals = gone.items
  const isPair = (ordinal: number, k: number): boolean =>
    heldOutlines.items[ordinal * 2 + 1] === outlines.items[k * 2 + 1] &&
    isSameHost(heldBytes, heldOutlines.items[ordinal * 2]!, bytes, outlines.items[k * 2]!)
  for (let k = 0; k < gone.length; k++) {
    let place = k
    while (place < gone.length && !isPair(ordinals[place]!, k)) place++
    if (place === gone.length) return false
    const ordinal = ordinals[place]!
    ordinals[place] = ordinals[k]!
    ordinals[k] = ordinal
  }
  return true
}

/** Copies the addresses of the new records, which are in `bytes` themselves, to the places of the old ones there. */
export function layAddresses(bytes: Uint8Array, heldOutlines: IntList, gone: IntList, outlines: IntList): void {
  for (let k = 0; k < gone.length; k++) {
    const to = heldOutlines.items[gone.items[k]! * 2]!
    const from = outlines.items[k * 2]!
    const addresses = RECORD_HEADER + align4(bytes[from + 1]!)
    bytes.copyWithin(to + addresses, from + addresses, from + recordBytes(bytes, from))
  }
}

/** True if two records, neither of them missing, are alike from the name's length to the name's end. */
function isSameHost(heldBytes: Uint8Array, held: number, bytes: Uint8Array, record: number): boolean {
  if (held === 0 || record === 0) return false
  const length = RECORD_HEADER + bytes[record + 1]!
  // The flags are part of the shape; that of a host that lost its name is the image's alone.
  for (let i = 1; i < length; i++) if (heldBytes[held + i] !== bytes[record + i]) return false
  return true
}
