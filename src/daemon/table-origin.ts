/** Where the name table comes from: a control plane over xDS, a file that holds a table, or a folder of mesh files. */
import { watchFolder } from '../base/file-watch.ts'
import type { Config } from '../config/schema.ts'
import type { ShownCredential } from '../credentials/control-plane-credentials.ts'
import type { Log } from '../observe/log.ts'
import type { Problem, XdsEvent, XdsStateLike } from '../observe/sources.ts'
import type { TableSink } from '../table/nds.ts'
import type { ResolverSettings } from './control-plane-access.ts'
import { controlPlaneProblems, meshFileProblems, tableFileProblems } from './problems.ts'

/** What brings name tables. */
export interface TableOrigin {
  start(): void | Promise<void>
  stop(deadlineMs: number): void | Promise<void>
}

/** An origin, the state of its connection if it has one, and what is wrong with it now. */
export interface OpenTableOrigin {
  origin: TableOrigin
  /** What is shown to the control plane and verified; empty where there is none, or without TLS. */
  credentials: () => ShownCredential[]
  xds: (() => XdsStateLike) | null
  /** What happened last on it; empty where there is none. */
  xdsHistory: () => readonly XdsEvent[]
  problems: () => Problem[]
}

/** What is contradictory about `mesh.source`, in one line; null: nothing. */
export function sourceProblem({ mesh: { source } }: Config): string | null {
  if (source.kind !== 'xds') return null
  const { tls, token, certificate } = source
  if (tls === null && token !== '')
    return 'token: would travel in plaintext; add tls: {} and the secured port (15012 of istiod), or leave the token out'
  if (tls === null && certificate !== 'none') return 'certificate: needs TLS; add tls: {}'
  if (tls !== null && (tls.cert === '') !== (tls.key === ''))
    return `tls: has ${tls.cert === '' ? 'a key without its certificate (cert)' : 'a certificate without its key (key)'}`
  return null
}

/** Makes the origin that `mesh.source` names, after `sourceProblem` found nothing. It is not started yet. Only its own code is loaded. */
export async function openTableOrigin(
  config: Config,
  sink: TableSink,
  resolvers: ResolverSettings,
  log: Log,
): Promise<OpenTableOrigin> {
  const { source } = config.mesh
  if (source.kind === 'none')
    return { origin: { start: () => {}, stop: async () => {} }, ...NO_CONNECTION, problems: () => [] }
  if (source.kind === 'table') {
    const { TableFileOrigin } = await import('../tables/table-file.ts')
    const table = new TableFileOrigin({ path: source.file, sink, log })
    return { origin: table, ...NO_CONNECTION, problems: () => tableFileProblems(table.state()) }
  }
  if (source.kind === 'files') {
    const { MeshFilesOrigin } = await import('../tables/mesh-folder.ts')
    const { namespace, network, cluster, domain, ip } = config.identity
    const { INSTANCE_IPS: instanceIps, DNS_CAPTURE: capture } = config.istio.metadata
    const files = new MeshFilesOrigin({
      folder: source.folder,
      node: {
        namespace,
        network,
        cluster,
        domain,
        ip,
        instanceIps: typeof instanceIps === 'string' ? instanceIps : '',
        dnsCapture: typeof capture === 'string' || typeof capture === 'boolean' ? String(capture) : '',
      },
      sink,
      log,
      watchFolder,
    })
    return { origin: files, ...NO_CONNECTION, problems: () => meshFileProblems(files.state()) }
  }
  const { XdsOrigin } = await import('../tables/xds-origin.ts')
  const { nodeFor } = await import('./xds-node.ts')
  const { openAccess } = await import('./control-plane-access.ts')
  const access = await openAccess(config, source, resolvers, log)
  const origin = new XdsOrigin({
    addresses: source.addresses.map(({ text }) => text),
    delta: source.delta,
    node: nodeFor(config, source),
    credentials: access.credentials,
    resolve: access.resolve,
    sink,
    log,
    random: Math.random,
  })
  const connected: TableOrigin = {
    start() {
      access.start(() => origin.reconnect())
      origin.start()
    },
    async stop(deadlineMs) {
      access.stop()
      await origin.stop(deadlineMs)
    },
  }
  return {
    origin: connected,
    credentials: access.shown,
    xds: () => ({ ...origin.state(), ...registrationOf(config, origin.state().connected) }),
    xdsHistory: () => origin.history(),
    problems: () => controlPlaneProblems(origin.state()),
  }
}

const NO_CONNECTION: Pick<OpenTableOrigin, 'credentials' | 'xds' | 'xdsHistory'> = {
  credentials: () => [],
  xds: null,
  xdsHistory: () => [],
}

/** The group that istiod is asked to register this machine in, and whether it has: it does so for as long as the stream lasts. */
function registrationOf(
  { istio }: Config,
  isConnected: boolean,
): { registration?: { group: string; isRegistered: boolean } } {
  const group = istio.metadata['AUTO_REGISTER_GROUP']
  return typeof group === 'string' ? { registration: { group, isRegistered: isConnected } } : {}
}

/** The origin that the configuration names, for people. */
export function sourceText({ mesh: { source } }: Config): string {
  if (source.kind === 'none') return 'none'
  if (source.kind === 'table') return `file ${source.file}`
  if (source.kind === 'files') return `files in ${source.folder}`
  return `xds ${source.addresses.map(({ text }) => text).join(', ')}`
}
