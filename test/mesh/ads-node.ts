import { type ChannelOptions, Client, type ClientDuplexStream, credentials, type StatusObject } from '@grpc/grpc-js'
import {
  AdsService,
  type Any,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  type DiscoveryResponse,
  type Json,
  type Node,
  toStruct,
} from '../../src/proto/ads.ts'
import { NAME_TABLE_TYPE, type NameTable } from '../../src/table/nds.ts'
import { decodeNameTable } from '../table/decode-name-table.ts'
import { Inbox } from '../xds/inbox.ts'

/** What came in a response of either dialect. */
export interface Received {
  typeUrl: string
  nonce: string
  version: string
  /** Delta: names of the resources. */
  names: string[]
  resources: Any[]
}

export type Mode = 'delta' | 'sotw'

/** A node as Istio's agent describes it. */
export function nodeIn(namespace: string, metadata: Record<string, Json> = {}): Node {
  return {
    id: `sidecar~10.0.0.9~app.${namespace}~${namespace}.svc.cluster.local`,
    cluster: '',
    metadata: toStruct(metadata),
    user_agent_name: 'test',
    user_agent_version: '',
  }
}

interface Request {
  node?: Node | null
  nonce?: string
  version?: string
  typeUrl?: string
  error?: string
}

/** A client of an ADS server that sends what a test tells it to. */
export class AdsNode {
  readonly received: Inbox<Received> = new Inbox()
  readonly ended: Promise<StatusObject>
  readonly #mode: Mode
  readonly #client: Client
  readonly #stream:
    | ClientDuplexStream<DiscoveryRequest, DiscoveryResponse>
    | ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

  constructor(port: number, mode: Mode, options: ChannelOptions = {}) {
    this.#mode = mode
    // Each with a connection of its own, as nodes have.
    const own = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1, ...options }
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), own)
    const { promise, resolve } = Promise.withResolvers<StatusObject>()
    this.ended = promise
    if (mode === 'sotw') {
      const { path, requestSerialize, responseDeserialize } = AdsService.StreamAggregatedResources
      const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
      stream.on('data', (response: DiscoveryResponse) => this.#took({ ...response, names: [] }))
      this.#stream = stream
    } else {
      const { path, requestSerialize, responseDeserialize } = AdsService.DeltaAggregatedResources
      const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
      stream.on('data', (response: DeltaDiscoveryResponse) =>
        this.#took({
          ...response,
          version_info: response.system_version_info,
          resources: response.resources.flatMap(({ resource }) => resource ?? []),
          names: response.resources.map(({ name }) => name),
        }),
      )
      this.#stream = stream
    }
    this.#stream.on('error', () => {})
    this.#stream.on('status', resolve)
  }

  send({ node = null, nonce = '', version = '', typeUrl = NAME_TABLE_TYPE, error }: Request): void {
    const common = {
      node,
      type_url: typeUrl,
      response_nonce: nonce,
      error_detail: error === undefined ? null : { code: 3, message: error },
    }
    const stream: { write(request: object): boolean } = this.#stream
    stream.write(
      this.#mode === 'sotw'
        ? { ...common, version_info: version, resource_names: [] }
        : { ...common, resource_names_subscribe: [], resource_names_unsubscribe: [], initial_resource_versions: {} },
    )
  }

  /** The next table, acknowledged. */
  async nextTable(): Promise<NameTable> {
    const { nonce, version, resources } = await this.received.next()
    this.send({ nonce, version })
    return decodeNameTable(resources[0]!.value)
  }

  /** Says that it sends no more. */
  halfClose(): void {
    this.#stream.end()
  }

  close(): void {
    this.#stream.cancel()
    this.#client.close()
  }

  #took(
    response: Pick<DiscoveryResponse, 'type_url' | 'nonce' | 'version_info' | 'resources'> & { names: string[] },
  ): void {
    const { type_url: typeUrl, nonce, version_info: version, resources, names } = response
    this.received.put({ typeUrl, nonce, version, resources, names })
  }
}
