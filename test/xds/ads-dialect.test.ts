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
