/** Finds hosts of an image by a part of their name, or by an address, for people: nothing a worker does. */
import { isIP } from 'node:net'
import { addressBytes } from '../dns/address.ts'
import type { Image } from './image.ts'
import {
  align4,
  AT_RECORDS,
  AT_RECORDS_END,
  FLAG_ALIAS,
  FLAG_SHADOWED,
  RECORD_HEADER,
  recordBytes,
} from './image-layout.ts'
import { hostAt, type ListedHost } from './image-listing.ts'

/** A part of what was found. */
export interface HostPage {
  /** Hosts of the table. */
  hosts: number
  /** Hosts that match. */
  found: number
  /** From `offset` on, at most `limit`, in the order of the table. */
  shown: ListedHost[]
}

const DOT = 0x2e
// One name with dots in place of lengths. Used within one `searchHosts`, which calls nobody back.
const nameScratch: Uint8Array = new Uint8Array(256)

/**
 * The hosts of `image` that have `text` in their name (with its last dot) or another name of theirs (letter case does not matter), or the
 * address `text`; all of them if `text` is empty. Walks over the records in place, some 20 ms for 100,000 hosts, and makes
 * objects of those shown only.
 */
export function searchHosts(image: Image, text: string, offset: number, limit: number): HostPage {
  const words = new Int32Array(image.buffer)
  const { bytes } = image
  const address = isIP(text) === 0 || text.includes('%') ? null : addressBytes(text)
  const wanted = new TextEncoder().encode(text.toLowerCase())
  const page: HostPage = { hosts: image.hosts, found: 0, shown: [] }
  const found = (record: number): void => {
    const place = page.found++
    if (place >= offset && page.shown.length < limit) page.shown.push(hostAt(image, record))
  }
  let host = -1
  let isFound = false
  const end = words[AT_RECORDS_END]!
  for (let at = words[AT_RECORDS]!; at < end; at += recordBytes(bytes, at)) {
    const flags = bytes[at]!
    if (flags & FLAG_SHADOWED) {
      host = -1
      continue
    }
    if ((flags & FLAG_ALIAS) === 0) {
      host = at
      isFound = false
    }
    if (host < 0 || isFound) continue
    const isMatch = hasName(bytes, at, wanted) || (address !== null && at === host && hasAddress(bytes, at, address))
    if (!isMatch) continue
    isFound = true
    found(host)
  }
  return page
}

/** Whether the name of the record at `record` has `wanted` in it. */
function hasName(bytes: Uint8Array, record: number, wanted: Uint8Array): boolean {
  const nameAt = record + RECORD_HEADER
  // Without the first length; that of the root is the last dot.
  const length = bytes[record + 1]! - 1
  if (length < wanted.length) return false
  let nextLength = bytes[nameAt]!
  for (let k = 0; k < length; k++) {
    const byte = bytes[nameAt + 1 + k]!
    const isLength = k === nextLength
    if (isLength) nextLength += 1 + byte
    nameScratch[k] = isLength ? DOT : byte
  }
  return contains(nameScratch, length, wanted)
}

function contains(text: Uint8Array, length: number, wanted: Uint8Array): boolean {
  for (let start = 0; start + wanted.length <= length; start++) {
    let k = 0
    while (k < wanted.length && text[start + k] === wanted[k]) k++
    if (k === wanted.length) return true
  }
  return false
}

/** Whether the host at `record` has `address` (4 or 16 bytes). */
function hasAddress(bytes: Uint8Array, record: number, address: Uint8Array): boolean {
  const v4Count = bytes[record + 4]! | (bytes[record + 5]! << 8)
  const v6Count = bytes[record + 6]! | (bytes[record + 7]! << 8)
  const v4At = record + RECORD_HEADER + align4(bytes[record + 1]!)
  const isV4 = address.length === 4
  const from = isV4 ? v4At : v4At + v4Count * 4
  const count = isV4 ? v4Count : v6Count
  for (let n = 0; n < count; n++) {
    let k = 0
    while (k < address.length && bytes[from + n * address.length + k] === address[k]) k++
    if (k === address.length) return true
  }
  return false
}
