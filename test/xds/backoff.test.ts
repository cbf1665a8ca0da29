import { describe, expect, it } from 'vitest'
import { Backoff } from '../../src/xds/backoff.ts'

const settings = { firstMs: 1000, mostMs: 30_000, factor: 2 }
const delays = (backoff: Backoff, count: number): number[] => Array.from({ length: count }, () => backoff.next())

describe('backoff', () => {
  it('doubles up to its bound', () => {
    expect(delays(new Backoff(() => 1, settings), 7)).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  })

  it('spreads each delay over the upper half of its value', () => {
    expect(delays(new Backoff(() => 0, settings), 3)).toEqual([500, 1000, 2000])
    expect(delays(new Backoff(() => 0.25, settings), 2)).toEqual([625, 1250])
  })

  it('begins again when reset', () => {
    const backoff = new Backoff(() => 1, settings)
    delays(backoff, 5)
    backoff.reset()
    expect(backoff.next()).toBe(1000)
  })
})
