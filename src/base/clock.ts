/** Time, passed in so that tests can move it. */
export interface Clock {
  /** Milliseconds; since when is the clock's. */
  now(): number
  /** Calls `run` once after `delayMs`. Returns what takes that back; taking back twice, or too late, does nothing. */
  after(delayMs: number, run: () => void): () => void
}

/** Unix time, for what people are shown. It may jump; what is derived from it is clamped. */
export const wallClock: Clock = { now: () => Date.now(), after }

/** Time that never jumps; only differences count. */
export const steadyClock: Clock = { now: () => performance.now(), after }

const SECOND_MS = 1000
const LONG_MS = 5000

/**
 * The clock, but what is due in a second or later is due on a whole second, what is due in five or later on a whole five
 * seconds: up to half as much sooner or later than asked. What looks at something every few seconds then looks together. To
 * wake an idle process costs more than what it does then.
 */
export function onWholeSeconds(clock: Clock): Clock {
  return {
    now: () => clock.now(),
    after(delayMs, run) {
      if (delayMs < SECOND_MS) return clock.after(delayMs, run)
      const now = clock.now()
      const unitMs = delayMs < LONG_MS ? SECOND_MS : LONG_MS
      return clock.after(Math.ceil(Math.round((now + delayMs) / unitMs) * unitMs - now), run)
    },
  }
}

/** Resolves, or rejects, as `ending` does; resolves after `deadlineMs` if it has not by then. */
export async function waitFor(ending: Promise<void>, deadlineMs: number, clock: Clock): Promise<void> {
  const { promise: expired, resolve: expire } = Promise.withResolvers<void>()
  const cancel = clock.after(deadlineMs, expire)
  await Promise.race([ending, expired]).finally(cancel)
}

/** The machine's own timers: they keep the process alive until they are due or taken back. */
function after(delayMs: number, run: () => void): () => void {
  const timer = setTimeout(run, delayMs)
  return () => clearTimeout(timer)
}
