/** The HTTP endpoints of the daemon, `metrics` and `admin`: their sockets, and the observer behind them. */
import { fileURLToPath } from 'node:url'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { onWholeSeconds, steadyClock } from '../base/clock.ts'
import type { Config } from '../config/schema.ts'
import type { HttpServer } from '../http/http-server.ts'
import type { Log } from '../observe/log.ts'
import type { Endpoint, Observer } from '../observe/observer.ts'
import type { ObserveSources } from '../observe/sources.ts'
import { closeEndpoints, type LentEndpoint, takeEndpoint } from './handover.ts'

/** Made by bin/build.mjs. */
const PAGE: string = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/status-page.html' : './status-page.html', import.meta.url),
)
const STOP_MS = 1000

/** Where an endpoint really listens. */
export interface BoundAddress {
  address: string
  port: number
}

/** What the endpoints are made with. */
export interface EndpointsOptions {
  config: Pick<Config, 'metrics' | 'admin'>
  log: Log
}

/** The endpoints from their start to their end. */
export class Endpoints {
  readonly #options: EndpointsOptions
  #observer: Observer | null = null

  constructor(options: EndpointsOptions) {
    this.#options = options
  }

  /** Whether they have been started. */
  get areOpen(): boolean {
    return this.#observer !== null
  }

  /**
   * Opens the endpoints, over the sockets among `given` that fit; the others are closed. `busyAllowedMs`: as
   * `HttpServerOptions.busyAllowedMs`. The observer is not loaded before DNS is answered: it brings an HTTP server and the
   * metrics library.
   */
  async start(sources: ObserveSources, given: LentEndpoint[], busyAllowedMs: number): Promise<void> {
    const [{ Observer }, { processUsage }] = await Promise.all([
      import('../observe/observer.ts'),
      import('../observe/process-usage.ts'),
    ])
    const { config, log } = this.#options
    this.#observer = new Observer({
      sources,
      metrics: endpoint('metrics', config.metrics.listen, given),
      admin: endpoint('admin', config.admin.listen, given),
      clock: onWholeSeconds(steadyClock),
      usage: processUsage,
      pageTemplate,
      busyAllowedMs,
      log,
    })
    closeEndpoints(given)
    await this.#observer.start()
  }

  /** The sockets for a process that takes over; they stay this one's, too. */
  lend(): LentEndpoint[] {
    const { admin, metrics } = this.#options.config
    return [
      lent('metrics', metrics.listen, this.#observer?.metricsServer),
      lent('admin', admin.listen, this.#observer?.adminServer),
    ].flat()
  }

  /** Null where there is no such endpoint, or its port is busy: then it is tried again in the background. */
  async bound(): Promise<{ metrics: BoundAddress | null; admin: BoundAddress | null }> {
    return {
      metrics: await boundAddress(this.#observer?.metricsServer),
      admin: await boundAddress(this.#observer?.adminServer),
    }
  }

  /** Ends what is open; nothing if they have ended already. */
  async stop(): Promise<void> {
    await this.#observer?.stop(STOP_MS)
  }
}

function endpoint(name: LentEndpoint['name'], listen: Endpoint | null, given: LentEndpoint[]): Endpoint | null {
  if (listen === null) return null
  const { address, port } = listen
  return { address, port, inheritedFd: takeEndpoint(given, name, address, port) }
}

function lent(name: LentEndpoint['name'], listen: Endpoint | null, server: HttpServer | null = null): LentEndpoint[] {
  const fd = server?.descriptor ?? null
  return listen === null || fd === null ? [] : [{ name, address: listen.address, port: listen.port, fd }]
}

/** DNS does not wait for an endpoint that is tried again. */
function boundAddress(server: HttpServer | null | undefined): Promise<BoundAddress | null> | null {
  return server && server.problem === null ? server.bound() : null
}

/** @throws Error in one line */
function pageTemplate(): string {
  const read = readBoundedText(PAGE, MAX_FILE_BYTES.statusPage)
  if ('problem' in read) throw new Error(`${PAGE} ${read.problem.reason}`)
  return read.text
}
