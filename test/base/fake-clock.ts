import type { Clock } from '../../src/base/clock.ts'

interface Timer {
  atMs: number
  run: () => void
}

/** A clock that stands still until the test moves it. */
export class FakeClock implements Clock {
  #nowMs: number
  readonly #timers: Set<Timer> = new Set()

  constructor(nowMs = 1_000_000) {
    this.#nowMs = nowMs
  }

  now(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Moves time on and runs what falls due, in order of time. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.atMs <= endMs).toSorted((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#timers.delete(due)
      this.#nowMs = due.atMs
      due.run()
    }
    this.#nowMs = endMs
  }

  /** Delays after which the timers now set are due, the next first. */
  get pending(): number[] {
    return [...this.#timers].map((timer) => timer.atMs - this.#nowMs).toSorted((a, b) => a - b)
  }
}
