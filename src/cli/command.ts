import type { Environment } from '../config/environment.ts'
import type { ArgumentShape, CommandArguments } from './arguments.ts'

/** Exit codes of the command line. */
export const ExitCode = { done: 0, failed: 1, usage: 2 } as const

/** What a command may touch of the process it runs in. */
export interface CommandContext {
  env: Environment
  /** Writes to standard output. */
  out(text: string | Uint8Array): void
  /** Writes to standard error. */
  err(text: string): void
  /** Aborted when the process is told to end (SIGTERM, SIGINT). */
  signal: AbortSignal
}

/** One command of `byname`. */
export interface Command extends ArgumentShape {
  name: string
  /** What it does, in a few words, for the list of commands. */
  summary: string
  /** Names of positional arguments for the usage line, e.g. `NAME [TYPE]`. */
  positionals?: string
  /** Paragraphs below the summary in its help, if there is more to say. */
  details?: string
  /** Paragraphs about the settings it takes, made only when its help is shown. */
  settings?: () => Promise<string>
  examples?: readonly string[]
  /** True for commands that serve until they are told to end: they get `signal`, the others just die of it. */
  isService?: boolean
  /**
   * Returns the exit code.
   * @throws UsageError, ConfigError (exit code 2), or any Error (exit code 1); its message is shown in one line.
   */
  run(given: CommandArguments, context: CommandContext): Promise<number>
}
