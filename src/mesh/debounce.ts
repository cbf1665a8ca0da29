import type { Clock } from '../base/clock.ts'

/** How long a burst may be. */
export interface DebounceSettings {
  /** What is awaited after the last event. */
  quietMs: number
  /** From the first event on, however many follow. */
  mostMs: number
}

/** An edit shows within a fraction of a second; a checkout of hundreds of files is one push, or a few. */
export const DEFAULT_DEBOUNCE: DebounceSettings = { quietMs: 100, mostMs: 1000 }

/** Turns a burst of events into one run. */
export class Debounce {
  readonly #run: () => void
  readonly #settings: DebounceSettings
  readonly #clock: Clock
  #firstAtMs = 0
  #cancel: (() => void) | null = null

  constructor(run: () => void, settings: DebounceSettings, clock: Clock) {
    this.#run = run
    this.#settings = settings
    this.#clock = clock
  }

  /** An event: the run follows once it is quiet, or when the burst has lasted long enough. */
  poke(): void {
    const nowMs = this.#clock.now()
    if (this.#cancel === null) this.#firstAtMs = nowMs
    else this.#cancel()
    const leftMs = Math.max(0, this.#firstAtMs + this.#settings.mostMs - nowMs)
    this.#cancel = this.#clock.after(Math.min(this.#settings.quietMs, leftMs), () => {
      this.#cancel = null
      this.#run()
    })
  }

  /** Forgets events that have not led to a run. */
  cancel(): void {
    this.#cancel?.()
    this.#cancel = null
  }
}
