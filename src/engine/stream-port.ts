/**
 * What a data worker and the stream worker say to each other over a MessagePort. The stream worker owns connections and
 * framing and does not know the engine; the data worker answers and does not know sockets.
 *
 * Messages in `frames` are preceded by their length in two bytes, as on the wire (RFC 1035 §4.2.2). What one turn of the
 * event loop read from all connections travels as one message, and so do the answers that are ready at once; the others
 * follow, in any order (RFC 7766 §6.2.1.1). After posting, the stream worker writes 1 to the data worker's eventfd, if
 * it has one.
 */

/** Stream worker → data worker: queries that clients' connections brought, in order. */
export interface StreamQueries {
  kind: 'queries'
  /** Reads one after the other, see stream-batch.ts. Connections are numbers not used twice in the life of the stream worker. */
  reads: Uint8Array
}

/** Data worker → stream worker: replies for connections, ready to be written as they are. */
export interface StreamReplies {
  kind: 'replies'
  /**
   * Writes one after the other, see stream-batch.ts. The stream worker sends them from this buffer: it must be a copy or
   * transferred. Those of one connection are written at once.
   */
  writes: Uint8Array
}

/** Data worker → stream worker: a query for an upstream server, over a stream. */
export interface UpstreamQuery {
  kind: 'upstreamQuery'
  /** The data worker's own number for it. */
  token: number
  /** The server's label. Settings reach the two threads one after the other: an index would mean another one meanwhile. */
  server: string
  /** `tcp` also towards a server whose datagrams were truncated. */
  transport: 'tcp' | 'tls' | 'https'
  /** The query without a length before it; its id is the data worker's. */
  query: Uint8Array
  /** Give up after this long. */
  timeoutMs: number
  /** The engine asks again after this long: a connection that was silent for so long should not carry the repeat. */
  attemptMs: number
}

/** Stream worker → data worker: how an upstream query ended. The reply has the id of the query and is not validated further. */
export interface UpstreamReply {
  kind: 'upstreamReply'
  token: number
  reply: Uint8Array | null
  /** Set where `reply` is null. */
  failure: 'timeout' | 'refused' | 'network' | 'malformed' | 'tls' | null
}

/** What a data worker posts to the stream worker. */
export type ToStream = StreamReplies | UpstreamQuery
/** What the stream worker posts to a data worker. */
export type FromStream = StreamQueries | UpstreamReply
