import { isIPv4, isIPv6 } from 'node:net'
import { nameToWire } from '../../src/dns/name.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'

/**
 * The rules of the name table once more, slow and obvious: strings, maps, and every name written down. What the compiled
 * image finds is compared with it. A name is its lower-cased labels joined by NUL, so that no escaping is needed.
 */

/** What a look-up finds. Names are lists of labels, addresses hexadecimal. */
export interface ReferenceAnswer {
  host: string[]
  expanded: boolean
  wildcard: boolean
  kubernetes: boolean
  /** The host's name, or x of `*.x`. */
  owner: string[]
  /** Labels of the CNAME's target, null without a CNAME. */
  cname: string[] | null
  v4: string[]
  v6: string[]
}

interface Host {
  labels: string[]
  spelling: string
  info: NameInfo
  own: boolean
  kubernetes: boolean
  v4: string[]
  v6: string[]
}

const SEPARATOR = '\0'

/** Lower-cased labels of a name in presentation format, null if it is none. */
export function labelsOf(text: string): string[] | null {
  const wire = nameToWire(text)
  if (wire === null) return null
  const labels: string[] = []
  for (let at = 0; wire[at]! !== 0; at += wire[at]! + 1) {
    labels.push(
      Buffer.from(wire.subarray(at + 1, at + 1 + wire[at]!))
        .toString('latin1')
        .replaceAll(/[A-Z]/g, (c) => c.toLowerCase()),
    )
  }
  return labels
}

/** Wire format of labels. */
export function wireOf(labels: string[]): Uint8Array {
  return Buffer.concat([
    ...labels.map((label) => Buffer.from(String.fromCharCode(label.length) + label, 'latin1')),
    Buffer.alloc(1),
  ])
}

function key(labels: string[]): string {
  return labels.join(SEPARATOR)
}

/** True if `labels` end in `suffix` and have more. */
function isBelow(labels: string[], suffix: string[]): boolean {
  return labels.length > suffix.length && key(labels.slice(labels.length - suffix.length)) === key(suffix)
}

function groups(part: string | undefined): string {
  return (part ?? '').replaceAll(/[0-9a-f]+:?/g, (group) => group.replace(':', '').padStart(4, '0'))
}

/** The address in hexadecimal, null if the text is none. */
export function parseReferenceAddress(text: string): string | null {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number)).toString('hex')
  if (!isIPv6(text) || text.includes('%')) return null
  // The URL standard's parser writes it in groups of hexadecimal digits with at most one gap. (ipaddr.js takes "::192.0.2.1" for a mapped address.)
  const [head, tail] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split('::')
  return groups(head) + '0'.repeat(32 - groups(head).length - groups(tail).length) + groups(tail)
}

function byText(a: Host, b: Host): number {
  const order = Buffer.compare(Buffer.from(a.labels.join('.'), 'latin1'), Buffer.from(b.labels.join('.'), 'latin1'))
  return order === 0 ? Buffer.compare(wireOf(a.labels), wireOf(b.labels)) : order
}

export class ReferenceTable {
  readonly exact: Map<string, Host> = new Map()
  readonly wildcards: Map<string, Host> = new Map()
  /** Names of rule 2, without those of a host. */
  readonly aliases: Map<string, Host> = new Map()
  readonly pointers: Map<string, Host> = new Map()
  skippedHosts = 0
  skippedAddresses = 0
  private readonly search: string[]

  constructor(table: NameTable, identity: TableIdentity) {
    this.search = labelsOf(identity.searchDomain ?? '') ?? []
    const cluster = (labelsOf(identity.domain) ?? []).slice(1)
    const candidates = [...table]
      .map(([spelling, info]) => this.readHost(spelling, info, identity))
      .filter((host) => host !== null)
    const ranked = candidates.toSorted(
      (a, b) =>
        Number(b.own) - Number(a.own) ||
        Number(b.kubernetes) - Number(a.kubernetes) ||
        Buffer.compare(Buffer.from(a.spelling), Buffer.from(b.spelling)),
    )
    for (const host of ranked) {
      const names = host.labels[0] === '*' ? this.wildcards : this.exact
      if (names.has(key(host.labels))) this.skippedHosts++
      else names.set(key(host.labels), host)
    }
    const exact = [...this.exact.values()]
    for (const host of exact.toSorted((a, b) => Number(b.own) - Number(a.own) || byText(a, b))) {
      for (const name of shortNames(host, cluster)) {
        if (!this.exact.has(key(name)) && !this.aliases.has(key(name))) this.aliases.set(key(name), host)
      }
    }
    for (const host of exact.toSorted((a, b) => Number(b.kubernetes) - Number(a.kubernetes) || byText(a, b))) {
      for (const address of [...host.v4, ...host.v6]) if (!this.pointers.has(address)) this.pointers.set(address, host)
    }
  }

  private readHost(spelling: string, info: NameInfo, identity: TableIdentity): Host | null {
    const labels = labelsOf(spelling)
    if (labels === null || labels.length === 0 || key(labels) === '*') {
      this.skippedHosts++
      return null
    }
    const addresses = info.ips.map(parseReferenceAddress)
    this.skippedAddresses += addresses.filter((address) => address === null).length
    const good = [...new Set(addresses.filter((address) => address !== null))]
    if (good.length === 0) {
      this.skippedHosts++
      return null
    }
    return {
      labels,
      spelling,
      info,
      own: info.namespace !== '' && info.namespace.toLowerCase() === identity.namespace.toLowerCase(),
      kubernetes: info.registry === 'Kubernetes',
      v4: good.filter((address) => address.length === 8),
      v6: good.filter((address) => address.length === 32),
    }
  }

  get hosts(): number {
    return this.exact.size + this.wildcards.size
  }

  /** Which host answers for the name, and how; null if none does. */
  find(name: string[]): ReferenceAnswer | null {
    const host = this.findExact(name)
    if (host !== null) return answer(host, null)
    const isExpandable = this.search.length > 0 && isBelow(name, this.search)
    const n = isExpandable ? name.slice(0, name.length - this.search.length) : []
    if (isExpandable && !isBelow(n, this.search)) {
      const expanded = this.findExact(n)
      if (expanded !== null) return answer(expanded, expanded.labels)
    }
    return this.findByWildcard(name)
  }

  /** The same among wildcard hosts alone. */
  findByWildcard(name: string[]): ReferenceAnswer | null {
    const isExpandable = this.search.length > 0 && isBelow(name, this.search)
    const n = isExpandable ? name.slice(0, name.length - this.search.length) : []
    for (let k = 1; k < name.length; k++) {
      const own = this.wildcards.get(key(['*', ...name.slice(k)]))
      if (own !== undefined) return answer(own, null)
      const pattern = ['*', ...n.slice(k)]
      const expanded = k < n.length && !isBelow(pattern, this.search) ? this.wildcards.get(key(pattern)) : undefined
      if (expanded !== undefined) {
        const exact = this.findExact(n)
        return exact === null ? answer(expanded, n) : answer(exact, exact.labels)
      }
    }
    return null
  }

  /** Name of the host that has the address (hexadecimal). */
  findAddress(address: string): string[] | null {
    return this.pointers.get(address)?.labels ?? null
  }

  private findExact(name: string[]): Host | null {
    return this.exact.get(key(name)) ?? this.aliases.get(key(name)) ?? null
  }
}

function answer(host: Host, cname: string[] | null): ReferenceAnswer {
  const wildcard = host.labels[0] === '*'
  return {
    host: host.labels,
    expanded: cname !== null,
    wildcard,
    kubernetes: host.kubernetes,
    owner: wildcard ? host.labels.slice(1) : host.labels,
    cname,
    v4: host.v4,
    v6: host.v6,
  }
}

/** Rule 2. */
function shortNames(host: Host, cluster: string[]): string[][] {
  if (!host.kubernetes || cluster.length === 0 || !isBelow(host.labels, cluster)) return []
  const { shortname, namespace, altHosts } = host.info
  const names: (string[] | null)[] = altHosts.map(labelsOf)
  if (shortname !== '' && namespace !== '') {
    if (host.own) names.push(labelsOf(shortname))
    const shortNs = labelsOf(`${shortname}.${namespace}`)
    names.push(shortNs, shortNs && [...shortNs, cluster[0]!])
  }
  return names
    .filter((name) => name !== null)
    .filter((name) => name.length > 0 && name[0] !== '*' && wireOf(name).length <= 255)
}
