import { type Action, planInstall, planUninstall, type Plan, type ResolverKind } from '../vm/resolver-plan.ts'
import { actionText, commandText, filesBelow, hasSystemd, perform, ResolverError } from '../vm/resolver-writer.ts'
import type { CommandArguments, CommandOption } from './arguments.ts'
import { type CommandContext, ExitCode } from './command.ts'
import { whyNoAnswer } from './redirect.ts'

const ANSWER_MS = 2000
const DNS_PORT = 53

/** Options of `byname vm install` and `uninstall`. */
export const VM_RESOLVER_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'dry-run': { help: 'install, uninstall: say what would be done' },
  'no-restart': { help: 'install, uninstall: print the commands that restart services instead of running them' },
  force: { help: 'install although nothing answers at 127.0.0.1:53' },
  root: { value: 'DIR', help: 'install, uninstall: below this folder, whose services are not touched' },
}

/** `byname vm install`: this machine asks byname. @throws ResolverError */
export async function install(given: CommandArguments, context: CommandContext): Promise<number> {
  const plan = planInstall(filesBelow(rootOf(given)))
  if ('problem' in plan) throw new ResolverError(plan.problem)
  const isChecked = !given.has('dry-run') && !given.has('force') && !given.has('root')
  if (isChecked) await mustAnswer()
  return carryOut(plan, 'applications ask byname at 127.0.0.1', given, context)
}

/** `byname vm uninstall`: this machine asks whom it asked before. @throws ResolverError */
export function uninstall(given: CommandArguments, context: CommandContext): number {
  const plan = planUninstall(filesBelow(rootOf(given)))
  if ('problem' in plan) throw new ResolverError(plan.problem)
  return carryOut(plan, 'the resolver is as it was before byname', given, context)
}

function carryOut(
  { resolver, actions }: Exclude<Plan, { problem: string }> & { resolver: ResolverKind },
  done: string,
  given: CommandArguments,
  context: CommandContext,
): number {
  const root = rootOf(given)
  const mayRestart = !given.has('no-restart') && !given.has('root') && hasSystemd(root)
  const left: string[] = []
  for (const action of actions) {
    if (given.has('dry-run')) context.out(`${actionText(action)}\n`)
    else if (isLeft(action, mayRestart, given.has('root'))) left.push(commandText(action))
    else perform(action, root, context.env)
  }
  if (given.has('dry-run')) {
    if (actions.length === 0) context.err(`byname vm: nothing to do (${resolver})\n`)
    return ExitCode.done
  }
  context.out(actions.length === 0 ? `nothing to do: ${done} (${resolver})\n` : `${done} (${resolver})\n`)
  if (left.length > 0) context.out(`still to be run, in this order:\n${left.map((line) => `  ${line}\n`).join('')}`)
  return ExitCode.done
}

function isLeft(action: Action, mayRestart: boolean, isElsewhere: boolean): action is Action & { kind: 'run' } {
  return action.kind === 'run' && (isElsewhere || (action.isRestart && !mayRestart))
}

function rootOf(given: CommandArguments): string {
  return given.text('root') ?? '/'
}

async function mustAnswer(): Promise<void> {
  const problem = await whyNoAnswer({ port: DNS_PORT, hasIpv6: false }, ANSWER_MS)
  if (problem === null) return
  throw new ResolverError(
    `${problem}: applications would have no DNS; start byname with --listen 127.0.0.1:53 first, or --force`,
  )
}
