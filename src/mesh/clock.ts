/** Time, passed in so that tests can move it. */
export interface Clock {
  /** Milliseconds; only differences count. */
  now(): number
  /** Calls `run` once after `delayMs`. Returns what takes that back; too late or twice, it does nothing. */
  after(delayMs: number, run: () => void): () => void
}

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}
