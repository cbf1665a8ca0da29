/**
 * The aggregated discovery service (protos/ads.proto) for both of its ends here: the xDS client and the embedded control
 * plane. Field names are the proto's own. What was decoded has every field: an absent string is '', an absent message null.
 */
import type { handleBidiStreamingCall, MethodDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { protoFile } from './proto-file.ts'

/** google.protobuf.Any. `value`: the serialized message; decoded, it is a view of the received one, not a copy. */
export interface Any {
  type_url: string
  value: Uint8Array
}

/** google.protobuf.Struct. Its field names are camel case because protobufjs brings its own definition of it. */
export interface Struct {
  fields: Record<string, Value>
}

/** google.protobuf.Value: exactly one field is set. */
export type Value =
  | { nullValue: 0 }
  | { boolValue: boolean }
  | { numberValue: number }
  | { stringValue: string }
  | { structValue: Struct }
  | { listValue: { values: Value[] } }

/** envoy.config.core.v3.Node: who subscribes. */
export interface Node {
  id: string
  cluster: string
  metadata: Struct | null
  user_agent_name: string
  user_agent_version: string
}

/** google.rpc.Status. `code`: a gRPC status code. */
export interface Status {
  code: number
  message: string
}

/** Who sent a response; Istio puts a JSON document into it. */
export interface ControlPlane {
  identifier: string
}

/** State of the world: subscribes to a type, and answers a response. */
export interface DiscoveryRequest {
  version_info: string
  node: Node | null
  resource_names: string[]
  type_url: string
  response_nonce: string
  error_detail: Status | null
}

/** State of the world: all resources of a type. */
export interface DiscoveryResponse {
  version_info: string
  resources: Any[]
  type_url: string
  nonce: string
  control_plane: ControlPlane | null
}

/** Delta: subscribes to a type, and answers a response. */
export interface DeltaDiscoveryRequest {
  node: Node | null
  type_url: string
  resource_names_subscribe: string[]
  resource_names_unsubscribe: string[]
  initial_resource_versions: Record<string, string>
  response_nonce: string
  error_detail: Status | null
}

/** Delta: the resources of a type that changed, and the names of those that are gone. */
export interface DeltaDiscoveryResponse {
  system_version_info: string
  resources: Resource[]
  type_url: string
  nonce: string
  removed_resources: string[]
  control_plane: ControlPlane | null
}

/** A resource of a delta response. */
export interface Resource {
  version: string
  resource: Any | null
  name: string
}

/** What a server implements: `server.addService(AdsService, handlers)`. A type, not an interface, so that grpc-js takes it. */
export type AdsHandlers = {
  StreamAggregatedResources: handleBidiStreamingCall<DiscoveryRequest, DiscoveryResponse>
  DeltaAggregatedResources: handleBidiStreamingCall<DeltaDiscoveryRequest, DeltaDiscoveryResponse>
}

/** The service's methods with their paths and codecs. */
export type AdsServiceDefinition = {
  readonly StreamAggregatedResources: MethodDefinition<DiscoveryRequest, DiscoveryResponse>
  readonly DeltaAggregatedResources: MethodDefinition<DeltaDiscoveryRequest, DeltaDiscoveryResponse>
}

const SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService'

/** `envoy.service.discovery.v3.AggregatedDiscoveryService`, read from protos/ads.proto when this module is loaded. */
export const AdsService: AdsServiceDefinition = loadService()

function loadService(): AdsServiceDefinition {
  // `json` stays off: it would unwrap an Any whose type happens to be known here, and throw where its bytes are bad.
  const loaded = loadSync(protoFile('ads.proto'), { keepCase: true, longs: String, defaults: true })
  const service = loaded[SERVICE]
  if (service === undefined || !isAds(service)) throw new Error(`protos/ads.proto does not define ${SERVICE}`)
  return service
}

function isAds(service: object): service is AdsServiceDefinition {
  return 'StreamAggregatedResources' in service && 'DeltaAggregatedResources' in service
}

/** A JSON value that a Struct can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** A JSON object as a Struct. */
export function toStruct(object: { [key: string]: Json }): Struct {
  return { fields: Object.fromEntries(Object.entries(object).map(([key, value]) => [key, toValue(value)])) }
}

function toValue(json: Json): Value {
  if (json === null) return { nullValue: 0 }
  if (typeof json === 'boolean') return { boolValue: json }
  if (typeof json === 'number') return { numberValue: json }
  if (typeof json === 'string') return { stringValue: json }
  if (Array.isArray(json)) return { listValue: { values: json.map(toValue) } }
  return { structValue: toStruct(json) }
}

/** A Struct as a JSON object; null, as an absent one arrives, is an empty object. */
export function fromStruct(struct: Struct | null): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(struct?.fields ?? {}).map(([key, value]) => [key, fromValue(value)]))
}

function fromValue(value: Value): Json {
  if ('stringValue' in value) return value.stringValue
  if ('boolValue' in value) return value.boolValue
  if ('numberValue' in value) return value.numberValue
  if ('structValue' in value) return fromStruct(value.structValue)
  if ('listValue' in value) return value.listValue.values.map(fromValue)
  return null
}
