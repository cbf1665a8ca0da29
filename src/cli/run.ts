import { explainBusyAddress } from './busy-address.ts'
import { UsageError } from './arguments.ts'
import { CAPTURE_OPTIONS } from './capture-options.ts'
import { type Command, ExitCode } from './command.ts'
import {
  CONFIG_OPTION,
  givenLoader,
  ISTIO_DIR_OPTION,
  LISTEN_OPTION,
  SET_OPTION,
  settingsHelp,
} from './config-options.ts'

/** `byname run`: the daemon. */
export const runCommand: Command = {
  name: 'run',
  summary: 'Run the DNS proxy.',
  options: {
    config: CONFIG_OPTION,
    listen: LISTEN_OPTION,
    set: SET_OPTION,
    'istio-dir': ISTIO_DIR_OPTION,
    capture: {
      help: 'redirect DNS to it while it answers ("byname capture"); further options',
    },
    ...CAPTURE_OPTIONS,
  },
  details: `Without a configuration it listens on 127.0.0.1:15053 and [::1]:15053. In a pod or on a VM of Istio it gets
the name table from the control plane that Istio's environment names, else from istiod.istio-system.svc:15012.
Elsewhere there are no mesh names until mesh.source is set, and all names go upstream.
SIGTERM and SIGINT let it answer what it has taken in, then end; a second SIGINT ends it at once. SIGHUP
reads the configuration again, as does a change of its file. SIGUSR2 starts a new process that takes over
without losing a query over UDP; TCP connections end after their answers. Where the service ends with its
first process (tini, systemd but for Type=notify), restart it instead. systemd is told how it fares
(NOTIFY_SOCKET), and may pass the sockets (LISTEN_FDS).
With --capture it needs root: a process with root's rights holds the redirect and starts the daemon as the
user that --uid names, without capabilities. The redirect is withdrawn while the daemon does not answer, and
when it ends, however it ends.`,
  settings: settingsHelp,
  examples: [
    'byname run --config byname.yaml',
    'BYNAME_MESH_SOURCE_XDS_ADDRESS=127.0.0.1:15010 byname run',
    'byname run --istio-dir vm',
    'byname run --capture --all-dns',
  ],
  isService: true,
  async run(given, context) {
    if (given.has('capture')) {
      const { runCaptured } = await import('./run-captured.ts')
      return await runCaptured(given, context)
    }
    const other = Object.keys(CAPTURE_OPTIONS).find((name) => given.has(name))
    if (other !== undefined) throw new UsageError(`--${other} is an option of --capture`)
    const { startFirstThread } = await import('../daemon/data-thread.ts')
    const startThread = startFirstThread()
    const reload = await givenLoader(given, context)
    const loaded = reload()
    const { runDaemon } = await import('../daemon/daemon.ts')
    const { signal, env } = context
    await explainBusyAddress(
      '--listen',
      async () => await runDaemon({ ...loaded, signal, env: { ...env }, reload, startThread }),
    )
    return ExitCode.done
  },
}
