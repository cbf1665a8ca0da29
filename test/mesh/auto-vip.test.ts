import { describe, expect, test } from 'vitest'
import { AutoVips } from '../../src/mesh/auto-vip.ts'

const hosts = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => `shop/entry/host-${from + index}.example.com`)

const v4Of = (vips: ReturnType<AutoVips['assign']>): string[] => [...vips.values()].map(({ v4 }) => v4)

describe('automatic addresses', () => {
  test('count up in order of arrival, both families together', () => {
    const vips = new AutoVips()
    expect(Object.fromEntries(vips.assign(['b', 'a']))).toEqual({
      b: { v4: '240.240.0.1', v6: '2001:2::1' },
      a: { v4: '240.240.0.2', v6: '2001:2::2' },
    })
    expect(vips.assign(['c', 'a', 'b']).get('c')).toEqual({ v4: '240.240.0.3', v6: '2001:2::3' })
  })
  test('are never with a last octet of 0 or 255, each given once', () => {
    const vips = [...new AutoVips().assign(hosts(3000)).values()]
    expect(vips.slice(253, 255)).toEqual([
      { v4: '240.240.0.254', v6: '2001:2::fe' },
      { v4: '240.240.1.1', v6: '2001:2::101' },
    ])
    for (const { v4, v6 } of vips) {
      expect(v4).toMatch(/^240\.240\.\d{1,3}\.\d{1,3}$/)
      expect(v4).not.toMatch(/\.(0|255)$/)
      expect(v6).toMatch(/^2001:2::[0-9a-f]{1,4}$/)
    }
    expect(new Set(vips.map(({ v4 }) => v4)).size).toBe(3000)
    expect(new Set(vips.map(({ v6 }) => v6)).size).toBe(3000)
  })
  test('stay with their hosts when others come, go, or stand before them', () => {
    const vips = new AutoVips()
    const first = vips.assign(hosts(500, 100))
    vips.assign(hosts(50, 300))
    const second = vips.assign(hosts(2000))
    for (const [host, vip] of first) expect(second.get(host)).toEqual(vip)
  })
  test('are the same after a restart, in whatever order the hosts come then', () => {
    const vips = new AutoVips()
    const before = vips.assign(hosts(2000))
    vips.assign(hosts(10))
    const after = new AutoVips(vips.entries()).assign(hosts(2000).toReversed())
    for (const [host, vip] of before) expect(after.get(host)).toEqual(vip)
    expect(new AutoVips(vips.entries()).assign(['new']).get('new')?.v4).toBe('240.240.7.223')
  })
  test('make way for an address that somebody chose, in either family', () => {
    for (const used of ['240.240.0.1', '2001:2::1']) {
      const vips = new AutoVips()
      expect(v4Of(vips.assign(['a', 'b']))).toEqual(['240.240.0.1', '240.240.0.2'])
      const after = vips.assign(['a', 'b'], new Set([used]))
      expect(v4Of(after)).toEqual(['240.240.0.3', '240.240.0.2'])
      expect(vips.assign(['a', 'b'])).toEqual(after)
      expect(v4Of(new AutoVips().assign(['a'], new Set([used])))).toEqual(['240.240.0.2'])
    }
  })
  test('that were kept and are none are passed over', () => {
    const kept: [string, string][] = [
      ['a', '10.0.0.1'],
      ['b', '240.240.0.255'],
      ['c', '240.240.1.1'],
      ['d', '240.240.1.1'],
      ['e', '240.240.256.1'],
      ['f', '2001:2::0'],
    ]
    const vips = new AutoVips(kept).assign(kept.map(([host]) => host))
    expect(vips.get('c')?.v4).toBe('240.240.1.1')
    expect(v4Of(vips).toSorted()).toEqual([
      '240.240.0.1',
      '240.240.0.2',
      '240.240.0.3',
      '240.240.0.4',
      '240.240.0.5',
      '240.240.1.1',
    ])
  })
  test('go to newcomers from hosts that are gone when there are none left, and then to nobody', () => {
    const vips = new AutoVips()
    const all = hosts(256 * 254)
    expect(vips.assign(all).size).toBe(all.length)
    expect(vips.assign(hosts(10, 1_000_000)).size).toBe(10)
    expect(vips.assign(hosts(256 * 254 + 5)).size).toBe(256 * 254)
    expect(vips.assign(hosts(256 * 254 + 100_000)).size).toBe(256 * 254)
  })
})
