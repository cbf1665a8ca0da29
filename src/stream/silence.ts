/**
 * Whether the other end of a connection still says anything. One that went away without a word (its host died, a NAT forgot
 * the connection) takes what is sent for as long as the kernel repeats it, a quarter of an hour.
 *
 * ```
 *  asked ──── patience ────→ silent: the next question goes elsewhere      heard: counted anew
 * ```
 */

/** Of the patience of whoever asks: the threads do not hear of a moment at the same time. */
const SHARE_OF_PATIENCE = 0.9

/** What is heard on one connection. All times are monotonic milliseconds. */
export class Silence {
  /** When something came last; before that, when the connection was opened. */
  heardMs: number
  /** Since when an answer is due without a word. */
  #dueSinceMs: number = Number.POSITIVE_INFINITY

  constructor(openedMs: number) {
    this.heardMs = openedMs
  }

  /** Something was sent that wants an answer. */
  asked(nowMs: number): void {
    this.#dueSinceMs = Math.min(this.#dueSinceMs, nowMs)
  }

  /** Something came; `isWaiting`: answers are still due. */
  heard(nowMs: number, isWaiting: boolean): void {
    this.heardMs = nowMs
    this.#dueSinceMs = isWaiting ? nowMs : Number.POSITIVE_INFINITY
  }

  /** Since when it has been silent for longer than `patienceMs`; minus infinity if it has not. */
  since(nowMs: number, patienceMs: number): number {
    return nowMs - this.#dueSinceMs >= patienceMs * SHARE_OF_PATIENCE ? this.#dueSinceMs : Number.NEGATIVE_INFINITY
  }
}

/**
 * When the latest silence among connections to one server began; minus infinity if none is silent. Whatever ended one
 * may have ended all: those on which nothing has come since are not to be relied on.
 */
export function latestSilence(connections: Iterable<{ silence: Silence }>, nowMs: number, patienceMs: number): number {
  let latest = Number.NEGATIVE_INFINITY
  for (const { silence } of connections) latest = Math.max(latest, silence.since(nowMs, patienceMs))
  return latest
}
