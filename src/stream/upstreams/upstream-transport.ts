/** What sends upstream queries and reads their replies, whatever the protocol. */
import type { UpstreamReply } from '../../engine/stream-port.ts'

/** Why an attempt brought no reply. */
export type UpstreamFailure = NonNullable<UpstreamReply['failure']>

/**
 * How often one attempt is sent. A server may end a connection under it, and then it goes over another one (RFC 7766 §6.2.4).
 * The engine's bound on queries to servers counts with this.
 */
export const MAX_SENT = 4

/** One question on its way to one server. Made by whoever asks; only the first call of `settle` counts. */
export interface UpstreamAttempt {
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
  settle(reply: Uint8Array | null, failure: UpstreamFailure | null): void
}

/** One server over one transport: connections are opened as needed, shared, and closed when idle. */
export interface UpstreamTransport {
  ask(attempt: UpstreamAttempt): void
  /** Fails what is over its deadline, closes what is idle. Returns false if there is nothing left to watch. */
  sweep(nowMs: number): boolean
  /** Fails everything outstanding as `network` and closes all connections at once. */
  close(): void
}

/** Which failure an error of a socket or a TLS handshake is; null stands for an end without an error. */
export function failureOf(error: NodeJS.ErrnoException | null): UpstreamFailure {
  const code = error?.code ?? ''
  if (code === 'ECONNREFUSED') return 'refused'
  if (code === 'ETIMEDOUT') return 'timeout'
  if (code === 'EPROTO' || /^ERR_(TLS|SSL|OSSL)/.test(code)) return 'tls'
  // Verification errors have OpenSSL's names (CERT_HAS_EXPIRED, UNABLE_TO_VERIFY_LEAF_SIGNATURE, …), which are no errno.
  return code === '' || /^(ERR_|E[A-Z0-9]+$)/.test(code) ? 'network' : 'tls'
}
