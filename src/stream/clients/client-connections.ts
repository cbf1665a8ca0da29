/** All clients' connections: admission, the way to data workers and back, and the deadlines. */
import type { Server, Socket } from 'node:net'
import { createServer } from 'node:net'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import { addressBytes } from '../../dns/address.ts'
import type { ConnectionOwner, EndReason } from './client-connection.ts'
import { ClientConnection } from './client-connection.ts'
import type { DataWorkerLink } from '../data-worker-link.ts'
import type { StreamSettings } from '../stream-settings.ts'
import { SweepTimer } from '../sweep-timer.ts'

const SWEEP_INTERVAL_MS = 250

const CELL_OF_REASON: Readonly<Record<Exclude<EndReason, null>, StreamCell | null>> = {
  idle: StreamCell.connectionsIdleClosed,
  evicted: StreamCell.connectionsEvicted,
  slow: StreamCell.connectionsSlowClosed,
  malformed: StreamCell.framesMalformed,
  lost: StreamCell.connectionsLost,
  drained: null,
}

/** What the connections are made with. */
export interface ClientConnectionsOptions {
  settings: StreamSettings
  counters: StreamCounters
  /** Monotonic milliseconds. */
  now: () => number
  /**
   * Number of the first connection, a random one in 32 bits: after a restart of the stream worker replies to an earlier
   * one's connections may still come, and must find nobody.
   */
  firstNumber: number
}

/** Clients' connections of all listeners, spread over the data workers in turn. */
export class ClientConnections implements ConnectionOwner {
  readonly settings: StreamSettings
  readonly #counters: StreamCounters
  readonly #now: () => number
  readonly #connections: Map<number, ClientConnection> = new Map()
  readonly #perClient: Map<string, number> = new Map()
  /** Connections with replies to write at the end of this turn. */
  #unflushed: ClientConnection[] = []
  readonly #sweepTimer: SweepTimer
  #links: readonly DataWorkerLink[] = []
  #nextLink = 0
  #nextNumber: number
  #draining = false
  #onEmpty: (() => void) | null = null

  constructor(options: ClientConnectionsOptions) {
    this.settings = options.settings
    this.#counters = options.counters
    this.#now = options.now
    this.#nextNumber = options.firstNumber >>> 0
    this.#sweepTimer = new SweepTimer(SWEEP_INTERVAL_MS, () => this.sweep())
  }

  get size(): number {
    return this.#connections.size
  }

  now(): number {
    return this.#now()
  }

  /** A server whose connections come here; the caller makes it listen. */
  createServer(): Server {
    // Half-open, so that a client may end its side after its last query and still read its answers.
    return createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket))
  }

  /** Data workers that connections accepted from now on are spread over. */
  use(links: readonly DataWorkerLink[]): void {
    this.#links = links
  }

  /** Takes a client's connection, or closes it at once where a limit says so. */
  accept(socket: Socket): void {
    const client = socket.remoteAddress
    const address = client === undefined ? null : addressBytes(client)
    const link = this.#chooseLink()
    // Without an address the client has left already; without a data worker nobody would answer.
    if (client === undefined || address === null || link === null || this.#draining) return refuse(socket)
    const held = this.#perClient.get(client) ?? 0
    if (held >= this.settings.maxConnectionsPerClient && !this.#evictIdle(client)) {
      this.#counters.add(StreamCell.connectionsRefusedClient)
      return refuse(socket)
    }
    if (this.#connections.size >= this.settings.maxConnections && !this.#evictIdle(null)) {
      this.#counters.add(StreamCell.connectionsRefusedTotal)
      return refuse(socket)
    }
    this.#perClient.set(client, (this.#perClient.get(client) ?? 0) + 1)
    const number = this.#nextNumber
    this.#nextNumber = (number + 1) >>> 0
    const connection = new ClientConnection(socket, number, client, address, link, this)
    this.#connections.set(connection.number, connection)
    this.#counters.add(StreamCell.connectionsAccepted)
    this.#counters.add(StreamCell.connectionsOpen)
    this.#sweepTimer.arm()
  }

  submit(connection: ClientConnection, frames: Uint8Array, count: number): void {
    if (!connection.link.isUp) return connection.cut('lost')
    this.#counters.add(StreamCell.reads)
    this.#counters.add(StreamCell.queries, count)
    connection.link.queries(connection.number, connection, frames)
  }

  wrote(): void {
    this.#counters.add(StreamCell.writes)
  }

  closed(connection: ClientConnection, failed: boolean): void {
    if (!this.#connections.delete(connection.number)) return
    this.#release(connection, failed)
  }

  /** Takes a data worker's replies; `flush` writes them. */
  replies(number: number, settled: number, frames: Uint8Array): void {
    const connection = this.#connections.get(number)
    if (connection === undefined) return this.#counters.add(StreamCell.repliesUnclaimed, settled)
    if (connection.reply(frames, settled)) this.#unflushed.push(connection)
  }

  /** Writes the replies taken since the last flush, one write per connection. */
  flush(): void {
    const unflushed = this.#unflushed
    for (const connection of unflushed) connection.flush()
    unflushed.length = 0
  }

  /**
   * The data worker behind `link` is gone. Connections with queries there are reset: their clients ask again at once on
   * another (RFC 7766 §6.2.4) instead of waiting for replies that will never come.
   */
  lost(link: DataWorkerLink): void {
    for (const connection of this.#connections.values()) {
      if (connection.link === link && connection.inFlight > 0) connection.cut('lost')
    }
  }

  /** Closes connections that are idle for too long, and resets those whose clients do not read. Returns false if no connection is left to watch. */
  sweep(): boolean {
    const now = this.#now()
    const { settings } = this
    const crowded = this.#connections.size > settings.maxConnections * 0.75
    const idleTimeoutMs = crowded ? settings.crowdedIdleTimeoutMs : settings.idleTimeoutMs
    for (const connection of this.#connections.values()) connection.sweep(now, idleTimeoutMs)
    return this.#connections.size > 0
  }

  /** Answers what clients have sent so far, and closes each connection then. Resolves when none is left. */
  drain(): Promise<void> {
    this.#draining = true
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onEmpty = resolve
    for (const connection of this.#connections.values()) connection.drain()
    if (this.#connections.size === 0) resolve()
    return promise
  }

  /** Ends every connection at once. Returns how many there were. */
  cutAll(): number {
    this.#draining = true
    const count = this.#connections.size
    for (const connection of this.#connections.values()) connection.cut('drained')
    this.#sweepTimer.stop()
    return count
  }

  #chooseLink(): DataWorkerLink | null {
    for (let tried = 0; tried < this.#links.length; tried++) {
      const link = this.#links[this.#nextLink++ % this.#links.length]!
      if (link.isUp) return link
    }
    return null
  }

  /**
   * Ends the connection that has been idle longest: of that client, or of whoever has most (null). Looks at all of them: it
   * runs only when all places are taken. Returns false if none is idle.
   */
  #evictIdle(client: string | null): boolean {
    let oldest: ClientConnection | null = null
    let most = 0
    for (const connection of this.#connections.values()) {
      if (!connection.isIdle || (client !== null && connection.client !== client)) continue
      const held = this.#perClient.get(connection.client)!
      const isOlder = oldest === null || connection.activeAtMs < oldest.activeAtMs
      if (held < most || (held === most && !isOlder)) continue
      most = held
      oldest = connection
    }
    if (oldest === null) return false
    // Its place is free at once; the socket closes when its FIN is sent.
    this.#connections.delete(oldest.number)
    oldest.finish('evicted')
    this.#release(oldest, false)
    return true
  }

  #release(connection: ClientConnection, failed: boolean): void {
    const { client, endReason } = connection
    const held = this.#perClient.get(client)! - 1
    if (held === 0) this.#perClient.delete(client)
    else this.#perClient.set(client, held)
    this.#counters.add(StreamCell.connectionsOpen, -1)
    const cell = endReason === null ? (failed ? StreamCell.connectionsFailed : null) : CELL_OF_REASON[endReason]
    if (cell !== null) this.#counters.add(cell)
    if (this.#connections.size === 0) this.#onEmpty?.()
  }
}

/** Closes a connection that was never one of ours. */
function refuse(socket: Socket): void {
  // A client that has gone already is no error of ours.
  socket.on('error', () => {})
  socket.destroy()
}
