import { describe, expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import type { Image } from '../../src/table/image.ts'
import type { NameInfo } from '../../src/table/nds.ts'
import { a, soa } from '../dns/messages.ts'
import { imageOf, info, service } from '../table/compiled.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

const NXDOMAIN = 0x8183
const DB = 'db.shop.svc.cluster.local'

function tableOf(...more: [string, NameInfo][]): Image {
  return imageOf(
    new Map([
      service('db', 'shop', ['10.0.0.1']),
      ['db-0.db.shop.svc.cluster.local', info({ ips: ['10.0.0.1'], registry: 'Kubernetes' })],
      ['api.example.com', info({ ips: ['192.0.2.7'] })],
      ...more,
    ]),
  )
}

function withTable(change: SettingsChange = {}, image: Image | null = tableOf()): EngineUnderTest {
  return new EngineUnderTest({ headlessNegativeTtlSeconds: 1, ...change }, image)
}

/** Has an upstream server deny the name, and returns TTL and MINIMUM of the SOA that the client gets. */
function denied(byname: EngineUnderTest, name: string, type: number = Type.A, flags: number = NXDOMAIN): number[] {
  const asked = byname.ask(name, type)
  byname.answer({ flags, authorities: [soa(name.split('.').slice(-2).join('.'), 30, 30)] })
  const [{ ttl, data } = { ttl: -1, data: {} }] = asked.reply!.authorities
  return [ttl, Reflect.get(Object(data), 'minimum')]
}

/** True if the question goes upstream. */
function isAsked(byname: EngineUnderTest, name: string, type: number = Type.A): boolean {
  return byname.ask(name, type).reply === null
}

test.each([
  ['a pod that is not there yet', `db-1.${DB}`, Type.A],
  ['its other family', `db-1.${DB}`, Type.AAAA],
  ['SRV below the service', `_db._tcp.${DB}`, Type.SRV],
  ['a pod by the search domain', 'db-1.db.shop.shop.svc.cluster.local', Type.A],
  ['a pod by a short name of its service', 'db-1.db.shop', Type.A],
])('%s is denied for a second, by byname and by the client', (_, name, type) => {
  for (const flags of [NXDOMAIN, 0x8180]) {
    const byname = withTable()
    expect(denied(byname, name, type, flags)).toEqual([1, 1])
    expect(isAsked(byname, name, type)).toBe(false)
    byname.advance(1000)
    expect(isAsked(byname, name, type)).toBe(true)
  }
})

test.each([
  ['a name below no host', 'no.such.svc.cluster.local'],
  ['a name below a host that is not of Kubernetes', 'v2.api.example.com'],
  ['a name above a host', 'shop.svc.cluster.local'],
  ['a host itself, without records of the type', DB],
])('%s is denied as long as the server says', (_, name) => {
  const byname = withTable()
  expect(denied(byname, name, Type.MX)).toEqual([30, 30])
  byname.advance(29_000)
  expect(isAsked(byname, name, Type.MX)).toBe(false)
})

test('an answer with records is kept as long as the server says', () => {
  const byname = withTable()
  byname.ask(`db-1.${DB}`)
  byname.answer({ answers: [a(1, 30)] })
  byname.advance(29_000)
  expect(isAsked(byname, `db-1.${DB}`)).toBe(false)
})

test.each([
  [0, [0, 0], true],
  [5, [5, 5], false],
  [300, [30, 30], false],
])('the setting says how long: %i s', (headlessNegativeTtlSeconds, ttls, asksAgain) => {
  const byname = withTable({ headlessNegativeTtlSeconds })
  expect(denied(byname, `db-1.${DB}`)).toEqual(ttls)
  expect(isAsked(byname, `db-1.${DB}`)).toBe(asksAgain)
})

test('a lower bound of TTLs does not lengthen it', () => {
  expect(denied(withTable({ cache: { minTtlSeconds: 60 } }), `db-1.${DB}`)).toEqual([1, 1])
})

test('a push ends such denials at once, whether or not it brings the name', () => {
  const byname = withTable({ headlessNegativeTtlSeconds: 20 })
  denied(byname, `db-1.${DB}`)
  denied(byname, `db-2.${DB}`)
  denied(byname, 'no.such.svc.cluster.local')
  byname.engine.adopt(tableOf(['db-1.db.shop.svc.cluster.local', info({ ips: ['10.0.0.2'], registry: 'Kubernetes' })]))
  expect(byname.ask(`db-1.${DB}`).reply).toMatchObject({ rcode: Rcode.NOERROR, answers: [{ data: '10.0.0.2' }] })
  expect(isAsked(byname, `db-2.${DB}`)).toBe(true)
  expect(isAsked(byname, 'no.such.svc.cluster.local')).toBe(false)
})

test('a push that brings the headless host ends what was denied before it, however long that was to be kept', () => {
  const byname = withTable({}, imageOf(new Map([service('web', 'shop', ['10.0.0.9'])])))
  expect(denied(byname, `db-1.${DB}`)).toEqual([30, 30])
  byname.engine.adopt(tableOf())
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
})

test('so it is 64 pushes later, and for a denial that was used after the first of them', () => {
  const byname = withTable({}, imageOf(new Map([service('web', 'shop', ['10.0.0.9'])])))
  denied(byname, `db-1.${DB}`)
  for (let k = 0; k < 63; k++) {
    byname.engine.adopt(imageOf(new Map([service('web', 'shop', ['10.0.0.9'])])))
    expect(isAsked(byname, `db-1.${DB}`)).toBe(false)
  }
  byname.engine.adopt(tableOf())
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
})

test('a denial that was asked for before a push is not kept after it', () => {
  const byname = withTable()
  byname.advance(10)
  const asked = byname.ask(`db-1.${DB}`)
  byname.advance(10)
  byname.engine.adopt(tableOf())
  byname.answer({ flags: NXDOMAIN, authorities: [soa('cluster.local', 30, 30)] })
  expect(asked.reply?.rcode).toBe(Rcode.NXDOMAIN)
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
})

test('a denial of a name above the host says nothing of its pods', () => {
  const byname = withTable({ cache: { nxdomainCut: true } })
  denied(byname, 'cluster.local')
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
  expect(isAsked(byname, 'x.cluster.local')).toBe(false)
})

test('it is not served stale: its TTL would be 30 s', () => {
  const byname = withTable({ cache: { staleSeconds: 3600 } })
  denied(byname, `db-1.${DB}`)
  byname.advance(2000)
  const asked = byname.ask(`db-1.${DB}`)
  for (let k = 0; k < 50; k++) byname.advance(100)
  expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
})

test('a denial that a push has ended does not come back with the next push', () => {
  const before = imageOf(new Map([service('web', 'shop', ['10.0.0.9'])]))
  const byname = withTable({}, before)
  denied(byname, `db-1.${DB}`)
  byname.engine.adopt(tableOf())
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
  byname.engine.adopt(before)
  expect(isAsked(byname, `db-1.${DB}`)).toBe(true)
})

describe('a denial that a push has ended is not served stale', () => {
  const name = `db-1.${DB}`

  /** The name was denied for 30 s, which may be served stale for an hour. */
  function longDenied(): EngineUnderTest {
    const byname = withTable(
      { cache: { staleSeconds: 3600 } },
      imageOf(new Map([service('web', 'shop', ['10.0.0.9'])])),
    )
    expect(denied(byname, name)).toEqual([30, 30])
    return byname
  }

  /** The rcode of the reply when no server answers. */
  function rcodeAtLast(byname: EngineUnderTest, push: Image | null = null): number | undefined {
    const asked = byname.ask(name)
    if (push !== null) byname.engine.adopt(push)
    for (let k = 0; k < 50; k++) byname.advance(100)
    return asked.reply?.rcode
  }

  test.each([
    ['while it is good', 2000],
    ['after it has expired', 31_000],
  ])('%s', (_, afterMs) => {
    const byname = longDenied()
    byname.engine.adopt(tableOf())
    byname.advance(afterMs)
    expect(rcodeAtLast(byname)).toBe(Rcode.SERVFAIL)
  })

  test('by a push that comes while servers are asked', () => {
    const byname = longDenied()
    byname.advance(31_000)
    expect(rcodeAtLast(byname, tableOf())).toBe(Rcode.SERVFAIL)
  })

  test('and one of a name that is below no host is, whatever is pushed', () => {
    const byname = longDenied()
    byname.engine.adopt(imageOf(new Map([service('other', 'shop', ['10.0.0.9'])])))
    byname.advance(31_000)
    expect(rcodeAtLast(byname)).toBe(Rcode.NXDOMAIN)
  })
})
