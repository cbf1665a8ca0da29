/**
 * What the redirect is made of, without a word of any program's language: options in, rules out. The writers
 * (iptables.ts, nftables.ts) put the rules into words, the readers get them back, and describeRule says them to people.
 *
 * ```
 *  nat  output      own uid or gid, exempt addresses and interfaces → left alone; UDP and TCP to port 53 → redirected
 *  raw  output      exempt → left alone; own queries → zone 1; own replies → zone 2; other queries → zone 2
 *  raw  prerouting  exempt → left alone; replies of name servers → zone 1
 * ```
 *
 * Conntrack zones: an application and byname may ask one name server from one source port. In one zone the second of them would
 * be taken for the first: it would bypass the redirect, or its reply would go astray (Istio 33469, 46935). So what the
 * application says is tracked in zone 2, and what byname says to name servers in zone 1. Only UDP: over TCP the kernel
 * gives no two connections the same addresses and ports.
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
  | { on: 'inInterface'; name: string }
  /** With its length, also that of a single address: `10.0.0.1/32`. */
  | { on: 'destination'; prefix: string }
  | { on: 'source'; prefix: string }
  | { on: 'destinationPort'; protocol: 'udp' | 'tcp'; port: number }
  | { on: 'sourcePort'; protocol: 'udp' | 'tcp'; port: number }
  | { on: 'uid'; id: number }
  | { on: 'gid'; id: number }

/** What becomes of a packet. */
export type RuleAction = { do: 'pass' } | { do: 'redirect'; port: number } | { do: 'zone'; zone: number }

/** A place of the kernel's that packets come through. */
export interface RulePlace {
  table: 'raw' | 'nat'
  hook: 'output' | 'prerouting'
}

/** One rule. */
export interface CaptureRule extends RulePlace {
  /** Null: of both families. */
  family: 4 | 6 | null
  /** All must hold, in the order of RuleMatch. */
  matches: readonly RuleMatch[]
  action: RuleAction
}

/** Rules in the order in which they count, place by place. */
export interface CapturePlan {
  rules: readonly CaptureRule[]
  hasIpv6: boolean
}

/** Where there are rules, in the order in which they must come into force: never a redirect without its zones. */
export const RULE_PLACES: readonly RulePlace[] = [
  { table: 'raw', hook: 'output' },
  { table: 'raw', hook: 'prerouting' },
  { table: 'nat', hook: 'output' },
]

const DNS_PORT = 53
/** What byname asks name servers. */
const UPSTREAM_ZONE = 1
/** What applications ask byname. */
const CLIENT_ZONE = 2

/** Makes the rules of `options`. */
export function planCapture(options: CaptureOptions): CapturePlan {
  const { hasIpv6 } = options
  const rules = [...rawOutput(options), ...rawPrerouting(options), ...natOutput(options)]
  return { rules: hasIpv6 ? rules : rules.filter(({ family }) => family !== 6), hasIpv6 }
}

function rawOutput(options: CaptureOptions): CaptureRule[] {
  const place: RulePlace = { table: 'raw', hook: 'output' }
  const query: RuleMatch = { on: 'destinationPort', protocol: 'udp', port: DNS_PORT }
  const reply: RuleMatch = { on: 'sourcePort', protocol: 'udp', port: options.port }
  const to = captured(options, 'destination')
  return [
    ...exempt(options, place, 'outInterface', 'destination', query),
    // Only to captured servers: a reply of any other is not known below, and would be nobody's in zone 1.
    ...to.flatMap(({ family, addresses }) =>
      owners(options).map((owner) => rule(place, family, [...addresses, query, owner], zone(UPSTREAM_ZONE))),
    ),
    ...owners(options).map((owner) => rule(place, null, [reply, owner], zone(CLIENT_ZONE))),
    ...to.map(({ family, addresses }) => rule(place, family, [...addresses, query], zone(CLIENT_ZONE))),
  ]
}

function rawPrerouting(options: CaptureOptions): CaptureRule[] {
  const place: RulePlace = { table: 'raw', hook: 'prerouting' }
  const reply: RuleMatch = { on: 'sourcePort', protocol: 'udp', port: DNS_PORT }
  return [
    ...exempt(options, place, 'inInterface', 'source', reply),
    ...captured(options, 'source').map(({ family, addresses }) =>
      rule(place, family, [...addresses, reply], zone(UPSTREAM_ZONE)),
    ),
  ]
}

function natOutput(options: CaptureOptions): CaptureRule[] {
  const place: RulePlace = { table: 'nat', hook: 'output' }
  const redirect: RuleAction = { do: 'redirect', port: options.port }
  const protocols = ['udp', 'tcp'] as const
  const queries = protocols.map((protocol): RuleMatch => ({ on: 'destinationPort', protocol, port: DNS_PORT }))
  return [
    ...owners(options).map((owner) => rule(place, null, [owner], { do: 'pass' })),
    ...queries.flatMap((query) => exempt(options, place, 'outInterface', 'destination', query)),
    ...captured(options, 'destination').flatMap(({ family, addresses }) =>
      queries.map((query) => rule(place, family, [...addresses, query], redirect)),
    ),
  ]
}

function rule(
  place: RulePlace,
  family: CaptureRule['family'],
  matches: readonly RuleMatch[],
  action: RuleAction,
): CaptureRule {
  return { ...place, family, matches, action }
}

function zone(number: number): RuleAction {
  return { do: 'zone', zone: number }
}

function owners({ uids, gids }: CaptureOptions): RuleMatch[] {
  return [...uids.map((id): RuleMatch => ({ on: 'uid', id })), ...gids.map((id): RuleMatch => ({ on: 'gid', id }))]
}

/** Exempt traffic stays in the zone of all other traffic, both ways. */
function exempt(
  options: CaptureOptions,
  place: RulePlace,
  interfaceOn: 'outInterface' | 'inInterface',
  addressOn: 'destination' | 'source',
  packets: RuleMatch,
): CaptureRule[] {
  return [
    ...options.exemptInterfaces.map((name) => rule(place, null, [{ on: interfaceOn, name }, packets], { do: 'pass' })),
    ...options.exemptPrefixes.map((prefix) =>
      rule(place, familyOf(prefix), [{ on: addressOn, prefix }, packets], { do: 'pass' }),
    ),
  ]
}

/** One entry for all queries, or one for each name server. */
function captured(
  { nameservers }: CaptureOptions,
  on: 'destination' | 'source',
): { family: CaptureRule['family']; addresses: RuleMatch[] }[] {
  if (nameservers === null) return [{ family: null, addresses: [] }]
  return nameservers.map((address) => {
    const family = familyOf(address)
    return { family, addresses: [{ on, prefix: `${address}/${family === 4 ? 32 : 128}` }] }
  })
}

function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4
}

/** The rules of one place in the order in which they count; with `family`, those that count for it. */
export function rulesAt(plan: CapturePlan, place: RulePlace, family?: 4 | 6): CaptureRule[] {
  return plan.rules.filter(
    (each) =>
      each.table === place.table &&
      each.hook === place.hook &&
      (family === undefined || each.family === null || each.family === family),
  )
}

/** `UDP to port 53 of 10.0.0.10 is redirected to port 15053`: two rules are the same if this is. */
export function describeRule({ matches, action }: Pick<CaptureRule, 'matches' | 'action'>): string {
  const words = { packets: 'traffic', peer: '', way: '', owner: '' }
  for (const match of matches) {
    if (match.on === 'destinationPort') words.packets = `${match.protocol.toUpperCase()} to port ${match.port}`
    else if (match.on === 'sourcePort') words.packets = `${match.protocol.toUpperCase()} from port ${match.port}`
    else if (match.on === 'destination') words.peer += ` of ${shortPrefix(match.prefix)}`
    else if (match.on === 'source') words.peer += ` of ${shortPrefix(match.prefix)}`
    else if (match.on === 'outInterface') words.way += ` out through ${match.name}`
    else if (match.on === 'inInterface') words.way += ` in through ${match.name}`
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
