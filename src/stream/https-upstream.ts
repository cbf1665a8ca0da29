/** One upstream server over HTTPS (DoH, RFC 8484): one HTTP/2 connection, an exchange a stream. */
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { connect, constants } from 'node:http2'
import type { UpstreamServer } from '../engine/settings.ts'
import type { StreamCounters } from '../stats/stream-counters.ts'
import { StreamCell } from '../stats/stream-counters.ts'
import { padded } from './query-padding.ts'
import { matchesQuestion } from './reply-match.ts'
import { SecureConnector } from './secure-connector.ts'
import type { UpstreamStreamSettings } from './stream-settings.ts'
import type { ExchangeFailure, UpstreamExchange, UpstreamTransport } from './upstream-transport.ts'
import { failureOf } from './upstream-transport.ts'

const MEDIA_TYPE = 'application/dns-message'
const MAX_REPLY_BYTES = 0xffff

export interface HttpsUpstreamOptions {
  server: UpstreamServer
  settings: UpstreamStreamSettings
  counters: StreamCounters
  now: () => number
}

/** The connection and what is known of it. */
interface Connection {
  session: ClientHttp2Session
  ready: boolean
  connectDeadlineMs: number
  idleSinceMs: number
  answered: number
  error: NodeJS.ErrnoException | null
}

/** An exchange on its stream. */
interface Request {
  exchange: UpstreamExchange
  connection: Connection
  stream: ClientHttp2Stream
}

export class HttpsUpstream implements UpstreamTransport {
  readonly #options: HttpsUpstreamOptions
  readonly #connector: SecureConnector
  readonly #authority: string
  readonly #requests: Set<Request> = new Set()
  #connection: Connection | null = null
  #isClosed = false

  constructor(options: HttpsUpstreamOptions) {
    const { server, settings } = options
    this.#options = options
    this.#connector = new SecureConnector(server, 'h2', settings.rootCertificates)
    const host = server.serverName ?? server.address
    this.#authority = `${host.includes(':') ? `[${host}]` : host}${server.port === 443 ? '' : `:${server.port}`}`
  }

  ask(exchange: UpstreamExchange): void {
    const { maxPipelined, maxQueued } = this.#options.settings
    // HTTP/2 queues by itself what is over the server's limit of streams.
    if (this.#isClosed || this.#requests.size >= maxPipelined + maxQueued) return exchange.settle(null, 'network')
    const connection = this.#usable() ?? this.#open()
    const body = Uint8Array.from(padded(exchange.query))
    // The id is 0 so that HTTP caches may serve it (RFC 8484 §4.1); the stream tells exchanges apart.
    body[0] = 0
    body[1] = 0
    const stream = connection.session.request({
      ':method': 'POST',
      ':path': this.#options.server.path ?? '/dns-query',
      accept: MEDIA_TYPE,
      'content-type': MEDIA_TYPE,
      'content-length': body.length,
    })
    const request: Request = { exchange, connection, stream }
    this.#requests.add(request)
    this.#receive(request)
    stream.end(body)
  }

  sweep(nowMs: number): boolean {
    for (const request of this.#requests) {
      if (nowMs < request.exchange.deadlineMs) continue
      this.#settle(request, null, 'timeout')
      request.stream.close(constants.NGHTTP2_CANCEL)
    }
    const connection = this.#connection
    if (connection === null) return this.#requests.size > 0
    if (!connection.ready && nowMs >= connection.connectDeadlineMs) this.#end(connection, 'timeout')
    else if (this.#requests.size > 0) connection.idleSinceMs = nowMs
    else if (nowMs - connection.idleSinceMs >= this.#options.settings.idleTimeoutMs) this.#end(connection, 'network')
    return this.#connection !== null || this.#requests.size > 0
  }

  close(): void {
    this.#isClosed = true
    if (this.#connection !== null) this.#end(this.#connection, 'network')
    for (const request of this.#requests) {
      this.#settle(request, null, 'network')
      request.stream.close(constants.NGHTTP2_CANCEL)
    }
  }

  #usable(): Connection | null {
    const connection = this.#connection
    return connection !== null && !connection.session.closed && !connection.session.destroyed ? connection : null
  }

  #open(): Connection {
    const { counters, now, settings } = this.#options
    const session = connect(`https://${this.#authority}`, { createConnection: () => this.#connector.open() })
    const nowMs = now()
    const connection: Connection = {
      session,
      ready: false,
      connectDeadlineMs: nowMs + settings.connectTimeoutMs,
      idleSinceMs: nowMs,
      answered: 0,
      error: null,
    }
    session.once('connect', () => {
      connection.ready = true
    })
    session.on('error', (error) => {
      connection.error ??= error
    })
    session.once('close', () => {
      counters.add(StreamCell.upstreamConnectionsOpen, -1)
      this.#ended(connection, failureOf(connection.error))
    })
    // Sockets of upstream servers do not keep the thread alive; exchanges have the sweep for their deadlines.
    session.unref()
    counters.add(StreamCell.upstreamConnectionsOpen)
    counters.add(StreamCell.upstreamConnectionsOpened)
    this.#connection = connection
    return connection
  }

  #receive(request: Request): void {
    const { connection, stream } = request
    const chunks: Buffer[] = []
    let length = 0
    let isMessage = false
    stream.on('response', (headers) => {
      const type = headers['content-type'] ?? ''
      isMessage = headers[':status'] === 200 && type.split(';')[0]!.trim().toLowerCase() === MEDIA_TYPE
      // Whatever the body says then, it is no DNS message (RFC 8484 §4.2.1).
      if (!isMessage) this.#refuse(request, headers[':status'] === 200 ? 'malformed' : 'network')
    })
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > MAX_REPLY_BYTES) this.#refuse(request, 'malformed')
      else chunks.push(chunk)
    })
    stream.on('end', () => {
      if (!isMessage) return
      connection.answered++
      const { query } = request.exchange
      const reply = Uint8Array.from(Buffer.concat(chunks))
      if (!matchesQuestion(query, reply)) return this.#settle(request, null, 'malformed')
      reply[0] = query[0]!
      reply[1] = query[1]!
      this.#settle(request, reply, null)
    })
    stream.on('error', () => {})
    // If the whole connection ended, that is what decides; its own close event follows.
    stream.on('close', () => {
      if (!connection.session.destroyed && !connection.session.closed) this.#settle(request, null, 'network')
    })
  }

  #refuse(request: Request, failure: ExchangeFailure): void {
    this.#settle(request, null, failure)
    request.stream.close(constants.NGHTTP2_CANCEL)
  }

  #settle(request: Request, reply: Uint8Array | null, failure: ExchangeFailure | null): void {
    if (this.#requests.delete(request)) request.exchange.settle(reply, failure)
  }

  /** Ends a connection from our side. */
  #end(connection: Connection, failure: ExchangeFailure): void {
    this.#ended(connection, failure)
    connection.session.destroy()
  }

  #ended(connection: Connection, failure: ExchangeFailure): void {
    if (this.#connection === connection) this.#connection = null
    const unanswered = Array.from(this.#requests).filter((request) => request.connection === connection)
    const worthRetry = !this.#isClosed && failure === 'network' && connection.answered > 0
    for (const request of unanswered) {
      const { exchange } = request
      if (!worthRetry || exchange.retried || this.#options.now() >= exchange.deadlineMs) {
        this.#settle(request, null, failure)
        continue
      }
      this.#requests.delete(request)
      exchange.retried = true
      this.#options.counters.add(StreamCell.exchangesRetried)
      this.ask(exchange)
    }
  }
}
