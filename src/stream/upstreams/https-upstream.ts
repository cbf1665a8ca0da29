/** One upstream server over HTTPS (DoH, RFC 8484): one HTTP/2 connection that works, an exchange a stream. */
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import { padded } from './query-padding.ts'
import { ageReply, ageSecondsOf } from './reply-age.ts'
import { matchesQuestion } from './reply-match.ts'
import type { SecureConnectorOptions } from './secure-connector.ts'
import { SecureConnector } from './secure-connector.ts'
import { latestSilence, Silence } from './silence.ts'
import type { UpstreamStreamSettings } from '../stream-settings.ts'
import type { ExchangeFailure, UpstreamExchange, UpstreamTransport } from './upstream-transport.ts'
import { failureOf } from './upstream-transport.ts'

const MEDIA_TYPE = 'application/dns-message'
const MAX_REPLY_BYTES = 0xffff
/** RFC 9113 §7. */
const CANCEL = 0x8

export interface HttpsUpstreamOptions extends SecureConnectorOptions {
  settings: UpstreamStreamSettings
  counters: StreamCounters
}

/** A connection and what is known of it. */
interface Connection {
  session: ClientHttp2Session
  silence: Silence
  /** Nothing new is asked over it: it looks dead. It ends with the last of what it carries. */
  isRetired: boolean
  /** Requests that somebody waits for. */
  waiting: number
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
  sentMs: number
}

export class HttpsUpstream implements UpstreamTransport {
  readonly #options: HttpsUpstreamOptions
  readonly #connector: SecureConnector
  readonly #authority: string
  readonly #requests: Set<Request> = new Set()
  readonly #connections: Set<Connection> = new Set()
  #isClosed = false

  constructor(options: HttpsUpstreamOptions) {
    const { server } = options
    this.#options = options
    this.#connector = new SecureConnector('h2', options)
    const host = server.serverName ?? server.address
    this.#authority = `${host.includes(':') ? `[${host}]` : host}${server.port === 443 ? '' : `:${server.port}`}`
  }

  ask(exchange: UpstreamExchange): void {
    const { maxPipelined, maxQueued } = this.#options.settings
    // HTTP/2 queues by itself what is over the server's limit of streams.
    if (this.#isClosed || this.#requests.size >= maxPipelined + maxQueued) return exchange.settle(null, 'network')
    const connection = this.#choose(exchange.attemptMs)
    if (connection === null) return exchange.settle(null, 'network')
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
    const request: Request = { exchange, connection, stream, sentMs: this.#options.now() }
    this.#requests.add(request)
    connection.waiting++
    connection.silence.asked(request.sentMs)
    this.#receive(request)
    stream.end(body)
  }

  sweep(nowMs: number): boolean {
    for (const request of this.#requests) {
      if (nowMs < request.exchange.deadlineMs) continue
      const { connection, exchange, sentMs } = request
      if (connection.silence.isDead(sentMs, nowMs, exchange.attemptMs)) connection.isRetired = true
      this.#settle(request, null, 'timeout')
      request.stream.close(CANCEL)
    }
    const { idleTimeoutMs } = this.#options.settings
    for (const connection of this.#connections) {
      if (!connection.ready && nowMs >= connection.connectDeadlineMs) this.#end(connection, 'timeout')
      else if (connection.waiting > 0) connection.idleSinceMs = nowMs
      else if (connection.isRetired || nowMs - connection.idleSinceMs >= idleTimeoutMs) this.#end(connection, 'network')
    }
    return this.#connections.size > 0 || this.#requests.size > 0
  }

  close(): void {
    this.#isClosed = true
    for (const connection of this.#connections) this.#end(connection, 'network')
    for (const request of this.#requests) {
      this.#settle(request, null, 'network')
      request.stream.close(CANCEL)
    }
  }

  /**
   * The connection that is in use; another one if there is none, or it is silent and one more would not be. Null if there may
   * be no more and none takes requests.
   */
  #choose(attemptMs: number): Connection | null {
    const { now, settings } = this.#options
    const nowMs = now()
    const silentSinceMs = latestSilence(this.#connections, nowMs, attemptMs)
    let slow: Connection | null = null
    let silent: Connection | null = null
    let retired: Connection | null = null
    for (const connection of this.#connections) {
      // The server takes no more over it (GOAWAY), and ends it with the last of what it carries.
      if (connection.session.closed || connection.session.destroyed) continue
      if (connection.isRetired) retired = connection
      else if (connection.silence.heardMs > silentSinceMs) return connection
      else if (connection.silence.isVouchedFor(nowMs, attemptMs)) slow = connection
      else silent = connection
    }
    if (slow !== null) return slow
    // None is of use. Those that are silent or on their way out end with the deadlines of what they carry: they count half.
    if (this.#connections.size >= 2 * settings.maxConnections) return silent ?? retired
    return this.#open(silentSinceMs > Number.NEGATIVE_INFINITY)
  }

  #open(isReplacement: boolean): Connection {
    const { counters, now, settings } = this.#options
    // Loaded with the first such connection, as it takes long and most workloads have none.
    const { connect } = process.getBuiltinModule('node:http2')
    const session = connect(`https://${this.#authority}`, { createConnection: () => this.#connector.open() })
    const nowMs = now()
    const connection: Connection = {
      session,
      silence: new Silence(nowMs, isReplacement),
      isRetired: false,
      waiting: 0,
      ready: false,
      connectDeadlineMs: nowMs + settings.connectTimeoutMs,
      idleSinceMs: nowMs,
      answered: 0,
      error: null,
    }
    session.once('connect', () => {
      connection.ready = true
      connection.silence.ready(now(), connection.waiting > 0)
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
    this.#connections.add(connection)
    return connection
  }

  #receive(request: Request): void {
    const { connection, stream } = request
    const chunks: Buffer[] = []
    let length = 0
    let isMessage = false
    let ageSeconds = 0
    stream.on('response', (headers) => {
      connection.silence.heard(this.#options.now(), connection.waiting > 1)
      const type = headers['content-type'] ?? ''
      isMessage = headers[':status'] === 200 && type.split(';')[0]!.trim().toLowerCase() === MEDIA_TYPE
      ageSeconds = ageSecondsOf(headers.age)
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
      ageReply(reply, ageSeconds)
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
    request.stream.close(CANCEL)
  }

  #settle(request: Request, reply: Uint8Array | null, failure: ExchangeFailure | null): void {
    if (!this.#requests.delete(request)) return
    const { connection } = request
    connection.waiting--
    if (connection.waiting === 0) connection.silence.nothingDue()
    request.exchange.settle(reply, failure)
  }

  /** Ends a connection from our side. */
  #end(connection: Connection, failure: ExchangeFailure): void {
    this.#ended(connection, failure)
    connection.session.destroy()
  }

  #ended(connection: Connection, failure: ExchangeFailure): void {
    this.#connections.delete(connection)
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
