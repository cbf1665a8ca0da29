/**
 * What a data worker and the stream worker say to each other over a MessagePort. The stream worker owns connections and
 * framing and does not know the engine; the data worker answers and does not know sockets.
 *
 * A message in `frames` is preceded by its length in two bytes, as on the wire (RFC 1035 §4.2.2). Queries of one read
 * travel as one message, and so do the answers that are ready at once; the others follow, in any order (RFC 7766 §6.2.1.1).
 * After posting, the stream worker writes 1 to the data worker's eventfd, if it has one.
 */

/** Stream worker → data worker: queries that one read of a client's connection brought, in order. */
export interface StreamQueries {
  kind: 'queries'
  /** Number of the connection, never used twice in the life of the stream worker. */
  connection: number
  /** The client's address, 4 or 16 bytes; an IPv4-mapped one has 4. */
  address: Uint8Array
  frames: Uint8Array
}

/** Data worker → stream worker: replies for a connection, ready to be written as they are. */
export interface StreamReplies {
  kind: 'replies'
  connection: number
  /** Queries settled by this message: the replies in `frames` and those that get none. */
  settled: number
  frames: Uint8Array
}

/** Data worker → stream worker: ask an upstream server over a stream. */
export interface StreamExchange {
  kind: 'exchange'
  /** The data worker's own number for it. */
  exchange: number
  /** Index into the upstream servers of the settings last posted. */
  server: number
  /** `tcp` also towards a server whose datagrams were truncated. */
  transport: 'tcp' | 'tls' | 'https'
  /** The query without a length before it; its id is the data worker's. */
  query: Uint8Array
  /** Give up after this long. */
  timeoutMs: number
}

/** Stream worker → data worker: how an exchange ended. The reply has the id of the query and is not validated further. */
export interface StreamExchanged {
  kind: 'exchanged'
  exchange: number
  reply: Uint8Array | null
  /** Set where `reply` is null. */
  failure: 'timeout' | 'refused' | 'network' | 'malformed' | 'tls' | null
}

export type ToStream = StreamReplies | StreamExchange
export type FromStream = StreamQueries | StreamExchanged
