import type { Clock } from '../base/clock.ts'
import { adminRoutes } from './admin-endpoint.ts'
import { HttpServer } from '../http/http-server.ts'
import { LastHour } from './last-hour.ts'
import type { Log } from './log.ts'
import { createMetrics } from './metrics.ts'
import { metricsRoutes } from './metrics-endpoint.ts'
import type { ProcessUsage } from './process-usage.ts'
import { refusal } from '../http/request-guard.ts'
import { SocketDrops } from './socket-drops.ts'
import type { ObserveSources } from './sources.ts'
import { tokenPage } from './status-page.ts'
import { statusReport, type StatusReport } from './status.ts'

/** Where an endpoint listens: a literal address without brackets, and a port (0: any free one). */
export interface Endpoint {
  address: string
  port: number
  /** A socket that listens there already; it is the endpoint's from now on. */
  inheritedFd?: number | undefined
}

/** What is observed, and where it is served. */
export interface ObserverOptions {
  sources: ObserveSources
  /** Null: no such endpoint. */
  metrics: Endpoint | null
  admin: Endpoint | null
  /** Its time never jumps. */
  clock: Clock
  usage: () => ProcessUsage
  /** The status page before anything is filled in, see status-page.ts; read whenever somebody wants it. @throws Error */
  pageTemplate: () => string
  /** As `HttpServerOptions.busyAllowedMs`. */
  busyAllowedMs?: number
  log: Pick<Log, 'info' | 'warn'>
}

/** Both endpoints and what they serve. */
export class Observer {
  /** Null where there is no such endpoint. */
  readonly metricsServer: HttpServer | null
  readonly adminServer: HttpServer | null
  readonly #sources: ObserveSources
  readonly #drops: SocketDrops = new SocketDrops()
  /** Null without an admin endpoint: nobody could see it. */
  readonly #lastHour: LastHour | null

  constructor({ sources, metrics, admin, clock, usage, pageTemplate, busyAllowedMs = 0, log }: ObserverOptions) {
    this.#sources = sources
    const lastHour = new LastHour({ sources, status: () => this.status(), usage, clock })
    this.#lastHour = admin === null ? null : lastHour
    this.metricsServer = metrics
      ? new HttpServer({
          ...metrics,
          name: 'metrics',
          busyAllowedMs,
          routes: metricsRoutes(sources, createMetrics(sources, this.#drops, log)),
          log,
        })
      : null
    this.adminServer = admin
      ? new HttpServer({
          ...admin,
          name: 'admin',
          product: `byname/${sources.version}`,
          busyAllowedMs,
          routes: adminRoutes(sources, () => this.status(), lastHour, pageTemplate),
          guard: (method, headers, path) => {
            const refused = refusal(method, headers, sources.adminToken())
            // A browser has no token to send until the page has asked for it.
            return refused?.status === 401 && method === 'GET' && path === '/' ? tokenPage(pageTemplate()) : refused
          },
          log,
        })
      : null
  }

  /** Tries to bind both. Never rejects: see `HttpServer.start`. */
  async start(): Promise<void> {
    this.#lastHour?.start()
    await Promise.all(this.#servers().map((server) => server.start()))
  }

  /** The report of this moment, an endpoint that could not be bound among its warnings. */
  async status(): Promise<StatusReport> {
    const drops = this.#drops.update(await this.#sources.socketTables(), this.#sources.listeners())
    const report = statusReport(this.#sources, drops, this.#lastHour?.recentTraffic() ?? null)
    const problems = this.#servers().flatMap((server) => server.problem ?? [])
    return { ...report, warnings: [...report.warnings, ...problems] }
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#lastHour?.stop()
    await Promise.all(this.#servers().map((server) => server.stop(deadlineMs)))
  }

  #servers(): HttpServer[] {
    return [this.metricsServer, this.adminServer].filter((server) => server !== null)
  }
}
