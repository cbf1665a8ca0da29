import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseHostsFile } from '../../src/config/hosts-file.ts'

const addresses = (text: string): Record<string, string[]> => Object.fromEntries(parseHostsFile(text).addresses)
const names = (text: string): Record<string, string> => Object.fromEntries(parseHostsFile(text).names)

test.each<[what: string, text: string, expected: Record<string, string[]>]>([
  ['names and aliases', '10.0.0.1 db db.corp\n', { db: ['10.0.0.1'], 'db.corp': ['10.0.0.1'] }],
  [
    'both families and several lines',
    '10.0.0.1 db\nfd00::1\tdb\n10.0.0.2 db\n10.0.0.1 db',
    { db: ['10.0.0.1', 'fd00::1', '10.0.0.2'] },
  ],
  ['case and trailing dots', 'FD00::A Db.Corp.', { 'db.corp': ['fd00::a'] }],
  ['comments', '# 10.0.0.1 a\n10.0.0.2 b # c\n10.0.0.3 d#e\n', { b: ['10.0.0.2'], d: ['10.0.0.3'] }],
  ['Windows line ends and a BOM', '\uFEFF10.0.0.1 a\r\n10.0.0.2 b\r', { a: ['10.0.0.1'], b: ['10.0.0.2'] }],
  ['lines that mean nothing', 'a b\n10.0.0.1\n10.0.0 c\nfe80::1%lo0 d\n10.0.0.1 e! -f g..h\n\n', {}],
])('reads %s', (_, text, expected) => {
  expect(addresses(text)).toEqual(expected)
})

test('the first name of an address is what it is called', () => {
  expect(names('10.0.0.1 db.corp db\n10.0.0.1 other\n::1 ip6-localhost')).toEqual({
    '10.0.0.1': 'db.corp',
    '::1': 'ip6-localhost',
  })
})

test('any text is read without throwing', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => parseHostsFile(`10.0.0.1 a\n${text}`).names.size > 0))
})

test('a name of 254 characters is none: no message could carry it', () => {
  const name = [63, 63, 63, 61].map((length) => 'a'.repeat(length)).join('.')
  expect(addresses(`10.0.0.1 ${name}a ${name} ${name}a.`)).toEqual({ [name]: ['10.0.0.1'] })
})

test('white space of Unicode alone parts nothing', () => {
  expect(addresses('10.0.0.1 a\u2000b c\n10.0.0.2\u00A0d\n\v10.0.0.3\fe\t')).toEqual({
    c: ['10.0.0.1'],
    e: ['10.0.0.3'],
  })
})

test('a name with two dots at its end is none', () => {
  expect(addresses('10.0.0.1 a.. b. .c')).toEqual({ b: ['10.0.0.1'] })
})

test('a comment goes to the end of its line, whatever is in it', () => {
  expect(addresses('# ours\u2028 10.0.0.1 db\n10.0.0.2 a # \u2029 b')).toEqual({ a: ['10.0.0.2'] })
})

test('a hundred thousand addresses of one name are read in their own time', () => {
  const lines = Array.from({ length: 100_000 }, (_, k) => `10.${k >> 16}.${(k >> 8) & 255}.${k & 255} one`)
  const before = process.cpuUsage()
  expect(addresses(lines.join('\n'))['one']).toHaveLength(100_000)
  // The square of it took half a minute.
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(8000)
})

test('beyond the names that are kept, a new one is no address’s name either, and a known one gets further addresses', () => {
  const lines = Array.from({ length: 100_001 }, (_, k) => `10.${k >> 16}.${(k >> 8) & 255}.${k & 255} n${k}`)
  const { addresses: forward, names: reverse } = parseHostsFile([...lines, 'fd00::1 n100000 n7'].join('\n'))
  expect([forward.size, reverse.size]).toEqual([100_000, 100_001])
  expect([forward.get('n7'), reverse.get('fd00::1')]).toEqual([['10.0.0.7', 'fd00::1'], 'n7'])
})
