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

const ANY = 255
/** Rules that a query is counted for on the way. */
const MOST_NOTES = 16
const ACT_OF_VERDICT = new Map<number, number>([
  [Verdict.NXDOMAIN, Act.NXDOMAIN],
  [Verdict.NODATA, Act.NODATA],
  [Verdict.ALLOW, Act.ALLOW],
  [Verdict.DROP, Act.DROP],
  [Verdict.TCP_ONLY, Act.TCP_ONLY],
])

/** The decision, `not yet` where the first table must say first, null if the query goes on as without rules; and the counters of the rules that it matches. */
export function decideByRules(
  { set, names }: EpisodeRules,
  asked: Asked,
  client: Uint8Array,
  isMesh: boolean,
  hasTable: boolean,
): { decision: RuleDecision | 'not yet' | null; counters: number[] } {
  const counters: number[] = []
  for (const [place, rule] of set.rules.entries()) {
    const found = isMesh && !rule.takesMesh ? null : matchOf(rule, names[place]!, asked, client)
    if (found === null) continue
    if (rule.act === Act.LOG || rule.isAudit) {
      if (counters.length < MOST_NOTES) counters.push(rule.counter)
      continue
    }
    counters.push(rule.counter)
    const act = rule.act === Act.ZONE ? ACT_OF_VERDICT.get(found.verdict)! : rule.act
    const { ede, ttlSeconds } = rule
    const records = recordsOf(rule, asked)
    return { decision: act === Act.ALLOW ? null : { act, ede, ttlSeconds, note: text(rule.note), records }, counters }
  }
  const { egress } = set
  if (egress === null || (isMesh && !egress.takesMesh)) return { decision: null, counters }
  counters.push(egress.counter)
  if (egress.isAudit) return { decision: null, counters }
  const isSearched = egress.searchDomains.some(
    (domain) => asked.name !== text(domain) && isAtOrBelow(asked.name, text(domain)),
  )
  if (!hasTable && egress.awaitsTable) return { decision: isSearched ? null : 'not yet', counters }
  const act = egress.isNodata && !isSearched ? Act.NODATA : Act.NXDOMAIN
  const { ede, ttlSeconds } = egress
  return { decision: { act, ede, ttlSeconds, note: text(egress.note), records: [] }, counters }
}

/** The name of the rule that says most exactly that the query is its; null if it is not. */
function matchOf(
  rule: Rule,
  names: readonly RuleName[] | null,
  asked: Asked,
  client: Uint8Array,
): { verdict: number } | null {
  if (rule.types.length > 0 && !rule.types.includes(asked.type)) return null
  if (rule.clients.length > 0 && !rule.clients.some(({ address, length }) => isWithin(client, address, length)))
    return null
  if (names === null) return { verdict: Verdict.RULE }
  const covering = names.filter(({ hasBelow, hasSelf, name }) =>
    asked.name === name ? hasSelf : hasBelow && isAtOrBelow(asked.name, name),
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
