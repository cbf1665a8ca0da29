/**
 * `byname run --capture`: two processes. The first keeps root's rights and holds the redirect; the second is the daemon, as the user whose
 * queries pass. The redirect is there while the daemon answers, and at no other time:
 *
 * ```
 *  daemon starts ─→ answers ─→ applied ⇄ withdrawn while it does not answer ─→ removed, at its end or ours, however it ends
 * ```
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackendName, chooseBackend, removeSteps, survey } from '../capture/capture.ts'
import { CaptureError, type Machine, missingCapabilities, runSteps, thisMachine } from '../capture/machine.ts'
import type { CaptureOptions } from '../capture/plan.ts'
import type { CommandArguments } from './arguments.ts'
import { readBackend, readCaptureOptions } from './capture-options.ts'
import { type CommandContext, ExitCode } from './command.ts'
import { mustNotStack, putInForce, redirectText, whyNoAnswer } from './redirect.ts'

/** Between two looks whether the daemon answers; a look that fails takes as long again. */
const CHECK_MS = 500
const ANSWER_MS = 1000
/** Looks in a row. One query may get lost. */
const FAILURES_TO_WITHDRAW = 2
const ANSWERS_TO_RESTORE = 2
/** A daemon that is slow to start is no news, one that listens elsewhere is. */
const FAILURES_TO_TELL = 50

/** Options of `run` that the daemon itself gets. */
const DAEMON_OPTIONS = ['config', 'listen', 'set', 'istio-dir'] as const

/** Runs the daemon as a process of its own, captured. Returns its exit code. @throws CaptureError, UsageError, ConfigError */
export async function runCaptured(given: CommandArguments, context: CommandContext): Promise<number> {
  const machine = thisMachine(context.env['PATH'] ?? '')
  const options = readCaptureOptions(given, machine)
  const missing = missingCapabilities(machine)
  if (missing.length > 0) throw new CaptureError(`this process lacks ${missing.join(' and ')}: run it as root`)
  const found = survey(machine)
  mustNotStack(found)
  const redirect = new Redirect(options, chooseBackend(found, readBackend(given)), machine, context)
  const daemon = startDaemon(given, options, context)
  // At once, whoever waits for what: a second interrupt ends this process.
  const onEnd = (): void => {
    redirect.withdraw('byname is to end')
    daemon.process.kill('SIGTERM')
  }
  const onHangUp = (): void => void daemon.process.kill('SIGHUP')
  context.signal.addEventListener('abort', onEnd)
  process.on('SIGHUP', onHangUp)
  try {
    await watch(redirect, options, AbortSignal.any([context.signal, daemon.ended]))
    return await daemon.code
  } catch (error) {
    // Rules that cannot be applied: the daemon ends as well, and whoever started this decides.
    redirect.withdraw('it cannot be applied')
    daemon.process.kill('SIGTERM')
    await daemon.code
    throw error
  } finally {
    context.signal.removeEventListener('abort', onEnd)
    process.off('SIGHUP', onHangUp)
  }
}

/** Applies and withdraws as the daemon answers or not, until `ended`; nothing is left then. */
async function watch(redirect: Redirect, options: CaptureOptions, ended: AbortSignal): Promise<void> {
  let answers = 0
  let failures = 0
  while (!ended.aborted) {
    const problem = await whyNoAnswer(options, ANSWER_MS, !redirect.isInForce)
    if (ended.aborted) break
    answers = problem === null ? answers + 1 : 0
    failures = problem === null ? 0 : failures + 1
    if (!redirect.isInForce && answers >= (redirect.wasInForce ? ANSWERS_TO_RESTORE : 1)) redirect.apply()
    if (redirect.isInForce && failures >= FAILURES_TO_WITHDRAW) redirect.withdraw(problem!)
    if (!redirect.wasInForce && failures === FAILURES_TO_TELL) redirect.say(`no redirect yet: ${problem}`)
    await sleep(redirect.wasInForce ? CHECK_MS : CHECK_MS / 5, undefined, { signal: ended }).catch(() => {})
  }
  redirect.withdraw('byname has ended')
}

/** The rules, and whether they are there. */
class Redirect {
  isInForce = false
  wasInForce = false
  readonly #options: CaptureOptions
  readonly #backend: BackendName
  readonly #machine: Machine
  readonly #context: CommandContext

  constructor(options: CaptureOptions, backend: BackendName, machine: Machine, context: CommandContext) {
    this.#options = options
    this.#backend = backend
    this.#machine = machine
    this.#context = context
    // Of a process that was killed with its parent.
    runSteps(machine, removeSteps(survey(machine)))
  }

  /** @throws CaptureError */
  apply(): void {
    // Before anything is there: what is half done is to be withdrawn as well.
    this.isInForce = true
    this.wasInForce = true
    putInForce(this.#options, this.#backend, survey(this.#machine), this.#machine)
    this.say(`${redirectText(this.#options)} (${this.#backend})`)
  }

  /** Takes away whatever is there, if anything is. */
  withdraw(why: string): void {
    if (!this.isInForce) return
    this.isInForce = false
    try {
      runSteps(this.#machine, removeSteps(survey(this.#machine)))
      this.say(`the redirect is withdrawn: ${why}`)
    } catch (error) {
      this.isInForce = true
      this.say(`the redirect cannot be withdrawn: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  say(text: string): void {
    this.#context.err(`byname run: ${text}\n`)
  }
}

/** The daemon, as the first of the users and groups whose queries pass; `ended` is aborted when it is gone, however. */
function startDaemon(
  given: CommandArguments,
  { uids, gids }: CaptureOptions,
  context: CommandContext,
): { process: ChildProcess; ended: AbortSignal; code: Promise<number> } {
  const args = DAEMON_OPTIONS.flatMap((name) => given.texts(name).map((value) => `--${name}=${value}`))
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, 'run', ...args], {
    stdio: 'inherit',
    env: { ...context.env },
    uid: uids[0]!,
    gid: gids[0] ?? uids[0]!,
  })
  const ended = new AbortController()
  const code = new Promise<number>((resolve, reject) => {
    child.once('exit', (status) => {
      ended.abort()
      resolve(status ?? ExitCode.failed)
    })
    child.once('error', (error) => {
      ended.abort()
      reject(new CaptureError(`the daemon cannot be started: ${error.message}`))
    })
  })
  return { process: child, ended: ended.signal, code }
}
