/** From the rules of the configuration, and the names of their files, to what the engine must know. Pure. */
import { domainToASCII } from 'node:url'
import { classOf, type RuleConfig } from '../config/rules-schema.ts'
import type { Config } from '../config/schema.ts'
import { Ede } from '../dns/constants.ts'
import { nameToWire } from '../dns/name.ts'
import { EntryWriter, type NameList, Covers, Verdict } from '../rules/entries.ts'
import type { ListOptions } from '../rules/list-text.ts'
import { encodeRecords, readRecord, typeCode } from '../rules/record-text.ts'
import type { RuleNames } from '../rules/rule-image.ts'
import { Act, ACTIONS, type AnswerClass, type EgressDenial, type Rule } from '../rules/rule-set.ts'

/** TTL of what rules answer, unless they say otherwise. */
const TTL_SECONDS = 60
const ACTS: Readonly<Record<string, number>> = {
  allow: Act.ALLOW,
  nxdomain: Act.NXDOMAIN,
  nodata: Act.NODATA,
  refuse: Act.REFUSE,
  drop: Act.DROP,
  log: Act.LOG,
}
const REASONS = { blocked: Ede.BLOCKED, censored: Ede.CENSORED, filtered: Ede.FILTERED } as const
/** Label of the counter of names that no rule allows. */
export const EGRESS_LABEL = 'egress'

/** What of rules is not about names. */
export interface BuiltRules {
  rules: Rule[]
  answerClasses: AnswerClass[]
}

/** What a rule does: an Act. */
export function actOf(rule: RuleConfig): number {
  if (rule.action !== undefined) return ACTS[rule.action]!
  if (rule.answer !== undefined) return Act.ANSWER
  if (rule.rewrite !== undefined) return Act.REWRITE
  if (rule.route !== undefined) return Act.ROUTE
  return classOf(rule) === '' || (rule.file !== undefined && !hasBounds(rule)) ? Act.ZONE : Act.TTL
}

/** Its id, or where it stands. */
export function labelOf(rule: RuleConfig, index: number): string {
  return rule.id ?? `rules[${index}]`
}

/** The `action` label of a rule's metric. */
export function actionLabel(rule: RuleConfig): string {
  return rule.audit === true ? 'audit' : ACTIONS[actOf(rule)]!
}

/** How the file of a rule is read; what differs between rules makes it another reading. */
export function listOptions(rule: RuleConfig): ListOptions {
  return {
    withSubdomains: rule.subdomains === true,
    hasAction: actOf(rule) !== Act.ZONE,
    ttlSeconds: rule.ttlSeconds ?? TTL_SECONDS,
    toAscii: domainToASCII,
  }
}

/** The names that stand in the rule itself. */
function writtenNames(rule: RuleConfig): NameList | null {
  const names = [...(rule.name === undefined ? [] : [rule.name]), ...(rule.names ?? [])]
  if (names.length === 0) return null
  const writer = new EntryWriter()
  for (const each of names) {
    const lead = /^(?:\*?\.)?/.exec(each)![0]
    const wire = nameToWire(each.slice(lead.length).toLowerCase())!
    writer.name.set(wire.subarray(0, -1))
    writer.nameBytes = wire.length - 1
    const own = rule.subdomains === true ? Covers.SELF | Covers.BELOW : Covers.SELF
    writer.add(lead === '' ? own : lead === '.' ? Covers.SELF | Covers.BELOW : Covers.BELOW, Verdict.RULE, 0)
  }
  return writer.finish()
}

/** The names of all rules. `listOf`: those of a rule's file, null where it has none, or nothing was read yet. */
export function namesOf(rules: readonly RuleConfig[], listOf: (rule: RuleConfig) => NameList | null): RuleNames[] {
  return rules.flatMap((rule, index) =>
    [writtenNames(rule), listOf(rule)].flatMap((list) => (list === null ? [] : [{ rule: index, list }])),
  )
}

/** The rules. `names`: what `namesOf` has returned; `counterOf`: the place of a rule's counter. */
export function buildRules(
  config: Config,
  names: readonly RuleNames[],
  counterOf: (label: string, action: string) => number,
): BuiltRules {
  const classes = new Map<string, AnswerClass>()
  const routes = config.upstream.routes.map(({ name }) => name)
  const rules = config.rules.map((rule, index): Rule => {
    const label = labelOf(rule, index)
    const act = actOf(rule)
    const isUpstream = act === Act.ROUTE || act === Act.TTL
    const key = isUpstream ? classOf(rule) : ''
    if (isUpstream && !classes.has(key)) classes.set(key, classFor(rule, routes))
    const records = (rule.answer ?? []).map(readRecord).flatMap((read) => ('value' in read ? [read.value] : []))
    const ttlSeconds = rule.ttlSeconds ?? TTL_SECONDS
    const isDenial = act === Act.ZONE || (act >= Act.NXDOMAIN && act <= Act.DROP)
    return {
      label,
      matches: matchesText(rule),
      file: rule.file ?? '',
      counter: counterOf(label, actionLabel(rule)),
      act,
      isAudit: rule.audit === true,
      hasNames: rule.name !== undefined || rule.names !== undefined || rule.file !== undefined,
      hasExceptions: names.some((each) => each.rule === index && each.list.hasExceptions),
      takesMesh: act !== Act.TTL && (rule.mesh ?? namesExactly(rule)),
      types: (rule.types ?? []).map((type) => typeCode(type)!),
      clients: (rule.clients ?? []).map(({ address, length }) => ({ address, length })),
      ede: isDenial ? REASONS[rule.reason ?? 'blocked'] : Ede.NONE,
      note: noteOf(`rule ${label}`),
      ttlSeconds,
      records: encodeRecords(records, ttlSeconds),
      target: rule.rewrite === undefined ? new Uint8Array(0) : nameToWire(rule.rewrite.replace(/^\./, ''))!,
      keepsLabels: rule.rewrite?.startsWith('.') === true,
      answerClass: isUpstream ? [...classes.keys()].indexOf(key) + 1 : 0,
    }
  })
  return { rules, answerClasses: [...classes.values()] }
}

/** What becomes of names that no rule is about; null: nothing. `search`: domains of resolv.conf. */
export function buildEgress(
  { egress, mesh }: Config,
  search: readonly string[],
  counterOf: (label: string, action: string) => number,
): EgressDenial | null {
  if (egress.default === 'allow') return null
  return {
    isAudit: egress.audit,
    isNodata: egress.deny === 'nodata',
    takesMesh: egress.mesh,
    awaitsTable: mesh.source.kind !== 'none',
    counter: counterOf(EGRESS_LABEL, egress.audit ? 'audit' : egress.deny),
    ede: Ede.BLOCKED,
    note: noteOf('no rule allows it (egress.default)'),
    ttlSeconds: TTL_SECONDS,
    searchDomains: search.flatMap((domain) => nameToWire(domain.toLowerCase()) ?? []),
  }
}

/** For people: what a rule looks at. */
export function matchesText({ clients, file, name, names, types }: RuleConfig): string {
  const parts = [
    ...(name === undefined ? [] : [name]),
    ...(names === undefined ? [] : [names.length > 3 ? `${names.length} names` : names.join(', ')]),
    ...(file === undefined ? [] : [`file ${file}`]),
  ]
  const about = parts.length === 0 ? 'all names' : parts.join(' and ')
  const ofTypes = types === undefined ? '' : `, types ${types.join(' ')}`
  return `${about}${ofTypes}${clients === undefined ? '' : `, clients ${clients.map(({ text }) => text).join(' ')}`}`
}

function hasBounds({ maxTtlSeconds, minTtlSeconds }: RuleConfig): boolean {
  return minTtlSeconds !== undefined || maxTtlSeconds !== undefined
}

/** A rule that names a name itself means it, whoever's it is; a suffix or a list may have a mesh name by chance. */
function namesExactly({ file, name, names, subdomains }: RuleConfig): boolean {
  if (file !== undefined || subdomains === true) return false
  const all = [...(name === undefined ? [] : [name]), ...(names ?? [])]
  return all.length > 0 && all.every((each) => !/^\*?\./.test(each))
}

function classFor(rule: RuleConfig, routes: readonly (string | undefined)[]): AnswerClass {
  const { maxTtlSeconds, minTtlSeconds, route, ttlSeconds } = rule
  return {
    route: route === undefined ? -1 : routes.indexOf(route),
    minTtlSeconds: ttlSeconds ?? minTtlSeconds ?? null,
    maxTtlSeconds: ttlSeconds ?? maxTtlSeconds ?? null,
  }
}

function noteOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
