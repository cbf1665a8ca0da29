/**
 * The control thread's side of the data workers: starts them, hands them images and settings, restarts one that dies
 * (with its table, sockets and counters) and ends them, which needs care: a worker in `poll` sees nothing but its eventfd.
 */
import { closeSync } from 'node:fs'
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads'
import type { Log } from '../base/log.ts'
import { ThreadRequests } from '../base/thread-requests.ts'
import type { RuleMatch } from '../engine/rule-reports.ts'
import type { EngineSettings } from '../engine/settings.ts'
import { errorName, type Syscalls } from '../os/syscalls.ts'
import { createRing } from '../querylog/ring-layout.ts'
import { WorkerCounters } from '../stats/counters.ts'
import type { DataWorkerPort } from '../stream/data-worker-link.ts'
import type { Image } from '../table/image.ts'
import {
  type FromWorker,
  OPENED_FDS,
  type ToWorker,
  type WorkerListener,
  type WorkerRequests,
  type WorkerStart,
} from '../worker/mailbox.ts'
import type { StartThread } from './data-thread.ts'
import { Supervisor } from './supervisor.ts'

/** Pauses before a worker that dies at once is started again: it must not use up the machine. */
const FIRST_PAUSE_MS = 200
const LONGEST_PAUSE_MS = 5000
/** Some 40,000 answers: what a worker under full load gives in the longest pause between two looks. Untouched as long as nobody looks. */
const QUERY_RING_BYTES = 4 * 1024 * 1024

/** What the data workers are started with. */
export interface DataWorkersOptions {
  count: number
  driver: 'batch' | 'dgram'
  /** Null where there is no koffi. */
  sys: Syscalls | null
  /**
   * Listeners of worker `index`. The dgram driver closes the descriptors that it is lent, so each call lends fresh ones to
   * it; the batch driver leaves them open.
   */
  listeners: (index: number) => WorkerListener[]
  /** TCP listeners that a worker is to watch until the stream worker is there; see WorkerStart. */
  knockFds: () => number[]
  settings: EngineSettings
  startedAtEpochMs: number
  seed: number
  log: Pick<Log, 'info' | 'warn' | 'error'>
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
  /** Every question below this search domain is asked again, and why; each worker says so for itself. */
  onStormsOff?: (domain: string, why: string) => void
  /** A query was matched by a rule that logs, or is under audit. */
  onRuleMatch?: (match: RuleMatch) => void
  /** A worker has switched a plug-in off, by its id, and why; each worker says so for itself. */
  onPluginOff?: (id: number, why: string) => void
  /** A worker needs the stream worker, and there is none yet. */
  onStreamWanted: () => void
  /** A worker's thread was started again: the stream worker, if there is one, needs a new way to it (`openStreamPort`). */
  onRestarted: (worker: number) => void
  /** How their threads are started. */
  startThread: StartThread
}

/** One data worker, whichever thread it is in now. */
interface Slot {
  index: number
  supervisor: Supervisor
  requests: ThreadRequests<WorkerRequests>
  /** Number in the image pool, never used twice. */
  reader: number
  /** −1 where there is none: with Node's own sockets the event loop is woken by the message. */
  wakeFd: number
  counters: WorkerCounters
  queryRing: SharedArrayBuffer
  openedFds: Int32Array<SharedArrayBuffer>
  isReady: boolean
  /** Settles when the thread that was started first is ready, or has ended. */
  firstReady: PromiseWithResolvers<void>
}

/** All data workers. Owns their threads, their eventfds and the descriptors that they open. */
export class DataWorkers {
  readonly #options: DataWorkersOptions
  readonly #slots: Slot[]
  #image: Image | null = null
  #settings: EngineSettings
  #hasLeft = false
  #nextReader = 1

  constructor(options: DataWorkersOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#slots = Array.from({ length: options.count }, (_, index) => this.#slot(index))
  }

  #slot(index: number): Slot {
    const slot: Slot = {
      index,
      supervisor: new Supervisor({
        name: 'a data worker',
        fields: { worker: index },
        firstPauseMs: FIRST_PAUSE_MS,
        longestPauseMs: LONGEST_PAUSE_MS,
        log: this.#options.log,
        launch: () => this.#launch(slot),
        restarted: () => this.#options.onRestarted(index),
        ended: (reason) => this.#ended(slot, reason),
      }),
      requests: new ThreadRequests((message) => this.#post(slot, message)),
      reader: 0,
      wakeFd: -1,
      counters: new WorkerCounters(),
      queryRing: createRing(QUERY_RING_BYTES),
      openedFds: new Int32Array(new SharedArrayBuffer(OPENED_FDS * 4)).fill(-1),
      isReady: false,
      firstReady: Promise.withResolvers(),
    }
    return slot
  }

  /** Times a worker ended, or could not be started, and was started again. */
  get restarts(): number {
    return this.#slots.reduce((sum, { supervisor }) => sum + supervisor.restarts, 0)
  }

  get counters(): WorkerCounters[] {
    return this.#slots.map(({ counters }) => counters)
  }

  /** By worker: what it tells of its answers (ring-layout.ts). Each is for one reader. */
  get queryRings(): SharedArrayBuffer[] {
    return this.#slots.map(({ queryRing }) => queryRing)
  }

  /**
   * Starts all and resolves once they are ready. One that cannot be started is tried again in the background, if another can.
   * Rejects before any thread is there if one could not be woken, and if none becomes ready.
   */
  async start(): Promise<void> {
    const { driver, sys } = this.#options
    if (driver === 'batch' && sys !== null) {
      for (const slot of this.#slots) slot.wakeFd = openWakeFd(sys, slot.index)
    }
    for (const { supervisor } of this.#slots) supervisor.start()
    const starts = await Promise.allSettled(this.#slots.map(({ firstReady }) => firstReady.promise))
    if (starts.some(({ status }) => status === 'fulfilled')) return
    for (const start of starts) if (start.status === 'rejected') throw start.reason
  }

  /** Hands the image to all; they acknowledge by `adopted`. */
  publish(image: Image): void {
    this.#image = image
    for (const slot of this.#slots) this.#post(slot, { kind: 'image', image: image.buffer })
  }

  configure(settings: EngineSettings): void {
    this.#settings = settings
    for (const slot of this.#slots) this.#post(slot, { kind: 'settings', settings })
  }

  /** Asks all: by index, the response, or null if none came within the deadline or there is nobody to ask. */
  request<N extends keyof WorkerRequests>(
    name: N,
    payload: WorkerRequests[N]['payload'],
    deadlineMs: number,
  ): Promise<(WorkerRequests[N]['response'] | null)[]> {
    return Promise.all(
      this.#slots.map(async (slot) =>
        slot.isReady ? slot.requests.request(name, payload, deadlineMs).catch(() => null) : null,
      ),
    )
  }

  /** Asks all for a sign of life: by index, true if it came within the deadline. */
  async ping(deadlineMs: number): Promise<boolean[]> {
    const answers = await this.request('ping', null, deadlineMs)
    return answers.map((answer) => answer === true)
  }

  /** Empties the caches, or only forgets one name (lower-cased wire format); returns how many answers that were. */
  async flush(name: Uint8Array | null, deadlineMs: number): Promise<number> {
    const counts = await this.request('flush', name, deadlineMs)
    return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0)
  }

  /** All leave the datagrams that are queued in the sockets, and those to come, to another process; nothing takes it back. */
  leaveListeners(): void {
    this.#hasLeft = true
    for (const slot of this.#slots) this.#post(slot, { kind: 'leaveListeners' })
  }

  /** Drains all and resolves when their threads have ended, or with the number of those that did not end in time. */
  async stop(deadlineMs: number): Promise<{ overdue: number }> {
    for (const { supervisor } of this.#slots) supervisor.stop()
    const overdue = await Promise.all(this.#slots.map((slot) => this.#stop(slot, deadlineMs)))
    return { overdue: overdue.filter((isOverdue) => isOverdue).length }
  }

  /** Closes the eventfds of those that have ended: after `stop`, and after the stream worker's end, which writes to them. */
  closeWakeFds(): void {
    for (const slot of this.#slots) {
      if (slot.supervisor.thread !== null || slot.wakeFd < 0) continue
      this.#options.sys?.close(slot.wakeFd)
      slot.wakeFd = -1
    }
  }

  /** Tells every worker to end at once, for the way out of the process: ending it would wait for them in `poll`. */
  endNow(): void {
    for (const slot of this.#slots) {
      slot.supervisor.stop()
      this.#post(slot, { kind: 'drain', deadlineMs: 0 })
    }
  }

  /** @throws Error if there can be no thread; nothing is held for it then */
  #launch(slot: Slot): Worker {
    const { driver, images, listeners, seed, startedAtEpochMs } = this.#options
    slot.reader = this.#nextReader++
    const start: WorkerStart = {
      index: slot.index,
      driver,
      listeners: this.#hasLeft ? [] : listeners(slot.index),
      wakeFd: slot.wakeFd,
      // One is enough.
      knockFds: slot.index === 0 ? this.#options.knockFds() : [],
      counters: slot.counters.buffer,
      queryRing: slot.queryRing,
      openedFds: slot.openedFds.buffer,
      settings: this.#settings,
      startedAtEpochMs,
      seed,
      image: this.#image?.buffer ?? null,
    }
    let thread: Worker
    try {
      thread = this.#options.startThread(slot.index)
    } catch (error) {
      if (driver === 'dgram') for (const { fd } of start.listeners) if (fd >= 0) closeSync(fd)
      throw error
    }
    thread.postMessage(start)
    images.workerStarted(slot.reader)
    thread.on('message', (message: FromWorker) => this.#receive(slot, thread, message))
    return thread
  }

  /** New ways to all data workers, for a stream worker that starts anew. */
  openStreamPorts(): DataWorkerPort[] {
    return this.#slots.map(({ index }) => this.openStreamPort(index))
  }

  /** A new way to one data worker, instead of the one that it had; there is none to a worker that is not there. */
  openStreamPort(worker: number): DataWorkerPort {
    const slot = this.#slots[worker]!
    const { wakeFd } = slot
    if (slot.supervisor.thread === null) return { port: null, wakeFd }
    const { port1, port2 } = new MessageChannel()
    this.#post(slot, { kind: 'stream', port: port1 }, [port1])
    return { port: port2, wakeFd }
  }

  #receive(slot: Slot, thread: Worker, message: FromWorker): void {
    if (thread !== slot.supervisor.thread) return
    switch (message.kind) {
      case 'ready':
        slot.isReady = true
        return slot.firstReady.resolve()
      case 'adopted':
        this.#options.images.acknowledged(slot.reader, message.generation)
        return this.#options.onAdopted()
      case 'response':
        return slot.requests.receive(message)
      case 'log':
        return this.#options.log[message.level]({ worker: slot.index, ...message.fields }, message.message)
      case 'streamWanted':
        return this.#options.onStreamWanted()
      case 'loop':
        return this.#options.onLoop?.(message.server, message.from)
      case 'stormsOff':
        return this.#options.onStormsOff?.(message.domain, message.why)
      case 'ruleMatch':
        return this.#options.onRuleMatch?.(message.match)
      case 'pluginOff':
        return this.#options.onPluginOff?.(message.id, message.why)
    }
  }

  #ended(slot: Slot, reason: Error): void {
    slot.isReady = false
    slot.firstReady.reject(reason)
    slot.requests.rejectAll()
    this.#options.images.workerGone(slot.reader)
    // Descriptors that came through koffi are not closed by the thread's end.
    slot.openedFds.forEach((fd, place) => {
      if (fd >= 0) this.#options.sys?.close(fd)
      slot.openedFds[place] = -1
    })
  }

  async #stop(slot: Slot, deadlineMs: number): Promise<boolean> {
    const { thread } = slot.supervisor
    if (thread === null) return false
    const ended = new Promise<boolean>((resolve) => thread.once('exit', () => resolve(false)))
    const overdue = Promise.withResolvers<boolean>()
    const timer = setTimeout(() => overdue.resolve(true), deadlineMs + 500)
    this.#post(slot, { kind: 'drain', deadlineMs })
    const isOverdue = await Promise.race([ended, overdue.promise])
    clearTimeout(timer)
    return isOverdue
  }

  #post(slot: Slot, message: ToWorker, transfer: MessagePort[] = []): void {
    slot.supervisor.thread?.postMessage(message, transfer)
    this.#wake(slot)
  }

  #wake({ wakeFd }: Slot): void {
    if (wakeFd >= 0) this.#options.sys?.wake(wakeFd)
  }
}

/** Without it a worker in `poll` could neither be told anything nor be ended. */
function openWakeFd(sys: Syscalls, worker: number): number {
  const fd = sys.eventfd()
  if (fd >= 0) return fd
  throw new Error(`no eventfd for data worker ${worker} (${errorName(-fd)}): is the limit of open files reached?`)
}
