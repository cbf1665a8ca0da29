import { expect, test } from 'vitest'
import { Debounce } from '../../src/mesh/debounce.ts'
import { FakeClock } from '../base/fake-clock.ts'

function debounced(): { clock: FakeClock; debounce: Debounce; runs: () => number } {
  const clock = new FakeClock()
  let runs = 0
  const debounce = new Debounce(() => runs++, { quietMs: 100, mostMs: 1000 }, clock)
  return { clock, debounce, runs: () => runs }
}

test('a burst is one run, once it is quiet', () => {
  const { clock, debounce, runs } = debounced()
  for (let event = 0; event < 5; event++) {
    debounce.poke()
    clock.advance(99)
  }
  expect(runs()).toBe(0)
  clock.advance(1)
  expect(runs()).toBe(1)
  clock.advance(10_000)
  expect(runs()).toBe(1)
})

test('a burst without end is a run a second', () => {
  const { clock, debounce, runs } = debounced()
  for (let event = 0; event < 500; event++) {
    debounce.poke()
    clock.advance(10)
  }
  expect(runs()).toBe(5)
})

test('nothing runs once it is cancelled, until the next event', () => {
  const { clock, debounce, runs } = debounced()
  debounce.poke()
  debounce.cancel()
  clock.advance(5000)
  expect(runs()).toBe(0)
  debounce.poke()
  clock.advance(100)
  expect(runs()).toBe(1)
})
