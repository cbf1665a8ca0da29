import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrequentItems } from '../../src/observe/frequent-items.ts'

/** What is added, of few frequent and many rare items; and now and then everything fades. */
const step = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({ item: fc.constantFrom('a', 'b', 'c', 'd'), weight: fc.integer({ min: 1, max: 20 }) }),
  },
  { weight: 40, arbitrary: fc.record({ item: fc.nat(60).map(String), weight: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.constant(null) },
)

test('against exact counts: never too small, too large by at most the error, which is a share of all; what is frequent is held', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), fc.integer({ min: 1, max: 20 }), (steps, capacity) => {
      const items = new FrequentItems(capacity)
      const exact = new Map<string, number>()
      let total = 0
      for (const each of steps) {
        if (each === null) {
          items.fade(0.5)
          total *= 0.5
          for (const [item, weight] of exact) exact.set(item, weight * 0.5)
        } else {
          items.add(each.item, each.weight)
          total += each.weight
          exact.set(each.item, (exact.get(each.item) ?? 0) + each.weight)
        }
      }
      // Halves are exact in binary, so nothing is rounded.
      expect(items.total).toBe(total)
      const held = items.top(capacity)
      expect(held.length).toBe(Math.min(capacity, exact.size))
      for (const { item, weight, error } of held) {
        const truth = exact.get(item)!
        expect(weight).toBeGreaterThanOrEqual(truth)
        expect(weight - error).toBeLessThanOrEqual(truth)
        expect(error).toBeLessThanOrEqual(total / capacity)
      }
      for (const [item, weight] of exact)
        if (weight > total / capacity) expect(held.map((each) => each.item)).toContain(item)
    }),
  )
})

test('with room for all it is exact, the most frequent first', () => {
  const items = new FrequentItems(10)
  for (const [item, weight] of [
    ['a', 1],
    ['b', 5],
    ['a', 2],
    ['c', 1],
  ] as const)
    items.add(item, weight)
  expect(items.top(2)).toEqual([
    { item: 'b', weight: 5, error: 0 },
    { item: 'a', weight: 3, error: 0 },
  ])
})

test('what fades keeps its order, and its error fades with its weight', () => {
  const items = new FrequentItems(2)
  items.add('a', 8)
  items.add('b', 4)
  items.add('c', 2)
  expect(items.top(2)).toEqual([
    { item: 'a', weight: 8, error: 0 },
    { item: 'c', weight: 6, error: 4 },
  ])
  items.fade(0.25)
  expect([items.total, items.top(2)]).toEqual([
    3.5,
    [
      { item: 'a', weight: 2, error: 0 },
      { item: 'c', weight: 1.5, error: 1 },
    ],
  ])
})
