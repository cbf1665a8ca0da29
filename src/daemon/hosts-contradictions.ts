/** Names for which the hosts file and the name table say different things: one of them is old, mistaken or poisoned. */
import { addressText, formatAddress } from '../dns/address.ts'
import { nameToText, scanName, ScannedName } from '../dns/name.ts'
import type { HostEntry } from '../engine/settings.ts'
import type { Problem } from '../observe/sources.ts'
import type { Image } from '../table/image.ts'

/** A hosts file of a machine has a few names; one of many more is read for so many. */
const MOST_NAMES = 10_000
const MOST_TOLD = 3

/** What is compared. */
export interface ComparedNames {
  /** The hosts file. */
  file: string
  hosts: readonly HostEntry[]
  /** The name table in use; null before the first. */
  image: Image | null
  /** Hosts of the control plane: a machine outside the cluster reaches them by another address on purpose. */
  except: readonly string[]
}

/** Compares again only what has changed since the last time. */
export class HostsContradictions {
  #hosts: readonly HostEntry[] | null = null
  #image: Image | null = null
  #found: readonly string[] = []
  #sinceMs = 0

  /** One problem for all names, or none. `nowMs`: Unix time. */
  problems({ file, hosts, image, except }: ComparedNames, nowMs: number): Problem[] {
    if (hosts !== this.#hosts || image !== this.#image) {
      const hadSome = this.#found.length > 0
      this.#found = image === null ? [] : contradictions(hosts, image, except)
      this.#hosts = hosts
      this.#image = image
      if (!hadSome) this.#sinceMs = nowMs
    }
    const { length } = this.#found
    if (length === 0) return []
    const told = this.#found.slice(0, MOST_TOLD).join('; ')
    const more = length > MOST_TOLD ? `; and ${length - MOST_TOLD} more names` : ''
    const text = `the hosts file contradicts the name table: ${told}${more} (${file}; byname goes by the table, programs by the file)`
    return [{ about: 'hosts_file', text, sinceMs: this.#sinceMs }]
  }
}

/** A phrase for each name that has an address there which the table's host of this name has not. */
function contradictions(hosts: readonly HostEntry[], image: Image, except: readonly string[]): string[] {
  const scanned = new ScannedName()
  const found: string[] = []
  for (const { name, v4, v6 } of hosts.slice(0, MOST_NAMES)) {
    if (v4.length + v6.length === 0) continue
    if (scanName(name, 0, name.length, image.seed, scanned) < 0) continue
    if (!image.find(scanned) || image.wildcard || image.expanded) continue
    const others = [...strangers(v4, 4, image), ...strangers(v6, 16, image)]
    const text = nameToText(name).replace(/\.$/, '')
    if (others.length === 0 || except.includes(text)) continue
    found.push(
      `${text} is ${others.join(' ')} there and ${addressesOf(image).slice(0, MOST_TOLD).join(' ')} in the table`,
    )
  }
  return found
}

/** Those of `addresses` that are not the host's. A family that the table leaves out for this host contradicts nothing. */
function strangers(addresses: Uint8Array, size: 4 | 16, image: Image): string[] {
  const ofTable = addressesOf(image, size)
  if (ofTable.length === 0) return []
  return Array.from({ length: addresses.length / size }, (_, k) =>
    addressText(addresses.subarray(k * size, (k + 1) * size)),
  ).filter((address) => !ofTable.includes(address))
}

/** Addresses of the host that `image` has found last. */
function addressesOf(image: Image, size?: 4 | 16): string[] {
  const { bytes, v4At, v4Count, v6At, v6Count } = image
  const read = (at: number, count: number, each: 4 | 16): string[] =>
    Array.from({ length: count }, (_, k) => formatAddress(bytes, at + k * each, each))
  return [...(size === 16 ? [] : read(v4At, v4Count, 4)), ...(size === 4 ? [] : read(v6At, v6Count, 16))]
}
