/** Keeps one thread running: starts it again when it ends, or when it could not be started, with growing pauses. */
import type { Worker } from 'node:worker_threads'
import { lineOf, type Log } from '../base/log.ts'

/** One that lived this long is started again at once, and pauses begin anew. */
const HEALTHY_MS = 10_000

/** Which thread is kept running, and who is told. */
export interface SupervisorOptions {
  /** For the log: `a data worker`, `the stream worker`, and what tells it apart from others of the name. */
  name: string
  fields: object
  /** First pause; each further one is twice as long. */
  firstPauseMs: number
  longestPauseMs: number
  log: Pick<Log, 'error'>
  /** Starts the thread. @throws Error if there can be none now */
  launch: () => Worker
  /** The thread has started again. */
  restarted?: () => void
  /** The thread has ended, or could not be started, and why: what it held is to be given back. Called before the next start. */
  ended: (reason: Error) => void
}

/** Keeps one thread running from `start` to `stop`. */
export class Supervisor {
  readonly #options: SupervisorOptions
  #thread: Worker | null = null
  #isStopping = false
  #launchedAtMs = 0
  #pauseMs: number
  /** Times the thread ended or could not be started, and was started or tried again. */
  restarts = 0

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#pauseMs = options.firstPauseMs
  }

  /** The thread that runs; null between two. */
  get thread(): Worker | null {
    return this.#thread
  }

  get isStopping(): boolean {
    return this.#isStopping
  }

  /** Starts the thread; from here on it is started again until `stop`. False if it could not be started now. */
  start(): boolean {
    this.#launchedAtMs = performance.now()
    let thread: Worker
    try {
      thread = this.#options.launch()
    } catch (error) {
      const reason = startError(this.#options.name, error)
      this.#options.ended(reason)
      this.#options.log.error(this.#options.fields, `${reason.message}; trying again in ${this.#pauseMs} ms`)
      this.#again(this.#pauseMs)
      return false
    }
    this.#thread = thread
    let failure = ''
    thread.on('error', (error) => {
      failure = lineOf(error)
      this.#options.log.error({ ...this.#options.fields, error: failure }, `${this.#options.name} failed`)
    })
    thread.on('exit', () => this.#ended(thread, failure))
    return true
  }

  /** Starts nothing any more. The thread is ended by whoever owns it. */
  stop(): void {
    this.#isStopping = true
  }

  #ended(thread: Worker, failure: string): void {
    if (thread !== this.#thread) return
    this.#thread = null
    this.#options.ended(
      new Error(`${this.#options.name} ended before it was ready${failure === '' ? '' : `: ${failure}`}`),
    )
    if (this.#isStopping) return
    const livedMs = performance.now() - this.#launchedAtMs
    if (livedMs > HEALTHY_MS) this.#pauseMs = this.#options.firstPauseMs
    this.#options.log.error(
      { ...this.#options.fields, livedMs: Math.round(livedMs) },
      `${this.#options.name} ended; starting it again`,
    )
    this.#again(livedMs > HEALTHY_MS ? 0 : this.#pauseMs)
  }

  #again(pauseMs: number): void {
    this.restarts++
    if (pauseMs > 0) this.#pauseMs = Math.min(pauseMs * 2, this.#options.longestPauseMs)
    setTimeout(() => {
      if (!this.#isStopping && this.start()) this.#options.restarted?.()
    }, pauseMs).unref()
  }
}

/** One line for a thread that cannot be started, with the usual remedy. */
function startError(name: string, error: unknown): Error {
  const reason = lineOf(error)
  const remedy = reason.includes('EAGAIN') ? ': raise the limit of threads (ulimit -u, pids.max of the cgroup)' : ''
  return new Error(`${name} cannot be started (${reason})${remedy}`, { cause: error })
}
