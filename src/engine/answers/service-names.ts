/**
 * Names below a Kubernetes host of the table: those of a StatefulSet's pods, mostly. A pod that is not there yet is there
 * a second later, so a server's denial of such a name is kept briefly, and no longer than until the next table.
 */
import { scanName, ScannedName } from '../../dns/name.ts'
import type { Image } from '../../table/image.ts'
import { FLAG_KUBERNETES } from '../../table/image-layout.ts'
import { type AnswerStore, StoredFlag } from '../cache/stored-answer.ts'
import type { EngineSettings } from '../settings.ts'

/** What a denial is compared with: the table in use (null before the first), and how many there were. */
interface TableInUse {
  readonly image: Image | null
  readonly tables: number
  readonly settings: EngineSettings
}

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

/**
 * True if a table that came after it ends the denial in `block` of the name (lower-cased wire format, `length` bytes at
 * `at`): one of a name below a Kubernetes host, which may be there now. Such a denial is not served any more, not even stale.
 * Each denial is compared with each table once.
 */
export function isEndedDenial(
  { image, settings, tables }: TableInUse,
  store: AnswerStore,
  block: number,
  name: Uint8Array,
  at: number,
  length: number,
): boolean {
  if (store.isOfTable(block, tables)) return false
  if (image === null || settings.headlessNegativeTtlSeconds === undefined) return false
  if (!store.has(block, StoredFlag.FAILURE) && isBelowService(image, name, at, length)) return true
  store.setTable(block, tables)
  return false
}
