import { createHash } from 'node:crypto'
import { MAX_FILE_BYTES } from '../base/bounded-file.ts'
import { type Clock, wallClock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import { type Log, lineOf } from '../base/log.ts'
import { onePass } from '../base/one-pass.ts'
import { type Taken, WatchedFile } from '../base/watched-file.ts'
import type { TableSink, TableVerdict } from '../table/nds.ts'
import { encodeNameTableJson } from '../table/nds-json.ts'

/** What the origin is made with. */
export interface TableFileOptions {
  /** A NameTable as proto3 JSON. */
  path: string
  sink: TableSink
  log: Log
  /** The machine's by default. */
  files?: Files
  /** Unix time. */
  clock?: Clock
}

/** What is known of the file, for people. Times are Unix times in ms. */
export interface TableFileState {
  path: string
  /** Hash of the content last accepted, '' before. */
  version: string
  /** Tables accepted; `unchanged` of them were equal to the one in use. */
  accepted: number
  unchanged: number
  /** Contents refused; what cannot be read does not count. */
  rejected: number
  lastAcceptedAtMs: number | null
  /** Why the file as it is now cannot be used; null if it is in use, or was not read yet. */
  error: string | null
  /** Since when it cannot, whatever the reasons were. */
  errorSinceMs: number | null
}

/** `mesh.source.table`: a name table from a file, read again whenever it changes. A bad file leaves the table in use. */
export class TableFileOrigin {
  readonly #options: TableFileOptions
  readonly #clock: Clock
  readonly #file: WatchedFile<string>
  #accepted = 0
  #unchanged = 0
  #rejected = 0
  #lastAcceptedAtMs: number | null = null

  constructor(options: TableFileOptions) {
    this.#options = options
    this.#clock = options.clock ?? wallClock
    const { path, log, files } = options
    this.#file = new WatchedFile({
      path,
      what: 'the name table file',
      maxBytes: MAX_FILE_BYTES.nameTable,
      take: (content) => this.#take(content),
      onChange: () => {},
      describe: ({ code, reason }) =>
        `name table file ${path}: ${code === 'EINVAL' ? '' : 'cannot be read: it '}${reason}; the name table in use stays`,
      level: 'error',
      log,
      clock: this.#clock,
      ...(files && { files }),
    })
  }

  /** Begins to watch, and reads the file once, to whatever end. */
  start(): void {
    this.#file.start()
  }

  /** Ends the watch. */
  stop(): void {
    this.#file.stop()
  }

  state(): TableFileState {
    return {
      path: this.#options.path,
      version: this.#file.value ?? '',
      accepted: this.#accepted,
      unchanged: this.#unchanged,
      rejected: this.#rejected,
      lastAcceptedAtMs: this.#lastAcceptedAtMs,
      error: this.#file.trouble?.reason ?? null,
      errorSinceMs: this.#file.trouble?.sinceMs ?? null,
    }
  }

  /** The version of what was taken. */
  #take(content: Buffer): Taken<string> {
    const { path, log } = this.#options
    const version = createHash('sha256').update(content).digest('hex').slice(0, 12)
    const verdict = this.#offer(content, version)
    if (!verdict.accepted) {
      this.#rejected++
      return { problem: verdict.reason }
    }
    this.#accepted++
    if (!verdict.changed) this.#unchanged++
    this.#lastAcceptedAtMs = this.#clock.now()
    log.info({ path, version, changed: verdict.changed }, 'read the name table file')
    return { value: version }
  }

  #offer(content: Buffer, version: string): TableVerdict {
    try {
      const encode = (): Uint8Array => encodeNameTableJson(content)
      const table = this.#accepted > 0 ? encode() : onePass(content.length, encode)
      return this.#options.sink.accept(table, version)
    } catch (error) {
      return { accepted: false, reason: lineOf(error) }
    }
  }
}
