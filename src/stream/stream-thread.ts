/** The control thread's side of the stream worker: starts it, restarts it if it dies, and ends it. */
import { Worker } from 'node:worker_threads'
import type { UpstreamServer } from '../engine/settings.ts'
import type { DataWorkerPort } from './data-worker-link.ts'
import type { StreamSettings } from './stream-settings.ts'
import type {
  BoundListener,
  FailedListener,
  FromStreamWorker,
  StreamListener,
  StreamWorkerData,
  ToStreamWorker,
} from './stream-worker-messages.ts'

const RESTART_MS = 500

export interface StreamThreadOptions {
  /** Descriptors to listen on, a fresh loan for each start: the worker closes what it was lent. */
  listeners: () => StreamListener[]
  settings: StreamSettings
  servers: UpstreamServer[]
  /** Buffer of a StreamCounters. */
  counters: SharedArrayBuffer
  /** New ways to all data workers, for a restart. */
  openPorts: () => DataWorkerPort[]
  log: { error(fields: object, message: string): void }
}

export class StreamThread {
  readonly #options: StreamThreadOptions
  #servers: UpstreamServer[]
  #thread: Worker | null = null
  #isStopping = false
  /** Times it died and was started again. */
  restarts = 0

  constructor(options: StreamThreadOptions) {
    this.#options = options
    this.#servers = options.servers
  }

  /** Starts it and resolves once its listeners were tried. */
  async start(ports: DataWorkerPort[]): Promise<{ bound: BoundListener[]; failed: FailedListener[] }> {
    const { counters, listeners, log, settings } = this.#options
    const workerData: StreamWorkerData = { listeners: listeners(), ports, settings, servers: this.#servers, counters }
    const thread = new Worker(
      new URL(import.meta.url.endsWith('.ts') ? './stream-worker.ts' : './stream-worker.js', import.meta.url),
      {
        workerData,
        transferList: ports.map(({ port }) => port),
        name: 'stream',
      },
    )
    this.#thread = thread
    const ready = Promise.withResolvers<{ bound: BoundListener[]; failed: FailedListener[] }>()
    thread.on('message', (message: FromStreamWorker) => {
      if (message.kind === 'ready') ready.resolve(message)
    })
    thread.on('error', (error) =>
      log.error({ error: error instanceof Error ? error.message : String(error) }, 'the stream worker failed'),
    )
    thread.on('exit', () => {
      ready.reject(new Error('the stream worker ended before it was ready'))
      this.#ended(thread)
    })
    return ready.promise
  }

  /** Other upstream servers, in the order of the settings that the data workers get. */
  configure(servers: UpstreamServer[]): void {
    this.#servers = servers
    this.#post({ kind: 'servers', servers })
  }

  /** A data worker was restarted and is reached by another port. */
  replace(worker: number, port: DataWorkerPort): void {
    if (this.#thread === null) return port.port.close()
    const message: ToStreamWorker = { kind: 'replace', worker, port }
    this.#thread.postMessage(message, [port.port])
  }

  /** Lets clients have what is under way, for at most `deadlineMs`, and ends the thread. */
  async stop(deadlineMs: number): Promise<void> {
    const thread = this.#thread
    this.#isStopping = true
    if (thread === null) return
    const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
    this.#post({ kind: 'drain', deadlineMs })
    // Its event loop turns, so it can be terminated, unlike a data worker.
    const timer = setTimeout(() => void thread.terminate(), deadlineMs + 250)
    await ended
    clearTimeout(timer)
  }

  #ended(thread: Worker): void {
    if (thread !== this.#thread) return
    this.#thread = null
    if (this.#isStopping) return
    this.restarts++
    this.#options.log.error({}, 'the stream worker ended; starting it again')
    setTimeout(() => {
      if (!this.#isStopping) this.start(this.#options.openPorts()).catch(() => {})
    }, RESTART_MS).unref()
  }

  #post(message: ToStreamWorker): void {
    this.#thread?.postMessage(message)
  }
}
