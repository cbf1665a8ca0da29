/**
 * `byname run --capture`: the guard, which keeps root's rights and holds the redirect, and the daemon, as the user whose queries pass. The
 * redirect is there while the daemon answers, and at no other time:
 *
 * ```
 *  daemon starts ─→ is ready ─→ answers ─→ applied ⇄ withdrawn while it does not answer ─→ removed, however it ends
 *
 *  guard ──signals──→ daemon ──SIGUSR2──→ daemon that takes over
 *    ↑ └──────────────── link (daemon/guard-link.ts) ───────┘      one ends: so does the other
 *    └── remover (held-redirect.ts): a shell that removes the redirect if the guard is killed
 * ```
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CaptureError, missingCapabilities, thisMachine } from '../capture/machine.ts'
import type { CommandArguments } from './arguments.ts'
import type { CommandContext } from './command.ts'
import { GuardedDaemon } from './guarded-daemon.ts'
import { HeldRedirect } from './held-redirect.ts'
import { whyNoAnswer } from './redirect.ts'
import { whenAborted } from './when-aborted.ts'

/** Between two looks whether the daemon answers; a look that fails takes as long again. */
const CHECK_MS = 500
const ANSWER_MS = 1000
/** Looks in a row. One query may get lost. */
const FAILURES_TO_WITHDRAW = 2
const ANSWERS_TO_RESTORE = 2
/** A daemon that is slow to answer is no news, one that listens elsewhere is. */
const FAILURES_TO_TELL = 50
/** Of the first application: what fails so often is no passing want of memory. A restoration is tried for ever. */
const TRIES_TO_APPLY = 5
/** Rules that somebody else has flushed are back after so many looks. */
const LOOKS_TO_VERIFY = 20
const TRIES_TO_WITHDRAW = 20
/** From the last redirected packet until the daemon has it, and the first query of a connection that was opened before. */
const UNDER_WAY_MS = 200

/** Options of `run` that the daemon itself gets. */
const DAEMON_OPTIONS = ['config', 'listen', 'set', 'istio-dir'] as const
/** Passed on. SIGTERM and SIGINT come as `context.signal`. */
const PASSED_ON = ['SIGHUP', 'SIGUSR2'] as const

/** Runs the daemon as a process of its own, captured. Returns its exit code. @throws CaptureError, UsageError, ConfigError */
export async function runCaptured(given: CommandArguments, context: CommandContext): Promise<number> {
  const machine = thisMachine(context.env['PATH'] ?? '')
  const missing = missingCapabilities(machine)
  if (missing.length > 0) throw new CaptureError(`this process lacks ${missing.join(' and ')}: run it as root`)
  const redirect = new HeldRedirect(given, machine, context)
  const { uids, gids } = redirect.options
  const args = DAEMON_OPTIONS.flatMap((name) => given.texts(name).map((value) => `--${name}=${value}`))
  const ready = new AbortController()
  const user = { uid: uids[0]!, gid: gids[0] ?? uids[0]! }
  const daemon = new GuardedDaemon(['run', ...args], user, machine, context, (pid) => {
    if (ready.signal.aborted) redirect.say(`process ${pid} has taken over`)
    ready.abort()
  })
  // At once, whoever waits for what: a second interrupt ends this process.
  const onEnd = (): void => void redirect.suspend('byname is to end')
  const passOn = (signal: NodeJS.Signals): void => daemon.signal(signal)
  context.signal.addEventListener('abort', onEnd)
  for (const signal of PASSED_ON) process.on(signal, passOn)
  try {
    await watch(redirect, ready.signal, AbortSignal.any([context.signal, daemon.ended]))
    if (context.signal.aborted) await drain(redirect, daemon)
    await withdraw(redirect, 'byname has ended')
    return await daemon.code
  } catch (error) {
    // Rules that cannot be applied: the daemon ends as well, and whoever started this decides.
    await withdraw(redirect, 'it cannot be applied')
    daemon.signal('SIGTERM')
    await daemon.code
    throw error
  } finally {
    redirect.release()
    context.signal.removeEventListener('abort', onEnd)
    for (const signal of PASSED_ON) process.off(signal, passOn)
  }
}

/**
 * Applies and withdraws as the daemon answers or not, from when it is `ready` until `ended`.
 * @throws CaptureError if the redirect has never been in force, and cannot be
 */
async function watch(redirect: HeldRedirect, ready: AbortSignal, ended: AbortSignal): Promise<void> {
  // Before that, who answers may be another program, at whose address the daemon cannot listen.
  await whenAborted(AbortSignal.any([ready, ended]))
  let answers = 0
  let failures = 0
  let failedApplications = 0
  for (let looks = 1; !ended.aborted; looks++) {
    redirect.refresh()
    const problem = await whyNoAnswer(redirect.options, ANSWER_MS, !redirect.isInForce)
    if (ended.aborted) break
    answers = problem === null ? answers + 1 : 0
    failures = problem === null ? 0 : failures + 1
    const isDue = redirect.isInForce
      ? redirect.isStale || looks % LOOKS_TO_VERIFY === 0
      : answers >= (redirect.wasInForce ? ANSWERS_TO_RESTORE : 1)
    if (problem === null && isDue) failedApplications = apply(redirect, failedApplications)
    if (redirect.isInForce && failures >= FAILURES_TO_WITHDRAW) redirect.withdraw(problem!)
    if (!redirect.wasInForce && failures === FAILURES_TO_TELL) redirect.say(`no redirect yet: ${problem}`)
    await sleep(redirect.wasInForce ? CHECK_MS : CHECK_MS / 5, undefined, { signal: ended }).catch(() => {})
  }
}

/** Returns how often this has failed in a row. @throws CaptureError if that is too often */
function apply(redirect: HeldRedirect, failed: number): number {
  try {
    redirect.apply()
    return 0
  } catch (error) {
    if (!redirect.wasInForce && failed + 1 >= TRIES_TO_APPLY) throw error
    redirect.say(`the redirect cannot be applied now: ${error instanceof Error ? error.message : String(error)}`)
    redirect.withdraw('it is not whole')
    return failed + 1
  }
}

/** Ends the daemon once no query is redirected to it and those under way have arrived. It answers them before it ends. */
async function drain(redirect: HeldRedirect, daemon: GuardedDaemon): Promise<void> {
  if (!redirect.suspend('byname is to end')) await withdraw(redirect, 'byname is to end')
  await sleep(UNDER_WAY_MS, undefined, { signal: daemon.ended }).catch(() => {})
  daemon.signal('SIGTERM')
  await daemon.code
}

/** What cannot be removed by then is the remover's. */
async function withdraw(redirect: HeldRedirect, why: string): Promise<void> {
  for (let tries = 0; redirect.isInForce && tries < TRIES_TO_WITHDRAW; tries++) {
    if (tries > 0) await sleep(CHECK_MS)
    redirect.withdraw(why)
  }
}
