/** What clients are asked to resolve: the mesh, the name server's zones, and who must see what. */
import type { Client } from './clients.ts'

/** A question: the name is made anew for each asking where caches would hide who asks. */
export interface Question {
  /** Head of its column. */
  about: string
  nameFor: (tag: string) => string
  /** All addresses; none: there is no such name, or it has none. */
  addresses: readonly string[]
}

const NAMESPACE = 'shop'

/** Of the machine's resolv.conf. */
export const SEARCH: readonly string[] = [`${NAMESPACE}.svc.cluster.local`, 'svc.cluster.local', 'cluster.local']

function numbered(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}.${n >> 7}.${(n & 127) + 1}`)
}

const REVIEWS = ['10.96.14.20', 'fd00:10:96::e14']
const MANY = numbered('10.96', 300)
const OUTSIDE = ['198.18.0.1', '2001:db8::1']
const BIG: Readonly<Record<string, readonly string[]>> = {
  'n40.big.test': numbered('198.18', 40),
  'n100.big.test': numbered('198.18', 100),
  'n300.big.test': numbered('198.18', 300),
}

/** In the order of the table. */
export const QUESTIONS: readonly Question[] = [
  { about: 'mesh, full name', nameFor: () => 'reviews.shop.svc.cluster.local', addresses: REVIEWS },
  { about: 'mesh, `reviews`', nameFor: () => 'reviews', addresses: REVIEWS },
  { about: 'mesh, `reviews.shop.svc`', nameFor: () => 'reviews.shop.svc', addresses: REVIEWS },
  { about: 'mesh, `db.data`, IPv4 alone', nameFor: () => 'db.data', addresses: ['10.96.14.30'] },
  { about: 'ServiceEntry', nameFor: () => 'api.payments.example', addresses: ['10.96.20.1'] },
  { about: 'mesh, 300 addresses', nameFor: () => 'many', addresses: MANY },
  { about: 'outside', nameFor: (tag) => `${tag}.outside.test`, addresses: OUTSIDE },
  { about: 'outside, an alias', nameFor: () => 'alias.zone.test', addresses: OUTSIDE },
  { about: 'outside, 40 addresses', nameFor: () => 'n40.big.test', addresses: BIG['n40.big.test']! },
  { about: 'outside, 100', nameFor: () => 'n100.big.test', addresses: BIG['n100.big.test']! },
  { about: 'outside, 300', nameFor: () => 'n300.big.test', addresses: BIG['n300.big.test']! },
  { about: 'no such name', nameFor: (tag) => `${tag}.absent.test`, addresses: [] },
  { about: 'no such name, short', nameFor: (tag) => `${tag}-absent`, addresses: [] },
  { about: 'no address', nameFor: () => 'text.zone.test', addresses: [] },
]

/** Mesh files by name. */
export const MESH: Readonly<Record<string, string>> = {
  'services.yaml': [
    service(
      'reviews',
      NAMESPACE,
      `clusterIPs: [${REVIEWS.map((each) => `"${each}"`).join(', ')}], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack`,
    ),
    service('db', 'data', 'clusterIP: 10.96.14.30'),
    service('many', NAMESPACE, 'clusterIP: None'),
    `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: many-1, namespace: ${NAMESPACE}, labels: {kubernetes.io/service-name: many}}
addressType: IPv4
ports: [{port: 9080}]
endpoints:
${MANY.map((address) => `  - {addresses: [${address}]}\n`).join('')}`,
  ].join('---\n'),
  'payments.yaml': `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: ${NAMESPACE}}
spec: {hosts: [api.payments.example], addresses: [10.96.20.1], ports: [{number: 9080, name: http, protocol: HTTP}], resolution: STATIC}
`,
}

function service(name: string, namespace: string, addresses: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {${addresses}, ports: [{port: 9080}]}\n`
}

/** The outside's only zone, the root. */
export function zoneText(): string {
  const records = [
    '. 60 IN SOA ns.test. admin.test. 1 3600 600 86400 60',
    '. 60 IN NS ns.test.',
    ...OUTSIDE.flatMap((address) =>
      ['*.outside.test', 'www.zone.test', 'ns.test'].map((name) => `${name}. 60 IN ${typeOf(address)} ${address}`),
    ),
    'alias.zone.test. 60 IN CNAME www.zone.test.',
    'text.zone.test. 60 IN TXT text',
    ...Object.entries(BIG).flatMap(([name, all]) => all.map((address) => `${name}. 60 IN A ${address}`)),
  ]
  return `${records.join('\n')}\n`
}

/** Knot DNS with that zone in `folder`, as its configuration says it. */
export function knotConfig(folder: string, addresses: readonly string[]): string {
  return `server:
    rundir: "${folder}"
    listen: [ ${addresses.map((each) => `${each}@53`).join(', ')} ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "${folder}"
zone:
  - domain: .
    storage: "${folder}"
    file: root.zone
    zonefile-sync: -1
    journal-content: none
`
}

function typeOf(address: string): string {
  return address.includes(':') ? 'AAAA' : 'A'
}

/** What a client saw of a name, in a few words: `all 300`, `one of 2`, `absent`. */
export function seenText({ addresses }: Question, seen: readonly string[]): string {
  const [first = 'nothing'] = seen
  if (seen.length === 0 || first.startsWith('!')) return first.replace('!', '')
  if (addresses.length === 1) return first
  if (seen.length === addresses.length) return `all ${seen.length}`
  return `${seen.length === 1 ? 'one' : seen.length} of ${addresses.length}`
}

/** Whether this is what the client must see. */
export function isRight({ addresses }: Question, client: Client, seen: readonly string[]): boolean {
  const wanted = new Set(client.isIpv4Only === true ? addresses.filter((each) => !each.includes(':')) : addresses)
  if (wanted.size === 0) return seen.length === 1 && seen[0] === '!absent'
  const got = new Set(seen)
  if (got.size === 0 || got.difference(wanted).size > 0) return false
  if (client.sees === 'one') return got.size === 1
  return client.sees === 'all' || wanted.size <= 2 ? got.size === wanted.size : got.size >= 20
}
