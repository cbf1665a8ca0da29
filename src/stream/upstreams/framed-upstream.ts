/** One upstream server over TCP or TLS: a small pool of pipelined connections (RFC 7766 §6.2, RFC 7858). */
import { connect as connectTcp } from 'node:net'
import type { UpstreamServer } from '../../engine/settings.ts'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import { padded } from './query-padding.ts'
import type { SecureConnectorOptions } from './secure-connector.ts'
import { SecureConnector } from './secure-connector.ts'
import { latestSilence } from './silence.ts'
import type { UpstreamStreamSettings } from '../stream-settings.ts'
import type { Connector, UpstreamConnectionOwner } from './upstream-connection.ts'
import { UpstreamConnection } from './upstream-connection.ts'
import type { ExchangeFailure, UpstreamExchange, UpstreamTransport } from './upstream-transport.ts'

/** Exchanges on a connection from which on the next one is opened. */
const CROWDED_LOAD = 16

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

export interface FramedUpstreamOptions {
  connector: Connector
  settings: UpstreamStreamSettings
  counters: StreamCounters
  now: () => number
}

export class FramedUpstream implements UpstreamTransport, UpstreamConnectionOwner {
  readonly #options: FramedUpstreamOptions
  readonly #connections: Set<UpstreamConnection> = new Set()
  /** Exchanges that found no room, oldest first. */
  #queue: UpstreamExchange[] = []
  #isClosed = false

  constructor(options: FramedUpstreamOptions) {
    this.#options = options
  }

  ask(exchange: UpstreamExchange): void {
    if (this.#isClosed) return exchange.settle(null, 'network')
    const connection = this.#queue.length > 0 ? null : this.#choose(exchange.attemptMs)
    if (connection !== null) return connection.ask(exchange)
    if (this.#queue.length >= this.#options.settings.maxQueued) return exchange.settle(null, 'network')
    this.#queue.push(exchange)
  }

  hasRoom(): void {
    while (this.#queue.length > 0) {
      const connection = this.#choose(this.#queue[0]!.attemptMs)
      if (connection === null) return
      connection.ask(this.#queue.shift()!)
    }
  }

  closed(connection: UpstreamConnection, unanswered: UpstreamExchange[], failure: ExchangeFailure): void {
    this.#connections.delete(connection)
    this.#options.counters.add(StreamCell.upstreamConnectionsOpen, -1)
    // Servers close idle connections at any moment, and our query may have crossed their FIN (RFC 7766 §6.2.4).
    const worthRetry = !this.#isClosed && failure === 'network' && connection.answered > 0
    for (const exchange of unanswered) {
      if (!worthRetry || exchange.retried || this.#options.now() >= exchange.deadlineMs) {
        exchange.settle(null, failure)
        continue
      }
      exchange.retried = true
      this.#options.counters.add(StreamCell.exchangesRetried)
      this.ask(exchange)
    }
    this.hasRoom()
  }

  sweep(nowMs: number): boolean {
    for (const connection of this.#connections) connection.sweep(nowMs, this.#options.settings.idleTimeoutMs)
    const overdue = this.#queue.filter((exchange) => nowMs >= exchange.deadlineMs)
    if (overdue.length > 0) {
      this.#queue = this.#queue.filter((exchange) => nowMs < exchange.deadlineMs)
      for (const exchange of overdue) exchange.settle(null, 'timeout')
    }
    this.hasRoom()
    return this.#connections.size > 0 || this.#queue.length > 0
  }

  close(): void {
    this.#isClosed = true
    const queue = this.#queue
    this.#queue = []
    for (const exchange of queue) exchange.settle(null, 'network')
    for (const connection of this.#connections) connection.close('network')
  }

  /**
   * The connection with the least to do; a new one while all are busy or silent and there may be more, unless one more would
   * be as silent. Null if there is no room.
   */
  #choose(attemptMs: number): UpstreamConnection | null {
    const { now, settings } = this.#options
    const { maxConnections, maxPipelined } = settings
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
          if (slow === null || connection.load < slow.load) slow = connection
        } else if (silent === null || connection.load < silent.load) silent = connection
        continue
      }
      usable++
      if (best === null || connection.load < best.load) best = connection
    }
    best ??= slow
    if (best !== null && best.load === 0) return best
    // Some servers answer one query of a connection after the other: a second connection helps before the first is full.
    const crowded = best === null || best.load >= Math.min(maxPipelined, CROWDED_LOAD)
    // Retired and silent ones end with the deadlines of what they carry: they count half.
    const mayOpen = usable < maxConnections && this.#connections.size < 2 * maxConnections
    if (crowded && mayOpen) return this.#open(best === null && silentSinceMs > Number.NEGATIVE_INFINITY)
    best ??= silent
    return best !== null && best.load < maxPipelined ? best : null
  }

  #open(isReplacement: boolean): UpstreamConnection {
    const { connector, settings, counters, now } = this.#options
    const connection = new UpstreamConnection(connector, settings.connectTimeoutMs, now, this, isReplacement)
    this.#connections.add(connection)
    counters.add(StreamCell.upstreamConnectionsOpen)
    counters.add(StreamCell.upstreamConnectionsOpened)
    return connection
  }
}
