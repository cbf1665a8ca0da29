/** TLS towards the control plane: what a connection is made with, and its failures in words. */
import { isIP } from 'node:net'
import { checkServerIdentity, createSecureContext, getCACertificates, type PeerCertificate } from 'node:tls'
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js'
import { type KeyPair, type Roots, SYSTEM_ROOTS } from './pem.ts'

/** Istio's name for istiod, which a forwarded port on localhost cannot carry (security/pkg/nodeagent, Istio). */
const ISTIOD_NAME = 'istiod.istio-system.svc'

/** What a channel over TLS is made of. */
export interface SecureChannel {
  channel: ChannelCredentials
  options: ChannelOptions
  /** What grpc-js says of a failure, with its cause and remedy where these are known. */
  explain: (reason: string) => string
}

/** Whoever presents a certificate, for messages. */
export interface Presented extends KeyPair {
  /** File, or where else it comes from. */
  from: string
}

/**
 * The name that the control plane's certificate must carry: as configured (or ISTIOD_SAN), else the address's host, and
 * istiod's own for a localhost address, as Istio's agent does.
 */
export function serverNameFor(address: string, configured: string): string {
  if (configured !== '') return configured
  const host = hostOf(address)
  return host === 'localhost' ? ISTIOD_NAME : host
}

/** Host of `HOST:PORT`, without brackets. */
function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

/**
 * TLS to `serverName`, verified by `roots`, with a client certificate if there is one.
 * @throws what OpenSSL does not take; the parts have been examined before
 */
export function secureChannel(roots: Roots, serverName: string, presented: Presented | null): SecureChannel {
  const context = createSecureContext({
    ca: roots.from === SYSTEM_ROOTS ? getCACertificates('system') : roots.pem,
    minVersion: 'TLSv1.2',
    ...(presented !== null && { cert: presented.chain, key: presented.key }),
  })
  const channel = credentials.createFromSecureContext(context, {
    checkServerIdentity: (_host, certificate) => wrongName(serverName, certificate),
  })
  const alert = listenForAlerts(channel)
  const options: ChannelOptions = { 'grpc.default_authority': serverName }
  // A server name is never an address (RFC 6066 §3): an address is verified, and not sent.
  if (isIP(serverName) === 0) options['grpc.ssl_target_name_override'] = serverName
  return { channel, options, explain: (reason) => explain(reason, alert(), roots.from, presented?.from ?? null) }
}

/**
 * In TLS 1.3 a server refuses a client's certificate after the handshake (RFC 8446 §4.4.2.4), by when grpc-js has passed the socket
 * on and keeps no error of it: all that it says is "Failed to connect". Returns what the last socket has said, '' if nothing.
 */
function listenForAlerts(channel: ChannelCredentials): () => string {
  let said = ''
  // oxlint-disable-next-line no-underscore-dangle -- grpc-js has no other place to see the socket; its version is exact, and a test notices
  const connector = channel._createSecureConnector.bind(channel)
  // oxlint-disable-next-line no-underscore-dangle -- as above
  channel._createSecureConnector = (...given) => {
    const made = connector(...given)
    const connect = made.connect.bind(made)
    made.connect = async (socket) => {
      said = ''
      const connected = await connect(socket)
      connected.socket.on('error', (error) => (said = error.message))
      connected.socket.on('end', () => (said ||= CLOSED))
      return connected
    }
    return made
  }
  return () => said
}

function wrongName(serverName: string, certificate: PeerCertificate): Error | undefined {
  const error = checkServerIdentity(serverName, certificate)
  if (error === undefined) return undefined
  const names = (certificate.subjectaltname ?? '').replace(/(?:DNS|IP Address|URI):/g, '') || 'no name'
  return new Error(
    `wrong name: the control plane's certificate is for ${names}, not for ${serverName}; set mesh.source.xds.tls.serverName (ISTIOD_SAN) to one of its names`,
  )
}

/** What is said of a server that goes without an alert. */
const CLOSED = 'closed after the handshake'

/** OpenSSL's and grpc-js's words, by what they mean. The first that fits counts. */
const CAUSES: readonly [pattern: RegExp, meaning: (roots: string, certificate: string | null) => string][] = [
  [
    /self.signed certificate|unable to (?:verify|get (?:local )?issuer)|certificate signature failure|invalid CA/i,
    (roots) => `unknown authority: ${roots} does not hold the root certificate of the control plane's`,
  ],
  [/certificate has expired/i, () => "the control plane's own certificate has expired"],
  [
    /certificate is not yet valid/i,
    () => "the control plane's own certificate is not valid yet; is this machine's clock right?",
  ],
  [
    /alert certificate expired|alert number 45/i,
    (_, certificate) => `the control plane refused the client certificate ${certificate ?? ''} as expired`,
  ],
  [
    /alert (?:unknown ca|bad certificate|certificate unknown|certificate revoked|unsupported certificate|access denied)|alert number (?:42|43|44|46|48|49)/i,
    (_, certificate) =>
      `the control plane refused the client certificate ${certificate ?? ''}: it does not trust who signed it`,
  ],
  [
    /certificate required|alert number 116/i,
    () => 'the control plane asks for a client certificate; name one in mesh.source.xds.tls.cert and key',
  ],
  [
    new RegExp(CLOSED),
    (_, certificate) =>
      certificate === null
        ? 'the control plane closed the connection; it may ask for a client certificate (mesh.source.xds.tls.cert and key)'
        : `the control plane closed the connection; it may not trust the client certificate ${certificate}`,
  ],
  [
    /wrong version number|packet length too long|unexpected message|record layer failure|unknown protocol/i,
    () => "the server at this port does not speak TLS; istiod's secured port is 15012, its plaintext port 15010",
  ],
]

function explain(reason: string, alert: string, roots: string, certificate: string | null): string {
  // Ours already.
  const own = /wrong name: .*/.exec(reason)
  if (own !== null) return own[0]
  const whole = /Failed to connect|Connection dropped|ECONNRESET/.test(reason) && alert !== '' ? alert : reason
  const cause = CAUSES.find(([pattern]) => pattern.test(whole))
  return cause === undefined ? reason : `${cause[1](roots, certificate).replace(/ {2,}/g, ' ')} (${shortened(whole)})`
}

/** OpenSSL puts its source file and line before what it says. */
function shortened(reason: string): string {
  return reason
    .replace(/^.*?(?:SSL routines|OpenSSL internal):[^:]*:/, '')
    .replace(/:\.\.\/.*$/s, '')
    .trim()
}
