import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatAddress, parseAddress } from '../../src/table/address.ts'
import { parseReferenceAddress } from './reference-table.ts'

function parse(text: string): string | null {
  const bytes = Buffer.from(`1${text}1`)
  const out = new Uint8Array(20).fill(0xee)
  const length = parseAddress(bytes, 1, bytes.length - 2, out, 2)
  expect([out[0], out[1], out[18], out[19]]).toEqual([0xee, 0xee, 0xee, 0xee])
  return length === 0 ? null : Buffer.from(out.subarray(2, 2 + length)).toString('hex')
}

const piece = fc.constantFrom(
  '0',
  '1',
  'f',
  'FFFF',
  '00ff',
  '12345',
  ':',
  '::',
  '.',
  '192.0.2.1',
  '255',
  '256',
  '01',
  '%eth0',
  '/8',
  ' ',
  'g',
)

test('whatever is an address to the system is one here, with the same bytes, and nothing else', () => {
  const texts = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
    fc.array(piece, { maxLength: 17 }).map((pieces) => pieces.join(':')),
  )
  fc.assert(
    fc.property(texts, (text) => {
      expect(parse(text), text).toEqual(parseReferenceAddress(text))
    }),
    { numRuns: 20_000 },
  )
})

test.each([
  '10.0.0.400',
  '10.0.0.0/8',
  '1.2.3',
  '1.2.3.4.5',
  '01.2.3.4',
  '1.2.3.4 ',
  '',
  ':',
  ':::',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8::',
  'fe80::1%eth0',
  '::1.2.3',
  'g::',
  '12345::',
])('"%s" is none', (text) => expect(parse(text)).toBeNull())

test('addresses are written as RFC 5952 has them', () => {
  for (const text of [
    '0.0.0.0',
    '255.1.2.3',
    '::',
    '::1',
    '2001:db8::1',
    '1::8',
    '1:0:0:2::3',
    '::ffff:192.0.2.1',
    '2001:db8:0:1:1:1:1:1',
    'a:b:c:d:e:f:1:2',
    '1::',
  ]) {
    const hex = parse(text)!
    expect(formatAddress(Buffer.from(hex, 'hex'), 0, hex.length === 8 ? 4 : 16)).toBe(text)
  }
})
