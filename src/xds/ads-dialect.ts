/** The two ways of speaking ADS, delta and state of the world, as pure functions between messages and what they mean. */
import type { MethodDefinition } from '@grpc/grpc-js'
import {
  AdsService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  type DiscoveryResponse,
  type Node,
  type Status,
} from '../proto/ads.ts'

/** What is subscribed to: resources of one type. */
export interface WantedType {
  typeUrl: string
  /** Names of the resources; empty: all that the server has for the node. */
  resourceNames: readonly string[]
}

/** One resource of a response. */
export interface ReceivedResource {
  /** Name and version of its own. State of the world has neither; Istio leaves both empty for the name table. */
  name: string
  version: string
  typeUrl: string
  /** The serialized message: a view of the response, which is freed when the subscriber is done with it. */
  value: Uint8Array
}

/** What a response means. */
export interface Push {
  typeUrl: string
  nonce: string
  version: string
  /** What the server says of itself, '' if nothing. */
  controlPlane: string
  resources: readonly ReceivedResource[]
  /** Names of resources that are gone (delta). */
  removed: readonly string[]
  /** State of the world: whatever is not among `resources` is gone. Delta: whatever is not named is as it was. */
  isWhole: boolean
}

/** What was accepted of one type: what a new stream may say it has. */
export interface HeldType {
  version: string
  /** Versions of the resources that have one, by name. */
  resourceVersions: ReadonlyMap<string, string>
}

/** One way of speaking ADS. Only the first request of a stream carries the node. */
export interface Dialect<Request, Response> {
  name: 'delta' | 'state of the world'
  method: MethodDefinition<Request, Response>
  /** True if a new stream that holds `held` tells the server so: then silence is an answer. */
  claims(held: HeldType | null): boolean
  subscribe(wanted: WantedType, node: Node | null, held: HeldType | null): Request
  read(response: Response): Push
  /** ACK, or NACK with `error`. `held`: what was last accepted, that of `push` itself for an ACK. */
  reply(push: Push, wanted: WantedType, held: HeldType | null, error: Status | null): Request
}

/** StreamAggregatedResources. Every request repeats the names, and the version that was accepted last. */
export const stateOfTheWorld: Dialect<DiscoveryRequest, DiscoveryResponse> = {
  name: 'state of the world',
  method: AdsService.StreamAggregatedResources,
  claims: (held) => held !== null && held.version !== '',
  subscribe: ({ typeUrl, resourceNames }, node, held) => ({
    version_info: held?.version ?? '',
    node,
    resource_names: [...resourceNames],
    type_url: typeUrl,
    response_nonce: '',
    error_detail: null,
  }),
  read: (response) => ({
    typeUrl: response.type_url,
    nonce: response.nonce,
    version: response.version_info,
    controlPlane: response.control_plane?.identifier ?? '',
    resources: response.resources.map(({ type_url, value }) => ({ name: '', version: '', typeUrl: type_url, value })),
    removed: [],
    isWhole: true,
  }),
  reply: (push, { resourceNames }, held, error) => ({
    version_info: held?.version ?? '',
    node: null,
    resource_names: [...resourceNames],
    type_url: push.typeUrl,
    response_nonce: push.nonce,
    error_detail: error,
  }),
}

/** DeltaAggregatedResources. Versions belong to resources, and only the first request for a type names them. */
export const delta: Dialect<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
  name: 'delta',
  method: AdsService.DeltaAggregatedResources,
  claims: (held) => held !== null && held.resourceVersions.size > 0,
  subscribe: ({ typeUrl, resourceNames }, node, held) => ({
    node,
    type_url: typeUrl,
    resource_names_subscribe: [...resourceNames],
    resource_names_unsubscribe: [],
    initial_resource_versions: Object.fromEntries(held?.resourceVersions ?? []),
    response_nonce: '',
    error_detail: null,
  }),
  read: (response) => ({
    typeUrl: response.type_url,
    nonce: response.nonce,
    version: response.system_version_info || (response.resources[0]?.version ?? ''),
    controlPlane: response.control_plane?.identifier ?? '',
    resources: response.resources.map(({ name, version, resource }) => ({
      name,
      version,
      typeUrl: resource?.type_url ?? '',
      value: resource?.value ?? NOTHING,
    })),
    removed: response.removed_resources,
    isWhole: false,
  }),
  reply: (push, _wanted, _held, error) => ({
    node: null,
    type_url: push.typeUrl,
    resource_names_subscribe: [],
    resource_names_unsubscribe: [],
    initial_resource_versions: {},
    response_nonce: push.nonce,
    error_detail: error,
  }),
}

/** What is held after `push` was accepted. */
export function heldAfter(push: Push, before: HeldType | null): HeldType {
  const resourceVersions = new Map(push.isWhole ? [] : before?.resourceVersions)
  for (const { name, version } of push.resources) {
    if (version === '') resourceVersions.delete(name)
    else resourceVersions.set(name, version)
  }
  for (const name of push.removed) resourceVersions.delete(name)
  return { version: push.version, resourceVersions }
}

const NOTHING = new Uint8Array(0)
