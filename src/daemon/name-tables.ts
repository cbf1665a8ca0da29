/** The name table's way through the control thread: from its origin to the keeper, the compiler, and images for the workers. */
import { BucketCounts, COMPILE_BOUNDS } from '../observe/bucket-counts.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../observe/log.ts'
import type { CredentialState, MeshState, Problem, XdsEvent, XdsStateLike } from '../observe/sources.ts'
import { TableCompiler } from '../table/compile.ts'
import type { TableIdentity } from '../table/identity.ts'
import type { Image } from '../table/image.ts'
import type { ImagePool } from '../table/image-pool.ts'
import { TableKeeper } from '../tables/table-keeper.ts'
import type { ResolverSettings } from './control-plane-access.ts'
import { RealDomains } from './real-domains.ts'
import { openTableOrigin, type OpenTableOrigin } from './table-origin.ts'

/** What the tables are made with. */
export interface NameTablesOptions {
  config: Config
  identity: TableIdentity
  /** Of all name hashes. */
  seed: number
  /** For the control plane's name. */
  resolvers: ResolverSettings
  /** Whether short names that may be real domains are left to servers. */
  areRealDomainsLeft: () => boolean
  /** Hands an image to the workers. */
  publish: (image: Image) => void
  /** Another table than before was taken into use. */
  onChanged: () => void
  log: Log
}

/** Name tables from the first to the last. Nothing is read or connected before `startOrigin`, but for `loadLastKnownGood`. */
export class NameTables {
  /** Takes the tables, and has the one in use. */
  readonly keeper: TableKeeper
  /** Where the images are. */
  readonly images: ImagePool
  /** What became of the tables that came. */
  readonly updates: MeshState['updates'] = { changed: 0, unchanged: 0, refused: 0 }
  /** In seconds. */
  readonly compileDurations: BucketCounts = new BucketCounts(COMPILE_BOUNDS)
  readonly #options: NameTablesOptions
  readonly #realDomains: RealDomains
  #open: OpenTableOrigin | null = null

  constructor(options: NameTablesOptions) {
    const { config, identity, log, seed } = options
    this.#options = options
    this.#realDomains = new RealDomains(log)
    const compiler = new TableCompiler({ identity, seed, now: epochMs })
    this.images = compiler.pool
    this.keeper = new TableKeeper({
      compiler,
      publish: (image, hasSameNames) => {
        options.publish(image)
        // Walks through all hosts, which with 100,000 takes a quarter as long as to lay other addresses over an image.
        if (config.mesh.shortNames !== 'none' && !hasSameNames)
          this.#realDomains.taken(image, options.areRealDomainsLeft())
      },
      onUpdate: (result, seconds) => {
        this.updates[result]++
        if (result !== 'changed') return
        this.compileDurations.observe(seconds)
        options.onChanged()
      },
      log,
      file: config.mesh.lastKnownGood,
      now: Date.now,
    })
  }

  /** Without one no table ever comes. */
  get hasOrigin(): boolean {
    return this.#options.config.mesh.source.kind !== 'none'
  }

  /** The state of the connection to the control plane; null where the table comes from files. */
  get xds(): XdsStateLike | null {
    return this.#open?.xds?.() ?? null
  }

  /** What happened last on that connection. */
  get xdsHistory(): readonly XdsEvent[] {
    return this.#open?.xdsHistory() ?? []
  }

  /** What is shown to the control plane, and verified. */
  get credentials(): CredentialState[] {
    return this.#open?.credentials() ?? []
  }

  /** What is wrong with the origin now. */
  get problems(): Problem[] {
    return this.#open?.problems() ?? []
  }

  /** What an operator should know about the table in use, a line each. */
  get warnings(): string[] {
    return this.#realDomains.warnings(this.#options.areRealDomainsLeft())
  }

  /** Takes the table that the run before this one left, if there is one. */
  loadLastKnownGood(): void {
    if (this.hasOrigin) this.keeper.loadLastKnownGood()
  }

  /** Opens the origin that the configuration names: tables come from now on. */
  async startOrigin(): Promise<void> {
    const { config, log, resolvers } = this.#options
    this.#open = await openTableOrigin(config, this.keeper, resolvers, log)
    await this.#open.origin.start()
  }

  /** Resolves once there is a table, or none is to come; after `timeoutMs`, or on `signal`, without one. */
  async first(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.hasOrigin) await this.keeper.firstTable(timeoutMs, signal)
  }

  /** The same, but the table that the run before this one left will not do. */
  async firstFromOrigin(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.hasOrigin) await this.keeper.firstFromOrigin(timeoutMs, signal)
  }

  /** No table comes any more. */
  async stopOrigin(deadlineMs: number): Promise<void> {
    await this.#open?.origin.stop(deadlineMs)
  }

  /** Writes what is still to be written. The workers may have ended. */
  async stop(): Promise<void> {
    await this.keeper.stop()
  }
}

/** Milliseconds since 1970 with fractions. */
function epochMs(): number {
  return performance.timeOrigin + performance.now()
}
