import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { hasGlobalIpv6, hasIpv6Route } from '../../src/daemon/ipv6-use.ts'
import { RESOLV_CONF, SettingsWorld } from './settings-world.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipv6-'))
afterAll(() => rmSync(folder, { recursive: true }))

const route = (destination: string, flags: string, device: string): string =>
  `${destination.padEnd(32, '0')} 40 ${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00000100 00000001 00000000 ${flags}     ${device}`

test.each([
  [['127.0.0.1', '::1', '10.0.0.5', 'fe80::1'], false],
  [['127.0.0.1', 'fe80::1%eth0', 'febf::2'], false],
  [['fd00::5'], true],
  [['::1', '2001:db8::1'], true],
  // Only its second byte is like that of a link's, or only its first.
  [['2080::1'], true],
  [['fec0::1'], true],
  [['fe80::1%a%b'], false],
  [['::2'], true],
  [[], false],
])('of the addresses %j one is global: %s', (addresses, expected) => {
  expect(hasGlobalIpv6(addresses)).toBe(expected)
})

test.each([
  ['none', '', false],
  ['loopback alone', route('00000000000000000000000000000001', '80200001', 'lo'), false],
  ['by the loopback interface', route('fd', '00000001', 'lo'), false],
  ['a default route that rejects', route('', '00200200', 'lo'), false],
  ['unreachable', route('fd', '00000201', 'eth0'), false],
  [
    'of the link, and multicast',
    [route('fe80', '00000001', 'eth0'), route('ff', '00000001', 'eth0')].join('\n'),
    false,
  ],
  ["the machine's own addresses", route('fd000000000000000000000000000002', '80200001', 'eth0'), false],
  ['one that is down', route('', '00000002', 'eth0'), false],
  ['a default route', route('', '00000003', 'eth0'), true],
  ['a network', route('fd', '00000001', 'eth0'), true],
  ['lines that are none', 'rubbish\n\n1 2 3', false],
])('routes: %s', (what, text, expected) => {
  const file = join(folder, what.replaceAll(/\W/g, '-'))
  writeFileSync(file, `${text}\n`)
  expect(hasIpv6Route('linux', file)).toBe(expected)
})

test('a kernel without IPv6 has no routes; on other systems nothing is proven', () => {
  const file = join(folder, 'none')
  expect(hasIpv6Route('linux', join(folder, 'no-such-file'))).toBe(false)
  expect([hasIpv6Route('darwin', file), hasIpv6Route('linux', folder)]).toEqual([null, null])
})

/** Why AAAA is withheld, with this setting, addresses and routes. */
function withheld(aaaa: string, addresses: string[], isRouted: boolean | null): string | undefined {
  const world = new SettingsWorld()
  world.files.write(RESOLV_CONF, 'nameserver 10.0.0.10\n')
  world.addresses = addresses
  world.isIpv6Routed = isRouted
  world.open('', `aaaa: ${aaaa}`)
  world.settings.stop()
  return world.settings.engine.aaaaWithheld
}

const IPV4 = ['127.0.0.1', '10.0.0.5', 'fe80::1']
const AUTO = 'aaaa is auto, and this machine has neither a global IPv6 address nor an IPv6 route'

test.each([
  ['on', IPV4, false, undefined],
  ['off', [...IPV4, 'fd00::1'], true, 'aaaa is off'],
  ['auto', IPV4, false, AUTO],
  ['auto', IPV4, true, undefined],
  ['auto', IPV4, null, undefined],
  ['auto', [...IPV4, 'fd00::1'], false, undefined],
  ['auto', [], false, undefined],
  ['false', IPV4, true, 'aaaa is off'],
])('aaaa: %s, with %j and routes %s: %s', (aaaa, addresses, isRouted, why) => {
  expect(withheld(aaaa, addresses, isRouted)).toBe(why)
})

test('with auto, addresses and routes that come and go count within seconds, and the log says so', () => {
  const world = new SettingsWorld()
  world.files.write(RESOLV_CONF, 'nameserver 10.0.0.10\n')
  world.addresses = IPV4
  world.isIpv6Routed = false
  const settings = world.open('', 'aaaa: auto')
  expect(world.lines).toContain(`info IPv6 addresses of names outside the mesh are not asked for (NODATA): ${AUTO}`)
  const steps: [change: () => void, why: string | undefined, line: string][] = [
    [() => (world.isIpv6Routed = true), undefined, "info this machine's IPv6 routes changed"],
    [() => (world.isIpv6Routed = false), AUTO, "info this machine's IPv6 routes changed"],
    [() => (world.addresses = [...IPV4, 'fd00::1']), undefined, "info this machine's addresses changed"],
    [() => (world.addresses = IPV4), AUTO, "info this machine's addresses changed"],
  ]
  for (const [change, why, line] of steps) {
    world.lines.length = 0
    change()
    world.clock.advance(5000)
    expect([settings.engine.aaaaWithheld, world.told.at(-1)?.aaaaWithheld]).toEqual([why, why])
    expect(world.lines).toContain(line)
  }
  settings.stop()
})
