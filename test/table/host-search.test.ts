import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { searchHosts } from '../../src/table/host-search.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'
import { imageOf, info, service } from './compiled.ts'

function named(name: string, namespace: string, altHosts: string[]): [string, NameInfo] {
  const [host, of] = service(name, namespace, ['10.0.0.3'])
  return [host, { ...of, altHosts }]
}

const tableOf = (hosts: Record<string, NameInfo>): NameTable => new Map(Object.entries(hosts))

const image = imageOf(
  tableOf({
    'Reviews.Example.com': info({ ips: ['192.0.2.7', '2001:db8::7'] }),
    '*.example.com': info({ ips: ['192.0.2.8'] }),
    ...Object.fromEntries([
      service('reviews', 'shop', ['10.0.0.1']),
      service('reviews-old', 'ops', ['10.0.0.2', '10.0.0.12']),
    ]),
    'db.internal': info({ ips: ['10.0.0.1'] }),
    ...Object.fromEntries([named('pay', 'ops', ['orders.alias.ops.svc', 'payments.alias.ops.svc'])]),
  }),
)

const found = (text: string): string[] => searchHosts(image, text, 0, 100).shown.map(({ host }) => host)

const cases: [what: string, text: string, hosts: string[]][] = [
  [
    'a part of a name, in any letter case, with the end of a label',
    'REVIEWS.',
    ['reviews.example.com', 'reviews.shop.svc.cluster.local'],
  ],
  ['a part across labels', 's-old.ops', ['reviews-old.ops.svc.cluster.local']],
  ['a whole name with its trailing dot', 'db.internal.', ['db.internal']],
  ['a wildcard', '*.', ['*.example.com']],
  ['another name of the host, once', 'alias', ['pay.ops.svc.cluster.local']],
  ['an IPv4 address, whole', '10.0.0.1', ['reviews.shop.svc.cluster.local', 'db.internal']],
  ['an IPv6 address in any spelling', '2001:DB8:0::7', ['reviews.example.com']],
  ['an address with a zone', 'fe80::1%eth0', []],
  ['a length byte', '\u0007', []],
  ['what is in no name', 'nothing', []],
]
test.each(cases)('%s finds its hosts', (_, text, hosts) => {
  expect(found(text).toSorted()).toEqual(hosts.toSorted())
})

test('nothing finds all of them, page by page, with all that is known of each', () => {
  const all = [...listHosts(image)]
  expect(found('')).toEqual(all.map(({ host }) => host))
  expect(searchHosts(image, 'reviews', 1, 1)).toMatchObject({
    hosts: 6,
    found: 3,
    shown: [{ host: expect.stringContaining('reviews') }],
  })
  expect(searchHosts(image, '', 6, 10)).toEqual({ hosts: 6, found: 6, shown: [] })
  expect(searchHosts(image, 'old.ops', 0, 1).shown).toEqual([
    { ...service('reviews-old', 'ops', ['10.0.0.2', '10.0.0.12'])[1], host: 'reviews-old.ops.svc.cluster.local' },
  ])
})

test('finds what a search of the whole listing finds', () => {
  const label = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba', 'c')
  const names = fc.uniqueArray(fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.')))
  fc.assert(
    fc.property(names, fc.stringMatching(/^[abc.]{0,4}$/), (hosts, text) => {
      const table = imageOf(new Map(hosts.map((host) => [host, info()])))
      const wanted = [...listHosts(table)].map(({ host }) => host).filter((host) => `${host}.`.includes(text))
      expect(searchHosts(table, text, 0, 1000).shown.map(({ host }) => host)).toEqual(wanted)
    }),
  )
})

test('100,000 hosts are searched within a second of processor time', () => {
  const many = imageOf(
    new Map(
      Array.from({ length: 100_000 }, (_, n) =>
        service(`service-${n}`, `team-${n % 100}`, [`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`]),
      ),
    ),
  )
  const before = process.threadCpuUsage()
  expect(searchHosts(many, 'service-99999.', 0, 50)).toMatchObject({ hosts: 100_000, found: 1 })
  expect(searchHosts(many, '10.0.200.1', 0, 50)).toMatchObject({ found: 1 })
  expect(process.threadCpuUsage(before).user).toBeLessThan(1_000_000)
})
