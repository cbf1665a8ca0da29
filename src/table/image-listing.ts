/** Turns an image back into the name table that it stands for, for people and files: nothing a worker does. */
import { nameToText } from '../dns/name.ts'
import { formatAddress } from '../dns/address.ts'
import type { Image } from './image.ts'
import {
  align4,
  AT_RECORDS,
  AT_RECORDS_END,
  FLAG_ALIAS,
  FLAG_EXTERNAL,
  FLAG_KUBERNETES,
  FLAG_OWN_NAMESPACE,
  FLAG_SHADOWED,
  RECORD_HEADER,
  recordBytes,
} from './image-layout.ts'
import type { NameInfo } from './nds.ts'

/** A host of the table as the image has it. */
export interface ListedHost extends NameInfo {
  host: string
}

/** An image's records, or a private copy of them. */
interface Records {
  bytes: Uint8Array
  /** The workload's own. */
  namespace: string
}

/**
 * The hosts of the image in the order of the table that it was compiled from (later ones may have changed addresses in it,
 * and have another order). What is not stored comes out as good as it goes: names are in lower
 * case, a registry other than `Kubernetes` and `External` is empty, `shortname` and `namespace` are there where the host
 * begins with them (as istiod's do), and where it does not the names made from them are among `altHosts`. The same
 * names have the same answers. The records are copied when the first host is taken (about half of the image's bytes): from
 * then on the image's slot may be rewritten, so whoever reads slowly keeps no slot from a push.
 */
export function* listHosts(image: Image): Generator<ListedHost, void, undefined> {
  const words = new Int32Array(image.buffer)
  const records: Records = {
    bytes: image.bytes.slice(words[AT_RECORDS], words[AT_RECORDS_END]),
    namespace: image.namespace,
  }
  const { bytes } = records
  let host: ListedHost | null = null
  for (let at = 0; at < bytes.length; at += recordBytes(bytes, at)) {
    const flags = bytes[at]!
    if (flags & FLAG_ALIAS) host?.altHosts.push(textOf(bytes, at + RECORD_HEADER))
    else {
      if (host !== null) yield host
      host = flags & FLAG_SHADOWED ? null : readHost(records, at)
    }
  }
  if (host !== null) yield host
}

/** The host whose record is at `record` of the image, as `listHosts` gives it, but without its other names. */
export function hostAt(image: Image, record: number): ListedHost {
  return readHost({ bytes: image.bytes, namespace: image.namespace }, record)
}

function readHost({ bytes, namespace }: Records, record: number): ListedHost {
  const flags = bytes[record]!
  const nameAt = record + RECORD_HEADER
  const short = bytes[record + 2]!
  const ns = bytes[record + 3]!
  const own = flags & FLAG_OWN_NAMESPACE ? namespace : ''
  return {
    host: textOf(bytes, nameAt),
    ips: readAddresses(bytes, record),
    registry: flags & FLAG_KUBERNETES ? 'Kubernetes' : flags & FLAG_EXTERNAL ? 'External' : '',
    shortname: labelsText(bytes, nameAt, short),
    namespace: ns > 0 ? labelsText(bytes, nameAt + short, ns) : own,
    altHosts: [],
  }
}

function readAddresses(bytes: Uint8Array, record: number): string[] {
  const v4Count = bytes[record + 4]! | (bytes[record + 5]! << 8)
  const v6Count = bytes[record + 6]! | (bytes[record + 7]! << 8)
  const v4At = record + RECORD_HEADER + align4(bytes[record + 1]!)
  const v6At = v4At + v4Count * 4
  return [
    ...Array.from({ length: v4Count }, (_, k) => formatAddress(bytes, v4At + k * 4, 4)),
    ...Array.from({ length: v6Count }, (_, k) => formatAddress(bytes, v6At + k * 16, 16)),
  ]
}

function textOf(bytes: Uint8Array, nameAt: number): string {
  return nameToText(bytes, nameAt).slice(0, -1)
}

/** Text of the labels in the `length` bytes at `at`. */
function labelsText(bytes: Uint8Array, at: number, length: number): string {
  if (length === 0) return ''
  const wire = new Uint8Array(length + 1)
  wire.set(bytes.subarray(at, at + length))
  return textOf(wire, 0)
}
