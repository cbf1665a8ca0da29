import { createServer, type Server as TcpServer, type Socket } from 'node:net'
import { once } from 'node:events'
import {
  type Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js'
import {
  AdsService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  type DiscoveryResponse,
} from '../../src/proto/ads.ts'
import { NAME_TABLE_TYPE } from '../../src/table/nds.ts'
import { freePort } from '../free-port.ts'
import { Inbox } from './inbox.ts'

/** A table to push. What is left out is as Istio sends it. */
export interface ScriptedPush {
  /** Serialized NameTables; one, as a rule. Default: an empty one. */
  tables?: readonly Uint8Array[]
  version?: string
  nonce?: string
  /** Of the response, and of the resources. */
  typeUrl?: string
  resourceTypeUrl?: string
  /** Delta: name and version of the resource, and what is said to be removed. */
  resourceName?: string
  resourceVersion?: string
  removed?: string[]
  controlPlane?: string
}

type Call =
  | { dialect: 'sotw'; stream: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse> }
  | { dialect: 'delta'; stream: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> }

/** A stream that a client opened. */
export class ScriptedStream {
  readonly dialect: 'sotw' | 'delta'
  readonly metadata: Metadata
  /** What the client sent, in order. */
  readonly requests: Inbox<DiscoveryRequest & DeltaDiscoveryRequest> = new Inbox()
  /** Settled when the client has gone. */
  readonly gone: Promise<void>
  readonly #call: Call
  #pushes = 0

  constructor(call: Call) {
    this.#call = call
    this.dialect = call.dialect
    this.metadata = call.stream.metadata
    const { promise, resolve } = Promise.withResolvers<void>()
    this.gone = promise
    // Fields of the other dialect are undefined in a request: a test knows which one it speaks.
    call.stream.on('data', (request: DiscoveryRequest & DeltaDiscoveryRequest) => this.requests.put(request))
    call.stream.on('error', () => resolve())
    call.stream.on('cancelled', () => resolve())
    call.stream.on('end', () => {
      resolve()
      call.stream.end()
    })
  }

  /** Sends a response. */
  push(push: ScriptedPush = {}): void {
    const count = ++this.#pushes
    const { tables = [new Uint8Array(0)], version = `v${count}`, nonce = `n${count}`, typeUrl = NAME_TABLE_TYPE } = push
    const resources = tables.map((value) => ({ type_url: push.resourceTypeUrl ?? NAME_TABLE_TYPE, value }))
    const control_plane = push.controlPlane === undefined ? null : { identifier: push.controlPlane }
    const common = { type_url: typeUrl, nonce, control_plane }
    if (this.#call.dialect === 'sotw') {
      this.#call.stream.write({ ...common, version_info: version, resources })
      return
    }
    this.#call.stream.write({
      ...common,
      system_version_info: version,
      resources: resources.map((resource) => ({
        resource,
        name: push.resourceName ?? '',
        version: push.resourceVersion ?? '',
      })),
      removed_resources: push.removed ?? [],
    })
  }

  /** Sends resources of any type. */
  pushResources(
    typeUrl: string,
    resources: { name: string; version: string; value: Uint8Array }[],
    more: Pick<ScriptedPush, 'version' | 'nonce' | 'removed' | 'resourceTypeUrl'> = {},
  ): void {
    const count = ++this.#pushes
    const { version = `v${count}`, nonce = `n${count}`, removed = [], resourceTypeUrl = typeUrl } = more
    const common = { type_url: typeUrl, nonce, control_plane: null }
    const anyOf = (value: Uint8Array) => ({ type_url: resourceTypeUrl, value })
    if (this.#call.dialect === 'sotw') {
      this.#call.stream.write({
        ...common,
        version_info: version,
        resources: resources.map(({ value }) => anyOf(value)),
      })
      return
    }
    this.#call.stream.write({
      ...common,
      system_version_info: version,
      resources: resources.map((each) => ({ name: each.name, version: each.version, resource: anyOf(each.value) })),
      removed_resources: removed,
    })
  }

  /** Sends a message of any bytes. */
  pushBytes(bytes: Buffer): void {
    // The server serializes what it is given by the service's definition below, which lets raw bytes through.
    const { stream } = this.#call as { stream: { write(message: unknown): void } }
    stream.write(bytes)
  }

  /** Ends the stream in order. */
  end(): void {
    this.#call.stream.end()
  }

  /** Ends the stream with a gRPC status. */
  fail(code: number, details: string): void {
    this.#call.stream.emit('error', { code, details })
  }
}

function lettingBytesThrough(): ServiceDefinition {
  return Object.fromEntries(
    Object.entries<MethodDefinition<any, any>>(AdsService).map(([name, method]) => [
      name,
      {
        ...method,
        responseSerialize: (message: unknown) =>
          Buffer.isBuffer(message) ? message : method.responseSerialize(message),
      },
    ]),
  )
}

/** An ADS server on loopback that does what a test tells it to. */
export class ScriptedAdsServer {
  /** Streams, in the order in which they were opened. */
  readonly streams: Inbox<ScriptedStream> = new Inbox()
  /** Called with each stream as it opens: a script that runs by itself. */
  onStream: (stream: ScriptedStream) => void = () => {}
  /** Connections accepted since the start. */
  connections = 0
  readonly #grpc: Server
  readonly #tcp: TcpServer
  readonly #inject: ReturnType<Server['createConnectionInjector']>
  readonly #sockets: Set<Socket> = new Set()

  private constructor(speaks: readonly string[]) {
    this.#grpc = new Server({ 'grpc.max_send_message_length': -1, 'grpc.enable_channelz': 0 })
    const open = (call: Call): void => {
      if (!speaks.includes(call.dialect)) {
        call.stream.emit('error', { code: status.UNIMPLEMENTED, details: `no ${call.dialect} here` })
        return
      }
      const stream = new ScriptedStream(call)
      this.onStream(stream)
      this.streams.put(stream)
    }
    this.#grpc.addService(lettingBytesThrough(), {
      StreamAggregatedResources: (stream: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) =>
        open({ dialect: 'sotw', stream }),
      DeltaAggregatedResources: (stream: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>) =>
        open({ dialect: 'delta', stream }),
    })
    this.#inject = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure())
    this.#tcp = createServer((socket) => {
      this.connections++
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      this.#inject.injectConnection(socket)
    })
  }

  /** `port`: one that is free, and stays so after the server has stopped, if not given. `host`: a loopback address. `speaks`: dialects that are not UNIMPLEMENTED. */
  static async start(
    options: { port?: number; host?: string; speaks?: readonly string[] } = {},
  ): Promise<ScriptedAdsServer> {
    const server = new ScriptedAdsServer(options.speaks ?? ['sotw', 'delta'])
    server.#tcp.listen(options.port ?? (await freePort()), options.host ?? '127.0.0.1')
    await once(server.#tcp, 'listening')
    return server
  }

  get port(): number {
    const address = this.#tcp.address()
    if (address === null || typeof address === 'string') throw new Error('the server does not listen')
    return address.port
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Sends a GOAWAY on every connection and lets their streams live on, as a server does that is to be left. */
  goaway(graceMs = 60_000): void {
    this.#inject.drain(graceMs)
  }

  /** Cuts every connection, without a word; new ones are accepted. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Cuts every connection and accepts none. */
  async stop(): Promise<void> {
    const closed = once(this.#tcp, 'close')
    this.#tcp.close()
    this.cut()
    this.#grpc.forceShutdown()
    await closed
  }
}
