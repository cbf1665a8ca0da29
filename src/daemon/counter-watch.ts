/**
 * Looks at what the data workers count in shared memory, for what the control thread must react to: once a second while servers
 * are asked or clients refused.
 */
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { RCODES, Source, type WorkerCounters } from '../stats/counters.ts'
import type { DaemonSettings } from './settings.ts'
import { REQUEST_FIELDS, UpstreamHealth } from './upstream-health.ts'

const LOOK_EVERY_MS = 1000
/** As long as byname answers by itself: to wake the thread costs more than the look, a tenth of an answer at 100 a second. */
const QUIET_MS = 5000
const REFUSED: number = RCODES.indexOf('REFUSED')

/** What is looked at, and who is told. */
export interface CounterWatchOptions {
  settings: Pick<DaemonSettings, 'engine' | 'clientRefused' | 'serverFails'>
  /** Of each data worker. */
  counters: () => readonly WorkerCounters[]
  /** Its time never jumps. */
  clock: Clock
  log: Log
}

/** Looks from `start` to `stop`: at the health of upstream servers, and whether clients were refused. */
export class CounterWatch {
  readonly #options: CounterWatchOptions
  readonly #health: UpstreamHealth
  #refused = 0
  #watched = 0
  #cancel: (() => void) | null = null

  constructor(options: CounterWatchOptions) {
    this.#options = options
    this.#health = new UpstreamHealth(options.log)
  }

  start(): void {
    this.#arm(LOOK_EVERY_MS)
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #arm(delayMs: number): void {
    this.#cancel ??= this.#options.clock.after(delayMs, () => {
      this.#cancel = null
      const workers = this.#options.counters()
      const watched = workers.reduce((sum, each) => sum + refusedBy(each) + this.#askedOf(each), 0)
      this.#arm(watched === this.#watched ? QUIET_MS : LOOK_EVERY_MS)
      this.#watched = watched
      this.#look(workers)
    })
  }

  /** Queries to the servers in use. */
  #askedOf(worker: WorkerCounters): number {
    let asked = 0
    for (let k = 0; k < this.#options.settings.engine.servers.length; k++) {
      for (const field of REQUEST_FIELDS) asked += worker.upstreamGet(k, field)
    }
    return asked
  }

  #look(workers: readonly WorkerCounters[]): void {
    const { settings, clock } = this.#options
    if (this.#health.look(settings.engine, workers, clock.now())) settings.serverFails()
    const refused = workers.reduce((sum, each) => sum + refusedBy(each), 0)
    // At most once a second, however many are refused: a look at the addresses costs little, but not nothing.
    if (refused > this.#refused) settings.clientRefused()
    this.#refused = refused
  }
}

/** REFUSED by us, whatever the reason. */
function refusedBy(counters: WorkerCounters): number {
  return counters.responsesOf(Source.local, REFUSED)
}
