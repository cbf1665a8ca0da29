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
