import { type ChannelCredentials, type ChannelOptions, credentials, Metadata } from '@grpc/grpc-js'

/** What one connection to the control plane is made with. */
export interface ConnectionCredentials {
  /** Plaintext, or TLS with root certificates and perhaps a client certificate. */
  channel: ChannelCredentials
  /** Goes with the stream: `authorization: Bearer …`, `clusterid`. */
  metadata: Metadata
  /** The name that the server's certificate must carry: `grpc.ssl_target_name_override`, `grpc.default_authority`. */
  options: ChannelOptions
  /** What grpc-js says of a failure, with its cause and remedy where these are known. */
  explain: (reason: string) => string
}

/**
 * Where credentials come from. Asked afresh for every connection, because tokens and certificates are replaced on disk
 * while byname runs.
 */
export interface CredentialsProvider {
  /**
   * Credentials for a connection to `address` (`HOST:PORT`), or in one line why there are none (a missing file, say):
   * that counts as a failed attempt. `signal` ends the wait for them.
   */
  forConnection(address: string, signal: AbortSignal): Promise<ConnectionCredentials | { failure: string }>
}

/** No TLS and no token: istiod's port 15010, the embedded control plane. */
export const plaintext: CredentialsProvider = {
  forConnection: () =>
    Promise.resolve({
      channel: credentials.createInsecure(),
      metadata: new Metadata(),
      options: {},
      explain: explainPlaintext,
    }),
}

/** A server that waits for TLS takes HTTP/2's first bytes for garbage, and closes. */
function explainPlaintext(reason: string): string {
  if (!/Failed to connect|ECONNRESET|Protocol error/.test(reason)) return reason
  return `${reason}; does the server speak TLS at this port? istiod's plaintext port is 15010, its secured one 15012 (mesh.source.xds.tls)`
}
