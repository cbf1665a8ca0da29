import type { Clock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import type { TableSink, TableVerdict } from '../table/nds.ts'
import type { DebounceSettings } from '../mesh/debounce.ts'
import { MeshWatch, type MeshWatchState, type WatchFolder } from '../mesh/mesh-watch.ts'
import { familiesOf, type Mesh, servicesDomainOf, takesAutomaticVips } from '../mesh/name-table-builder.ts'
import { buildTable } from '../mesh/table-views.ts'

/** What the origin is made with. */
export interface MeshFilesOriginOptions {
  folder: string
  /** Whose table it is. */
  node: FolderNode
  sink: TableSink
  log: Log
  watchFolder: WatchFolder
  /** File that keeps automatic addresses; `.byname-vips.json` in the folder if not given. */
  vipFile?: string
  debounce?: DebounceSettings
  clock?: Clock
  /** Unix time in ms. */
  unixNow?: () => number
}

/** The node that a table is built for. */
export interface FolderNode {
  namespace: string
  /** '' where unknown. */
  cluster: string
  network: string
  /** Of the namespace; `NAMESPACE.svc.cluster.local` if not given. */
  domain?: string
  /** Its addresses, the list with commas between them: addresses of services and automatic ones of other families are left out. */
  ip?: string
  instanceIps?: string
  /** Metadata DNS_CAPTURE: without automatic addresses if it is `false`. */
  dnsCapture?: string
}

/** What is known of the folder, for people. */
export interface MeshFilesState extends MeshWatchState {
  /** Of the table last accepted, '' before. */
  version: string
  hosts: number
}

/**
 * `mesh.source.files`: what the embedded control plane would send this node, without gRPC. The table in use stays while
 * there is no folder or nothing good in it has changed.
 */
export class MeshFilesOrigin {
  readonly #options: MeshFilesOriginOptions
  readonly #watch: MeshWatch
  #version = ''
  #hosts = 0

  constructor(options: MeshFilesOriginOptions) {
    this.#options = options
    this.#watch = new MeshWatch(options, (mesh) => this.#take(mesh))
  }

  /** Begins to watch, and resolves when the folder was read once, to whatever end. */
  start(): Promise<void> {
    return this.#watch.start()
  }

  /** Ends the watch; waits for a reading under way, for at most `deadlineMs`. */
  stop(deadlineMs: number): Promise<void> {
    return this.#watch.stop(deadlineMs)
  }

  state(): MeshFilesState {
    return { ...this.#watch.state(), version: this.#version, hosts: this.#hosts }
  }

  #take(mesh: Mesh): void {
    const { node, sink, log, folder } = this.#options
    const { namespace, cluster, network, domain = '', ip = '', instanceIps = '', dnsCapture = '' } = node
    const table = buildTable(mesh, {
      namespace,
      cluster,
      network,
      servicesDomain: servicesDomainOf(domain),
      families: familiesOf(instanceIps, ip),
      takesAutomaticVips: takesAutomaticVips(dnsCapture),
    })
    if (table.version === this.#version) return
    let verdict: TableVerdict
    try {
      verdict = sink.accept(table.bytes, table.version)
    } catch (error) {
      // A bug of ours in taking the table in: it must not cost the names that work.
      verdict = { accepted: false, reason: lineOf(error) }
    }
    if (!verdict.accepted) {
      log.error(
        { folder, reason: verdict.reason },
        'the name table from the mesh files is refused; the one in use stays',
      )
      return
    }
    this.#version = table.version
    this.#hosts = table.hosts
    log.info({ folder, hosts: table.hosts, version: table.version }, 'took the name table from the mesh files')
  }
}
