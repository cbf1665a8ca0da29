import * as fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { expect, test } from 'vitest'
import {
  addressBytes,
  addressText,
  formatAddress,
  isLoopbackText,
  literalBytes,
  parseAddress,
} from '../../src/dns/address.ts'
import { parseReferenceAddress } from '../table/reference-table.ts'

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

test.each([
  ['127.0.0.1', '7f000001'],
  ['::ffff:10.1.2.3', '0a010203'],
  ['::ffff:a01:203', '0a010203'],
  // IPv4-compatible, not mapped: somebody else.
  ['::192.0.2.1', '000000000000000000000000c0000201'],
  ['::', '00000000000000000000000000000000'],
  ['::1', '00000000000000000000000000000001'],
  ['fe80::1%eth0', 'fe800000000000000000000000000001'],
  ['2001:db8:1::', '20010db8000100000000000000000000'],
  ['2001:db8::1:2:3', '20010db8000000000000000100020003'],
  ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
])('the bytes of %s are those that it stands for', (text, hex) => {
  expect(Buffer.from(addressBytes(text)).toString('hex')).toBe(hex)
})

test.each(['', 'localhost', '1.2.3', '1::2::3', '10.0.0.256', '%eth0', '１.2.3.4', '10.1', '0x7f.0.0.1'])(
  '%j is refused',
  (text) => {
    expect(() => addressBytes(text)).toThrow('is no address')
  },
)

test('bytes, as written and as meant, and text agree with another library', () => {
  // ipaddr.js takes `::192.0.2.1` for a mapped address, so the dotted form is left to the cases above.
  fc.assert(
    fc.property(
      fc.oneof(fc.ipV4(), fc.ipV6()).filter((text) => !/:.*\./.test(text)),
      (text) => {
        const known = ipaddr.parse(text)
        expect([...literalBytes(text)]).toEqual(known.toByteArray())
        expect([...addressBytes(text)]).toEqual(ipaddr.process(text).toByteArray())
        expect(literalBytes(addressText(literalBytes(text)))).toEqual(literalBytes(text))
        expect(ipaddr.parse(addressText(literalBytes(text))).toString()).toBe(known.toString())
      },
    ),
  )
})

test.each<[string | undefined, boolean]>([
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['::ffff:127.0.0.1', true],
  ['::1', true],
  ['128.0.0.1', false],
  ['::', false],
  ['::2', false],
  ['1::1', false],
  ['fe80::1%lo', false],
  ['', false],
  [undefined, false],
])('%s is loopback: %s', (text, wanted) => {
  expect(isLoopbackText(text)).toBe(wanted)
})
