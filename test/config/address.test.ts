import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  isHostName,
  type Parsed,
  parseHostPort,
  parsePrefix,
  parseServer,
  parseSocketAddress,
} from '../../src/config/address.ts'

function ok<T>(result: Parsed<T>): T | string {
  return 'value' in result ? result.value : `refused: ${result.reason}`
}

test.each([
  ['127.0.0.1:53', { address: '127.0.0.1', port: 53, family: 4, text: '127.0.0.1:53' }],
  ['[::1]:0', { address: '::1', port: 0, family: 6, text: '[::1]:0' }],
  [' [fe80::1%eth0]:53 ', { address: 'fe80::1%eth0', port: 53, family: 6, text: '[fe80::1%eth0]:53' }],
])('listen address %j', (text, address) => {
  expect(ok(parseSocketAddress(text))).toEqual(address)
})

test.each(['', '::1', ':53', '[127.0.0.1]:53', '127.0.0.1:65536', '1.2.3:53', '127.0.0.1:5x', '[::1]53', '::1:15053'])(
  'listen address %j is refused',
  (text) => {
    expect(ok(parseSocketAddress(text))).toEqual(expect.stringMatching(/^refused: .*write IP:PORT/))
  },
)

test.each(['istiod', 'istiod:0', 'a b:1', '-a:1', 'a..b:1', ':1'])('control plane %j is refused', (text) => {
  expect(ok(parseHostPort(text))).toEqual(expect.stringMatching(/^refused: .*write HOST:PORT/))
})

describe('servers', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1:53'],
    ['UDP://10.0.0.1:5353', '10.0.0.1:5353'],
    ['fd00::10', '[fd00::10]:53'],
    ['tcp://[fd00::10]', 'tcp://[fd00::10]:53'],
    ['tls://9.9.9.9', 'tls://9.9.9.9:853'],
    ['tls://9.9.9.9:8853#dns.quad9.net', 'tls://9.9.9.9:8853#dns.quad9.net'],
    ['https://1.1.1.1', 'https://1.1.1.1:443/dns-query'],
    ['https://1.1.1.1/q#one.one.one.one', 'https://1.1.1.1:443/q#one.one.one.one'],
  ])('%s is %s, and that label reads as the same server', (text, label) => {
    const server = ok(parseServer(text))
    expect(server).toMatchObject({ label })
    expect(ok(parseServer(label))).toEqual(server)
  })

  test.each([
    ['quic://1.1.1.1', /"quic:\/\/" is no transport/],
    ['1.1.1.1/path', /only https:\/\/ takes a path/],
    ['1.1.1.1#name', /only tls:\/\/ and https:\/\/ take a #NAME/],
    ['tls://1.1.1.1#a b', /is no server/],
    ['tls://1.1.1.1#-', /after # is no host name/],
    ['1.1.1.1:0', /has port 0/],
    ['0.0.0.0', /is nobody's address/],
    ['[::]:53', /is nobody's address/],
    ['0:0::0', /is nobody's address/],
    ['tls://dns.quad9.net', /is a name, .* write tls:\/\/IP#dns.quad9.net/],
    ['', /is empty/],
    ['1.1.1.1 8.8.8.8', /is no server/],
    ['https://me:hunter2@1.1.1.1/q', /^refused: a server takes no user and password(?!.*hunter2)/],
    ['me:hunter2@1.1.1.1', /^refused: a server takes no user and password(?!.*hunter2)/],
    ['tls://me:hunter2 x@1.1.1.1', /^refused: a server takes no user and password(?!.*hunter2)/],
  ])('%j is refused', (text, reason) => {
    expect(ok(parseServer(text))).toEqual(expect.stringMatching(reason))
  })
})

test.each(['10.1', '0x7f.1/8', '10.0.0.0/', '10.0.0.0/-1', 'fe80::1%eth0/64', 'x', '/8', '10.0.0.0/8/8'])(
  'prefix %j is refused',
  (text) => {
    expect(ok(parsePrefix(text))).toEqual(expect.stringMatching(/^refused: .*write CIDR/))
  },
)

test.each([
  ['10.1.2.255/25', '10.1.2.128/25'],
  ['10.1.2.127/25', '10.1.2.0/25'],
  ['10.255.255.255/8', '10.0.0.0/8'],
  ['10.0.0.3/31', '10.0.0.2/31'],
  ['10.0.0.3/32', '10.0.0.3/32'],
  ['10.0.0.3', '10.0.0.3/32'],
  ['255.255.255.255/0', '0.0.0.0/0'],
  ['fdff::ffff/9', 'fd80::/9'],
  ['fd00::3/127', 'fd00::2/127'],
  ['fd00::3/128', 'fd00::3/128'],
  ['10.0.0.3/33', null],
  ['fd00::3/129', null],
])('prefix %s is %s: the bits behind it count for nothing', (text, expected) => {
  const prefix = ok(parsePrefix(text))
  if (expected === null) expect(prefix).toMatch(/^refused: .*write CIDR/)
  else expect(prefix).toMatchObject({ text: expected, length: Number(expected.split('/')[1]) })
})

test('a prefix with four bytes in dots is that of IPv6, and not of IPv4', () => {
  expect(ok(parsePrefix('::1.2.3.4'))).toMatchObject({ text: '::102:304/128', length: 128 })
  expect(ok(parsePrefix('::1.2.3.4/120'))).toMatchObject({ text: '::102:300/120' })
  expect(ok(parsePrefix('::ffff:1.2.3.4'))).toMatchObject({ text: '::ffff:1.2.3.4/128' })
  expect(ok(parsePrefix('64:ff9b::1.2.3.4/96'))).toMatchObject({ text: '64:ff9b::/96' })
})

test('a name of 253 characters is one, and of 254 none: its bytes in a message would be 256', () => {
  const name = [63, 63, 63, 61].map((length) => 'a'.repeat(length)).join('.')
  expect([isHostName(name), isHostName(`${name}.`)]).toEqual([true, true])
  expect([isHostName(`${name}a`), isHostName(`${name}a.`)]).toEqual([false, false])
})

test.each([
  ['a'.repeat(63), true],
  ['a'.repeat(64), false],
  [`${'a'.repeat(63)}.${'b'.repeat(64)}`, false],
  ['a-', false],
  ['-a', false],
  ['a-b', true],
  ['_sip._tcp', true],
  ['a..b', false],
  ['', false],
  ['.', false],
  ['a.', true],
  ['ä', false],
])('of labels, that %j is a host name is %s', (name, expected) => {
  expect(isHostName(name)).toBe(expected)
})

test('no text makes a parser throw or break a line', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[\w:/#.[\]%]*$/)), (text) => {
      for (const parse of [parseSocketAddress, parseHostPort, parseServer, parsePrefix]) {
        const result: Parsed<unknown> = parse(text)
        if ('reason' in result) expect(result.reason).not.toMatch(/[\r\n]/)
      }
    }),
  )
})

test('host names are checked in time linear in their length', () => {
  const before = process.threadCpuUsage()
  expect(isHostName(`${'a'.repeat(253)}!`)).toBe(false)
  expect(isHostName(`${'a-'.repeat(120)}!`)).toBe(false)
  expect(process.threadCpuUsage(before).user).toBeLessThan(200_000)
})
