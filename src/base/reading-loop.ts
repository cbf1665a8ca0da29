import { type Clock, waitFor } from './clock.ts'

/** Reads what changes: one reading at a time, and changes during one, however many, lead to one more after it. */
export class ReadingLoop {
  readonly #readOnce: () => Promise<void>
  readonly #clock: Clock
  #underWay: Promise<void> | null = null
  #isStale = false

  /** `readOnce` copes with its own failures. */
  constructor(readOnce: () => Promise<void>, clock: Clock) {
    this.#readOnce = readOnce
    this.#clock = clock
  }

  /** What is being read has changed since the reading began: it will be read once more. */
  get isStale(): boolean {
    return this.#isStale
  }

  /** Reads, now or after the reading under way. Resolves when nothing is left to read. */
  read(): Promise<void> {
    if (this.#underWay === null) this.#underWay = this.#readUntilFresh().finally(() => (this.#underWay = null))
    else this.#isStale = true
    return this.#underWay
  }

  /** Resolves when nothing is left to read, at once if no reading is under way. */
  settled(): Promise<void> {
    return this.#underWay ?? Promise.resolve()
  }

  /** Waits for the reading under way, for at most `deadlineMs`. No other follows it. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStale = false
    if (this.#underWay !== null) await waitFor(this.#underWay, deadlineMs, this.#clock)
  }

  async #readUntilFresh(): Promise<void> {
    do {
      this.#isStale = false
      await this.#readOnce()
    } while (this.#isStale)
  }
}
