import { describe, expect, it } from 'vitest'
import { AdsService, fromStruct } from '../../src/proto/ads.ts'
import { delta } from '../../src/xds/ads-dialect.ts'
import { buildNode, type NodeIdentity, type NodeOptions } from '../../src/xds/node.ts'

const identity: NodeIdentity = {
  namespace: 'shop',
  domain: 'shop.svc.cluster.local',
  pod: 'web-0',
  ip: '10.0.0.7',
  serviceAccount: 'web',
  cluster: 'east',
  network: 'net-1',
  labels: { app: 'web' },
}

interface Change extends Partial<Omit<NodeOptions, 'identity'>> {
  identity?: Partial<NodeIdentity>
}

function build(change: Change = {}): { id: string; metadata: Record<string, unknown> } {
  const node = buildNode({
    metadata: {},
    ownAddresses: [],
    version: '1.2.3',
    ...change,
    identity: { ...identity, ...change.identity },
  })
  // As istiod receives it.
  const { requestSerialize, requestDeserialize } = AdsService.DeltaAggregatedResources
  const received = requestDeserialize(
    requestSerialize(delta.subscribe({ typeUrl: 'x', resourceNames: [] }, node, null)),
  ).node!
  expect(received).toMatchObject({ user_agent_name: 'byname', user_agent_version: '1.2.3' })
  return { id: received.id, metadata: fromStruct(received.metadata) }
}

it('does not speak of DNS_AUTO_ALLOCATE where the environment does not', () => {
  expect(build().metadata).not.toHaveProperty('DNS_AUTO_ALLOCATE')
})

describe('the node', () => {
  it('is a sidecar by the identity', () => {
    expect(build()).toEqual({
      id: 'sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local',
      metadata: {
        NAMESPACE: 'shop',
        SERVICE_ACCOUNT: 'web',
        CLUSTER_ID: 'east',
        NETWORK: 'net-1',
        INSTANCE_IPS: '10.0.0.7',
        DNS_CAPTURE: 'true',
        LABELS: { app: 'web' },
      },
    })
  })

  const cases: [name: string, change: Change, id: string | null, metadata: Record<string, unknown>][] = [
    [
      'keeps another cluster domain',
      { identity: { domain: 'shop.svc.corp' } },
      'sidecar~10.0.0.7~web-0.shop~shop.svc.corp',
      {},
    ],
    [
      'has a pod name where nothing is known',
      { identity: { pod: '' } },
      'sidecar~10.0.0.7~byname.shop~shop.svc.cluster.local',
      {},
    ],
    [
      'takes own addresses where the identity names none',
      { identity: { ip: '' }, ownAddresses: ['fd00::7', '10.1.1.1'] },
      'sidecar~fd00::7~web-0.shop~shop.svc.cluster.local',
      { INSTANCE_IPS: 'fd00::7,10.1.1.1' },
    ],
    [
      'leaves out addresses with a zone, which istiod does not take',
      { identity: { ip: '' }, ownAddresses: ['fe80::1%eth0', '10.1.1.1'] },
      'sidecar~10.1.1.1~web-0.shop~shop.svc.cluster.local',
      { INSTANCE_IPS: '10.1.1.1' },
    ],
    [
      'always has an address',
      { identity: { ip: '' } },
      'sidecar~127.0.0.1~web-0.shop~shop.svc.cluster.local',
      { INSTANCE_IPS: '127.0.0.1' },
    ],
    [
      'takes INSTANCE_IPS of the environment, which knows both families',
      { metadata: { INSTANCE_IPS: '10.0.0.7, fd00::7' } },
      null,
      { INSTANCE_IPS: '10.0.0.7,fd00::7' },
    ],
    [
      'drops what is no address from INSTANCE_IPS, as one bad entry voids them all',
      { metadata: { INSTANCE_IPS: '10.0.0.7,oops,' } },
      null,
      { INSTANCE_IPS: '10.0.0.7' },
    ],
    [
      'leaves INSTANCE_IPS that are all bad to the identity',
      { metadata: { INSTANCE_IPS: 'oops' } },
      null,
      { INSTANCE_IPS: '10.0.0.7' },
    ],
    [
      'sends booleans as texts',
      { metadata: { DNS_AUTO_ALLOCATE: true, X: false } },
      null,
      { DNS_AUTO_ALLOCATE: 'true', X: 'false' },
    ],
    [
      'leaves out link-local addresses, which every machine has',
      { identity: { ip: '' }, ownAddresses: ['fe80::1', 'FEBF::2', '169.254.1.1', '10.1.1.1'] },
      'sidecar~10.1.1.1~web-0.shop~shop.svc.cluster.local',
      { INSTANCE_IPS: '10.1.1.1' },
    ],
    [
      'keeps addresses that only hold what link-local ones begin with',
      { identity: { ip: '' }, ownAddresses: ['2001:fe80::1'] },
      null,
      { INSTANCE_IPS: '2001:fe80::1' },
    ],
    [
      'passes on whatever JSON can hold, and nothing else',
      { metadata: { A: null, B: 1, C: [true, ['x'], { d: false }], E: undefined, F: (): number => 1 } },
      null,
      { A: null, B: 1, C: [true, ['x'], { d: false }], F: null },
    ],
    [
      'declines automatic addresses where the environment does',
      { metadata: { DNS_CAPTURE: 'false' } },
      null,
      { DNS_CAPTURE: 'false' },
    ],
    ['declines them by a boolean', { metadata: { DNS_CAPTURE: false } }, null, { DNS_CAPTURE: 'false' }],
    ['asks for them where the environment does', { metadata: { DNS_CAPTURE: 'true' } }, null, { DNS_CAPTURE: 'true' }],
    ['passes DNS_AUTO_ALLOCATE on', { metadata: { DNS_AUTO_ALLOCATE: 'false' } }, null, { DNS_AUTO_ALLOCATE: 'false' }],
    [
      'lets the identity win over the environment',
      { metadata: { NAMESPACE: 'x', SERVICE_ACCOUNT: 'x', CLUSTER_ID: 'x', LABELS: { x: 'y' } } },
      null,
      { NAMESPACE: 'shop', SERVICE_ACCOUNT: 'web', CLUSTER_ID: 'east', LABELS: { app: 'web' } },
    ],
    [
      'takes from the environment what the identity does not know',
      { identity: { cluster: '', network: '' }, metadata: { CLUSTER_ID: 'Kubernetes', NETWORK: 'n2' } },
      null,
      { CLUSTER_ID: 'Kubernetes', NETWORK: 'n2' },
    ],
    [
      'passes on what the environment adds',
      {
        metadata: {
          ISTIO_VERSION: '1.28.0',
          AUTO_REGISTER_GROUP: 'vms',
          MESH_ID: 'm',
          PROXY_CONFIG: { concurrency: 2 },
        },
      },
      null,
      { ISTIO_VERSION: '1.28.0', AUTO_REGISTER_GROUP: 'vms', MESH_ID: 'm', PROXY_CONFIG: { concurrency: 2 } },
    ],
  ]
  it.each(cases)('%s', (_, change, id, metadata) => {
    const built = build(change)
    if (id !== null) expect(built.id).toBe(id)
    expect(built.metadata).toMatchObject(metadata)
  })

  it('leaves out GENERATOR, and what is empty', () => {
    const { metadata } = build({
      identity: { serviceAccount: '', cluster: '', network: '' },
      metadata: { GENERATOR: 'api' },
    })
    expect(Object.keys(metadata).toSorted()).toEqual(['DNS_CAPTURE', 'INSTANCE_IPS', 'LABELS', 'NAMESPACE'])
  })
})
