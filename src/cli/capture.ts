import {
  applySteps,
  chooseBackend,
  differences,
  istioCapture,
  NOTHING_FOUND,
  removeRedirect,
  removeSteps,
  type Survey,
  survey,
} from '../capture/capture.ts'
import {
  CaptureError,
  type Machine,
  missingCapabilities,
  type Step,
  stepText,
  thisMachine,
} from '../capture/machine.ts'
import { planCapture } from '../capture/plan.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { CAPTURE_OPTIONS, readBackend, readCaptureOptions } from './capture-options.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { mustNotStack, putInForce, redirectText, whyNoAnswer } from './redirect.ts'

/** A daemon that is there answers on loopback in far less. */
const ANSWER_MS = 2000

/** `byname capture`: the redirect of this machine's DNS to byname. */
export const captureCommand: Command = {
  name: 'capture',
  summary: "Redirect this machine's DNS to byname, check the redirect, or remove it.",
  positionals: 'apply|check|remove',
  mostPositionals: 1,
  options: {
    'dry-run': { help: 'print the commands instead of running them' },
    ...CAPTURE_OPTIONS,
    force: { help: 'apply although nothing answers at the port' },
  },
  details: `"apply" puts the rules in place, or repairs them; "check" explains each difference from what "apply" with the
same options would make (exit code 1 if there is any); "remove" removes what is byname's, in all back ends.
Rules of others stay as they are. byname itself must run as the user or group whose queries pass.`,
  examples: [
    'byname capture apply',
    'byname capture apply --all-dns --exclude 10.0.0.0/8 --dry-run',
    'byname capture check',
    'byname capture remove',
  ],
  async run(given, context) {
    const [what] = given.positionals
    const machine = thisMachine(context.env['PATH'] ?? '')
    if (what === 'apply') return await apply(given, context, machine)
    if (what === 'check') return check(given, context, machine)
    if (what === 'remove') return remove(given, context, machine)
    throw new UsageError(`${what === undefined ? 'say what to do' : `unknown: ${what}`}: apply, check or remove`)
  },
}

async function apply(given: CommandArguments, context: CommandContext, machine: Machine): Promise<number> {
  const options = readCaptureOptions(given, machine)
  const isDry = given.has('dry-run')
  const found = look(machine, context, isDry)
  const backend = chooseBackend(found, readBackend(given))
  mustNotStack(found)
  if (isDry) return print(applySteps(planCapture(options), backend, found), context, `${backend} has the rules`)
  const problem = given.has('force') ? null : await whyNoAnswer(options, ANSWER_MS)
  if (problem !== null)
    throw new CaptureError(`${problem}: with the redirect there would be no DNS; start byname first, or --force`)
  const isNew = putInForce(planCapture(options), backend, found, machine) > 0
  context.out(`${redirectText(options)} (${backend}${isNew ? '' : ', as before'})\n`)
  return ExitCode.done
}

function check(given: CommandArguments, context: CommandContext, machine: Machine): number {
  const options = readCaptureOptions(given, machine)
  const found = look(machine, context, false)
  const backend = chooseBackend(found, readBackend(given))
  const lines = differences(planCapture(options), backend, found)
  const istio = istioCapture(found)
  if (istio !== null) lines.push(`Istio captures DNS as well: ${istio}`)
  for (const line of lines) context.out(`${line}\n`)
  if (lines.length > 0) return ExitCode.failed
  context.out(`${redirectText(options)} (${backend})\n`)
  return ExitCode.done
}

function remove(given: CommandArguments, context: CommandContext, machine: Machine): number {
  const isDry = given.has('dry-run')
  if (isDry) return print(removeSteps(look(machine, context, isDry)), context, 'there are no rules of byname')
  mustBeAllowed(machine)
  context.out(removeRedirect(machine) === 0 ? 'there was nothing to remove\n' : 'the redirect is removed\n')
  return ExitCode.done
}

function print(steps: readonly Step[], context: CommandContext, nothing: string): number {
  for (const step of steps) context.out(stepText(step))
  if (steps.length === 0) context.err(`byname capture: nothing to do: ${nothing}\n`)
  return ExitCode.done
}

/** Looks at what is there. Whoever only prints may do without. */
function look(machine: Machine, context: CommandContext, isDry: boolean): Survey {
  if (!isDry) mustBeAllowed(machine)
  else if (missingCapabilities(machine).includes('CAP_NET_ADMIN')) {
    context.err(`byname capture: without CAP_NET_ADMIN the rules that are there cannot be seen; taken for none\n`)
    return NOTHING_FOUND
  }
  return survey(machine)
}

/** @throws CaptureError if this process may not look at rules */
function mustBeAllowed(machine: Machine): void {
  const missing = missingCapabilities(machine)
  if (!missing.includes('CAP_NET_ADMIN')) return
  const remedy = 'run it as root, or give the container NET_ADMIN and NET_RAW'
  throw new CaptureError(`this process lacks ${missing.join(' and ')}: ${remedy}`)
}
