/**
 * Whether the other end of a connection still says anything. One that went away without a word (its host died, a NAT forgot
 * the connection) takes what is sent for as long as the kernel repeats it, a quarter of an hour.
 *
 * ```
 *  asked ──── patience ────→ silent: the next question goes elsewhere      heard: counted anew
 *                            a replacement, reached and silent as well: the server is slow, no other is opened for a while
 * ```
 */

/** Of the patience of whoever asks: the threads do not hear of a moment at the same time. */
const SHARE_OF_PATIENCE = 0.9
/** So many times the patience a handshake speaks for the way to the server: for what one question is repeated. */
const PATIENCES_VOUCHED = 3

/** What is heard on one connection. All times are monotonic milliseconds. */
export class Silence {
  /** When something came last, the end of the handshake included; before that, when the connection was opened. */
  heardMs: number
  /** Since when an answer is due without a word. */
  #dueSinceMs: number = Number.POSITIVE_INFINITY
  /** When the handshake was done. */
  #readyMs: number = Number.NEGATIVE_INFINITY
  /** Opened in place of a silent one, and nothing has come since but the handshake. */
  #isUnprovenReplacement: boolean

  /** `isReplacement`: opened because the others are silent. */
  constructor(openedMs: number, isReplacement: boolean) {
    this.heardMs = openedMs
    this.#isUnprovenReplacement = isReplacement
  }

  /** Something was sent that wants an answer. */
  asked(nowMs: number): void {
    this.#dueSinceMs = Math.min(this.#dueSinceMs, nowMs)
  }

  /** The handshake is done; `isWaiting`: answers are due. */
  ready(nowMs: number, isWaiting: boolean): void {
    this.#readyMs = nowMs
    this.#heard(nowMs, isWaiting)
  }

  /** Something came; `isWaiting`: answers are still due. */
  heard(nowMs: number, isWaiting: boolean): void {
    this.#isUnprovenReplacement = false
    this.#heard(nowMs, isWaiting)
  }

  /** Nobody waits for an answer any more. */
  nothingDue(): void {
    this.#dueSinceMs = Number.POSITIVE_INFINITY
  }

  /** Since when it has been silent for longer than `attemptMs`; minus infinity if it has not. */
  since(nowMs: number, attemptMs: number): number {
    return nowMs - this.#dueSinceMs >= attemptMs * SHARE_OF_PATIENCE ? this.#dueSinceMs : Number.NEGATIVE_INFINITY
  }

  /**
   * Whether what is asked at `askedMs` may rely on the handshake alone: it was done while another connection was silent,
   * so the way is open and the server takes its time. One more connection would be as silent.
   */
  isVouchedFor(askedMs: number, attemptMs: number): boolean {
    return this.#isUnprovenReplacement && askedMs - this.#readyMs < attemptMs * PATIENCES_VOUCHED
  }

  /** Whether a question sent at `sentMs` that is given up now had its time, and nothing came: others would fare no better. */
  isDead(sentMs: number, nowMs: number, attemptMs: number): boolean {
    const sinceMs = Math.max(sentMs, this.#readyMs)
    const hadItsTime = nowMs - sinceMs >= attemptMs * SHARE_OF_PATIENCE
    return hadItsTime && this.heardMs <= sinceMs && !this.isVouchedFor(sentMs, attemptMs)
  }

  #heard(nowMs: number, isWaiting: boolean): void {
    this.heardMs = nowMs
    this.#dueSinceMs = isWaiting ? nowMs : Number.POSITIVE_INFINITY
  }
}

/**
 * When the latest silence among connections to one server began; minus infinity if none is silent. Whatever ended one
 * may have ended all: those on which nothing has come since are not to be relied on.
 */
export function latestSilence(connections: Iterable<{ silence: Silence }>, nowMs: number, attemptMs: number): number {
  let latest = Number.NEGATIVE_INFINITY
  for (const { silence } of connections) latest = Math.max(latest, silence.since(nowMs, attemptMs))
  return latest
}
