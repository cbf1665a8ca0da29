import { pino } from 'pino'
import { describeError, type Log as PlainLog } from '../base/log.ts'

/** Levels, the most talkative first. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** The process's log. Fields named `error` or `err` may hold an Error. */
export interface Log extends PlainLog {
  /** Least level that is written. It may be set at any time (a reload). */
  level: LogLevel
}

/** Where lines go; each string is one whole line. */
export interface LogDestination {
  write(line: string): unknown
  isTTY?: boolean
}

/** How the log is written. */
export interface LogOptions {
  level: LogLevel
  /** `auto`: pretty on a terminal, one JSON object a line elsewhere. */
  format: 'auto' | 'json' | 'pretty'
  /** Standard error by default. */
  destination?: LogDestination
}

/**
 * Makes the log. Lines are written before the call returns, so none is lost however the process ends.
 * Asynchronous only because pino-pretty (30 ms, 1.5 MB) is loaded where it is used and not in every pod.
 */
export async function createLog(options: LogOptions): Promise<Log> {
  const terminal = options.destination ? options.destination.isTTY === true : process.stderr.isTTY
  const pretty = options.format === 'pretty' || (options.format === 'auto' && terminal)
  let level = options.level
  const lines = options.destination ?? standardError()
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: serializeError, err: serializeError },
    },
    pretty ? await prettyLines(lines, terminal && !process.env['NO_COLOR']) : lines,
  )

  /** A stack tells a developer something and a user nothing. */
  function serializeError(error: unknown): unknown {
    if (!(error instanceof Error) || level !== 'debug') return describeError(error)
    return { message: describeError(error), stack: error.stack }
  }

  return {
    get level() {
      return level
    },
    set level(least) {
      level = least
      logger.level = least
    },
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  }
}

function standardError(): LogDestination {
  const destination = pino.destination({ dest: 2, sync: true })
  // A reader that went away (EPIPE) costs the log and nothing else; unheard, the event would end the process.
  destination.on('error', () => {})
  return destination
}

/** pino-pretty's formatter alone: its stream is asynchronous and would lose the last lines of a process that ends. */
async function prettyLines(lines: LogDestination, colorize: boolean): Promise<LogDestination> {
  // A CommonJS module: once bundled, its default export is all that an import has.
  const { default: pinoPretty } = await import('pino-pretty')
  const format = pinoPretty.prettyFactory({ colorize, singleLine: true, translateTime: 'SYS:HH:MM:ss.l' })
  return { write: (line) => lines.write(format(line)) }
}
