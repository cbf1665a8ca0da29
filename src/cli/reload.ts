import type { StatusReport } from '../observe/status.ts'
import { ADMIN_OPTIONS, getJson } from './admin-client.ts'
import { type Command, ExitCode } from './command.ts'
import { findDaemon, poll, signalDaemon } from './running-daemon.ts'
import { printable } from '../base/printable.ts'

const RELOAD_MS = 10_000

/** `byname reload`: the daemon reads its configuration again. */
export const reloadCommand: Command = {
  name: 'reload',
  summary: 'Have the running daemon read its configuration again (SIGHUP).',
  options: ADMIN_OPTIONS,
  details: `Says what became of it. A configuration with a problem is refused as a whole, and the exit code is 1.
The daemon must run on this machine, and as the same user.`,
  async run(given, context) {
    const { pid, reload: last } = await findDaemon(given, context)
    signalDaemon(pid, 'SIGHUP')
    const reload = await poll(RELOAD_MS, async () => {
      const { reload: now } = await getJson<StatusReport>('/debug/status', given, context)
      return now === null || now.count === (last?.count ?? 0) ? null : now
    })
    if (reload === null) {
      throw new Error(`process ${pid} has not read its configuration again within ${RELOAD_MS / 1000} s; see its log`)
    }
    for (const problem of reload.problems) {
      context.err(`byname reload: the configuration stays as it is: ${printable(problem)}\n`)
    }
    if (reload.problems.length > 0) return ExitCode.failed
    context.out(`byname (pid ${pid}) has read its configuration again\n`)
    if (reload.fixedKeys.length > 0)
      context.out(`these keys changed and need a new process: ${reload.fixedKeys.join(', ')}\n`)
    return ExitCode.done
  },
}
