import { describe, expect, test } from 'vitest'
import { AutoVips } from '../../src/mesh/auto-vip.ts'

const hosts = (count: number, from = 0): Set<string> =>
  new Set(Array.from({ length: count }, (_, index) => `host-${from + index}.example.com`))

/** A host whose name alone would give it the address that `host` has. */
function rivalOf(host: string): string {
  const wanted = new AutoVips().assign(new Set([host])).get(host)!.v4
  for (let number = 0; ; number++) {
    const rival = `rival-${number}.example.com`
    if (new AutoVips().assign(new Set([rival])).get(rival)!.v4 === wanted) return rival
  }
}

describe('automatic addresses', () => {
  test('are of 240.240.0.0/16 and 2001:2::/48, never with a last octet of 0 or 255, each given once', () => {
    const vips = [...new AutoVips().assign(hosts(3000)).values()]
    for (const { v4, v6 } of vips) {
      expect(v4).toMatch(/^240\.240\.\d{1,3}\.\d{1,3}$/)
      expect(v4).not.toMatch(/\.(0|255)$/)
      expect(v6).toMatch(/^2001:2::f0f0:[0-9a-f]{1,4}$/)
    }
    expect(new Set(vips.map(({ v4 }) => v4)).size).toBe(3000)
    expect(new Set(vips.map(({ v6 }) => v6)).size).toBe(3000)
  })
  test('never change from one version of byname to the next', () => {
    const vips = new AutoVips().assign(new Set(['api.example.com', 'db.example.com']))
    expect(Object.fromEntries(vips)).toMatchInlineSnapshot(`
      {
        "api.example.com": {
          "v4": "240.240.50.233",
          "v6": "2001:2::f0f0:32e9",
        },
        "db.example.com": {
          "v4": "240.240.123.135",
          "v6": "2001:2::f0f0:7b87",
        },
      }
    `)
  })
  test('of a host are the same whichever others there are', () => {
    const vips = new AutoVips()
    const first = vips.assign(hosts(500))
    const second = vips.assign(hosts(2000))
    for (const [host, vip] of first) expect(second.get(host)).toEqual(vip)
  })
  test('are the same when a host comes back after others came', () => {
    const rival = rivalOf('api.example.com')
    const vips = new AutoVips()
    const before = vips.assign(new Set(['api.example.com'])).get('api.example.com')
    vips.assign(new Set([rival]))
    expect(vips.assign(new Set(['api.example.com', rival])).get('api.example.com')).toEqual(before)
  })
  test('are the same after a restart, whoever was first at the same place', () => {
    const rival = rivalOf('api.example.com')
    const both = new Set(['api.example.com', rival])
    for (const first of both) {
      const vips = new AutoVips()
      vips.assign(new Set([first]))
      const before = vips.assign(both)
      expect(vips.displaced()).toHaveLength(1)
      expect(new AutoVips(vips.displaced()).assign(both)).toEqual(before)
      // Also if the host that displaced the other is gone by then.
      const [displaced] = vips.displaced()[0]!
      expect(new AutoVips(vips.displaced()).assign(new Set([displaced])).get(displaced)).toEqual(before.get(displaced))
    }
  })
  test('of several hundred hosts that came in any order are the same after a restart', () => {
    const vips = new AutoVips()
    for (let from = 1900; from >= 0; from -= 100) vips.assign(hosts(100, from).union(hosts(3, 0)))
    const before = vips.assign(hosts(2000))
    expect(vips.displaced().length).toBeGreaterThan(0)
    expect(new AutoVips(vips.displaced()).assign(hosts(2000))).toEqual(before)
  })
  test('make way for an address that somebody chose', () => {
    const vips = new AutoVips()
    const host = new Set(['api.example.com'])
    const before = vips.assign(host).get('api.example.com')!
    const after = vips.assign(host, new Set([before.v6])).get('api.example.com')!
    expect(after.v4).not.toBe(before.v4)
    expect(vips.assign(host).get('api.example.com')).toEqual(after)
  })
  test('that were kept and are none are passed over', () => {
    const kept: [string, string][] = [
      ['a.example.com', '10.0.0.1'],
      ['b.example.com', '240.240.0.255'],
      ['c.example.com', '240.240.1.1'],
      ['d.example.com', '240.240.1.1'],
    ]
    const vips = new AutoVips(kept).assign(new Set(kept.map(([host]) => host)))
    expect(vips.get('c.example.com')?.v4).toBe('240.240.1.1')
    expect(new Set([...vips.values()].map(({ v4 }) => v4)).size).toBe(4)
  })
  test('go to newcomers from hosts that are gone when there are none left, and then to nobody', () => {
    const vips = new AutoVips()
    const all = hosts(256 * 254)
    expect(vips.assign(all).size).toBe(all.size)
    expect(vips.assign(hosts(10, 1_000_000)).size).toBe(10)
    expect(vips.assign(hosts(256 * 254 + 5)).size).toBe(256 * 254)
  })
})
