/** A control plane that pushes the name tables it is told to: ADS, state of the world, plaintext (envoy v3, istio NDS). */
import { Server, ServerCredentials, type ServerDuplexStream, type ServiceDefinition } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import { addressAt, nameAt, NAMESPACES } from './names.ts'

const NAME_TABLE = 'type.googleapis.com/istio.networking.nds.v1.NameTable'
const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'

type Stream = ServerDuplexStream<Buffer, Buffer>

/** Messages are encoded by hand so that a push costs the bench nothing but the sending. */
const SERVICE: ServiceDefinition = {
  StreamAggregatedResources: {
    path: PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
}

export class ControlPlane {
  readonly #server = new Server()
  readonly #streams = new Set<Stream>()
  /** Sent to whoever connects. */
  #current: Buffer
  /** Pushes that a client refused, with its reason. */
  readonly refusals: string[] = []

  /** `first` is a response made by `encodePush`. */
  constructor(first: Buffer) {
    this.#current = first
    this.#server.addService(SERVICE, { StreamAggregatedResources: (stream: Stream) => this.#serve(stream) })
  }

  /** Resolves with the port on 127.0.0.1. */
  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      )
    })
  }

  /** Sends a response made by `encodePush` to every client. */
  push(response: Buffer): void {
    this.#current = response
    for (const stream of this.#streams) stream.write(response)
  }

  stop(): void {
    this.#server.forceShutdown()
  }

  #serve(stream: Stream): void {
    stream.on('error', () => this.#streams.delete(stream))
    stream.on('end', () => {
      this.#streams.delete(stream)
      stream.end()
    })
    stream.on('data', (bytes: Buffer) => {
      const request = readRequest(bytes)
      if (request.typeUrl !== NAME_TABLE) return
      if (request.error !== '') this.refusals.push(request.error)
      if (request.nonce !== '' || this.#streams.has(stream)) return
      this.#streams.add(stream)
      stream.write(this.#current)
    })
  }
}

/**
 * A DiscoveryResponse with one name table of `hosts` names. `addressOf` says each host's address; `version` becomes
 * version_info and nonce.
 */
export function encodePush(hosts: number, version: string, addressOf: (n: number) => string = addressAt): Buffer {
  const table = protobuf.Writer.create()
  for (let n = 0; n < hosts; n++) {
    // map<string, NameInfo> table = 1: an entry is a message { key = 1; value = 2 }.
    table.uint32(10).fork().uint32(10).string(nameAt(n)).uint32(18).fork()
    table.uint32(10).string(addressOf(n)).uint32(18).string('Kubernetes')
    table
      .uint32(26)
      .string(`svc-${n}`)
      .uint32(34)
      .string(`ns${n % NAMESPACES}`)
      .ldelim()
      .ldelim()
  }
  const response = protobuf.Writer.create()
  response.uint32(10).string(version)
  response.uint32(18).fork().uint32(10).string(NAME_TABLE).uint32(18).bytes(table.finish()).ldelim()
  response.uint32(34).string(NAME_TABLE).uint32(42).string(version)
  return Buffer.from(response.finish())
}

/** The fields of a DiscoveryRequest that matter here: type_url = 4, response_nonce = 5, error_detail = 6 { message = 2 }. */
function readRequest(bytes: Buffer): { typeUrl: string; nonce: string; error: string } {
  const reader = protobuf.Reader.create(bytes)
  const request = { typeUrl: '', nonce: '', error: '' }
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    if (tag >>> 3 === 4) request.typeUrl = reader.string()
    else if (tag >>> 3 === 5) request.nonce = reader.string()
    else if (tag >>> 3 === 6) request.error = Buffer.from(reader.bytes()).toString('utf8')
    else reader.skipType(tag & 7)
  }
  return request
}
