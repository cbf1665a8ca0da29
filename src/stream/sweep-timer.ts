/** One coarse timer for many deadlines. It runs only while there is something to watch, and never keeps the thread alive. */
export class SweepTimer {
  readonly #intervalMs: number
  readonly #sweep: () => boolean
  #timer: NodeJS.Timeout | null = null

  /** `sweep` is called about every `intervalMs` once armed, until it returns false: nothing is left to watch. */
  constructor(intervalMs: number, sweep: () => boolean) {
    this.#intervalMs = intervalMs
    this.#sweep = sweep
  }

  /** Starts the timer unless it runs. */
  arm(): void {
    if (this.#timer !== null) return
    this.#timer = setInterval(() => {
      if (!this.#sweep()) this.stop()
    }, this.#intervalMs)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
