/** Two name tables compared as sets: of hosts, and of what each host has. Pure. */
import { addressText, parseAddress } from '../dns/address.ts'
import { amount, plural } from './figures.ts'
import { printable } from '../base/printable.ts'

/** What of a host is compared. */
export interface ComparedHost {
  /** As the table has them. */
  ips: readonly string[]
  /** '' where the table does not say: that is no difference. */
  registry: string
  namespace: string
}

/** Hosts by name: lower case, without a trailing dot. */
export type ComparedTable = Map<string, ComparedHost>

/** A host of one of the tables. */
export interface OneHost extends ComparedHost {
  host: string
}

/** A host that both tables have, with what is not the same. */
export interface ChangedHost {
  host: string
  ips?: { added: string[]; removed: string[] }
  registry?: { from: string; to: string }
  namespace?: { from: string; to: string }
}

/** What is to be done to `from` to get `to`. Hosts in name order. */
export interface TableDifference {
  added: OneHost[]
  removed: OneHost[]
  changed: ChangedHost[]
  /** Hosts that are the same. */
  same: number
}

/** Name of a host as it is compared. */
export function comparedName(host: string): string {
  return host.toLowerCase().replace(/\.$/, '')
}

/** In their shortest form, sorted, each once. */
function addressSet(ips: readonly string[]): Set<string> {
  return new Set(ips.map(shortest).toSorted())
}

/** What is no address stays as it is written. */
function shortest(ip: string): string {
  if (!ip.includes(':')) return ip
  const text = Buffer.from(ip, 'latin1')
  const bytes = new Uint8Array(16)
  const length = parseAddress(text, 0, text.length, bytes, 0)
  return length === 0 ? ip : addressText(bytes.subarray(0, length))
}

/** Compares. Some 100,000 hosts take a tenth of a second. */
export function compareTables(from: ComparedTable, to: ComparedTable): TableDifference {
  const difference: TableDifference = { added: [], removed: [], changed: [], same: 0 }
  for (const [host, info] of to) {
    const before = from.get(host)
    if (before === undefined) difference.added.push(oneHost(host, info))
    else {
      const changed = changedHost(host, before, info)
      if (changed === null) difference.same++
      else difference.changed.push(changed)
    }
  }
  for (const [host, info] of from) if (!to.has(host)) difference.removed.push(oneHost(host, info))
  for (const list of [difference.added, difference.removed, difference.changed])
    list.sort((a, b) => (a.host < b.host ? -1 : 1))
  return difference
}

/** True if nothing is different. */
export function isSame({ added, removed, changed }: TableDifference): boolean {
  return added.length === 0 && removed.length === 0 && changed.length === 0
}

function oneHost(host: string, info: ComparedHost): OneHost {
  return { host, ...info, ips: [...addressSet(info.ips)] }
}

function changedHost(host: string, from: ComparedHost, to: ComparedHost): ChangedHost | null {
  const changed: ChangedHost = { host }
  if (from.ips.length !== to.ips.length || from.ips.some((ip, index) => ip !== to.ips[index])) {
    // Only then: the order may be another, and the spelling.
    const [before, after] = [addressSet(from.ips), addressSet(to.ips)]
    const ips = { added: [...after.difference(before)], removed: [...before.difference(after)] }
    if (ips.added.length > 0 || ips.removed.length > 0) changed.ips = ips
  }
  for (const field of ['registry', 'namespace'] as const) {
    const [before, after] = [from[field], to[field]]
    if (before !== after && before !== '' && after !== '') changed[field] = { from: before, to: after }
  }
  return Object.keys(changed).length === 1 ? null : changed
}

/** The difference for people: a line a host, as `diff` marks them. */
export function differenceText(difference: TableDifference, from: string, to: string): string {
  const { added, removed, changed, same } = difference
  if (isSame(difference)) return `The tables are the same: ${plural(same, 'host')}.\n`
  const lines = [
    `--- ${from}`,
    `+++ ${to}`,
    ...removed.map((host) => `- ${hostText(host)}`),
    ...added.map((host) => `+ ${hostText(host)}`),
    ...changed.map(changedText),
    `${plural(added.length, 'host')} added, ${amount(removed.length)} removed, ${amount(changed.length)} changed, ${amount(same)} the same`,
  ]
  return `${lines.map(printable).join('\n')}\n`
}

function hostText({ host, ips, registry, namespace }: OneHost): string {
  return [host, ips.join(' '), registry, namespace === '' ? '' : `namespace ${namespace}`]
    .filter((part) => part !== '')
    .join('  ')
}

function changedText({ host, ips, registry, namespace }: ChangedHost): string {
  const parts = [
    ...(ips?.removed ?? []).map((ip) => `-${ip}`),
    ...(ips?.added ?? []).map((ip) => `+${ip}`),
    ...(registry === undefined ? [] : [`registry ${registry.from} → ${registry.to}`]),
    ...(namespace === undefined ? [] : [`namespace ${namespace.from} → ${namespace.to}`]),
  ]
  return `~ ${host}  ${parts.join('  ')}`
}
