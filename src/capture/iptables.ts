/**
 * The redirect in the language of iptables-restore and iptables-save: written, read back, compared and removed. Pure; one
 * family at a time. iptables-restore commits a table at a time, so tables are separate texts: `raw` first, `nat` last, and
 * removal the other way round.
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

/** What iptables-save says of the tables of one family. Lines of rules are as it wrote them, `-A CHAIN …`. */
export interface SavedTables {
  /** Table, then chain, then the lines of its rules. */
  tables: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>
}

/** All chains of ours have it; nobody else's do. */
const PREFIX = 'BYNAME_'
const CHAIN = `${PREFIX}OUTPUT`
const JUMP = `-A OUTPUT -j ${CHAIN}`

/** Reads what iptables-save prints, of any tables. Lines that mean nothing are ignored; counters, too. */
export function readSaved(text: string): SavedTables {
  const tables = new Map<string, Map<string, string[]>>()
  let chains = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const [, table] = /^\*(\S+)/.exec(line) ?? []
    if (table !== undefined) tables.set(table, (chains = new Map()))
    const [, chain] = /^:(\S+)/.exec(line) ?? []
    if (chain !== undefined) chains.set(chain, [])
    const rule = line.replace(/^\[\d+:\d+\] /, '')
    const [, of] = /^-A (\S+)/.exec(rule) ?? []
    if (of !== undefined) chains.get(of)?.push(rule.trimEnd())
  }
  return { tables }
}

/** True if there is anything of byname's. */
export function hasOwnChains(saved: SavedTables): boolean {
  return RULE_TABLES.some((table) => ownParts(saved, table) !== null)
}

/** True if there are any tables, even empty ones. */
export function hasTables(saved: SavedTables): boolean {
  return saved.tables.size > 0
}

/**
 * Istio's capture of DNS, named by its chain; null if there is none. In a pod of an ambient mesh it may be without rules for port 53 now:
 * ztunnel's redirect takes everything else, and byname's queries over TCP with it. A sidecar's capture of all but DNS is no obstacle.
 */
export function istioChain(saved: SavedTables): string | null {
  for (const [table, chains] of saved.tables) {
    for (const [chain, rules] of chains) {
      if (!chain.startsWith('ISTIO_')) continue
      const isDns = rules.some((rule) => DNS_RULE.test(rule) && / -j (REDIRECT|CT|TPROXY|DNAT)/.test(rule))
      const isAmbient =
        chain === 'ISTIO_PRERT' ||
        (chain === 'ISTIO_OUTPUT' && table === 'mangle') ||
        rules.some((rule) => AMBIENT_RULE.test(rule))
      if (chain === 'ISTIO_OUTPUT_DNS' || isDns || isAmbient) return `chain ${chain} of table ${table}`
    }
  }
  return null
}

/** To port 53, or to the port where Istio's agent and ztunnel answer. */
const DNS_RULE = /--dport 53 |--to-ports? 15053\b/
/** To ztunnel's port for traffic of the mesh (HBONE). */
const AMBIENT_RULE = /--to-ports? 15008\b|--on-port 15008\b/

/**
 * The text for `iptables-restore --noflush` that brings one table from what `saved` says to what `plan` says, in one
 * transaction. Foreign rules and chains stay as they are.
 */
export function writeTable(plan: CapturePlan, family: 4 | 6, table: RuleTable, saved: SavedTables): string {
  const own = ownParts(saved, table)
  const jumps = own?.jumps ?? []
  // An older byname had more.
  const leftOver = (own?.chains ?? []).filter((chain) => chain !== CHAIN)
  // A jump that is right stays where it is; any other goes.
  const isKept = jumps.filter((each) => each === JUMP).length === 1
  return restoreText(table, [
    // Makes the chain, or empties it.
    ...[CHAIN, ...leftOver].map((chain) => `:${chain} - [0:0]`),
    ...jumps.filter((jump) => !(isKept && jump === JUMP)).map((jump) => jump.replace(/^-A/, '-D')),
    ...leftOver.map((chain) => `-X ${chain}`),
    ...rulesOf(plan, table, family).map((rule) => `-A ${CHAIN} ${ruleText(rule)}`),
    // Before foreign rules: the first one that takes a packet decides.
    ...(isKept ? [] : [JUMP.replace(/^-A (\S+)/, '-I $1 1')]),
  ])
}

/** The text that removes what byname has in one table; null if there is nothing. */
export function writeRemoval(table: RuleTable, saved: SavedTables): string | null {
  const own = ownParts(saved, table)
  if (own === null) return null
  return restoreText(table, [
    ...own.jumps.map((jump) => jump.replace(/^-A/, '-D')),
    ...own.chains.map((chain) => `-F ${chain}`),
    ...own.chains.map((chain) => `-X ${chain}`),
  ])
}

/** What should be there in one family, in words. */
export function expectedLists(plan: CapturePlan, family: 4 | 6): RuleList[] {
  return RULE_TABLES.flatMap((table) => [
    { chain: chainName(family, table, CHAIN), rules: rulesOf(plan, table, family).map(describeRule) },
    { chain: chainName(family, table, 'OUTPUT'), rules: [describeJump(JUMP)] },
  ])
}

/** What of byname's is there in one family, in words. */
export function actualLists(saved: SavedTables, family: 4 | 6): RuleList[] {
  return RULE_TABLES.flatMap((table) => {
    const own = ownParts(saved, table)
    if (own === null) return []
    const callers = new Set(own.jumps.map((jump) => /^-A (\S+)/.exec(jump)![1]!))
    return [
      ...own.chains.map((chain) => ({
        chain: chainName(family, table, chain),
        rules: saved.tables
          .get(table)!
          .get(chain)!
          .map((line) => describeLine(line, chain)),
      })),
      ...[...callers].map((caller) => ({
        chain: chainName(family, table, caller),
        rules: own.jumps.filter((jump) => jump.startsWith(`-A ${caller} `)).map(describeJump),
      })),
    ]
  })
}

function chainName(family: 4 | 6, table: RuleTable, chain: string): string {
  return `IPv${family}, table ${table}, chain ${chain}`
}

/** Our chains in a table, and the lines of other chains that call them; null if there are none of either. */
function ownParts(saved: SavedTables, table: RuleTable): { chains: string[]; jumps: string[] } | null {
  const all = saved.tables.get(table)
  if (all === undefined) return null
  const chains = [...all.keys()].filter((chain) => chain.startsWith(PREFIX))
  const jumps = [...all].flatMap(([chain, rules]) =>
    chain.startsWith(PREFIX) ? [] : rules.filter((rule) => / -[jg] BYNAME_\S+$/.test(rule)),
  )
  return chains.length + jumps.length === 0 ? null : { chains, jumps }
}

function describeJump(line: string): string {
  const [, chain] = /^-A \S+ -j (BYNAME_\S+)$/.exec(line) ?? []
  return chain === undefined ? `the rule "${line}"` : `all traffic goes through ${chain}`
}

function restoreText(table: RuleTable, lines: readonly string[]): string {
  return [`*${table}`, ...lines, 'COMMIT', ''].join('\n')
}

// ── rules ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function ruleText({ matches, action }: CaptureRule): string {
  return [...matches.map(matchText), actionText(action)].join(' ')
}

function matchText(match: RuleMatch): string {
  switch (match.on) {
    case 'outInterface':
      return `-o ${match.name}`
    case 'destination':
      return `-d ${match.prefix}`
    case 'destinationPort':
      return `-p ${match.protocol} -m ${match.protocol} --dport ${match.port}`
    case 'sourcePort':
      return `-p ${match.protocol} -m ${match.protocol} --sport ${match.port}`
    case 'uid':
      return `-m owner --uid-owner ${match.id}`
    default:
      return `-m owner --gid-owner ${match.id}`
  }
}

function actionText(action: RuleAction): string {
  if (action.do === 'pass') return '-j RETURN'
  return action.do === 'redirect' ? `-j REDIRECT --to-ports ${action.port}` : `-j CT --zone ${action.zone}`
}

function describeLine(line: string, chain: string): string {
  const rule = readRule(line.slice(`-A ${chain} `.length))
  return rule === null ? `the rule "${line}"` : describeRule(rule)
}

const MATCH_ORDER: readonly RuleMatch['on'][] = [
  'outInterface',
  'destination',
  'destinationPort',
  'sourcePort',
  'uid',
  'gid',
]

/** Reads a rule such as byname writes; null for any other. */
function readRule(text: string): Pick<CaptureRule, 'matches' | 'action'> | null {
  const words = text.split(' ')
  const matches: RuleMatch[] = []
  let protocol: string | null = null
  let action: RuleAction | null = null
  for (let i = 0; i < words.length; i += 2) {
    const [option, value] = [words[i]!, words[i + 1]]
    if (value === undefined || action !== null) return null
    const port = Number(value)
    if (option === '-o') matches.push({ on: 'outInterface', name: value })
    else if (option === '-d') matches.push({ on: 'destination', prefix: prefixText(value) })
    else if (option === '-p') protocol = value
    else if (option === '-m' && (value === protocol || value === 'owner')) continue
    else if (option === '--uid-owner') matches.push({ on: 'uid', id: port })
    else if (option === '--gid-owner') matches.push({ on: 'gid', id: port })
    else if ((option === '--dport' || option === '--sport') && (protocol === 'udp' || protocol === 'tcp'))
      matches.push({ on: option === '--dport' ? 'destinationPort' : 'sourcePort', protocol, port })
    else if (option === '-j') {
      action = readAction([value, ...words.slice(i + 2)])
      break
    } else return null
  }
  // A protocol without a port is no rule of ours.
  const hasPort = matches.some(({ on }) => on === 'destinationPort' || on === 'sourcePort')
  if (action === null || (protocol !== null && !hasPort)) return null
  matches.sort((a, b) => MATCH_ORDER.indexOf(a.on) - MATCH_ORDER.indexOf(b.on))
  return { matches, action }
}

function readAction(words: readonly string[]): RuleAction | null {
  const text = words.join(' ')
  if (text === 'RETURN') return { do: 'pass' }
  const [, port] = /^REDIRECT --to-ports (\d+)$/.exec(text) ?? []
  if (port !== undefined) return { do: 'redirect', port: Number(port) }
  const [, zone] = /^CT --zone (\d+)$/.exec(text) ?? []
  return zone === undefined ? null : { do: 'zone', zone: Number(zone) }
}

/** In the form that plans have, whatever the program's. */
function prefixText(text: string): string {
  const [address, length] = text.split('/')
  const bytes = literalBytes(address!)
  return `${addressText(bytes)}/${length ?? bytes.length * 8}`
}
