/**
 * The one rule for every file that is watched:
 *
 * ```
 *  changed ─→ rested for 500 ms ─→ read whole ─→ taken ──good──→ in use; "is good again" if it was not
 *     ↑            │ no                           └───bad───→ the last good state stays; said once per change
 *     └────────────┘
 * ```
 *
 * A file is read after it has rested because whoever writes it may not be done: half a file often looks like a whole one.
 * One that does not rest for five seconds is read all the same if others keep taking its place: what a rename brings is
 * whole. The watch begins before the first reading, so that no change is lost between the two.
 */
import type { FileReading } from './bounded-file.ts'
import { type Clock, wallClock } from './clock.ts'
import { type Files, isReplaced, machineFiles } from './files.ts'
import type { FileWatch } from './file-watch.ts'
import type { Log } from './log.ts'

/** For so long a file must look the same before it is read. */
export const SETTLE_MS = 500
/** After so many looks at a file that never rests it is read if others took its place, or else a problem by itself. */
export const MAX_LOOKS = 10
/** What is wrong with a file that is written over and over. */
export const NEVER_RESTS = 'does not rest: it keeps changing; replace it by a rename'

/** Why a file is not in use as it is now. */
export interface FileTrouble {
  /** What the file is, for people: `resolv.conf`, `the hosts file`. */
  what: string
  file: string
  /** What is wrong with it and the remedy, in one line: `is a FIFO; name a regular file`. */
  reason: string
  /** Unix time in ms: since when it cannot be used, whatever the reasons were. */
  sinceMs: number
}

/** A problem as it is logged. */
export interface NewProblem {
  /** An errno name, `ENOTREG`, `EFBIG`, `ECHANGING`; `EINVAL` where the content cannot be used. */
  code: string
  reason: string
  /** Nothing good has been read since the start. */
  isFirst: boolean
  /** Somebody asked for the reading (SIGHUP, the start): it did not follow a change. */
  isAsked: boolean
}

/** What became of a content. With a problem and a value, as much of it is used as can be. */
export type Taken<T> = { value: T } | { problem: string; value?: T }

/** What is watched, and who is told. */
export interface WatchedFileOptions<T> {
  path: string
  /** What it is, for people. */
  what: string
  maxBytes: number
  /**
   * Makes a value of the whole content, or says in one line why that is not possible; `last` is the last good one. The
   * bytes, which have no NUL among them unless `isBinary`, are its own; `textOf` reads them as text.
   */
  take: (content: Buffer, last: T | null) => Taken<T>
  /** The content is no text. */
  isBinary?: true
  /** What goes on until the first good reading: another file's last good value, where this one stands in for it. */
  last?: T | null
  /** Called with each value that a change has brought: not for `start` and `reread`. */
  onChange: (value: T) => void
  /** The line to log for a problem. */
  describe: (problem: NewProblem) => string
  level: 'warn' | 'error'
  log: Log
  files?: Files
  /** Its `now` is Unix time. */
  clock?: Clock
}

/** A file under the rule above. */
export class WatchedFile<T> {
  readonly #options: WatchedFileOptions<T>
  readonly #files: Files
  readonly #clock: Clock
  #watch: FileWatch | null = null
  #cancel: (() => void) | null = null
  #value: T | null = null
  #trouble: FileTrouble | null = null

  constructor(options: WatchedFileOptions<T>) {
    this.#options = options
    this.#files = options.files ?? machineFiles
    this.#clock = options.clock ?? wallClock
    this.#value = options.last ?? null
  }

  /** The last good value, null before the first. */
  get value(): T | null {
    return this.#value
  }

  /** Why the file as it is now is not in use; null if it is. */
  get trouble(): FileTrouble | null {
    return this.#trouble
  }

  /** Begins to watch, then reads what is there; see `value`. */
  start(): void {
    if (this.#watch !== null) return
    this.#watch = this.#files.watch(this.#options.path, () => this.#settle())
    this.reread()
  }

  /** Reads at once, whether or not it rests, as somebody asked for it. The value is the caller's to look at. */
  reread(): void {
    this.#cancelSettling()
    this.#take(this.#read(), true)
  }

  /** Watches no more; nothing is called any more. */
  stop(): void {
    this.#watch?.close()
    this.#watch = null
    this.#cancelSettling()
  }

  #cancelSettling(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  /** Something changed: the file is read once it has looked the same for a while. */
  #settle(): void {
    // A look that is under way sees the change, too.
    if (this.#cancel === null) this.#lookAgain(this.#files.stamp(this.#options.path), 1)
  }

  #lookAgain(before: string, looks: number): void {
    this.#cancel = this.#clock.after(SETTLE_MS, () => {
      this.#cancel = null
      const { path } = this.#options
      let now = this.#files.stamp(path)
      if (now === before) {
        const reading = this.#read()
        // What was written meanwhile may have been read half.
        now = this.#files.stamp(path)
        if (now === before) return this.#takeChange(reading)
      } else if (looks >= MAX_LOOKS && isReplaced(before, now)) this.#takeChange(this.#read())
      else if (looks === MAX_LOOKS) this.#takeProblem('ECHANGING', NEVER_RESTS, false)
      this.#lookAgain(now, looks + 1)
    })
  }

  #takeChange(reading: FileReading): void {
    const taken = this.#take(reading, false)
    if (taken !== null) this.#options.onChange(taken.value)
  }

  #read(): FileReading {
    return this.#files.read(this.#options.path, this.#options.maxBytes)
  }

  /** What was taken, null if nothing was. */
  #take(reading: FileReading, isAsked: boolean): { value: T } | null {
    const { path, log, what } = this.#options
    if ('problem' in reading) {
      const { code, reason } = reading.problem
      this.#takeProblem(code, reason, isAsked)
      return null
    }
    const taken = this.#valueOf(reading.bytes)
    if ('problem' in taken) this.#takeProblem('EINVAL', taken.problem, isAsked)
    else if (this.#trouble !== null) {
      this.#trouble = null
      log.info({ file: path }, `${what} is good again`)
    }
    if (taken.value === undefined) return null
    this.#value = taken.value
    return { value: taken.value }
  }

  #valueOf(bytes: Buffer): Taken<T> {
    // What a disk that lost power, or a wrong path, gives: no text has it.
    if (this.#options.isBinary !== true && bytes.includes(0))
      return { problem: 'holds NUL bytes, so it is no text; replace it' }
    return this.#options.take(bytes, this.#value)
  }

  #takeProblem(code: string, reason: string, isAsked: boolean): void {
    const { path, what, level, log, describe } = this.#options
    const before = this.#trouble
    this.#trouble = { what, file: path, reason, sinceMs: before?.sinceMs ?? this.#clock.now() }
    // Who asks is told what is still wrong.
    if (before?.reason === reason && !isAsked) return log.debug({ file: path, reason: code }, 'still of no use')
    log[level]({ file: path, reason: code }, describe({ code, reason, isFirst: this.#value === null, isAsked }))
  }
}
