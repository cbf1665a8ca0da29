import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'

const addresses = (text: string): string[] => parseResolvConf(text).servers.map((server) => server.address)

describe('servers', () => {
  test.each([
    [
      'a pod’s',
      'search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n',
      ['10.96.0.10'],
    ],
    ['several', 'nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::1', ['10.0.0.1', '10.0.0.2', 'fd00::1']],
    [
      'duplicates once',
      'nameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver FD00::1\nnameserver fd00::1',
      ['10.0.0.1', 'fd00::1'],
    ],
    ['an IPv6 zone, its case kept', 'nameserver FE80::1%Eth0', ['fe80::1%Eth0']],
    [
      'Windows line ends, tabs, a BOM',
      '\uFEFFnameserver\t10.0.0.1\r\n\tnameserver 10.0.0.2 \r\n',
      ['10.0.0.1', '10.0.0.2'],
    ],
    [
      'comments',
      '# nameserver 1.1.1.1\n;nameserver 1.1.1.2\nnameserver 10.0.0.1 # mine\nnameserver #10.0.0.2',
      ['10.0.0.1'],
    ],
    ['junk ignored', 'nameserver\nnameserver dns.google\nnameserver 1.2.3\nnameservers 1.2.3.4\nfoo bar', []],
    [
      'the unspecified address as this machine',
      'nameserver 0.0.0.0\nnameserver ::\nnameserver ::0.0.0.0',
      ['127.0.0.1', '::1'],
    ],
    ['none', '', []],
  ])('%s', (_what, text, expected) => {
    expect(addresses(text)).toEqual(expected)
  })

  test.each(['fe80::1', 'FE80::1', 'febf::1'])('%s without a zone cannot be asked, and is left out', (address) => {
    const { leftOut, servers } = parseResolvConf(`nameserver ${address}\nnameserver 10.0.0.1\nnameserver fe80::2%eth0`)
    expect(servers.map((server) => server.address)).toEqual(['10.0.0.1', 'fe80::2%eth0'])
    const shown = address.toLowerCase()
    expect(leftOut).toEqual([`${shown} is an address of one link; name its interface, as in ${shown}%eth0`])
  })

  test('at most 32 are taken', () => {
    expect(addresses(Array.from({ length: 40 }, (_, i) => `nameserver 10.0.0.${i}`).join('\n'))).toHaveLength(32)
  })

  test('they have the form of configured servers; use-vc makes them TCP', () => {
    expect(parseResolvConf('nameserver fd00::10').servers).toEqual([
      { label: '[fd00::10]:53', transport: 'udp', address: 'fd00::10', port: 53 },
    ])
    expect(parseResolvConf('nameserver 10.0.0.1\noptions use-vc').servers).toEqual([
      { label: 'tcp://10.0.0.1:53', transport: 'tcp', address: '10.0.0.1', port: 53 },
    ])
  })
})

describe('search domains', () => {
  test.each([
    ['search Shop.svc.cluster.local. svc.cluster.local', ['shop.svc.cluster.local', 'svc.cluster.local']],
    ['domain example.com', ['example.com']],
    ['domain example.com example.org', ['example.com']],
    ['domain example.com\nsearch a b', ['a', 'b']],
    ['search a b\ndomain example.com', ['example.com']],
    ['search a a . bad..name \u0000 b ; rest', ['a', 'b']],
    ['search', []],
    ['search a.. .b c. ..', ['c']],
    [`search ${'a'.repeat(62)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)} b`, ['b']],
  ])('%j', (text, search) => {
    expect(parseResolvConf(text).search).toEqual(search)
  })
})

test('options are read within glibc’s bounds, others ignored', () => {
  expect(
    parseResolvConf('options ndots:5 timeout:2 attempts:3 rotate edns0 trust-ad\noptions use-vc foo:x').options,
  ).toEqual({
    ndots: 5,
    timeoutSeconds: 2,
    attempts: 3,
    rotate: true,
    useTcp: true,
    edns0: true,
  })
  expect(parseResolvConf('options ndots:99 timeout:0 attempts:99').options).toMatchObject({
    ndots: 15,
    timeoutSeconds: 1,
    attempts: 5,
  })
  expect(parseResolvConf('options ndots: timeout:x attempts').options).toEqual({
    rotate: false,
    useTcp: false,
    edns0: false,
  })
})

describe('any bytes', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'nameserver',
      'search',
      'domain',
      'options',
      'ndots:5',
      'timeout:',
      '#',
      ';',
      '10.0.0.1',
      'fe80::1%',
      '::',
      '.',
    ),
    fc.string({ unit: 'binary' }),
  )
  const line = fc.array(word).map((words) => words.join(' '))
  const file = fc.oneof(
    fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes).toString('utf8')),
    fc.array(line).map((lines) => lines.join('\n')),
  )

  test('never throw, and give only servers that can be asked', () => {
    fc.assert(
      fc.property(file, (text) => {
        const { servers, search } = parseResolvConf(text)
        expect(servers.length).toBeLessThanOrEqual(32)
        expect(new Set(servers.map((server) => server.label)).size).toBe(servers.length)
        for (const { address, port } of servers)
          expect([address, port]).toEqual([expect.stringMatching(/^[\da-f.:]+(%.+)?$/), 53])
        for (const domain of search) expect(domain).toMatch(/^[a-z0-9_.-]+$/)
      }),
      { numRuns: 500 },
    )
  })
})
