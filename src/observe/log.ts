import { pino } from 'pino'
import { type Clock, steadyClock } from '../base/clock.ts'
import { describeError, type Log as PlainLog } from '../base/log.ts'
import { type FoldedLevel, LogFolding } from './log-folding.ts'
import { LogRing, type RecentLog } from './log-ring.ts'

/** Levels, the most talkative first. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** The process's log. Fields named `error` or `err` may hold an Error. */
export interface Log extends PlainLog {
  /** Least level that is written. It may be set at any time (a reload). */
  level: LogLevel
}

/** The log of a process, which folds repeated lines (log-folding.ts) and keeps the last ones. */
export interface ProcessLog extends Log {
  /** The last lines. */
  recent(): RecentLog
  /** Writes what is folded now; before the process ends. */
  flush(): void
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
  /** For folding; its time never jumps. */
  clock?: Clock
}

/**
 * Makes the log. Lines are written before the call returns, so none is lost however the process ends.
 * Asynchronous only because pino-pretty (30 ms, 1.5 MB) is loaded where it is used and not in every pod.
 */
export async function createLog(options: LogOptions): Promise<ProcessLog> {
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

  const ring = new LogRing()
  const folding = new LogFolding((at, fields, message) => {
    logger[at](fields, message)
    ring.add({ time: new Date().toISOString(), level: at, message, fields: plainFields(fields) })
  }, options.clock ?? idleClock)
  const fold =
    (at: FoldedLevel) =>
    (fields: object, message: string): void =>
      folding.line(at, fields, message)

  return {
    get level() {
      return level
    },
    set level(least) {
      level = least
      logger.level = least
    },
    debug: (fields, message) => logger.debug(fields, message),
    info: fold('info'),
    warn: fold('warn'),
    error: fold('error'),
    recent: () => ring.recent(),
    flush: () => folding.flush(),
  }
}

/** Its timers do not keep the process alive: whoever ends it flushes. */
const idleClock: Clock = {
  now: () => steadyClock.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs).unref()
    return () => clearTimeout(timer)
  },
}

/** Fields as plain data, an error in one line. */
function plainFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]): [string, unknown] => [
      key,
      value instanceof Error ? describeError(value) : typeof value === 'bigint' ? String(value) : value,
    ]),
  )
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
