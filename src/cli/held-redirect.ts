/** The redirect as a guard holds it: in force or not, by the name servers that resolv.conf names now, and gone when the guard is. */
import { type ChildProcess, spawn } from 'node:child_process'
import { type BackendName, chooseBackend, removeRedirect, survey } from '../capture/capture.ts'
import { CaptureError, type Machine } from '../capture/machine.ts'
import { type CaptureOptions, planCapture } from '../capture/plan.ts'
import type { CommandArguments } from './arguments.ts'
import { readBackend, readCaptureOptions } from './capture-options.ts'
import type { CommandContext } from './command.ts'
import { mustNotStack, putInForce, redirectText } from './redirect.ts'

/** Waits for a line that says that all is removed. At the end of its input, which is this process's, it removes what is there. */
const REMOVER = 'trap "" HUP INT TERM; read -r line || exec "$@"'

/** Rules that come and go. */
export class HeldRedirect {
  /** Something of it may be there. */
  isInForce = false
  /** It has been in force, whole. */
  wasInForce = false
  /** Other rules than those in force follow from what resolv.conf says now. */
  isStale = false
  readonly #given: CommandArguments
  readonly #machine: Machine
  readonly #context: CommandContext
  readonly #backend: BackendName
  #options: CaptureOptions
  /** Of a root's process that outlives this one. */
  #remover: ChildProcess | null = null
  #isSuspended = false
  /** Said last, so that nothing is said twice in a row. */
  #said = ''

  /** Removes what a guard before this one has left. @throws CaptureError, UsageError, ConfigError */
  constructor(given: CommandArguments, machine: Machine, context: CommandContext) {
    this.#given = given
    this.#machine = machine
    this.#context = context
    this.#options = readCaptureOptions(given, machine)
    const found = survey(machine)
    mustNotStack(found)
    this.#backend = chooseBackend(found, readBackend(given))
    removeRedirect(machine)
  }

  /** What is captured, for whom. */
  get options(): CaptureOptions {
    return this.#options
  }

  /** Puts the rules in force, or looks whether they still are. @throws CaptureError: something of it may be there */
  apply(): void {
    this.#prepareRemover()
    // Before anything is there: what is half done is to be withdrawn as well.
    this.isInForce = true
    const steps = putInForce(planCapture(this.#options), this.#backend, survey(this.#machine), this.#machine)
    if (!this.wasInForce || steps > 0) this.say(`${redirectText(this.#options)} (${this.#backend})`)
    this.wasInForce = true
    this.isStale = false
  }

  /**
   * Nothing is redirected any more, but replies to what was still find their way: their conntrack zone stays. `withdraw` ends
   * that, once the daemon has ended. If it cannot be done it says why, and returns false.
   */
  suspend(why: string): boolean {
    if (!this.isInForce || this.#isSuspended) return true
    try {
      const whole = planCapture(this.#options)
      // The redirect first: iptables changes one table at a time, and what is redirected without its zone gets no reply.
      const zones = { ...whole, rules: whole.rules.filter(({ table }) => table !== 'nat') }
      for (const plan of [zones, planCapture({ ...this.#options, nameservers: [] })]) {
        putInForce(plan, this.#backend, survey(this.#machine), this.#machine)
      }
      this.#isSuspended = true
      this.say(`the redirect is withdrawn: ${why}`)
      return true
    } catch (error) {
      this.say(`the redirect cannot be withdrawn: ${textOf(error)}`)
      return false
    }
  }

  /** Takes away whatever is there, if anything is. If it cannot be, it counts as in force, and says why. */
  withdraw(why: string): void {
    if (!this.isInForce) return
    try {
      removeRedirect(this.#machine)
      this.isInForce = false
      if (!this.#isSuspended) this.say(`the redirect is withdrawn: ${why}`)
    } catch (error) {
      this.say(`the redirect cannot be withdrawn: ${textOf(error)}`)
    }
  }

  /** Reads resolv.conf again. One that cannot be used changes nothing. */
  refresh(): void {
    try {
      const options = readCaptureOptions(this.#given, this.#machine)
      if (JSON.stringify(planCapture(options)) === JSON.stringify(planCapture(this.#options))) return
      this.#options = options
      this.isStale = true
    } catch (error) {
      this.say(`the redirect stays as it is: ${textOf(error)}`)
    }
  }

  /** This process ends: what is still there is the remover's. */
  release(): void {
    if (this.isInForce) this.#remover?.stdin?.destroy()
    else this.#remover?.stdin?.end('removed\n')
  }

  say(text: string): void {
    if (text !== this.#said) this.#context.err(`byname run: ${text}\n`)
    this.#said = text
  }

  /** @throws CaptureError if it cannot be started */
  #prepareRemover(): void {
    if (this.#remover !== null) return
    const command = [process.execPath, process.argv[1]!, 'capture', 'remove']
    const remover = spawn('/bin/sh', ['-c', REMOVER, 'sh', ...command], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...this.#context.env },
      // Whoever ends this process with all of its group spares it.
      detached: true,
    })
    const onEnd = (): void => void (this.#remover = null)
    remover.once('error', onEnd).once('exit', onEnd).unref()
    if (remover.pid === undefined)
      throw new CaptureError('/bin/sh cannot be started, and would remove the redirect if this process were killed')
    // EPIPE: it was killed.
    remover.stdin.on('error', () => {})
    this.#remover = remover
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
