import { describe, expect, it } from 'vitest'
import { AdsService, type Any, fromStruct, type Json, toStruct } from '../../src/proto/ads.ts'

const { StreamAggregatedResources: stateOfTheWorld, DeltaAggregatedResources: delta } = AdsService

describe('the ADS service', () => {
  it('has the paths that control planes serve', () => {
    const service = '/envoy.service.discovery.v3.AggregatedDiscoveryService'
    expect(stateOfTheWorld.path).toBe(`${service}/StreamAggregatedResources`)
    expect(delta.path).toBe(`${service}/DeltaAggregatedResources`)
  })

  it('gives every field of a message that has none', () => {
    expect(delta.responseDeserialize(Buffer.alloc(0))).toEqual({
      system_version_info: '',
      resources: [],
      type_url: '',
      nonce: '',
      removed_resources: [],
      control_plane: null,
    })
    expect(stateOfTheWorld.requestDeserialize(Buffer.alloc(0))).toEqual({
      version_info: '',
      node: null,
      resource_names: [],
      type_url: '',
      response_nonce: '',
      error_detail: null,
    })
  })

  it('leaves the content of an Any alone, bad bytes of a known type included', () => {
    const resource: Any = { type_url: 'type.googleapis.com/google.protobuf.Struct', value: Buffer.from([255, 255]) }
    const response = { version_info: 'v', resources: [resource], type_url: 't', nonce: 'n', control_plane: null }
    const received = stateOfTheWorld.responseDeserialize(stateOfTheWorld.responseSerialize(response))
    expect(received.resources).toEqual([resource])
  })

  it('does not copy a resource out of its message', () => {
    const bytes = stateOfTheWorld.responseSerialize({
      version_info: '',
      resources: [{ type_url: '', value: Buffer.alloc(1000) }],
      type_url: '',
      nonce: '',
      control_plane: null,
    })
    expect(stateOfTheWorld.responseDeserialize(bytes).resources[0]!.value.buffer).toBe(bytes.buffer)
  })

  it('carries JSON as a Struct', () => {
    const json: { [key: string]: Json } = {
      text: 'x',
      empty: '',
      number: 1.5,
      yes: true,
      no: false,
      nothing: null,
      list: ['a', 1, [null], { b: 'c' }],
      none: [],
      map: { inner: { deep: 'x' }, empty: {} },
      ['__proto__']: 'own',
    }
    const node = { id: '', cluster: '', metadata: toStruct(json), user_agent_name: '', user_agent_version: '' }
    const request = {
      version_info: '',
      node,
      resource_names: [],
      type_url: '',
      response_nonce: '',
      error_detail: null,
    }
    const received = stateOfTheWorld.requestDeserialize(stateOfTheWorld.requestSerialize(request))
    expect(fromStruct(received.node!.metadata)).toEqual(json)
    expect(fromStruct(null)).toEqual({})
  })
})
