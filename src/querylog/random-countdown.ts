/**
 * Picks one in so many, by a countdown with random steps: most of what passes costs a subtraction. Steps of one length
 * would only ever meet the A of pairs of A and AAAA.
 */

/** More than ever comes between two looks at the settings. */
const NEVER = 0x3fffffff

/** Who counts down says how many things have passed. */
export class RandomCountdown {
  #left = NEVER
  #period: number = Number.POSITIVE_INFINITY
  #state: number

  /** `seed`: any 32 bits. */
  constructor(seed: number) {
    this.#state = seed | 1
  }

  /** So many things, the one that is picked included, are yet to come. */
  get left(): number {
    return this.#left
  }

  /** One in so many is picked; Infinity: none. */
  get period(): number {
    return this.#period
  }

  /** `period`: 1 or more, with fractions; Infinity for none. */
  set period(period: number) {
    this.#period = period
    this.#left = this.#step()
  }

  /** So many things have passed, at most `left`: true if the last of them is picked. */
  pass(count: number): boolean {
    this.#left -= count
    if (this.#left > 0) return false
    this.#left = this.#step()
    return this.#period !== Number.POSITIVE_INFINITY
  }

  /** Steps are even from 1 to twice the period less 1, so their mean is the period. */
  #step(): number {
    const period = this.#period
    if (period === 1) return 1
    if (period === Number.POSITIVE_INFINITY) return NEVER
    return Math.min(NEVER, Math.floor(1 + this.#random() * 2 * (period - 1) + this.#random()))
  }

  /** Even in [0, 1): xorshift (Marsaglia 2003). Nothing depends on its not being guessed. */
  #random(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return (x >>> 0) / 0x1_0000_0000
  }
}
