/**
 * One upstream server over HTTPS (DoH, RFC 8484): one HTTP/2 connection, with a stream for each attempt. byname opens
 * more connections only where the server allows few streams at a time. What a server leaves unanswered when it ends a connection,
 * or refuses before it has looked at it, is sent again while its deadline allows.
 */
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import { padded } from './query-padding.ts'
import { ageReply, ageSecondsOf } from './reply-age.ts'
import { matchesQuestion } from './reply-match.ts'
import type { SecureConnectorOptions } from './secure-connector.ts'
import { SecureConnector } from './secure-connector.ts'
import { ServerLimits } from './server-limits.ts'
import { latestSilence, Silence } from './silence.ts'
import type { UpstreamStreamSettings } from '../stream-settings.ts'
import type { UpstreamFailure, UpstreamAttempt, UpstreamTransport } from './upstream-transport.ts'
import { failureOf, MAX_SENT } from './upstream-transport.ts'

const MEDIA_TYPE = 'application/dns-message'
const MAX_REPLY_BYTES = 0xffff
/** RFC 9113 §7. */
const CANCEL = 0x8
/** The server has not looked at the request, so it may be sent again (RFC 9113 §8.7). */
const REFUSED_STREAM = 0x7

/** What a server over HTTPS is asked with. */
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
  /** Requests sent. */
  sent: number
  /** Streams that the server allows at a time: before it has said so, what it said on another connection. */
  maxStreams: number
  ready: boolean
  connectDeadlineMs: number
  idleSinceMs: number
  answered: number
  error: NodeJS.ErrnoException | null
}

/** An attempt on its stream. */
interface Request {
  attempt: UpstreamAttempt
  connection: Connection
  stream: ClientHttp2Stream
  sentMs: number
  /** Answers that the connection had brought when it was sent. */
  answeredBefore: number
}

/** The HTTP/2 connections to one server, and the queue of what waits for one. */
export class HttpsUpstream implements UpstreamTransport {
  readonly #options: HttpsUpstreamOptions
  readonly #connector: SecureConnector
  readonly #authority: string
  readonly #requests: Set<Request> = new Set()
  readonly #connections: Set<Connection> = new Set()
  readonly #limits: ServerLimits
  /** Attempts that wait for a connection, those that are to be sent again first. */
  #queue: UpstreamAttempt[] = []
  #maxStreams = Number.POSITIVE_INFINITY
  #isClosed = false

  constructor(options: HttpsUpstreamOptions) {
    const { server } = options
    this.#options = options
    this.#limits = new ServerLimits(options.now)
    this.#connector = new SecureConnector('h2', options)
    const host = server.serverName ?? server.address
    this.#authority = `${host.includes(':') ? `[${host}]` : host}${server.port === 443 ? '' : `:${server.port}`}`
  }

  ask(attempt: UpstreamAttempt): void {
    const { maxPipelined, maxQueued } = this.#options.settings
    // What is over the server's limit of streams waits in the HTTP/2 session.
    const size = this.#requests.size + this.#queue.length
    if (this.#isClosed || size >= maxPipelined + maxQueued) return attempt.settle(null, 'network')
    const connection = this.#queue.length > 0 ? null : this.#choose(attempt.attemptMs)
    if (connection === null) this.#queue.push(attempt)
    else this.#request(attempt, connection)
  }

  #request(attempt: UpstreamAttempt, connection: Connection): void {
    const body = Uint8Array.from(padded(attempt.query))
    // The id is 0 so that HTTP caches may serve it (RFC 8484 §4.1); the stream tells attempts apart.
    body[0] = 0
    body[1] = 0
    const stream = connection.session.request({
      ':method': 'POST',
      ':path': this.#options.server.path ?? '/dns-query',
      accept: MEDIA_TYPE,
      'content-type': MEDIA_TYPE,
      'content-length': body.length,
    })
    const { answered: answeredBefore } = connection
    const request: Request = { attempt, connection, stream, sentMs: this.#options.now(), answeredBefore }
    this.#requests.add(request)
    attempt.sent++
    connection.sent++
    connection.waiting++
    connection.silence.asked(request.sentMs)
    this.#receive(request)
    stream.end(body)
  }

  sweep(nowMs: number): boolean {
    for (const request of this.#requests) {
      if (nowMs < request.attempt.deadlineMs) continue
      const { connection, attempt, sentMs } = request
      if (connection.silence.isDead(sentMs, nowMs, attempt.attemptMs)) connection.isRetired = true
      this.#settle(request, null, 'timeout')
      request.stream.close(CANCEL)
    }
    const overdue = this.#queue.filter(({ deadlineMs }) => nowMs >= deadlineMs)
    if (overdue.length > 0) this.#queue = this.#queue.filter(({ deadlineMs }) => nowMs < deadlineMs)
    for (const attempt of overdue) attempt.settle(null, 'timeout')
    const { idleTimeoutMs } = this.#options.settings
    for (const connection of this.#connections) {
      if (!connection.ready && nowMs >= connection.connectDeadlineMs) this.#end(connection, 'timeout')
      else if (connection.waiting > 0) connection.idleSinceMs = nowMs
      else if (connection.isRetired || nowMs - connection.idleSinceMs >= idleTimeoutMs) this.#end(connection, 'network')
    }
    this.#emptyQueue()
    return this.#connections.size > 0 || this.#requests.size > 0 || this.#queue.length > 0
  }

  close(): void {
    this.#isClosed = true
    for (const attempt of this.#queue.splice(0)) attempt.settle(null, 'network')
    for (const connection of this.#connections) this.#end(connection, 'network')
    for (const request of this.#requests) {
      this.#settle(request, null, 'network')
      request.stream.close(CANCEL)
    }
  }

  /**
   * The connection that is in use; another one if there is none, if the server allows no more streams on it, or if it is
   * silent and one more would not be. Null if there may be no more and none takes requests.
   */
  #choose(attemptMs: number): Connection | null {
    const { now, settings } = this.#options
    const nowMs = now()
    const silentSinceMs = latestSilence(this.#connections, nowMs, attemptMs)
    let slow: Connection | null = null
    let silent: Connection | null = null
    let retired: Connection | null = null
    let full: Connection | null = null
    let usable = 0
    for (const connection of this.#connections) {
      // The server takes no more over it (GOAWAY), and ends it with the last of what it carries.
      if (connection.session.closed || connection.session.destroyed) continue
      if (connection.isRetired) {
        retired = connection
        continue
      }
      const isUsedUp = connection.sent >= this.#limits.queries
      if (isUsedUp || connection.silence.heardMs > silentSinceMs) {
        usable++
        if (isUsedUp) continue
        if (connection.waiting < connection.maxStreams) return connection
        if (full === null || connection.waiting < full.waiting) full = connection
      } else if (connection.silence.isVouchedFor(nowMs, attemptMs)) slow = connection
      else silent = connection
    }
    if (slow !== null) return slow
    if (usable >= settings.maxConnections) return full
    // None is usable. Silent and retired ones end with the deadlines of what they carry, so there may be as many of them again.
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
      sent: 0,
      maxStreams: this.#maxStreams,
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
    session.on('remoteSettings', ({ maxConcurrentStreams }) => {
      this.#maxStreams = Math.max(1, maxConcurrentStreams ?? Number.POSITIVE_INFINITY)
      connection.maxStreams = this.#maxStreams
    })
    session.on('error', (error) => {
      connection.error ??= error
    })
    session.once('close', () => {
      counters.add(StreamCell.upstreamConnectionsOpen, -1)
      this.#ended(connection, failureOf(connection.error))
    })
    // Sockets of upstream servers do not keep the thread alive; attempts have the sweep for their deadlines.
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
      const { query } = request.attempt
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
      if (stream.rstCode === REFUSED_STREAM && this.#sendAgain(request)) return
      if (!connection.session.destroyed && !connection.session.closed) this.#settle(request, null, 'network')
    })
  }

  #refuse(request: Request, failure: UpstreamFailure): void {
    this.#settle(request, null, failure)
    request.stream.close(CANCEL)
  }

  #settle(request: Request, reply: Uint8Array | null, failure: UpstreamFailure | null): void {
    if (!this.#requests.delete(request)) return
    const { connection } = request
    connection.waiting--
    if (connection.waiting === 0) connection.silence.nothingDue()
    request.attempt.settle(reply, failure)
    if (connection.waiting === 0 && connection.sent >= this.#limits.queries) this.#end(connection, 'network')
    else this.#emptyQueue()
  }

  /** Ends a connection from our side. */
  #end(connection: Connection, failure: UpstreamFailure): void {
    this.#ended(connection, failure)
    connection.session.destroy()
  }

  #ended(connection: Connection, failure: UpstreamFailure): void {
    if (!this.#connections.delete(connection)) return
    const unanswered = Array.from(this.#requests).filter((request) => request.connection === connection)
    const { answered } = connection
    const isCut = failure === 'network' && !this.#isClosed
    // One that crossed the end of the connection is no evidence.
    const hasLeftOut =
      answered > 0 ? unanswered.some(({ answeredBefore }) => answeredBefore < answered) : unanswered.length > 1
    if (isCut && hasLeftOut) this.#limits.leftAfter(answered)
    const mayGoOn = isCut && (answered > 0 || unanswered.length > 1)
    for (const request of unanswered) if (!mayGoOn || !this.#sendAgain(request)) this.#settle(request, null, failure)
    this.#emptyQueue()
  }

  #emptyQueue(): void {
    while (this.#queue.length > 0) {
      const connection = this.#choose(this.#queue[0]!.attemptMs)
      if (connection === null) return
      this.#request(this.#queue.shift()!, connection)
    }
  }

  /** Sends it again over whatever connection fits now. False if that may not be. */
  #sendAgain(request: Request): boolean {
    const { connection, attempt } = request
    if (this.#isClosed || attempt.sent >= MAX_SENT || this.#options.now() >= attempt.deadlineMs) return false
    if (!this.#requests.delete(request)) return true
    connection.waiting--
    this.#options.counters.add(StreamCell.upstreamQueriesRetried)
    const next = this.#choose(attempt.attemptMs)
    if (next === null) this.#queue.unshift(attempt)
    else this.#request(attempt, next)
    return true
  }
}
