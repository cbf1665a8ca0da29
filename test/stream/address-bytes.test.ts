import { expect, it } from 'vitest'
import { addressBytes, isLoopbackText } from '../../src/stream/clients/address-bytes.ts'

it.each([
  ['127.0.0.1', '7f000001'],
  ['::ffff:10.1.2.3', '0a010203'],
  ['::ffff:a01:203', '0a010203'],
  ['::', '00000000000000000000000000000000'],
  ['::1', '00000000000000000000000000000001'],
  ['fe80::1%eth0', 'fe800000000000000000000000000001'],
  ['2001:db8:1::', '20010db8000100000000000000000000'],
  ['2001:db8::1:2:3', '20010db8000000000000000100020003'],
  ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
])('reads %s', (text, hex) => {
  expect(Buffer.from(addressBytes(text)!).toString('hex')).toBe(hex)
})

it.each(['', 'localhost', '1.2.3', '1::2::3', '10.0.0.256'])('refuses %j', (text) => {
  expect(addressBytes(text)).toBeNull()
})

it.each<[string | undefined, boolean]>([
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
