/** Connections to upstream servers over TLS: verified, resumed where the server allows. */
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { connect } from 'node:tls'
import type { UpstreamServer } from '../engine/settings.ts'

/** Opens TLS connections to one server and remembers its last session. */
export class SecureConnector {
  readonly readyEvent: 'secureConnect' = 'secureConnect' as const
  readonly #server: UpstreamServer
  readonly #alpn: string
  readonly #rootCertificates: string | null
  #session: Buffer | undefined

  /** `alpn`: `dot` (RFC 7858) or `h2`. `rootCertificates`: PEM, null for Node's own. */
  constructor(server: UpstreamServer, alpn: 'dot' | 'h2', rootCertificates: string | null) {
    this.#server = server
    this.#alpn = alpn
    this.#rootCertificates = rootCertificates
  }

  /**
   * A socket that is connecting. The certificate must carry the server's name or, if it was given none, its address
   * (RFC 8310 §8.1: strict privacy); otherwise the socket fails with an error before anything is sent.
   */
  open(): TLSSocket {
    const { address, port, serverName } = this.#server
    const socket = connect({
      host: address,
      port,
      // The name that is verified; an address is never sent as SNI (RFC 6066 §3).
      ...(serverName === undefined || isIP(serverName) !== 0 ? {} : { servername: serverName }),
      ALPNProtocols: [this.#alpn],
      minVersion: 'TLSv1.2',
      ...(this.#session === undefined ? {} : { session: this.#session }),
      ...(this.#rootCertificates === null ? {} : { ca: this.#rootCertificates }),
    })
    socket.setNoDelay(true)
    socket.on('session', (session) => {
      // Node does not verify a resumed session again, so only those of verified connections are kept.
      if (socket.authorized) this.#session = session
    })
    socket.on('error', () => {
      this.#session = undefined
    })
    return socket
  }
}
