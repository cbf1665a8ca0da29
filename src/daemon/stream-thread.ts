/** The control thread's side of the stream worker: starts it, restarts it if it dies, and ends it. */
import { closeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { UpstreamServer } from '../engine/settings.ts'
import type { DataWorkerPort } from '../stream/data-worker-link.ts'
import type { StreamSettings } from '../stream/stream-settings.ts'
import type {
  BoundListener,
  FailedListener,
  FromStreamWorker,
  StreamListener,
  StreamWorkerData,
  ToStreamWorker,
} from '../stream/stream-worker-messages.ts'

/** Before the first try to mend something; each further one waits twice as long. */
const RETRY_MS = 500
const LONGEST_RETRY_MS = 30_000
/** After the end of a thread that lived this long the wait is the first one again. */
const HEALTHY_MS = 10_000

/** How much later than asked of it the thread may have drained, or end. */
const OVERDUE_MS = 250

/** Where clients are listened for. */
export interface StreamAddress {
  address: string
  port: number
  /**
   * A descriptor that listens there already, a fresh one each time: the worker closes what it was lent. Null: the worker
   * opens one.
   */
  lend: () => number | null
}

export interface StreamThreadOptions {
  listeners: readonly StreamAddress[]
  settings: StreamSettings
  servers: UpstreamServer[]
  /** Buffer of a StreamCounters. */
  counters: SharedArrayBuffer
  /** New ways to all data workers, for a restart. */
  openPorts: () => DataWorkerPort[]
  log: {
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
    error(fields: object, message: string): void
  }
}

export class StreamThread {
  readonly #options: StreamThreadOptions
  #servers: UpstreamServer[]
  #thread: Worker | null = null
  #isStopping = false
  /** Descriptors on their way to the thread: nobody closes them if it ends before it takes them. */
  #lent: number[] = []
  /** No client is left. */
  readonly #drained: PromiseWithResolvers<void> = Promise.withResolvers()
  #retryMs = RETRY_MS
  #startedAtMs = 0
  /** Times it died and was started again. */
  restarts = 0

  constructor(options: StreamThreadOptions) {
    this.#options = options
    this.#servers = options.servers
  }

  /** Starts it and resolves once its listeners were tried; what failed is tried again only after a restart. */
  async start(ports: DataWorkerPort[]): Promise<{ bound: BoundListener[]; failed: FailedListener[] }> {
    return await this.#launch(ports)
  }

  /** @throws Error if there can be no thread; rejects if it ends before it has tried to listen. */
  #launch(ports: DataWorkerPort[]): Promise<{ bound: BoundListener[]; failed: FailedListener[] }> {
    const { counters, listeners, log, settings } = this.#options
    const servers = this.#servers
    const workerData: StreamWorkerData = { listeners: this.#lend(listeners), ports, settings, servers, counters }
    let thread: Worker
    try {
      thread = new Worker(
        new URL(import.meta.url.endsWith('.ts') ? '../stream/stream-worker.ts' : './stream-worker.js', import.meta.url),
        {
          workerData,
          transferList: ports.map(({ port }) => port),
          name: 'stream',
        },
      )
    } catch (error) {
      this.#takeBack()
      throw error
    }
    this.#thread = thread
    this.#startedAtMs = performance.now()
    const ready = Promise.withResolvers<{ bound: BoundListener[]; failed: FailedListener[] }>()
    thread.on('message', (message: FromStreamWorker) => {
      if (message.kind === 'ready') ready.resolve(message)
      else if (message.kind === 'taken') this.#lent = []
      else if (message.kind === 'listened') this.#listened(thread, message.failed, true)
      else if (message.kind === 'log') log[message.level](message.fields, message.message)
      else this.#drained.resolve()
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

  /** Other upstream servers. */
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

  /** Takes no more clients and lets those there are have what is under way, for at most `deadlineMs`. */
  async drain(deadlineMs: number): Promise<void> {
    this.#isStopping = true
    if (this.#thread === null) return
    this.#post({ kind: 'drain', deadlineMs })
    const timer = setTimeout(this.#drained.resolve, deadlineMs + OVERDUE_MS)
    await this.#drained.promise
    clearTimeout(timer)
  }

  /** Ends the thread, and every exchange with an upstream server with it: data workers must not wait for one any more. */
  async stop(): Promise<void> {
    const thread = this.#thread
    this.#isStopping = true
    if (thread === null) return
    const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
    this.#post({ kind: 'stop' })
    // Its event loop turns, so it can be terminated, unlike a data worker.
    const timer = setTimeout(() => void thread.terminate(), OVERDUE_MS)
    await ended
    clearTimeout(timer)
  }

  #ended(thread: Worker): void {
    if (thread !== this.#thread) return
    this.#thread = null
    this.#takeBack()
    if (this.#isStopping) return this.#drained.resolve()
    this.restarts++
    if (performance.now() - this.#startedAtMs > HEALTHY_MS) this.#retryMs = RETRY_MS
    this.#options.log.error({}, 'the stream worker ended; starting it again')
    this.#startLater()
  }

  #startLater(): void {
    this.#later(() => {
      try {
        // One that ends before it is ready starts again by its end.
        this.#launch(this.#options.openPorts()).then(
          ({ failed }) => this.#thread !== null && this.#listened(this.#thread, failed, false),
          () => {},
        )
      } catch (error) {
        this.#options.log.error({ error }, 'the stream worker cannot be started; trying again')
        this.#startLater()
      }
    })
  }

  /** After a restart: TCP must not be gone for good because a listener could not be opened at once. */
  #listened(thread: Worker, failed: readonly FailedListener[], isRetry: boolean): void {
    if (thread !== this.#thread) return
    const { listeners, log } = this.#options
    if (failed.length === 0) {
      if (isRetry) log.info({}, 'clients are listened for over TCP again')
      return
    }
    for (const { code, message } of failed) log.error({ code }, `no clients over TCP: ${message}; trying again`)
    this.#later(() => {
      if (thread !== this.#thread) return
      const missing = listeners.filter((listener) =>
        failed.some(({ address, port }) => address === listener.address && port === listener.port),
      )
      this.#post({ kind: 'listen', listeners: this.#lend(missing) })
    })
  }

  #lend(addresses: readonly StreamAddress[]): StreamListener[] {
    const listeners = addresses.map(({ address, port, lend }) => ({ address, port, fd: lend() }))
    this.#lent = listeners.flatMap(({ fd }) => (fd !== null && fd >= 0 ? [fd] : []))
    return listeners
  }

  #takeBack(): void {
    for (const fd of this.#lent) closeSync(fd)
    this.#lent = []
  }

  #later(run: () => void): void {
    const delayMs = this.#retryMs
    this.#retryMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)
    setTimeout(() => {
      if (!this.#isStopping) run()
    }, delayMs).unref()
  }

  #post(message: ToStreamWorker): void {
    this.#thread?.postMessage(message)
  }
}
