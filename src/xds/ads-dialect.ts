/** The two ways of speaking ADS, delta and state of the world, as pure functions between messages and what they mean. */
import type { MethodDefinition } from '@grpc/grpc-js'
import {
  AdsService,
  type Any,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  type DiscoveryResponse,
  type Node,
  type Status,
} from '../proto/ads.ts'
import { NAME_TABLE_TYPE } from '../table/nds.ts'

/** What a response means. */
export interface Push {
  typeUrl: string
  nonce: string
  version: string
  /** Name and version of the resource itself (delta); Istio gives it neither. */
  resourceName: string
  resourceVersion: string
  /** What the server says of itself, '' if nothing. */
  controlPlane: string
  /** A serialized NameTable: a view of the message. Null: the response brings none. */
  table: Uint8Array | null
  /** Why the response must be refused, in one line; null: nothing speaks against it. */
  problem: string | null
  /** What is odd about it and no reason to refuse it; '' for nothing. */
  remark: string
}

/** A table that was accepted: what a new stream may say it has. */
export type HeldTable = Pick<Push, 'version' | 'resourceName' | 'resourceVersion'>

/** One way of speaking ADS. Only the first request of a stream carries the node. */
export interface Dialect<Request, Response> {
  name: 'delta' | 'state of the world'
  method: MethodDefinition<Request, Response>
  /** True if a new stream that holds `held` tells the server so: then silence is an answer. */
  claims(held: HeldTable | null): boolean
  subscribe(node: Node, held: HeldTable | null): Request
  read(response: Response): Push
  /** ACK, or NACK with `error`. `held`: the table last accepted, that of `push` itself for an ACK. */
  reply(push: Push, held: HeldTable | null, error: Status | null): Request
}

/** StreamAggregatedResources. A version that was accepted is named in every request after it. */
export const stateOfTheWorld: Dialect<DiscoveryRequest, DiscoveryResponse> = {
  name: 'state of the world',
  method: AdsService.StreamAggregatedResources,
  claims: (held) => held !== null && held.version !== '',
  subscribe: (node, held) => ({
    version_info: held?.version ?? '',
    node,
    resource_names: [],
    type_url: NAME_TABLE_TYPE,
    response_nonce: '',
    error_detail: null,
  }),
  read(response) {
    const common = {
      typeUrl: response.type_url,
      nonce: response.nonce,
      version: response.version_info,
      resourceName: '',
      resourceVersion: '',
      controlPlane: response.control_plane?.identifier ?? '',
    }
    if (response.resources.length > 0) return { ...common, ...tableOf(response.type_url, response.resources) }
    // To take it for "there are no names" would leave the workload without any; Istio's agent ignores it as well.
    const problem = wrongType(response.type_url) ?? 'the response has no resource: the name table in use stays'
    return { ...common, table: null, problem, remark: '' }
  },
  reply: (push, held, error) => ({
    version_info: push.typeUrl === NAME_TABLE_TYPE ? (held?.version ?? '') : '',
    node: null,
    resource_names: [],
    type_url: push.typeUrl,
    response_nonce: push.nonce,
    error_detail: error,
  }),
}

/** DeltaAggregatedResources. Versions belong to resources, and only the first request of a stream names them. */
export const delta: Dialect<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
  name: 'delta',
  method: AdsService.DeltaAggregatedResources,
  claims: (held) => held !== null && held.resourceVersion !== '',
  subscribe: (node, held) => ({
    node,
    type_url: NAME_TABLE_TYPE,
    resource_names_subscribe: [],
    resource_names_unsubscribe: [],
    initial_resource_versions: held?.resourceVersion ? { [held.resourceName]: held.resourceVersion } : {},
    response_nonce: '',
    error_detail: null,
  }),
  read(response) {
    const first = response.resources[0]
    const common = {
      typeUrl: response.type_url,
      nonce: response.nonce,
      version: response.system_version_info || (first?.version ?? ''),
      resourceName: first?.name ?? '',
      resourceVersion: first?.version ?? '',
      controlPlane: response.control_plane?.identifier ?? '',
    }
    if (first !== undefined) {
      const resources = response.resources.map((each) => each.resource ?? NOTHING)
      return { ...common, ...tableOf(response.type_url, resources) }
    }
    // Legal here, and nothing to refuse: no difference, or a removal that must not take the names away.
    const removal = response.removed_resources.length > 0
    const remark = removal ? 'the control plane removed the name table: the one in use stays' : ''
    return { ...common, table: null, problem: wrongType(response.type_url), remark }
  },
  reply: (push, _held, error) => ({
    node: null,
    type_url: push.typeUrl,
    resource_names_subscribe: [],
    resource_names_unsubscribe: [],
    initial_resource_versions: {},
    response_nonce: push.nonce,
    error_detail: error,
  }),
}

const NOTHING: Any = { type_url: '', value: new Uint8Array(0) }

/** A node has one name table. If there are several resources the first is it, as for Istio's agent. */
function tableOf(typeUrl: string, resources: readonly Any[]): Pick<Push, 'table' | 'problem' | 'remark'> {
  const first = resources[0]!
  const problem = wrongType(typeUrl) ?? wrongType(first.type_url)
  const remark = resources.length > 1 ? `${resources.length} name tables in one response: only the first is used` : ''
  return { table: problem === null ? first.value : null, problem, remark }
}

function wrongType(typeUrl: string): string | null {
  return typeUrl === NAME_TABLE_TYPE
    ? null
    : `type ${JSON.stringify(typeUrl.slice(0, 255))} was not asked for, only ${NAME_TABLE_TYPE}`
}
