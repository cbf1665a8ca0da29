import { spawnSync } from 'node:child_process'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quoteShell, readClusterEnv } from '../../src/istio/cluster-env.ts'

describe('cluster.env is read as a shell reads it', () => {
  const cases: [what: string, text: string, variables: Record<string, string>][] = [
    ['quoted, as Istio writes it', "A='x y'\nB=''\n", { A: 'x y', B: '' }],
    ['a quote within', `A='it'"'"'s'\n`, { A: "it's" }],
    ['a dollar within single quotes', "A='$HOME'\n", { A: '$HOME' }],
    ['without quotes', 'A=b-c_d.e/f:g,h@i%j+k\n', { A: 'b-c_d.e/f:g,h@i%j+k' }],
    ['double quotes', 'A="a b"\n', { A: 'a b' }],
    ['escapes within double quotes', String.raw`A="a \"b\" \$c \\ \d"` + '\n', { A: String.raw`a "b" $c \ \d` }],
    ['a backslash', String.raw`A=a\ b\'c` + '\n', { A: "a b'c" }],
    ['export', "export A='1'\n  export\tB=2\n", { A: '1', B: '2' }],
    ['comments', "# one\nA='1' # two\n  # three\nB=a#b\n", { A: '1', B: 'a#b' }],
    ['empty lines, spaces, no line end', "\n  \n\tA='1'  ", { A: '1' }],
    ['Windows line ends', "A='1'\r\nB=2\r\n", { A: '1', B: '2' }],
    ['a byte order mark', "\ufeffA='1'\n", { A: '1' }],
    ['a value over two lines', "A='1\n2'\nB=3\n", { A: '1\n2', B: '3' }],
    ['a line that goes on', 'A=a\\\nb\nC="c\\\nd"\n', { A: 'ab', C: 'cd' }],
    ['a backslash at the end', 'A=a\\', { A: 'a' }],
    ['a backslash that escapes nothing', String.raw`A="a\n"` + '\n', { A: String.raw`a\n` }],
    ['the last of several', "A='1'\nA='2'\n", { A: '2' }],
    ['JSON', `A='{"app":"pay"}'\n`, { A: '{"app":"pay"}' }],
    ['nothing', '', {}],
    ['__proto__', "__proto__='1'\n", Object.fromEntries([['__proto__', '1']])],
  ]
  test.each(cases)('%s', (_, text, variables) => {
    expect(readClusterEnv(text, 'f')).toEqual({ variables, problems: [] })
  })
})

test.each([
  ["A='1\nB=2\n", "f:1: A: the quote ' is never closed"],
  ['A="1\n', 'f:1: A: the quote " is never closed'],
  ['X=1\nA=b c\n', 'f:2: A: more follows after the value; put a value with spaces into single quotes'],
  ['A=$HOME\n', 'f:1: A: $ would be replaced by a shell, which byname is not; put the value into single quotes'],
  ['A="$HOME"\n', 'f:1: A: $ within "…" would be replaced by a shell, which byname is not; use single quotes'],
  ['A=`id`\n', 'f:1: A: ` would be replaced by a shell, which byname is not; put the value into single quotes'],
  ['A=1;B=2\n', 'f:1: A: ; has a meaning in a shell; put the value into single quotes'],
  ['\n\nhello\n', "f:3: is no assignment; write NAME='value'"],
  ['A-B=1\n', "f:1: is no assignment; write NAME='value'"],
  ['1A=1\n', "f:1: is no assignment; write NAME='value'"],
  ['A = 1\n', "f:1: is no assignment; write NAME='value'"],
])('%j is one line with the place and the remedy, and nothing of the file is used', (text, problem) => {
  expect(readClusterEnv(text, 'f')).toEqual({ variables: {}, problems: [problem] })
})

test('each line of a file with several faults is told with its own place, and a good one between them is none', () => {
  const text = "hello\nA='1'\nB=$x\n\n# fine\nC=a b\nD='2'\nworld\n"
  expect(readClusterEnv(text, 'f').problems).toEqual([
    "f:1: is no assignment; write NAME='value'",
    expect.stringMatching(/^f:3: B: \$ would be replaced/),
    expect.stringMatching(/^f:6: C: more follows/),
    "f:8: is no assignment; write NAME='value'",
  ])
})

test('what is quoted reads back, here and in a real shell', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from('a\'"\\$`#= \n\té€😀')), maxLength: 40 }), (text) => {
      const value = text.replaceAll('\0', '')
      expect(readClusterEnv(`A=${quoteShell(value)}\n`, 'f').variables).toEqual({ A: value })
    }),
  )
  const value = `a 'b' "c" $d \`e\` \\f\n#g`
  const { stdout } = spawnSync('sh', ['-c', `A=${quoteShell(value)}; printf %s "$A"`], { encoding: 'utf8' })
  expect(stdout).toBe(value)
})

test('any text gives variables or problems, at most ten', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from('A=\'"\\$#\n \t;é1')), maxLength: 60 }), (text) => {
      const { variables, problems } = readClusterEnv(text, 'f')
      expect(problems.length).toBeLessThanOrEqual(10)
      if (problems.length > 0) expect(variables).toEqual({})
    }),
  )
})
