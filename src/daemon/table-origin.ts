/** Where the name table comes from: a control plane over xDS, a file that holds a table, or a folder of mesh files. */
import { networkInterfaces } from 'node:os'
import { watchFolder } from '../base/file-watch.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../observe/log.ts'
import type { Problem, XdsStateLike } from '../observe/sources.ts'
import type { TableSink } from '../table/nds.ts'
import { controlPlaneProblems, meshFileProblems, tableFileProblems } from './problems.ts'
import { version } from '../version.ts'

/** Whatever brings the name table. */
export interface TableSource {
  start(): void | Promise<void>
  stop(deadlineMs: number): void | Promise<void>
}

/** A source, the state of its connection where there is one, and what is wrong with it now. */
export interface OpenTableSource {
  source: TableSource
  xds: (() => XdsStateLike) | null
  problems: () => Problem[]
}

/** What of a source is not to be had, in one line; null if nothing. */
export function sourceProblem({ mesh: { source } }: Config): string | null {
  if (source.kind !== 'xds' || (source.tls === null && source.token === '')) return null
  const problem = 'TLS and tokens towards the control plane are not there yet'
  return `${problem}; use the plaintext port (15010 of istiod) without tls and token`
}

/** Makes the source that the configuration names, of which `sourceProblem` knows no problem; it is not started yet. Only its own code is loaded. */
export async function openTableSource(config: Config, sink: TableSink, log: Log): Promise<OpenTableSource> {
  const { source } = config.mesh
  if (source.kind === 'none')
    return { source: { start: () => {}, stop: async () => {} }, xds: null, problems: () => [] }
  if (source.kind === 'table') {
    const { TableFileSource } = await import('../tables/table-file.ts')
    const table = new TableFileSource({ path: source.file, sink, log })
    return { source: table, xds: null, problems: () => tableFileProblems(table.state()) }
  }
  if (source.kind === 'files') {
    const { MeshFilesSource } = await import('../tables/mesh-folder.ts')
    const { namespace, network, cluster, domain, ip } = config.identity
    const { INSTANCE_IPS: instanceIps, DNS_CAPTURE: capture } = config.istio.metadata
    const files = new MeshFilesSource({
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
    return { source: files, xds: null, problems: () => meshFileProblems(files.state()) }
  }
  const { XdsOrigin } = await import('../tables/xds-origin.ts')
  const { buildNode } = await import('../xds/node.ts')
  const { plaintext } = await import('../xds/credentials.ts')
  const ownAddresses = Object.values(networkInterfaces()).flatMap((infos) =>
    (infos ?? []).filter((info) => !info.internal).map((info) => info.address),
  )
  const origin = new XdsOrigin({
    addresses: source.addresses.map(({ text }) => text),
    delta: source.delta,
    node: buildNode({
      identity: config.identity,
      metadata: nodeMetadata(config.istio.metadata, source.automaticVips),
      ownAddresses,
      version,
    }),
    credentials: plaintext,
    sink,
    log,
    random: Math.random,
  })
  return { source: origin, xds: () => origin.state(), problems: () => controlPlaneProblems(origin.state()) }
}

/** istiod leaves automatic VIPs out for a node whose DNS_CAPTURE is "false"; its booleans are texts. */
function nodeMetadata(metadata: Record<string, unknown>, automaticVips: boolean | 'auto'): Record<string, unknown> {
  return automaticVips === 'auto' ? metadata : { ...metadata, DNS_CAPTURE: String(automaticVips) }
}

/** The configured source, for people. */
export function sourceText({ mesh: { source } }: Config): string {
  if (source.kind === 'none') return 'none'
  if (source.kind === 'table') return `file ${source.file}`
  if (source.kind === 'files') return `files in ${source.folder}`
  return `xds ${source.addresses.map(({ text }) => text).join(', ')}`
}
