import { createServer, type Server as TcpServer } from 'node:net'
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import { type AdsHandlers, AdsService, type DeltaDiscoveryRequest, type DiscoveryRequest } from '../proto/ads.ts'
import { type Clock, waitFor } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { AdsSubscription, delta, type ServerDialect, stateOfTheWorld, type Subscription } from './ads-subscription.ts'
import type { Mesh } from './name-table-builder.ts'
import { TableViews } from './table-views.ts'

/** What the server is made with. */
export interface AdsServerOptions {
  /** What is served before the first `update`. */
  mesh: Mesh
  /** By default without TLS. */
  credentials?: ServerCredentials
  log: Log
  clock: Clock
}

/** Thrown at start for an address that cannot be listened on; the message names it. */
class ListenError extends Error {
  /** `EADDRINUSE`, …; as in Node's own errors. */
  readonly code: string
  /** `IP:PORT`. */
  readonly address: string

  constructor(address: string, code: string, options?: ErrorOptions) {
    const why: Record<string, string> = {
      EADDRINUSE: 'is in use by another process',
      EADDRNOTAVAIL: 'is not an address of this machine',
      EACCES: 'needs the right to bind ports below 1024 (CAP_NET_BIND_SERVICE)',
    }
    super(`cannot listen on ${address} (xDS): the address ${why[code] ?? `gives ${code}`}`, options)
    this.name = 'ListenError'
    this.code = code
    this.address = address
  }
}

/**
 * Serves name tables over ADS, delta and state of the world. Nodes that see the mesh alike share one
 * serialized table. A change is sent to those nodes whose table it changes.
 */
export class AdsServer {
  readonly #grpc: Server
  readonly #tcp: TcpServer
  readonly #log: Log
  readonly #clock: Clock
  readonly #subscriptions: Set<Subscription> = new Set()
  #views: TableViews

  constructor(options: AdsServerOptions) {
    this.#log = options.log
    this.#clock = options.clock
    this.#views = new TableViews(options.mesh)
    // grpc-js does not count its clients' pings, so those every 30 s (Istio's agent, byname) are welcome. Its own find
    // nodes that have vanished without closing.
    this.#grpc = new Server({
      'grpc.max_send_message_length': -1,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.enable_channelz': 0,
    })
    const handlers: AdsHandlers = {
      StreamAggregatedResources: (call) => this.#opened(call, stateOfTheWorld),
      DeltaAggregatedResources: (call) => this.#opened(call, delta),
    }
    this.#grpc.addService(AdsService, handlers)
    // Not grpc-js's own listener: that keeps of an error its text only, and prints it besides.
    const grpc = this.#grpc.createConnectionInjector(options.credentials ?? ServerCredentials.createInsecure())
    this.#tcp = createServer({ noDelay: true }, (socket) => grpc.injectConnection(socket))
  }

  /** Binds the address (an IP address; port 0: any) and returns the port. @throws ListenError */
  listen(address: string, port: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const where = `${address.includes(':') ? `[${address}]` : address}:${port}`
    const refused = (error: NodeJS.ErrnoException): void =>
      reject(new ListenError(where, error.code ?? lineOf(error), { cause: error }))
    this.#tcp.once('error', refused)
    this.#tcp.listen(port, address, () => {
      this.#tcp.off('error', refused)
      // A connection that cannot be accepted (no descriptors left) is that client's loss.
      this.#tcp.on('error', (error) => this.#log.warn({ reason: lineOf(error) }, 'cannot accept a connection'))
      const bound = this.#tcp.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port)
    })
    return promise
  }

  /** Streams now open. */
  get nodes(): number {
    return this.#subscriptions.size
  }

  /** From now on nodes see `mesh`. */
  update(mesh: Mesh): void {
    this.#views = new TableViews(mesh)
    const startMs = this.#clock.now()
    let pushed = 0
    for (const subscription of this.#subscriptions) if (subscription.push()) pushed++
    if (pushed === 0) return
    const fields = { pushed, nodes: this.nodes, ms: Math.round(this.#clock.now() - startMs) }
    this.#log.info(fields, 'the mesh changed: pushed name tables')
  }

  /** Ends every stream in order and closes the port; cuts what has not ended after `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    this.#tcp.close()
    for (const subscription of this.#subscriptions) subscription.end()
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    this.#grpc.tryShutdown(() => resolve())
    await waitFor(ended, deadlineMs, this.#clock)
    this.#grpc.forceShutdown()
  }

  #opened<Request extends DiscoveryRequest | DeltaDiscoveryRequest, Response>(
    call: ServerDuplexStream<Request, Response>,
    dialect: ServerDialect<Response>,
  ): void {
    const subscription = new AdsSubscription(call, dialect, { views: () => this.#views, log: this.#log })
    this.#subscriptions.add(subscription)
    const left = (): void => {
      if (!this.#subscriptions.delete(subscription)) return
      const { subscriber } = subscription
      if (subscriber !== null) this.#log.info({ node: subscriber.id, nodes: this.nodes }, 'a node left')
    }
    call.on('end', () => {
      left()
      call.end()
    })
    call.on('cancelled', left)
    call.on('error', left)
    call.on('close', left)
  }
}
