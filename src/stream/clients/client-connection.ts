/** One client's connection: frames in, replies out, with a bound on everything that may accumulate. */
import type { Socket } from 'node:net'
import { isLoopbackText } from '../../dns/address.ts'
import { FrameReader, frameBoundary } from '../../dns/frame.ts'
import type { DataWorkerLink } from '../data-worker-link.ts'
import type { StreamSettings } from '../stream-settings.ts'

/** Why a connection was ended from our side; `null` where the client or the network ended it. */
export type EndReason = 'idle' | 'evicted' | 'slow' | 'malformed' | 'lost' | 'drained' | null

/** What a connection tells its owner. */
export interface ConnectionOwner {
  readonly settings: StreamSettings
  now(): number
  /** Whole frames, `count` of them, to pass to the connection's data worker. */
  submit(connection: ClientConnection, frames: Uint8Array, count: number): void
  /** `wrote` counts calls to the socket, for the ratio of answers to writes. */
  wrote(): void
  closed(connection: ClientConnection, failed: boolean): void
}

/** Answers waiting in the socket above which no more queries are read. */
const PAUSE_QUEUED_BYTES = 1 << 16
/** One turn of the event loop reads what is in a socket's buffer; the one under way may have been past it. */
const DRAIN_TURNS = 2
/** A connection that is drained is read for at most this long: its client may never stop asking. */
const DRAIN_READ_MS = 1000
/** A drained connection on which nothing was asked yet is waited for this long: its client has only just opened it to ask. */
const DRAIN_FIRST_QUERY_MS = 500
/** How long a client may take to end its side of a connection that was drained. */
const DRAIN_LINGER_MS = 500

/** One client's TCP connection. Owned by ClientConnections, which calls `sweep` for its deadlines. */
export class ClientConnection {
  /** Never used twice in the life of the stream worker. */
  readonly number: number
  /** The client's address in 4 or 16 bytes. */
  readonly address: Uint8Array
  readonly port: number
  /** It came to a loopback address. */
  readonly isSameMachine: boolean
  /** The same as text: what connections per client are counted by. */
  readonly client: string
  readonly link: DataWorkerLink
  /** Queries that the data worker has and has not settled. */
  inFlight = 0
  /** When the last whole query came or the last reply left: bytes that complete nothing do not count (RFC 7766 §6.2.3). */
  activeAtMs: number
  endReason: EndReason = null
  readonly #socket: Socket
  readonly #owner: ConnectionOwner
  readonly #reader: FrameReader = new FrameReader()
  /** Whole frames over the limit in flight. Reading is paused while there are any, so it is at most what was read before. */
  #backlog: Uint8Array | null = null
  #paused = false
  /** The client has sent its FIN: it may still want answers. */
  #clientDone = false
  #finishing = false
  /** A whole query has come. */
  #hasAsked = false
  /** When a connection that is being drained takes no more queries; Infinity: it is not. */
  #drainReadUntilMs = Number.POSITIVE_INFINITY
  /** When a drained connection is given up, our FIN being sent. */
  #lingerUntilMs = Number.POSITIVE_INFINITY
  #failed = false
  /** Replies of this turn, written together at its end. */
  #outgoing: Uint8Array | null = null
  #moreOutgoing: Uint8Array[] | null = null
  #bytesQueued = 0
  #flushedBytes = 0
  #flushedAtMs = 0

  constructor(
    socket: Socket,
    number: number,
    client: string,
    address: Uint8Array,
    link: DataWorkerLink,
    owner: ConnectionOwner,
  ) {
    this.#socket = socket
    this.number = number
    this.client = client
    this.address = address
    this.port = socket.remotePort ?? 0
    this.isSameMachine = isLoopbackText(socket.localAddress)
    this.link = link
    this.#owner = owner
    this.activeAtMs = owner.now()
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('drain', () => this.#resumeIfRoom())
    socket.on('end', () => {
      this.#clientDone = true
      this.#finishIfDone()
    })
    // ECONNRESET, EPIPE, ETIMEDOUT: the close that follows says all there is to say.
    socket.on('error', () => {
      this.#failed = true
    })
    socket.on('close', () => owner.closed(this, this.#failed))
  }

  /** True if nothing is under way: no query in flight or waiting, no reply unsent. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.#backlog === null && this.#outgoing === null && this.#socket.writableLength === 0
  }

  /**
   * Takes replies that settle `settled` queries; they are written by `flush`. Returns true if these are the first since
   * the last flush. `frames` must not change afterwards.
   */
  reply(frames: Uint8Array, settled: number): boolean {
    this.inFlight -= settled
    if (this.#outgoing === null) {
      this.#outgoing = frames
      return true
    }
    this.#moreOutgoing ??= []
    this.#moreOutgoing.push(frames)
    return false
  }

  /** Writes the replies taken since the last flush in one call. Resets the connection if its client does not read; resumes reading if there is room. */
  flush(): void {
    const first = this.#outgoing
    const more = this.#moreOutgoing
    this.#outgoing = null
    this.#moreOutgoing = null
    if (first === null || this.#socket.destroyed) return
    this.activeAtMs = this.#owner.now()
    // What waits already decides, not what is added: one message of any size is let through.
    if (this.#socket.writableLength > this.#owner.settings.maxQueuedBytes) return this.cut('slow')
    if (first.length > 0 || more !== null) this.#write(first, more)
    this.#resumeIfRoom()
    this.#finishIfDone()
  }

  /** Looks at this connection's deadlines; called now and then. */
  sweep(nowMs: number, idleTimeoutMs: number): void {
    if (this.#socket.writableLength > 0) {
      const flushed = this.#bytesQueued - this.#socket.writableLength
      if (flushed !== this.#flushedBytes) {
        this.#flushedBytes = flushed
        this.#flushedAtMs = nowMs
      } else if (nowMs - this.#flushedAtMs >= this.#owner.settings.writeTimeoutMs) this.cut('slow')
    } else if (nowMs >= this.#lingerUntilMs) this.#socket.destroy()
    else if (this.#isDraining) {
      if (nowMs >= this.#drainReadUntilMs) this.#endDraining()
    } else if (this.isIdle && nowMs - this.activeAtMs >= idleTimeoutMs) this.finish('idle')
  }

  /** Reads no more, sends what is still to come, then closes. */
  finish(reason: EndReason): void {
    this.endReason = reason
    this.#finishing = true
    this.#socket.pause()
    this.#finishIfDone()
  }

  /**
   * Answers what the client has sent so far, or the first that it is about to send, then ends our side and waits a moment for the client to
   * end its own. What it asks meanwhile is read and not answered: closing a socket with something unread resets the connection, and may take
   * answers with it that the client has not read. It asks again by another (RFC 7766 §6.2.4).
   */
  drain(): void {
    this.endReason = 'drained'
    this.#drainReadUntilMs = this.#owner.now() + (this.#hasAsked ? DRAIN_READ_MS : DRAIN_FIRST_QUERY_MS)
    if (this.#hasAsked) this.#endDrainingIn(DRAIN_TURNS)
  }

  /** Ends the connection at once with a reset: the kernel need not keep what the client does not read. */
  cut(reason: EndReason): void {
    this.endReason = reason
    this.#backlog = null
    // A reset while our FIN is on its way is refused by libuv, and Node then leaks the handle: the thread could never end.
    if (this.#socket.writableEnded) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  get #isDraining(): boolean {
    return this.#drainReadUntilMs !== Number.POSITIVE_INFINITY
  }

  #endDrainingIn(turns: number): void {
    setImmediate(() => {
      // Not read yet, for want of room: begins again when it is read on.
      if (this.#paused) return
      if (turns > 1) this.#endDrainingIn(turns - 1)
      else this.#endDraining()
    })
  }

  #endDraining(): void {
    this.#finishing = true
    this.#finishIfDone()
  }

  #read(chunk: Buffer): void {
    if (this.#finishing) return
    const frames = this.#reader.push(chunk)
    if (frames === null) {
      if (this.#reader.malformed) this.cut('malformed')
      return
    }
    this.activeAtMs = this.#owner.now()
    if (!this.#hasAsked && this.#isDraining) this.#endDrainingIn(DRAIN_TURNS)
    this.#hasAsked = true
    const { count } = this.#reader
    const room = this.#owner.settings.maxInFlight - this.inFlight
    // A read that was already on its way when the socket was paused joins what waits.
    if (this.#backlog !== null) this.#backlog = Buffer.concat([this.#backlog, frames])
    else if (count <= room) this.#submit(frames, count)
    else {
      this.#backlog = frames
      this.#submitBacklog(room)
    }
    if (this.inFlight >= this.#owner.settings.maxInFlight) this.#pause()
  }

  #submit(frames: Uint8Array, count: number): void {
    this.inFlight += count
    this.#owner.submit(this, frames, count)
  }

  /** Passes on at most `room` of the waiting frames. */
  #submitBacklog(room: number): void {
    const backlog = this.#backlog
    if (backlog === null || room <= 0) return
    const { at, count } = frameBoundary(backlog, 0, room)
    this.#backlog = at < backlog.length ? backlog.subarray(at) : null
    this.#submit(this.#backlog === null ? backlog : backlog.subarray(0, at), count)
  }

  #write(first: Uint8Array, more: Uint8Array[] | null): void {
    const socket = this.#socket
    if (socket.writableLength === 0) this.#flushedAtMs = this.activeAtMs
    this.#bytesQueued += first.length
    this.#owner.wrote()
    if (more === null) {
      socket.write(first)
      return
    }
    socket.cork()
    socket.write(first)
    for (const frames of more) {
      this.#bytesQueued += frames.length
      socket.write(frames)
    }
    socket.uncork()
  }

  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#socket.pause()
  }

  #resumeIfRoom(): void {
    const { maxInFlight } = this.#owner.settings
    const socket = this.#socket
    if (socket.writableLength > PAUSE_QUEUED_BYTES) return this.#pause()
    // Below half, so that a full pipeline does not pause and resume for every query.
    if (this.inFlight > maxInFlight >> 1) return
    if (this.#backlog !== null) this.#submitBacklog(maxInFlight - this.inFlight)
    if (!this.#paused || this.#finishing || this.inFlight >= maxInFlight) return
    this.#paused = false
    socket.resume()
    if (this.#isDraining) this.#endDrainingIn(DRAIN_TURNS)
  }

  #finishIfDone(): void {
    if (!(this.#clientDone || this.#finishing)) return
    if (this.inFlight > 0 || this.#backlog !== null || this.#outgoing !== null) return
    // Sends what is queued, then our FIN, then closes.
    if (!this.#isDraining || this.#clientDone) return this.#socket.destroySoon()
    if (this.#socket.writableEnded) return
    this.#lingerUntilMs = this.#owner.now() + DRAIN_LINGER_MS
    this.#socket.end()
    this.#socket.resume()
  }
}
