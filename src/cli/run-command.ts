import { ConfigError } from '../config/config-error.ts'
import { parseArguments, UsageError } from './arguments.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { commandHelp } from './help.ts'

/** What a command may touch of this process; `signal` tells it to end. */
export function processContext(signal: AbortSignal): CommandContext {
  let isWritten = false
  return {
    env: process.env,
    out: (text) => {
      // Opened by the first use, which takes 3 ms. `byname table | head` closes the pipe early: nothing to report, nobody to
      // report to.
      if (!isWritten) {
        isWritten = true
        process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
      }
      process.stdout.write(text)
    },
    err: (text) => void process.stderr.write(text),
    signal,
  }
}

/**
 * Runs `command` with the arguments that stand behind its name and returns the exit code. Errors are shown in one line
 * each. `beforeService` is called once it is clear that a service starts.
 */
export async function runCommand(
  command: Command,
  argv: readonly string[],
  context: CommandContext,
  beforeService: () => void,
): Promise<number> {
  try {
    const given = parseArguments(command, argv)
    if (given.has('help')) {
      context.out(await commandHelp(command))
      return ExitCode.done
    }
    if (command.isService) beforeService()
    return await command.run(given, context)
  } catch (error) {
    return showError(error, command, context)
  }
}

function showError(error: unknown, command: Command, context: CommandContext): number {
  const prefix = `byname ${command.name}: `
  if (context.env['BYNAME_DEBUG'] === '1' && error instanceof Error) context.err(`${error.stack}\n`)
  if (error instanceof ConfigError) {
    for (const problem of error.problems) context.err(`${prefix}${oneLine(problem)}\n`)
    return ExitCode.usage
  }
  const message = oneLine(error instanceof Error ? error.message : String(error))
  if (error instanceof UsageError) {
    context.err(`${prefix}${message}; byname ${command.name} --help shows what there is\n`)
    return ExitCode.usage
  }
  context.err(`${prefix}${message}\n`)
  return ExitCode.failed
}

function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, ' ')
}
