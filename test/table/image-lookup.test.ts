import { describe, expect, test } from 'vitest'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'
import { collidingNames } from '../dns/colliding-names.ts'
import { compiled, find, findAddress, imageOf, info, newCompiler, service, SHOP } from './compiled.ts'

const A = 'c0000201'
const B = 'c0000202'

function found(table: [string, ReturnType<typeof info>][], name: string, identity = SHOP): unknown {
  const answer = find(imageOf(new Map(table), identity), name)
  if (answer === null) return null
  return [answer.owner.join('.'), answer.cname?.join('.') ?? null, answer.v4.join(), answer.v6.join()]
}

describe('names of a host', () => {
  const reviews = service('reviews', 'shop', ['192.0.2.1'])
  const api = service('api', 'ops', ['192.0.2.2'])
  const table = [
    reviews,
    api,
    ['Pay.Example.org.', info()],
    ['stats.ops.svc.cluster.west', { ...api[1], shortname: 'stats' }],
  ] as [string, ReturnType<typeof info>][]
  const host = ['reviews.shop.svc.cluster.local', null, A, '']

  test.each(['reviews', 'reviews.shop', 'reviews.shop.svc', 'reviews.shop.svc.cluster.local', 'REVIEWS.Shop'])(
    'a service of the own namespace answers to %s',
    (name) => expect(found(table, name)).toEqual(host),
  )

  test.each(['reviews.shop.svc.cluster', 'shop.svc.cluster.local', 'reviews.svc.cluster.local', 'eviews', '.'])(
    'but not to %s',
    (name) => expect(found(table, name)).toBeNull(),
  )

  test('a service of another namespace has no name without the namespace', () => {
    expect(found(table, 'api')).toBeNull()
    expect(found(table, 'api.ops')).toEqual(['api.ops.svc.cluster.local', null, B, ''])
  })

  test('case and a trailing dot of the host do not matter', () => {
    expect(found(table, 'pay.example.ORG')).toEqual(['pay.example.org', null, A, ''])
  })

  test("a service of another cluster's domain has its full name alone", () => {
    expect(found(table, 'stats.ops.svc.cluster.west')).not.toBeNull()
    expect(found(table, 'stats.ops')).toBeNull()
    expect(found(table, 'stats.ops.svc')).toBeNull()
  })

  test('a host that only ends in the letters of the cluster domain is not under it', () => {
    const lookalike: [string, ReturnType<typeof info>] = ['x.notsvc.cluster.local', { ...reviews[1], shortname: 'x' }]
    expect(found([lookalike], 'x')).toBeNull()
  })

  test('a pod of a headless service answers to its two labels', () => {
    const pod = service('redis-0.redis', 'shop', ['192.0.2.1'])
    expect(found([pod], 'redis-0.redis')).toEqual(['redis-0.redis.shop.svc.cluster.local', null, A, ''])
    expect(found([pod], 'redis-0.redis.shop.svc')).not.toBeNull()
    expect(found([pod], 'redis-0')).toBeNull()
  })

  test('alternate names and short names that the host does not begin with are answered too', () => {
    const odd: [string, ReturnType<typeof info>] = [
      'odd.shop.svc.cluster.local',
      { ...reviews[1], shortname: 'even', altHosts: ['odd.global', 'odd.shop', '..', '*.odd'] },
    ]
    for (const name of [
      'even',
      'even.shop',
      'even.shop.svc',
      'odd.global',
      'odd.shop',
      'even.shop.svc.cluster.local',
    ]) {
      expect(found([odd], name)?.toString()).toContain('odd.shop.svc.cluster.local')
    }
    expect(found([odd], 'odd')).toBeNull()
    expect(found([odd], 'x.odd')).toBeNull()
  })
})

describe('names that two hosts claim', () => {
  const own = service('a.b', 'shop', ['192.0.2.1'])
  test('a host beats a short name of another', () => {
    expect(found([own, ['a.b.shop', info({ ips: ['192.0.2.2'] })]], 'a.b.shop')).toEqual(['a.b.shop', null, B, ''])
  })

  test('a host beats the expansion of another', () => {
    const real: [string, ReturnType<typeof info>] = ['pay.shop.svc.cluster.local', info({ ips: ['192.0.2.2'] })]
    expect(found([['pay', info()], real], 'pay.shop.svc.cluster.local')).toEqual([
      'pay.shop.svc.cluster.local',
      null,
      B,
      '',
    ])
  })

  test('the own namespace comes first, then the name', () => {
    const fields = { registry: 'Kubernetes', shortname: 'api', altHosts: ['api.global'] }
    const first: [string, ReturnType<typeof info>] = ['a.ops.svc.cluster.local', info({ ...fields, namespace: 'ops' })]
    const second: [string, ReturnType<typeof info>] = [
      'b.shop.svc.cluster.local',
      info({ ...fields, namespace: 'shop' }),
    ]
    const third: [string, ReturnType<typeof info>] = [
      'c.shop.svc.cluster.local',
      info({ ...fields, namespace: 'shop' }),
    ]
    for (const table of [
      [first, second, third],
      [third, second, first],
    ]) {
      expect(found(table, 'api.global')?.toString()).toMatch(/^b\./)
    }
    expect(found([third, first].slice(1), 'api.global')?.toString()).toMatch(/^a\./)
  })

  test('A and AAAA come from the same host', () => {
    const fields = { registry: 'Kubernetes', shortname: 'api', namespace: 'shop' }
    const four: [string, ReturnType<typeof info>] = ['a.shop.svc.cluster.local', info(fields)]
    const six: [string, ReturnType<typeof info>] = ['b.shop.svc.cluster.local', info({ ...fields, ips: ['fd00::1'] })]
    expect(found([six, four], 'api')).toEqual(['a.shop.svc.cluster.local', null, A, ''])
  })

  test('hosts that differ in case alone are one: own namespace, Kubernetes, spelling', () => {
    const upper: [string, ReturnType<typeof info>] = ['A.example', info()]
    const lower: [string, ReturnType<typeof info>] = ['a.example', info({ ips: ['192.0.2.2'] })]
    const image = imageOf(new Map([lower, upper]))
    expect(image.hosts).toBe(1)
    expect(image.skippedHosts).toBe(1)
    expect(find(image, 'a.example')?.v4).toEqual([A])
    const kubernetes = imageOf(new Map([upper, [lower[0], { ...lower[1], registry: 'Kubernetes' }]]))
    expect(find(kubernetes, 'a.example')?.v4).toEqual([B])
  })
})

describe('the search domain', () => {
  const table = [service('api', 'ops', ['192.0.2.2']), ['www.example.org', info()]] as [
    string,
    ReturnType<typeof info>,
  ][]

  test.each(['www.example.org', 'api.ops', 'api.ops.svc', 'api.ops.svc.cluster.local'])(
    '%s is answered with it appended, by way of the full name',
    (name) => {
      const full = name.startsWith('api') ? 'api.ops.svc.cluster.local' : name
      expect(found(table, `${name}.shop.svc.cluster.local`)).toEqual([full, full, name.startsWith('api') ? B : A, ''])
      expect(found(table, `${name}.Shop.SVC.cluster.local`)).not.toBeNull()
    },
  )

  test('is not appended to names that are under it already', () => {
    const reviews = service('reviews', 'shop', ['192.0.2.1'])
    expect(found([reviews], 'reviews.shop.svc.cluster.local.shop.svc.cluster.local')).toBeNull()
    expect(found([reviews], 'reviews.shop.shop.svc.cluster.local')).not.toBeNull()
  })

  test('is not answered itself, nor are the other ones', () => {
    expect(found(table, 'shop.svc.cluster.local')).toBeNull()
    expect(found(table, 'www.example.org.svc.cluster.local')).toBeNull()
  })

  test.each([null, '', '.'])('may be missing (%j)', (searchDomain) => {
    expect(found(table, 'www.example.org', { ...SHOP, searchDomain })).not.toBeNull()
    expect(found(table, 'www.example.org.shop.svc.cluster.local', { ...SHOP, searchDomain })).toBeNull()
  })
})

const wild = (name: string): [string, NameInfo] => [name, info({ ips: ['192.0.2.2', 'fd00::2'] })]

describe('wildcards', () => {
  describe('never give an exact host other addresses by the search domain', () => {
    const S0 = 'shop.svc.cluster.local'
    const web = service('web', 'shop', ['192.0.2.1'])
    const exact = [`web.${S0}`, `web.${S0}`, A, '']

    test.each([
      ['of the last label', ['*.local']],
      ['of the cluster', ['*.cluster.local']],
      ['of the cluster’s services', ['*.svc.cluster.local']],
      ['one in another', ['*.local', '*.svc.cluster.local', '*.cluster.local']],
    ])('%s', (_, names) => {
      const table = [web, ...names.map(wild)]
      expect(found(table, `web.${S0}.${S0}`)).toEqual(exact)
      expect(found(table, `WEB.${S0}.${S0}`)).toEqual(exact)
      expect(found(table, `web.${S0}`)).toEqual([`web.${S0}`, null, A, ''])
      // A name that is no host's is still the wildcard's.
      const most = names.toSorted((x, y) => y.length - x.length)[0]!.slice(2)
      expect(found(table, `other.${S0}.${S0}`)).toEqual([most, `other.${S0}`, B, 'fd000000000000000000000000000002'])
    })

    test('a longer wildcard of the whole name comes first', () => {
      const whole = wild(`*.svc.cluster.local.${S0}`)
      expect(found([web, wild('*.local'), whole], `web.${S0}.${S0}`)).toEqual([
        `svc.cluster.local.${S0}`,
        null,
        B,
        'fd000000000000000000000000000002',
      ])
    })
  })

  const apps: [string, ReturnType<typeof info>] = ['*.apps.example', info()]
  const eu: [string, ReturnType<typeof info>] = ['*.eu.apps.example', info({ ips: ['192.0.2.2'] })]

  test('answer for every name below, the most specific one first, and not for their own', () => {
    const table = [apps, eu]
    expect(found(table, 'a.apps.example')).toEqual(['apps.example', null, A, ''])
    expect(found(table, 'a.b.C.apps.example')).toEqual(['apps.example', null, A, ''])
    expect(found(table, 'eu.apps.example')).toEqual(['apps.example', null, A, ''])
    expect(found(table, 'a.eu.apps.example')).toEqual(['eu.apps.example', null, B, ''])
    expect(found(table, 'apps.example')).toBeNull()
    expect(found(table, 'example')).toBeNull()
  })

  test('lose to an exact name, a short one and an expansion', () => {
    const exact = [apps, ['a.apps.example', info({ ips: ['192.0.2.2'] })]] as [string, ReturnType<typeof info>][]
    expect(found(exact, 'a.apps.example')).toEqual(['a.apps.example', null, B, ''])
    const local: [string, ReturnType<typeof info>] = ['*.local', info()]
    const api = service('api', 'ops', ['192.0.2.2'])
    expect(found([local, api], 'api.ops.shop.svc.cluster.local')?.toString()).toContain(B)
  })

  test('are expanded by the search domain, by way of the concrete name', () => {
    expect(found([apps], 'A.b.apps.example.shop.svc.cluster.local')).toEqual([
      'apps.example',
      'a.b.apps.example',
      A,
      '',
    ])
    expect(found([apps], 'apps.example.shop.svc.cluster.local')).toBeNull()
  })

  test('of the search domain lose to the longer expansion of another', () => {
    const table = [apps, ['*.svc.cluster.local', info({ ips: ['192.0.2.2'] })]] as [string, ReturnType<typeof info>][]
    expect(found(table, 'a.apps.example.shop.svc.cluster.local')).toEqual(['apps.example', 'a.apps.example', A, ''])
    expect(found(table, 'a.other.example.shop.svc.cluster.local')).toEqual(['svc.cluster.local', null, B, ''])
  })

  test('under the search domain are not expanded', () => {
    const table = [['*.x.shop.svc.cluster.local', info()]] as [string, ReturnType<typeof info>][]
    expect(found(table, 'a.x.shop.svc.cluster.local')).not.toBeNull()
    expect(found(table, 'a.x.shop.svc.cluster.local.shop.svc.cluster.local')).toBeNull()
  })

  test('of everything match nothing', () => {
    const image = imageOf(new Map([['*', info()], apps]))
    expect(find(image, 'example')).toBeNull()
    expect(find(image, '*')).toBeNull()
    expect(image.skippedHosts).toBe(1)
  })

  test('cost a linear number of probes: a name of 127 labels is answered', () => {
    const name = Array.from({ length: 125 }, () => 'a').join('.')
    expect(found([['*.a.a', info()]], name)).not.toBeNull()
    expect(found([apps], name)).toBeNull()
  })
})

describe('addresses', () => {
  test('are kept once, by family, the malformed ones dropped and counted', () => {
    const ips = [
      '192.0.2.1',
      'fd00::1',
      '10.0.0.400',
      '192.0.2.1',
      '::ffff:192.0.2.1',
      '10.0.0.0/8',
      'FD00:0::1',
      '192.0.2.2',
    ]
    const image = imageOf(new Map([['a.example', info({ ips })]]))
    expect(find(image, 'a.example')).toMatchObject({
      v4: [A, B],
      v6: ['fd000000000000000000000000000001', '00000000000000000000ffffc0000201'],
    })
    expect(image.skippedAddresses).toBe(2)
  })

  test('of a host with thousands are kept once too', () => {
    const v4 = Array.from({ length: 5000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`)
    const v6 = Array.from({ length: 300 }, (_, i) => `fd00::${i.toString(16)}`)
    const image = imageOf(new Map([['a.example', info({ ips: [...v4, ...v6, ...v4, ...v6] })]]))
    expect(find(image, 'a.example')?.v4.length).toBe(5000)
    expect(find(image, 'a.example')?.v6.length).toBe(300)
  })

  test('more than a reply could ever carry are dropped and counted', () => {
    const ips = Array.from({ length: 70_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    const { image, firstSkipped } = compiled(newCompiler(), new Map([['a.example', info({ ips })]]))
    expect(find(image, 'a.example')?.v4.length).toBe(65_535)
    expect(image.skippedAddresses).toBe(70_000 - 65_535)
    expect(firstSkipped).toBe('"10.0.255.255" is one too many: a host may have 65535 addresses of each family')
  })

  test('name their host: pods and services before others, then by name, wildcards never', () => {
    const table = new Map([
      ['a.example', info()],
      ['*.b.example', info({ ips: ['192.0.2.1', '192.0.2.9'] })],
      service('redis', 'shop', ['192.0.2.1', 'fd00::1']),
      service('redis-0.redis', 'shop', ['192.0.2.1']),
      ['z.example', info({ ips: ['192.0.2.2'] })],
      ['y.example', info({ ips: ['192.0.2.2', '::ffff:192.0.2.1'] })],
    ])
    const image = imageOf(table)
    expect(findAddress(image, A)?.join('.')).toBe('redis-0.redis.shop.svc.cluster.local')
    expect(findAddress(image, B)?.join('.')).toBe('y.example')
    expect(findAddress(image, 'fd000000000000000000000000000001')?.join('.')).toBe('redis.shop.svc.cluster.local')
    expect(findAddress(image, '00000000000000000000ffffc0000201')?.join('.')).toBe('y.example')
    expect(findAddress(image, 'c0000209')).toBeNull()
    expect(findAddress(image, 'c0000203')).toBeNull()
  })
})

test.each([true, false])('two hosts whose names have one hash are told apart, of one length: %s', (areOfOneLength) => {
  const seed = 0x5eed
  const names = collidingNames(seed, 'example', areOfOneLength)
  const wildcards = collidingNames(seed, 'test', areOfOneLength)
  const table: NameTable = new Map([
    [names[0], info({ ips: ['192.0.2.1'] })],
    [names[1], info({ ips: ['192.0.2.2'] })],
    [`*.${wildcards[0]}`, info({ ips: ['192.0.2.3'] })],
    [`*.${wildcards[1]}`, info({ ips: ['192.0.2.4'] })],
  ])
  const { image } = compiled(newCompiler({ seed }), table)
  expect(image.hosts).toBe(4)
  const addresses = [...names, ...wildcards.map((name) => `a.${name}`)].map((name) => find(image, name)?.v4)
  expect(addresses).toEqual([['c0000201'], ['c0000202'], ['c0000203'], ['c0000204']])
})

test('of two hosts whose names are one text, an escaped dot apart, the same one wins in any order', () => {
  const fields = { registry: 'Kubernetes', altHosts: ['both.global'] }
  const hosts: [string, NameInfo][] = [
    ['a.b.shop.svc.cluster.local', info({ ...fields, ips: ['192.0.2.1'] })],
    ['a\\.b.shop.svc.cluster.local', info({ ...fields, ips: ['192.0.2.2'] })],
  ]
  const answers = [hosts, hosts.toReversed()].map((order) => find(imageOf(new Map(order)), 'both.global')?.v4)
  expect(answers[0]).toHaveLength(1)
  expect(answers[1]).toEqual(answers[0])
})

test('a host whose short name and namespace are longer than any name has its own name alone', () => {
  const table: NameTable = new Map([
    ['a.shop.svc.cluster.local', info({ registry: 'Kubernetes', shortname: 'x'.repeat(400), namespace: 'shop' })],
    service('b', 'shop', ['192.0.2.2']),
  ])
  const image = imageOf(table)
  expect(find(image, 'a.shop.svc.cluster.local')?.v4).toEqual(['c0000201'])
  expect(find(image, 'b.shop')?.v4).toEqual(['c0000202'])
})
