/**
 * What the engine tells of its answers (src/querylog): every answer that is counted is in the ring as well, whole, or is
 * counted as dropped because the ring was full; in what order whichever clients and servers came.
 */
import { nameToText } from '../../src/dns/name.ts'
import { QueryTap } from '../../src/querylog/query-tap.ts'
import { createRing, Wants } from '../../src/querylog/ring-layout.ts'
import { RingReader } from '../../src/querylog/ring-reader.ts'
import { SOURCES, type WorkerCounters } from '../../src/stats/counters.ts'
import { Violation } from './violation.ts'

/** So small that it is full now and then, as it is looked at only every so many steps. */
const RING_BYTES = 24 * 1024
const STEPS_A_LOOK = 40
const RCODES = 24

/** Reads what engines of one worker tell, one after the other. */
export class ToldAnswers {
  readonly #ring: SharedArrayBuffer = createRing(RING_BYTES)
  readonly #reader: RingReader = new RingReader(this.#ring)
  #told = 0
  #steps = 0

  constructor() {
    const wants = Wants.LOG | Wants.SAMPLES | Wants.MESSAGES
    this.#reader.wish({ wants, sources: -1, rcodes: -1, logPeriod: 1, leastLatencyMicros: 0 })
  }

  /** The tap of an engine that begins; the one before has ended. */
  tap(now: () => number): QueryTap {
    // Not the simulation's numbers: whether answers are told of must not change what happens.
    return new QueryTap(this.#ring, () => 0x2545f491, now)
  }

  /** Checks after a batch. */
  check(counters: WorkerCounters): void {
    if (++this.#steps % STEPS_A_LOOK === 0) this.#look()
    const { written, dropped } = this.#reader
    const answers = SOURCES.reduce((sum, _, source) => sum + answersOf(counters, source), 0)
    if (written + dropped !== answers)
      throw new Violation(`${written} answers told of and ${dropped} dropped, of ${answers}`)
  }

  #look(): void {
    this.#reader.read(Number.POSITIVE_INFINITY, (record) => {
      const { bytes, nameAt, nameLength, size, replyLength, latencyMicros, addressLength } = record
      this.#told++
      const name = nameLength === 0 ? '' : nameToText(bytes, nameAt)
      if (addressLength !== 4 && addressLength !== 16)
        throw new Violation(`told of ${name} with an address of ${addressLength} bytes`)
      if (latencyMicros < 0) throw new Violation(`told of ${name} before its batch had ended`)
      if (replyLength > size || (replyLength < size && size <= 4096))
        throw new Violation(`told of ${name} with ${replyLength} of ${size} bytes`)
    })
    if (this.#told !== this.#reader.written)
      throw new Violation(`${this.#told} answers read of ${this.#reader.written} that were told of`)
  }
}

function answersOf(counters: WorkerCounters, source: number): number {
  let sum = 0
  for (let rcode = 0; rcode < RCODES; rcode++) sum += counters.responsesOf(source, rcode)
  return sum
}
