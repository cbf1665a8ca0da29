/**
 * "Nothing underneath" (RFC 8020): a name that does not exist has no names below it, whatever their type. With
 * `cache.nxdomainCut` each NXDOMAIN is kept a second time, under a type that no question has, and answers for all of them.
 */
import { Ede, Flag, HEADER_BYTES, MAX_MESSAGE, Rcode } from '../../dns/constants.ts'
import { finishHash, hashBytes, skipName } from '../../dns/name.ts'
import { beginReply, copyBytes, readU16, readU32, setCounts, writeU32 } from '../../dns/reply.ts'
import { beginCopy, copyRecord } from '../../dns/record-copy.ts'
import type { Cache } from './cache.ts'
import { ANY_TYPE_KEY, type ClientQuery } from '../client-query.ts'
import { PASS } from '../answers/answer-stage.ts'
import { replyOptBytes, writeReplyOpt } from '../reply-opt.ts'
import { type AnswerStore, ageOf, STORED_HEAD, StoredFlag } from './stored-answer.ts'
import type { Upstreams } from '../forward/upstreams.ts'

const QUESTION_TAIL_BYTES = 4
const KEY_TAIL_BYTES = 3

// Made once and overwritten by each call, which is synchronous.
const key = new Uint8Array(264)
/** The last record that is copied may be as long as all others together. */
const reply = new Uint8Array(2 * MAX_MESSAGE + 1024)

/** Hash of a cache key: of its name (finished), its type and variant. The cache's stage has it written out. */
export function keyHash(nameHash: number, type: number, variant: number): number {
  return finishHash(nameHash ^ Math.imul((type << 3) | variant, 0x9e3779b1))
}

/** Hash under which the NXDOMAIN for a name (lower-cased wire format, `length` bytes at `at`) is kept. */
export function cutHash(seed: number, name: Uint8Array, at: number, length: number, variant: number): number {
  return keyHash(finishHash(hashBytes(seed, name, at, length - 1)), ANY_TYPE_KEY, variant)
}

/**
 * Answers `query` if its name, or one above it, is known not to exist: by servers of the same route, as others may see
 * another tree. Returns the reply's length, or PASS.
 */
export function answerBelowCut(
  cache: Cache,
  upstreams: Upstreams,
  query: ClientQuery,
  variant: number,
  seed: number,
  now: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { name } = query
  const route = upstreams.routeFor(name.lower, 0, name.length)
  for (let label = 0; label < name.labels; label++) {
    const from = name.labelAt[label]!
    const length = name.length - from
    copyBytes(name.lower, from, length, key, 0)
    key[length] = 0
    key[length + 1] = ANY_TYPE_KEY
    key[length + 2] = variant
    const block = cache.find(cutHash(seed, name.lower, from, length, variant), key, 0, length + KEY_TAIL_BYTES)
    if (block < 0) continue
    const age = ageOf(cache.store, block, now)
    if (age >= cache.store.lifetimeSeconds(block) || upstreams.routeFor(name.lower, from, length) !== route) continue
    return writeDenial(cache.store, block, query, age, cache.store.ede(block), out, outAt)
  }
  return PASS
}

/**
 * The NXDOMAIN kept for questions without DO and CD for a name (lower-cased wire format, `length` bytes at `at`): its block in
 * `cache.store`, fresh or not; -1 if there is none.
 */
export function findCut(cache: Cache, seed: number, name: Uint8Array, at: number, length: number): number {
  copyBytes(name, at, length, key, 0)
  key[length] = 0
  key[length + 1] = ANY_TYPE_KEY
  key[length + 2] = 0
  return cache.find(cutHash(seed, name, at, length, 0), key, 0, length + KEY_TAIL_BYTES)
}

/** Forgets it: the name exists. */
export function forgetCut(cache: Cache, seed: number, name: Uint8Array, at: number, length: number): void {
  if (findCut(cache, seed, name, at, length) < 0) return
  // `findCut` has left the key.
  cache.forget(cutHash(seed, name, at, length, 0), key, 0, length + KEY_TAIL_BYTES)
}

/** Writes an NXDOMAIN kept for a name above as the reply to `query`, with the extended error `withEde`; PASS if it does not fit. */
export function writeDenial(
  store: AnswerStore,
  block: number,
  query: ClientQuery,
  ageSeconds: number,
  withEde: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { bytes } = store
  const message = block + STORED_HEAD
  const stop = message + store.messageLength(block)
  const wantsAd = (query.flags & Flag.AD) !== 0 || query.dnssecOk
  const ad = wantsAd && store.has(block, StoredFlag.AUTHENTIC) ? Flag.AD : 0
  let at = beginReply(query, Rcode.NXDOMAIN | ad, reply, 0)
  let from = message + HEADER_BYTES + store.keyLength(block) - KEY_TAIL_BYTES + QUESTION_TAIL_BYTES
  const records = readU16(bytes, message + 8)
  beginCopy(reply, 0)
  for (let k = 0; k < records; k++) {
    const record = at
    at = copyRecord(bytes, message, from, stop, record)
    if (at + replyOptBytes(query, Ede.NONE) > query.limit) return PASS
    const ttlAt = skipName(reply, record, at) + 4
    writeU32(reply, ttlAt, Math.max(0, readU32(reply, ttlAt) - ageSeconds))
    const fixed = skipName(bytes, from, stop)
    from = fixed + 10 + readU16(bytes, fixed + 8)
  }
  setCounts(reply, 0, 0, records, query.hasEdns ? 1 : 0)
  // The extended error is added only if there is room.
  const ede = at + replyOptBytes(query, withEde) > query.limit ? Ede.NONE : withEde
  if (query.hasEdns) at = writeReplyOpt(query, Rcode.NXDOMAIN, ede, reply, at)
  copyBytes(reply, 0, at, out, outAt)
  query.server = store.server(block)
  return at
}
