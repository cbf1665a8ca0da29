/** The daemon that a guard has started, and the processes that take over from it (SIGUSR2), as the guard sees them: one after the other. */
import { type ChildProcess, spawn } from 'node:child_process'
import { statSync } from 'node:fs'
import { Readable, type Writable } from 'node:stream'
import { createInterface } from 'node:readline'
import { CaptureError, type Machine } from '../capture/machine.ts'
import { GUARD_VARIABLE } from '../daemon/guard-link.ts'
import type { CommandContext } from './command.ts'
import { ExitCode } from './command.ts'

/** Behind standard input, output and error. */
const LINK_FD = 3

/** Starts the daemon, and follows it from process to process. */
export class GuardedDaemon {
  /** Aborted when no process of it is left, however they ended. */
  readonly ended: AbortSignal
  /** Its exit code; a process that took over counts as failed unless it stopped cleanly. Rejects if it cannot be started. */
  readonly code: Promise<number>
  readonly #uid: number
  readonly #first: ChildProcess
  /** Who gets the signals. */
  #pid: number

  /**
   * `args`: of the launcher, after Node's own. `user`: whom it runs as, without capabilities and further groups. `onReady` is called when a
   * process answers: the first one, or one that has taken over.
   */
  constructor(
    args: readonly string[],
    user: { uid: number; gid: number },
    machine: Machine,
    context: CommandContext,
    onReady: (pid: number) => void,
  ) {
    this.#uid = user.uid
    const command = [process.execPath, ...process.execArgv, process.argv[1]!, ...args]
    const drop = dropOf(user, machine)
    if (drop === null)
      context.err(
        'byname run: without setpriv (util-linux) no_new_privs and the capability bounding set stay as they are\n',
      )
    const [program, ...rest] = [...(drop ?? []), ...command]
    this.#first = spawn(program!, rest, {
      stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
      // systemd's watchdog is told by the daemon, whose process it does not know.
      env: { PATH: '/usr/bin:/bin', ...context.env, [GUARD_VARIABLE]: String(LINK_FD), WATCHDOG_PID: undefined },
      ...(drop === null ? user : {}),
    })
    this.#pid = this.#first.pid ?? 0
    const ended = new AbortController()
    this.ended = ended.signal
    this.code = this.#follow(this.#first.stdio[LINK_FD], onReady).finally(() => ended.abort())
    // It is looked at when the redirect has been withdrawn.
    this.code.catch(() => {})
  }

  /** To the process that answers. */
  signal(name: NodeJS.Signals): void {
    if (this.#pid === this.#first.pid) this.#first.kill(name)
    else if (isOf(this.#pid, this.#uid)) process.kill(this.#pid, name)
  }

  async #follow(link: Readable | Writable | null | undefined, onReady: (pid: number) => void): Promise<number> {
    const first = new Promise<number>((resolve, reject) => {
      this.#first.once('exit', (status) => resolve(status ?? ExitCode.failed))
      this.#first.once('error', (error) => reject(new CaptureError(`the daemon cannot be started: ${error.message}`)))
    })
    // Without descriptors to spare nothing was started.
    if (!(link instanceof Readable)) return await first
    let isEnded = false
    // A daemon that was killed may reset the connection.
    link.on('error', () => {})
    const lines = createInterface({ input: link })
    lines.on('line', (line) => {
      isEnded = line === 'ended'
      const [, pid] = /^ready (\d{1,10})$/.exec(line) ?? []
      // Root's signals go to no other user's processes, whatever a daemon says.
      if (pid === undefined || !isOf(Number(pid), this.#uid)) return
      this.#pid = Number(pid)
      onReady(this.#pid)
    })
    const closed = new Promise((resolve) => link.once('close', resolve))
    const code = await first
    await closed
    if (this.#pid === this.#first.pid) return code
    return isEnded ? ExitCode.done : ExitCode.failed
  }
}

function isOf(pid: number, uid: number): boolean {
  try {
    return statSync(`/proc/${pid}`).uid === uid
  } catch {
    return false
  }
}

/**
 * The command that gives up all rights and then becomes the command behind it: setpriv(1). Without capabilities and bounding set nothing that
 * it runs can get any; where this process may not change the bounding set, no_new_privs has to do. Null if there is no such setpriv.
 */
function dropOf({ uid, gid }: { uid: number; gid: number }, machine: Machine): string[] | null {
  const user = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs', '--inh-caps=-all']
  for (const options of [[...user, '--bounding-set=-all'], user]) {
    if (machine.run({ program: 'setpriv', args: [...options, 'sh', '-c', ':'], input: '' }).isDone)
      return ['setpriv', ...options]
  }
  return null
}
