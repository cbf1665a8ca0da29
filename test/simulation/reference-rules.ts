/** What rules say of a query, slowly: each rule is looked at in its order, and each of its names. */
import { Verdict } from '../../src/rules/entries.ts'
import { RECORD_HEAD, SET_HEAD } from '../../src/rules/record-text.ts'
import { Act, type Rule } from '../../src/rules/rule-set.ts'
import type { EpisodeRules, RuleName } from './episode-rules.ts'
import type { Asked } from './queries.ts'
import { recordId } from './message.ts'
import { isAtOrBelow } from './reference-scrub.ts'

/** What rules decide: by an action (Act), with an extended error and its text. */
export interface RuleDecision {
  act: number
  ttlSeconds: number
  ede: number
  note: string
  /** Of Act.ANSWER: those of the type asked for. */
  records: string[]
}

/** The question becomes one for another name; `aliasTtl`: the client sees a CNAME to it. */
export interface RuleRewriting {
  name: string
  aliasTtl?: number
}

const CNAME = 5
const ANY = 255
const MOST_NAME = 255
const NONE = -1
/** Rules that a query is counted for on the way. */
const MOST_NOTES = 16
/** What lets a name have answers. */
const LETTING: ReadonlySet<number> = new Set([Act.ALLOW, Act.NODATA, Act.ANSWER, Act.REWRITE, Act.ZONE])
/** Of a rule that looks at no names. */
const EVERYTHING: RuleName = { name: '\0', hasSelf: true, hasBelow: true, isException: false, verdict: Verdict.RULE }
const ACT_OF_VERDICT = new Map<number, number>([
  [Verdict.NXDOMAIN, Act.NXDOMAIN],
  [Verdict.NODATA, Act.NODATA],
  [Verdict.ALLOW, Act.ALLOW],
  [Verdict.DROP, Act.DROP],
  [Verdict.TCP_ONLY, Act.TCP_ONLY],
])

/** What rules make of a query, and the counters of those that it matches. */
interface Decided {
  /** `not yet` where the first table must say first, null if the query goes on as without rules. */
  decision: RuleDecision | RuleRewriting | 'not yet' | null
  counters: number[]
  /** A rule has decided, be it that it goes on. */
  isRuled: boolean
}

/**
 * Decides on a query. `bare`: its name without the search domain, where the table answers to that; null where not. A rule for it
 * counts if none is for the whole name.
 */
export function decideByRules(
  rules: EpisodeRules,
  asked: Asked,
  client: Uint8Array,
  isMesh: boolean,
  hasTable: boolean,
  bare: string | null,
): Decided {
  const whole = decideOn(asked.name, rules, asked, client, isMesh, hasTable)
  return whole.isRuled || bare === null ? whole : decideOn(bare, rules, asked, client, isMesh, hasTable)
}

function decideOn(
  name: string,
  { set, names }: EpisodeRules,
  asked: Asked,
  client: Uint8Array,
  isMesh: boolean,
  hasTable: boolean,
): Decided {
  const counters: number[] = []
  for (const [place, rule] of set.rules.entries()) {
    const found = isMesh && !rule.takesMesh ? null : matchOf(rule, names[place]!, name, asked.type, client)
    if (found === null) continue
    if (rule.act === Act.LOG || rule.isAudit) {
      if (counters.length < MOST_NOTES) counters.push(rule.counter)
      continue
    }
    counters.push(rule.counter)
    const act = rule.act === Act.ZONE ? ACT_OF_VERDICT.get(found.verdict)! : rule.act
    const { ede, ttlSeconds } = rule
    const rewriting = rewritingOf(rule, found, name, asked)
    if (rewriting !== null) return { decision: rewriting === 'same' ? null : rewriting, counters, isRuled: true }
    const decided = { act, ede, ttlSeconds, note: text(rule.note), records: recordsOf(rule, asked) }
    return { decision: act === Act.ALLOW ? null : decided, counters, isRuled: true }
  }
  const { egress } = set
  if (egress === null || (isMesh && !egress.takesMesh)) return { decision: null, counters, isRuled: false }
  counters.push(egress.counter)
  if (egress.isAudit) return { decision: null, counters, isRuled: false }
  const isSearched = egress.searchDomains.some(
    (domain) => asked.name !== text(domain) && isAtOrBelow(asked.name, text(domain)),
  )
  if (!hasTable && egress.awaitsTable) return { decision: isSearched ? null : 'not yet', counters, isRuled: false }
  // A name that a rule lets have answers of another type exists.
  const existsOtherwise = set.rules.some((rule, place) => {
    const isOfType = rule.types.length === 0 || rule.types.includes(asked.type)
    if (rule.isAudit || !LETTING.has(rule.act) || isOfType || (isMesh && !rule.takesMesh)) return false
    return matchOf(rule, names[place]!, name, null, client) !== null
  })
  // And so does the root.
  const exists = existsOtherwise || asked.name === EVERYTHING.name
  const act = exists || (egress.isNodata && !isSearched) ? Act.NODATA : Act.NXDOMAIN
  const { ede, ttlSeconds } = egress
  const decision = { act, ede, ttlSeconds, note: text(egress.note), records: [] }
  return { decision, counters, isRuled: false }
}

/**
 * What the question becomes by a rule for `name`: for another one, or for the same; a denial where there is no name so long.
 * Null: it stays as it is.
 */
function rewritingOf(
  rule: Rule,
  found: RuleName,
  name: string,
  asked: Asked,
): RuleRewriting | RuleDecision | 'same' | null {
  const { keepsLabels, note, records, target, ttlSeconds } = rule
  const isAlias = rule.act === Act.ANSWER && Buffer.from(records).readUInt16BE(SET_HEAD) === CNAME
  if (!isAlias && rule.act !== Act.REWRITE) return null
  if (isAlias && (asked.type === CNAME || asked.type === ANY)) return null
  const kept = keepsLabels && !isAlias ? name.slice(0, name.length - found.name.length) : ''
  const other = kept + text(isAlias ? records.subarray(SET_HEAD + RECORD_HEAD) : target)
  if (other.length > MOST_NAME) return { act: Act.NXDOMAIN, ede: NONE, ttlSeconds, note: text(note), records: [] }
  if (other === asked.name) return 'same'
  return isAlias ? { name: other, aliasTtl: ttlSeconds } : { name: other }
}

/** The name of the rule that says most exactly that the query is its; null if it is not. `type` null: of any type. */
function matchOf(
  rule: Rule,
  names: readonly RuleName[] | null,
  asked: string,
  type: number | null,
  client: Uint8Array,
): RuleName | null {
  if (type !== null && rule.types.length > 0 && !rule.types.includes(type)) return null
  if (rule.clients.length > 0 && !rule.clients.some(({ address, length }) => isWithin(client, address, length)))
    return null
  if (names === null) return EVERYTHING
  const covering = names.filter(({ hasBelow, hasSelf, name }) =>
    asked === name ? hasSelf : hasBelow && isAtOrBelow(asked, name),
  )
  if (covering.some(({ isException }) => isException)) return null
  return covering.toSorted((one, other) => other.name.length - one.name.length)[0] ?? null
}

function isWithin(client: Uint8Array, address: Uint8Array, length: number): boolean {
  return client.length === address.length && bitsOf(client).slice(0, length) === bitsOf(address).slice(0, length)
}

function bitsOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
}

function recordsOf({ records }: Rule, { name, type }: Asked): string[] {
  const bytes = Buffer.from(records)
  const ids: string[] = []
  for (let at = SET_HEAD; at < bytes.length; at += RECORD_HEAD + bytes.readUInt16BE(at + 6)) {
    const own = bytes.readUInt16BE(at)
    const data = bytes.toString('latin1', at + RECORD_HEAD, at + RECORD_HEAD + bytes.readUInt16BE(at + 6))
    if (own === type || type === ANY) ids.push(recordId(name, own, 1, data))
  }
  return ids
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}
