/**
 * Truncated replies, kept as long as their pending query is open. If no server has the whole answer, because this one has
 * no TCP and no other answers, the client gets the partial answer, as if it had asked the server itself.
 */
import { setCounts } from '../../dns/reply.ts'

/** Kept at a time; of questions beyond that nothing is kept. */
const MOST_REPLIES = 256
/** Of a longer one header and question alone are kept. */
const MOST_BYTES = 4096

/** The truncated replies of pending queries. */
export class TruncatedReplies {
  readonly #replies: Map<number, Uint8Array> = new Map()

  /** Keeps a copy of the reply of `length` bytes at `start`; the longest one of a query stays. */
  keep(p: number, packet: Uint8Array, start: number, length: number, questionEnd: number): void {
    const known = this.#replies.get(p)
    if (known === undefined ? this.#replies.size >= MOST_REPLIES : known.length >= length) return
    // Not `slice`, which gives a view of a Buffer.
    const reply = Uint8Array.from(packet.subarray(start, start + (length > MOST_BYTES ? questionEnd : length)))
    if (length > MOST_BYTES) setCounts(reply, 0, 0, 0, 0)
    this.#replies.set(p, reply)
  }

  /** The reply of a pending query, to be read and changed before it is forgotten; undefined if none was kept. */
  of(p: number): Uint8Array | undefined {
    return this.#replies.size === 0 ? undefined : this.#replies.get(p)
  }

  forget(p: number): void {
    if (this.#replies.size > 0) this.#replies.delete(p)
  }

  clear(): void {
    this.#replies.clear()
  }
}
