import { beforeEach, expect, test } from 'vitest'
import { OwnAddresses } from '../../src/daemon/own-addresses.ts'
import { FakeClock } from '../base/fake-clock.ts'

let clock: FakeClock
let present: string[]
let looks: number
let changes: [gained: readonly string[], lost: readonly string[]][]
let own: OwnAddresses

beforeEach(() => {
  clock = new FakeClock()
  present = ['127.0.0.1', '192.0.2.1']
  looks = 0
  changes = []
  own = new OwnAddresses({
    look: () => {
      looks++
      return present
    },
    clock,
    onChange: (gained, lost) => void changes.push([gained, lost]),
  })
})

test('are known from the beginning', () => {
  expect(own.current).toEqual(['127.0.0.1', '192.0.2.1'])
})

test('are looked up every five seconds, however often they are started, until they are stopped', () => {
  own.start()
  own.start()
  expect(clock.pending).toEqual([5000])
  clock.advance(4999)
  expect(looks).toBe(1)
  clock.advance(1)
  expect(looks).toBe(2)
  clock.advance(10_000)
  expect(looks).toBe(4)
  own.stop()
  own.stop()
  expect(clock.pending).toEqual([])
  own.start()
  clock.advance(5000)
  expect(looks).toBe(5)
})

test.each<[what: string, now: string[], gained: string[], lost: string[]]>([
  ['one more', ['127.0.0.1', '192.0.2.1', 'fd00::1'], ['fd00::1'], []],
  ['one less', ['127.0.0.1'], [], ['192.0.2.1']],
  ['another', ['127.0.0.1', '192.0.2.2'], ['192.0.2.2'], ['192.0.2.1']],
  ['none at all', [], [], ['127.0.0.1', '192.0.2.1']],
])('that are others now are told of once: %s', (_, now, gained, lost) => {
  present = now
  expect(own.lookAgain()).toBe(true)
  expect(own.lookAgain()).toBe(false)
  expect(changes).toEqual([[gained, lost]])
  expect(own.current).toEqual(now)
})

test('in another order, or one of them twice, are the same', () => {
  present = ['192.0.2.1', '127.0.0.1', '192.0.2.1']
  expect(own.lookAgain()).toBe(false)
  expect(changes).toEqual([])
})

test('that change while they are followed are told of at the next look', () => {
  own.start()
  present = ['127.0.0.1']
  clock.advance(4999)
  expect(changes).toEqual([])
  clock.advance(1)
  expect(changes).toEqual([[[], ['192.0.2.1']]])
})

test('whoever is told may stop the looks', () => {
  const watched = new OwnAddresses({ look: () => present, clock, onChange: () => watched.stop() })
  watched.start()
  present = []
  clock.advance(5000)
  expect(clock.pending).toEqual([])
})
