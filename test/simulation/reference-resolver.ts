/**
 * What must come of a query, by the rules of resolution.md alone: slow, simple, and without a line of src/engine.
 * It knows what the engine was told (settings, tables, replies of servers), not what the engine made of it.
 */
import type { EngineSettings } from '../../src/engine/settings.ts'
import { type ReferenceAnswer, ReferenceTable } from '../table/reference-table.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { Act, type RuleSet } from '../../src/rules/rule-set.ts'
import type { NameTable } from '../../src/table/nds.ts'
import type { Client, Episode } from './episode.ts'
import type { EpisodeRules } from './episode-rules.ts'
import { ReferenceLimit } from './reference-limit.ts'
import { type ParsedMessage, type ParsedRecord, recordId, type Sections } from './message.ts'
import { labelsOf, wireName } from './names.ts'
import type { Asked } from './queries.ts'
import { ReferencePlugins } from './reference-plugins.ts'
import { decideByRules } from './reference-rules.ts'
import { isAtOrBelow } from './reference-scrub.ts'
import type { ServiceDenialRules } from './service-denial-rules.ts'

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

/** What the plug-in of episodes gives: 192.0.2.7, and with an rcode an extended error and a TTL. */
const PLUGIN_ADDRESS = '\u00c0\0\u0002\u0007'
const PLUGIN_EDE = 15
const PLUGIN_TTL = 30

/** Of the names in here. */
const TOP_LEVEL_DOMAINS: ReadonlySet<string> = new Set(['shop', 'org'])

type LocalSource = 'mesh' | 'hosts' | 'special' | 'aaaa' | 'rule' | 'records of a rule' | 'plug-in'

/** An extended error with its text, which is left out where there is no room. */
export interface Told {
  code: number
  text: string
}

/**
 * What a query must be answered with, or that it goes upstream. `drop` and `limited` get nothing; only the latter counts
 * as a request. `loop`: index of the server that passed our own probe on to us, -1 for any other error. `told`: the extended
 * error and its text; else those of the kind. `ruled out`: a rule drops the query. `tcp only`: a rule has it asked over TCP.
 */
export type Expectation =
  | { kind: 'drop' }
  | { kind: 'limited' }
  | { kind: 'ruled out' }
  | { kind: 'dropped by a plug-in' }
  | { kind: 'tcp only' }
  | { kind: 'error'; rcodes: number[]; isLimited: boolean; loop: number; told?: Told }
  | {
      kind: 'local'
      from: LocalSource
      rcode: number
      answers: string[]
      ttl: number
      soa: { owner: string; ttl: number } | null
      told?: Told
    }
  | { kind: 'upstream' }

/** A reply of a server that may be served: from `at` on, for so many seconds. */
export interface KnownAnswer {
  message: ParsedMessage
  at: number
  lifetimeSeconds: number
  /** It says that there is no such name, or no record of the type. */
  isNegative: boolean
  /** It is the denial of a name below a Kubernetes host. */
  isBrief: boolean
  /** How many tables there were when it came. */
  tables: number
  /** Records were left out that do not belong to the answer. */
  isScrubbed: boolean
  /** By section: TTL at the start by record. */
  ttls: Sections<Map<string, number>>
}

/** Key of a question: what may not differ between askers of one answer. */
export function keyOf(name: string, type: number, dnssecOk: boolean, flags: number): string {
  return `${name}|${type}|${dnssecOk ? 'D' : ''}${flags & 0x0010 ? 'C' : ''}${flags & 0x0100 ? '' : 'N'}`
}

/** A table as some identity sees it. */
interface TableInUse {
  table: ReferenceTable
  found: Map<string, ReferenceAnswer | null>
  /** Whether a name is below a Kubernetes host. */
  below: Map<string, boolean>
}

export class ReferenceResolver {
  readonly limit: ReferenceLimit = new ReferenceLimit()
  /** Counters of the rules that the query asked last matches. */
  ruleCounters: number[] = []
  /** The question that it has become; null: none has rewritten it. */
  rewritten: Asked | null = null
  readonly plugins: ReferencePlugins = new ReferencePlugins()
  private readonly identities: TableIdentity[]
  private readonly tables: NameTable[]
  private readonly rules: ReadonlyMap<RuleSet, EpisodeRules>
  private readonly compiled: Map<string, TableInUse> = new Map()
  /** Index of the table adopted last, -1 before the first, and of the identity that it was made for. */
  table = -1
  identity = 0

  constructor({ identities, rules, tables }: Pick<Episode, 'identities' | 'rules' | 'tables'>) {
    this.identities = identities
    this.tables = tables
    this.rules = rules
  }

  /** Call it once for each query: it counts for the rate limit. */
  expect(asked: Asked, client: Client, isStream: boolean, settings: EngineSettings, now: number): Expectation {
    this.ruleCounters = []
    this.rewritten = null
    if (asked.verdict === 'drop') return { kind: 'drop' }
    if (!this.limit.allows(client.address, now))
      return isStream ? { kind: 'error', rcodes: [REFUSED], isLimited: true, loop: -1 } : { kind: 'limited' }
    if (!client.isAllowed) return error(...(typeof asked.verdict === 'number' ? [asked.verdict] : []), REFUSED)
    if (typeof asked.verdict === 'number') return error(asked.verdict)
    if (asked.verdict === 'empty') return error(NOERROR)
    return this.expectName(asked, client, isStream, settings, true, now)
  }

  /** `hasRules`: rules are looked at; not for a question that one has rewritten. */
  private expectName(
    asked: Asked,
    client: Client,
    isStream: boolean,
    settings: EngineSettings,
    hasRules: boolean,
    now: number,
  ): Expectation {
    const isMesh = this.table >= 0 && this.isOfMesh(asked.name, settings)
    const rules = (): Expectation | null => this.expectRules(asked, client, isStream, settings, isMesh, now)
    const before = hasRules && isMesh ? rules() : null
    const known = before ?? this.expectKnown(asked, settings)
    if (known !== null) return known
    const loop = asked.type === HINFO ? probedServer(asked.name, settings) : -1
    if (loop >= 0) return { kind: 'error', rcodes: [REFUSED], isLimited: false, loop }
    const isWaiting =
      settings.beforeSync === 'servfail' || (settings.beforeSync === 'auto' && now - settings.startedAtMs < 5000)
    if (this.table < 0 && isWaiting) return error(SERVFAIL)
    const ruled = hasRules && !isMesh ? rules() : null
    return ruled ?? this.expectPlugins(asked, settings, now)
  }

  /** What byname itself knows of a name. */
  private expectKnown(asked: Asked, settings: EngineSettings): Expectation | null {
    const mesh = this.table < 0 ? null : this.expectMesh(asked, settings)
    return mesh ?? expectSpecial(asked) ?? expectHostsFile(asked, settings)
  }

  private expectPlugins(asked: Asked, settings: EngineSettings, now: number): Expectation {
    const { plugins } = this
    plugins.begin()
    let question = asked
    for (;;) {
      const outcome = plugins.ask(question, now)
      switch (outcome.kind) {
        case 'rewrite': {
          const { name } = question
          question = this.rewritten = { ...question, name: `${name[0]}x${name.slice(2)}`, isRewritten: true }
          const known = this.expectKnown(question, settings)
          if (known !== null) return known
          break
        }
        case 'answer':
          return local(
            'plug-in',
            NOERROR,
            question.type === A ? [recordId(question.name, A, 1, PLUGIN_ADDRESS)] : [],
            60,
            null,
          )
        case 'rcode': {
          const told = { code: PLUGIN_EDE, text: '' }
          const { rcode } = outcome
          if (rcode !== NOERROR && rcode !== NXDOMAIN)
            return { kind: 'error', rcodes: [rcode], isLimited: false, loop: -1, told }
          return {
            ...local('plug-in', rcode === NOERROR ? rcode : denialOf(question), [], PLUGIN_TTL, question.name),
            told,
          }
        }
        case 'drop':
          return { kind: 'dropped by a plug-in' }
        case 'failed':
          return { kind: 'error', rcodes: [SERVFAIL], isLimited: false, loop: -1, told: { code: 0, text: '' } }
        default:
          return this.expectBehind(question, settings)
      }
    }
  }

  private expectBehind(asked: Asked, settings: EngineSettings): Expectation {
    // RFC 8482 §4.2: nobody who asks for everything needs it.
    if (asked.type === ANY)
      return local('special', NOERROR, [recordId(asked.name, HINFO, 1, '\u0007RFC8482\0')], 8482, null)
    const isWithheld = settings.aaaaWithheld !== undefined && asked.type === AAAA && asked.edns?.dnssecOk !== true
    if (!isWithheld) return { kind: 'upstream' }
    const { headlessNegativeTtlSeconds: briefly = settings.ttlSeconds, ttlSeconds } = settings
    const ttl = this.isBelowService(asked.name) ? Math.min(briefly, ttlSeconds) : ttlSeconds
    return local('aaaa', NOERROR, [], ttl, asked.name)
  }

  /** True if the name is below one that a Kubernetes host of the table answers to. */
  isBelowService(name: string): boolean {
    if (this.table < 0) return false
    const { below } = this.tableInUse()
    let isBelow = below.get(name)
    if (isBelow === undefined) {
      const labels = labelsOf(name)
      isBelow = labels.some((_, k) => this.tableInUse().table.find(labels.slice(k + 1))?.kubernetes === true)
      below.set(name, isBelow)
    }
    return isBelow
  }

  /** What rules make of the query, null if it goes on. */
  private expectRules(
    asked: Asked,
    client: Client,
    isStream: boolean,
    settings: EngineSettings,
    isMesh: boolean,
    now: number,
  ): Expectation | null {
    const { rules: set } = settings
    if (set === undefined) return null
    const bare = isMesh ? this.bareName(asked.name, settings) : null
    const rules = this.rules.get(set)!
    const { counters, decision } = decideByRules(rules, asked, client.address, isMesh, this.table >= 0, bare)
    this.ruleCounters = counters
    if (decision === null) return null
    if (decision === 'not yet') return error(SERVFAIL)
    if ('name' in decision) {
      this.rewritten = { ...asked, name: decision.name, isRewritten: true, aliasTtl: decision.aliasTtl }
      return this.expectName(this.rewritten, client, isStream, settings, false, now)
    }
    const { act, ede, note, records, ttlSeconds } = decision
    const told = { code: ede, text: note }
    const refusal: Expectation = { kind: 'error', rcodes: [REFUSED], isLimited: false, loop: -1, told }
    switch (act) {
      case Act.NXDOMAIN:
      case Act.NODATA:
        return {
          ...local('rule', act === Act.NODATA ? NOERROR : denialOf(asked), [], ttlSeconds, asked.name),
          ...(ede >= 0 && { told }),
        }
      case Act.REFUSE:
        return refusal
      case Act.DROP:
        return isStream ? refusal : { kind: 'ruled out' }
      case Act.TCP_ONLY:
        return isStream ? null : { kind: 'tcp only' }
      default:
        return local('records of a rule', NOERROR, records, ttlSeconds, records.length === 0 ? asked.name : null)
    }
  }

  /** A name of the mesh without the search domain, if the table answers to that; else null. */
  private bareName(name: string, settings: EngineSettings): string | null {
    const { searchDomain } = this.identities[this.identity]!
    if (searchDomain === null || this.findHost(name, settings)?.expanded !== true) return null
    return `${name.slice(0, -wireName(searchDomain).length)}\0`
  }

  private isOfMesh(name: string, settings: EngineSettings): boolean {
    return this.findHost(name, settings) !== null
  }

  /** The host that answers to the name, whatever the type. */
  private findHost(name: string, settings: EngineSettings): ReferenceAnswer | null {
    const { table, found } = this.tableInUse()
    let host = found.get(name)
    if (host === undefined) {
      host = table.find(labelsOf(name))
      found.set(name, host)
    }
    return host !== null && this.isLeft(name, host, settings) ? table.findByWildcard(labelsOf(name)) : host
  }

  private tableInUse(): TableInUse {
    const key = `${this.table} ${this.identity}`
    let known = this.compiled.get(key)
    if (known === undefined) {
      const table = new ReferenceTable(this.tables[this.table]!, this.identities[this.identity]!)
      known = { table, found: new Map(), below: new Map() }
      this.compiled.set(key, known)
    }
    return known
  }

  private expectMesh(asked: Asked, settings: EngineSettings): Expectation | null {
    if (asked.type === PTR) {
      const owner = pointedAt(asked.name, this.tableInUse().table)
      if (owner === null) return null
      return local('mesh', NOERROR, [recordId(asked.name, PTR, 1, wire(owner))], settings.ttlSeconds, null)
    }
    const host = this.findHost(asked.name, settings)
    if (host === null) return null
    return expectHost(asked, host, settings)
  }

  /** True for a short name that may be somebody's real domain, where resolvers ask with the search domain first. */
  private isLeft(name: string, found: ReferenceAnswer, { searchedBelowDots = 0 }: EngineSettings): boolean {
    const labels = labelsOf(name)
    const isSearched = (this.identities[this.identity]!.searchDomain ?? '') !== ''
    if (!isSearched || labels.length < 2 || labels.length - 1 >= searchedBelowDots) return false
    if (found.expanded || found.wildcard || found.owner.join('.') === labels.join('.')) return false
    return TOP_LEVEL_DOMAINS.has(labels.at(-1)!)
  }
}

/** Of the root only records can be denied: without it nothing exists. */
function denialOf({ name }: Asked): number {
  return name === '\0' ? NOERROR : NXDOMAIN
}

function error(...rcodes: number[]): Expectation {
  return { kind: 'error', rcodes, isLimited: false, loop: -1 }
}

function local(
  from: LocalSource,
  rcode: number,
  answers: string[],
  ttl: number,
  soaOwner: string | null,
): Extract<Expectation, { kind: 'local' }> {
  return { kind: 'local', from, rcode, answers, ttl, soa: soaOwner === null ? null : { owner: soaOwner, ttl } }
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
  return local('mesh', NOERROR, answers, settings.ttlSeconds, answers.length === before ? wire(host.owner) : null)
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** The hosts file has addresses for A, AAAA and ANY, none for HTTPS and SVCB, and names for PTR. */
function expectHostsFile({ name, type }: Asked, { hosts = [], ttlSeconds }: EngineSettings): Expectation | null {
  const entry = hosts.find((host) => host.name.length === name.length && text(host.name) === name)
  if (entry === undefined) return null
  const { target, v4, v6 } = entry
  if (type === PTR)
    return target.length === 0
      ? null
      : local('hosts', NOERROR, [recordId(name, PTR, 1, text(target))], ttlSeconds, null)
  if (![A, AAAA, ANY, HTTPS, SVCB].includes(type) || v4.length + v6.length === 0) return null
  const answers: string[] = []
  const add = (family: number, size: number, all: Uint8Array): void => {
    for (let at = 0; at < all.length; at += size)
      answers.push(recordId(name, family, 1, text(all.subarray(at, at + size))))
  }
  if (type === A || type === ANY) add(A, 4, v4)
  if (type === AAAA || type === ANY) add(AAAA, 16, v6)
  return local('hosts', NOERROR, answers, ttlSeconds, answers.length === 0 ? name : null)
}

/** Index of the server that is asked for this name to find loops, or -1. */
export function probedServer(name: string, { loopProbe }: EngineSettings): number {
  return (loopProbe?.names ?? []).findIndex((other) => other !== null && text(other) === name)
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
    return local('special', NOERROR, answers, answers.length > 0 ? 86_400 : 3600, answers.length > 0 ? null : localhost)
  }
  for (const zone of ['invalid', 'onion'].map(wireName))
    if (isAtOrBelow(name, zone)) return local('special', NXDOMAIN, [], 3600, zone)
  const resolver = wireName('resolver.arpa')
  return isAtOrBelow(name, resolver) ? local('special', NOERROR, [], 3600, resolver) : null
}

/** What a server's rcode is, once its reply fits the question: part of an answer, or a reason to ask elsewhere. */
export function isFailure(rcode: number): boolean {
  // Beyond NOTIMP … REFUSED the extended ones: a client without EDNS could not be told of them.
  return rcode === 1 || rcode === SERVFAIL || rcode === 4 || rcode === REFUSED || rcode > 15
}

/** The message as an answer that came at `at`, with TTLs as they may be served from then on. */
export function knownAnswer(said: ParsedMessage, at: number, services: ServiceDenialRules): KnownAnswer {
  const { sections } = said
  const [answer] = sections
  const hasRecords = said.type === ANY ? answer.length > 0 : answer.some((record) => record.type === said.type)
  const isNegative = said.rcode === NXDOMAIN || (said.rcode === NOERROR && !hasRecords)
  const isBrief = isNegative && services.isBrief(said.name)
  const bounds = services.boundsOf(said.name)
  const most = isNegative ? Math.min(bounds.maxTtlSeconds, bounds.maxNegativeTtlSeconds) : bounds.maxTtlSeconds
  const clamp = (ttl: number): number => {
    if (ttl === 0 || ttl > 0x7fff_ffff) return 0
    return Math.min(most, Math.max(ttl, Math.min(most, bounds.minTtlSeconds)))
  }
  const given = isNegative ? sections[1].find((record) => record.type === SOA) : undefined
  const negativeTtl = given === undefined ? 0 : Math.min(sound(given.ttl), sound(minimumOf(given)))
  // Clients that look at the SOA's last number alone are to forget such a denial as soon.
  const soa = given === undefined || !isBrief ? given : withMinimum(given, clamp(negativeTtl))
  const authority = sections[1].map((record) => (record === given ? soa! : record))
  const message: ParsedMessage = { ...said, sections: [answer, authority, sections[2]] }
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
  const { isScrubbed } = message
  return { message, at, lifetimeSeconds, isNegative, isBrief, tables: services.tables, isScrubbed, ttls }
}

/** The SOA with a MINIMUM that is no larger than this. */
function withMinimum(soa: ParsedRecord, seconds: number): ParsedRecord {
  const minimum = Buffer.alloc(4)
  minimum.writeUInt32BE(Math.min(minimumOf(soa), seconds))
  const data = soa.data.slice(0, -4) + minimum.toString('latin1')
  return { ...soa, data, id: recordId(soa.owner, soa.type, soa.class, data) }
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
