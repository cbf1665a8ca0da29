/** The stream worker's end of the port to one data worker. */
import { writeSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { receiveMessageOnPort } from 'node:worker_threads'
import {
  connectionAt,
  framesLengthAt,
  putRead,
  READ_HEADER_BYTES,
  settledAt,
  WRITE_HEADER_BYTES,
} from '../engine/stream-batch.ts'
import type { UpstreamQuery, UpstreamReply, ToStream } from '../engine/stream-port.ts'

/** What a data worker is reached by. */
export interface DataWorkerPort {
  /** Null: it is not running now. */
  port: MessagePort | null
  /** Its eventfd, or -1 where the data worker runs an event loop. */
  wakeFd: number
}

/** Who is told what data workers say. */
export interface LinkListener {
  /** Replies for a connection that settle `settled` queries; `frames` stays as it is. */
  replies(connection: number, settled: number, frames: Uint8Array): void
  /** All replies that had arrived are handed over: time to write. */
  repliesEnd(): void
  askUpstream(message: UpstreamQuery, link: DataWorkerLink): void
  /** The data worker behind the link is gone or was replaced; whatever it held will never be settled. */
  lost(link: DataWorkerLink): void
}

/** Eventfd counter increment (eventfd(2)): eight bytes in host order, and the machines we support are little-endian. */
const ONE: Uint8Array = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)

/** Reads of this size in all are posted before the turn ends, so that the data worker can begin. */
const POST_AT_BYTES = 1 << 17

/** Who sent queries. */
export interface StreamClient {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  /** The client's, 0 if it is not known. */
  readonly port: number
  /** It came to a loopback address. */
  readonly isSameMachine: boolean
}

/**
 * One data worker. What one turn of the event loop brings for it is posted together, with one write to its eventfd. The
 * link outlives the worker: `replace` gives it the next one's port.
 */
export class DataWorkerLink {
  /** Grows with every worker behind this link: what an earlier one asked is not answered to a later one. */
  generation = 0
  readonly #listener: LinkListener
  #port: MessagePort | null = null
  #wakeFd = -1
  #flushPending = false
  readonly #flush = (): void => this.#endTurn()
  /** Reads of this turn, in three lists side by side. */
  #connections: number[] = []
  #clients: StreamClient[] = []
  #frames: Uint8Array[] = []
  #batchBytes = 0

  constructor(worker: DataWorkerPort, listener: LinkListener) {
    this.#listener = listener
    this.#open(worker)
  }

  /** True while there is a data worker to talk to. */
  get isUp(): boolean {
    return this.#port !== null
  }

  /** Passes on whole frames of a connection; they must not change before the turn ends. */
  queries(connection: number, client: StreamClient, frames: Uint8Array): void {
    this.#connections.push(connection)
    this.#clients.push(client)
    this.#frames.push(frames)
    this.#batchBytes += READ_HEADER_BYTES + frames.length
    if (this.#batchBytes >= POST_AT_BYTES) this.#postReads()
    this.#flushLater()
  }

  /** Tells how an upstream query ended; nobody is told if the data worker is gone. */
  upstreamReply(message: UpstreamReply): void {
    if (this.#port === null) return
    this.#port.postMessage(message)
    this.#flushLater()
  }

  /** The data worker was restarted and is reached by another port. What the old one held counts as lost. */
  replace(worker: DataWorkerPort): void {
    this.close()
    this.#open(worker)
  }

  /** Closes the port. The eventfd stays open: it is the control thread's. */
  close(): void {
    const port = this.#port
    if (port === null) return
    this.#port = null
    this.generation++
    this.#clearReads()
    port.close()
    this.#listener.lost(this)
  }

  #open(worker: DataWorkerPort): void {
    const { port } = worker
    this.#port = port
    this.#wakeFd = worker.wakeFd
    if (port === null) return
    port.on('message', (message: ToStream) => {
      if (this.#port === port) this.#drain(port, message)
    })
    port.on('close', () => {
      if (this.#port === port) this.close()
    })
  }

  /** Takes everything that has arrived: cheaper than one event each, and replies for one connection are written together. */
  #drain(port: MessagePort, first: ToStream): void {
    this.#dispatch(first)
    for (;;) {
      const next: { message: ToStream } | undefined = receiveMessageOnPort(port)
      if (next === undefined) break
      this.#dispatch(next.message)
    }
    this.#listener.repliesEnd()
  }

  #dispatch(message: ToStream): void {
    if (message.kind === 'upstreamQuery') return this.#listener.askUpstream(message, this)
    const { writes } = message
    for (let at = 0; at + WRITE_HEADER_BYTES <= writes.length; ) {
      const from = at + WRITE_HEADER_BYTES
      const to = from + framesLengthAt(writes, at)
      this.#listener.replies(connectionAt(writes, at), settledAt(writes, at), writes.subarray(from, to))
      at = to
    }
  }

  #flushLater(): void {
    if (this.#flushPending) return
    this.#flushPending = true
    // Not a microtask: those run after every single read, an immediate after all reads of this turn.
    setImmediate(this.#flush)
  }

  #postReads(): void {
    if (this.#connections.length === 0 || this.#port === null) return
    const reads = new Uint8Array(this.#batchBytes)
    let at = 0
    for (let i = 0; i < this.#connections.length; i++) {
      const { address, isSameMachine, port } = this.#clients[i]!
      at = putRead(reads, at, this.#connections[i]!, address, this.#frames[i]!, isSameMachine, port)
    }
    this.#clearReads()
    this.#port.postMessage({ kind: 'queries', reads }, [reads.buffer])
  }

  #clearReads(): void {
    this.#connections.length = 0
    this.#clients.length = 0
    this.#frames.length = 0
    this.#batchBytes = 0
  }

  #endTurn(): void {
    this.#flushPending = false
    this.#postReads()
    if (this.#port === null || this.#wakeFd < 0) return
    try {
      writeSync(this.#wakeFd, ONE)
    } catch (error) {
      // EAGAIN: the counter is full, so the worker is as awake as it can be. EBADF: it is being replaced.
      if (!(error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EBADF')))
        throw error
    }
  }
}
