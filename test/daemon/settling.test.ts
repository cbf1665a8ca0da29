import { expect, test } from 'vitest'
import { isMemoryShort, Settling } from '../../src/daemon/settling.ts'
import { FakeClock } from '../base/fake-clock.ts'

test('garbage is collected step by step once the start is over, and after new tables once a minute at most', () => {
  const clock = new FakeClock()
  const done: [step: string, atMs: number][] = []
  const settling = new Settling({
    clock,
    isHurried: false,
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

test('where memory is short it is collected at once, and again when all is at rest', () => {
  const clock = new FakeClock()
  const atMs: number[] = []
  const startMs = clock.now()
  const step = (): void => void atMs.push(clock.now() - startMs)
  const settling = new Settling({ clock, isHurried: true, steps: [step, step] })
  settling.stir()
  for (let n = 0; n < 150; n++) {
    clock.advance(100)
    settling.stir()
  }
  expect(atMs).toEqual([300, 400, 10_400, 11_400])
  settling.stop()
})

test.each([
  ['none', 0, false],
  ['64 MiB', 64 * 2 ** 20, true],
  ['128 MiB', 128 * 2 ** 20, false],
  ['what the kernel says of no limit', 2 ** 63, false],
])('a limit of memory of %s (%i bytes) is short: %s', (_name, bytes, isShort) =>
  expect(isMemoryShort(bytes)).toBe(isShort),
)
