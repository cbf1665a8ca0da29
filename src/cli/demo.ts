import { join, relative } from 'node:path'
import { styleText } from 'node:util'
import { parseSocketAddress, type SocketAddress, socketText } from '../config/address.ts'
import { watchFolder } from '../base/file-watch.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Setting } from '../config/layer.ts'
import type { StartedDaemon } from '../daemon/daemon.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { explainBusyAddress } from './busy-address.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { listenFlags } from './config-options.ts'
import { packageRoot } from './package-root.ts'
import { alignColumns } from './text-columns.ts'

const CONTROL_PLANE_STOP_MS = 2000

/** `byname demo`: control plane and daemon together, on the demo mesh. */
export const demoCommand: Command = {
  name: 'demo',
  summary: 'Try it: the proxy and a control plane with a demo mesh, in one process.',
  options: {
    listen: {
      value: 'ADDR:PORT',
      isMultiple: true,
      help: 'address to answer on (default 127.0.0.1:15053 and [::1]:15053)',
    },
    'control-plane-listen': { value: 'ADDR:PORT', help: 'address of the control plane (default 127.0.0.1:15010)' },
    'metrics-listen': { value: 'ADDR:PORT', help: 'address of /metrics (default [::]:9153)' },
    'admin-listen': { value: 'ADDR:PORT', help: 'address of the status page (default 127.0.0.1:15054)' },
    mesh: { value: 'DIR', help: 'folder of mesh files (default config/demo)' },
  },
  details: 'Port 0 takes any free port. Ctrl-C ends it.',
  isService: true,
  async run(given, context) {
    const listen = parseSocketAddress(given.text('control-plane-listen') ?? '127.0.0.1:15010')
    if ('reason' in listen) throw new UsageError(`--control-plane-listen: ${listen.reason}`)
    const folder = given.text('mesh') ?? demoFolder()
    // Before anything is opened: a bad option should not cost a control plane.
    await load(given, context, listen.value)
    const { startControlPlane } = await import('../mesh/control-plane.ts')
    const { createLog } = await import('../observe/log.ts')
    const log = await createLog({ level: 'warn', format: 'auto' })
    const controlPlane = await explainBusyAddress('--control-plane-listen', () =>
      startControlPlane({ folder, listen: listen.value, log, watchFolder }),
    )
    try {
      const loaded = await load(given, context, { ...listen.value, port: controlPlane.port })
      const { runDaemon } = await import('../daemon/daemon.ts')
      await explainBusyAddress('--listen', () =>
        runDaemon({
          ...loaded,
          signal: context.signal,
          env: { ...context.env },
          onStarted: (started) => context.out(screen(started, { ...listen.value, port: controlPlane.port }, folder)),
        }),
      )
    } finally {
      await controlPlane.stop(CONTROL_PLANE_STOP_MS)
    }
    return ExitCode.done
  },
}

async function load(
  given: CommandArguments,
  context: CommandContext,
  controlPlane: SocketAddress,
): Promise<LoadedConfig> {
  const { loadConfig } = await import('../config/load.ts')
  const flags: Setting[] = [
    ...listenFlags(given),
    {
      path: ['mesh', 'source', 'xds'],
      value: { address: socketText(controlPlane.address, controlPlane.port || 15_010) },
      from: '--control-plane-listen',
    },
  ]
  for (const key of ['metrics', 'admin']) {
    const address = given.text(`${key}-listen`)
    if (address !== undefined) flags.push({ path: [key, 'listen'], value: address, from: `--${key}-listen` })
  }
  // The screen says what is to be said; a log line a connection would push it away.
  const defaults: Setting[] = [{ path: ['log', 'level'], value: 'warn', from: 'byname demo' }]
  return loadConfig({ env: context.env, flags, defaults })
}

/** What there is to try, with the ports that were really opened. */
function screen(started: StartedDaemon, controlPlane: SocketAddress, folder: string): string {
  const first = started.listen[0]
  const dig = first === undefined ? 'dig' : `dig @${first.address} -p ${first.port}`
  const server = first === undefined ? '' : ` --server ${socketText(first.address, first.port)}`
  const launcher = nearPath(process.argv[1] ?? 'byname')
  const files = nearPath(folder)
  const isOwnMesh = folder !== demoFolder()
  const examples = isOwnMesh
    ? []
    : [
        [`  ${dig} reviews`, 'a service, by its short name'],
        [`  ${dig} db-0.db.default.svc.cluster.local`, 'one pod of a headless service'],
        [`  ${dig} anything.example.test`, 'a name below a wildcard host'],
      ]
  const edit = isOwnMesh
    ? `Edit a file in ${files}: what it says is answered at once.`
    : `Then change the clusterIP of reviews in ${join(files, 'bookinfo.yaml')}, save, and ask again: it shows at once.`
  const where = [
    ['  DNS', `${started.listen.map(({ address, port }) => socketText(address, port)).join(' and ')}, UDP and TCP`],
    ['  control plane', `${socketText(controlPlane.address, controlPlane.port)}, which serves ${files}`],
  ]
  if (started.metrics !== null) where.push(['  metrics', urlOf(started.metrics, '/metrics')])
  if (started.admin !== null) where.push(['  status page', urlOf(started.admin, '/')])
  return `
${styleText('bold', 'byname is answering.', { stream: process.stdout })} Try, in another terminal:

${alignColumns([
  ...examples,
  [`  ${dig} example.com`, 'an outside name; the second time from the cache'],
  [`  ${launcher} query ${isOwnMesh ? 'example.com' : 'reviews'}${server}`, 'says where the answer came from'],
])}
${edit}

${alignColumns(where)}
Ctrl-C ends it.
`
}

/** The mesh that ships with byname. */
function demoFolder(): string {
  return join(packageRoot(), 'config', 'demo')
}

/** The path from where the user is, if it is below. */
function nearPath(path: string): string {
  const near = relative(process.cwd(), path)
  return near === '' || near.startsWith('..') ? path : near
}

/** A wildcard address is no place to go to: loopback stands for it. */
function urlOf({ address, port }: { address: string; port: number }, path: string): string {
  const host = address === '::' || address === '0.0.0.0' ? '127.0.0.1' : address
  return `http://${socketText(host, port)}${path}`
}
