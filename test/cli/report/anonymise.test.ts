import { describe, expect, test } from 'vitest'
import { Anonymiser } from '../../../src/cli/report/anonymise.ts'
import type { Collected } from '../../../src/cli/report/collecting.ts'

/** All texts of a report after it was anonymised. */
function anonymised(files: Record<string, string>): Record<string, string> {
  const collected = Object.entries(files).map(([file, text]): Collected => ({ file, about: '', text }))
  return Object.fromEntries(
    new Anonymiser().all(collected).map((each) => [each.file, 'text' in each ? each.text : each.reason]),
  )
}

const TABLE = JSON.stringify({
  table: {
    'reviews.shop.svc.cluster.local': {
      ips: ['10.0.0.7', 'fd00:1::7'],
      registry: 'Kubernetes',
      namespace: 'shop',
      shortname: 'reviews',
    },
    'ledger.acme-bank.example': { ips: ['240.240.0.9'], registry: 'External', namespace: 'payments' },
    'cache.shop.svc.cluster.local': { ips: ['10.0.0.8'], registry: 'Kubernetes', namespace: 'shop' },
  },
})
const STATUS = JSON.stringify({
  identity: { namespace: 'shop', pod: 'reviews-v1-7d4f9c-abcde', serviceAccount: 'bookkeeper' },
  cache: { entries: 3 },
  missing: [],
})

const PLANTED = [
  'reviews',
  'shop',
  'ledger',
  'acme',
  'bank',
  'payments',
  'bookkeeper',
  '10.0.0.7',
  '10.0.0.8',
  'fd00:1::7',
  '240.240.0.9',
]

test.each([
  ['in a sentence', 'reviews of shop does not answer, nor does REVIEWS'],
  ['in a URL', 'https://ledger.acme-bank.example:443/dns-query?name=reviews&ns=shop'],
  ['percent-encoded', '/debug/explain?name=%72eviews%2Eshop%2esvc'],
  [
    'in base64',
    `token ${Buffer.from('reviews.shop.svc').toString('base64')} and ${Buffer.from('reviews').toString('base64url')}`,
  ],
  ['in the middle of base64', Buffer.from('{"ns":"x","sa":"bookkeeper at 10.0.0.7"}').toString('base64')],
  ['in hex', Buffer.from('reviews.shop').toString('hex')],
  ['in a pod’s name', 'pod reviews-v1-7d4f9c-abcde; also reviews_v1 and shop-gateway'],
  ['inside another word', 'myreviews2 and theledgers'],
  ['escaped in JSON', '{"msg":"\\u0072eviews.shop"}'],
  ['escaped as DNS does', 'r\\101views\\.shop and \\114edger'.toLowerCase()],
  ['as the name of an address', '7.0.0.10.in-addr.arpa and 10-0-0-7.shop.pod.cluster.local and ip-10-0-0-7'],
  ['as the name of an IPv6 address', '7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa'],
  ['as an IPv4 address in IPv6', '::ffff:10.0.0.7 and ::ffff:a00:7'],
  ['in other spellings of IPv6', 'FD00:1:0:0:0:0:0:7 and fd00:0001::0007'],
  ['with ports and brackets', '10.0.0.7:53, [fd00:1::7]:53, 10.0.0.7/32'],
  [
    'in a SPIFFE identity and a service account',
    'spiffe://acme-bank.example/ns/shop/sa/bookkeeper system:serviceaccount:shop:bookkeeper',
  ],
  ['in a mailbox', 'admin.reviews@acme-bank.example'],
])('a planted name or address %s is gone', (_what, text) => {
  const files = anonymised({
    'daemon/table.json': TABLE,
    'daemon/status.json': STATUS,
    'x.txt': text,
    'y.json': JSON.stringify({ text }),
  })
  for (const [file, shown] of Object.entries(files))
    for (const name of PLANTED) expect(shown.toLowerCase(), `${name} in ${file}`).not.toContain(name)
  expect(files['x.txt']).not.toContain('0.0.10.in-addr')
  expect(files['x.txt']).not.toMatch(/10-0-0-7|a00:7|fd00/i)
})

test('the same name is the same everywhere in one report, and another one in the next', () => {
  const files = {
    'daemon/table.json': TABLE,
    'x.txt': 'reviews.shop.svc.cluster.local REVIEWS.shop 10.0.0.7 ::ffff:10.0.0.7 7.0.0.10.in-addr.arpa',
  }
  const first = anonymised(files)['x.txt']!
  const [long = '', short = '', address, mapped, reverse] = first.split(' ')
  expect(long).toMatch(/^n-[0-9a-f]{10}\.n-[0-9a-f]{10}\.svc\.cluster\.local$/)
  expect(long.startsWith(short)).toBe(true)
  expect(mapped).toBe(address)
  expect(reverse).toBe(`${address}.in-addr.arpa`)
  expect(anonymised(files)['x.txt']).not.toBe(first)
})

test('what is harmless stays readable', () => {
  const text = [
    'localhost 127.0.0.1 ::1 0.0.0.0 :: 127.0.0.53:53',
    'kubernetes.default.svc.cluster.local istiod.istio-system.svc:15012 example.com',
    'cache.maxBytes: /etc/resolv.conf /etc/byname/byname.yaml byname 0.1.0 on Node.js v26.10.0, kernel 6.1.0-13-amd64, glibc 2.36',
    'byname_dns_responses_total{rcode="NOERROR",source="mesh"} 12',
    'options ndots:5 timeout:2',
    '2026-11-30T18:16:32.388Z took 12.5 ms',
  ].join('\n')
  expect(anonymised({ 'daemon/table.json': TABLE, 'daemon/status.json': STATUS, 'x.txt': text })['x.txt']).toBe(text)
})

test('JSON stays JSON with the same keys, also where a service has the name of a key', () => {
  const files = anonymised({ 'daemon/table.json': TABLE, 'daemon/status.json': STATUS })
  const status: Record<string, unknown> = JSON.parse(files['daemon/status.json']!)
  expect(Object.keys(status)).toEqual(['identity', 'cache', 'missing'])
  const table: { table: Record<string, { ips: string[] }> } = JSON.parse(files['daemon/table.json']!)
  expect(Object.keys(table.table)).toHaveLength(3)
  expect(Object.values(table.table)[0]).toMatchObject({
    ips: [expect.stringMatching(/^ip4-/), expect.stringMatching(/^ip6-/)],
    registry: 'Kubernetes',
  })
})

describe('names that only files of the machine have', () => {
  test('search domains, hosts and users', () => {
    const files = anonymised({
      'network/resolv.conf': 'search corp intra.megacorp.net\nnameserver 192.0.2.53\noptions ndots:2\n',
      'network/hosts': '127.0.0.1 localhost\n192.0.2.9 buildbox # the old one\n',
      'x.txt':
        'buildbox in corp, /home/alice/byname.yaml, 02:42:ac:11:00:02, 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
    })
    const all = Object.values(files).join('\n')
    for (const name of ['corp', 'megacorp', 'buildbox', 'alice', '192.0.2', '02:42', '0123456789abcdef'])
      expect(all).not.toContain(name)
    expect(files['network/resolv.conf']).toMatch(
      /^search n-\w+ n-\w+\.n-\w+\.net\nnameserver ip4-\w+\noptions ndots:2\n$/,
    )
    expect(files['network/hosts']).toContain('127.0.0.1 localhost')
  })
})

test('a table of 30,000 hosts takes a few seconds of processor time at most', () => {
  const hosts = Array.from({ length: 30_000 }, (_, n) => [
    `service-${n}.namespace-${n % 100}.svc.cluster.local`,
    { ips: [`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`] },
  ])
  const before = process.threadCpuUsage()
  const { 'daemon/table.json': shown } = anonymised({
    'daemon/table.json': JSON.stringify({ table: Object.fromEntries(hosts) }),
  })
  expect(process.threadCpuUsage(before).user).toBeLessThan(10_000_000)
  expect(shown).not.toContain('service-1')
})
