/**
 * What an engine tells of its answers: it chooses those that somebody wants to see and writes them into the ring to the
 * control thread. It allocates nothing and never waits; where nobody wants anything it is not asked.
 *
 * ```
 *  Engine.complete ─→ QueryTap: wanted? chosen? ─→ RingWriter ┄ shared memory ┄ RingReader ─→ QueryFeed ─→ query log, samples
 * ```
 */
import { HEADER_BYTES, Rcode, Type } from '../dns/constants.ts'
import type { Query } from '../dns/query.ts'
import { copyBytes, OPT_BYTES, writeU16 } from '../dns/reply.ts'
import { RandomCountdown } from './random-countdown.ts'
import {
  DOUBLE_LOG_PERIOD,
  MOST_QUERY_BYTES,
  MOST_REPLY_BYTES,
  RECORD_HEAD,
  Taken,
  Wants,
  WORD_GENERATION,
  WORD_LEAST_LATENCY,
  WORD_RCODES,
  WORD_SOURCES,
  WORD_WANTS,
} from './ring-layout.ts'
import { LATENCY_UNKNOWN, RingWriter } from './ring-writer.ts'

/**
 * Samples of one worker: after so many within a second, one in twice as many is taken. A sample that wakes caches costs the
 * control thread some 10 µs: with 100 of them a tenth of what an answer costs at 100 queries a second.
 */
const SAMPLES_A_SECOND = 25
/** Failures of one worker that are told of in a second. */
const FAILURES_A_SECOND = 50
const WINDOW_MS = 1000
/** The wall clock is looked at again after so long: it may have been set. */
const CLOCK_MS = 10_000
/** Bytes of a query's question and header that are not the name. */
const HEADER_AND_TYPE: number = HEADER_BYTES + 4
/** Bit of the rcodes that have none of their own. */
const LAST_BIT = 30

/** A query as it ends. */
export interface EndedQuery extends Query {
  readonly proto: number
  readonly receivedAt: number
  /** The client's, `addressLength` bytes at `addressAt`, and its port. */
  readonly address: Uint8Array
  readonly addressAt: number
  readonly addressLength: number
  readonly port: number
  /** Number of the upstream server that the answer is from, 0 if none. */
  readonly server: number
}

/** Chooses and writes down answers of one engine. */
export class QueryTap {
  readonly #writer: RingWriter
  readonly #wallClock: () => number
  #generation = 0
  #wants = 0
  #sources = 0
  #rcodes = 0
  #leastMicros = 0
  readonly #log: RandomCountdown
  readonly #samples: RandomCountdown
  /** Answers until the next that is chosen, and how many these were when that was seen: both countdowns in one. */
  #left = 0
  #step = 0
  #windowEnd = 0
  #samplesLeft = SAMPLES_A_SECOND
  #failuresLeft = FAILURES_A_SECOND
  #clockAt = Number.NEGATIVE_INFINITY

  /** `ring`: made by `createRing`; `random`: fresh 32-bit numbers; `wallClock`: Unix time in ms. */
  constructor(ring: SharedArrayBuffer, random: () => number, wallClock: () => number) {
    this.#writer = new RingWriter(ring)
    this.#wallClock = wallClock
    this.#log = new RandomCountdown(random())
    this.#samples = new RandomCountdown(random())
  }

  /** A batch begins: true if its answers are to be told of. */
  begin(now: number): boolean {
    // No atomic load, which costs a microsecond where caches are cold: whether a batch more knows the wishes does not matter.
    if (this.#writer.words[WORD_GENERATION] !== this.#generation) this.#configure()
    if (this.#wants === 0) return false
    if (now < this.#windowEnd) return true
    // The periods may change, and what has passed so far counts by the old ones.
    const passed = this.#step - this.#left
    this.#log.pass(passed)
    this.#samples.pass(passed)
    this.#beginWindow(now)
    this.#aim()
    return true
  }

  /** Counts an answer: true if `completed` is to be called for it. Most answers cost no more than this. */
  choose(rcode: number): boolean {
    return --this.#left <= 0 || rcode === Rcode.SERVFAIL
  }

  /** A query that `choose` has chosen ends with the reply of `length` bytes at `outAt` of `out`. */
  completed(
    query: EndedQuery,
    source: number,
    rcode: number,
    length: number,
    out: Uint8Array,
    outAt: number,
    now: number,
  ): void {
    const passed = this.#step - this.#left
    let taken = 0
    if (this.#log.pass(passed) && this.#isWanted(query, source, rcode, now)) taken = Taken.LOG
    if (this.#samples.pass(passed)) taken |= Taken.SAMPLE
    if (rcode === Rcode.SERVFAIL && this.#failuresLeft > 0 && (this.#wants & Wants.SAMPLES) !== 0) {
      this.#failuresLeft--
      taken |= Taken.FAILURE
    }
    if (taken !== 0) this.#write(taken, query, source, rcode, length, out, outAt, now)
    this.#aim()
  }

  /** The batch's replies have been sent, after `millis`. */
  end(millis: number): void {
    this.#writer.show(Math.round(millis * 1000), this.#leastMicros, Taken.LOG)
  }

  /** Finds out which answer is the next to choose. */
  #aim(): void {
    this.#left = Math.min(this.#log.left, this.#samples.left)
    this.#step = this.#left
  }

  #isWanted(query: EndedQuery, source: number, rcode: number, now: number): boolean {
    if ((this.#sources & (1 << source)) === 0 || (this.#rcodes & (1 << Math.min(rcode, LAST_BIT))) === 0) return false
    // What was answered at once has no latency before the batch ends.
    return query.receivedAt === now || (now - query.receivedAt) * 1000 >= this.#leastMicros
  }

  #configure(): void {
    const { words, doubles } = this.#writer
    this.#generation = words[WORD_GENERATION]!
    this.#wants = words[WORD_WANTS]!
    this.#sources = words[WORD_SOURCES]!
    this.#rcodes = words[WORD_RCODES]!
    const isLogging = (this.#wants & Wants.LOG) !== 0
    this.#leastMicros = isLogging ? words[WORD_LEAST_LATENCY]! : 0
    this.#log.period = isLogging ? Math.max(1, doubles[DOUBLE_LOG_PERIOD]!) : Number.POSITIVE_INFINITY
    this.#samples.period = (this.#wants & Wants.SAMPLES) !== 0 ? 1 : Number.POSITIVE_INFINITY
    this.#writer.isSparing = !isLogging
    this.#windowEnd = Number.NEGATIVE_INFINITY
    this.#left = 0
    this.#step = 0
  }

  /** A second that brought few samples makes the next one's more likely. */
  #beginWindow(now: number): void {
    this.#windowEnd = now + WINDOW_MS
    const { period } = this.#samples
    if (period > 1 && period !== Number.POSITIVE_INFINITY && this.#samplesLeft > SAMPLES_A_SECOND / 2) {
      this.#samples.period = period / 2
    }
    this.#samplesLeft = SAMPLES_A_SECOND
    this.#failuresLeft = FAILURES_A_SECOND
    if (now - this.#clockAt < CLOCK_MS) return
    this.#clockAt = now
    this.#writer.setClock(now, this.#wallClock())
  }

  /** Counts a sample and returns how many answers it stands for. */
  #weigh(): number {
    const { period } = this.#samples
    if (--this.#samplesLeft === 0) {
      this.#samplesLeft = SAMPLES_A_SECOND
      this.#samples.period = period * 2
    }
    return period
  }

  #write(
    taken: number,
    query: EndedQuery,
    source: number,
    rcode: number,
    length: number,
    out: Uint8Array,
    outAt: number,
    now: number,
  ): void {
    const weight = (taken & Taken.SAMPLE) === 0 ? 0 : this.#weigh()
    const writer = this.#writer
    const nameBytes = Math.max(0, query.questionEnd - query.at - HEADER_AND_TYPE)
    const hasMessages = (taken & Taken.LOG) !== 0 && (this.#wants & Wants.MESSAGES) !== 0
    const queryBytes = hasMessages ? keptQueryBytes(query) : 0
    const replyBytes = hasMessages ? keptReplyBytes(query, length) : 0
    const at = writer.begin((RECORD_HEAD + nameBytes + queryBytes + replyBytes + 7) & ~7)
    if (at < 0) return
    const { bytes, words, halves } = writer
    const word = at >> 2
    const half = at >> 1
    words[word + 1] = taken
    writer.doubles[(at >> 3) + 1] = query.receivedAt
    words[word + 4] = query.receivedAt === now ? LATENCY_UNKNOWN : Math.round((now - query.receivedAt) * 1000)
    words[word + 5] = weight
    halves[half + 12] = query.type
    halves[half + 13] = rcode
    halves[half + 14] = query.port
    halves[half + 15] = length
    halves[half + 16] = query.flags
    halves[half + 17] = (out[outAt + 2]! << 8) | out[outAt + 3]!
    halves[half + 18] = query.id
    bytes[at + 38] = source
    bytes[at + 39] = query.proto
    bytes[at + 40] = query.addressLength
    bytes[at + 41] = nameBytes
    bytes[at + 42] = query.server
    bytes[at + 43] = (query.hasEdns ? 1 : 0) | (query.dnssecOk ? 2 : 0) | (isLong(query) ? 4 : 0)
    halves[half + 22] = queryBytes
    halves[half + 23] = replyBytes
    copyBytes(query.address, query.addressAt, query.addressLength, bytes, at + 48)
    let to = at + RECORD_HEAD
    copyBytes(query.packet, query.at + HEADER_BYTES, nameBytes, bytes, to)
    to += nameBytes
    if (!hasMessages) return
    writeQuery(query, queryBytes, bytes, to)
    copyBytes(out, outAt, replyBytes, bytes, to + queryBytes)
  }
}

/**
 * Of a query that has waited only header and question are still there (waiters.ts). What else they say is an OPT, which is
 * written anew, without its options.
 */
function hasEndedEarly(query: EndedQuery): boolean {
  return query.end === query.questionEnd
}

function isLong(query: EndedQuery): boolean {
  return query.end - query.at > MOST_QUERY_BYTES
}

function keptQueryBytes(query: EndedQuery): number {
  if (isLong(query)) return headBytes(query)
  return query.end - query.at + (hasEndedEarly(query) && query.hasEdns ? OPT_BYTES : 0)
}

function keptReplyBytes(query: EndedQuery, length: number): number {
  return length > MOST_REPLY_BYTES ? headBytes(query) : length
}

/** Bytes of header and question. */
function headBytes(query: EndedQuery): number {
  return Math.max(HEADER_BYTES, query.questionEnd - query.at)
}

function writeQuery(query: EndedQuery, length: number, bytes: Uint8Array, at: number): void {
  const kept = Math.min(length, query.end - query.at)
  copyBytes(query.packet, query.at, kept, bytes, at)
  if (!hasEndedEarly(query)) return
  writeU16(bytes, at + 10, query.hasEdns ? 1 : 0)
  if (!query.hasEdns) return
  const opt = at + kept
  bytes.fill(0, opt, opt + OPT_BYTES)
  writeU16(bytes, opt + 1, Type.OPT)
  writeU16(bytes, opt + 3, query.payloadSize)
  if (query.dnssecOk) bytes[opt + 7] = 0x80
}
