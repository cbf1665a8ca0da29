/**
 * The control thread's side of the data workers: starts them, hands them images and settings, restarts one that dies
 * (with its table, sockets and counters) and ends them, which needs care: a worker in `poll` sees nothing but its eventfd.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import type { EngineSettings } from '../engine/settings.ts'
import { errorName, type Syscalls } from '../os/syscalls.ts'
import { WorkerCounters } from '../stats/counters.ts'
import type { Image } from '../table/image.ts'
import { type FromWorker, OPENED_FDS, type ToWorker, type WorkerListener, type WorkerStart } from '../worker/mailbox.ts'

/** Restarts of a worker that dies at once must not take the machine. */
const RESTART_MS = 100
const LONGEST_RESTART_MS = 5000
/** A worker that lived this long starts anew without delay. */
const HEALTHY_MS = 10_000

export interface DataWorkersOptions {
  count: number
  driver: 'batch' | 'dgram'
  /** Null where there is no koffi. */
  sys: Syscalls | null
  /** Listeners of worker `index`. */
  listeners: (index: number) => WorkerListener[]
  settings: EngineSettings
  startedAtEpochMs: number
  seed: number
  log: {
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
    error(fields: object, message: string): void
  }
  /** The pool of images is told who reads what. */
  images: {
    workerStarted(worker: number): void
    acknowledged(worker: number, generation: number): void
    workerGone(worker: number): void
  }
  /** A worker has adopted an image: a slot may have become free. */
  onAdopted: () => void
  /** A server, named by its label, forwards to us; its query came from that address (4 or 16 bytes). */
  onLoop?: (server: string, from: Uint8Array) => void
  /** The way to the stream worker changed: it gets this end. */
  onStreamPort: (worker: number, port: MessagePort, wakeFd: number) => void
}

interface Keeper {
  index: number
  /** Number in the image pool, never used twice. */
  reader: number
  thread: Worker | null
  /** −1 where there is none: with Node's own sockets the event loop is woken by the message. */
  wakeFd: number
  counters: WorkerCounters
  openedFds: Int32Array<SharedArrayBuffer>
  startedAt: number
  restartMs: number
  isReady: boolean
}

export class DataWorkers {
  readonly #options: DataWorkersOptions
  readonly #keepers: Keeper[]
  #image: Image | null = null
  #settings: EngineSettings
  #isStopping = false
  #hasLeft = false
  #nextReader = 1
  #nextRequest = 1
  readonly #requests: Map<number, (value: unknown) => void> = new Map()
  /** Workers that died and were started again. */
  restarts = 0

  constructor(options: DataWorkersOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#keepers = Array.from({ length: options.count }, (_, index) => ({
      index,
      reader: 0,
      thread: null,
      wakeFd: -1,
      counters: new WorkerCounters(),
      openedFds: new Int32Array(new SharedArrayBuffer(OPENED_FDS * 4)).fill(-1),
      startedAt: 0,
      restartMs: RESTART_MS,
      isReady: false,
    }))
  }

  get counters(): WorkerCounters[] {
    return this.#keepers.map((keeper) => keeper.counters)
  }

  /** Starts all and resolves once they are ready. Rejects before any thread is there if one could not be woken. */
  async start(): Promise<void> {
    const { driver, sys } = this.#options
    if (driver === 'batch' && sys !== null) {
      for (const keeper of this.#keepers) keeper.wakeFd = openWakeFd(sys, keeper.index)
    }
    await Promise.all(this.#keepers.map((keeper) => this.#start(keeper)))
  }

  /** Hands the image to all; they acknowledge by `adopted`. */
  publish(image: Image): void {
    this.#image = image
    for (const keeper of this.#keepers) this.#post(keeper, { kind: 'image', image: image.buffer })
  }

  configure(settings: EngineSettings): void {
    this.#settings = settings
    for (const keeper of this.#keepers) this.#post(keeper, { kind: 'settings', settings })
  }

  /** Asks all for a sign of life: by index, true if it came within the deadline. */
  async ping(deadlineMs: number): Promise<boolean[]> {
    const answers = await this.#ask((request) => ({ kind: 'ping', request }), deadlineMs)
    return answers.map((answer) => answer === true)
  }

  /** Empties the caches, or only forgets one name (lower-cased wire format); returns how many answers that were. */
  async flush(name: Uint8Array | null, deadlineMs: number): Promise<number> {
    const answers = await this.#ask((request) => ({ kind: 'flush', request, name }), deadlineMs)
    return answers.reduce<number>((sum, count) => sum + (typeof count === 'number' ? count : 0), 0)
  }

  /** All leave the datagrams that are queued in the sockets, and those to come, to another process; nothing takes it back. */
  leaveListeners(): void {
    this.#hasLeft = true
    for (const keeper of this.#keepers) this.#post(keeper, { kind: 'leaveListeners' })
  }

  /** Drains all and resolves when their threads have ended, or with the number of those that did not end in time. */
  async stop(deadlineMs: number): Promise<{ overdue: number }> {
    this.#isStopping = true
    const overdue = await Promise.all(this.#keepers.map((keeper) => this.#stop(keeper, deadlineMs)))
    return { overdue: overdue.filter((isOverdue) => isOverdue).length }
  }

  /** Closes the eventfds of those that have ended: after `stop`, and after the stream worker's end, which writes to them. */
  closeWakeFds(): void {
    for (const keeper of this.#keepers) {
      if (keeper.thread !== null || keeper.wakeFd < 0) continue
      this.#options.sys?.close(keeper.wakeFd)
      keeper.wakeFd = -1
    }
  }

  /** Tells every worker to end at once, for the way out of the process: ending it would wait for them in `poll`. */
  endNow(): void {
    this.#isStopping = true
    for (const keeper of this.#keepers) this.#post(keeper, { kind: 'drain', deadlineMs: 0 })
  }

  async #start(keeper: Keeper): Promise<void> {
    const { driver, images, listeners, onStreamPort, seed, startedAtEpochMs } = this.#options
    keeper.reader = this.#nextReader++
    keeper.startedAt = performance.now()
    images.workerStarted(keeper.reader)
    const start: WorkerStart = {
      index: keeper.index,
      driver,
      listeners: this.#hasLeft ? [] : listeners(keeper.index),
      wakeFd: keeper.wakeFd,
      counters: keeper.counters.buffer,
      openedFds: keeper.openedFds.buffer,
      settings: this.#settings,
      startedAtEpochMs,
      seed,
      image: this.#image?.buffer ?? null,
    }
    const thread = new Worker(
      new URL(import.meta.url.endsWith('.ts') ? '../worker/data-worker.ts' : './data-worker.js', import.meta.url),
      {
        workerData: start,
        name: `data-${keeper.index}`,
        // A worker in poll collects no garbage in between: a small young generation keeps it small.
        resourceLimits: { maxYoungGenerationSizeMb: 4 },
      },
    )
    keeper.thread = thread
    const ready = Promise.withResolvers<void>()
    thread.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') ready.resolve()
      this.#receive(keeper, thread, message)
    })
    thread.on('error', (error) => {
      this.#options.log.error(
        { worker: keeper.index, error: error instanceof Error ? error.message : String(error) },
        'a data worker failed',
      )
    })
    thread.on('exit', () => {
      ready.reject(new Error(`data worker ${keeper.index} ended before it was ready`))
      this.#ended(keeper, thread)
    })
    const { port, wakeFd } = this.#openStreamPort(keeper)
    onStreamPort(keeper.index, port, wakeFd)
    await ready.promise
  }

  /** New ways to all data workers, for a stream worker that starts anew. */
  openStreamPorts(): { port: MessagePort; wakeFd: number }[] {
    return this.#keepers.map((keeper) => this.#openStreamPort(keeper))
  }

  #openStreamPort(keeper: Keeper): { port: MessagePort; wakeFd: number } {
    const { port1, port2 } = new MessageChannel()
    this.#post(keeper, { kind: 'stream', port: port1 }, [port1])
    return { port: port2, wakeFd: keeper.wakeFd }
  }

  #receive(keeper: Keeper, thread: Worker, message: FromWorker): void {
    if (thread !== keeper.thread) return
    switch (message.kind) {
      case 'ready':
        keeper.isReady = true
        return
      case 'adopted':
        this.#options.images.acknowledged(keeper.reader, message.generation)
        return this.#options.onAdopted()
      case 'reply': {
        this.#requests.get(message.request)?.(message.value)
        return void this.#requests.delete(message.request)
      }
      case 'log':
        return this.#options.log[message.level]({ worker: keeper.index, ...message.fields }, message.message)
      case 'loop':
        return this.#options.onLoop?.(message.server, message.from)
      case 'drained':
    }
  }

  #ended(keeper: Keeper, thread: Worker): void {
    if (thread !== keeper.thread) return
    keeper.thread = null
    keeper.isReady = false
    this.#options.images.workerGone(keeper.reader)
    // Descriptors that came through koffi are not closed by the thread's end.
    keeper.openedFds.forEach((fd, place) => {
      if (fd >= 0) this.#options.sys?.close(fd)
      keeper.openedFds[place] = -1
    })
    if (this.#isStopping) return
    this.restarts++
    const lived = performance.now() - keeper.startedAt
    keeper.restartMs = lived > HEALTHY_MS ? RESTART_MS : Math.min(keeper.restartMs * 2, LONGEST_RESTART_MS)
    this.#options.log.error(
      { worker: keeper.index, livedMs: Math.round(lived) },
      'a data worker ended; starting it again',
    )
    const again = (): void => {
      if (!this.#isStopping) this.#start(keeper).catch(() => {})
    }
    if (lived > HEALTHY_MS) again()
    else setTimeout(again, keeper.restartMs).unref()
  }

  async #stop(keeper: Keeper, deadlineMs: number): Promise<boolean> {
    const { thread } = keeper
    if (thread === null) return false
    const ended = new Promise<boolean>((resolve) => thread.once('exit', () => resolve(false)))
    const overdue = Promise.withResolvers<boolean>()
    const timer = setTimeout(() => overdue.resolve(true), deadlineMs + 500)
    this.#post(keeper, { kind: 'drain', deadlineMs })
    const isOverdue = await Promise.race([ended, overdue.promise])
    clearTimeout(timer)
    return isOverdue
  }

  async #ask(message: (request: number) => ToWorker, deadlineMs: number): Promise<unknown[]> {
    return Promise.all(
      this.#keepers.map(async (keeper) => {
        if (!keeper.isReady) return null
        const request = this.#nextRequest++
        const answer = Promise.withResolvers<unknown>()
        this.#requests.set(request, answer.resolve)
        const timer = setTimeout(() => answer.resolve(null), deadlineMs)
        this.#post(keeper, message(request))
        const value = await answer.promise
        clearTimeout(timer)
        this.#requests.delete(request)
        return value
      }),
    )
  }

  #post(keeper: Keeper, message: ToWorker, transfer: MessagePort[] = []): void {
    keeper.thread?.postMessage(message, transfer)
    this.#wake(keeper)
  }

  #wake(keeper: Keeper): void {
    if (keeper.wakeFd >= 0) this.#options.sys?.wake(keeper.wakeFd)
  }
}

/** Without it a worker in `poll` could neither be told anything nor be ended. */
function openWakeFd(sys: Syscalls, worker: number): number {
  const fd = sys.eventfd()
  if (fd >= 0) return fd
  throw new Error(`no eventfd for data worker ${worker} (${errorName(-fd)}): is the limit of open files reached?`)
}
