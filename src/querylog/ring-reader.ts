/** The control thread's end of a ring (ring-layout.ts). */
import {
  DOUBLE_CLOCK,
  DOUBLE_DROPPED,
  DOUBLE_LOG_PERIOD,
  DOUBLE_RECORDS,
  RECORD_HEAD,
  RING_HEAD,
  WORD_GENERATION,
  WORD_LEAST_LATENCY,
  WORD_RCODES,
  WORD_READ,
  WORD_SOURCES,
  WORD_WANTS,
  WORD_WRITTEN,
} from './ring-layout.ts'

/** One answer, as the reader hands it out: a view that is made once and moved on. Whoever keeps a part copies it. */
export class QueryRecord {
  /** The ring's. */
  bytes: Uint8Array = new Uint8Array(0)
  /** Bits of Taken. */
  taken = 0
  /** Unix time at which the query came, in ms with fractions. */
  receivedAtMs = 0
  latencyMicros = 0
  /** Answers that this one stands for among the samples. */
  weight = 0
  type = 0
  /** The extended one (RFC 6891). */
  rcode = 0
  /** Index into SOURCES. */
  source = 0
  /** Index into PROTOS. */
  proto = 0
  port = 0
  /** Bytes of the reply. */
  size = 0
  id = 0
  queryFlags = 0
  replyFlags = 0
  hasEdns = false
  dnssecOk = false
  /** Number of the upstream server that gave the answer, or gave it to the cache; 0: none did, or it is not known. */
  server = 0
  addressAt = 0
  /** 4 or 16; 0: not known. */
  addressLength = 0
  /** In wire format, as the client wrote it. */
  nameAt = 0
  /** 0: the query had no question that could be read. */
  nameLength = 0
  /** Messages as they were on the wire; of a long one header and question, and nothing where they were not wanted. */
  queryAt = 0
  hasWholeQuery = false
  queryLength = 0
  replyAt = 0
  replyLength = 0
}

/** What one worker is to write down. */
export interface RingWishes {
  /** Bits of Wants. */
  wants: number
  /** A bit for each index into SOURCES, and for each rcode below 31. */
  sources: number
  rcodes: number
  /** One answer in so many of those that fit is logged, at random; 1 or more, with fractions. */
  logPeriod: number
  leastLatencyMicros: number
}

/** Reads one ring. */
export class RingReader {
  readonly #bytes: Uint8Array
  readonly #words: Int32Array
  readonly #halves: Uint16Array
  readonly #doubles: Float64Array
  readonly #record: QueryRecord = new QueryRecord()

  constructor(buffer: SharedArrayBuffer) {
    this.#bytes = new Uint8Array(buffer)
    this.#words = new Int32Array(buffer)
    this.#halves = new Uint16Array(buffer)
    this.#doubles = new Float64Array(buffer)
    this.#record.bytes = this.#bytes
  }

  /** Records ever written, and those that found the ring full. */
  get written(): number {
    return this.#doubles[DOUBLE_RECORDS]!
  }
  get dropped(): number {
    return this.#doubles[DOUBLE_DROPPED]!
  }

  /** Says what is wanted from the worker's next batch on. */
  wish({ wants, sources, rcodes, logPeriod, leastLatencyMicros }: RingWishes): void {
    const words = this.#words
    words[WORD_WANTS] = wants
    words[WORD_SOURCES] = sources
    words[WORD_RCODES] = rcodes
    words[WORD_LEAST_LATENCY] = leastLatencyMicros
    this.#doubles[DOUBLE_LOG_PERIOD] = logPeriod
    Atomics.add(words, WORD_GENERATION, 1)
  }

  /** Hands out at most `most` records, oldest first, and gives their room back; returns how many there were. */
  read(most: number, handle: (record: QueryRecord) => void): number {
    const words = this.#words
    const written = Atomics.load(words, WORD_WRITTEN)
    let at = words[WORD_READ]!
    let count = 0
    try {
      while (at !== written && count < most) {
        const size = words[at >> 2]!
        if (size === 0) {
          at = RING_HEAD
          continue
        }
        const from = at
        at += size
        count++
        if (words[(from >> 2) + 1] !== 0) handle(this.#open(from))
      }
    } finally {
      Atomics.store(words, WORD_READ, at)
    }
    return count
  }

  #open(at: number): QueryRecord {
    const record = this.#record
    const word = at >> 2
    const half = at >> 1
    const bytes = this.#bytes
    const words = this.#words
    const halves = this.#halves
    record.taken = words[word + 1]!
    record.receivedAtMs = this.#doubles[(at >> 3) + 1]! + this.#doubles[DOUBLE_CLOCK]!
    record.latencyMicros = words[word + 4]!
    record.weight = words[word + 5]!
    record.type = halves[half + 12]!
    record.rcode = halves[half + 13]!
    record.port = halves[half + 14]!
    record.size = halves[half + 15]!
    record.queryFlags = halves[half + 16]!
    record.replyFlags = halves[half + 17]!
    record.id = halves[half + 18]!
    record.source = bytes[at + 38]!
    record.proto = bytes[at + 39]!
    record.addressLength = bytes[at + 40]!
    record.nameLength = bytes[at + 41]!
    record.server = bytes[at + 42]!
    record.hasEdns = (bytes[at + 43]! & 1) !== 0
    record.dnssecOk = (bytes[at + 43]! & 2) !== 0
    record.hasWholeQuery = (bytes[at + 43]! & 4) === 0
    record.queryLength = halves[half + 22]!
    record.replyLength = halves[half + 23]!
    record.addressAt = at + 48
    record.nameAt = at + RECORD_HEAD
    record.queryAt = record.nameAt + record.nameLength
    record.replyAt = record.queryAt + record.queryLength
    return record
  }
}
