/** The last lines of the log, kept in memory for /debug/log and bug reports: after the fact nobody has the others. */

/** A line as it was written. */
export interface KeptLine {
  /** ISO 8601. */
  time: string
  level: string
  message: string
  /** As JSON shows them. */
  fields: Record<string, unknown>
}

/** The lines kept, the oldest first. */
export interface RecentLog {
  /** Of level info and above, whatever level is written. */
  lines: readonly KeptLine[]
  /** Warnings and errors, which the others do not push out. */
  failures: readonly KeptLine[]
  /** Lines that were kept once and are no more. */
  dropped: number
}

const MOST_LINES = 512
const MOST_FAILURES = 128
/** Of the fields of a line, and of its message. */
const MOST_CHARS = 2048

/** Keeps the last lines: at most 640 of 4 KiB. */
export class LogRing {
  readonly #lines: KeptLine[] = []
  readonly #failures: KeptLine[] = []
  #dropped = 0

  add(line: KeptLine): void {
    const kept = bounded(line)
    this.#lines.push(kept)
    if (this.#lines.length > MOST_LINES) {
      this.#lines.shift()
      this.#dropped++
    }
    if (line.level !== 'warn' && line.level !== 'error') return
    this.#failures.push(kept)
    if (this.#failures.length > MOST_FAILURES) this.#failures.shift()
  }

  recent(): RecentLog {
    return { lines: [...this.#lines], failures: [...this.#failures], dropped: this.#dropped }
  }
}

function bounded({ time, level, message, fields }: KeptLine): KeptLine {
  const text = jsonOf(fields)
  return {
    time,
    level,
    message: message.length > MOST_CHARS ? `${message.slice(0, MOST_CHARS)}…` : message,
    fields: text.length > MOST_CHARS ? { cut: `${text.slice(0, MOST_CHARS)}…` } : JSON.parse(text),
  }
}

/** What JSON cannot say (a circle) is left out. */
function jsonOf(fields: object): string {
  try {
    return JSON.stringify(fields)
  } catch {
    return '{}'
  }
}
