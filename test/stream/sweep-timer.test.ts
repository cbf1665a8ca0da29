import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { SweepTimer } from '../../src/stream/sweep-timer.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

it('sweeps in each interval once it is armed, until nothing is left to watch, and again when armed again', () => {
  let left = 2
  let sweeps = 0
  const timer = new SweepTimer(50, () => (sweeps++, --left > 0))
  vi.advanceTimersByTime(500)
  expect(sweeps).toBe(0)
  timer.arm()
  timer.arm()
  vi.advanceTimersByTime(49)
  expect(sweeps).toBe(0)
  vi.advanceTimersByTime(1)
  expect(sweeps).toBe(1)
  vi.advanceTimersByTime(500)
  expect(sweeps).toBe(2)
  expect(vi.getTimerCount()).toBe(0)
  left = 1
  timer.arm()
  vi.advanceTimersByTime(50)
  expect(sweeps).toBe(3)
})

it('sweeps no more once stopped', () => {
  let sweeps = 0
  const timer = new SweepTimer(50, () => (sweeps++, true))
  timer.arm()
  vi.advanceTimersByTime(50)
  timer.stop()
  vi.advanceTimersByTime(500)
  expect(sweeps).toBe(1)
})
