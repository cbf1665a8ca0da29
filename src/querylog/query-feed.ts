/**
 * The control thread's side of all rings: says what is wanted, looks now and then at what is there, and hands it on. As long
 * as nobody wants anything the data workers write nothing, and nobody looks.
 */
import type { Clock } from '../base/clock.ts'
import { formatAddress } from '../dns/address.ts'
import { nameToText } from '../dns/name.ts'
import { Rcode } from '../dns/constants.ts'
import { Taken, Wants } from './ring-layout.ts'
import { type QueryRecord, RingReader } from './ring-reader.ts'

/** Records taken from one ring before other work has its turn. */
const SLICE = 2048
/** More than a full ring has. */
const MOST_SLICES = 32
/** For samples nobody is in a hurry (`catchUp` is for who is), and each look wakes the process: a ring holds many more. */
const SAMPLES_EVERY_MS = 5000
/** A log must be read before a ring is full, sooner the more there is. Of a sample it takes longer until one is full. */
const LOG_SAMPLE_LATEST_MS = 1000
const LOG_SOONEST_MS = 5
const LOG_LATEST_MS = 50
const NOW_MS = 0

/** One answer of the samples. Plain data, the receiver's own. */
export interface QuerySample {
  /** Unix time at which the query came, in ms. */
  atMs: number
  /** In lower case, with the trailing dot, odd bytes escaped (RFC 4343 §2.1); empty if the query had none. */
  name: string
  /** Code of the query type. */
  type: number
  /** The extended one (RFC 6891). */
  rcode: number
  /** Index into SOURCES. */
  source: number
  latencyMs: number
  /** Literal address of the client; empty if it is not known. */
  client: string
  /**
   * How many answers it stands for: the sum over all samples estimates how many answers there were. 0 for a failure that is
   * told of besides.
   */
  weight: number
  /** SERVFAIL. Up to 50 of a worker in a second are told of, each once, whatever is sampled. */
  isFailure: boolean
}

/** Where samples can be had. */
export interface QuerySamples {
  /**
   * Hands samples to `handler` from now on, some dozens a second at most, within five seconds; what is returned ends that.
   * They are chosen at random. Without a subscriber a data worker does nothing for them.
   */
  subscribe(handler: (sample: QuerySample) => void): () => void
  /** Hands out at once what there is by now. */
  catchUp(): void
}

/** What the query log wants: the fields of RingWishes, and Wants.MESSAGES or 0. */
export interface LogWishes {
  sources: number
  rcodes: number
  logPeriod: number
  leastLatencyMicros: number
  hasMessages: boolean
  /** Takes one answer; the record is good until it returns. */
  handle: (record: QueryRecord) => void
  /** All that there is for now has been handed over. */
  sliceEnded: () => void
}

/** Reads the rings of all data workers. The daemon owns it and ends it with `stop`. */
export class QueryFeed implements QuerySamples {
  readonly #readers: readonly RingReader[]
  readonly #clock: Clock
  readonly #subscribers: Set<(sample: QuerySample) => void> = new Set()
  #log: LogWishes | null = null
  #cancel: (() => void) | null = null
  #pauseMs = LOG_LATEST_MS
  /** The longest pause, as the log is now. */
  #latestMs = LOG_LATEST_MS

  /** `rings`: of which nobody else reads any. */
  constructor(rings: readonly SharedArrayBuffer[], clock: Clock) {
    this.#readers = rings.map((ring) => new RingReader(ring))
    this.#clock = clock
  }

  /** Answers that found a ring full. */
  get dropped(): number {
    return this.#readers.reduce((sum, { dropped }) => sum + dropped, 0)
  }

  subscribe(handler: (sample: QuerySample) => void): () => void {
    // A set has equal things once, and whoever subscribes twice is to be told twice.
    const own = (sample: QuerySample): void => handler(sample)
    this.#subscribers.add(own)
    this.#wish()
    return () => {
      if (this.#subscribers.delete(own)) this.#wish()
    }
  }

  catchUp(): void {
    this.#drain()
  }

  /** Begins, changes or, with null, ends the log. What was written down for the log before goes to the one before. */
  setLog(log: LogWishes | null): void {
    this.#drain()
    this.#log = log
    this.#wish()
  }

  /** Reads what is there, and no more from then on. */
  stop(): void {
    this.#drain()
    this.#log = null
    this.#subscribers.clear()
    this.#wish()
  }

  #wish(): void {
    const log = this.#log
    const samples = this.#subscribers.size > 0 ? Wants.SAMPLES : 0
    const { sources = 0, rcodes = 0, logPeriod = 1, leastLatencyMicros = 0 } = log ?? {}
    const wants = samples | (log === null ? 0 : Wants.LOG | (log.hasMessages ? Wants.MESSAGES : 0))
    for (const reader of this.#readers) reader.wish({ wants, sources, rcodes, logPeriod, leastLatencyMicros })
    this.#latestMs = Math.min(LOG_SAMPLE_LATEST_MS, LOG_LATEST_MS * logPeriod)
    this.#pauseMs = this.#latestMs
    this.#arm(log === null ? SAMPLES_EVERY_MS : this.#latestMs)
  }

  #arm(delayMs: number): void {
    this.#cancel?.()
    this.#cancel = null
    if (this.#log === null && this.#subscribers.size === 0) return
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = null
      this.#arm(this.#delayAfter(this.#look()))
    })
  }

  /** The pause halves as soon as much has come, and doubles while little comes. */
  #delayAfter(most: number): number {
    if (most === SLICE) return NOW_MS
    if (this.#log === null) return SAMPLES_EVERY_MS
    const factor = most > SLICE / 4 ? 0.5 : 2
    this.#pauseMs = Math.min(this.#latestMs, Math.max(LOG_SOONEST_MS, this.#pauseMs * factor))
    return this.#pauseMs
  }

  /** Hands on all that there is, and not what is told of meanwhile for ever. */
  #drain(): void {
    for (let k = 0; k < MOST_SLICES && this.#look() === SLICE; k++);
  }

  /** Hands on a slice of each ring; returns the size of the largest. */
  #look(): number {
    let most = 0
    for (const reader of this.#readers) most = Math.max(most, reader.read(SLICE, this.#handle))
    this.#log?.sliceEnded()
    return most
  }

  readonly #handle = (record: QueryRecord): void => {
    if ((record.taken & Taken.LOG) !== 0) this.#log?.handle(record)
    if ((record.taken & (Taken.SAMPLE | Taken.FAILURE)) === 0 || this.#subscribers.size === 0) return
    const sample = sampleOf(record)
    for (const subscriber of this.#subscribers) subscriber(sample)
  }
}

/** Its client's address as text, empty if it is not known. */
export function clientText({ bytes, addressAt, addressLength }: QueryRecord): string {
  return addressLength === 4 || addressLength === 16 ? formatAddress(bytes, addressAt, addressLength) : ''
}

/** The name asked for as text, in the client's case; empty if there is none. */
export function nameOf({ bytes, nameAt, nameLength }: QueryRecord): string {
  return nameLength === 0 ? '' : nameToText(bytes, nameAt)
}

function sampleOf(record: QueryRecord): QuerySample {
  const { receivedAtMs, type, rcode, source, latencyMicros, weight } = record
  return {
    atMs: receivedAtMs,
    name: nameOf(record).toLowerCase(),
    type,
    rcode,
    source,
    latencyMs: latencyMicros / 1000,
    client: clientText(record),
    weight,
    isFailure: rcode === Rcode.SERVFAIL,
  }
}
