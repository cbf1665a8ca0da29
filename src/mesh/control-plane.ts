import { statSync } from 'node:fs'
import { type Clock, steadyClock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { AdsServer } from './ads-server.ts'
import { readServerCredentials } from './server-credentials.ts'
import type { DebounceSettings } from './debounce.ts'
import { MeshWatch, type MeshWatchState, type WatchFolder } from './mesh-watch.ts'
import { indexMesh } from './name-table-builder.ts'

/** What the control plane is started with. */
export interface ControlPlaneOptions {
  /** YAML or JSON of Service, EndpointSlice, Pod, ServiceEntry and WorkloadEntry; those below it as well. */
  folder: string
  /** Where gRPC is served. Port 0: any. */
  listen: { address: string; port: number }
  /** Folder of cert-chain.pem and key.pem, and of root-cert.pem if clients must show a certificate; without it there is no TLS. */
  tls?: string
  log: Log
  watchFolder: WatchFolder
  /** File that keeps automatic addresses; `.byname-vips.json` in the folder if not given. */
  vipFile?: string
  debounce?: DebounceSettings
  clock?: Clock
}

/** A control plane that runs. */
export interface ControlPlane {
  /** Where it listens; the real port where 0 was asked for. */
  address: string
  port: number
  /** Streams of nodes now open, and what is known of the folder. */
  state(): MeshWatchState & { nodes: number }
  /** Ends every stream in order, within `deadlineMs`. */
  stop(deadlineMs: number): Promise<void>
}

/** Thrown at start where there is no folder of mesh files. */
class MeshFolderError extends Error {
  readonly code = 'MESH_FOLDER'

  constructor(folder: string, reason: string, options?: ErrorOptions) {
    super(`mesh folder ${folder}: ${reason}`, options)
    this.name = 'MeshFolderError'
  }
}

/**
 * The embedded control plane: an ADS server whose name tables follow a folder of YAML. It serves once the folder was
 * read; files that are bad at that time are logged and missing. @throws MeshFolderError, ServerCredentialsError, ListenError
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { folder, listen, log } = options
  requireFolder(folder)
  const clock = options.clock ?? steadyClock
  const credentials = options.tls === undefined ? {} : { credentials: readServerCredentials(options.tls) }
  const server = new AdsServer({ mesh: indexMesh([]), ...credentials, log, clock })
  const watch = new MeshWatch(options, (mesh) => server.update(mesh))
  await watch.start()
  let port: number
  try {
    port = await server.listen(listen.address, listen.port)
  } catch (error) {
    await watch.stop(0)
    throw error
  }
  const { files, services, serviceEntries } = watch.state()
  log.info({ address: listen.address, port, folder, files, services, serviceEntries }, 'the control plane is serving')
  return {
    address: listen.address,
    port,
    state: () => ({ ...watch.state(), nodes: server.nodes }),
    async stop(deadlineMs) {
      const startMs = clock.now()
      await watch.stop(deadlineMs)
      await server.stop(Math.max(0, deadlineMs - (clock.now() - startMs)))
      log.info({ address: listen.address, port }, 'the control plane has stopped')
    },
  }
}

function requireFolder(folder: string): void {
  let isFolder: boolean
  try {
    isFolder = statSync(folder).isDirectory()
  } catch (error) {
    throw new MeshFolderError(folder, lineOf(error), { cause: error })
  }
  if (!isFolder) throw new MeshFolderError(folder, 'is no folder; name the one with the YAML files')
}
