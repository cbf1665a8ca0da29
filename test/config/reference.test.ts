import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { referenceHelp, referenceMarkdown, referenceYaml, withConfigDefinition } from '../../src/config/reference.ts'
import { valueAt } from '../../src/config/layer.ts'
import { configSchema } from '../../src/config/schema.ts'
import { leavesOf, partsOf, valuesOf } from '../../src/config/schema-keys.ts'

const KEYS = leavesOf(configSchema).map(({ path }) => path.join('.'))

function committed(path: string): string {
  return readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
}

test('config/byname.yaml, docs/configuration.md and the chart are what the schema says: else run "npm run reference"', () => {
  expect(committed('config/byname.yaml')).toBe(referenceYaml())
  expect(committed('docs/configuration.md')).toBe(referenceMarkdown())
  const chartSchema = committed('config/helm/byname/values.schema.json')
  expect(withConfigDefinition(chartSchema)).toBe(chartSchema)
})

describe('every key', () => {
  test('is in byname.yaml once, with its default where it has one', () => {
    const yaml = referenceYaml()
    const read: Record<string, unknown> = parseYaml(yaml)
    for (const { path, byDefault } of leavesOf(configSchema)) {
      const value = valueAt(read, path)
      const isOptional = path.join('.').startsWith('mesh.source.') || byDefault === undefined
      expect([path.join('.'), value]).toEqual([path.join('.'), isOptional ? undefined : byDefault])
      const indent = '  '.repeat(path.length - 1)
      expect(yaml).toMatch(new RegExp(`^${indent}#?${path.at(-1)}:`, 'm'))
    }
  })

  test('is in the reference and in the help', () => {
    const markdown = referenceMarkdown()
    const help = referenceHelp()
    for (const key of KEYS) {
      expect(markdown.split(`\n| \`${key}\` |`)).toHaveLength(2)
      expect(help.split('\n').filter((line) => line === `  ${key}` || line.startsWith(`  ${key} = `))).toHaveLength(1)
    }
  })

  test('has a sentence, and says in words what it takes', () => {
    for (const part of partsOf(configSchema)) {
      expect(part.notes.about).toMatch(/^["A-Z0-9jr].*\.$/)
      if ('kind' in part) expect(valuesOf(part)).toMatch(/^[a-z]/)
    }
  })
})

test('lines fit a screen', () => {
  const lines = [...referenceYaml().split('\n'), ...referenceHelp().split('\n')]
  expect(lines.filter((line) => line.length > 110)).toEqual([])
})
