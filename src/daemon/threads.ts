/** The threads that answer, as one: the data workers, and the stream worker that has the connections. */
import { socketText } from '../config/address.ts'
import type { Config } from '../config/schema.ts'
import type { RuleMatch } from '../engine/rule-reports.ts'
import type { EngineSettings } from '../engine/settings.ts'
import type { Log } from '../base/log.ts'
import type { Syscalls } from '../os/syscalls.ts'
import { StreamCounters } from '../stats/stream-counters.ts'
import { DEFAULT_STREAM_SETTINGS } from '../stream/stream-settings.ts'
import type { ImagePool } from '../table/image-pool.ts'
import type { StartThread } from './data-thread.ts'
import { DataWorkers } from './data-workers.ts'
import { BindError, bindError, type OpenListener } from './listener-sockets.ts'
import { type Driver, workerListeners } from './listeners.ts'
import { handOut } from './reload.ts'
import { StreamThread } from './stream-thread.ts'

/** What is under way is finished within this time once the threads are to stop. */
export const DRAIN_MS = 5000
/** A data worker that has not collected its garbage by then is not waited for. */
const COLLECT_MS = 5000

/** What the threads are made from. */
export interface ThreadsOptions {
  config: Config
  /** Open, and owned by the caller. */
  listeners: readonly OpenListener[]
  driver: Driver
  sys: Syscalls | null
  settings: EngineSettings
  /** PEM text of the certificates that upstream servers are checked against; null for those of Node. */
  rootCertificates: string | null
  /** TCP connections of clients that there is room for. */
  maxConnections: number
  /** Unix time in ms. */
  startedAtMs: number
  /** Of all name hashes. */
  seed: number
  images: ImagePool
  /** Of data workers. */
  startThread: StartThread
  log: Log
  /** A slot of the image pool may have become free. */
  onAdopted: () => void
  /** An upstream server, by its label, forwards to us. */
  onLoop: (server: string, from: Uint8Array) => void
  /** Every question below this search domain is asked again, and why. */
  onStormsOff: (domain: string, why: string) => void
  /** A query was matched by a rule that logs, or is under audit. */
  onRuleMatch: (match: RuleMatch) => void
  /** A plug-in, by its id, is switched off, and why. */
  onPluginOff: (id: number, why: string) => void
}

/** The threads from their start to their end. */
export class Threads {
  readonly workers: DataWorkers
  readonly streamCounters: StreamCounters = new StreamCounters()
  readonly #options: ThreadsOptions
  #settings: EngineSettings
  #rootCertificates: string | null
  #stream: StreamThread | null = null
  #isStopping = false
  readonly #onExit: () => void = () => this.workers.endNow()

  constructor(options: ThreadsOptions) {
    const { config, listeners, driver, sys, settings, startedAtMs, ...shared } = options
    this.#options = options
    this.#settings = settings
    this.#rootCertificates = options.rootCertificates
    this.workers = new DataWorkers({
      count: config.workers,
      driver: driver.name,
      sys,
      listeners: (index) => workerListeners(listeners, index, config.workers, driver, sys),
      settings,
      startedAtEpochMs: startedAtMs,
      seed: shared.seed,
      log: shared.log,
      images: shared.images,
      startThread: shared.startThread,
      onAdopted: shared.onAdopted,
      onLoop: shared.onLoop,
      onStormsOff: shared.onStormsOff,
      onRuleMatch: shared.onRuleMatch,
      onPluginOff: shared.onPluginOff,
      knockFds: () => (this.#stream === null && this.#canWait ? listeners.map(({ tcpFd }) => tcpFd) : []),
      onStreamWanted: () => this.#startLateStream(),
      onRestarted: (index) => this.#stream?.replace(index, this.workers.openStreamPort(index)),
    })
    process.on('exit', this.#onExit)
  }

  /**
   * Starts the data workers, then the stream worker: on two cores all at once would only wait for each other. Where data
   * workers can look for clients that knock, the stream worker, 6 MB, waits for the first, or for a query that needs it.
   * @throws BindError; `stop` ends what was started
   */
  async start(): Promise<void> {
    await this.workers.start()
    if (!this.#isStopping && !this.#canWait) await this.#startStream()
  }

  /** Times that a thread died and was started again. */
  get restarts(): number {
    return this.workers.restarts + (this.#stream?.restarts ?? 0)
  }

  /** Nobody needs the stream worker before it is asked for. */
  get #canWait(): boolean {
    const { driver, listeners } = this.#options
    return (
      driver.name === 'batch' &&
      listeners.every(({ tcpFd }) => tcpFd >= 0) &&
      this.#settings.servers.every(({ transport }) => transport === 'udp')
    )
  }

  #startLateStream(): void {
    if (this.#stream !== null || this.#isStopping) return
    this.#startStream().catch((error: Error) =>
      this.#options.log.error({}, `no connections over TCP: ${error.message}`),
    )
  }

  /** Hands new settings to all of them. Returns whether other names of rules are in use now than before. */
  configure(settings: EngineSettings, rootCertificates: string | null): boolean {
    const before = this.#settings.rules?.image
    this.#settings = settings
    this.#rootCertificates = rootCertificates
    handOut(settings, rootCertificates, this.#stream, this.workers)
    if (!this.#canWait) this.#startLateStream()
    if (settings.rules?.image === before) return false
    // A worker that allocates nothing collects nothing: it would keep the image of before, which may be large.
    this.collect()
    return true
  }

  /** Has the data workers collect their garbage, and does not wait for it. */
  collect(): void {
    void this.workers.request('collect', null, COLLECT_MS)
  }

  /**
   * Drains and ends all of them. Kills the process where a data worker does not end: it would keep the process for ever,
   * `process.exit` included.
   */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#stream?.drain(DRAIN_MS)
    const { overdue } = await this.workers.stop(DRAIN_MS)
    if (overdue > 0) {
      this.#options.log.error({ workers: overdue }, 'data workers did not end in time')
      process.kill(process.pid, 'SIGKILL')
    }
    // Only now: datagrams may have waited for servers that are asked over it.
    await this.#stream?.stop()
    this.workers.closeWakeFds()
    process.off('exit', this.#onExit)
  }

  async #startStream(): Promise<void> {
    const { listeners, log, maxConnections, sys } = this.#options
    const rootCertificates = this.#rootCertificates
    const stream = new StreamThread({
      listeners: listeners.map(({ address, port, tcpFd }) => ({
        address,
        port,
        lend: () => (tcpFd < 0 ? null : sys!.duplicate(tcpFd)),
      })),
      settings: {
        ...DEFAULT_STREAM_SETTINGS,
        maxConnections,
        maxConnectionsPerClient: Math.min(DEFAULT_STREAM_SETTINGS.maxConnectionsPerClient, maxConnections),
        upstream: { ...DEFAULT_STREAM_SETTINGS.upstream, rootCertificates },
      },
      servers: this.#settings.servers,
      counters: this.streamCounters.buffer,
      openPorts: () => this.workers.openStreamPorts(),
      log,
    })
    this.#stream = stream
    const { failed } = await stream.start()
    const [first] = failed
    if (first === undefined) return
    if (first.code === 'EADDRINUSE') throw bindError(first.address, first.port, 'TCP', first.code)
    throw new BindError(socketText(first.address, first.port), first.code, first.message)
  }
}
