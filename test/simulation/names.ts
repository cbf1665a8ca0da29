/** Names that are asked for, and tables that have some of them. */
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'
import type { Random } from './random.ts'

/** Names as strings of their wire format in lower case. */
export interface Names {
  mesh: string[]
  upstream: string[]
  special: string[]
}

export function wireName(text: string): string {
  return (
    text
      .split('.')
      .filter((label) => label !== '')
      .map((label) => String.fromCharCode(label.length) + label)
      .join('') + '\0'
  )
}

/** Labels of a wire name. */
export function labelsOf(name: string): string[] {
  const labels: string[] = []
  for (let at = 0; name.charCodeAt(at) > 0; at += name.charCodeAt(at) + 1)
    labels.push(name.slice(at + 1, at + 1 + name.charCodeAt(at)))
  return labels
}

function address(random: Random): string {
  return random.chance(0.75)
    ? `10.${random.below(4)}.${random.below(256)}.${random.below(256)}`
    : `fd00::${random.below(65_536).toString(16)}:${random.below(65_536).toString(16)}`
}

function makeHosts(random: Random, rare: Random): string[] {
  const list: string[] = []
  for (let k = 0; k < 12; k++) list.push(`svc${k}.${random.pick(['shop', 'shop', 'ops'])}.svc.cluster.local`)
  for (let k = 0; k < 3; k++) list.push(`pod-${k}.db.shop.svc.cluster.local`)
  for (let k = 0; k < 6; k++) list.push(`api${k}.example.org`)
  // Names that are asked upstream as well: now the mesh has them, now it has not.
  for (let k = 0; k < 4; k++) list.push(`h${k}.example`)
  list.push(
    '*.wild.example.org',
    '*.deep.wild.example.org',
    `*.${'w'.repeat(60)}.example`,
    'localhost',
    `${'l'.repeat(63)}.`.repeat(3) + 'long',
  )
  if (random.chance(0.1)) list.push('*.x')
  // Above names of hosts and what the search domain makes of them: an exact host beats them all the same.
  if (rare.chance(0.1)) list.push(...['*.local', '*.svc.cluster.local', '*.example'].filter(() => rare.chance(0.5)))
  return list
}

function makeTable(random: Random, all: string[]): NameTable {
  const table: NameTable = new Map()
  for (const host of all) {
    if (random.chance(0.3)) continue
    const count = random.weighted([
      [6, 1],
      [3, 3],
      [1, 40],
      [1, 90],
    ])
    const [short, namespace, kind] = host.split('.')
    const isService = kind === 'svc'
    const info: NameInfo = {
      ips: Array.from({ length: count }, () => address(random)),
      registry: isService ? 'Kubernetes' : 'External',
      shortname: isService ? short! : '',
      namespace: isService ? namespace! : '',
      altHosts: [],
    }
    if (random.chance(0.02)) info.ips.push('not an address')
    table.set(host, info)
  }
  return table
}

/** Tables that one after the other might be pushed. */
export function makeTables(random: Random, rare: Random): NameTable[] {
  const all = makeHosts(random, rare)
  const first = makeTable(random, all)
  return [first, makeTable(random, all), makeTable(random, all), new Map(), moved(random, first), moved(random, first)]
}

/** The table after some pods have moved: the same hosts, a few with other addresses. */
function moved(random: Random, table: NameTable): NameTable {
  const hosts = [...table.keys()]
  const chosen = new Set(Array.from({ length: 1 + random.below(2) }, () => random.pick(hosts)))
  const move = (info: NameInfo): NameInfo => ({ ...info, ips: info.ips.map(() => address(random)) })
  return new Map([...table].map(([host, info]) => [host, chosen.has(host) ? move(info) : info]))
}

export function makeNames(random: Random, tables: NameTable[], identities: readonly TableIdentity[]): Names {
  const mesh = new Set<string>()
  for (const table of tables) {
    for (const [host, { ips, shortname, namespace }] of table) {
      const full = host.replace('*', random.pick(['a', 'b.c', 'A'.repeat(60)])).toLowerCase()
      mesh.add(full)
      if (shortname !== '') mesh.add(shortname).add(`${shortname}.${namespace}`).add(`${shortname}.${namespace}.svc`)
      const ip = ips[0]!
      if (ip.includes('.')) mesh.add(`${ip.split('.').toReversed().join('.')}.in-addr.arpa`)
    }
  }
  const searched = new Set(
    identities.map(({ searchDomain }) => searchDomain?.toLowerCase()).filter((domain) => domain !== undefined),
  )
  const expanded = [...searched].flatMap((domain) => Array.from(mesh, (name) => `${name}.${domain}`))
  const upstream: string[] = ['']
  const count = random.weighted([
    [4, 3],
    [3, 20],
    [1, 300],
  ])
  for (let k = 0; k < count; k++) {
    const name = random.weighted<() => string>([
      [8, () => `h${k}.example`],
      [2, () => `h${k}.corp`],
      [1, () => `h${k}.deep.example`],
      [1, () => `${'x'.repeat(50)}.${'y'.repeat(60)}.h${k}.example`],
      [0.3, () => `${`${'z'.repeat(58)}.`.repeat(4)}h${k}`],
      [0.5, () => `${k}.2.0.192.in-addr.arpa`],
    ])()
    upstream.push(name)
    // Names below one that may not exist.
    if (random.chance(0.25)) upstream.push(`a.${name}`)
    if (random.chance(0.1)) upstream.push(`c.b.a.${name}`)
  }
  return {
    mesh: [...mesh, ...expanded].map(wireName).filter((name) => name.length <= 255),
    upstream: upstream.map(wireName).filter((name) => name.length <= 255),
    special: [
      'localhost',
      'a.localhost',
      'invalid',
      'no.invalid',
      'b.onion',
      'resolver.arpa',
      '_dns.resolver.arpa',
    ].map(wireName),
  }
}
