import { healthCommand } from './cli/health.ts'
import { processContext, runCommand } from './cli/run-command.ts'

/** Runs `byname health` from a bundle that holds nothing else, and sets the process's exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const context = processContext(new AbortController().signal)
  process.exitCode = await runCommand(healthCommand, argv.slice(1), context, () => {})
}
