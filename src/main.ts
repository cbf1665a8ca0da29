import { type Command, type CommandContext, ExitCode } from './cli/command.ts'
import { globalHelp } from './cli/help.ts'
import { processContext, runCommand } from './cli/run-command.ts'
import { nearestOf } from './config/spelling.ts'
import { version } from './version.ts'

/** In the order of the help. Only the one that runs is loaded: the daemon needs no DNS client, a query no gRPC. */
export const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['run', async () => (await import('./cli/run.ts')).runCommand],
  ['demo', async () => (await import('./cli/demo.ts')).demoCommand],
  ['control-plane', async () => (await import('./cli/control-plane.ts')).controlPlaneCommand],
  ['check', async () => (await import('./cli/check.ts')).checkCommand],
  ['query', async () => (await import('./cli/query.ts')).queryCommand],
  ['explain', async () => (await import('./cli/explain.ts')).explainCommand],
  ['table', async () => (await import('./cli/table.ts')).tableCommand],
  ['status', async () => (await import('./cli/status.ts')).statusCommand],
  ['top', async () => (await import('./cli/top.ts')).topCommand],
  ['health', async () => (await import('./cli/health.ts')).healthCommand],
  ['bug-report', async () => (await import('./cli/bug-report.ts')).bugReportCommand],
  ['upstreams', async () => (await import('./cli/upstreams.ts')).upstreamsCommand],
  ['vm', async () => (await import('./cli/vm.ts')).vmCommand],
  ['capture', async () => (await import('./cli/capture.ts')).captureCommand],
  ['cache', async () => (await import('./cli/cache.ts')).cacheCommand],
  ['reload', async () => (await import('./cli/reload.ts')).reloadCommand],
  ['stop', async () => (await import('./cli/stop.ts')).stopCommand],
  ['version', async () => (await import('./cli/version.ts')).versionCommand],
])

/** After a service has stopped, whatever still keeps the event loop alive gets this long. */
const LINGER_MS = 2000

/**
 * Runs the command that `argv` (without node and script) names and sets the process's exit code. Owns the signals:
 * SIGTERM and SIGINT abort the command's signal. Another SIGTERM changes nothing: it must not cost the answers under way, and
 * SIGKILL ends a process that hangs. A second SIGINT, Ctrl-C pressed twice, ends the process at once.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const ending = new AbortController()
  const context = processContext(ending.signal)
  let isService = false
  const code = await runCommandLine(argv, context, () => {
    isService = true
    ownSignals(ending)
  })
  process.exitCode = code
  // What a service forgot to close must not keep it from ending.
  if (isService) setTimeout(() => process.exit(code), LINGER_MS).unref()
}

/** Runs the command that `argv` names and returns the exit code; errors are shown in one line each. */
export async function runCommandLine(
  argv: readonly string[],
  context: CommandContext,
  beforeService: () => void,
): Promise<number> {
  const [first, ...rest] = argv
  const isHelp = first === 'help' || first === '--help' || first === '-h'
  if (isHelp && rest[0] !== undefined) return await runCommandLine([rest[0], '--help'], context, beforeService)
  if (isHelp) {
    context.out(await helpOfAll())
    return ExitCode.done
  }
  if (first === '--version') {
    context.out(`byname ${version}\n`)
    return ExitCode.done
  }
  if (first === undefined) {
    context.err(await helpOfAll())
    return ExitCode.usage
  }
  const load = COMMANDS.get(first)
  if (load === undefined) {
    const near = nearestOf(first, [...COMMANDS.keys()])
    const hint = near === null ? 'byname --help lists them' : `did you mean ${near}?`
    context.err(`byname: unknown ${first.startsWith('-') ? 'option' : 'command'} ${first}; ${hint}\n`)
    return ExitCode.usage
  }
  return await runCommand(await load(), rest, context, beforeService)
}

async function helpOfAll(): Promise<string> {
  return globalHelp(await Promise.all([...COMMANDS.values()].map(async (load) => await load())))
}

function ownSignals(ending: AbortController): void {
  let interrupts = 0
  process.on('SIGTERM', () => ending.abort())
  process.on('SIGINT', () => {
    ending.abort()
    if (++interrupts === 1) return
    process.stderr.write('byname: ended by a second interrupt; what was under way is not answered\n')
    // Back to what the system does with the signal: no code of ours, and no blocked worker, can hold it up.
    process.removeAllListeners('SIGINT')
    process.kill(process.pid, 'SIGINT')
  })
}
