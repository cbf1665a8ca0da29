/**
 * Handing over to a new process (SIGUSR2): the new one is started with the listeners' descriptors, reads its
 * configuration and its table, and only then takes queries; the old one stops taking them, finishes what is under way
 * and ends. Both share the sockets, so what is queued in them is never lost.
 *
 * ```
 *  old  ── spawn with descriptors ──→ new: configuration, table, threads
 *  old  ←────────── "ready" ────────── new answers
 *  old: takes no more, drains, ends
 * ```
 */
import { spawn } from 'node:child_process'
import { closeSync, writeSync } from 'node:fs'
import type { Syscalls } from '../os/syscalls.ts'
import type { TableKeeper } from '../tables/table-keeper.ts'
import { GUARD_VARIABLE } from './guard-link.ts'
import type { OpenListener } from './listener-sockets.ts'

/** What the new process is told, as JSON (`Lent`). */
const VARIABLE = 'BYNAME_HANDOVER'
/** Standard input, output and error, then the pipe on which the new process reports. */
const REPORT_FD = 3
const FIRST_FD = 4
/** A new process that is not ready by then is ended, and the old one continues. */
const READY_MS = 30_000

/** The socket of an HTTP endpoint. */
export interface LentEndpoint {
  name: 'metrics' | 'admin'
  /** As configured, which is how the new process knows whether it wants it. */
  address: string
  port: number
  fd: number
}

interface Lent {
  listeners: readonly OpenListener[]
  endpoints: LentEndpoint[]
  tableTimeMs: number | null
}

/** What the new process is given. */
interface Handover extends Lent {
  /** Variables beside those of this process. */
  environment: Readonly<Record<string, string>>
}

/** What a process was started with by the one before it. */
export interface Inherited {
  listeners: readonly OpenListener[]
  /** Its HTTP endpoints, so that no scrape fails: both processes answer for a while. */
  endpoints: LentEndpoint[]
  /** When the name table of the process before this one was made (milliseconds since 1970); null: it has none. */
  tableTimeMs: number | null
  /** Tells the old process that this one answers now; it may have ended meanwhile. */
  reportReady(): void
}

/** Reads, and takes away, what the process before this one left in the environment; null if nobody did. */
export function inherit(env: NodeJS.ProcessEnv): Inherited | null {
  const text = env[VARIABLE]
  if (text === undefined) return null
  delete env[VARIABLE]
  delete process.env[VARIABLE]
  const lent: Lent = JSON.parse(text)
  return {
    ...lent,
    reportReady: () => {
      try {
        writeSync(REPORT_FD, 'ready')
      } catch {
        // EPIPE: nobody waits for it any more, and clients need this process all the more.
      }
      closeSync(REPORT_FD)
    },
  }
}

/** The socket for an endpoint among those lent, which is taken off them; undefined if there is none for this address. */
export function takeEndpoint(
  lent: LentEndpoint[],
  name: LentEndpoint['name'],
  address: string,
  port: number,
): number | undefined {
  const at = lent.findIndex((one) => one.name === name && one.address === address && one.port === port)
  return at < 0 ? undefined : lent.splice(at, 1)[0]!.fd
}

/** Closes the sockets that nobody took: the new configuration has other addresses, or no such endpoint. */
export function closeEndpoints(lent: LentEndpoint[]): void {
  for (const { fd } of lent.splice(0)) closeSync(fd)
}

/** Why no new process can take over from this one; null: one can. `sysProblem`: why there are no system calls. */
export function handOverProblem(sys: Syscalls | null, sysProblem: string): string | null {
  if (process.pid === 1) return 'this process is the first of its container, which ends with it'
  return sys === null ? sysProblem : null
}

/**
 * Looks whether this process may take over, after it has waited `waitedMs` for a table.
 * @throws Error if the process before this one, whose table was made at `tableTimeMs`, would answer from a newer one
 */
export function mustNotBeOlder(
  { image, isFromLastKnownGood }: TableKeeper,
  tableTimeMs: number | null,
  waitedMs: number,
): void {
  if (tableTimeMs === null) return
  // One from disk will do if the process before this one has no other.
  if (image !== null && (!isFromLastKnownGood || image.timeMs === tableTimeMs)) return
  const waited = `no name table has come within ${waitedMs / 1000} s`
  throw new Error(`${waited}, and the process before this one has one: it goes on`)
}

/**
 * Starts a new process like this one with the listeners. Resolves with its process id once it answers. `guardFd`: the link to the
 * guard, null without one. `signal`: this process is to end, and the new one with it.
 * @throws Error in one line if it ends or is not ready in time; it is gone then.
 */
export async function handOver(
  { environment, ...given }: Handover,
  guardFd: number | null,
  signal: AbortSignal,
): Promise<number> {
  const listeners: OpenListener[] = []
  const fds: number[] = []
  const lend = (fd: number): number => FIRST_FD + fds.push(fd) - 1
  for (const listener of given.listeners) {
    listeners.push({ ...listener, tcpFd: lend(listener.tcpFd), udpFds: listener.udpFds.map(lend) })
  }
  const endpoints = given.endpoints.map((endpoint) => ({ ...endpoint, fd: lend(endpoint.fd) }))
  const guard = guardFd === null ? {} : { [GUARD_VARIABLE]: String(lend(guardFd)) }
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe', ...fds],
    env: { ...process.env, ...environment, ...guard, [VARIABLE]: JSON.stringify({ ...given, listeners, endpoints }) },
    // It outlives this process.
    detached: true,
  })
  const report = child.stdio[REPORT_FD]
  const ready = Promise.withResolvers<void>()
  report?.once('data', () => ready.resolve())
  child.once('error', (error) => ready.reject(new Error(`it cannot be started: ${error.message}`)))
  child.once('exit', (code, killedBy) =>
    ready.reject(new Error(`it ended with ${killedBy ?? `code ${code}`} before it was ready`)),
  )
  const timer = setTimeout(() => ready.reject(new Error(`it was not ready within ${READY_MS / 1000} s`)), READY_MS)
  const onEnd = (): void => ready.reject(new Error('this process ends'))
  signal.addEventListener('abort', onEnd)
  try {
    await ready.promise
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onEnd)
    report?.destroy()
    child.removeAllListeners()
    child.unref()
  }
  return child.pid!
}
