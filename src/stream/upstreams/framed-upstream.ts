/**
 * One upstream server over TCP or TLS: a small pool of pipelined connections (RFC 7766 §6.2, RFC 7858), as far as the server
 * supports it. Some servers answer one query on a connection and close it, some serve one connection at a time. What they leave
 * unanswered is sent again over another connection while its deadline allows, and from then on the server is asked within its
 * limits (ServerLimits).
 */
import { connect as connectTcp } from 'node:net'
import type { UpstreamServer } from '../../engine/settings.ts'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import { padded } from './query-padding.ts'
import type { SecureConnectorOptions } from './secure-connector.ts'
import { SecureConnector } from './secure-connector.ts'
import { ServerLimits } from './server-limits.ts'
import { latestSilence } from './silence.ts'
import type { UpstreamStreamSettings } from '../stream-settings.ts'
import type { Connector, UpstreamConnectionOwner } from './upstream-connection.ts'
import { UpstreamConnection } from './upstream-connection.ts'
import type { UpstreamFailure, UpstreamAttempt, UpstreamTransport } from './upstream-transport.ts'
import { MAX_SENT } from './upstream-transport.ts'

/** With so many attempts under way on a connection, another is opened. */
const CROWDED_LOAD = 16
/** An answer on another connection up to so long before one was opened shows that the server is there. */
const RECENT_MS = 1000

/** Plain TCP. */
export function tcpConnector(server: UpstreamServer): Connector {
  return {
    open: () => connectTcp({ host: server.address, port: server.port, noDelay: true }),
    readyEvent: 'connect',
    prepare: (query) => query,
  }
}

/** TLS (DoT, RFC 7858), see SecureConnector. */
export function tlsConnector(options: SecureConnectorOptions): Connector {
  const secure = new SecureConnector('dot', options)
  return { open: () => secure.open(), readyEvent: secure.readyEvent, prepare: padded }
}

/** What a server over TCP or TLS is asked with. */
export interface FramedUpstreamOptions {
  connector: Connector
  settings: UpstreamStreamSettings
  counters: StreamCounters
  now: () => number
}

/** The connections to one server over TCP or TLS, and the queue of what waits for one. */
export class FramedUpstream implements UpstreamTransport, UpstreamConnectionOwner {
  readonly #options: FramedUpstreamOptions
  readonly #connections: Set<UpstreamConnection> = new Set()
  readonly #limits: ServerLimits
  /** Attempts that found no room, those that are to be sent again first. */
  #queue: UpstreamAttempt[] = []
  #isClosed = false

  constructor(options: FramedUpstreamOptions) {
    this.#options = options
    this.#limits = new ServerLimits(options.now)
  }

  ask(attempt: UpstreamAttempt): void {
    if (this.#isClosed) return attempt.settle(null, 'network')
    const connection = this.#queue.length > 0 ? null : this.#choose(attempt.attemptMs)
    if (connection !== null) return connection.ask(attempt)
    if (this.#queue.length >= this.#options.settings.maxQueued) return attempt.settle(null, 'network')
    this.#queue.push(attempt)
  }

  hasRoom(): void {
    while (this.#queue.length > 0) {
      const connection = this.#choose(this.#queue[0]!.attemptMs)
      if (connection === null) return
      connection.ask(this.#queue.shift()!)
    }
  }

  closed(connection: UpstreamConnection, unanswered: UpstreamAttempt[], failure: UpstreamFailure): void {
    this.#connections.delete(connection)
    this.#options.counters.add(StreamCell.upstreamConnectionsOpen, -1)
    this.#learn(connection, unanswered.length, failure)
    const again: UpstreamAttempt[] = []
    for (const attempt of unanswered) {
      if (this.#maySendAgain(attempt, connection, unanswered.length, failure)) again.push(attempt)
      else attempt.settle(null, failure)
    }
    this.#sendAgain(again)
    this.hasRoom()
  }

  sweep(nowMs: number): boolean {
    for (const connection of this.#connections) connection.sweep(nowMs, this.#options.settings.idleTimeoutMs)
    for (const connection of this.#connections) this.#relieve(connection, nowMs)
    const overdue = this.#queue.filter((attempt) => nowMs >= attempt.deadlineMs)
    if (overdue.length > 0) {
      this.#queue = this.#queue.filter((attempt) => nowMs < attempt.deadlineMs)
      for (const attempt of overdue) attempt.settle(null, 'timeout')
    }
    this.hasRoom()
    return this.#connections.size > 0 || this.#queue.length > 0
  }

  close(): void {
    this.#isClosed = true
    const queue = this.#queue
    this.#queue = []
    for (const attempt of queue) attempt.settle(null, 'network')
    for (const connection of this.#connections) connection.close('network')
  }

  /** What the end of a connection says of the server. */
  #learn(connection: UpstreamConnection, unanswered: number, failure: UpstreamFailure): void {
    if (this.#isClosed || unanswered === 0 || failure === 'malformed' || failure === 'tls') return
    const { answered } = connection
    if (answered === 0 && this.#isServing(connection)) {
      if (this.#connections.size > 0) this.#limits.servesOnly(this.#connections.size)
      return
    }
    // A query that crossed the end of a connection is no evidence: the server never had it (RFC 7766 §6.2.4).
    const wasTooMany = answered > 0 ? connection.hasLeftOut : unanswered > 1 && !connection.isConnecting
    if (failure === 'network' && wasTooMany) this.#limits.leftAfter(answered)
  }

  /** Whether others are answered while this connection is not. */
  #isServing({ openedMs }: UpstreamConnection): boolean {
    return this.#limits.answeredMs >= openedMs - RECENT_MS
  }

  #maySendAgain(
    attempt: UpstreamAttempt,
    connection: UpstreamConnection,
    unanswered: number,
    failure: UpstreamFailure,
  ): boolean {
    if (this.#isClosed || attempt.sent >= MAX_SENT || this.#options.now() >= attempt.deadlineMs) return false
    if (failure === 'malformed' || failure === 'tls') return false
    // Others are answered, or it was one too many on the connection, or its end had crossed the query.
    if (this.#isServing(connection)) return true
    return failure === 'network' && (connection.answered > 0 || (unanswered > 1 && !connection.isConnecting))
  }

  #sendAgain(attempts: UpstreamAttempt[]): void {
    if (attempts.length === 0) return
    this.#options.counters.add(StreamCell.upstreamQueriesRetried, attempts.length)
    this.#queue.unshift(...attempts)
  }

  /** Connections that have brought an answer and are asked on. */
  #countServed(): number {
    let served = 0
    for (const { answered, retired } of this.#connections) if (answered > 0 && !retired) served++
    return served
  }

  /** Sends what a connection does not get answered over another one, if the server seems to answer there. */
  #relieve(connection: UpstreamConnection, nowMs: number): void {
    if (connection.retired || connection.load === 0) return
    if (connection.answered > 0) {
      // It answered, but not all that it had, and says nothing more: it may read one query where several came, or one in all.
      // A question that is alone may be a slow one.
      const { hasLeftOut } = connection
      if (this.#limits.pipelines || !(hasLeftOut || connection.load > 1) || !connection.isOverdue(nowMs)) return
      this.#limits.leftAfter(hasLeftOut ? 1 : connection.answered)
      const left = connection.giveAway(nowMs)
      // Now, as the server may serve the next connection only then.
      connection.close('network')
      return this.#sendAgain(left)
    }
    const untilMs = Math.min(nowMs - this.#limits.stallMs, this.#lastHeardMs(connection))
    if (untilMs < connection.openedMs) return
    const given = connection.giveAway(untilMs)
    if (given.length === 0) return
    this.#limits.servesOnly(this.#countServed())
    this.#sendAgain(given)
  }

  /** When a connection that has brought answers was heard last; minus infinity if there is none besides `except`. */
  #lastHeardMs(except: UpstreamConnection): number {
    let latest = Number.NEGATIVE_INFINITY
    for (const connection of this.#connections) {
      if (connection === except || connection.retired || connection.answered === 0) continue
      latest = Math.max(latest, connection.silence.heardMs)
    }
    return latest
  }

  /**
   * The connection with the least to do; a new one while all are busy or silent and there may be more, unless one more would
   * be as silent. Null if there is no room.
   */
  #choose(attemptMs: number): UpstreamConnection | null {
    const { now, settings } = this.#options
    const { maxPipelined } = settings
    const maxConnections = Math.min(settings.maxConnections, this.#limits.connections)
    const hasServed = this.#countServed() > 0
    const nowMs = now()
    const silentSinceMs = latestSilence(this.#connections, nowMs, attemptMs)
    let best: UpstreamConnection | null = null
    let slow: UpstreamConnection | null = null
    let silent: UpstreamConnection | null = null
    let usable = 0
    for (const connection of this.#connections) {
      if (connection.retired) continue
      if (connection.silence.heardMs <= silentSinceMs) {
        if (connection.silence.isVouchedFor(nowMs, attemptMs)) {
          usable++
          if (connection.isUsedUp) continue
          if (slow === null || connection.load < slow.load) slow = connection
        } else if (connection.isUsedUp) usable++
        else if (silent === null || connection.load < silent.load) silent = connection
        continue
      }
      usable++
      if (connection.isUsedUp) continue
      // Where others are answered, one that has brought nothing yet carries one query until it does.
      if (hasServed && connection.answered === 0 && connection.load > 0) continue
      if (best === null || connection.load < best.load) best = connection
    }
    best ??= slow
    if (best !== null && best.load === 0) return best
    // Some servers answer one query of a connection after the other: a second connection helps before the first is full.
    const crowded = best === null || best.load >= Math.min(maxPipelined, CROWDED_LOAD)
    // Retired and silent ones end with the deadlines of what they carry, so there may be as many of them again.
    const mayOpen = usable < maxConnections && this.#connections.size < 2 * maxConnections
    if (crowded && mayOpen) return this.#open(best === null && silentSinceMs > Number.NEGATIVE_INFINITY)
    best ??= silent
    return best !== null && best.load < maxPipelined ? best : null
  }

  #open(isReplacement: boolean): UpstreamConnection {
    const { connector, settings, counters, now } = this.#options
    const connection = new UpstreamConnection(
      connector,
      settings.connectTimeoutMs,
      now,
      this,
      this.#limits,
      isReplacement,
    )
    this.#connections.add(connection)
    counters.add(StreamCell.upstreamConnectionsOpen)
    counters.add(StreamCell.upstreamConnectionsOpened)
    return connection
  }
}
