/** What `byname check` says of rules. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { examineRules } from '../../src/daemon/rule-check.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-rules-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Warnings, each with its key. Files are given as texts. */
function warningsOf(yaml: string, files: Record<string, string> = {}, mesh: string[] = []): string[] {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml.replaceAll('DIR', folder) })
  return examineRules(config, mesh).warnings.map(
    ({ path, message }) => `${path.join('.')}: ${message.replaceAll(folder, 'DIR')}`,
  )
}

const ofRules = (...rules: string[]): string => `rules:\n${rules.map((rule) => `  - { ${rule} }\n`).join('')}`
const reached = (place: number, by: string): string =>
  `rules.${place}: is never reached: ${by} comes first and takes all that it is about; put it before that rule, or remove it`

describe('rules that nothing reaches', () => {
  test.each<[string, string[], number]>([
    ['the same name', ['name: a.example, action: nxdomain', 'name: a.example, action: nodata'], 1],
    ['a name below a suffix', ['name: .example, action: nxdomain', 'name: x.a.example, action: allow'], 1],
    ['a suffix in a shorter one', ['name: .example, action: allow', 'name: .a.example, action: nxdomain'], 1],
    ['a wildcard in a suffix', ['name: .a.example, action: allow', 'name: "*.a.example", action: nodata'], 1],
    [
      'all of a list',
      ['names: [.a.example, b.example], action: allow', 'names: [b.example, x.a.example], action: nodata'],
      1,
    ],
    [
      'after a rule for all names',
      ['types: [A, AAAA], action: allow', 'name: a.example, types: [A], action: nodata'],
      1,
    ],
    [
      'a narrower network',
      [
        'name: a.example, clients: [10.0.0.0/8], action: allow',
        'name: a.example, clients: [10.1.0.0/16], action: nodata',
      ],
      1,
    ],
    [
      'the second of three',
      ['name: b.example, action: allow', 'name: .example, action: allow', 'name: a.example, action: nodata'],
      2,
    ],
  ])('%s', (_, rules, place) => {
    const warnings = warningsOf(ofRules(...rules))
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain(`rules.${place}: is never reached: rules[${place - 1}]`)
  })

  test.each<[string, string[]]>([
    ['another name', ['name: a.example, action: nxdomain', 'name: b.example, action: nodata']],
    ['a suffix after a name of it', ['name: a.example, action: allow', 'name: .a.example, action: nodata']],
    ['the name itself after a wildcard', ['name: "*.a.example", action: allow', 'name: a.example, action: nodata']],
    ['more types', ['name: a.example, types: [A], action: allow', 'name: a.example, action: nodata']],
    [
      'more clients',
      [
        'name: a.example, clients: [10.1.0.0/16], action: allow',
        'name: a.example, clients: [10.0.0.0/8], action: nodata',
      ],
    ],
    ['after a rule that logs', ['name: .example, action: log', 'name: a.example, action: nodata']],
    ['after one under audit', ['name: .example, action: nxdomain, audit: true', 'name: a.example, action: nodata']],
    ['part of a list', ['name: a.example, action: allow', 'names: [a.example, b.example], action: nodata']],
    [
      'names of the mesh, which the earlier one leaves alone',
      ['name: .example, action: allow', 'name: a.example, mesh: true, action: nodata'],
    ],
  ])('but not %s', (_, rules) => {
    expect(warningsOf(ofRules(...rules))).toEqual([])
  })

  test('files count by their names, exceptions keep a rule from covering another', () => {
    const files = {
      'ads.txt': '.a.example\nb.example\n',
      'few.txt': 'x.a.example\n',
      'block.txt': '||a.example^\n@@||ok.a.example^\n',
    }
    const rules = ofRules('id: ads, file: DIR/ads.txt, action: nxdomain', 'id: few, file: DIR/few.txt, action: nodata')
    expect(warningsOf(rules, files)).toEqual([reached(1, 'ads (file DIR/ads.txt)')])
    const filters = ofRules('file: DIR/block.txt, action: nxdomain', 'file: DIR/few.txt, action: nodata')
    expect(warningsOf(filters, files)).toEqual([])
  })

  test('a rule for a name of the mesh is reached after one that leaves the mesh alone', () => {
    const rules = ofRules('name: .example, action: allow', 'name: pay.example, action: nodata')
    expect(warningsOf(rules)).toHaveLength(1)
    expect(warningsOf(rules, {}, ['pay.example'])).toEqual([
      'rules.1: takes names of the mesh: pay.example get nodata instead of their addresses; write mesh: false if that is not meant',
    ])
  })
})

test.each([
  ['file: DIR/none.txt, action: nxdomain', 'rules.0.file: DIR/none.txt does not exist (yet)'],
  [
    'file: DIR/bad.txt, action: nxdomain',
    'rules.0.file: DIR/bad.txt has a problem: line 2: "no name here" is no name; write a name',
  ],
  [
    'file: DIR/plain.txt',
    'rules.0.file: DIR/plain.txt has a problem: line 1: a name alone says nothing of what becomes of it',
  ],
  ['file: DIR/empty.txt, action: nxdomain', 'rules.0.file: DIR/empty.txt names nothing: the rule matches no query'],
  ['file: DIR/page.txt, action: nxdomain', 'rules.0.file: DIR/page.txt has 2 lines that say nothing to DNS'],
  ['file: DIR/nul.txt, action: nxdomain', 'rules.0.file: DIR/nul.txt holds NUL bytes, so it is no text; replace it'],
  ['file: DIR, action: nxdomain', 'rules.0.file: DIR is a folder; name a regular file'],
  [
    'name: a.example, types: [A], rewrite: b.example',
    'rules.0.types: has one of A and AAAA: clients ask for both, and would get addresses of two names',
  ],
  [
    'name: a.example, types: [AAAA], action: nxdomain',
    'rules.0.types: has one of A and AAAA: clients ask for both, and NXDOMAIN for one says that the name has neither (write nodata)',
  ],
])('%s', (rule, warning) => {
  const files = {
    'bad.txt': 'a.example\nno name here\n',
    'plain.txt': 'a.example\n',
    'empty.txt': '# nothing\n',
    'page.txt': '||a.example^\nx##y\n||b.example/p\n',
    'nul.txt': 'a\0b',
  }
  expect(warningsOf(ofRules(rule), files)[0]).toContain(warning)
})

test.each<[string, string[]]>([
  [
    'egress: { default: deny }',
    ['egress.default: denies every name outside the mesh: no rule allows one; add rules with action: allow'],
  ],
  ['egress: { audit: true }', ['egress.audit: says nothing without default: deny']],
  ['egress: { default: deny }\nrules: [{ name: .a.example, action: allow }]', []],
])('%s', (yaml, warnings) => {
  expect(warningsOf(yaml)).toEqual(warnings)
})

test('mesh names that a rule takes on purpose are named, a few of many', () => {
  const hosts = ['a.mesh.example', 'b.mesh.example', 'c.mesh.example', 'd.mesh.example']
  expect(warningsOf(ofRules('name: .mesh.example, mesh: true, action: nxdomain'), {}, hosts)).toEqual([
    'rules.0: takes names of the mesh: a.mesh.example, b.mesh.example, c.mesh.example and 1 more get nxdomain instead of their addresses; write mesh: false if that is not meant',
  ])
  expect(warningsOf(ofRules('name: .mesh.example, action: nxdomain'), {}, hosts)).toEqual([])
  expect(warningsOf(ofRules('name: a.mesh.example, action: log'), {}, hosts)).toEqual([])
})
