/** The seam between exchanges with upstream servers and the protocols that carry them. */
import type { UpstreamReply } from '../../engine/stream-port.ts'

export type ExchangeFailure = NonNullable<UpstreamReply['failure']>

/**
 * How often one exchange is sent. A server may end a connection under it, and then it goes over another one (RFC 7766 §6.2.4).
 * The engine's bound on queries to servers counts with this.
 */
export const MAX_SENT = 4

/** One question on its way to one server. Made by whoever asks; only the first call of `settle` counts. */
export interface UpstreamExchange {
  /** The query without a length before it. Not changed. */
  readonly query: Uint8Array
  /** Monotonic milliseconds. */
  readonly deadlineMs: number
  /** See `UpstreamQuery.attemptMs`. */
  readonly attemptMs: number
  /** Times it was sent to the server, at most MAX_SENT. */
  sent: number
  /** Somebody settled it: replies that come by other connections are not wanted any more. */
  isSettled: boolean
  /** The reply, with the query's id and its own buffer, or why there is none. */
  settle(reply: Uint8Array | null, failure: ExchangeFailure | null): void
}

/** One server over one transport: connections are opened as needed, shared, and closed when idle. */
export interface UpstreamTransport {
  ask(exchange: UpstreamExchange): void
  /** Fails what is over its deadline, closes what is idle. Returns false if there is nothing left to watch. */
  sweep(nowMs: number): boolean
  /** Fails everything outstanding as `network` and closes all connections at once. */
  close(): void
}

/** Which failure an error of a socket or a TLS handshake is; null stands for an end without an error. */
export function failureOf(error: NodeJS.ErrnoException | null): ExchangeFailure {
  const code = error?.code ?? ''
  if (code === 'ECONNREFUSED') return 'refused'
  if (code === 'ETIMEDOUT') return 'timeout'
  if (code === 'EPROTO' || /^ERR_(TLS|SSL|OSSL)/.test(code)) return 'tls'
  // Verification errors have OpenSSL's names (CERT_HAS_EXPIRED, UNABLE_TO_VERIFY_LEAF_SIGNATURE, …), which are no errno.
  return code === '' || /^(ERR_|E[A-Z0-9]+$)/.test(code) ? 'network' : 'tls'
}
