/**
 * Which upstream servers forward to us, as the engine's probes have found (engine/loop-probe.ts). They are asked no more,
 * but probed now and then, so that one that was mended comes back without help. All are probed when the servers change, and when one begins to fail.
 *
 * ```
 *  asked ──a probe came back──→ loop ──30 s, then 1, 2, 4 … 10 min──→ probed ──came back──→ loop
 *    ↑                                                                   └──nothing for 15 s──┐
 *    └── and probed once more, at once ───────────────────────────────────────────────────────┘
 * ```
 * If that probe finds no loop either, the next loop is checked after 30 s again.
 */

const FIRST_CHECK_MS = 30_000
const LAST_CHECK_MS = 600_000
/** The engine probes after half a second, and once more after ten. */
const VERDICT_AFTER_MS = 15_000

/** What the watch needs of the daemon. */
export interface LoopWatchOptions {
  /** Another name to probe by, which nobody else can know. */
  newId: () => string
  /** Calls `run` after `ms` unless the function returned is called before. */
  schedule: (run: () => void, ms: number) => () => void
  /** The id or the loops are others now: the settings follow from them. `mended`: labels that are no loops any more. */
  onChange: (mended: string[]) => void
}

/** Keeps the loops that were found, and has their servers probed again. */
export class LoopWatch {
  readonly #options: LoopWatchOptions
  readonly #loops: Set<string> = new Set()
  /** Loops whose probe has come back since it was sent again. */
  readonly #seenAgain: Set<string> = new Set()
  #id: string
  #checkMs: number = FIRST_CHECK_MS
  #cancel: (() => void) | null = null
  /** Of the time in which no further suspicion counts. */
  #cancelRest: (() => void) | null = null

  constructor(options: LoopWatchOptions) {
    this.#options = options
    this.#id = options.newId()
  }

  /** What the names of the probes are made from. */
  get id(): string {
    return this.#id
  }

  /** Labels of the servers that forward to us. */
  get loops(): ReadonlySet<string> {
    return this.#loops
  }

  /** The probe of a server has come back. True if that is news; the settings are the caller's then. */
  found(label: string): boolean {
    this.#seenAgain.add(label)
    if (this.#loops.has(label)) return false
    // The first one ends the wait for the last probe of those that seemed mended.
    if (this.#loops.size === 0) this.stop()
    this.#loops.add(label)
    this.#cancel ??= this.#options.schedule(() => this.#check(), this.#checkMs)
    return true
  }

  /** A server fails, and may be a loop that was none when it was probed: all are probed again, but not more often than a verdict takes. */
  suspect(): void {
    if (this.#cancelRest !== null) return
    this.#cancelRest = this.#options.schedule(() => (this.#cancelRest = null), VERDICT_AFTER_MS)
    this.#id = this.#options.newId()
    this.#options.onChange([])
  }

  /** Servers may be others now, or lead elsewhere: nothing is known of them, and the next settings probe them anew. */
  forget(): void {
    this.stop()
    this.#loops.clear()
    this.#checkMs = FIRST_CHECK_MS
    this.#id = this.#options.newId()
  }

  /** Checks no more. */
  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#cancelRest?.()
    this.#cancelRest = null
  }

  #check(): void {
    this.#seenAgain.clear()
    this.#checkMs = Math.min(this.#checkMs * 2, LAST_CHECK_MS)
    this.#id = this.#options.newId()
    this.#cancel = this.#options.schedule(() => this.#judge(), VERDICT_AFTER_MS)
    this.#options.onChange([])
  }

  #judge(): void {
    this.#cancel = null
    const mended = [...this.#loops].filter((label) => !this.#seenAgain.has(label))
    for (const label of mended) this.#loops.delete(label)
    this.#cancel =
      this.#loops.size > 0
        ? this.#options.schedule(() => this.#check(), this.#checkMs)
        : this.#options.schedule(() => this.#beginAnew(), VERDICT_AFTER_MS)
    if (mended.length === 0) return
    // One that was only silent is found out again before long.
    this.#id = this.#options.newId()
    this.#options.onChange(mended)
  }

  /** The probe of all that seemed mended has not come back either: they are. */
  #beginAnew(): void {
    this.#cancel = null
    this.#checkMs = FIRST_CHECK_MS
  }
}
