/**
 * What the stream worker counts, in one shared array with one writer (the stream worker) and many readers, as
 * `WorkerCounters` does for data workers.
 */

/** Counters and gauges of the stream worker. Gauges say so. */
export const StreamCell = {
  /** Gauge: clients' connections now open. */
  connectionsOpen: 0,
  connectionsAccepted: 1,
  /** Closed at once: too many connections, none of them idle. */
  connectionsRefusedTotal: 2,
  /** Closed at once: too many connections from that client. */
  connectionsRefusedClient: 3,
  /** Closed after the idle timeout. */
  connectionsIdleClosed: 4,
  /** Idle ones closed before their time to make room. */
  connectionsEvicted: 5,
  /** Clients that did not read their answers. */
  connectionsSlowClosed: 6,
  /** Closed because the data worker that held their queries went away. */
  connectionsLost: 7,
  /** Closed by the client's reset, or by an error of the socket. */
  connectionsFailed: 8,
  /** Frames shorter than a DNS header; each ends its connection. */
  framesMalformed: 9,
  /** Queries passed to data workers, and reads that brought them: their ratio is the batch size. */
  queries: 10,
  reads: 11,
  /** Writes to clients' sockets. */
  writes: 12,
  /** Replies for connections that no longer exist. */
  repliesUnclaimed: 13,
  /** Gauge: connections to upstream servers now open or opening. */
  upstreamConnectionsOpen: 14,
  upstreamConnectionsOpened: 15,
  /** Upstream queries, by transport. */
  upstreamQueriesTcp: 16,
  upstreamQueriesTls: 17,
  upstreamQueriesHttps: 18,
  /** Upstream queries sent again because the server had closed the connection. */
  upstreamQueriesRetried: 19,
  failuresTimeout: 20,
  failuresRefused: 21,
  failuresNetwork: 22,
  failuresMalformed: 23,
  failuresTls: 24,
} as const
export type StreamCell = (typeof StreamCell)[keyof typeof StreamCell]

const LENGTH = 64

/** The stream worker's counters over a shared buffer. The stream worker writes; whoever else holds it only reads. */
export class StreamCounters {
  readonly buffer: SharedArrayBuffer
  readonly cells: Float64Array

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(LENGTH * 8)) {
    if (buffer.byteLength !== LENGTH * 8) throw new RangeError(`stream counters need ${LENGTH * 8} bytes`)
    this.buffer = buffer
    this.cells = new Float64Array(buffer)
  }

  /** Adds to a counter or gauge; a gauge may go down. */
  add(cell: StreamCell, count: number = 1): void {
    this.cells[cell]! += count
  }

  get(cell: StreamCell): number {
    return this.cells[cell]!
  }
}
