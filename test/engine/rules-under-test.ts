/** Engines with rules as a configuration has them: files are given as texts. */
import { loadConfig } from '../../src/config/load.ts'
import { buildEgress, buildRules, listOptions, namesOf } from '../../src/daemon/rule-set.ts'
import { deriveSettings } from '../../src/daemon/engine-settings.ts'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'
import { readNameList } from '../../src/rules/name-list.ts'
import { compileRuleNames } from '../../src/rules/rule-image.ts'
import type { RuleSet } from '../../src/rules/rule-set.ts'

export interface Rules {
  set: RuleSet
  routes: ReturnType<typeof deriveSettings>['settings']['routes']
  servers: ReturnType<typeof deriveSettings>['settings']['servers']
}

/** The rules of a configuration in YAML. `files`: what they read; `search`: the search domains of resolv.conf. */
export function rulesOf(yaml: string, files: Record<string, string> = {}, search: string[] = []): Rules {
  const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml })
  const names = namesOf(config.rules, (rule) =>
    rule.file === undefined ? null : readNameList(files[rule.file]!, listOptions(rule)).list,
  )
  const labels: string[] = []
  const counterOf = (label: string): number => {
    if (!labels.includes(label)) labels.push(label)
    return labels.indexOf(label)
  }
  const { answerClasses, rules } = buildRules(config, names, counterOf)
  const { settings } = deriveSettings(config, parseResolvConf('nameserver 192.0.2.53'), [])
  return {
    set: { rules, image: compileRuleNames(names, 7), answerClasses, egress: buildEgress(config, search, counterOf) },
    routes: settings.routes,
    servers: settings.servers,
  }
}
