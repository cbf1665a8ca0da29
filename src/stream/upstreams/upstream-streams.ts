/** Upstream queries over streams: which transport carries each, and how it ends. */
import type { UpstreamServer } from '../../engine/settings.ts'
import type { UpstreamQuery } from '../../engine/stream-port.ts'
import type { StreamCounters } from '../../stats/stream-counters.ts'
import { StreamCell } from '../../stats/stream-counters.ts'
import type { DataWorkerLink } from '../data-worker-link.ts'
import { FramedUpstream, tcpConnector, tlsConnector } from './framed-upstream.ts'
import { HttpsUpstream } from './https-upstream.ts'
import type { SecureConnectorOptions } from './secure-connector.ts'
import type { UpstreamStreamSettings } from '../stream-settings.ts'
import { SweepTimer } from '../sweep-timer.ts'
import type { UpstreamFailure, UpstreamAttempt, UpstreamTransport } from './upstream-transport.ts'

/** Time-outs are found within this much of their moment. */
const SWEEP_INTERVAL_MS = 50

const CELL_OF_TRANSPORT: Readonly<Record<UpstreamQuery['transport'], StreamCell>> = {
  tcp: StreamCell.upstreamQueriesTcp,
  tls: StreamCell.upstreamQueriesTls,
  https: StreamCell.upstreamQueriesHttps,
}

const CELL_OF_FAILURE: Readonly<Record<UpstreamFailure, StreamCell>> = {
  timeout: StreamCell.failuresTimeout,
  refused: StreamCell.failuresRefused,
  network: StreamCell.failuresNetwork,
  malformed: StreamCell.failuresMalformed,
  tls: StreamCell.failuresTls,
}

/** Makes the transport by which a server is asked. */
export type TransportFactory = (server: UpstreamServer, transport: UpstreamQuery['transport']) => UpstreamTransport

/** What the transports are made with. */
export interface UpstreamStreamsOptions {
  settings: UpstreamStreamSettings
  counters: StreamCounters
  /** Monotonic milliseconds. */
  now: () => number
  /** See SecureConnectorOptions. */
  onTlsFailure: SecureConnectorOptions['onTlsFailure']
  /** Another set of transports, for tests. */
  factory?: TransportFactory
}

/** All upstream servers that are asked over streams. Makes the transport of a server when it is first asked. */
export class UpstreamStreams {
  readonly #options: UpstreamStreamsOptions
  readonly #factory: TransportFactory
  readonly #sweepTimer: SweepTimer
  /** By what decides where connections lead, so that a change of the settings keeps those of servers that stay. */
  readonly #transports: Map<string, UpstreamTransport> = new Map()
  /** PEM, null for Node's own. */
  #rootCertificates: string | null
  /** By label. */
  #servers: ReadonlyMap<string, UpstreamServer> = new Map()

  constructor(options: UpstreamStreamsOptions) {
    this.#options = options
    this.#rootCertificates = options.settings.rootCertificates
    this.#factory = options.factory ?? ((server, transport) => this.#createTransport(server, transport))
    this.#sweepTimer = new SweepTimer(SWEEP_INTERVAL_MS, () => this.sweep())
  }

  /**
   * The servers that are asked from now on, and the root certificates (PEM, null for Node's own) that they are verified by.
   * Connections to servers no longer listed end, and so do those that other certificates have verified.
   */
  use(
    servers: readonly UpstreamServer[],
    rootCertificates: string | null = this.#options.settings.rootCertificates,
  ): void {
    this.#servers = new Map(servers.map((server) => [server.label, server]))
    const trusted = TRANSPORTS.filter((each) => each === 'tcp' || rootCertificates === this.#rootCertificates)
    this.#rootCertificates = rootCertificates
    const kept = new Set(servers.flatMap((server) => trusted.map((transport) => keyOf(server, transport))))
    for (const [key, transport] of this.#transports) {
      if (kept.has(key)) continue
      this.#transports.delete(key)
      transport.close()
    }
  }

  /** Asks a server for a data worker; how it ended is posted to `link` unless the worker behind it changed meanwhile. */
  ask(message: UpstreamQuery, link: DataWorkerLink): void {
    const { counters, now } = this.#options
    const { generation } = link
    counters.add(CELL_OF_TRANSPORT[message.transport])
    const attempt: UpstreamAttempt = {
      query: message.query,
      deadlineMs: now() + message.timeoutMs,
      attemptMs: message.attemptMs,
      sent: 0,
      isSettled: false,
      settle: (reply, failure) => {
        if (attempt.isSettled) return
        attempt.isSettled = true
        if (failure !== null) counters.add(CELL_OF_FAILURE[failure])
        if (link.generation !== generation) return
        link.upstreamReply({ kind: 'upstreamReply', token: message.token, reply, failure })
      },
    }
    const server = this.#servers.get(message.server)
    // The data worker's settings may be a moment older than ours, or newer: it asks again.
    if (server === undefined) return attempt.settle(null, 'network')
    this.#transport(server, message.transport).ask(attempt)
    this.#sweepTimer.arm()
  }

  /** Fails what is overdue and closes what is idle. Returns false if nothing is left to watch. */
  sweep(): boolean {
    const now = this.#options.now()
    let busy = false
    for (const transport of this.#transports.values()) busy = transport.sweep(now) || busy
    return busy
  }

  /** Ends all attempts as `network` and closes all connections. */
  close(): void {
    this.#sweepTimer.stop()
    for (const transport of this.#transports.values()) transport.close()
    this.#transports.clear()
  }

  #transport(server: UpstreamServer, transport: UpstreamQuery['transport']): UpstreamTransport {
    const key = keyOf(server, transport)
    let found = this.#transports.get(key)
    if (found === undefined) {
      found = this.#factory(server, transport)
      this.#transports.set(key, found)
    }
    return found
  }

  #createTransport(server: UpstreamServer, transport: UpstreamQuery['transport']): UpstreamTransport {
    const { settings, counters, now, onTlsFailure } = this.#options
    const secure: SecureConnectorOptions = { server, rootCertificates: this.#rootCertificates, now, onTlsFailure }
    if (transport === 'https') return new HttpsUpstream({ ...secure, settings, counters })
    const connector = transport === 'tls' ? tlsConnector(secure) : tcpConnector(server)
    return new FramedUpstream({ connector, settings, counters, now })
  }
}

const TRANSPORTS: readonly UpstreamQuery['transport'][] = ['tcp', 'tls', 'https']

function keyOf(server: UpstreamServer, transport: UpstreamQuery['transport']): string {
  return [transport, server.address, server.port, server.serverName ?? '', server.path ?? ''].join(' ')
}
