/** Files of names, good and hostile. */
import { domainToASCII } from 'node:url'
import { describe, expect, test } from 'vitest'
import { nameToText } from '../../src/dns/name.ts'
import { Covers, entryBytes, type NameList, Verdict } from '../../src/rules/entries.ts'
import type { ListOptions } from '../../src/rules/list-text.ts'
import { readNameList } from '../../src/rules/name-list.ts'

const OPTIONS: ListOptions = { withSubdomains: false, hasAction: true, ttlSeconds: 60, toAscii: domainToASCII }

/** The entries of a list as people write them, each with its line: `.ads.example 3`, `@*.good.example 4`. */
function entriesOf({ entries }: NameList): string[] {
  const texts: string[] = []
  for (let at = 0; at < entries.length; at += entryBytes(entries, at)) {
    const covers = entries[at]!
    const nameAt = at + 6 + (entries[at + 1] === Verdict.DATA ? 4 : 0) + 1
    const wire = Uint8Array.from([...entries.subarray(nameAt, nameAt + entries[nameAt - 1]!), 0])
    const both = Covers.SELF | Covers.BELOW
    const lead = (covers & both) === both ? '.' : (covers & Covers.BELOW) !== 0 ? '*.' : ''
    const exception = (covers & Covers.EXCEPTION) === 0 ? '' : '@'
    texts.push(`${exception}${lead}${nameToText(wire).replace(/\.$/, '')} ${entries[at + 2]!}`)
  }
  return texts
}

const read = (text: string, options: Partial<ListOptions> = {}): ReturnType<typeof readNameList> =>
  readNameList(text, { ...OPTIONS, ...options })

describe('good lines', () => {
  test.each<[string, string, string[]]>([
    [
      'a name, in small letters, with or without a dot at its end',
      'Ads.Example\nb.example.\n',
      ['ads.example 1', 'b.example 2'],
    ],
    ['suffix and wildcard', '.a.example\n*.b.example', ['.a.example 1', '*.b.example 2']],
    ['comments, white space and empty lines', '# x\n\n \t a.example \t# why\n! y\n', ['a.example 3']],
    [
      'hosts(5), any address, several names',
      '0.0.0.0 a.example b.example # c\n::1\tc.example\nfe80::1%lo d.example',
      ['a.example 1', 'b.example 1', 'c.example 2', 'd.example 3'],
    ],
    ['addresses of hosts files that name themselves', '0.0.0.0 0.0.0.0\n127.0.0.1 localhost', ['localhost 2']],
    [
      'adblock',
      '||a.example^\n||b.example^$important\n@@||c.example^|\n||*.d.example^',
      ['.a.example 1', '.b.example 2', '@.c.example 3', '*.d.example 4'],
    ],
    [
      'underscores and hyphens',
      '_dmarc.a-b.example\nxn--bcher-kva.example',
      ['_dmarc.a-b.example 1', 'xn--bcher-kva.example 2'],
    ],
    [
      'names in other scripts',
      'bücher.example\n*.例え.テスト\n||müller.example^',
      ['xn--bcher-kva.example 1', '*.xn--r8jz45g.xn--zckzah 2', '.xn--mller-kva.example 3'],
    ],
    ['CR LF, CR and LF', 'a.example\r\nb.example\rc.example\n', ['a.example 1', 'b.example 2', 'c.example 3']],
    ['a byte order mark', '\uFEFFa.example', ['a.example 1']],
    [
      'comments that look like filters of pages',
      'a.example # $5, a*b, ^\n0.0.0.0 b.example\t## see #3\n||c.example^ # why\n@@||d.example^ # $x',
      ['a.example 1', 'b.example 2', '.c.example 3', '@.d.example 4'],
    ],
    ['one label, and digits', 'local\n123.example\n1e100.net', ['local 1', '123.example 2', '1e100.net 3']],
    ['the longest label', `${'a'.repeat(63)}.example`, [`${'a'.repeat(63)}.example 1`]],
    ['nothing', '', []],
    ['only comments', '# a\n! b\n[Adblock]\n', []],
  ])('%s', (_, text, entries) => {
    const { list, problem } = read(text)
    expect([entriesOf(list), problem]).toEqual([entries, null])
    expect(list.count).toBe(entries.length)
  })

  test('names stand for all below them if the rule says so', () => {
    expect(entriesOf(read('a.example\n0.0.0.0 b.example\n*.c.example', { withSubdomains: true }).list)).toEqual([
      '.a.example 1',
      '.b.example 2',
      '*.c.example 3',
    ])
  })

  test.each([
    'example.com##.banner',
    'example.com#@#.banner',
    '||a.example/path^',
    '||a.example^$third-party',
    '||a.example',
    '||ads*.example^',
    '/banner\\d+/',
    '@@/ok/',
    '|https://a.example|',
    'a.example/path*x^',
    '@@|x',
  ])('what DNS cannot do is skipped: %s', (line) => {
    const { list, problem } = read(`${line}\nok.example\n`)
    expect([entriesOf(list), problem, list.skipped]).toEqual([['ok.example 2'], null, 1])
  })
})

describe('hostile files', () => {
  test.each<[string, string, string]>([
    ['words', 'ok.example\nnot a name\n', 'line 2: "not a name" is no name; write a name, .NAME'],
    ['a label of 64 bytes', `${'a'.repeat(64)}.example`, 'line 1: "aaaaaaaa'],
    ['a name of 256 bytes', Array.from({ length: 64 }, () => 'abc').join('.'), 'line 1: "abc.abc'],
    ['an empty label', 'a..example', 'line 1: "a..example" is no name'],
    ['only a dot', '.', 'line 1: "." is no name'],
    [
      'an address alone',
      'ok.example\n192.0.2.1',
      'line 2: "192.0.2.1" is an address without a name; write ADDRESS NAME',
    ],
    ['a URL', 'https://a.example/x', 'line 1: "https://a.example/x" is no name'],
    ['control characters', 'a\u0001b.example', 'line 1: "a\\u0001b.example" is no name'],
    ['what was no UTF-8', 'a\uFFFD.example', 'line 1: "a\uFFFD.example" is no name'],
    ['half a pair of UTF-16', 'a\uD800.example', 'line 1: '],
    ['a name of hosts(5) that is none', '0.0.0.0 ok.example bad..example', 'line 1: "bad..example" is no name'],
    ['an adblock filter of a bad name', '||a_b..example^', 'line 1: "a_b..example" is no name; write ||NAME^'],
    ['JSON', '{ "a": 1 }', 'line 1: "{ \\"a\\": 1 }" is no name'],
    ['HTML', '<!DOCTYPE html>\n<html>', 'line 1: "<!DOCTYPE html>" is no name'],
    [
      'a huge line',
      `ok.example\n${'x'.repeat(1_000_000)}\n`,
      'line 2: has more than 4096 characters; is it a list of names?',
    ],
    [
      'a huge line of names',
      Array.from({ length: 100_000 }, () => 'a.example').join(' '),
      'line 1: has more than 4096 characters',
    ],
  ])('%s: the line is named, and the good ones are read', (_, text, problem) => {
    const result = read(`${text}\nlast.example`)
    expect(result.problem).toContain(problem)
    expect(result.problem).not.toContain('\n')
    expect(entriesOf(result.list).at(-1)).toMatch(/^last\.example /)
  })

  test('a name without an action says what is missing', () => {
    expect(read('a.example', { hasAction: false }).problem).toBe(
      'line 1: a name alone says nothing of what becomes of it; give the rule an action, such as action: nxdomain',
    )
  })

  test('more names than there may be are refused', () => {
    const { list, problem } = read('a.example\nb.example\nc.example\nd.example\n', { mostNames: 2 })
    expect(problem).toBe('line 3: these are more than 2 names; split the list, or name the names above them')
    expect(list.count).toBe(3)
  })

  test('a million names are read, in little more than their own bytes', () => {
    const text = Array.from({ length: 1_000_000 }, (_, k) => `host-${k}.tracker-${k % 1000}.example\n`).join('')
    const { list, problem } = read(text)
    expect([list.count, problem]).toEqual([1_000_000, null])
    expect(list.entries.length).toBeLessThan(text.length + 8_000_000)
  })
})

test('long white space costs no more than other characters', () => {
  const line = `0.0.0.0 a.example${' '.repeat(4000)}b.example`
  const { list, problem } = read(`${line}\n`.repeat(5000))
  expect([list.count, problem]).toEqual([10_000, null])
})
