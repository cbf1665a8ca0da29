import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineCounter, parseAllDocuments, stringify } from 'yaml'
import { readYaml } from '../../src/yaml/plain-yaml.ts'
import type { YamlDialect } from '../../src/yaml/scalar.ts'

/** The values of each document, or its first problem. */
function read(text: string, dialect: YamlDialect = 'core'): unknown[] {
  return [...readYaml(text, undefined, dialect)].map(({ values, problems }) => problems[0]?.message ?? values)
}

/** Recorded from sigs.k8s.io/yaml 1.4 (YAMLToJSONStrict): a text, and its value or that it is refused. */
const goReadings = readFileSync(new URL('go-yaml-readings.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line): [string, { value: unknown } | { refused: true }] => JSON.parse(line))

test('documents are plain values; an empty one is null', () => {
  expect(read('a: [1, two, true, ~]\n---\n---\nb: {c: "d"}')).toEqual([
    { a: [1, 'two', true, null] },
    null,
    { b: { c: 'd' } },
  ])
  expect(read('')).toEqual([])
})

test('what is written comes back', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(read(stringify(value))).toEqual([value])
    }),
  )
})

test('any text gives what the library gives, or a problem in one line', () => {
  const piece = fc.constantFrom(
    'a',
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '&a ',
    '*a',
    '"',
    "'",
    '#',
    '|',
    '1',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const text = pieces.join('')
      const ours = [...readYaml(text)]
      for (const { message } of ours.flatMap(({ problems }) => problems)) expect(message).toMatch(/^.{3,200}$/)
      if (ours.some(({ problems }) => problems.length > 0)) return
      const theirs = parseAllDocuments(text, { logLevel: 'error' })
      // Ours lets the lines of a list in brackets stand further to the left.
      if (!('empty' in theirs) && theirs.some(({ errors }) => errors.length > 0)) return
      expect(ours.map(({ values }) => values)).toEqual(
        'empty' in theirs ? [] : theirs.map((document) => document.toJS() ?? null),
      )
    }),
    { numRuns: 300 },
  )
})

test('problems have their place', () => {
  const lines = new LineCounter()
  const [document] = readYaml('a: 1\nb: 2\na: 3\n', lines)
  expect(document!.problems).toEqual([{ message: 'key "a" occurs twice in one mapping', offset: 10 }])
  expect(lines.linePos(10)).toEqual({ line: 3, col: 1 })
})

const tooDeep = 'is nested more than 200 levels deep'

test.each([
  ['an alias without an anchor', '*a', 'alias *a has no anchor before it'],
  ['an anchor that comes later', '[*a, &a x]', 'alias *a has no anchor before it'],
  ['a list that contains itself', '&a [*a]', 'alias *a stands in the value that it means'],
  ['a map that contains itself', 'a: &a { b: { c: *a } }', 'alias *a stands in the value that it means'],
  ['a key that comes twice', '{ a: 1, "a": 2 }', 'key "a" occurs twice in one mapping'],
  ['a list for a key', '? [a]\n: 1', 'a key must be a text'],
  ['an alias for a key', '- &a x\n- { *a : 1 }', 'a key must be a text'],
  ['keys in keys', '? ? a', 'a key must be a text'],
  ['keys in keys in keys', '? '.repeat(400), tooDeep],
  ['brackets without end', '['.repeat(5000), tooDeep],
  ['braces without end', '{a: '.repeat(100_000), tooDeep],
  ['brackets in a value', `a: ${'['.repeat(300)}${']'.repeat(300)}`, tooDeep],
  ['lines that go ever deeper', '- '.repeat(50_000), tooDeep],
  ['maps that go ever deeper', Array.from({ length: 300 }, (_, k) => `${' '.repeat(k)}a:\n`).join(''), tooDeep],
  [
    'more aliases than anybody writes',
    `[&a x, ${'*a, '.repeat(1001)}]`,
    'more than 1000 aliases: write the values out',
  ],
])('%s is refused', (_, text, message) => {
  expect(read(text)).toEqual([message])
})

test('aliases that make a small text a large value are refused', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x, x]']
  for (let k = 1; k < 9; k++) {
    const [before, name] = [k - 1, k].map((n) => String.fromCharCode(97 + n))
    lines.push(`${name}: &${name} [${Array.from({ length: 10 }, () => `*${before}`).join(', ')}]`)
  }
  expect(read(lines.join('\n'))).toEqual([expect.stringMatching(/^aliases make more than 1000000 values of it/)])
})

test('an anchor that is set anew means the last one', () => {
  expect(read('[&a 1, *a, &a 2, *a]')).toEqual([[1, 1, 2, 2]])
})

test('two hundred levels are read, lists in maps in lists', () => {
  const text = '{a: ['.repeat(98) + ']}'.repeat(98)
  expect(read(text)).toEqual([JSON.parse(text.replaceAll('a', '"a"'))])
})

test('a problem far down a long text has its line, and the documents before it are read', () => {
  const lines = new LineCounter()
  const text = `a: 1\n---\n${'# comment\n'.repeat(1000)}b: ${'['.repeat(300)}`
  const [first, second, ...more] = readYaml(text, lines)
  expect(first).toMatchObject({ values: { a: 1 }, problems: [] })
  expect(second).toMatchObject({ values: null, problems: [{ message: tooDeep }] })
  expect(lines.linePos(second!.problems[0]!.offset).line).toBe(1003)
  expect(more).toEqual([])
})

test('a document of a million keys is refused before it takes gigabytes; many small ones are read', () => {
  const keys = Array.from({ length: 1_000_000 }, (_, k) => `k${k}: 1\n`).join('')
  expect(read(keys)).toEqual(['is too large for one document: split it'])
  let documents = 0
  for (const { problems } of readYaml('a: 1\n---\n'.repeat(20_000))) documents += problems.length === 0 ? 1 : 0
  expect(documents).toBe(20_001)
})

describe('as kubectl and istiod read it (go-yaml)', () => {
  test.each(goReadings)('%j', (text, wanted) => {
    const [document] = readYaml(text, undefined, 'kubernetes')
    if ('refused' in wanted) expect(document!.problems).not.toEqual([])
    else expect(document?.values ?? null).toEqual(wanted.value)
  })

  // Where go-yaml refuses a text, or keeps silent about a mistake, for no reason that helps anybody.
  test.each<[string, unknown]>([
    ['a: &x {b: 1, c: 3}\nd:\n  <<: *x\n  b: 2\n', { a: { b: 1, c: 3 }, d: { b: 2, c: 3 } }],
    ['a: &x {b: 1, c: 3}\nd:\n  b: 2\n  <<: *x\n', { a: { b: 1, c: 3 }, d: { b: 2, c: 3 } }],
    ['x: [&a {k: 1}, &b {k: 2, j: 3}]\nm: {<<: [*a, *b]}\n', { x: [{ k: 1 }, { k: 2, j: 3 }], m: { k: 1, j: 3 } }],
    ['%YAML 1.2\n---\na: yes\n', { a: true }],
    ['[::1, ::, ::/0]', ['::1', '::', '::/0']],
    ['{"a": "\\/", "b": "\\ud83d\\ude00"}', { a: '/', b: '😀' }],
    ['{1: a, "1": b}', 'key "1" occurs twice in one mapping'],
  ])('and beyond: %j', (text, wanted) => {
    expect(read(text, 'kubernetes')).toEqual([wanted])
  })

  test('merged maps count as often as they are named', () => {
    const keys = Array.from({ length: 2000 }, (_, k) => `k${k}: 1`).join(', ')
    const text = `a: &a {${keys}}\nb: [${'{<<: *a}, '.repeat(600)}]`
    expect(read(text, 'kubernetes')).toEqual([expect.stringMatching(/^aliases make more than 1000000 values/)])
  })
})

test('configuration is YAML 1.2: yes is a text, 0123 a decimal number, << a key', () => {
  expect(read('[yes, off, n, 0123, 0o17, 0x1F, 1_000, 1e3, .5, +5, -.inf, 1., 0b1]')).toEqual([
    ['yes', 'off', 'n', 123, 15, 31, '1_000', 1000, 0.5, 5, -Infinity, 1, '0b1'],
  ])
  expect(read('a: {<<: {b: 1}}')).toEqual([{ a: { '<<': { b: 1 } } }])
})

test('no tag makes an object of another kind', () => {
  const text = 'a: !!binary aGVsbG8=\nb: !!set { x }\nc: !!timestamp 2001-12-14\nd: !!omap [x: 1]\n'
  const wanted = { a: 'aGVsbG8=', b: { x: null }, c: '2001-12-14', d: [{ x: 1 }] }
  expect(read(text)).toEqual([wanted])
  expect(read(`%YAML 1.1\n---\n${text}`)).toEqual([wanted])
})

test('keys of the prototype are keys', () => {
  const [document] = readYaml('__proto__: { polluted: 1 }\nconstructor: 2\n')
  expect(Object.keys(document!.values!)).toEqual(['__proto__', 'constructor'])
  expect('polluted' in {}).toBe(false)
})

test('thirty thousand keys and a thousand aliases are read in their own time', () => {
  const keys = Array.from({ length: 30_000 }, (_, k) => `k${k}: 1\n`).join('')
  const aliases = Array.from({ length: 1000 }, (_, k) => `- &a${k} [x]\n- [*a${k}]\n`).join('')
  const before = process.cpuUsage()
  expect(Object.keys(read(keys)[0]!).length).toBe(30_000)
  expect(read(aliases)[0]).toHaveLength(2000)
  // The square of it took over six seconds.
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(4000)
})
