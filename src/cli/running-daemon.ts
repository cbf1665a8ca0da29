import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { setTimeout as wait } from 'node:timers/promises'
import type { StatusReport } from '../observe/status.ts'
import { adminAddress, getJson } from './admin-client.ts'
import type { CommandArguments } from './arguments.ts'
import type { CommandContext } from './command.ts'

const LOOK_AGAIN_MS = 50

/**
 * The status of the daemon that the admin endpoint belongs to, which may be signalled: its process is one of this machine
 * (and of this container), and is byname's.
 * @throws Error in one line if it is not, and as `getFromAdmin`
 */
export async function findDaemon(given: CommandArguments, context: CommandContext): Promise<StatusReport> {
  const status = await getJson<StatusReport>('/debug/status', given, context)
  const { pid } = status
  const { text } = adminAddress(given, context)
  const elsewhere = `the byname at ${text} says that it is process ${pid}, and here that is`
  const remedy = 'signal it on its own machine, or in its own container'
  if (!Number.isInteger(pid) || pid <= 0) throw new Error(`${text} does not say which process it is; is it byname's?`)
  if (!isRunning(pid)) throw new Error(`${elsewhere} none: ${remedy}`)
  if (!isByname(pid)) throw new Error(`${elsewhere} another program: ${remedy}`)
  return status
}

/** Sends it a signal. @throws Error in one line */
export function signalDaemon(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : cause
    const why = code === 'EPERM' ? 'it belongs to another user; run this as that user' : String(code)
    throw new Error(`process ${pid} cannot be signalled: ${why}`, { cause })
  }
}

/** Looks again and again until `look` finds something; null after `timeoutMs`. */
export async function poll<T>(timeoutMs: number, look: () => Promise<T | null> | T | null): Promise<T | null> {
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== null || performance.now() > endMs) return found
    await wait(LOOK_AGAIN_MS)
  }
}

/** Whether a process is there that has not ended (one that nobody waits for stays as a zombie). */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
  // The state follows the name of the program, which is in parentheses and may hold any others.
  return !/^[^]*\) Z/.test(ofProcess(pid, 'stat') ?? '')
}

/** Where there is no /proc, every process may be: the command line cannot be read. */
function isByname(pid: number): boolean {
  return /byname/.test(ofProcess(pid, 'cmdline') ?? 'byname')
}

function ofProcess(pid: number, file: string): string | null {
  const read = readBoundedText(`/proc/${pid}/${file}`, MAX_FILE_BYTES.kernelTable)
  return 'text' in read ? read.text : null
}
