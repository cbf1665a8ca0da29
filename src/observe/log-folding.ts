/**
 * Folds lines that repeat: a message that comes again and again must not hide the others, fill a disk or cost time. The
 * first `SHOWN` lines of a message in a window are written as they come, so that what an operator does twice shows at once. Of
 * the rest the last is kept and written when the window ends, with the number of those left out.
 */
import type { Clock } from '../base/clock.ts'

/** Levels that are folded. Debug is for whoever wants every line. */
export type FoldedLevel = 'info' | 'warn' | 'error'

/** Writes one line. */
export type WriteLine = (level: FoldedLevel, fields: object, message: string) => void

const WINDOW_MS = 60_000
const SHOWN = 5
/** Messages that are followed at once; for another one, the window that began first ends early. */
const MOST_MESSAGES = 256

interface Window {
  level: FoldedLevel
  message: string
  beganAtMs: number
  lines: number
  /** Fields of the last line that was not written. */
  last: object | null
  cancel: () => void
}

/** Counts lines by level and message; fields may differ. */
export class LogFolding {
  readonly #write: WriteLine
  readonly #clock: Clock
  /** By level and message, the oldest window first. */
  readonly #windows: Map<string, Window> = new Map()

  /** `clock`: its time never jumps, and its timers need not keep the process alive. */
  constructor(write: WriteLine, clock: Clock) {
    this.#write = write
    this.#clock = clock
  }

  /** Writes the line, or keeps it for the end of its window. */
  line(level: FoldedLevel, fields: object, message: string): void {
    const key = `${level} ${message}`
    const window = this.#windows.get(key) ?? this.#open(key, level, message)
    window.lines++
    if (window.lines <= SHOWN) return this.#write(level, fields, message)
    window.last = fields
  }

  /** Ends all windows: what they keep is written. Further lines begin new ones. */
  flush(): void {
    for (const key of this.#windows.keys()) this.#close(key)
  }

  #open(key: string, level: FoldedLevel, message: string): Window {
    if (this.#windows.size >= MOST_MESSAGES) this.#close(this.#windows.keys().next().value!)
    const cancel = this.#clock.after(WINDOW_MS, () => this.#close(key))
    const window = { level, message, beganAtMs: this.#clock.now(), lines: 0, last: null, cancel }
    this.#windows.set(key, window)
    return window
  }

  #close(key: string): void {
    const { level, message, beganAtMs, lines, last, cancel } = this.#windows.get(key)!
    cancel()
    this.#windows.delete(key)
    if (last === null) return
    const more = lines - SHOWN
    const seconds = Math.round((this.#clock.now() - beganAtMs) / 1000)
    // A single one is written as it was.
    if (more === 1) this.#write(level, last, message)
    else this.#write(level, { ...last, repeated: more }, `${message} (… ${more} more in ${seconds} s)`)
  }
}
