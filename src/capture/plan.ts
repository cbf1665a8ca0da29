/**
 * What the redirect is made of, without a word of any program's language: options in, rules out. The writers
 * (iptables.ts, nftables.ts) put the rules into words, the readers get them back, and describeRule says them to people.
 *
 * ```
 *  nat  output   own uid or gid, exempt addresses and interfaces → left alone; UDP and TCP to port 53 → redirected
 *  raw  output   exempt and own queries → left alone; own replies on loopback, and queries to port 53 or to byname's port → zone 2
 * ```
 *
 * Conntrack zones: an application and byname may ask one name server from one source port. In one zone the second of them would
 * be taken for the first: it would bypass the redirect, or its reply would go astray (Istio 33469, 46935). So what applications and
 * byname say to each other is tracked in zone 2, and all else, byname's own queries too, where it would be without byname. Only UDP: over TCP
 * the kernel gives no two connections the same addresses and ports.
 *
 * Istio's agent has its own queries in zone 1, and so every reply of the name servers: those, too, that are for containers and virtual
 * machines behind NAT on this machine, whose queries are in no zone, and which would have no DNS.
 */

/** What to capture, for whom, and what to leave alone. */
export interface CaptureOptions {
  /** Where byname listens on loopback, UDP and TCP. */
  port: number
  /** Users and groups whose queries pass: byname's own. At least one of either. */
  uids: readonly number[]
  gids: readonly number[]
  /** Literal addresses of the name servers whose queries are captured; null: all queries to port 53. */
  nameservers: readonly string[] | null
  /** `10.0.0.0/8`, `fd00::1/128`: queries to them pass. Host bits are 0. */
  exemptPrefixes: readonly string[]
  /** Queries that leave through them pass. */
  exemptInterfaces: readonly string[]
  /** Both families, or IPv4 alone. */
  hasIpv6: boolean
}

/** What a packet must be for a rule to count. */
export type RuleMatch =
  | { on: 'outInterface'; name: string }
  /** With its length, also that of a single address: `10.0.0.1/32`. */
  | { on: 'destination'; prefix: string }
  | { on: 'destinationPort'; protocol: 'udp' | 'tcp'; port: number }
  | { on: 'sourcePort'; protocol: 'udp' | 'tcp'; port: number }
  | { on: 'uid'; id: number }
  | { on: 'gid'; id: number }

/** What becomes of a packet. */
export type RuleAction = { do: 'pass' } | { do: 'redirect'; port: number } | { do: 'zone'; zone: number }

/** The kernel's tables, of which byname has rules for what this machine sends. */
export type RuleTable = 'raw' | 'nat'

/** One rule. */
export interface CaptureRule {
  table: RuleTable
  /** Null: of both families. */
  family: 4 | 6 | null
  /** All must hold, in the order of RuleMatch. */
  matches: readonly RuleMatch[]
  action: RuleAction
}

/** Rules in the order in which they count, table by table. */
export interface CapturePlan {
  rules: readonly CaptureRule[]
  hasIpv6: boolean
}

/** In the order in which they must come into force: never a redirect without its zone. */
export const RULE_TABLES: readonly RuleTable[] = ['raw', 'nat']

const DNS_PORT = 53
/** Of what applications and byname say to each other. Not 1: that is Istio's for its agent's own queries. */
const CLIENT_ZONE = 2
const LOOPBACK: RuleMatch = { on: 'outInterface', name: 'lo' }

/** Makes the rules of `options`. */
export function planCapture(options: CaptureOptions): CapturePlan {
  const { hasIpv6 } = options
  const rules = [...rawRules(options), ...natRules(options)]
  return { rules: hasIpv6 ? rules : rules.filter(({ family }) => family !== 6), hasIpv6 }
}

function rawRules(options: CaptureOptions): CaptureRule[] {
  const query: RuleMatch = { on: 'destinationPort', protocol: 'udp', port: DNS_PORT }
  const toByname: RuleMatch = { on: 'destinationPort', protocol: 'udp', port: options.port }
  const reply: RuleMatch = { on: 'sourcePort', protocol: 'udp', port: options.port }
  const zone: RuleAction = { do: 'zone', zone: CLIENT_ZONE }
  return [
    ...exempt(options, 'raw', query),
    ...owners(options).map((owner) => rule('raw', null, [query, owner], { do: 'pass' })),
    // On loopback alone: a reply to another machine belongs to a query that came in without a zone, perhaps through NAT.
    ...owners(options).map((owner) => rule('raw', null, [LOOPBACK, reply, owner], zone)),
    // Asked directly, from a port that had a query redirected a moment ago, its reply would be taken for the redirected one's.
    rule('raw', null, [LOOPBACK, toByname], zone),
    ...captured(options).map(({ family, addresses }) => rule('raw', family, [...addresses, query], zone)),
  ]
}

function natRules(options: CaptureOptions): CaptureRule[] {
  const redirect: RuleAction = { do: 'redirect', port: options.port }
  const protocols = ['udp', 'tcp'] as const
  const queries = protocols.map((protocol): RuleMatch => ({ on: 'destinationPort', protocol, port: DNS_PORT }))
  return [
    ...owners(options).map((owner) => rule('nat', null, [owner], { do: 'pass' })),
    ...queries.flatMap((query) => exempt(options, 'nat', query)),
    ...captured(options).flatMap(({ family, addresses }) =>
      queries.map((query) => rule('nat', family, [...addresses, query], redirect)),
    ),
  ]
}

function rule(
  table: RuleTable,
  family: CaptureRule['family'],
  matches: readonly RuleMatch[],
  action: RuleAction,
): CaptureRule {
  return { table, family, matches, action }
}

function owners({ uids, gids }: CaptureOptions): RuleMatch[] {
  return [...uids.map((id): RuleMatch => ({ on: 'uid', id })), ...gids.map((id): RuleMatch => ({ on: 'gid', id }))]
}

function exempt(
  { exemptInterfaces, exemptPrefixes }: CaptureOptions,
  table: RuleTable,
  query: RuleMatch,
): CaptureRule[] {
  return [
    ...exemptInterfaces.map((name) => rule(table, null, [{ on: 'outInterface', name }, query], { do: 'pass' })),
    ...exemptPrefixes.map((prefix) =>
      rule(table, familyOf(prefix), [{ on: 'destination', prefix }, query], { do: 'pass' }),
    ),
  ]
}

/** One entry for all queries, or one for each name server. */
function captured({ nameservers }: CaptureOptions): { family: CaptureRule['family']; addresses: RuleMatch[] }[] {
  if (nameservers === null) return [{ family: null, addresses: [] }]
  return nameservers.map((address) => {
    const family = familyOf(address)
    return { family, addresses: [{ on: 'destination', prefix: `${address}/${family === 4 ? 32 : 128}` }] }
  })
}

function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4
}

/** The rules of one table in the order in which they count; with `family`, those that count for it. */
export function rulesOf(plan: CapturePlan, table: RuleTable, family?: 4 | 6): CaptureRule[] {
  return plan.rules.filter(
    (each) => each.table === table && (family === undefined || each.family === null || each.family === family),
  )
}

/** `UDP to port 53 of 10.0.0.10 is redirected to port 15053`: two rules are the same if this is. */
export function describeRule({ matches, action }: Pick<CaptureRule, 'matches' | 'action'>): string {
  const words = { packets: 'traffic', peer: '', way: '', owner: '' }
  for (const match of matches) {
    if (match.on === 'destinationPort') words.packets = `${match.protocol.toUpperCase()} to port ${match.port}`
    else if (match.on === 'sourcePort') words.packets = `${match.protocol.toUpperCase()} from port ${match.port}`
    else if (match.on === 'destination') words.peer += ` of ${shortPrefix(match.prefix)}`
    else if (match.on === 'outInterface') words.way += ` out through ${match.name}`
    else words.owner += ` by ${match.on} ${match.id}`
  }
  return `${words.packets}${words.peer}${words.way}${words.owner} ${describeAction(action)}`
}

/** A single address without its length. */
function shortPrefix(prefix: string): string {
  return prefix.replace(prefix.includes(':') ? /\/128$/ : /\/32$/, '')
}

function describeAction(action: RuleAction): string {
  if (action.do === 'pass') return 'is left alone'
  return action.do === 'redirect'
    ? `is redirected to port ${action.port}`
    : `is tracked in conntrack zone ${action.zone}`
}
