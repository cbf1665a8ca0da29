/** The control thread's side of the stream worker: starts it, restarts it if it dies, and ends it. */
import { closeSync } from 'node:fs'
import { Worker, type WorkerOptions } from 'node:worker_threads'
import type { Log } from '../base/log.ts'
import { ThreadRequests } from '../base/thread-requests.ts'
import type { UpstreamServer } from '../engine/settings.ts'
import type { DataWorkerPort } from '../stream/data-worker-link.ts'
import type { StreamSettings } from '../stream/stream-settings.ts'
import type {
  BoundListener,
  FailedListener,
  FromStreamWorker,
  StreamListener,
  StreamRequests,
  StreamWorkerData,
  ToStreamWorker,
} from '../stream/stream-worker-messages.ts'
import { Supervisor } from './supervisor.ts'

/** Before the first try to start the thread again, or to listen again; each further one waits twice as long. */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000
/** A thread that has not tried its listeners by then hangs, and asking it again would not help. */
const LISTEN_MS = 10_000

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

/** What the stream worker is started with. */
export interface StreamThreadOptions {
  listeners: readonly StreamAddress[]
  settings: StreamSettings
  servers: UpstreamServer[]
  /** Buffer of a StreamCounters. */
  counters: SharedArrayBuffer
  /** New ways to all data workers, for each start. */
  openPorts: () => DataWorkerPort[]
  log: Pick<Log, 'info' | 'warn' | 'error'>
  /** Starts a thread; Node's own if not given. @throws Error if there can be none */
  startThread?: (script: URL, options: WorkerOptions) => Worker
}

/** The control thread's side of the stream worker. */
export class StreamThread {
  readonly #options: StreamThreadOptions
  #servers: UpstreamServer[]
  #rootCertificates: string | null
  readonly #supervisor: Supervisor
  readonly #requests: ThreadRequests<StreamRequests>
  /** Descriptors on their way to the thread: nobody closes them if it ends before it takes them. */
  #lent: number[] = []
  #listenPauseMs = FIRST_PAUSE_MS
  /** What the first thread says of its listeners. */
  readonly #first: PromiseWithResolvers<{ bound: BoundListener[]; failed: FailedListener[] }> = Promise.withResolvers()
  #isFirst = true

  constructor(options: StreamThreadOptions) {
    this.#options = options
    this.#servers = options.servers
    this.#rootCertificates = options.settings.upstream.rootCertificates
    this.#requests = new ThreadRequests((message) => this.#post(message))
    this.#supervisor = new Supervisor({
      name: 'the stream worker',
      fields: {},
      firstPauseMs: FIRST_PAUSE_MS,
      longestPauseMs: LONGEST_PAUSE_MS,
      log: options.log,
      launch: () => this.#launch(),
      ended: (reason) => {
        this.#takeBack()
        this.#requests.rejectAll()
        this.#first.reject(reason)
      },
    })
  }

  /** Times it ended, or could not be started, and was started again. */
  get restarts(): number {
    return this.#supervisor.restarts
  }

  /**
   * Starts it and resolves once its listeners were tried; what failed is tried again only after a restart. Rejects if it
   * cannot be started or ends before.
   */
  async start(): Promise<{ bound: BoundListener[]; failed: FailedListener[] }> {
    this.#supervisor.start()
    return await this.#first.promise
  }

  /** @throws Error if there can be no thread */
  #launch(): Worker {
    const { counters, listeners, openPorts } = this.#options
    const ports = openPorts()
    const servers = this.#servers
    const upstream = { ...this.#options.settings.upstream, rootCertificates: this.#rootCertificates }
    const settings: StreamSettings = { ...this.#options.settings, upstream }
    const workerData: StreamWorkerData = { listeners: this.#lend(listeners), ports, settings, servers, counters }
    const { startThread = (script, options) => new Worker(script, options) } = this.#options
    const thread = startThread(
      new URL(import.meta.url.endsWith('.ts') ? '../stream/stream-worker.ts' : './stream-worker.js', import.meta.url),
      { workerData, transferList: ports.flatMap(({ port }) => port ?? []), name: 'stream' },
    )
    thread.on('message', (message: FromStreamWorker) => {
      if (thread === this.#supervisor.thread) this.#receive(thread, message)
    })
    return thread
  }

  #receive(thread: Worker, message: FromStreamWorker): void {
    switch (message.kind) {
      case 'response':
        return this.#requests.receive(message)
      case 'taken':
        this.#lent = []
        return
      case 'ready':
        if (!this.#isFirst) return this.#listened(thread, message.failed, false)
        this.#isFirst = false
        return this.#first.resolve(message)
      case 'log':
        return this.#options.log[message.level](message.fields, message.message)
    }
  }

  /** Other upstream servers, or root certificates (PEM, null for Node's own) to verify them by. */
  configure(servers: UpstreamServer[], rootCertificates: string | null): void {
    this.#servers = servers
    this.#rootCertificates = rootCertificates
    this.#post({ kind: 'servers', servers, rootCertificates })
  }

  /** A data worker was restarted and is reached by another port. */
  replace(worker: number, port: DataWorkerPort): void {
    const { thread } = this.#supervisor
    if (thread === null) return port.port?.close()
    const message: ToStreamWorker = { kind: 'replace', worker, port }
    thread.postMessage(message, port.port === null ? [] : [port.port])
  }

  /** Takes no more clients and lets those there are have what is under way, for at most `deadlineMs`. */
  async drain(deadlineMs: number): Promise<void> {
    this.#supervisor.stop()
    if (this.#supervisor.thread === null) return
    // Without a response there is nobody left to drain, or nothing to be done about it.
    const cut = await this.#requests.request('drain', { deadlineMs }, deadlineMs + OVERDUE_MS).catch(() => 0)
    if (cut > 0) this.#options.log.warn({ connections: cut }, 'TCP clients did not get all their answers in time')
  }

  /** Ends the thread, and every upstream query with it: no data worker may still wait for one. */
  async stop(): Promise<void> {
    const { thread } = this.#supervisor
    this.#supervisor.stop()
    if (thread === null) return
    const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
    this.#post({ kind: 'stop' })
    // Its event loop turns, so it can be terminated, unlike a data worker.
    const timer = setTimeout(() => void thread.terminate(), OVERDUE_MS)
    await ended
    clearTimeout(timer)
  }

  /** After a restart: TCP must not be gone for good because a listener could not be opened at once. */
  #listened(thread: Worker, failed: readonly FailedListener[], isRetry: boolean): void {
    const { listeners, log } = this.#options
    if (failed.length === 0) {
      this.#listenPauseMs = FIRST_PAUSE_MS
      if (isRetry) log.info({}, 'clients are listened for over TCP again')
      return
    }
    for (const { code, message } of failed) log.error({ code }, `no clients over TCP: ${message}; trying again`)
    const pauseMs = this.#listenPauseMs
    this.#listenPauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    setTimeout(() => {
      if (thread !== this.#supervisor.thread || this.#supervisor.isStopping) return
      const missing = listeners.filter((listener) =>
        failed.some(({ address, port }) => address === listener.address && port === listener.port),
      )
      this.#requests.request('listen', this.#lend(missing), LISTEN_MS).then(
        (stillFailed) => this.#listened(thread, stillFailed, true),
        () => {
          // The thread has ended, and the next one listens on all of them; or it hangs, which nothing mends.
        },
      )
    }, pauseMs).unref()
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

  #post(message: ToStreamWorker): void {
    this.#supervisor.thread?.postMessage(message)
  }
}
