/** The stream worker's end of the way to one data worker. */
import { writeSync } from 'node:fs'
import type { MessagePort } from 'node:worker_threads'
import { receiveMessageOnPort } from 'node:worker_threads'
import type { FromStream, StreamExchange, StreamReplies, ToStream } from '../engine/stream-port.ts'

/** What a data worker is reached by. */
export interface DataWorkerPort {
  port: MessagePort
  /** Its eventfd, or -1 where the data worker runs an event loop. */
  wakeFd: number
}

/** Who is told what data workers say. */
export interface LinkListener {
  replies(message: StreamReplies): void
  /** All replies that had arrived are handed over: time to write. */
  repliesEnd(): void
  exchange(message: StreamExchange, link: DataWorkerLink): void
  /** The data worker behind the link is gone or was replaced; whatever it held will never be settled. */
  lost(link: DataWorkerLink): void
}

/** Eventfd counter increment (eventfd(2)): eight bytes in host order, and the machines we support are little-endian. */
const ONE: Uint8Array = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)

/**
 * One data worker. Messages posted in one turn of the event loop share one write to its eventfd. The link outlives the
 * worker: `replace` gives it the next one's port.
 */
export class DataWorkerLink {
  /** Grows with every worker behind this link: what an earlier one asked is not answered to a later one. */
  generation = 0
  readonly #listener: LinkListener
  #port: MessagePort | null = null
  #wakeFd = -1
  #wakePending = false
  readonly #wake = (): void => this.#writeWake()

  constructor(worker: DataWorkerPort, listener: LinkListener) {
    this.#listener = listener
    this.#open(worker)
  }

  /** True while there is a data worker to talk to. */
  get isUp(): boolean {
    return this.#port !== null
  }

  /** Posts a message; dropped if the link is down, since `lost` has settled everything then. */
  post(message: FromStream): void {
    if (this.#port === null) return
    this.#port.postMessage(message)
    if (this.#wakePending || this.#wakeFd < 0) return
    this.#wakePending = true
    // Not a microtask: those run after every single read, an immediate after all reads of this turn.
    setImmediate(this.#wake)
  }

  /** The data worker was restarted and is reached by another port. What the old one held counts as lost. */
  replace(worker: DataWorkerPort): void {
    this.close()
    this.#open(worker)
  }

  /** Ends the way to the data worker; the descriptor stays open, it is the control thread's. */
  close(): void {
    const port = this.#port
    if (port === null) return
    this.#port = null
    this.generation++
    port.close()
    this.#listener.lost(this)
  }

  #open(worker: DataWorkerPort): void {
    const { port } = worker
    this.#port = port
    this.#wakeFd = worker.wakeFd
    port.on('message', (message: ToStream) => {
      if (this.#port === port) this.#drain(port, message)
    })
    port.on('close', () => {
      if (this.#port === port) this.close()
    })
  }

  /** Takes everything that has arrived: cheaper than an event for each, and replies of one connection meet. */
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
    if (message.kind === 'replies') this.#listener.replies(message)
    else this.#listener.exchange(message, this)
  }

  #writeWake(): void {
    this.#wakePending = false
    if (this.#port === null) return
    try {
      writeSync(this.#wakeFd, ONE)
    } catch (error) {
      // EAGAIN: the counter is full, so the worker is as awake as it can be. EBADF: it is being replaced.
      if (!(error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EBADF')))
        throw error
    }
  }
}
