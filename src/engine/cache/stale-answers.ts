/** Expired answers, served where no server gives a newer one (RFC 8767). */
import { Ede, Rcode } from '../../dns/constants.ts'
import type { ClientQuery } from '../client-query.ts'
import { type AnswerStore, ageOf, StoredFlag, writeStored } from './stored-answer.ts'

/** TTL of a stale answer (RFC 8767 §4). */
const STALE_TTL_SECONDS = 30

/** True if the answer of `block` may still be served at `now` (engine time, ms), fresh or stale for at most `staleSeconds`. */
export function isServable(store: AnswerStore, block: number, staleSeconds: number, now: number): boolean {
  if (store.has(block, StoredFlag.FAILURE | StoredFlag.BRIEF)) return false
  return ageOf(store, block, now) < store.lifetimeSeconds(block) + staleSeconds
}

/**
 * Writes the answer of `block` into `out` at `outAt` as the stale reply to `query`, with an extended error that says so;
 * returns its length. `random`: a fresh 32-bit number, for the rotation.
 */
export function writeStale(
  store: AnswerStore,
  block: number,
  query: ClientQuery,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  const ede = store.rcode(block) === Rcode.NXDOMAIN ? Ede.STALE_NXDOMAIN : Ede.STALE_ANSWER
  return writeStored(store, block, query, 0, STALE_TTL_SECONDS, ede, random, out, outAt)
}
