/**
 * The link to the guard, the process that holds the redirect and has started this one (`byname run --capture`): a socket that
 * a daemon passes on to the process which takes over from it. So its end means for either side that nobody is left on the other.
 *
 * ```
 *  daemon → guard   "ready PID\n": this process answers now │ "ended\n": it has stopped cleanly │ end: no daemon is left
 *  guard → daemon   end: the guard is gone, and takes the redirect away with it
 * ```
 */
import { fstatSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'

/** The socket's descriptor, in the environment of daemons that have a guard. */
export const GUARD_VARIABLE = 'BYNAME_GUARD'

/** The daemon's side of the link. */
export class GuardLink {
  /** For the process that takes over. */
  readonly fd: number

  /** `onGone` is called when the guard has ended; the link does not keep this process alive. */
  constructor(fd: number, onGone: () => void) {
    this.fd = fd
    const socket = new Socket({ fd })
    // A guard that was killed may reset the connection.
    socket.on('error', () => {})
    socket.once('close', onGone)
    socket.resume().unref()
  }

  /** This process answers now, and gets the signals from now on. */
  reportReady(): void {
    this.#say(`ready ${process.pid}\n`)
  }

  /** This process has stopped cleanly, and no other has taken over. */
  reportEnd(): void {
    this.#say('ended\n')
  }

  #say(text: string): void {
    try {
      writeSync(this.fd, text)
    } catch {
      // EPIPE: there is no guard to be told.
    }
  }
}

/** Reads, and takes away, what a guard has left in the environment; null if there is none. */
export function linkToGuard(env: NodeJS.ProcessEnv, onGone: () => void): GuardLink | null {
  const fd = Number(env[GUARD_VARIABLE] ?? Number.NaN)
  delete env[GUARD_VARIABLE]
  delete process.env[GUARD_VARIABLE]
  return Number.isInteger(fd) && isSocket(fd) ? new GuardLink(fd, onGone) : null
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket()
  } catch {
    return false
  }
}
