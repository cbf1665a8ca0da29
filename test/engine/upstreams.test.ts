import { describe, expect, it } from 'vitest'
import { Upstreams } from '../../src/engine/forward/upstreams.ts'
import { UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { wire } from '../dns/messages.ts'
import { randomNumbers, server, settingsWith, type SettingsChange } from './engine-under-test.ts'
import { serversWith } from './servers.ts'

const counters = new WorkerCounters()

function upstreams(change: SettingsChange, earlier?: Upstreams): Upstreams {
  return new Upstreams(settingsWith(change), counters, randomNumbers(), earlier)
}

describe('choice', () => {
  it('leaves out what is excluded, and comes back to what was tried last of all', () => {
    const three = upstreams(serversWith(3, 'sequential'))
    expect(three.choose(0, 0, 0)).toBe(0)
    expect(three.choose(0, 0b001, 0)).toBe(1)
    expect(three.choose(0, 0, 0b011)).toBe(2)
    expect(three.choose(0, 0b100, 0b011)).toBe(0)
    expect(three.choose(0, 0b111, 0)).toBe(-1)
  })

  it('is the one server, or none', () => {
    const one = upstreams({})
    expect([one.choose(0, 0, 1), one.choose(0, 1, 0)]).toEqual([0, -1])
  })

  it('has room for 32 servers', () => {
    const all = upstreams(serversWith(32, 'sequential'))
    expect(all.choose(0, 0x7fff_ffff, 0)).toBe(31)
    expect(all.choose(0, 0xffff_ffff | 0, 0)).toBe(-1)
  })

  it('takes one that is down before one whose answer is still out', () => {
    const two = upstreams(serversWith(2, 'random'))
    for (let k = 0; k < 3000; k++) two.failed(0, 'timeout', 0, true)
    expect(two.isDown(0)).toBe(true)
    expect(two.choose(0, 0, 0)).toBe(1)
    expect(two.choose(0, 0, 0b10)).toBe(0)
  })
})

describe('health', () => {
  it('is lost by two failures in a row, and won by one answer', () => {
    const one = upstreams({})
    one.failed(0, 'timeout', 0, true)
    one.succeeded(0, 10)
    one.failed(0, 'network', 0, true)
    expect(one.isDown(0)).toBe(false)
    one.failed(0, 'malformed', 0, true)
    expect(one.isDown(0)).toBe(true)
    expect(counters.upstreamGet(0, UpstreamField.healthy)).toBe(0)
    one.succeeded(0, 10)
    expect(one.isDown(0)).toBe(false)
    expect(counters.upstreamGet(0, UpstreamField.healthy)).toBe(1)
  })

  it('is not lost by answers that are about a name', () => {
    const one = upstreams({})
    for (let k = 0; k < 10; k++) one.failed(0, 'servfail', 0, false)
    expect(one.isDown(0)).toBe(false)
  })

  it('is lost by failing again and again where another one answers', () => {
    const two = upstreams(serversWith(2, 'random'))
    for (let k = 0; k < 4; k++) two.outdone(0b01, 0)
    expect([two.isDown(0), two.isDown(1)]).toEqual([true, false])
  })

  it('is probed for when due, with a pause that doubles up to 30 s, and not at servers being asked', () => {
    const one = upstreams({})
    one.failed(0, 'timeout', 0, true)
    expect(one.takeProbe(0, 0, 5000)).toBe(-1)
    one.failed(0, 'timeout', 5000, true)
    expect(one.takeProbe(0, 0, 5999)).toBe(-1)
    expect(one.takeProbe(0, 1, 6000)).toBe(-1)
    const times: number[] = []
    for (let now = 6000; now < 120_000; now += 500) if (one.takeProbe(0, 0, now) === 0) times.push(now - 6000)
    expect(times.slice(0, 7)).toEqual([0, 1000, 3000, 7000, 15_000, 31_000, 61_000])
    expect(times[7]).toBe(91_000)
  })
})

/** Smoothed round trip of the first server, as counted. */
function rttMs(): number {
  return Math.round(counters.upstreamGet(0, UpstreamField.rttSeconds) * 1000)
}

describe('round trips', () => {
  it('are smoothed, and a time-out counts as slow', () => {
    const one = upstreams({})
    one.succeeded(0, 80)
    expect(rttMs()).toBe(80)
    one.succeeded(0, 160)
    expect(rttMs()).toBe(90)
    const two = upstreams(serversWith(2, 'fastest'))
    two.succeeded(0, 1)
    two.succeeded(1, 40)
    two.failed(0, 'timeout', 0, true)
    const chosen = Array.from({ length: 100 }, () => two.choose(0, 0, 0))
    expect(chosen.filter((index) => index === 1).length).toBeGreaterThan(80)
  })
})

describe('a change of settings', () => {
  it('keeps what is known of servers that stay, wherever they stand', () => {
    const before = upstreams({ servers: [server('a'), server('b')] })
    before.failed(1, 'timeout', 0, true)
    before.failed(1, 'timeout', 0, true)
    for (let n = 0; n < 3; n++) before.ednsLost(1, 0)
    const after = upstreams({ servers: [server('b'), server('c')] }, before)
    expect([after.isDown(0), after.isDown(1), after.isEdnsBroken(0, 1), after.count]).toEqual([true, false, true, 2])
    expect(counters.upstreamGet(0, UpstreamField.failuresTimeout)).toBe(0)
    expect(counters.upstreamGet(0, UpstreamField.healthy)).toBe(0)
    expect(after.server(1).label).toBe('c')
  })
})

describe('routes', () => {
  const routed = upstreams({
    servers: [server('a'), server('b')],
    routes: [
      { domains: [wire('example.org'), wire('net')], servers: [1], policy: 'random' },
      { domains: [wire('a.example.org')], servers: [0], policy: 'random' },
      { domains: [wire('.')], servers: [0], policy: 'random' },
    ],
  })

  it.each([
    ['example.org', 0],
    ['b.example.org', 0],
    ['a.example.org', 1],
    ['x.a.example.org', 1],
    ['xa.example.org', 0],
    ['org', 2],
    ['net', 0],
    ['xnet', 2],
    ['.', 2],
  ])('for %s it is number %i', (name, route) => {
    const padded = new Uint8Array([9, 9, ...wire(name)])
    expect(routed.routeFor(padded, 2, wire(name).length)).toBe(route)
  })
})
