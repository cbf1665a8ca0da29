/** Limits of the stream worker, as plain data: the daemon posts them with the worker's start. */
export interface StreamSettings {
  /**
   * Clients' connections at most. Beyond it an idle one makes room, the oldest of the client that has most; if none is idle
   * the new one is refused.
   */
  maxConnections: number
  /** Of one client address. Beyond it the client's oldest idle one makes room; if none is idle the new one is refused. */
  maxConnectionsPerClient: number
  /** Queries of one connection that data workers hold at a time; the rest waits, unread where possible (RFC 7766 §6.2.1). */
  maxInFlight: number
  /** Idle connections are closed after this long (RFC 7766 §6.2.3). */
  idleTimeoutMs: number
  /** The same once three quarters of `maxConnections` are in use. */
  crowdedIdleTimeoutMs: number
  /** A connection that takes no reply for this long is reset. */
  writeTimeoutMs: number
  /** Bytes of replies that may wait for a client. A connection with more of them is reset. */
  maxQueuedBytes: number
  upstream: UpstreamStreamSettings
}

/** Limits of the connections to each upstream server. */
export interface UpstreamStreamSettings {
  /** Connections to one server at most; those that are silent or on their way out may be as many again. */
  maxConnections: number
  /** Attempts on one connection at a time. */
  maxPipelined: number
  /** Attempts that wait for room on a connection to one server; further ones fail. */
  maxQueued: number
  /** A connection without attempts is closed after this long. */
  idleTimeoutMs: number
  connectTimeoutMs: number
  /** Root certificates (PEM) for TLS instead of Node's own; null for those. */
  rootCertificates: string | null
}

/** The limits that the daemon starts with; open files may lower `maxConnections`. */
export const DEFAULT_STREAM_SETTINGS: StreamSettings = {
  maxConnections: 1024,
  // On a pod or VM the one client is the workload itself, from one address.
  maxConnectionsPerClient: 768,
  maxInFlight: 256,
  idleTimeoutMs: 10_000,
  crowdedIdleTimeoutMs: 1_000,
  writeTimeoutMs: 10_000,
  maxQueuedBytes: 1 << 20,
  upstream: {
    maxConnections: 4,
    maxPipelined: 64,
    maxQueued: 1024,
    idleTimeoutMs: 10_000,
    connectTimeoutMs: 3_000,
    rootCertificates: null,
  },
}
