import { expect, test } from 'vitest'
import { Settling } from '../../src/daemon/settling.ts'
import { FakeClock } from '../base/fake-clock.ts'

test('garbage is collected step by step once the start is over, and after new tables once a minute at most', () => {
  const clock = new FakeClock()
  const done: [step: string, atMs: number][] = []
  const settling = new Settling({
    clock,
    steps: ['collect', 'trim'].map((step) => () => done.push([step, clock.now()])),
  })
  const startMs = clock.now()
  settling.stir()
  const pushes = 200
  for (let n = 0; n < pushes; n++) {
    clock.advance(1000)
    settling.stir()
  }
  const times = done.map(([step, atMs]) => [step, (atMs - startMs) / 1000])
  expect(times.slice(0, 4)).toEqual([
    ['collect', 10],
    ['trim', 11],
    ['collect', 71],
    ['trim', 72],
  ])
  expect(times).toHaveLength(8)
  settling.stop()
  clock.advance(600_000)
  expect(done).toHaveLength(8)
})
