import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { LineCounter, parseAllDocuments, stringify } from 'yaml'
import { readYaml } from '../../src/yaml/plain-yaml.ts'

/** The values of each document, or its first problem. */
function read(text: string): unknown[] {
  return readYaml(text).map(({ values, problems }) => problems[0]?.message ?? values)
}

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
      const ours = readYaml(text)
      for (const { message } of ours.flatMap(({ problems }) => problems)) expect(message).toMatch(/^.{3,200}$/)
      if (ours.some(({ problems }) => problems.length > 0)) return
      const theirs = parseAllDocuments(text, { logLevel: 'error' })
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
  expect(document!.problems).toEqual([{ message: 'Map keys must be unique', offset: 10 }])
  expect(lines.linePos(10)).toEqual({ line: 3, col: 1 })
})

test.each([
  ['an alias without an anchor', '*a', 'alias *a has no anchor before it'],
  ['an anchor that comes later', '[*a, &a x]', 'alias *a has no anchor before it'],
  ['a list that contains itself', '&a [*a]', 'alias *a stands in the value that it means'],
  ['a map that contains itself', 'a: &a { b: { c: *a } }', 'alias *a stands in the value that it means'],
  ['a key that comes twice', '{ a: 1, "a": 2 }', 'Map keys must be unique'],
  ['a list for a key', '? [a]\n: 1', 'a key must be a text'],
  ['an alias for a key', '- &a x\n- { *a : 1 }', 'a key must be a text'],
  ['keys in keys in keys', '? '.repeat(400), 'a key must be a text'],
  ['brackets without end', '['.repeat(5000), 'is nested too deeply'],
  ['lines that go ever deeper', '- '.repeat(50_000), 'is nested too deeply'],
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
