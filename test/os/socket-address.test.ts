import { expect, test } from 'vitest'
import { addressBytes } from '../../src/dns/address.ts'
import { isWildcard, socketAddress } from '../../src/os/socket-address.ts'

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

test.each([
  ['192.0.2.1', 'c0000201'],
  ['::ffff:192.0.2.1', 'c0000201'],
  ['::192.0.2.1', '000000000000000000000000c0000201'],
  ['64:ff9b::192.0.2.1', '0064ff9b0000000000000000c0000201'],
  ['fd00::10%eth0', 'fd000000000000000000000000000010'],
  ['1:2:3:4:5:6:7::', '00010002000300040005000600070000'],
])('the bytes of %s are %s', (address, bytes) => {
  expect(hex(addressBytes(address))).toBe(bytes)
})

test('a socket address has the bytes of an address with dots behind a colon', () => {
  expect(hex(socketAddress('::192.0.2.1', 53).bytes.subarray(8, 24))).toBe('000000000000000000000000c0000201')
})

test.each([
  ['0.0.0.0', true],
  ['::', true],
  ['::0.0.0.0', true],
  ['::1', false],
  ['0.0.0.1', false],
])('%s is every address: %s', (address, wanted) => {
  expect(isWildcard(address)).toBe(wanted)
})
