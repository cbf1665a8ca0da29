/**
 * Timers for a fixed number of things, each with at most one: a hashed wheel in typed arrays, so that arming and
 * cancelling cost a few stores and no allocation. Time is passed in, in milliseconds.
 *
 * ```
 *  wheel slot (due / TICK_MS mod SLOTS) → doubly linked list of the ids due in that tick
 *  slot DUE                             → those that are being fired
 * ```
 */

const TICK_MS = 4
/** 2,048 ticks of 4 ms: 8 s. Whatever is due later stays in its slot until its lap comes. */
const SLOTS = 2048
/** A mask, as the tick before time zero has a slot as well. */
const SLOT_MASK: number = SLOTS - 1
const DUE = SLOTS
const NONE = -1

/** One timer for each pending query. */
export class Timers {
  readonly #head: Int32Array = new Int32Array(SLOTS + 1).fill(NONE)
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #dueAt: Float64Array
  #armed = 0
  /** The last tick that is wholly over: nothing armed stands in its slot or before. */
  #tick = 0
  /** No timer is due before this; it may be too early after a cancel, never too late. */
  #earliest: number = Number.POSITIVE_INFINITY

  /** `capacity`: ids are 0 … capacity − 1. */
  constructor(capacity: number, now: number) {
    this.#next = new Int32Array(capacity).fill(NONE)
    this.#previous = new Int32Array(capacity).fill(NONE)
    this.#dueAt = new Float64Array(capacity).fill(Number.NaN)
    this.#tick = Math.ceil(now / TICK_MS) - 1
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
    this.#link(id, Math.max(Math.ceil(at / TICK_MS), this.#tick + 1) & SLOT_MASK)
    this.#dueAt[id] = at
    if (this.#armed++ === 0 || at < this.#earliest) this.#earliest = at
  }

  cancel(id: number): void {
    if (!this.isArmed(id)) return
    this.#unlink(id)
    this.#dueAt[id] = Number.NaN
    this.#armed--
  }

  #link(id: number, slot: number): void {
    const head = this.#head[slot]!
    this.#next[id] = head
    this.#previous[id] = NONE - 1 - slot
    if (head !== NONE) this.#previous[head] = id
    this.#head[slot] = id
  }

  #unlink(id: number): void {
    const next = this.#next[id]!
    const previous = this.#previous[id]!
    // The first of a list keeps its slot's number where the others keep their predecessor.
    if (previous >= 0) this.#next[previous] = next
    else this.#head[NONE - 1 - previous] = next
    if (next !== NONE) this.#previous[next] = previous
  }

  /** Disarms all that are due at `now` and calls `fire` for each; `fire` may cancel, and arm for a time after `now`. */
  expire(now: number, fire: (id: number) => void): void {
    if (now < this.nextDue) return
    const target = Math.ceil(now / TICK_MS)
    const first = Math.max(this.#tick, target - SLOTS)
    // Backwards, so that the earliest come to stand first.
    for (let tick = target; tick >= first; tick--) {
      for (let id = this.#head[tick & SLOT_MASK]!, next = NONE; id !== NONE; id = next) {
        next = this.#next[id]!
        if (this.#dueAt[id]! > now) continue
        this.#unlink(id)
        this.#link(id, DUE)
      }
    }
    // Set before anything fires: what is armed then belongs into its own slot, even that of this very tick.
    this.#tick = target - 1
    for (let id = this.#head[DUE]!; id !== NONE; id = this.#head[DUE]!) {
      this.cancel(id)
      fire(id)
    }
    this.#earliest = this.#findEarliest()
  }

  #findEarliest(): number {
    if (this.#armed === 0) return Number.POSITIVE_INFINITY
    let earliest = Number.POSITIVE_INFINITY
    for (let k = 0; k < SLOTS; k++) {
      const lap = (this.#tick + k) * TICK_MS
      for (let id = this.#head[(this.#tick + k) & SLOT_MASK]!; id !== NONE; id = this.#next[id]!) {
        if (this.#dueAt[id]! < earliest) earliest = this.#dueAt[id]!
      }
      // Whatever stands in later slots is due after this one's end.
      if (earliest <= lap) break
    }
    return earliest
  }
}
