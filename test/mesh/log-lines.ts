import type { Log } from '../../src/base/log.ts'

/** A log that keeps what was written, as `level message`. */
export class LogLines implements Log {
  readonly lines: string[] = []

  debug(_fields: object, _message: string): void {}
  info(fields: object, message: string): void {
    this.#write('info', fields, message)
  }
  warn(fields: object, message: string): void {
    this.#write('warn', fields, message)
  }
  error(fields: object, message: string): void {
    this.#write('error', fields, message)
  }

  /** Those of one level, in order. */
  of(level: 'info' | 'warn' | 'error'): string[] {
    return this.lines.filter((line) => line.startsWith(level)).map((line) => line.slice(level.length + 1))
  }

  #write(level: string, fields: object, message: string): void {
    const reason = 'reason' in fields ? ` (${String(fields.reason)})` : ''
    this.lines.push(`${level} ${message}${reason}`)
  }
}
