import { beforeEach, expect, test } from 'vitest'
import { parseHostsFile } from '../../src/config/hosts-file.ts'
import { hostEntries } from '../../src/daemon/engine-settings.ts'
import { HostsContradictions } from '../../src/daemon/hosts-contradictions.ts'
import { imageOf, info, service } from '../table/compiled.ts'

const IMAGE = imageOf(
  new Map([
    service('reviews', 'shop', ['10.0.0.1', '10.0.0.2']),
    service('ratings', 'shop', ['10.0.0.3', 'fd00::3']),
    ['api.example.com', info({ ips: ['240.240.0.1'] })],
    ['*.wild.example', info({ ips: ['240.240.0.2'] })],
  ]),
)

let contradictions: HostsContradictions
beforeEach(() => {
  contradictions = new HostsContradictions()
})

function found(text: string, except: readonly string[] = []): string[] {
  const names = { file: '/h', hosts: hostEntries(parseHostsFile(text)), image: IMAGE, except }
  return contradictions.problems(names, 7).map((problem) => problem.text)
}

function texts(...phrases: string[]): string[] {
  return [
    `the hosts file contradicts the name table: ${phrases.join('; ')} (/h; byname goes by the table, programs by the file)`,
  ]
}

test.each([
  ['another address', '10.6.6.6 reviews.shop.svc.cluster.local', 'reviews.shop.svc.cluster.local is 10.6.6.6'],
  ['a short name', '10.6.6.6 Reviews.shop', 'reviews.shop is 10.6.6.6'],
  [
    'a right and a wrong address',
    '10.0.0.1 reviews.shop.svc\n10.6.6.6 reviews.shop.svc',
    'reviews.shop.svc is 10.6.6.6',
  ],
])('%s contradicts', (_, text, phrase) => {
  expect(found(text)).toEqual(texts(`${phrase} there and 10.0.0.1 10.0.0.2 in the table`))
})

test('an IPv6 address contradicts where the table has others', () => {
  expect(found('fd00::6 ratings.shop.svc')).toEqual(
    texts('ratings.shop.svc is fd00::6 there and 10.0.0.3 fd00::3 in the table'),
  )
})

test('an outside name that a host of the mesh has contradicts', () => {
  expect(found('192.0.2.7 api.example.com')).toEqual(
    texts('api.example.com is 192.0.2.7 there and 240.240.0.1 in the table'),
  )
})

test.each([
  ['the same address', '10.0.0.2 reviews.shop.svc.cluster.local'],
  ['names that the table has not', '127.0.0.1 localhost\n10.1.1.1 db.corp'],
  ['a family that the table leaves out', 'fd00::6 reviews.shop.svc'],
  ['one name below a wildcard host', '192.0.2.7 a.wild.example'],
  ['a name by the search domain', '192.0.2.7 db.corp.shop.svc.cluster.local'],
  ['no name at all', ''],
])('%s contradicts nothing', (_, text) => {
  expect(found(text)).toEqual([])
})

test('the name of the control plane may lead to a gateway', () => {
  expect(found('192.0.2.7 reviews.shop.svc', ['reviews.shop.svc'])).toEqual([])
})

test('many are told by the first three, since the first was seen, until they are gone', () => {
  const lines = ['reviews', 'reviews.shop', 'reviews.shop.svc', 'ratings', 'ratings.shop']
  const hosts = hostEntries(parseHostsFile(lines.map((name) => `10.6.6.6 ${name}`).join('\n')))
  const names = { file: '/h', hosts, image: IMAGE, except: [] }
  expect(contradictions.problems({ ...names, image: null }, 5)).toEqual([])
  const [first] = contradictions.problems(names, 10)
  expect(first).toMatchObject({
    about: 'hosts_file',
    sinceMs: 10,
    text: expect.stringMatching(/; and 2 more names \(/),
  })
  expect(first?.text.match(/ there and /g)).toHaveLength(3)
  expect(contradictions.problems({ ...names, hosts: hosts.slice(0, 3) }, 15)[0]?.text).not.toContain('more names')
  const fewer = { ...names, hosts: hosts.slice(0, 1) }
  expect(contradictions.problems(fewer, 20)[0]?.sinceMs).toBe(10)
  expect(contradictions.problems({ ...names, hosts: [] }, 30)).toEqual([])
  expect(contradictions.problems(fewer, 40)[0]?.sinceMs).toBe(40)
})
