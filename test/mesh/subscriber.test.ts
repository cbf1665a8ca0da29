import { expect, test } from 'vitest'
import { type Json, toStruct } from '../../src/proto/ads.ts'
import { readSubscriber } from '../../src/mesh/subscriber.ts'

function read(id: string, metadata: Record<string, Json> = {}): ReturnType<typeof readSubscriber> {
  return readSubscriber({ id, cluster: '', metadata: toStruct(metadata), user_agent_name: '', user_agent_version: '' })
}

const id = 'sidecar~10.0.0.9~app.shop~shop.svc.cluster.local'

test('a node is read from its id', () => {
  expect(read(id)).toEqual({
    id,
    namespace: 'shop',
    servicesDomain: 'svc.cluster.local',
    cluster: '',
    network: '',
    families: { v4: true, v6: false },
    takesAutomaticVips: true,
  })
})

test.each<[string, Record<string, Json>, object]>([
  ['the namespace', { NAMESPACE: 'other' }, { namespace: 'other' }],
  ['cluster and network', { CLUSTER_ID: 'east', NETWORK: 'n1' }, { cluster: 'east', network: 'n1' }],
  ['addresses', { INSTANCE_IPS: '10.0.0.9,fd00::9' }, { families: { v4: true, v6: true } }],
  ['addresses of one family', { INSTANCE_IPS: 'fd00::9' }, { families: { v4: false, v6: true } }],
  ['addresses, one of which is none', { INSTANCE_IPS: 'fd00::9,x' }, { families: { v4: true, v6: false } }],
  [
    'values of another type, which count for nothing',
    { NAMESPACE: 7, DNS_CAPTURE: false },
    { namespace: 'shop', takesAutomaticVips: true },
  ],
  ['DNS_CAPTURE', { DNS_CAPTURE: 'true' }, { takesAutomaticVips: true }],
  ['no DNS_CAPTURE', { DNS_CAPTURE: 'false' }, { takesAutomaticVips: false }],
  ['no DNS_CAPTURE, as Go writes it', { DNS_CAPTURE: '0' }, { takesAutomaticVips: false }],
])('metadata tells %s', (_, metadata, wanted) => {
  expect(read(id, metadata)).toMatchObject(wanted)
})

test.each([['sidecar~10.0.0.9~app~x'], [''], ['app.shop']])('id %j without a namespace is refused', (odd) => {
  expect(read(odd)).toEqual({ reason: expect.stringMatching(/^node id .*: expected TYPE~IP~POD.NAMESPACE~DOMAIN/) })
})
