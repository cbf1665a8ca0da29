/** What `byname check` says of rules: those that nothing reaches, files that cannot be read, and what could break the mesh. */
import { MAX_FILE_BYTES, readBoundedFile } from '../base/bounded-file.ts'
import type { RuleConfig } from '../config/rules-schema.ts'
import type { Config } from '../config/schema.ts'
import { nameToText, nameToWire, ScannedName, scanName } from '../dns/name.ts'
import { unreachableRules } from '../rules/coverage.ts'
import type { NameList } from '../rules/entries.ts'
import { readNameList } from '../rules/name-list.ts'
import { compileRuleNames, RuleImage, tooManyNames } from '../rules/rule-image.ts'
import { Act, ACTIONS, type Rule } from '../rules/rule-set.ts'
import { actOf, buildRules, labelOf, listOptions, matchesText, namesOf } from './rule-set.ts'
import type { Finding } from './start-check.ts'

/** Mesh names that one rule is warned of by name. */
const MOST_SHOWN = 3
/** What a rule may do to a name of the mesh without taking it from the application. */
const HARMLESS: ReadonlySet<number> = new Set([Act.ALLOW, Act.LOG, Act.TTL])

/** What the examination found. */
export interface RulesExamination {
  warnings: Finding[]
  /** Names of all rules, those of files included. */
  names: number
}

/** Reads the files of all rules and looks at the rules together. `meshNames`: full names of hosts, as far as they are known. */
export function examineRules(config: Config, meshNames: readonly string[]): RulesExamination {
  const warnings: Finding[] = []
  const lists = new Map<RuleConfig, NameList>()
  config.rules.forEach((rule, index) => {
    const list = readFile(rule, (text) =>
      warnings.push({ path: ['rules', index, 'file'], message: `${rule.file} ${text}` }),
    )
    if (list !== null) lists.set(rule, list)
  })
  let names = namesOf(config.rules, (rule) => lists.get(rule) ?? null)
  const overflow = tooManyNames(names)
  if (overflow !== null) {
    warnings.push({ path: ['rules'], message: `${overflow}: those of files are left out` })
    names = namesOf(config.rules, () => null)
  }
  const image = compileRuleNames(names, 0)
  const { rules } = buildRules(config, names, () => 0)
  const hosts = new Set(meshNames.map((host) => host.toLowerCase()))
  const meansMesh = (place: number): boolean => {
    const { mesh, name = '', names: more = [] } = config.rules[place]!
    return mesh === true || (mesh !== false && [name, ...more].some((each) => hosts.has(each)))
  }
  for (const { by, rule } of unreachableRules(rules, names, image, meansMesh)) {
    const earlier = config.rules[by]!
    warnings.push({
      path: ['rules', rule],
      message: `is never reached: ${labelOf(earlier, by)} (${matchesText(earlier)}) comes first and takes all that it is about; put it before that rule, or remove it`,
    })
  }
  warnings.push(...meshWarnings(rules, new RuleImage(image), meshNames), ...egressWarnings(config))
  config.rules.forEach((rule, index) => {
    const types = rule.types ?? []
    const isSplit = types.includes('A') !== types.includes('AAAA')
    if (isSplit && (actOf(rule) === Act.REWRITE || actOf(rule) === Act.NXDOMAIN)) {
      warnings.push({
        path: ['rules', index, 'types'],
        message: `has one of A and AAAA: clients ask for both, and ${actOf(rule) === Act.NXDOMAIN ? 'NXDOMAIN for one says that the name has neither (write nodata)' : 'would get addresses of two names'}`,
      })
    }
  })
  return { warnings, names: new RuleImage(image).names }
}

/** The names of a rule's file; null if it has none, or it cannot be read. */
function readFile(rule: RuleConfig, warn: (text: string) => void): NameList | null {
  if (rule.file === undefined) return null
  const read = readBoundedFile(rule.file, MAX_FILE_BYTES.nameList)
  if ('problem' in read) {
    warn(read.problem.code === 'ENOENT' ? 'does not exist (yet)' : read.problem.reason)
    return null
  }
  if (read.bytes.includes(0)) {
    warn('holds NUL bytes, so it is no text; replace it')
    return null
  }
  const { list, problem } = readNameList(new TextDecoder().decode(read.bytes), listOptions(rule))
  if (problem !== null) warn(`has a problem: ${problem}`)
  else if (list.count === 0) warn('names nothing: the rule matches no query')
  if (list.skipped > 0)
    warn(`has ${list.skipped} lines that say nothing to DNS (parts of pages, other triggers); they are skipped`)
  return list
}

/** Rules that take names of the mesh away from it. */
function meshWarnings(rules: readonly Rule[], image: RuleImage, meshNames: readonly string[]): Finding[] {
  const scanned = new ScannedName()
  const exceptions = Uint8Array.from(rules, ({ hasExceptions }) => (hasExceptions ? 1 : 0))
  const taken = new Map<number, string[]>()
  for (const text of meshNames) {
    const wire = nameToWire(text.replace(/^\*\./, ''))
    if (wire === null || scanName(wire, 0, wire.length, 0, scanned) < 0) continue
    image.prepare(scanned)
    for (let from = 0; image.find(scanned, from, exceptions); from = image.rule + 1) {
      const place = image.rule
      const rule = rules[place]!
      if (!rule.takesMesh || rule.isAudit || HARMLESS.has(rule.act)) continue
      const hosts = taken.get(place) ?? []
      hosts.push(nameToText(wire).replace(/\.$/, ''))
      taken.set(place, hosts)
    }
  }
  return [...taken].map(([place, hosts]) => {
    const more = hosts.length > MOST_SHOWN ? ` and ${hosts.length - MOST_SHOWN} more` : ''
    return {
      path: ['rules', place],
      message: `takes names of the mesh: ${hosts.slice(0, MOST_SHOWN).join(', ')}${more} get ${ACTIONS[rules[place]!.act]} instead of their addresses; write mesh: false if that is not meant`,
    }
  })
}

function egressWarnings({ egress, rules }: Config): Finding[] {
  if (egress.default === 'allow') {
    return egress.audit ? [{ path: ['egress', 'audit'], message: 'says nothing without default: deny' }] : []
  }
  const isAllowing = rules.some((rule) => actOf(rule) !== Act.LOG && rule.audit !== true)
  if (isAllowing) return []
  const message = 'denies every name outside the mesh: no rule allows one; add rules with action: allow'
  return [{ path: ['egress', 'default'], message }]
}
