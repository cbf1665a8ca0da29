import { expect, test, vi } from 'vitest'
import { onWholeSeconds, steadyClock, waitFor, wallClock } from '../../src/base/clock.ts'
import { FakeClock } from './fake-clock.ts'

test('looks of a second and of five, begun at different moments, wake the process once a second', () => {
  const clock = new FakeClock(1_000_300)
  const seconds = onWholeSeconds(clock)
  const looks: [everyMs: number, atMs: number][] = []
  const every = (ms: number): void => {
    seconds.after(ms, () => {
      looks.push([ms, seconds.now()])
      every(ms)
    })
  }
  every(1000)
  clock.advance(420)
  every(5000)
  clock.advance(12_000)
  const times = (ms: number): number[] => looks.filter(([each]) => each === ms).map(([, at]) => at)
  expect(times(1000)).toEqual(Array.from({ length: 12 }, (_, n) => 1_001_000 + n * 1000))
  expect(times(5000)).toEqual([1_005_000, 1_010_000])
})

test('looks every five seconds, begun at different moments, wake the process once in five', () => {
  const clock = new FakeClock(1_000_300)
  const seconds = onWholeSeconds(clock)
  const wakeUps = new Set<number>()
  const look = (): void => {
    wakeUps.add(clock.now())
    seconds.after(5000, look)
  }
  for (const laterMs of [0, 900, 2200]) {
    clock.advance(laterMs)
    seconds.after(5000, look)
  }
  clock.advance(20_000)
  expect([...wakeUps].slice(-3)).toEqual([1_010_000, 1_015_000, 1_020_000])
})

test.each([
  { delayMs: 0, atMs: 1_000_250.5 },
  { delayMs: 999, atMs: 1_001_249.5 },
  { delayMs: 1000, atMs: 1_001_000 },
  { delayMs: 1500, atMs: 1_002_000 },
  { delayMs: 30_000, atMs: 1_030_000 },
])('at …250.5 ms, $delayMs ms end at $atMs, within a millisecond', ({ delayMs, atMs }) => {
  const clock = new FakeClock(1_000_250.5)
  onWholeSeconds(clock).after(delayMs, () => undefined)
  const [pending] = clock.pending
  expect(clock.now() + pending! - atMs).toBeGreaterThanOrEqual(0)
  expect(clock.now() + pending! - atMs).toBeLessThan(1)
})

test('what is taken back does not happen', () => {
  const clock = new FakeClock()
  let runs = 0
  const cancel = onWholeSeconds(clock).after(2000, () => void runs++)
  cancel()
  clock.advance(10_000)
  expect(runs).toBe(0)
})

test('a wait ends with what is waited for, or at its deadline, and leaves no timer', async () => {
  const clock = new FakeClock()
  const ending = Promise.withResolvers<void>()
  let ended = ''
  const both = [
    waitFor(ending.promise, 1000, clock).then(() => (ended += 'a')),
    waitFor(ending.promise, 3000, clock).then(() => (ended += 'b')),
  ]
  clock.advance(999)
  await new Promise(setImmediate)
  expect(ended).toBe('')
  clock.advance(1)
  await both[0]
  expect(ended).toBe('a')
  ending.resolve()
  await both[1]
  expect([ended, clock.pending]).toEqual(['ab', []])
})

test('a wait fails as what is waited for does, and leaves no timer', async () => {
  const clock = new FakeClock()
  await expect(waitFor(Promise.reject(new Error('gone')), 1000, clock)).rejects.toThrow('gone')
  expect(clock.pending).toEqual([])
})

test('the clocks are those of the machine: Unix time, and time that never jumps', () => {
  vi.spyOn(Date, 'now').mockReturnValue(4711)
  vi.spyOn(performance, 'now').mockReturnValue(12.5)
  const told = [wallClock.now(), steadyClock.now()]
  vi.restoreAllMocks()
  expect(told).toEqual([4711, 12.5])
})

test.each([
  ['wall', wallClock],
  ['steady', steadyClock],
])('a timer of the %s clock runs once, unless it is taken back', (_, clock) => {
  vi.useFakeTimers()
  const called: string[] = []
  const cancel = clock.after(500, () => called.push('taken back'))
  clock.after(1000, () => called.push('due'))
  cancel()
  cancel()
  vi.advanceTimersByTime(999)
  expect(called).toEqual([])
  vi.advanceTimersByTime(10_000)
  vi.useRealTimers()
  expect(called).toEqual(['due'])
})
