/**
 * Timers for a fixed number of things, each with at most one: a hashed wheel in typed arrays, so that arming and
 * cancelling cost a few stores and no allocation. Time is passed in, in milliseconds.
 *
 * ```
 *  wheel slot (due / TICK_MS mod SLOTS) → doubly linked list of the ids due in that tick
 * ```
 */

const TICK_MS = 4
/** 2,048 ticks of 4 ms: 8 s. Whatever is due later stays in its slot until its lap comes. */
const SLOTS = 2048
const NONE = -1

export class Timers {
  readonly #head: Int32Array = new Int32Array(SLOTS).fill(NONE)
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #dueAt: Float64Array
  #armed = 0
  /** The last tick whose slot has been emptied of what was due. */
  #tick = 0
  /** No timer is due before this; it may be too early after a cancel, never too late. */
  #earliest: number = Number.POSITIVE_INFINITY

  /** `capacity`: ids are 0 … capacity − 1. */
  constructor(capacity: number, now: number) {
    this.#next = new Int32Array(capacity).fill(NONE)
    this.#previous = new Int32Array(capacity).fill(NONE)
    this.#dueAt = new Float64Array(capacity).fill(Number.NaN)
    this.#tick = Math.floor(now / TICK_MS)
  }

  /** Number of armed timers. */
  get armed(): number {
    return this.#armed
  }

  /** No timer fires before this time; Infinity if none is armed. */
  get nextDue(): number {
    return this.#armed === 0 ? Number.POSITIVE_INFINITY : this.#earliest
  }

  isArmed(id: number): boolean {
    return !Number.isNaN(this.#dueAt[id]!)
  }

  /** Arms the timer `id` (again) for the time `at`. */
  arm(id: number, at: number): void {
    this.cancel(id)
    // A time in the past goes into the next tick to be looked at.
    const slot = Math.max(Math.ceil(at / TICK_MS), this.#tick + 1) % SLOTS
    const head = this.#head[slot]!
    this.#next[id] = head
    this.#previous[id] = NONE - 1 - slot
    if (head !== NONE) this.#previous[head] = id
    this.#head[slot] = id
    this.#dueAt[id] = at
    if (this.#armed++ === 0 || at < this.#earliest) this.#earliest = at
  }

  cancel(id: number): void {
    if (!this.isArmed(id)) return
    const next = this.#next[id]!
    const previous = this.#previous[id]!
    // The first of a list keeps its slot's number where the others keep their predecessor.
    if (previous >= 0) this.#next[previous] = next
    else this.#head[NONE - 1 - previous] = next
    if (next !== NONE) this.#previous[next] = previous
    this.#dueAt[id] = Number.NaN
    this.#armed--
  }

  /** Disarms all that are due at `now` and calls `fire` for each; `fire` may arm and cancel. */
  expire(now: number, fire: (id: number) => void): void {
    if (now < this.nextDue) return
    const target = Math.ceil(now / TICK_MS)
    const first = Math.max(this.#tick, target - SLOTS)
    for (let tick = first; tick <= target; tick++) {
      // While a slot is worked through, what `fire` arms must land behind it.
      this.#tick = tick
      let id = this.#head[tick % SLOTS]!
      while (id !== NONE) {
        if (this.#dueAt[id]! <= now) {
          this.cancel(id)
          fire(id)
          // The list may have changed in any way: start again. Each turn disarms one that was due.
          id = this.#head[tick % SLOTS]!
        } else id = this.#next[id]!
      }
    }
    // The last tick may hold some that are due within it but later than now.
    this.#tick = target - 1
    this.#earliest = this.#findEarliest()
  }

  #findEarliest(): number {
    if (this.#armed === 0) return Number.POSITIVE_INFINITY
    let earliest = Number.POSITIVE_INFINITY
    for (let k = 0; k < SLOTS; k++) {
      const lap = (this.#tick + k) * TICK_MS
      for (let id = this.#head[(this.#tick + k) % SLOTS]!; id !== NONE; id = this.#next[id]!) {
        if (this.#dueAt[id]! < earliest) earliest = this.#dueAt[id]!
      }
      // Whatever stands in later slots is due after this one's end.
      if (earliest <= lap) break
    }
    return earliest
  }
}
