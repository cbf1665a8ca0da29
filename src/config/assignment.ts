import { quote } from './address.ts'
import { ConfigError } from './config-error.ts'
import { readValue } from './environment.ts'
import type { Setting } from './layer.ts'
import { configSchema } from './schema.ts'
import { leavesOf } from './schema-keys.ts'
import { nearestOf } from './spelling.ts'

/**
 * Reads texts such as `mesh.ttlSeconds=30s`, with values as in the environment. `from`: what problems call them.
 * @throws ConfigError for what is no setting
 */
export function parseAssignments(texts: readonly string[], from: string): Setting[] {
  if (texts.length === 0) return []
  const leaves = new Map(leavesOf(configSchema).map((leaf) => [leaf.path.join('.'), leaf]))
  const problems: string[] = []
  const settings = texts.flatMap((text): Setting[] => {
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? []
    const leaf = leaves.get(key.trim())
    if (leaf !== undefined) return [{ path: leaf.path, value: readValue(value, leaf.kind), from }]
    const near = nearestOf(key.trim(), [...leaves.keys()])
    problems.push(
      key === ''
        ? `${from}: ${quote(text)} sets nothing; write KEY=VALUE such as mesh.ttlSeconds=30s`
        : `${from}: ${quote(key)}: unknown key${near === null ? '; byname run --help lists them' : ` (did you mean ${near}?)`}`,
    )
    return []
  })
  if (problems.length > 0) throw new ConfigError(problems)
  return settings
}
