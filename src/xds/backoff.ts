/** How long to wait between attempts. */
export interface BackoffSettings {
  /** Before the second attempt, at most. */
  firstMs: number
  /** However many attempts have failed, at most. */
  mostMs: number
  /** Factor from one delay to the next. */
  factor: number
}

/** After a restart of the control plane all its clients come at once: a second spreads them, 30 s bound what they ask of it. */
export const DEFAULT_BACKOFF: BackoffSettings = { firstMs: 1000, mostMs: 30_000, factor: 2 }

/**
 * Exponential backoff. Each delay is random between half of its value and the whole, so that clients which lost the same
 * server drift apart and yet none comes back at once.
 */
export class Backoff {
  readonly #settings: BackoffSettings
  readonly #random: () => number
  #delayMs: number

  /** `random` as Math.random: at least 0, below 1. */
  constructor(random: () => number, settings: BackoffSettings = DEFAULT_BACKOFF) {
    this.#random = random
    this.#settings = settings
    this.#delayMs = settings.firstMs
  }

  /** The delay after one more failure, in ms. */
  next(): number {
    const delayMs = this.#delayMs
    this.#delayMs = Math.min(delayMs * this.#settings.factor, this.#settings.mostMs)
    return delayMs * (0.5 + 0.5 * this.#random())
  }

  /** The next delay is the first one again. */
  reset(): void {
    this.#delayMs = this.#settings.firstMs
  }
}
