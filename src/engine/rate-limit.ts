/**
 * A token bucket for each client: so many queries a second, and a burst after a pause. An IPv6 client is its /64, all of
 * which one machine may use. The table has a fixed size: with more clients the one not heard for longest is forgotten
 * and begins with a full bucket.
 *
 * ```
 *  set = hash(address) → 4 places: address (two words) │ tokens │ when they were counted
 * ```
 */
import { finishHash } from '../dns/name.ts'

/** A power of two. With the places of each: 4,096 clients. */
const SETS = 1024
const PLACES = 4
/** Stands where an IPv4 address has no second word: as that of an IPv6 address it would be one of 0:ffff::/32, which nobody has. */
const IPV4 = 0xffff

/** The buckets of one worker. */
export class RateLimit {
  readonly #perMs: number
  readonly #burst: number
  readonly #seed: number
  readonly #high: Int32Array = new Int32Array(SETS * PLACES)
  readonly #low: Int32Array = new Int32Array(SETS * PLACES)
  readonly #tokens: Float64Array = new Float64Array(SETS * PLACES)
  readonly #countedAt: Float64Array = new Float64Array(SETS * PLACES).fill(Number.NEGATIVE_INFINITY)

  /** `seed`: nobody outside can choose addresses that share a set. */
  constructor(queriesPerSecond: number, burst: number, seed: number) {
    this.#perMs = queriesPerSecond / 1000
    this.#burst = burst
    this.#seed = seed
  }

  /** Takes a token of the client at this address (4 or 16 bytes at `at`); false if it has none left. `now` in ms. */
  take(address: Uint8Array, at: number, length: number, now: number): boolean {
    const high = length === 4 ? IPV4 : word(address, at)
    const low = length === 4 ? word(address, at) : word(address, at + 4)
    const place = this.#placeOf(high, low)
    // A place that was free or somebody else's was counted an age ago: its bucket is full.
    const tokens = Math.min(this.#burst, this.#tokens[place]! + (now - this.#countedAt[place]!) * this.#perMs)
    this.#countedAt[place] = now
    if (tokens < 1) {
      this.#tokens[place] = tokens
      return false
    }
    this.#tokens[place] = tokens - 1
    return true
  }

  #placeOf(high: number, low: number): number {
    const hash = finishHash(Math.imul(finishHash(high ^ this.#seed) ^ low, 0x9e3779b1))
    const first = (hash & (SETS - 1)) * PLACES
    let oldest = first
    for (let place = first; place < first + PLACES; place++) {
      if (this.#high[place] === high && this.#low[place] === low) return place
      if (this.#countedAt[place]! < this.#countedAt[oldest]!) oldest = place
    }
    this.#high[oldest] = high
    this.#low[oldest] = low
    this.#tokens[oldest] = 0
    this.#countedAt[oldest] = Number.NEGATIVE_INFINITY
    return oldest
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}
