import { expect, test } from 'vitest'
import { BucketCounts, COMPILE_BOUNDS } from '../../src/observe/bucket-counts.ts'

test('each value is counted in the first bucket whose bound it does not exceed, the last one has all others', () => {
  const buckets = new BucketCounts([1, 2, 5])
  for (const value of [0, 1, 1.5, 2, 5, 5.1, 100]) buckets.observe(value)
  expect([[...buckets.counts], buckets.sum]).toEqual([[2, 2, 1, 2], 114.6])
})

test('bounds ascend', () => {
  expect(COMPILE_BOUNDS.toSorted((one, other) => one - other)).toEqual(COMPILE_BOUNDS)
  expect(new Set(COMPILE_BOUNDS).size).toBe(COMPILE_BOUNDS.length)
})
