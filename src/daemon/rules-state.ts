/** The rules in use, as the observer shows them. */
import type { Config } from '../config/schema.ts'
import type { RulesState } from '../observe/sources.ts'
import type { RuleSet } from '../rules/rule-set.ts'
import type { RuleCounters } from './rule-counters.ts'
import type { RuleFiles } from './rule-files.ts'
import type { RuleLog } from './rule-log.ts'
import { actionLabel, EGRESS_LABEL, labelOf, matchesText } from './rule-set.ts'
import { RuleImage } from '../rules/rule-image.ts'

/** What there is to say of the rules of `config`. */
export function rulesState(
  config: Config,
  counters: RuleCounters,
  files: RuleFiles,
  log: RuleLog,
  set: RuleSet | null,
): RulesState {
  const { egress } = config
  const { matches } = counters
  const queriesOf = (rule: string, action: string): number =>
    matches.find((each) => each.rule === rule && each.action === action)?.matches ?? 0
  return {
    names: set === null ? 0 : new RuleImage(set.image).names,
    bytes: set?.image.byteLength ?? 0,
    rules: config.rules.map((rule, index) => {
      const label = labelOf(rule, index)
      const action = actionLabel(rule)
      return {
        rule: label,
        action,
        matches: matchesText(rule),
        fileNames: files.countOf(rule),
        queries: queriesOf(label, action),
      }
    }),
    egress:
      egress.default === 'allow'
        ? null
        : {
            deny: egress.deny,
            isAudit: egress.audit,
            queries: queriesOf(EGRESS_LABEL, egress.audit ? 'audit' : egress.deny),
          },
    recent: log.recent,
  }
}
