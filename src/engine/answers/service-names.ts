/**
 * Names below a Kubernetes host of the table: those of a StatefulSet's pods, mostly. A pod that is not there yet is there
 * a second later, so a server's denial of such a name is kept briefly, and no longer than until the next table.
 */
import { scanName, ScannedName } from '../../dns/name.ts'
import type { Image } from '../../table/image.ts'
import { FLAG_KUBERNETES } from '../../table/image-layout.ts'

/** Made once: the names above the one in question. Overwritten by each call, which is synchronous. */
const above = new ScannedName()

/**
 * True if the name (lower-cased wire format, `length` bytes at `at`) is below one that a Kubernetes host of the table
 * answers to. The table does not say which of them are headless. Nobody has names below the others, so it does not matter.
 */
export function isBelowService(image: Image, name: Uint8Array, at: number, length: number): boolean {
  const end = at + length
  for (let from = at; name[from] !== 0; ) {
    from += name[from]! + 1
    scanName(name, from, end, image.seed, above)
    if (image.find(above) && (image.bytes[image.record]! & FLAG_KUBERNETES) !== 0) return true
  }
  return false
}
