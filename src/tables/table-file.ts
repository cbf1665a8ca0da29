import { createHash } from 'node:crypto'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { type Clock, wallClock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { ReadingLoop } from '../base/reading-loop.ts'
import { encodeNameTable, parseNameTableJson, type TableSink, type TableVerdict } from '../table/nds.ts'

/** Watches a file until closed: `onChange` after it changed, appeared, went away or was swapped behind a symlink. */
export type Watch = (path: string, onChange: () => void) => { close(): void }

export interface TableFileOptions {
  /** A NameTable as proto3 JSON. */
  path: string
  sink: TableSink
  log: Log
  watch: Watch
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
  rejected: number
  lastAcceptedAtMs: number | null
  /** Why the file as it is now cannot be used; null if it is in use, or was not read yet. */
  error: string | null
  /** Since when it cannot, whatever the reasons were. */
  errorSinceMs: number | null
}

/** `mesh.source.table`: a name table from a file, read again whenever it changes. A bad file leaves the table in use. */
export class TableFileSource {
  readonly #options: TableFileOptions
  readonly #clock: Clock
  readonly #state: TableFileState
  #watch: { close(): void } | null = null
  #aborted: AbortController = new AbortController()
  readonly #loop: ReadingLoop

  constructor(options: TableFileOptions) {
    this.#options = options
    this.#clock = options.clock ?? wallClock
    this.#loop = new ReadingLoop(() => this.#read(), this.#clock)
    this.#state = {
      path: options.path,
      version: '',
      accepted: 0,
      unchanged: 0,
      rejected: 0,
      lastAcceptedAtMs: null,
      error: null,
      errorSinceMs: null,
    }
  }

  /** Begins to watch, and resolves when the file was read once, to whatever end. */
  start(): Promise<void> {
    if (this.#watch !== null) return this.#loop.settled()
    this.#aborted = new AbortController()
    // Before the read: a change between the two would be lost.
    this.#watch = this.#options.watch(this.#options.path, () => void this.#loop.read())
    return this.#loop.read()
  }

  /** Ends the watch; waits for a read under way, for at most `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    this.#watch?.close()
    this.#watch = null
    this.#aborted.abort()
    await this.#loop.stop(deadlineMs)
  }

  state(): TableFileState {
    return { ...this.#state }
  }

  async #read(): Promise<void> {
    const { signal } = this.#aborted
    const content = contentOf(this.#options.path)
    await Promise.resolve()
    // Changed meanwhile: what was read may be half of the old content, or nothing yet of the new.
    if (!signal.aborted && !this.#loop.isStale) this.#take(content)
  }

  #take(content: { text: string } | { failure: string }): void {
    const { path, log } = this.#options
    const state = this.#state
    const version = 'text' in content ? hashOf(content.text) : ''
    const verdict = 'text' in content ? this.#offer(content.text, version) : refused(content.failure)
    if (!verdict.accepted) {
      state.rejected++
      const level = state.error === verdict.reason ? 'debug' : 'error'
      log[level]({ path }, `name table file ${path}: ${verdict.reason}; the name table in use stays`)
      state.error = verdict.reason
      state.errorSinceMs ??= this.#clock.now()
      return
    }
    state.accepted++
    if (!verdict.changed) state.unchanged++
    state.lastAcceptedAtMs = this.#clock.now()
    log.info({ path, version, changed: verdict.changed }, 'read the name table file')
    state.version = version
    state.error = null
    state.errorSinceMs = null
  }

  #offer(text: string, version: string): TableVerdict {
    try {
      return this.#options.sink.accept(encodeNameTable(parseNameTableJson(text)), version)
    } catch (error) {
      return refused(lineOf(error))
    }
  }
}

function contentOf(path: string): { text: string } | { failure: string } {
  const read = readBoundedText(path, MAX_FILE_BYTES.nameTable)
  return 'text' in read ? read : { failure: `cannot be read: ${read.problem.code}: ${read.problem.reason}` }
}

function refused(reason: string): TableVerdict {
  return { accepted: false, reason }
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}
