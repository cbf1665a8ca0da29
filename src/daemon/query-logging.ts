/** The query log in the daemon: loaded when it is first configured, as most never need it. */
import { hostname } from 'node:os'
import { wallClock } from '../base/clock.ts'
import type { Config } from '../config/schema.ts'
import type { QueryLog } from '../observe/query-log/query-log.ts'
import type { ObserveSources, Problem } from '../observe/sources.ts'
import type { Log } from '../observe/log.ts'
import type { QueryFeed } from '../querylog/query-feed.ts'
import { version } from '../version.ts'

/** What the log is made from. */
export interface QueryLoggingOptions {
  feed: QueryFeed
  /** Label of the upstream server with a number; null for none. */
  serverLabel: (number: number) => string | null
  log: Log
}

/** The query log, whether it is on or not. */
export class QueryLogging {
  readonly #options: QueryLoggingOptions
  #queryLog: QueryLog | null = null
  /** What comes while the code is being loaded waits for that. */
  #loading: Promise<void> | null = null
  #config: Pick<Config, 'queryLog' | 'identity'> | null = null
  #isStopped = false

  constructor(options: QueryLoggingOptions) {
    this.#options = options
  }

  get state(): ReturnType<ObserveSources['queryLog']> {
    const { entries = 0, dropped = 0 } = this.#queryLog ?? {}
    return { entries, output: dropped, ringFull: this.#options.feed.dropped }
  }

  get problems(): Problem[] {
    return this.#queryLog?.problems ?? []
  }

  /** Takes what the configuration says now; counts at once unless the code must be loaded first. */
  configure(config: Pick<Config, 'queryLog' | 'identity'>): void {
    this.#config = config
    const { file, socket } = config.queryLog
    if (this.#queryLog !== null) this.#queryLog.configure(config.queryLog)
    else if (file !== '' || socket !== '') this.#loading ??= this.#load(config.identity.pod || hostname())
  }

  /** A file that was moved away is begun anew. */
  reopen(): void {
    this.#queryLog?.reopen()
  }

  /** Writes what has been told of, if that does not take long, and ends the log. The data workers have ended. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#loading
    await this.#queryLog?.stop()
    this.#options.feed.stop()
  }

  async #load(identity: string): Promise<void> {
    const { feed, serverLabel, log } = this.#options
    const { QueryLog } = await import('../observe/query-log/query-log.ts')
    if (this.#isStopped) return
    this.#queryLog = new QueryLog({
      feed,
      identity,
      version: `byname ${version}`,
      serverLabel,
      clock: wallClock,
      log,
    })
    this.#queryLog.configure(this.#config!.queryLog)
  }
}
