/**
 * What one server has been seen to support, so that it is asked within its limits. At first it is taken to do what RFC 7766 wants:
 * any number of queries on a connection at a time, and several connections.
 *
 * What was learned is forgotten after a while: the server may have been replaced, or the network was at fault.
 */

/** For how long a limit holds. */
const HOLD_MS = 60_000
/** A connection without any reply has at least this long before its attempts go over another one as well. */
const MIN_STALL_MS = 250

/** What is known of one server; shared by all connections to it. */
export class ServerLimits {
  /** True once a query was answered that was sent while another one was under way on its connection. */
  pipelines = false
  readonly #now: () => number
  #queries = Number.POSITIVE_INFINITY
  #queriesUntilMs = 0
  #connections = Number.POSITIVE_INFINITY
  #connectionsUntilMs = 0
  #firstAnswerMs = 0
  /** When it answered last. */
  answeredMs: number = Number.NEGATIVE_INFINITY

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Queries that the server answers on one connection, in all. */
  get queries(): number {
    return this.#now() < this.#queriesUntilMs ? this.#queries : Number.POSITIVE_INFINITY
  }

  /** Connections that the server serves at a time. */
  get connections(): number {
    return this.#now() < this.#connectionsUntilMs ? this.#connections : Number.POSITIVE_INFINITY
  }

  /** How long a connection may go without its first answer while others have theirs: twice what the last one took. */
  get stallMs(): number {
    return Math.max(MIN_STALL_MS, 2 * this.#firstAnswerMs)
  }

  /** The server answered `answered` queries of a connection and left others that it had by then. */
  leftAfter(answered: number): void {
    this.#queries = Math.max(1, answered)
    this.#queriesUntilMs = this.#now() + HOLD_MS
  }

  /** Beside so many connections it does not serve another one. */
  servesOnly(connections: number): void {
    this.#connections = Math.max(1, connections)
    this.#connectionsUntilMs = this.#now() + HOLD_MS
  }

  /** A connection had its first answer so long after it was opened. */
  firstAnswer(afterMs: number): void {
    this.#firstAnswerMs = afterMs
  }
}
