/** Reasons for which an attempt at an upstream server failed. */
export type FailureReason =
  | 'timeout'
  | 'refused'
  | 'servfail'
  | 'malformed'
  | 'network'
  | 'truncated'
  | 'formerr'
  | 'tls'

/**
 * What a failure says of a server's health. NOT_ITS: nothing, it may be the zone's or the network's. PERHAPS: it is held
 * against the server if another one answers the question. ITS: as much as silence.
 */
export const Fault = { NOT_ITS: 0, PERHAPS: 1, ITS: 2 } as const

/**
 * What the engine asks of whoever drives it: a driver with sockets, or the simulation. Every method returns at once;
 * nothing may throw. The engine calls it only from within its own methods.
 */
export interface Outlet {
  /** Remember the client of the query in hand under this number, until `sendReply` or `release` gets it. */
  hold(waiter: number): void

  /** Make room for a reply to a held client: at least its limit, at `replyAt` of `reply`. */
  openReply(waiter: number): void
  readonly reply: Uint8Array
  readonly replyAt: number
  /** Send the `length` bytes just written to the held client, and forget it. 0: it gets none. */
  sendReply(waiter: number, length: number): void

  /** Make room for a query to an upstream server: 512 bytes at `queryAt` of `query`. */
  openQuery(): void
  readonly query: Uint8Array
  readonly queryAt: number
  /**
   * Send it as a datagram from one of the sockets towards `server`, another one than `avoid` if there is a choice.
   * Returns the socket's number, which a reply must come in by; -1 if none could be opened.
   */
  sendQuery(server: number, length: number, avoid: number): number

  /**
   * Ask over a stream instead; the reply comes as `Engine.streamReply` with the same token. Owns the copy it makes.
   * `attemptMs`: the engine asks again after so long; replies count until `timeoutMs`.
   */
  sendStreamQuery(
    token: number,
    server: number,
    transport: 'tcp' | 'tls' | 'https',
    length: number,
    timeoutMs: number,
    attemptMs: number,
  ): void
}
