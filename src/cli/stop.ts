import { ADMIN_OPTIONS } from './admin-client.ts'
import { type Command, ExitCode } from './command.ts'
import { findDaemon, isRunning, poll, signalDaemon } from './running-daemon.ts'

/** Longer than a drain may take. */
const STOP_MS = 20_000

/** `byname stop`: the daemon answers what it has taken in, and ends. */
export const stopCommand: Command = {
  name: 'stop',
  summary: 'Have the running daemon answer what it has taken in, then end (SIGTERM).',
  options: ADMIN_OPTIONS,
  details: 'Returns when it has ended. The daemon must run on this machine, and as the same user.',
  async run(given, context) {
    const { pid } = await findDaemon(given, context)
    signalDaemon(pid, 'SIGTERM')
    const ended = await poll(STOP_MS, () => (isRunning(pid) ? null : true))
    if (ended === null) throw new Error(`process ${pid} has not ended within ${STOP_MS / 1000} s; see its log`)
    context.out(`byname (pid ${pid}) has ended\n`)
    return ExitCode.done
  },
}
