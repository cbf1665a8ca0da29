import { describe, expect, it } from 'vitest'
import { delta, heldAfter, type HeldType, type Push, stateOfTheWorld } from '../../src/xds/ads-dialect.ts'

const TYPE = 'type.googleapis.com/a.Fruit'

/** A push of resources, each `NAME=VERSION`. */
function pushOf(resources: string[], more: Partial<Push> = {}): Push {
  return {
    typeUrl: TYPE,
    nonce: 'n',
    version: 'v2',
    controlPlane: '',
    resources: resources.map((each) => {
      const [name = '', version = ''] = each.split('=')
      return { name, version, typeUrl: TYPE, value: new Uint8Array(0) }
    }),
    removed: [],
    isWhole: false,
    ...more,
  }
}

function held(versions: Record<string, string>): HeldType {
  return { version: 'v1', resourceVersions: new Map(Object.entries(versions)) }
}

describe('what is held after a response', () => {
  it.each<[what: string, before: HeldType | null, push: Push, after: Record<string, string>]>([
    ['is what it brings', null, pushOf(['apple=1', 'pear=2']), { apple: '1', pear: '2' }],
    ['is what was held and is not named', held({ apple: '1' }), pushOf(['pear=2']), { apple: '1', pear: '2' }],
    ['is the newer version', held({ apple: '1' }), pushOf(['apple=2']), { apple: '2' }],
    ['lacks what has no version any more', held({ apple: '1', pear: '1' }), pushOf(['apple=']), { pear: '1' }],
    [
      'lacks what was removed',
      held({ apple: '1', pear: '1' }),
      pushOf(['fig=1'], { removed: ['pear', 'plum'] }),
      { apple: '1', fig: '1' },
    ],
    [
      'is nothing of before where it is the whole',
      held({ apple: '1' }),
      pushOf(['pear=2'], { isWhole: true }),
      { pear: '2' },
    ],
  ])('%s', (_, before, push, after) => {
    const now = heldAfter(push, before)
    expect([now.version, Object.fromEntries(now.resourceVersions)]).toEqual(['v2', after])
  })

  it('leaves what was held before as it is', () => {
    const before = held({ apple: '1' })
    heldAfter(pushOf(['apple=2'], { removed: ['apple'] }), before)
    expect(Object.fromEntries(before.resourceVersions)).toEqual({ apple: '1' })
  })
})

it.each<[what: string, state: HeldType | null, sotw: boolean, isDelta: boolean]>([
  ['nothing', null, false, false],
  ['neither version', { version: '', resourceVersions: new Map() }, false, false],
  ['the version of a response', { version: 'v1', resourceVersions: new Map() }, true, false],
  ['versions of resources alone', { version: '', resourceVersions: new Map([['a', '1']]) }, false, true],
])('a new stream that holds %s claims what its dialect has words for', (_, state, sotw, isDelta) => {
  expect([stateOfTheWorld.claims(state), delta.claims(state)]).toEqual([sotw, isDelta])
})

function resource(version: string): { name: string; version: string; resource: { type_url: string; value: Buffer } } {
  return { name: 'a', version, resource: { type_url: TYPE, value: Buffer.from('x') } }
}

it('delta takes the version of the first resource where the response has none of its own', () => {
  const response = (system_version_info: string, resources: ReturnType<typeof resource>[]) => ({
    system_version_info,
    resources,
    type_url: TYPE,
    nonce: 'n',
    removed_resources: ['b'],
    control_plane: { identifier: 'istiod' },
  })
  expect(delta.read(response('s', [resource('r')]))).toMatchObject({ version: 's', removed: ['b'], isWhole: false })
  expect(delta.read(response('', [resource('r'), resource('q')]))).toMatchObject({
    version: 'r',
    controlPlane: 'istiod',
  })
  expect(delta.read(response('', []))).toMatchObject({ version: '', resources: [] })
})

const WANTED = { typeUrl: TYPE, resourceNames: ['apple', 'pear'] }
const NODE = { id: 'n', cluster: '', metadata: { fields: {} }, user_agent_name: 'byname', user_agent_version: '0' }
const ERROR = { code: 3, message: 'bad' }

it('state of the world names the type, all names and the version held in every request, and the node in the first', () => {
  const common = { type_url: TYPE, resource_names: ['apple', 'pear'] }
  const first = { ...common, node: NODE, response_nonce: '', error_detail: null }
  expect(stateOfTheWorld.subscribe(WANTED, NODE, null)).toEqual({ ...first, version_info: '' })
  expect(stateOfTheWorld.subscribe(WANTED, NODE, held({}))).toEqual({ ...first, version_info: 'v1' })
  const later = { ...common, node: null, response_nonce: 'n' }
  const push = pushOf([])
  expect(stateOfTheWorld.reply(push, WANTED, held({}), null)).toEqual({
    ...later,
    version_info: 'v1',
    error_detail: null,
  })
  expect(stateOfTheWorld.reply(push, WANTED, null, ERROR)).toEqual({ ...later, version_info: '', error_detail: ERROR })
})

it('state of the world has all there is in a response, each without a name or a version', () => {
  const value = Buffer.from('x')
  const response = { version_info: 'v', nonce: 'n', type_url: TYPE, resources: [{ type_url: TYPE, value }] }
  const resources = [{ name: '', version: '', typeUrl: TYPE, value }]
  const read = { typeUrl: TYPE, nonce: 'n', version: 'v', resources, removed: [], isWhole: true }
  expect(stateOfTheWorld.read({ ...response, control_plane: null })).toEqual({ ...read, controlPlane: '' })
  expect(stateOfTheWorld.read({ ...response, control_plane: { identifier: 'istiod' } })).toEqual({
    ...read,
    controlPlane: 'istiod',
  })
})

it('delta names what it wants and holds in the first request, and in later ones the nonce alone', () => {
  const nothing = { resource_names_subscribe: [], resource_names_unsubscribe: [], initial_resource_versions: {} }
  expect(delta.subscribe(WANTED, NODE, held({ apple: '1' }))).toEqual({
    ...nothing,
    node: NODE,
    type_url: TYPE,
    resource_names_subscribe: ['apple', 'pear'],
    initial_resource_versions: { apple: '1' },
    response_nonce: '',
    error_detail: null,
  })
  expect(delta.subscribe(WANTED, null, null).initial_resource_versions).toEqual({})
  const later = { ...nothing, node: null, type_url: TYPE, response_nonce: 'n' }
  expect(delta.reply(pushOf([]), WANTED, held({ apple: '1' }), ERROR)).toEqual({ ...later, error_detail: ERROR })
})

it('delta reads a resource without content as one of no type, which is refused', () => {
  const response = {
    system_version_info: 'v',
    resources: [resource('1'), { name: 'b', version: '2', resource: null }],
    type_url: TYPE,
    nonce: 'n',
    removed_resources: [],
    control_plane: null,
  }
  expect(delta.read(response)).toEqual({
    typeUrl: TYPE,
    nonce: 'n',
    version: 'v',
    controlPlane: '',
    resources: [
      { name: 'a', version: '1', typeUrl: TYPE, value: Buffer.from('x') },
      { name: 'b', version: '2', typeUrl: '', value: new Uint8Array(0) },
    ],
    removed: [],
    isWhole: false,
  })
})
