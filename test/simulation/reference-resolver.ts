/**
 * What must come of a query, by the rules of resolution.md alone: slow, simple, and without a line of src/engine.
 * It knows what the engine was told (settings, tables, replies of servers), not what the engine made of it.
 */
import type { EngineSettings } from '../../src/engine/settings.ts'
import { type ReferenceAnswer, ReferenceTable } from '../table/reference-table.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameTable } from '../../src/table/nds.ts'
import type { Client } from './episode.ts'
import { type ParsedMessage, type ParsedRecord, recordId, type Sections } from './message.ts'
import { labelsOf, wireName } from './names.ts'
import type { Asked } from './queries.ts'
import { isAtOrBelow } from './reference-scrub.ts'

const A = 1
const CNAME = 5
const SOA = 6
const PTR = 12
const HINFO = 13
const AAAA = 28
const SVCB = 64
const HTTPS = 65
const ANY = 255

const NOERROR = 0
const SERVFAIL = 2
const NXDOMAIN = 3
const REFUSED = 5

/** What a query must be answered with, or that it goes upstream. */
export type Expectation =
  | { kind: 'drop' }
  | { kind: 'error'; rcodes: number[] }
  | {
      kind: 'local'
      isMesh: boolean
      rcode: number
      answers: string[]
      ttl: number
      soa: { owner: string; ttl: number } | null
    }
  | { kind: 'upstream' }

/** A reply of a server that may be served: from `at` on, for so many seconds. */
export interface KnownAnswer {
  message: ParsedMessage
  at: number
  lifetimeSeconds: number
  /** Records were left out that do not belong to the answer. */
  isScrubbed: boolean
  /** By section: TTL at the start by record. */
  ttls: Sections<Map<string, number>>
}

/** Key of a question: what may not differ between askers of one answer. */
export function keyOf(name: string, type: number, dnssecOk: boolean, flags: number): string {
  return `${name}|${type}|${dnssecOk ? 'D' : ''}${flags & 0x0010 ? 'C' : ''}${flags & 0x0100 ? '' : 'N'}`
}

export class ReferenceResolver {
  private readonly identity: TableIdentity
  private readonly tables: NameTable[]
  private readonly compiled: Map<number, { table: ReferenceTable; found: Map<string, ReferenceAnswer | null> }> =
    new Map()
  /** Index of the table adopted last, -1 before the first. */
  table = -1

  constructor(identity: TableIdentity, tables: NameTable[]) {
    this.identity = identity
    this.tables = tables
  }

  expect(asked: Asked, client: Client, settings: EngineSettings, now: number): Expectation {
    if (asked.verdict === 'drop') return { kind: 'drop' }
    if (!client.isAllowed)
      return { kind: 'error', rcodes: typeof asked.verdict === 'number' ? [REFUSED, asked.verdict] : [REFUSED] }
    if (typeof asked.verdict === 'number') return { kind: 'error', rcodes: [asked.verdict] }
    if (asked.verdict === 'empty') return { kind: 'error', rcodes: [NOERROR] }
    const mesh = this.table < 0 ? null : this.expectMesh(asked, settings)
    if (mesh !== null) return mesh
    const special = expectSpecial(asked)
    if (special !== null) return special
    const isWaiting =
      settings.beforeSync === 'servfail' || (settings.beforeSync === 'auto' && now - settings.startedAtMs < 5000)
    if (this.table < 0 && isWaiting) return { kind: 'error', rcodes: [SERVFAIL] }
    // RFC 8482 §4.2: nobody who asks for everything needs it.
    if (asked.type === ANY)
      return local(false, NOERROR, [recordId(asked.name, HINFO, 1, '\u0007RFC8482\0')], 8482, null)
    return { kind: 'upstream' }
  }

  private tableInUse(): { table: ReferenceTable; found: Map<string, ReferenceAnswer | null> } {
    let known = this.compiled.get(this.table)
    if (known === undefined) {
      known = { table: new ReferenceTable(this.tables[this.table]!, this.identity), found: new Map() }
      this.compiled.set(this.table, known)
    }
    return known
  }

  private expectMesh(asked: Asked, settings: EngineSettings): Expectation | null {
    const { table, found } = this.tableInUse()
    let host = found.get(asked.name)
    if (host === undefined) {
      host = table.find(labelsOf(asked.name))
      found.set(asked.name, host)
    }
    if (asked.type === PTR) {
      const owner = pointedAt(asked.name, table)
      if (owner === null) return null
      return local(true, NOERROR, [recordId(asked.name, PTR, 1, wire(owner))], settings.ttlSeconds, null)
    }
    if (host === null) return null
    return expectHost(asked, host, settings)
  }
}

function local(isMesh: boolean, rcode: number, answers: string[], ttl: number, soaOwner: string | null): Expectation {
  return { kind: 'local', isMesh, rcode, answers, ttl, soa: soaOwner === null ? null : { owner: soaOwner, ttl } }
}

function wire(labels: string[]): string {
  return labels.map((label) => String.fromCharCode(label.length) + label).join('') + '\0'
}

function expectHost(asked: Asked, host: ReferenceAnswer, settings: EngineSettings): Expectation | null {
  const { type } = asked
  const isHint = type === HTTPS || type === SVCB
  if (type !== A && type !== AAAA && type !== ANY && (!isHint || settings.httpsRecords === 'forward')) return null
  const target = host.cname === null ? asked.name : wire(host.cname)
  const answers = host.cname === null ? [] : [recordId(asked.name, CNAME, 1, target)]
  const before = answers.length
  const add = (family: number, addresses: string[]): void => {
    for (const hex of addresses) answers.push(recordId(target, family, 1, Buffer.from(hex, 'hex').toString('latin1')))
  }
  if (type === A || type === ANY) add(A, host.v4)
  if (type === AAAA || type === ANY) add(AAAA, host.v6)
  return local(true, NOERROR, answers, settings.ttlSeconds, answers.length === before ? wire(host.owner) : null)
}

function pointedAt(name: string, table: ReferenceTable): string[] | null {
  const labels = labelsOf(name)
  const zone = labels.slice(-2).join('.')
  const address = labels.slice(0, -2).toReversed()
  if (zone === 'in-addr.arpa' && address.length === 4) {
    if (!address.every((octet) => /^(0|[1-9][0-9]{0,2})$/.test(octet) && Number(octet) < 256)) return null
    return table.findAddress(Buffer.from(address.map(Number)).toString('hex'))
  }
  if (zone === 'ip6.arpa' && address.length === 32 && address.every((nibble) => /^[0-9a-f]$/.test(nibble)))
    return table.findAddress(address.join(''))
  return null
}

function expectSpecial(asked: Asked): Expectation | null {
  const { name, type } = asked
  const localhost = wireName('localhost')
  if (isAtOrBelow(name, localhost)) {
    const answers: string[] = []
    if (type === A || type === ANY) answers.push(recordId(name, A, 1, '\u007f\0\0\u0001'))
    if (type === AAAA || type === ANY) answers.push(recordId(name, AAAA, 1, `${'\0'.repeat(15)}\u0001`))
    return local(false, NOERROR, answers, answers.length > 0 ? 86_400 : 3600, answers.length > 0 ? null : localhost)
  }
  for (const zone of ['invalid', 'onion'].map(wireName))
    if (isAtOrBelow(name, zone)) return local(false, NXDOMAIN, [], 3600, zone)
  const resolver = wireName('resolver.arpa')
  return isAtOrBelow(name, resolver) ? local(false, NOERROR, [], 3600, resolver) : null
}

/** What a server's reply is, once it fits the question: an answer, or a reason to ask elsewhere. */
export function isFailure(message: ParsedMessage): boolean {
  // Beyond NOTIMP … REFUSED the extended ones: a client without EDNS could not be told of them.
  return (
    message.rcode === 1 ||
    message.rcode === SERVFAIL ||
    message.rcode === 4 ||
    message.rcode === REFUSED ||
    message.rcode > 15
  )
}

/** The message as an answer that came at `at`, with TTLs as they may be served from then on. */
export function knownAnswer(message: ParsedMessage, at: number, bounds: EngineSettings['cache']): KnownAnswer {
  const [answer, authority] = message.sections
  const hasRecords = message.type === ANY ? answer.length > 0 : answer.some((record) => record.type === message.type)
  const isNegative = message.rcode === NXDOMAIN || (message.rcode === NOERROR && !hasRecords)
  const most = isNegative ? Math.min(bounds.maxTtlSeconds, bounds.maxNegativeTtlSeconds) : bounds.maxTtlSeconds
  const clamp = (ttl: number): number => {
    if (ttl === 0 || ttl > 0x7fff_ffff) return 0
    return Math.min(most, Math.max(ttl, Math.min(most, bounds.minTtlSeconds)))
  }
  const soa = isNegative ? authority.find((record) => record.type === SOA) : undefined
  const negativeTtl = soa === undefined ? 0 : Math.min(sound(soa.ttl), sound(minimumOf(soa)))
  const ttlsOf = (section: ParsedRecord[]): Map<string, number> =>
    new Map(section.map((record) => [record.id, clamp(record === soa ? negativeTtl : record.ttl)]))
  const [first, second, third] = message.sections
  const ttls: KnownAnswer['ttls'] = [ttlsOf(first), ttlsOf(second), ttlsOf(third)]
  // Servers that give records of one set different TTLs: the least counts for all of the answer.
  const least = Math.min(...message.sections.flat().map((record) => clamp(record.ttl)))
  let lifetimeSeconds = isNegative ? Math.min(clamp(negativeTtl), least) : least
  if (isNegative && soa === undefined) lifetimeSeconds = 0
  if (message.rcode !== NOERROR && message.rcode !== NXDOMAIN) lifetimeSeconds = 0
  if (!Number.isFinite(lifetimeSeconds)) lifetimeSeconds = 0
  return { message, at, lifetimeSeconds, isScrubbed: message.isScrubbed, ttls }
}

function sound(ttl: number): number {
  return ttl > 0x7fff_ffff ? 0 : ttl
}

function minimumOf(soa: ParsedRecord): number {
  return Buffer.from(soa.data.slice(-4), 'latin1').readUInt32BE(0)
}

export function ageSeconds(known: KnownAnswer, now: number): number {
  return Math.floor((now - known.at) / 1000)
}
