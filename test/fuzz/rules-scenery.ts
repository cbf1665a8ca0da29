/** Rules of an engine that is fuzzed: questions are rewritten to every kind of name, and answered with records of every size. */
import { buildRules, namesOf } from '../../src/daemon/rule-set.ts'
import { loadConfig } from '../../src/config/load.ts'
import { compileRuleNames } from '../../src/rules/rule-image.ts'
import type { RuleSet } from '../../src/rules/rule-set.ts'

const LONG = 'r'.repeat(63)
const ADDRESSES = Array.from({ length: 200 }, (_, k) => `10.7.0.${k}`)
const RULES = [
  { name: '.blocked.example', action: 'nxdomain' },
  { name: 'none.example', action: 'nodata', reason: 'censored' },
  { name: 'no.example', action: 'refuse' },
  { name: 'mesh.example', rewrite: 'web.shop' },
  { name: '.old.example', rewrite: '.example.com' },
  { name: 'crowded.example', rewrite: 'crowd.example' },
  { name: `${LONG}.${LONG}.${LONG}.example`, answer: 'CNAME many.example' },
  { name: 'short.example', answer: `CNAME ${LONG}.${LONG}.${LONG}.example.org` },
  { name: 'here.example', rewrite: 'localhost' },
  { name: 'own.example', answer: [...ADDRESSES, '2001:db8::1', 'TXT "a b" c', 'MX 1 mail.example'] },
  { names: ['example.org', 'www.example.org'], ttlSeconds: 30 },
  { name: 'pay.shop', action: 'nodata' },
  { types: ['TXT'], action: 'log' },
]

/** Names that rules are about. */
export const RULE_NAMES: readonly string[] = [
  'a.blocked.example',
  'none.example',
  'no.example',
  'mesh.example',
  'www.old.example',
  'old.example',
  'crowded.example',
  `${LONG}.${LONG}.${LONG}.example`,
  'short.example',
  'here.example',
  'own.example',
]

/** The same each time. */
export function makeRules(): RuleSet {
  const { config } = loadConfig({ env: {}, flags: [{ path: ['rules'], value: RULES, from: 'the fuzzer' }] })
  const names = namesOf(config.rules, () => null)
  return { ...buildRules(config, names, () => 0), image: compileRuleNames(names, 3), egress: null }
}
