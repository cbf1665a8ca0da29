/** `rules` and `egress`: which names get another answer than servers would give, and whether other names get one at all. */
import { domainToASCII } from 'node:url'
import * as z from 'zod/mini'
import { nameToWire } from '../dns/name.ts'
import { readRecord, recordsFault, typeCode } from '../rules/record-text.ts'
import { MOST_ANSWER_CLASSES } from '../rules/rule-set.ts'
import { MAX_RULE_COUNTERS } from '../stats/counters.ts'
import { type Parsed, parsePrefix, quote } from './address.ts'
import { group, setting } from './setting.ts'
import { nearestOf } from './spelling.ts'
import { flag, issueAt, listOf, oneOf, oneOrMore, parsed, quantity, requiredPath, section } from './value-types.ts'

/** Rules at most: each has a counter, and so have some of the configuration before. A file takes millions of names. */
const MAX_RULES: number = MAX_RULE_COUNTERS / 2 - 1
/** Keys that say what becomes of a query; a rule has one of them, or TTLs alone. */
const ACTION_KEYS = ['action', 'answer', 'rewrite', 'route'] as const
const TTL_KEYS = ['ttlSeconds', 'minTtlSeconds', 'maxTtlSeconds'] as const
const NAME_KEYS = ['name', 'names', 'file'] as const
const MAX_TTL_SECONDS = 604_800
/** Names of routes in a message; of more only the number. */
const MOST_LISTED = 20
const ID = /^[\w.:/-]{1,64}$/

/** A name as rules write it: lower case, in ASCII (RFC 5891), without a dot at the end; `.` or `*.` may stand before it. */
function readRuleName(written: string): Parsed<string> {
  const lead = /^(?:\*?\.)?/.exec(written)![0]
  const rest = written.slice(lead.length).replace(/\.$/, '')
  const name = /[^\p{ASCII}]/u.test(rest) ? domainToASCII(rest) : rest.toLowerCase()
  const forms = 'write NAME, .NAME (with all below) or *.NAME (only those below)'
  if (name === '' || nameToWire(name) === null) return { reason: `${quote(written)} is no domain name; ${forms}` }
  if (/[*/:@\s]/.test(name)) return { reason: `${quote(written)} is no domain name; ${forms}` }
  return { value: `${lead}${name}` }
}

const ruleName = parsed(readRuleName, 'a domain name')

/** What rules, and routes for them, are called. */
export const ruleId: z.ZodMiniType<string, string> = parsed<string>(
  (written) =>
    ID.test(written)
      ? { value: written }
      : { reason: `${quote(written)} is no id: write letters, digits and -_.:/, at most 64` },
  'an id of letters and digits',
)

const recordType = parsed<string>((written) => {
  if (typeCode(written) !== null) return { value: written.toUpperCase() }
  const near = nearestOf(written.toUpperCase(), ['A', 'AAAA', 'CNAME', 'HTTPS', 'MX', 'PTR', 'SRV', 'SVCB', 'TXT'])
  return {
    reason: `${quote(written)} is no record type${near === null ? '; write one such as A or TYPE65280' : ` (did you mean ${near}?)`}`,
  }
}, 'a record type')

const recordText = parsed<string>((written) => {
  const read = readRecord(written)
  return 'reason' in read ? read : { value: written }
}, 'a record')

const ttl = quantity('seconds', 0, MAX_TTL_SECONDS)
/** RFC 8914 §4.16 to §4.18. */
const reason = oneOf('blocked', 'censored', 'filtered')

const rule = section({
  id: z.optional(ruleId),
  name: z.optional(ruleName),
  names: z.optional(listOf(ruleName, 'names')),
  file: z.optional(requiredPath),
  subdomains: z.optional(flag),
  types: z.optional(listOf(recordType, 'record types')),
  clients: z.optional(listOf(parsed(parsePrefix, 'a prefix'), 'prefixes')),
  mesh: z.optional(flag),
  action: z.optional(oneOf('allow', 'nxdomain', 'nodata', 'refuse', 'drop', 'log')),
  answer: z.optional(oneOrMore(listOf(recordText, 'records'))),
  rewrite: z.optional(ruleName),
  route: z.optional(ruleId),
  ttlSeconds: z.optional(ttl),
  minTtlSeconds: z.optional(ttl),
  maxTtlSeconds: z.optional(ttl),
  reason: z.optional(reason),
  audit: z.optional(flag),
})

/** A rule as it is written: every key may be missing. */
export type RuleConfig = z.output<typeof rule>

/** `rules`. Whether there is a route of a name is looked at where routes are known, see `routeIssues`. */
export const rulesSetting = setting(
  listOf(rule, 'rules').check(
    z.superRefine((rules, context) => {
      if (rules.length > MAX_RULES) {
        context.addIssue({
          code: 'custom',
          message: `must be at most ${MAX_RULES} rules; give one rule more names, or a file`,
        })
        return
      }
      // What is wrong with a key alone has been said, and the rest may follow from it.
      const broken = new Set(context.issues.map(({ path = [] }) => path[0]))
      const named = new Map<string, number>()
      rules.forEach((each, index) => {
        for (const [key, message] of broken.has(index) ? [] : faultsOf(each))
          context.issues.push(issueAt([index, ...(key === '' ? [] : [key])], message, rules))
        if (each.id === undefined) return
        const first = named.get(each.id)
        if (first === undefined) named.set(each.id, index)
        else
          context.issues.push(issueAt([index, 'id'], `is that of rules[${first}] as well: each needs its own`, rules))
      })
      const classes = new Set(rules.map(classOf).filter((each) => each !== ''))
      if (classes.size > MOST_ANSWER_CLASSES) {
        context.addIssue({
          code: 'custom',
          message: `has more than ${MOST_ANSWER_CLASSES} different routes and TTLs; give several names to one rule`,
        })
      }
    }),
  ),
  [],
  {
    about:
      'What certain names get instead of the answer of servers; the first rule that a query matches decides. Each rule has a name, names or a file of names (or none: all names), types, clients, and an action: allow, nxdomain, nodata, refuse, drop, log, answer, rewrite, route or TTLs. docs/rules.md says all of it.',
    reload: 'live',
  },
)

/** `egress`. */
export const egressSetting = group(
  section({
    default: setting(oneOf('allow', 'deny'), 'allow', {
      about: 'What becomes of names outside the mesh that no rule is about: allow or deny.',
      reload: 'live',
    }),
    audit: setting(flag, false, {
      about: 'Only count and log what default: deny would deny. Begin with true.',
      reload: 'live',
    }),
    deny: setting(oneOf('nxdomain', 'nodata'), 'nxdomain', {
      about: 'How names are denied: nxdomain or nodata. Names below search domains get NXDOMAIN in any case.',
      reload: 'live',
    }),
    mesh: setting(flag, false, {
      about: 'Names of the mesh need a rule as well (with mesh: true). Without, they are always allowed.',
      reload: 'live',
    }),
  }),
  {},
  'Which names outside the mesh may be asked for at all. Rules with action: allow name them.',
)

/** What is wrong with rules' routes. `routes`: names of those that there are; `rules` stands at the root of what is read. */
export function routeIssues(rules: readonly RuleConfig[], routes: readonly string[]): z.core.$ZodRawIssue[] {
  return rules.flatMap(({ route }, index) => {
    if (route === undefined || routes.includes(route)) return []
    const near = nearestOf(route, routes)
    const known = routes.length === 0 ? 'give one of upstream.routes a name' : `there are ${listed(routes)}`
    const hint = near === null ? known : `did you mean ${near}?`
    return [
      issueAt(['rules', index, 'route'], `${quote(route)} is no name of a route in upstream.routes (${hint})`, rules),
    ]
  })
}

function listed(names: readonly string[]): string {
  const more = names.length - MOST_LISTED
  return more > 0 ? `${names.slice(0, MOST_LISTED).join(', ')} and ${more} more` : names.join(', ')
}

/** Equal for rules whose answers are asked for and kept together; '' for those whose answers are not apart from others. */
export function classOf({ action, answer, rewrite, route, ...ttls }: RuleConfig): string {
  if (action !== undefined || answer !== undefined || rewrite !== undefined) return ''
  const bounds = TTL_KEYS.map((key) => ttls[key] ?? '')
  return route === undefined && bounds.every((bound) => bound === '') ? '' : JSON.stringify([route ?? '', ...bounds])
}

/** Problems of one rule: a key of it ('' for the rule itself), and what is wrong. */
function faultsOf(each: RuleConfig): [key: string, message: string][] {
  const faults: [string, string][] = []
  const actions = ACTION_KEYS.filter((key) => each[key] !== undefined)
  const hasTtl = TTL_KEYS.some((key) => each[key] !== undefined)
  if (actions.length > 1) faults.push([actions[1]!, `stands beside ${actions[0]}: a rule does one thing`])
  const isZone = actions.length === 0 && each.file !== undefined
  if (actions.length === 0 && !hasTtl && !isZone) {
    faults.push([
      '',
      'says nothing of what is to happen; add action: nxdomain, answer: ADDRESS, rewrite: NAME, route: NAME or ttlSeconds',
    ])
  }
  if (each.id === 'egress') faults.push(['id', '"egress" stands for what no rule allows; choose another'])
  faults.push(...nameFaults(each), ...answerFaults(each), ...ttlFaults(each, actions, hasTtl))
  if (each.reason !== undefined && !/^(?:nxdomain|nodata|refuse|drop)$/.test(each.action ?? '') && !isZone) {
    faults.push(['reason', 'is for action: nxdomain, nodata, refuse or drop'])
  }
  for (const key of ['names', 'types', 'clients'] as const) {
    if (each[key]?.length === 0)
      faults.push([key, 'must not be empty: that would match nothing; leave it out to match all'])
  }
  return faults
}

function nameFaults(each: RuleConfig): [string, string][] {
  const faults: [string, string][] = []
  const hasNames = NAME_KEYS.some((key) => each[key] !== undefined)
  if (each.subdomains !== undefined && !hasNames) faults.push(['subdomains', 'is for a rule with name, names or file'])
  if (each.rewrite === undefined) return faults
  if (!hasNames) faults.push(['rewrite', 'is for a rule with name, names or file: not all names can be the same one'])
  if (each.rewrite.startsWith('*'))
    faults.push([
      'rewrite',
      `${quote(each.rewrite)} is no name to ask for; write NAME, or .NAME to keep what is before the part that matched`,
    ])
  const all = [...(each.name === undefined ? [] : [each.name]), ...(each.names ?? [])]
  if (each.rewrite.startsWith('.') && all.some((name) => !/^\*?\./.test(name))) {
    faults.push(['rewrite', 'begins with a dot, so names must as well: .NAME or *.NAME'])
  }
  return faults
}

function answerFaults({ answer }: RuleConfig): [string, string][] {
  if (answer === undefined) return []
  const records = answer.map(readRecord).flatMap((read) => ('value' in read ? [read.value] : []))
  const fault = records.length < answer.length ? null : recordsFault(records)
  return fault === null ? [] : [['answer', fault]]
}

function ttlFaults(each: RuleConfig, actions: readonly string[], hasTtl: boolean): [string, string][] {
  const { maxTtlSeconds, mesh, minTtlSeconds, ttlSeconds } = each
  const faults: [string, string][] = []
  const isOfServers = actions.length === 0 || actions[0] === 'route'
  for (const key of ['minTtlSeconds', 'maxTtlSeconds'] as const) {
    if (each[key] === undefined) continue
    if (!isOfServers) faults.push([key, 'is for answers of servers: for a rule without another action, or with route'])
    if (ttlSeconds !== undefined) faults.push([key, 'stands beside ttlSeconds, which leaves no choice'])
  }
  if (minTtlSeconds !== undefined && maxTtlSeconds !== undefined && minTtlSeconds > maxTtlSeconds) {
    faults.push(['minTtlSeconds', `must not be over maxTtlSeconds (${maxTtlSeconds})`])
  }
  if (ttlSeconds !== undefined && /^(?:allow|refuse|drop|log)$/.test(each.action ?? '')) {
    faults.push(['ttlSeconds', `means nothing with action: ${each.action}`])
  }
  if (ttlSeconds !== undefined && each.rewrite !== undefined) {
    faults.push(['ttlSeconds', 'means nothing with rewrite: the answer has the TTL of the other name'])
  }
  const isTtlAlone = actions.length === 0 && hasTtl && each.file === undefined
  if (mesh === true && isTtlAlone)
    faults.push(['mesh', 'means nothing for TTLs: mesh.ttlSeconds is that of mesh names'])
  return faults
}
