/**
 * xDS: how messages are put together from the slices of a stream, and what is made of their content on both sides.
 *
 * The first byte of an input says which, the others are what arrives:
 *
 * ```
 *  0  cuts  slices of a stream, of lengths that follow from `cuts`
 *  1  DiscoveryResponse   2  DeltaDiscoveryResponse   to the client's dialect
 *  3  DiscoveryRequest    4  DeltaDiscoveryRequest    to a subscription of the embedded control plane
 * ```
 */
import { StreamDecoder } from '@grpc/grpc-js/build/src/stream-decoder.js'
import {
  type AdsCall,
  AdsSubscription,
  type ServerDialect,
  delta as serverDelta,
  stateOfTheWorld as serverWorld,
} from '../../src/mesh/ads-subscription.ts'
import { indexMesh } from '../../src/mesh/name-table-builder.ts'
import { TableViews } from '../../src/mesh/table-views.ts'
import { AdsService, type DiscoveryRequest } from '../../src/proto/ads.ts'
import { encodeNameTable, NAME_TABLE_TYPE, type TableSink } from '../../src/table/nds.ts'
import { NameTableSubscription } from '../../src/tables/xds-origin.ts'
import { delta, type Dialect, heldAfter, stateOfTheWorld } from '../../src/xds/ads-dialect.ts'
import { MAX_MESSAGE_BYTES, MessageAssembly } from '../../src/xds/message-assembly.ts'
import { mix, Random } from '../simulation/random.ts'
import { bytesOf, mutated, randomBytes, type Stock } from './inputs-mutator.ts'
import { type FuzzTarget, must, mustBeOneLine, mustBeUnpolluted, mustEqual, templateOf } from './inputs-target.ts'

const NO_LOG = { debug: (): void => {}, info: (): void => {}, warn: (): void => {}, error: (): void => {} }
/** Longest message of these inputs that is put together: a longer one is a lie, and its buffer would stay empty. */
const MOST_ANNOUNCED = 1 << 20

type Incoming = Pick<DiscoveryRequest, 'node' | 'type_url' | 'response_nonce' | 'error_detail'>
type AnyMethod = (typeof AdsService)[keyof typeof AdsService]

/** The target `xds`. */
export class XdsTarget implements FuzzTarget {
  readonly name = 'xds'
  readonly #stock: Stock
  readonly #views: TableViews = new TableViews(indexMesh([]))

  constructor(seeds: readonly Uint8Array[]) {
    const table = encodeNameTable(
      new Map([['a.example', { ips: ['192.0.2.1'], registry: '', shortname: '', namespace: '', altHosts: [] }]]),
    )
    const resource = { type_url: NAME_TABLE_TYPE, value: table }
    const control_plane = { identifier: 'istiod' }
    const world = AdsService.StreamAggregatedResources
    const difference = AdsService.DeltaAggregatedResources
    const node = {
      id: 'sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local',
      cluster: 'c',
      metadata: { fields: { NAMESPACE: { stringValue: 'shop' }, LABELS: { structValue: { fields: {} } } } },
      user_agent_name: 'byname',
      user_agent_version: '1',
    }
    const common = { node, type_url: NAME_TABLE_TYPE, response_nonce: '', error_detail: null }
    const messages: [kind: number, message: Uint8Array][] = [
      [
        1,
        world.responseSerialize({
          version_info: '1',
          resources: [resource],
          type_url: NAME_TABLE_TYPE,
          nonce: 'n',
          control_plane,
        }),
      ],
      [
        2,
        difference.responseSerialize({
          system_version_info: '1',
          resources: [{ name: '', version: '1', resource }],
          type_url: NAME_TABLE_TYPE,
          nonce: 'n',
          removed_resources: ['x'],
          control_plane,
        }),
      ],
      [3, world.requestSerialize({ ...common, version_info: '', resource_names: [] })],
      [
        4,
        difference.requestSerialize({
          ...common,
          resource_names_subscribe: [],
          resource_names_unsubscribe: [],
          initial_resource_versions: { a: 'b' },
        }),
      ],
    ]
    this.#stock = {
      seeds: [
        Buffer.concat([Buffer.of(0, 7), framed(table), framed(Buffer.alloc(0)), framed(Buffer.alloc(100, 1))]),
        ...messages.map(([kind, message]) => Buffer.concat([Buffer.of(kind), message])),
        ...seeds,
      ],
      tokens: [
        ...bytesOf([NAME_TABLE_TYPE, 'sidecar~', '__proto__', 'NAMESPACE', 'a\nb']),
        framed(Buffer.alloc(3, 2)),
        Buffer.of(0, 0, 0, 0, 0),
        Buffer.of(1, 0, 0, 0, 1),
        Buffer.of(0, 0xff, 0xff, 0xff, 0xff),
        Buffer.of(0, 0x10, 0, 0, 0),
        Buffer.of(0x0a, 2),
        Buffer.of(0x2a, 4, 0x0a, 2),
      ],
      maxBytes: 8192,
    }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.02) return randomBytes(random, random.below(40))
    if (kind < 0.03) return nested(random)
    if (kind > 0.4) return mutated(random, this.#stock, pool)
    const messages = Array.from({ length: 1 + random.below(6) }, () => framed(randomBytes(random, random.below(60))))
    return Buffer.concat([Buffer.of(0, random.below(256)), ...messages])
  }

  check(input: Uint8Array): string {
    const kind = (input[0] ?? 0) % 5
    const content = Buffer.from(input.subarray(1))
    const outcome = this.#checkKind(kind, content)
    mustBeUnpolluted()
    return `${kind} ${outcome}`
  }

  #checkKind(kind: number, content: Buffer): string {
    const world = AdsService.StreamAggregatedResources
    const difference = AdsService.DeltaAggregatedResources
    switch (kind) {
      case 1:
        return checkResponse(stateOfTheWorld, read(world.responseDeserialize, content))
      case 2:
        return checkResponse(delta, read(difference.responseDeserialize, content))
      case 3:
        return this.#checkRequest(serverWorld, read(world.requestDeserialize, content), world)
      case 4:
        return this.#checkRequest(serverDelta, read(difference.requestDeserialize, content), difference)
      default:
        return checkAssembly(content)
    }
  }

  /** A subscription gets the request three times: as the first, again, and as an answer to what it sent. */
  #checkRequest<Response>(dialect: ServerDialect<Response>, request: Incoming | null, method: AnyMethod): string {
    if (request === null) return 'malformed'
    const sent: Response[] = []
    const ends: string[] = []
    const listeners: ((each: Incoming) => void)[] = []
    const call: AdsCall<Response> = {
      cancelled: false,
      writableEnded: false,
      on: (_, listener) => listeners.push(listener),
      write: (response, taken) => {
        sent.push(response)
        taken()
      },
      end: () => {},
      emit: (_, end) => {
        ends.push(end.details)
        mustBeOneLine(end.details, 'why a node is refused')
      },
      getPeer: () => 'test',
    }
    void new AdsSubscription(call, dialect, { views: () => this.#views, log: NO_LOG })
    for (const each of [request, request, { ...request, response_nonce: '1' }])
      for (const listener of listeners) listener(each)
    must(sent.length + ends.length <= 6, 'a request has too many answers', sent.length)
    for (const response of sent) Reflect.apply(method.responseSerialize, undefined, [response])
    return `${Math.min(sent.length, 3)} sent, ${Math.min(ends.length, 1)} refused`
  }
}

function read<T>(deserialize: (bytes: Buffer) => T, content: Buffer): T | null {
  try {
    return deserialize(content)
  } catch {
    // grpc-js ends the stream then.
    return null
  }
}

function checkResponse<Request, Response>(dialect: Dialect<Request, Response>, response: Response | null): string {
  if (response === null) return 'malformed'
  const push = dialect.read(response)
  const tables: Uint8Array[] = []
  const sink: TableSink = {
    accept(bytes) {
      tables.push(bytes)
      return { accepted: true, changed: true }
    },
  }
  const verdict = new NameTableSubscription(sink, NO_LOG).take(push)
  const refusal = verdict !== 'nothing' && !verdict.accepted ? verdict.reason : null
  if (refusal !== null) mustBeOneLine(refusal, 'why a response is refused')
  must(tables.length === (push.resources.length > 0 ? 1 : 0), 'of a response not one table is taken', tables.length)
  const held = refusal === null ? heldAfter(push, null) : null
  const wanted = { typeUrl: push.typeUrl, resourceNames: [] }
  for (const error of [null, { code: 3, message: refusal ?? 'no' }]) {
    dialect.method.requestSerialize(dialect.reply(push, wanted, held, error))
  }
  const node = { id: '', cluster: '', metadata: null, user_agent_name: '', user_agent_version: '' }
  dialect.method.requestSerialize(dialect.subscribe(wanted, node, held))
  return `${refusal === null ? 'good' : templateOf(refusal)}, ${tables.length === 0 ? 'no table' : 'table'}`
}

/** The messages must be those of grpc-js's own decoder, however the stream is cut. */
function checkAssembly(content: Buffer): string {
  const cuts = new Random(mix(content[0] ?? 0))
  const stream = content.subarray(1)
  if (announces(stream) > MOST_ANNOUNCED) {
    if (announces(stream) <= MAX_MESSAGE_BYTES) return 'a large one'
    const assembly = new MessageAssembly()
    let refusal = ''
    try {
      assembly.write(stream)
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error)
    }
    mustBeOneLine(refusal, 'why a message is refused')
    return 'too large a one'
  }
  const assembly = new MessageAssembly()
  const oracle = new StreamDecoder(MOST_ANNOUNCED)
  let complete = 0
  for (let at = 0; at < stream.length; ) {
    const slice = stream.subarray(at, at + 1 + cuts.below(cuts.chance(0.5) ? 6 : 200))
    at += slice.length
    const [got, wanted] = [assembly.write(slice), oracle.write(slice)]
    mustEqual(got.map(String), wanted.map(String), 'messages are put together otherwise')
    for (const [k, message] of got.entries()) must(message.equals(wanted[k]!), 'a message has other bytes')
    complete += got.length
  }
  return `${Math.min(complete, 3)} messages`
}

/** Length of the longest message that a header of the stream announces. */
function announces(stream: Buffer): number {
  let most = 0
  for (let at = 0; at + 5 <= stream.length; ) {
    const length = stream.readUInt32BE(at + 1)
    most = Math.max(most, length)
    at += 5 + length
  }
  return most
}

function framed(content: Uint8Array): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(content.length, 1)
  return Buffer.concat([header, content])
}

/** A node whose metadata is a struct in a struct in a struct. */
function nested(random: Random): Uint8Array {
  const depth = 1 + random.below(random.chance(0.5) ? 60 : 3000)
  let struct: Buffer = Buffer.alloc(0)
  for (let k = 0; k < depth; k++)
    struct = field(1, Buffer.concat([field(1, Buffer.from('k')), field(2, field(5, struct))]))
  const node = Buffer.concat([field(1, Buffer.from('sidecar~1~a.b~c')), field(3, struct)])
  return Buffer.concat([Buffer.of(random.chance(0.5) ? 3 : 4), field(random.chance(0.5) ? 2 : 1, node)])
}

function field(number: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(number * 8 + 2), varint(content.length), content])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  for (let left = value; ; left = Math.floor(left / 128)) {
    bytes.push(left < 128 ? left : (left & 0x7f) | 0x80)
    if (left < 128) return Buffer.from(bytes)
  }
}
