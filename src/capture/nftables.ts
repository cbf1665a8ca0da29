/**
 * The redirect in the language of nft: written, read back, compared and removed, each in one transaction. Pure. Two tables
 * of family `inet`, or of family `ip` if IPv6 is not to be captured.
 */
import { addressText, literalBytes } from '../dns/address.ts'
import type { RuleList } from './differences.ts'
import {
  type CapturePlan,
  type CaptureRule,
  describeRule,
  RULE_TABLES,
  type RuleAction,
  type RuleMatch,
  type RuleTable,
  rulesOf,
} from './plan.ts'

/** A table of byname's that is there. */
interface OwnTable {
  family: string
  name: string
}

/** What nft says, as far as byname asks. */
export interface SavedRuleset {
  own: readonly OwnTable[]
  /** In words; hooks of chains are their first rule. */
  lists: readonly RuleList[]
  /** A table by which Istio captures DNS, null if there is none. */
  istioTable: string | null
}

const PREFIX = 'BYNAME_'
/** Zones are set before connection tracking (−200); queries are redirected before others' rules at −100 see them. */
const PRIORITY: Readonly<Record<RuleTable, number>> = { raw: -300, nat: -105 }
const ISTIO_TABLE = /^istio-(proxy|ambient)-/

function tableOf(table: RuleTable): string {
  return `${PREFIX}${table.toUpperCase()}`
}

function familyOf(plan: CapturePlan): string {
  return plan.hasIpv6 ? 'inet' : 'ip'
}

/** The text for `nft -f` that removes what `saved` has of byname's, whatever it is, and makes what `plan` says. */
export function writeRuleset(plan: CapturePlan, saved: SavedRuleset): string {
  const family = familyOf(plan)
  const tables = RULE_TABLES.map((table) => `table ${family} ${tableOf(table)} {\n${chainText(plan, table)}}\n`)
  const replaced = RULE_TABLES.map((table) => ({ family, name: tableOf(table) }))
  const others = saved.own.filter(
    (own) => !replaced.some((each) => each.family === own.family && each.name === own.name),
  )
  // Adding what is there does nothing, so the deletion never fails: the text may be pasted twice.
  const cleared = replaced.map(
    (each) => `add table ${each.family} ${each.name}\ndelete table ${each.family} ${each.name}\n`,
  )
  return [...others.map(deletion), ...cleared, ...tables].join('')
}

/** The text that removes what byname has; null if there is nothing. */
export function writeRulesetRemoval(saved: SavedRuleset): string | null {
  return saved.own.length === 0 ? null : saved.own.map(deletion).join('')
}

function deletion({ family, name }: OwnTable): string {
  return `delete table ${family} ${name}\n`
}

function chainText(plan: CapturePlan, table: RuleTable): string {
  const lines = [
    `type ${typeOf(table)} hook output priority ${PRIORITY[table]}; policy accept;`,
    ...rulesOf(plan, table).map(ruleText),
  ]
  return `  chain output {\n${lines.map((line) => `    ${line}\n`).join('')}  }\n`
}

function typeOf(table: RuleTable): string {
  return table === 'nat' ? 'nat' : 'filter'
}

function ruleText({ matches, action, family }: CaptureRule): string {
  return [...matches.map((match) => matchText(match, family)), 'counter', actionText(action)].join(' ')
}

function matchText(match: RuleMatch, family: CaptureRule['family']): string {
  const ip = family === 6 ? 'ip6' : 'ip'
  switch (match.on) {
    case 'outInterface':
      return `oifname "${match.name}"`
    case 'destination':
      return `${ip} daddr ${match.prefix}`
    case 'destinationPort':
      return `${match.protocol} dport ${match.port}`
    case 'sourcePort':
      return `${match.protocol} sport ${match.port}`
    case 'uid':
      return `meta skuid ${match.id}`
    default:
      return `meta skgid ${match.id}`
  }
}

function actionText(action: RuleAction): string {
  if (action.do === 'pass') return 'return'
  return action.do === 'redirect' ? `redirect to :${action.port}` : `ct zone set ${action.zone}`
}

/** What should be there, in words. */
export function expectedRulesetLists(plan: CapturePlan): RuleList[] {
  return RULE_TABLES.map((table) => ({
    chain: chainName(familyOf(plan), tableOf(table), 'output'),
    rules: [hookText(typeOf(table), 'output', PRIORITY[table]), ...rulesOf(plan, table).map(describeRule)],
  }))
}

function chainName(family: string, table: string, chain: string): string {
  return `table ${family} ${table}, chain ${chain}`
}

function hookText(type: unknown, hook: unknown, priority: unknown): string {
  return `is called at hook ${String(hook)} as type ${String(type)} with priority ${String(priority)}`
}

// ── reading: libnftables-json(5) ───────────────────────────────────────────────────────────────────────────────────

/** Reads what `nft -j list tables` and `nft -j list table …` print; null if one is no such text. */
export function readRuleset(texts: readonly string[]): SavedRuleset | null {
  const read = texts.map(entriesOf)
  if (read.includes(null)) return null
  const entries = read.flatMap((each) => each ?? [])
  const own: OwnTable[] = []
  const lists = new Map<string, string[]>()
  let istioTable: string | null = null
  for (const entry of entries) {
    const table = objectAt(entry, 'table')
    if (table !== null) {
      const [family, name] = [textAt(table, 'family'), textAt(table, 'name')]
      const isNew = !own.some((each) => each.family === family && each.name === name)
      if (name.startsWith(PREFIX) && isNew) own.push({ family, name })
      if (ISTIO_TABLE.test(name)) istioTable ??= `nftables table ${family} ${name}`
    }
    const chain = objectAt(entry, 'chain')
    if (chain !== null && textAt(chain, 'table').startsWith(PREFIX)) {
      const hook = 'hook' in chain ? [hookText(chain['type'], chain['hook'], chain['prio'])] : []
      lists.set(chainName(textAt(chain, 'family'), textAt(chain, 'table'), textAt(chain, 'name')), hook)
    }
    const rule = objectAt(entry, 'rule')
    if (rule !== null && textAt(rule, 'table').startsWith(PREFIX)) {
      lists
        .get(chainName(textAt(rule, 'family'), textAt(rule, 'table'), textAt(rule, 'chain')))
        ?.push(describeJson(rule))
    }
  }
  return { own, lists: [...lists].map(([chain, rules]) => ({ chain, rules })), istioTable }
}

type Json = Readonly<Record<string, unknown>>

function entriesOf(text: string): Json[] | null {
  try {
    const parsed: unknown = JSON.parse(text)
    const list = isJson(parsed) ? parsed['nftables'] : null
    return Array.isArray(list) ? list.filter(isJson) : null
  } catch {
    return null
  }
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function objectAt(value: unknown, key: string): Json | null {
  const found = isJson(value) ? value[key] : null
  return isJson(found) ? found : null
}

function textAt(value: Json, key: string): string {
  const found = value[key]
  return typeof found === 'string' ? found : ''
}

function describeJson(rule: Json): string {
  const expressions = Array.isArray(rule['expr']) ? rule['expr'].filter(isJson) : []
  const matches: RuleMatch[] = []
  let action: RuleAction | null = null
  for (const expression of expressions) {
    if ('counter' in expression) continue
    const match = readMatch(expression)
    const read = readAction(expression)
    if (match !== null && action === null) matches.push(match)
    else if (read !== null && action === null) action = read
    else return `the rule ${JSON.stringify(expressions)}`
  }
  return action === null ? `the rule ${JSON.stringify(expressions)}` : describeRule({ matches, action })
}

function readMatch(expression: Json): RuleMatch | null {
  const match = objectAt(expression, 'match')
  if (match === null || match['op'] !== '==') return null
  const right = match['right']
  const left = objectAt(match, 'left')
  const meta = objectAt(left, 'meta')?.['key']
  if (meta === 'oifname' && typeof right === 'string') return { on: 'outInterface', name: right }
  if ((meta === 'skuid' || meta === 'skgid') && typeof right === 'number')
    return { on: meta === 'skuid' ? 'uid' : 'gid', id: right }
  const payload = objectAt(left, 'payload')
  const [protocol, field] = [payload?.['protocol'], payload?.['field']]
  if ((protocol === 'udp' || protocol === 'tcp') && typeof right === 'number') {
    if (field === 'dport') return { on: 'destinationPort', protocol, port: right }
    if (field === 'sport') return { on: 'sourcePort', protocol, port: right }
  }
  if (protocol !== 'ip' && protocol !== 'ip6') return null
  const prefix = prefixOf(right)
  if (prefix === null) return null
  return field === 'daddr' ? { on: 'destination', prefix } : null
}

function prefixOf(right: unknown): string | null {
  const prefix = objectAt(right, 'prefix')
  const address = prefix === null ? right : prefix['addr']
  if (typeof address !== 'string' || !/^[\da-f.:]+$/i.test(address)) return null
  const bytes = literalBytes(address)
  return `${addressText(bytes)}/${prefix === null ? bytes.length * 8 : String(prefix['len'])}`
}

function readAction(expression: Json): RuleAction | null {
  if ('return' in expression) return { do: 'pass' }
  const port = objectAt(expression, 'redirect')?.['port']
  if (typeof port === 'number') return { do: 'redirect', port }
  const mangle = objectAt(expression, 'mangle')
  const key = objectAt(objectAt(mangle, 'key'), 'ct')?.['key']
  const zone = mangle?.['value']
  return key === 'zone' && typeof zone === 'number' ? { do: 'zone', zone } : null
}
