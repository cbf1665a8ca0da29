/**
 * An upstream answer in the form in which it is kept and served: the message without its OPT, and beside it what serving
 * needs to know, in one block of bytes. The same form is used for an answer just received and for one from the cache.
 *
 * ```
 *   0 u32 bytes of the whole block     4 i32 hash of the key
 *   8 f64 time stored, in ms          16 u32 lifetime in seconds
 *  20 u16 message length  22 u16 TTLs  24 u16 rotate at  26 u16 rotate size  28 u16 rotate count
 *  30 u16 key length      32 u16 extended error, 65,535: none
 *  34 u16 rcode (four bits), number of the table that it was compared with (six), StoredFlag
 *  36 u32 age in seconds until which it is served stale at once (24 bits), and number of the server above it, 0: not known
 *  40 message … │ offsets of TTLs (u16 each, at an even address) │ key
 *  key: the question's name in lower case, type, variant (see `variantOf`)
 * ```
 */
import { CLASS_IN, Ede, Flag, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import type { Answer } from '../../dns/answer.ts'
import { skipName } from '../../dns/name.ts'
import { copyBytes, readU16, readU32, setCounts, writeU16, writeU32 } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'
import { replyOptBytes, writeReplyOpt } from '../reply-opt.ts'

/** Bytes before the message of a block. */
export const STORED_HEAD = 40
const WORD_SIZE = 0
const WORD_HASH = 1
const DOUBLE_STORED_AT = 1
const WORD_LIFETIME = 4
const WORD_STALE_UNTIL = 9
const HALF_LENGTH = 10
const HALF_TTLS = 11
const HALF_ROTATE_AT = 12
const HALF_ROTATE_SIZE = 13
const HALF_ROTATE_COUNT = 14
const HALF_KEY = 15
const HALF_EDE = 16
const HALF_FLAGS = 17

/** Flags of a block, in its word at 34. */
export const StoredFlag = {
  /** NXDOMAIN, NODATA or a failure. */
  NEGATIVE: 1,
  /** The upstream server had set AD. */
  AUTHENTIC: 2,
  /** A prefetch of it is under way or was tried. */
  PREFETCHED: 4,
  /** Replaced or flushed. */
  DEAD: 8,
  /** A failure kept for a few seconds (RFC 9520): never served stale. */
  FAILURE: 16,
  /** Denies a name below a Kubernetes host of the table: never served stale. */
  BRIEF: 32,
} as const

/** The number of the table stands above the flags, and the rcode above that. */
const TABLE_SHIFT = 6
const TABLE_MASK = 0x3f
const RCODE_SHIFT = 12
const NO_EDE = 0xffff
/** Half a year: ages are below two weeks. */
const STALE_UNTIL_MASK = 0xff_ffff
const SERVER_SHIFT = 24

/** A buffer that holds blocks, with the views that reading them needs. */
export class AnswerStore {
  readonly bytes: Uint8Array
  readonly words: Int32Array
  readonly halves: Uint16Array
  readonly doubles: Float64Array

  /** `capacity` in bytes, rounded down to a multiple of 8. */
  constructor(capacity: number) {
    const buffer = new ArrayBuffer(capacity & ~7)
    this.bytes = new Uint8Array(buffer)
    this.words = new Int32Array(buffer)
    this.halves = new Uint16Array(buffer)
    this.doubles = new Float64Array(buffer)
  }

  size(at: number): number {
    return this.words[(at >> 2) + WORD_SIZE]!
  }
  hash(at: number): number {
    return this.words[(at >> 2) + WORD_HASH]!
  }
  storedAt(at: number): number {
    return this.doubles[(at >> 3) + DOUBLE_STORED_AT]!
  }
  lifetimeSeconds(at: number): number {
    return this.words[(at >> 2) + WORD_LIFETIME]!
  }
  /** Age in seconds up to which the answer, once stale, is served without asking anybody; 0 as long as nobody failed. */
  staleUntilSeconds(at: number): number {
    return this.words[(at >> 2) + WORD_STALE_UNTIL]! & STALE_UNTIL_MASK
  }
  setStaleUntilSeconds(at: number, ageSeconds: number): void {
    this.words[(at >> 2) + WORD_STALE_UNTIL] = (this.server(at) << SERVER_SHIFT) | (ageSeconds & STALE_UNTIL_MASK)
  }
  /** Number of the server that the answer is from (`UpstreamServer.number`); 0: none, or not known. */
  server(at: number): number {
    return this.words[(at >> 2) + WORD_STALE_UNTIL]! >>> SERVER_SHIFT
  }
  setServer(at: number, number: number): void {
    this.words[(at >> 2) + WORD_STALE_UNTIL] = (number << SERVER_SHIFT) | this.staleUntilSeconds(at)
  }
  rcode(at: number): number {
    return this.halves[(at >> 1) + HALF_FLAGS]! >> RCODE_SHIFT
  }
  /** Code of the extended error that goes with the answer (RFC 8914), or Ede.NONE. */
  ede(at: number): number {
    const ede = this.halves[(at >> 1) + HALF_EDE]!
    return ede === NO_EDE ? Ede.NONE : ede
  }
  messageLength(at: number): number {
    return this.halves[(at >> 1) + HALF_LENGTH]!
  }
  keyLength(at: number): number {
    return this.halves[(at >> 1) + HALF_KEY]!
  }
  keyAt(at: number): number {
    const half = at >> 1
    const length = this.halves[half + HALF_LENGTH]!
    return at + STORED_HEAD + length + (length & 1) + this.halves[half + HALF_TTLS]! * 2
  }
  has(at: number, flag: number): boolean {
    return (this.halves[(at >> 1) + HALF_FLAGS]! & flag) !== 0
  }
  mark(at: number, flag: number): void {
    this.halves[(at >> 1) + HALF_FLAGS]! |= flag
  }
  unmark(at: number, flag: number): void {
    this.halves[(at >> 1) + HALF_FLAGS]! &= ~flag
  }

  /** True if the block was last compared with table number `table`, or with one 64 tables before it. */
  isOfTable(at: number, table: number): boolean {
    return ((this.halves[(at >> 1) + HALF_FLAGS]! >> TABLE_SHIFT) & TABLE_MASK) === (table & TABLE_MASK)
  }
  setTable(at: number, table: number): void {
    const half = (at >> 1) + HALF_FLAGS
    this.halves[half] = (this.halves[half]! & ~(TABLE_MASK << TABLE_SHIFT)) | ((table & TABLE_MASK) << TABLE_SHIFT)
  }

  /** Lowers MINIMUM of the SOA whose TTL stands at `soaTtlAt` of the block's message to that TTL: some clients look at nothing else. */
  lowerMinimum(at: number, soaTtlAt: number): void {
    const { bytes } = this
    const ttlAt = at + STORED_HEAD + soaTtlAt
    const minimumAt = ttlAt + 2 + readU16(bytes, ttlAt + 4)
    writeU32(bytes, minimumAt, Math.min(readU32(bytes, minimumAt), readU32(bytes, ttlAt)))
  }

  /** Gives the block another type in its key, and the hash that goes with that. */
  rekey(at: number, type: number, hash: number): void {
    writeU16(this.bytes, this.keyAt(at) + this.keyLength(at) - 3, type)
    this.words[(at >> 2) + WORD_HASH] = hash
  }

  /** True if the block's key is this one. `key`: lower-cased name, type and variant, `length` bytes. */
  hasKey(at: number, key: Uint8Array, keyAt: number, length: number): boolean {
    if (this.keyLength(at) !== length) return false
    const { bytes } = this
    const from = this.keyAt(at)
    for (let i = 0; i < length; i++) if (bytes[from + i] !== key[keyAt + i]) return false
    return true
  }
}

/** Bytes that a block takes for a message, its TTLs and a key, rounded up so that the next one is aligned. */
export function storedBytes(messageLength: number, ttlCount: number, keyLength: number): number {
  return (STORED_HEAD + messageLength + (messageLength & 1) + ttlCount * 2 + keyLength + 7) & ~7
}

/** How answers are kept: the bounds of TTLs, in seconds. */
export interface TtlBounds {
  minTtlSeconds: number
  maxTtlSeconds: number
  maxNegativeTtlSeconds: number
}

/**
 * Writes a reply that `readAnswer` has read from `packet` at `start`, with an rcode below 16, as a block at `at`, its key after it. TTLs are
 * clamped as they are written, so that serving only subtracts. Returns how many seconds it may be served: 0 for an
 * answer that is good for those who wait and for nobody else.
 */
export function storeAnswer(
  store: AnswerStore,
  at: number,
  packet: Uint8Array,
  start: number,
  answer: Answer,
  key: Uint8Array,
  keyAt: number,
  keyLength: number,
  hash: number,
  now: number,
  bounds: TtlBounds,
): number {
  const { bytes, words, halves } = store
  const half = at >> 1
  const isNegative = answer.rcode === Rcode.NXDOMAIN || (answer.rcode === Rcode.NOERROR && !answer.hasAnswer)
  const message = at + STORED_HEAD
  copyBytes(packet, start, answer.end, bytes, message)
  writeU16(bytes, message + 2, 0)
  setCounts(bytes, message, answer.answers, answer.authorities, answer.additionals)
  let ttls = message + answer.end + (answer.end & 1)
  const cap = isNegative ? Math.min(bounds.maxTtlSeconds, bounds.maxNegativeTtlSeconds) : bounds.maxTtlSeconds
  const floor = Math.min(bounds.minTtlSeconds, cap)
  for (let k = 0; k < answer.ttlCount; k++) {
    const where = answer.ttlAt[k]!
    halves[ttls >> 1] = where
    ttls += 2
    const ttl = readU32(bytes, message + where)
    writeU32(bytes, message + where, clampTtl(ttl, floor, cap))
  }
  if (isNegative && answer.soaTtl >= 0) writeU32(bytes, message + answer.soaTtlAt, clampTtl(answer.soaTtl, floor, cap))
  copyBytes(key, keyAt, keyLength, bytes, ttls)
  const lifetime = lifetimeOf(answer, isNegative, floor, cap)
  words[(at >> 2) + WORD_SIZE] = storedBytes(answer.end, answer.ttlCount, keyLength)
  words[(at >> 2) + WORD_HASH] = hash
  store.doubles[(at >> 3) + DOUBLE_STORED_AT] = now
  words[(at >> 2) + WORD_LIFETIME] = lifetime
  words[(at >> 2) + WORD_STALE_UNTIL] = 0
  halves[half + HALF_LENGTH] = answer.end
  halves[half + HALF_TTLS] = answer.ttlCount
  halves[half + HALF_ROTATE_AT] = answer.rotateAt
  halves[half + HALF_ROTATE_SIZE] = answer.rotateSize
  halves[half + HALF_ROTATE_COUNT] = answer.rotateCount
  halves[half + HALF_KEY] = keyLength
  halves[half + HALF_EDE] = answer.ede === Ede.NONE ? NO_EDE : answer.ede
  halves[half + HALF_FLAGS] =
    (answer.rcode << RCODE_SHIFT) |
    (isNegative ? StoredFlag.NEGATIVE : 0) |
    ((answer.flags & Flag.AD) !== 0 ? StoredFlag.AUTHENTIC : 0)
  return lifetime
}

/**
 * Writes a block at `at` that says that no server could answer the key's question (RFC 9520): SERVFAIL without records, to
 * be served for `lifetimeSeconds`.
 */
export function storeFailure(
  store: AnswerStore,
  at: number,
  key: Uint8Array,
  keyAt: number,
  keyLength: number,
  hash: number,
  now: number,
  lifetimeSeconds: number,
): void {
  const { bytes, words, halves } = store
  const half = at >> 1
  const message = at + STORED_HEAD
  // Name and type as the key has them, and the class.
  const length = HEADER_BYTES + keyLength + 1
  bytes.fill(0, message, message + HEADER_BYTES)
  bytes[message + 5] = 1
  copyBytes(key, keyAt, keyLength - 1, bytes, message + HEADER_BYTES)
  writeU16(bytes, message + length - 2, CLASS_IN)
  copyBytes(key, keyAt, keyLength, bytes, message + length + (length & 1))
  words[(at >> 2) + WORD_SIZE] = storedBytes(length, 0, keyLength)
  words[(at >> 2) + WORD_HASH] = hash
  store.doubles[(at >> 3) + DOUBLE_STORED_AT] = now
  words[(at >> 2) + WORD_LIFETIME] = lifetimeSeconds
  words[(at >> 2) + WORD_STALE_UNTIL] = 0
  halves[half + HALF_LENGTH] = length
  halves[half + HALF_TTLS] = 0
  halves[half + HALF_ROTATE_COUNT] = 0
  halves[half + HALF_KEY] = keyLength
  halves[half + HALF_EDE] = Ede.CACHED_ERROR
  halves[half + HALF_FLAGS] = (Rcode.SERVFAIL << RCODE_SHIFT) | StoredFlag.NEGATIVE | StoredFlag.FAILURE
}

function clampTtl(ttl: number, floor: number, cap: number): number {
  // The top bit makes it zero (RFC 2181 §8). A zero is the server's wish not to be kept: a floor does not lift it.
  if (ttl > 0x7fffffff || ttl === 0) return 0
  return ttl < floor ? floor : ttl > cap ? cap : ttl
}

/** Seconds for which the answer may be served (RFC 2308 §5 for negative ones); 0: not at all. */
function lifetimeOf(answer: Answer, isNegative: boolean, floor: number, cap: number): number {
  if (answer.rcode !== Rcode.NOERROR && answer.rcode !== Rcode.NXDOMAIN) return 0
  if (isNegative) return answer.soaTtl < 0 ? 0 : clampTtl(Math.min(answer.soaTtl, answer.minTtl), floor, cap)
  return clampTtl(answer.minTtl, floor, cap)
}

/**
 * Writes the block at `at` as a reply to `query` into `out` at `outAt` and returns its length: id, flags and the
 * question's case are the client's, TTLs are less by `ageSeconds` (or all `staleTtl`, if that is not negative), address
 * records begin at a random one, and records that do not fit the client's limit are left out, with TC=1.
 * `random`: a fresh 32-bit number.
 */
export function writeStored(
  store: AnswerStore,
  at: number,
  query: ClientQuery,
  ageSeconds: number,
  staleTtl: number,
  ede: number,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { bytes, halves } = store
  const half = at >> 1
  const message = at + STORED_HEAD
  const length = halves[half + HALF_LENGTH]!
  const rcode = store.rcode(at)
  if (length + replyOptBytes(query, ede) > query.limit) {
    // The extended error is left out before any record is (RFC 8914 §3), without TC: it is not worth a query over TCP.
    if (length + replyOptBytes(query, Ede.NONE) <= query.limit)
      return writeStored(store, at, query, ageSeconds, staleTtl, Ede.NONE, random, out, outAt)
    return writeCut(store, at, query, ageSeconds, staleTtl, ede, out, outAt)
  }
  copyMessage(bytes, message, length, query, out, outAt)
  patchTtls(store, at, ageSeconds, staleTtl, out, outAt)
  const rotateCount = halves[half + HALF_ROTATE_COUNT]!
  if (rotateCount > 1) {
    const runAt = halves[half + HALF_ROTATE_AT]!
    const size = halves[half + HALF_ROTATE_SIZE]!
    rotate(out, outAt + runAt, size, rotateCount, (random >>> 0) % rotateCount)
  }
  return finish(store, at, query, 0, rcode, length, ede, out, outAt)
}

/** Copies the first `length` bytes of a stored message, the client's own question in place of the stored one. */
function copyMessage(
  bytes: Uint8Array,
  message: number,
  length: number,
  query: ClientQuery,
  out: Uint8Array,
  outAt: number,
): void {
  const question = query.questionEnd - query.at
  copyBytes(bytes, message, HEADER_BYTES, out, outAt)
  copyBytes(query.packet, query.at + HEADER_BYTES, question - HEADER_BYTES, out, outAt + HEADER_BYTES)
  copyBytes(bytes, message + question, length - question, out, outAt + question)
}

/** Id, flags and OPT of a stored message that stands at `outAt`; returns the reply's length. */
function finish(
  store: AnswerStore,
  at: number,
  query: ClientQuery,
  extraFlags: number,
  rcode: number,
  length: number,
  ede: number,
  out: Uint8Array,
  outAt: number,
): number {
  const wantsAd = (query.flags & Flag.AD) !== 0 || query.dnssecOk
  const ad = wantsAd && store.has(at, StoredFlag.AUTHENTIC) ? Flag.AD : 0
  writeU16(out, outAt, query.id)
  writeU16(
    out,
    outAt + 2,
    Flag.QR | Flag.RA | ad | extraFlags | (query.flags & (Flag.RD | Flag.CD)) | (rcode & Flag.RCODE),
  )
  if (!query.hasEdns) return length
  writeU16(out, outAt + 10, readU16(out, outAt + 10) + 1)
  return writeReplyOpt(query, rcode, ede, out, outAt + length) - outAt
}

function patchTtls(
  store: AnswerStore,
  at: number,
  ageSeconds: number,
  staleTtl: number,
  out: Uint8Array,
  outAt: number,
): void {
  if (ageSeconds === 0 && staleTtl < 0) return
  const { halves } = store
  const half = at >> 1
  const length = halves[half + HALF_LENGTH]!
  const first = (at + STORED_HEAD + length + (length & 1)) >> 1
  const stop = first + halves[half + HALF_TTLS]!
  for (let k = first; k < stop; k++) {
    const where = outAt + halves[k]!
    if (staleTtl >= 0) {
      writeU32(out, where, staleTtl)
      continue
    }
    const ttl = readU32(out, where)
    writeU32(out, where, ttl > ageSeconds ? ttl - ageSeconds : 0)
  }
}

/** Made once: the records that a rotation moves out of the way. Overwritten by each call. */
const rotateScratch = new Uint8Array(65_536)

/** Rotates `count` records of `size` bytes left by `by`. */
function rotate(out: Uint8Array, at: number, size: number, count: number, by: number): void {
  if (by === 0) return
  const head = by * size
  const all = size * count
  copyBytes(out, at, head, rotateScratch, 0)
  out.copyWithin(at, at + head, at + all)
  copyBytes(rotateScratch, 0, head, out, at + all - head)
}

/** The same, for a message over the client's limit: whole records that fit, TC=1 if one that matters did not. */
function writeCut(
  store: AnswerStore,
  at: number,
  query: ClientQuery,
  ageSeconds: number,
  staleTtl: number,
  ede: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { bytes, halves } = store
  const message = at + STORED_HEAD
  const stop = message + halves[(at >> 1) + HALF_LENGTH]!
  const limit = query.limit - replyOptBytes(query, ede)
  const counts = [readU16(bytes, message + 6), readU16(bytes, message + 8), readU16(bytes, message + 10)]
  const kept = [0, 0, 0]
  let end = message + (query.questionEnd - query.at)
  let truncated = 0
  cut: for (let section = 0; section < 3; section++) {
    for (let k = 0; k < counts[section]!; k++) {
      const fixed = skipName(bytes, end, stop)
      const next = fixed + 10 + readU16(bytes, fixed + 8)
      if (next - message > limit) {
        // Additional records are a courtesy: leaving them out needs no second try over TCP (RFC 2181 §9).
        truncated = section < 2 ? Flag.TC : 0
        break cut
      }
      end = next
      kept[section]!++
    }
  }
  const length = end - message
  // TTLs are patched by their place in the whole message; those beyond the cut must not be touched in `out`.
  copyMessage(bytes, message, length, query, out, outAt)
  patchKeptTtls(store, at, ageSeconds, staleTtl, out, outAt, length)
  setCounts(out, outAt, kept[0]!, kept[1]!, kept[2]!)
  return finish(store, at, query, truncated, store.rcode(at), length, ede, out, outAt)
}

function patchKeptTtls(
  store: AnswerStore,
  at: number,
  ageSeconds: number,
  staleTtl: number,
  out: Uint8Array,
  outAt: number,
  keptLength: number,
): void {
  const { halves } = store
  const half = at >> 1
  const length = halves[half + HALF_LENGTH]!
  const first = (at + STORED_HEAD + length + (length & 1)) >> 1
  for (let k = first; k < first + halves[half + HALF_TTLS]!; k++) {
    const where = halves[k]!
    if (where + 4 > keptLength) return
    const ttl = readU32(out, outAt + where)
    writeU32(out, outAt + where, staleTtl >= 0 ? staleTtl : ttl > ageSeconds ? ttl - ageSeconds : 0)
  }
}

/** Seconds since the block was stored. */
export function ageOf(store: AnswerStore, at: number, now: number): number {
  return Math.max(0, Math.floor((now - store.storedAt(at)) / 1000))
}
