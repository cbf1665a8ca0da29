import { describe, expect, it } from 'vitest'
import { RandomCountdown } from '../../src/querylog/random-countdown.ts'

function picked(period: number, of: number, isCounted: (k: number) => boolean = () => true): number {
  const countdown = new RandomCountdown(0x5eed)
  countdown.period = period
  let count = 0
  for (let k = 0; k < of; k++) if (countdown.pass(1) && isCounted(k)) count++
  return count
}

describe('a random countdown', () => {
  it.each([1, 1.5, 2, 3.3, 10, 100])('picks one in %d', (period) => {
    const of = 400_000
    expect(picked(period, of) / (of / period)).toBeCloseTo(1, 1)
  })

  it('meets both of pairs that follow each other, whatever the period', () => {
    for (const period of [2, 4, 8, 64]) {
      const all = picked(period, 400_000)
      const even = picked(period, 400_000, (k) => k % 2 === 0)
      expect(even / all, `period ${period}`).toBeCloseTo(0.5, 1)
    }
  })

  it('picks nothing without a period', () => {
    expect(picked(Number.POSITIVE_INFINITY, 100_000)).toBe(0)
    expect(new RandomCountdown(1).pass(1)).toBe(false)
  })
})
