import { status } from '@grpc/grpc-js'
import type { Any, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse } from '../proto/ads.ts'
import type { Log } from '../base/log.ts'
import { NAME_TABLE_TYPE } from '../table/nds.ts'
import { readSubscriber, type Subscriber } from './subscriber.ts'
import type { BuiltTable, TableViews } from './table-views.ts'

/** A response of either dialect. `resource` null: there is nothing of that type. */
interface Outgoing {
  typeUrl: string
  nonce: string
  version: string
  resource: Any | null
}

/** What both dialects' requests have. */
type Incoming = Pick<DiscoveryRequest, 'node' | 'type_url' | 'response_nonce' | 'error_detail'>

/** One way of speaking ADS. */
export interface ServerDialect<Response> {
  name: 'delta' | 'state of the world'
  /** A request without nonce on a stream that has its table asks for it again. */
  sendsAgain: boolean
  toResponse(outgoing: Outgoing): Response
}

const control_plane = { identifier: 'byname control-plane' }

/** StreamAggregatedResources. */
export const stateOfTheWorld: ServerDialect<DiscoveryResponse> = {
  name: 'state of the world',
  sendsAgain: true,
  toResponse: ({ typeUrl, nonce, version, resource }) => ({
    version_info: version,
    resources: resource === null ? [] : [resource],
    type_url: typeUrl,
    nonce,
    control_plane,
  }),
}

/** DeltaAggregatedResources: the whole table each time, as one resource without a name, as istiod sends it. */
export const delta: ServerDialect<DeltaDiscoveryResponse> = {
  name: 'delta',
  sendsAgain: false,
  toResponse: ({ typeUrl, nonce, version, resource }) => ({
    system_version_info: version,
    resources: resource === null ? [] : [{ name: '', version, resource }],
    type_url: typeUrl,
    nonce,
    removed_resources: [],
    control_plane,
  }),
}

/** Types other than the name table that one stream gets an answer for. */
const MOST_OTHER_TYPES = 64

/** What is used of a grpc-js stream. */
export interface AdsCall<Response> {
  readonly cancelled: boolean
  readonly writableEnded: boolean
  on(event: 'data', listener: (request: Incoming) => void): unknown
  /** `taken` is called when the message has left for the network. */
  write(response: Response, taken: () => void): unknown
  end(): unknown
  /** Ends the stream with a gRPC status. */
  emit(event: 'error', end: { code: number; details: string }): unknown
  getPeer(): string
}

/** What a subscription sees of its server. */
export interface SubscriptionHost {
  views(): TableViews
  log: Log
}

/** A stream as a subscription needs it, whatever it carries. */
export interface Subscription {
  /** Null before the first request. */
  readonly subscriber: Subscriber | null
  /** Sends the node its table if it is another than the one sent last. Returns true if it did. */
  push(): boolean
  /** Ends the stream in order. */
  end(): void
}

/**
 * One stream of one node. It is sent a table when it subscribes, and then whenever its table changes; not more than the
 * stream takes, so that a node that reads slowly gets the latest table next and costs no memory for those between.
 */
export class AdsSubscription<Response> implements Subscription {
  subscriber: Subscriber | null = null
  readonly #call: AdsCall<Response>
  readonly #dialect: ServerDialect<Response>
  readonly #host: SubscriptionHost
  #nonces = 0
  #isSubscribed = false
  /** Of the table sent last; '' before. */
  #sentVersion = ''
  #sentNonce = ''
  /** Messages that have not gone out yet. */
  #inFlight = 0
  #refusal: string | null = null
  readonly #otherTypes: Set<string> = new Set()

  constructor(call: AdsCall<Response>, dialect: ServerDialect<Response>, host: SubscriptionHost) {
    this.#call = call
    this.#dialect = dialect
    this.#host = host
    call.on('data', (request) => this.#received(request))
  }

  push(): boolean {
    if (this.subscriber === null || !this.#isSubscribed || this.#inFlight > 0) return false
    const table = this.#host.views().tableFor(this.subscriber)
    if (table.version === this.#sentVersion) return false
    this.#sendTable(table)
    return true
  }

  end(): void {
    this.#call.end()
  }

  #received(request: Incoming): void {
    if (this.subscriber === null && !this.#identify(request)) return
    if (request.type_url !== NAME_TABLE_TYPE) this.#otherType(request)
    // A nonce of another stream is that of a node that came back: it wants its table as well.
    else if (!this.#isSubscribed) this.#subscribe()
    else if (request.response_nonce === '') {
      if (this.#dialect.sendsAgain) this.#subscribe()
    } else if (request.response_nonce === this.#sentNonce) this.#acknowledged(request)
  }

  #identify(request: Incoming): boolean {
    const read = request.node === null ? { reason: 'the first request names no node' } : readSubscriber(request.node)
    if ('reason' in read) {
      this.#host.log.warn({ peer: this.#call.getPeer() }, `refused a node: ${read.reason}`)
      this.#call.emit('error', { code: status.INVALID_ARGUMENT, details: read.reason })
      return false
    }
    this.subscriber = read
    const { id, namespace, cluster, network } = read
    const fields = { node: id, namespace, cluster, network, peer: this.#call.getPeer(), dialect: this.#dialect.name }
    this.#host.log.info(fields, 'a node connected')
    return true
  }

  #subscribe(): void {
    this.#isSubscribed = true
    this.#sentVersion = ''
    this.push()
  }

  #sendTable(table: BuiltTable): void {
    this.#sentVersion = table.version
    this.#sentNonce = this.#send(NAME_TABLE_TYPE, table.version, table.resource)
  }

  /** ACK, or NACK: then the node keeps what it has, and is sent the next table that is another one. */
  #acknowledged({ error_detail }: Incoming): void {
    const fields = { node: this.subscriber?.id, version: this.#sentVersion }
    if (error_detail === null) {
      this.#refusal = null
      this.#host.log.debug(fields, 'a node accepted its name table')
      return
    }
    const reason = error_detail.message
    const isNews = this.#refusal !== reason
    this.#refusal = reason
    this.#host.log[isNews ? 'warn' : 'debug'](
      { ...fields, code: error_detail.code, reason },
      'a node refused its name table',
    )
  }

  /** Listeners, clusters, …: there are none. Saying so once is what lets an Envoy go on. */
  #otherType({ type_url: typeUrl, response_nonce }: Incoming): void {
    if (response_nonce !== '' || this.#otherTypes.has(typeUrl) || this.#otherTypes.size >= MOST_OTHER_TYPES) return
    this.#otherTypes.add(typeUrl)
    this.#send(typeUrl, 'none', null)
  }

  #send(typeUrl: string, version: string, resource: Any | null): string {
    const nonce = String(++this.#nonces)
    if (this.#call.writableEnded || this.#call.cancelled) return nonce
    this.#inFlight++
    this.#call.write(this.#dialect.toResponse({ typeUrl, nonce, version, resource }), () => {
      this.#inFlight--
      this.push()
    })
    return nonce
  }
}
