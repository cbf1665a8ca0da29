import { describe, expect, test } from 'vitest'
import { NO_IDENTITY, type TableIdentity } from '../../src/table/identity.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { imageBytes } from '../../src/table/image.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { compiled, find, imageOf, info, newCompiler, service, SHOP } from './compiled.ts'

const other: TableIdentity = { namespace: 'other', domain: 'other.svc.cluster.local', searchDomain: null }
const table: NameTable = new Map([
  service('web', 'shop', ['10.0.0.1', 'fd00::1']),
  service('web', 'other', ['10.0.0.2']),
  ['db-0.db.shop.svc.cluster.local', info({ registry: 'Kubernetes', shortname: 'db-0.db', namespace: 'shop' })],
  ['api.example.com', info({ ips: ['192.0.2.9'] })],
  ['*.wild.example.com', info({ ips: ['192.0.2.10'] })],
])

/** What is the same for every workload: which host answers, and with what. */
function answer(identity: TableIdentity, name: string): unknown {
  const found = find(imageOf(table, identity), name)
  return found === null ? null : { owner: found.owner, wildcard: found.wildcard, v4: found.v4, v6: found.v6 }
}

describe('an image made for nobody', () => {
  test.each([...table.keys(), 'a.wild.example.com', 'a.b.wild.example.com', 'nothing.example.com'])(
    'answers for the full name %s as any other image does',
    (name) => {
      const anybody = answer(NO_IDENTITY, name)
      expect(anybody).toEqual(answer(SHOP, name))
      expect(anybody).toEqual(answer(other, name))
      if (name !== 'nothing.example.com' && !name.startsWith('*')) expect(anybody).not.toBeNull()
    },
  )
  test.each(['web', 'web.shop', 'web.shop.svc', 'db-0.db', 'api.example.com.shop.svc.cluster.local'])(
    'has no short name %s',
    (name) => {
      expect(answer(SHOP, name)).not.toBeNull()
      expect(answer(NO_IDENTITY, name)).toBeNull()
    },
  )
  test('knows every host by its address', () => {
    const image = imageOf(table, NO_IDENTITY)
    expect(image.findAddress(Uint8Array.of(10, 0, 0, 1), 0, 4)).toBe(true)
    expect(image.findAddress(Uint8Array.of(192, 0, 2, 10), 0, 4)).toBe(false)
  })
  test('is a file like any other, and is not taken for that of a workload', () => {
    const bytes = Uint8Array.from(imageBytes(compiled(newCompiler({ identity: NO_IDENTITY }), table).image))
    expect(verifyImage(bytes)).toBeNull()
    expect(newCompiler({ identity: NO_IDENTITY }).load(bytes)).toMatchObject({ kind: 'image', hosts: table.size })
    expect(newCompiler().load(bytes)).toEqual({
      kind: 'refused',
      reason: 'made for namespace and domain ["",""], not ["shop","shop.svc.cluster.local"]',
    })
  })
})
