/**
 * The policy of both drivers for their sockets towards upstream servers. A forger has to guess the port as well as the id
 * (RFC 5452 §4.5, §9.2). The kernel draws the port of each socket at random, and after a few questions another socket takes
 * its place: no port is in use for long enough to be found by trying.
 *
 * One figure decides (x64, one core): replacing a socket takes 10 µs, more than a miss: for every thirty-second question several per cent of what all
 * misses cost. So a worker replaces a bounded number a second. Up to 4,000 questions a second each port has 32; under more
 * load it has more, for some 60 ms. A forger who tries 1,000 ports a second, as many as a server's ICMP errors tell of,
 * has tried one in 400 by then, and still has to guess the id.
 */

/** Sockets to each server at a time, one of them drawn at random for each batch. */
export const SOCKETS_EACH = 8
/** Questions that leave by a socket before it is replaced. */
export const MAX_USES = 32
/** The same in time. */
export const MAX_AGE_MS = 60_000
/** Sockets that a worker replaces a second, and how many at once after a quiet time: 8,192 questions have 256 ports. */
const REPLACED_PER_SECOND = 128
const REPLACED_AT_ONCE = 256
/**
 * Replaced sockets that wait for replies. While so many wait for a server that is silent, those in use stay longer: closing
 * one early would lose replies that are on their way.
 */
export const MAX_RETIRED = 64
/** How long a replaced socket waits for replies beyond the deadline of the queries sent by it, at most. */
export const LINGER_MS = 500

/** How many sockets one worker may replace at the moment. */
export class Replacements {
  #left = REPLACED_AT_ONCE
  #at = 0

  /** True if one may be replaced at `now`, in ms of a clock that never goes back. */
  has(now: number): boolean {
    const since = Math.max(0, now - this.#at)
    this.#left = Math.min(REPLACED_AT_ONCE, this.#left + (since * REPLACED_PER_SECOND) / 1000)
    this.#at = now
    return this.#left >= 1
  }

  /** Counts one that was replaced. */
  take(): void {
    this.#left--
  }
}
