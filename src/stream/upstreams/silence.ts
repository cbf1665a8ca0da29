/**
 * Whether the other end of a connection still answers. If it is gone without a FIN or a reset (its host died, a NAT dropped the
 * connection), the kernel retransmits for a quarter of an hour before it reports an error.
 *
 * ```
 *  asked ──── attempt ─────→ silent: the next query takes another connection      heard: counted anew
 *                            a replacement, reached and silent as well: the server is slow, no other is opened for a while
 * ```
 */

/** Share of an attempt after which a connection counts as silent: the engine's repeat must find it so. */
const SILENT_AFTER_SHARE = 0.9
/** For so many attempts after its handshake the replacement of a silent connection is trusted: the server is slow, not gone. */
const ATTEMPTS_TRUSTED = 3

/** What is heard on one connection. All times are monotonic milliseconds. */
export class Silence {
  /** When something came last, the end of the handshake included; before that, when the connection was opened. */
  heardMs: number
  /** Since when a reply has been due and nothing has come. */
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

  /** No reply is awaited any more. */
  nothingDue(): void {
    this.#dueSinceMs = Number.POSITIVE_INFINITY
  }

  /** Since when it has been silent for longer than `attemptMs`; minus infinity if it has not. */
  since(nowMs: number, attemptMs: number): number {
    return nowMs - this.#dueSinceMs >= attemptMs * SILENT_AFTER_SHARE ? this.#dueSinceMs : Number.NEGATIVE_INFINITY
  }

  /**
   * Whether a query sent at `askedMs` may trust this connection for its handshake alone. The handshake succeeded while another
   * connection was silent, so the server is reachable and slow. One more connection would be as silent.
   */
  isVouchedFor(askedMs: number, attemptMs: number): boolean {
    return this.#isUnprovenReplacement && askedMs - this.#readyMs < attemptMs * ATTEMPTS_TRUSTED
  }

  /** Whether a query sent at `sentMs` has timed out after a full attempt without anything received: no more should be sent here. */
  isDead(sentMs: number, nowMs: number, attemptMs: number): boolean {
    const sinceMs = Math.max(sentMs, this.#readyMs)
    const hadItsTime = nowMs - sinceMs >= attemptMs * SILENT_AFTER_SHARE
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
