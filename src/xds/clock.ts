/** Time, passed in so that tests can move it. */
export interface Clock {
  /** Unix time in ms. It may jump; what is derived from it is clamped. */
  now(): number
  /** Calls `run` once after `delayMs`. Returns what takes that back; taking back twice, or too late, does nothing. */
  after(delayMs: number, run: () => void): () => void
}

/** The machine's own time. Its timers keep the process alive until they are due or taken back. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}
