import { parseSocketAddress } from '../config/address.ts'
import { watchFolder } from '../base/file-watch.ts'
import { explainBusyAddress } from './busy-address.ts'
import { UsageError } from './arguments.ts'
import { type Command, ExitCode } from './command.ts'
import { whenAborted } from './when-aborted.ts'

const STOP_MS = 5000

/** `byname control-plane`: the embedded control plane alone. */
export const controlPlaneCommand: Command = {
  name: 'control-plane',
  summary: 'Serve a folder of mesh files as a control plane (xDS).',
  options: {
    mesh: { value: 'DIR', help: 'folder of Service, EndpointSlice, Pod, ServiceEntry and WorkloadEntry YAML, watched' },
    listen: { value: 'ADDR:PORT', help: 'address for gRPC (default 127.0.0.1:15010)' },
    tls: {
      value: 'DIR',
      help: 'TLS: cert-chain.pem, key.pem and, for clients to show a certificate, root-cert.pem',
    },
  },
  examples: ['byname control-plane --mesh config/demo'],
  isService: true,
  async run(given, context) {
    const folder = given.text('mesh')
    if (folder === undefined) throw new UsageError('name the folder of mesh files with --mesh DIR')
    const listen = parseSocketAddress(given.text('listen') ?? '127.0.0.1:15010')
    if ('reason' in listen) throw new UsageError(`--listen: ${listen.reason}`)
    const tls = given.text('tls')
    const { startControlPlane } = await import('../mesh/control-plane.ts')
    const { createLog } = await import('../observe/log.ts')
    const log = await createLog({ level: 'info', format: 'auto' })
    const controlPlane = await explainBusyAddress('--listen', () =>
      startControlPlane({ folder, listen: listen.value, ...(tls !== undefined && { tls }), log, watchFolder }),
    )
    await whenAborted(context.signal)
    await controlPlane.stop(STOP_MS)
    return ExitCode.done
  },
}
