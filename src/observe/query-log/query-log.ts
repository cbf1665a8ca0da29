/**
 * The query log: what the data workers tell of their answers, as lines or dnstap, in a file or a socket. Off unless it is
 * configured. docs/query-log.md is for those who read it.
 *
 * ```
 *  rings ─→ QueryFeed ─→ names? ─→ encoder ─→ LogBatch ─→ BufferedOutput ─→ file, FIFO, standard output, socket
 *           (sources, rcodes, latency and sampling are the data workers' business)
 * ```
 */
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { nameToWire } from '../../dns/name.ts'
import { DNSTAP_CONTENT, dnstapEncoder } from '../../querylog/dnstap.ts'
import { Control, controlFrame } from '../../querylog/frame-streams.ts'
import { JsonLines } from '../../querylog/json-lines.ts'
import { type EntryEncoder, LogBatch } from '../../querylog/log-batch.ts'
import { isBelow } from '../../querylog/name-filter.ts'
import type { QueryFeed } from '../../querylog/query-feed.ts'
import type { QueryRecord } from '../../querylog/ring-reader.ts'
import { RCODES, SOURCES } from '../../stats/counters.ts'
import type { Problem } from '../sources.ts'
import { BufferedOutput } from './buffered-output.ts'
import type { OpenChannel } from './channel.ts'
import { fileChannel, standardOutputChannel } from './file-channel.ts'
import { socketChannel } from './socket-channel.ts'

/** Entries are handed on at the latest when there are so many bytes of them. */
const BATCH_BYTES = 64 * 1024
/** The file that stands for standard output. */
const STANDARD_OUTPUT = 'stdout'
const ALL = -1

/** What is logged, and where to: the section `queryLog` of the configuration. */
export interface QueryLogSettings {
  /** Path, or `stdout`; empty: none. One of the two at most. */
  file: string
  socket: string
  format: 'json' | 'dnstap'
  /** 0 … 1: part of the answers, chosen at random. */
  sample: number
  /** Lower case, without trailing dot: names at and below these; empty: all. */
  names: readonly string[]
  /** Names of RCODES and of SOURCES; empty: all. */
  rcodes: readonly string[]
  sources: readonly string[]
  minLatencyMs: number
  /** 0: no bound. */
  maxFileBytes: number
}

/** What the query log is made with. */
export interface QueryLogOptions {
  feed: QueryFeed
  /** Which host or pod this is, and which program: dnstap says both. */
  identity: string
  version: string
  /** Label of the upstream server with a number; null for none. */
  serverLabel: (number: number) => string | null
  /** Unix time. */
  clock: Clock
  log: Pick<Log, 'info' | 'warn'>
}

/** The query log of a daemon. */
export class QueryLog {
  readonly #options: QueryLogOptions
  readonly #batch: LogBatch = new LogBatch()
  #settings: QueryLogSettings | null = null
  #output: BufferedOutput | null = null
  #names: readonly Uint8Array[] = []
  #encode: EntryEncoder = () => {}
  /** Outputs that are being stopped, and what was lost in those that are. */
  readonly #stopping: Set<Promise<void>> = new Set()
  #droppedBefore = 0
  #entries = 0

  constructor(options: QueryLogOptions) {
    this.#options = options
  }

  /** Entries handed to outputs, ever, and those that these could not get rid of. */
  get entries(): number {
    return this.#entries
  }
  get dropped(): number {
    return this.#droppedBefore + (this.#output?.dropped ?? 0)
  }

  /** What is wrong with the output. */
  get problems(): Problem[] {
    const trouble = this.#output?.trouble ?? null
    if (trouble === null) return []
    const text = `the query log cannot be written to ${outputName(this.#settings!)}: ${trouble.reason}`
    return [{ about: 'query_log', text, sinceMs: trouble.sinceMs }]
  }

  /** Begins, changes or ends the log. An output that stays the same is left open. */
  configure(settings: QueryLogSettings): void {
    const { feed, log } = this.#options
    const before = this.#settings
    this.#settings = settings
    if (before === null || outputKey(before) !== outputKey(settings)) {
      feed.setLog(null)
      this.#end()
      this.#begin(settings)
      if (this.#output !== null) log.info({ output: outputName(settings) }, 'queries are logged')
      else if (before !== null) log.info({}, 'queries are logged no more')
    }
    if (this.#output === null) return
    this.#names = settings.names.map((name) => nameToWire(name.toLowerCase())).filter((name) => name !== null)
    feed.setLog({
      sources: bits(settings.sources, SOURCES),
      rcodes: bits(settings.rcodes, RCODES),
      logPeriod: 1 / settings.sample,
      leastLatencyMicros: settings.minLatencyMs * 1000,
      hasMessages: settings.format === 'dnstap',
      handle: this.#handle,
      sliceEnded: this.#flush,
    })
  }

  /** A file that was moved away is begun anew. */
  reopen(): void {
    this.#output?.reopen()
  }

  /** Ends the log; what has been told of is written, if that does not take long. */
  async stop(): Promise<void> {
    this.#options.feed.setLog(null)
    this.#end()
    await Promise.all(this.#stopping)
  }

  #begin(settings: QueryLogSettings): void {
    const { identity, version, clock, log } = this.#options
    if (settings.file === '' && settings.socket === '') return
    this.#encode = settings.format === 'dnstap' ? dnstapEncoder(identity, version) : new JsonLines().write
    this.#output = new BufferedOutput({ name: outputName(settings), open: channelOf(settings), clock, log })
  }

  #end(): void {
    const output = this.#output
    if (output === null) return
    this.#output = null
    const stopped = this.#finish(output)
    this.#stopping.add(stopped)
    void stopped.finally(() => this.#stopping.delete(stopped))
  }

  async #finish(output: BufferedOutput): Promise<void> {
    await output.stop()
    this.#droppedBefore += output.dropped
  }

  readonly #handle = (record: QueryRecord): void => {
    if (this.#names.length > 0 && !isBelow(record, this.#names)) return
    this.#encode(this.#batch, record, this.#options.serverLabel(record.server))
    this.#entries++
    if (this.#batch.used >= BATCH_BYTES) this.#flush()
  }

  readonly #flush = (): void => {
    if (this.#batch.entries > 0) this.#output?.push(this.#batch.take())
  }
}

/** What an output is known by: with another one of these it is another output. */
function outputKey({ file, socket, format, maxFileBytes }: QueryLogSettings): string {
  return JSON.stringify([file, socket, format, maxFileBytes])
}

function outputName({ file, socket }: QueryLogSettings): string {
  if (socket !== '') return `socket ${socket}`
  return file === STANDARD_OUTPUT ? 'standard output' : `file ${file}`
}

function channelOf({ file, socket, format, maxFileBytes }: QueryLogSettings): OpenChannel {
  const isDnstap = format === 'dnstap'
  if (socket !== '') return socketChannel(socket, isDnstap ? DNSTAP_CONTENT : null)
  const frame = isDnstap
    ? { start: controlFrame(Control.START, DNSTAP_CONTENT), stop: controlFrame(Control.STOP, null) }
    : null
  return file === STANDARD_OUTPUT
    ? standardOutputChannel(frame)
    : fileChannel({ path: file, frame, maxBytes: maxFileBytes })
}

function bits(wanted: readonly string[], all: readonly string[]): number {
  return wanted.length === 0 ? ALL : wanted.reduce((sum, name) => sum | (1 << all.indexOf(name)), 0)
}
