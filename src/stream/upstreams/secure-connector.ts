/** Connections to upstream servers over TLS: verified, resumed where the server allows. */
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { UpstreamServer } from '../../engine/settings.ts'
import { failureOf } from './upstream-transport.ts'

/** A server whose TLS fails now and then (one of several behind an address, say) is logged at most once in this time. */
const TELL_AGAIN_MS = 60_000

/** What TLS connections to a server are made with. */
export interface SecureConnectorOptions {
  server: UpstreamServer
  /** PEM, null for Node's own. */
  rootCertificates: string | null
  /** Monotonic milliseconds. */
  now: () => number
  /** TLS with the server fails, for the reason of Node's or OpenSSL's error code. Not told again before it has worked. */
  onTlsFailure: (server: UpstreamServer, code: string) => void
}

/** Opens TLS connections to one server and remembers its last session. */
export class SecureConnector {
  readonly readyEvent: 'secureConnect' = 'secureConnect' as const
  readonly #options: SecureConnectorOptions
  readonly #alpn: string
  #session: Buffer | undefined
  #isTold = false
  #toldMs: number = Number.NEGATIVE_INFINITY

  /** `alpn`: `dot` (RFC 7858) or `h2`. */
  constructor(alpn: 'dot' | 'h2', options: SecureConnectorOptions) {
    this.#alpn = alpn
    this.#options = options
  }

  /**
   * A socket that is connecting. The certificate must carry the server's name or, if it was given none, its address
   * (RFC 8310 §8.1: strict privacy); otherwise the socket fails with an error before anything is sent.
   */
  open(): TLSSocket {
    const { rootCertificates, server } = this.#options
    const { address, port, serverName } = server
    // Loaded with the first such connection: most workloads have none.
    const socket = process.getBuiltinModule('node:tls').connect({
      host: address,
      port,
      // The name that is verified; an address is never sent as SNI (RFC 6066 §3).
      ...(serverName === undefined || isIP(serverName) !== 0 ? {} : { servername: serverName }),
      ALPNProtocols: [this.#alpn],
      minVersion: 'TLSv1.2',
      ...(this.#session === undefined ? {} : { session: this.#session }),
      ...(rootCertificates === null ? {} : { ca: rootCertificates }),
    })
    socket.setNoDelay(true)
    socket.on('session', (session) => {
      // Node does not verify a resumed session again, so only those of verified connections are kept.
      if (socket.authorized) this.#session = session
    })
    socket.on('secureConnect', () => {
      this.#isTold = false
    })
    socket.on('error', (error) => {
      this.#session = undefined
      this.#tell(error)
    })
    return socket
  }

  #tell(error: NodeJS.ErrnoException): void {
    const { now, onTlsFailure, server } = this.#options
    const nowMs = now()
    if (failureOf(error) !== 'tls' || this.#isTold || nowMs - this.#toldMs < TELL_AGAIN_MS) return
    this.#isTold = true
    this.#toldMs = nowMs
    onTlsFailure(server, error.code ?? error.name)
  }
}
