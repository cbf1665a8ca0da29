/**
 * Entries on their way into a channel: a bounded queue, one write at a time. What does not fit is counted and forgotten;
 * nothing waits for a disk or a reader. A channel that fails is opened again, after pauses that grow.
 *
 * ```
 *  closed ─→ opening ─→ open: write, write, …
 *    ↑ pause    │ failed   │ failed
 *    └──────────┴──────────┘
 * ```
 */
import { type Clock, waitFor } from '../../base/clock.ts'
import { describeError, type Log } from '../../base/log.ts'
import type { Entries } from '../../querylog/log-batch.ts'
import type { Channel, OpenChannel } from './channel.ts'

/** Bytes that wait at most, what is being written included. */
const MOST_WAITING_BYTES = 4 * 1024 * 1024
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 30_000
/** What waits when the output is stopped may take so long. */
const DRAIN_MS = 1000

/** What a buffered output is made with. */
export interface BufferedOutputOptions {
  /** For people: `file /var/log/byname/queries.json`. */
  name: string
  open: OpenChannel
  clock: Clock
  log: Pick<Log, 'info' | 'warn'>
}

/** Why entries are lost, or wait. */
export interface OutputTrouble {
  reason: string
  /** Of the clock. */
  sinceMs: number
}

/** One output of the query log, opened when it is made. */
export class BufferedOutput {
  readonly #options: BufferedOutputOptions
  readonly #waiting: Entries[] = []
  #waitingBytes = 0
  #channel: Channel | null = null
  /** What is being done with a channel: settles when that is over, and never rejects. */
  #work: Promise<void> | null = null
  #mustReopen = false
  #pauseMs = FIRST_PAUSE_MS
  #cancelRetry: (() => void) | null = null
  #trouble: OutputTrouble | null = null
  /** Entries that were lost since the trouble began. */
  #lost = 0
  #isStopping = false
  /** Entries that were lost, ever. */
  dropped = 0

  constructor(options: BufferedOutputOptions) {
    this.#options = options
    this.#proceed()
  }

  get trouble(): OutputTrouble | null {
    return this.#trouble
  }

  /** Takes entries, which are the output's from now on. */
  push(entries: Entries): void {
    if (this.#isStopping) return void (this.dropped += entries.count)
    if (this.#waitingBytes + entries.bytes.length > MOST_WAITING_BYTES) {
      this.dropped += entries.count
      this.#note('entries are taken more slowly than they come')
      this.#lost += entries.count
      return
    }
    this.#waiting.push(entries)
    this.#waitingBytes += entries.bytes.length
    this.#proceed()
  }

  /** The file may have been moved away, or what kept it from being opened may be gone. */
  reopen(): void {
    this.#mustReopen = this.#channel !== null
    this.#pauseMs = FIRST_PAUSE_MS
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.#proceed()
  }

  /** Writes what waits, if that does not take long, and closes. */
  async stop(): Promise<void> {
    const { clock } = this.#options
    this.#isStopping = true
    this.#cancelRetry?.()
    this.#cancelRetry = null
    await waitFor(this.#drained(), DRAIN_MS, clock)
    for (const { count } of this.#waiting.splice(0)) this.dropped += count
    const channel = this.#channel
    this.#channel = null
    if (channel !== null) await waitFor(channel.close(), DRAIN_MS, clock)
  }

  async #drained(): Promise<void> {
    while (this.#work !== null) await this.#work
  }

  #proceed(): void {
    if (this.#work !== null || this.#cancelRetry !== null) return
    const channel = this.#channel
    if (channel === null) {
      if (!this.#isStopping) this.#do(() => this.#open())
    } else if (this.#mustReopen) {
      this.#mustReopen = false
      this.#do(() => channel.reopen())
    } else if (this.#waiting.length > 0) this.#do(() => this.#write(channel))
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#finish(work())
  }

  async #finish(work: Promise<void>): Promise<void> {
    await work.catch((error: unknown) => this.#failed(describeError(error)))
    this.#work = null
    this.#proceed()
  }

  async #open(): Promise<void> {
    const channel = await this.#options.open((reason) => this.#failed(reason))
    if (this.#isStopping) return await channel.close()
    this.#channel = channel
    this.#noteProgress()
  }

  /** What cannot be written stays: the next channel gets it whole. */
  async #write(channel: Channel): Promise<void> {
    const { bytes } = this.#waiting[0]!
    await channel.write(bytes)
    this.#waiting.shift()
    this.#waitingBytes -= bytes.length
    this.#pauseMs = FIRST_PAUSE_MS
    this.#noteProgress()
  }

  #failed(reason: string): void {
    const channel = this.#channel
    this.#channel = null
    void channel?.close()
    if (this.#isStopping) return
    this.#note(reason)
    if (this.#cancelRetry !== null) return
    this.#cancelRetry = this.#options.clock.after(this.#pauseMs, () => {
      this.#cancelRetry = null
      this.#proceed()
    })
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2)
  }

  #note(reason: string): void {
    const { clock, log, name } = this.#options
    if (this.#trouble !== null) return void (this.#trouble = { ...this.#trouble, reason })
    this.#trouble = { reason, sinceMs: clock.now() }
    this.#lost = 0
    log.warn(
      { output: name, reason },
      'the query log cannot be written: DNS goes on, and byname_query_log_dropped_total counts what the log lacks',
    )
  }

  /** That a channel is open does not show that it takes anything: trouble is over when nothing waits. */
  #noteProgress(): void {
    if (this.#trouble === null || this.#waiting.length > 0) return
    const { clock, log, name } = this.#options
    const seconds = Math.round((clock.now() - this.#trouble.sinceMs) / 1000)
    this.#trouble = null
    log.info({ output: name, seconds, lost: this.#lost }, 'the query log is written again')
  }
}
