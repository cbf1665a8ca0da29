import { beforeEach, expect, it } from 'vitest'
import { ServerLimits } from '../../src/stream/upstreams/server-limits.ts'

let nowMs: number
let limits: ServerLimits

beforeEach(() => {
  nowMs = 5000
  limits = new ServerLimits(() => nowMs)
})

it('knows none at first: any number of queries on any number of connections, and no answer yet', () => {
  expect([limits.queries, limits.connections]).toEqual([Infinity, Infinity])
  expect([limits.pipelines, limits.answeredMs]).toEqual([false, -Infinity])
})

it('holds what was learned for a minute, each limit by itself, and then asks as at first', () => {
  limits.leftAfter(3)
  nowMs += 10_000
  limits.servesOnly(2)
  nowMs += 49_999
  expect([limits.queries, limits.connections]).toEqual([3, 2])
  nowMs += 1
  expect([limits.queries, limits.connections]).toEqual([Infinity, 2])
  nowMs += 9999
  expect(limits.connections).toBe(2)
  nowMs += 1
  expect(limits.connections).toBe(Infinity)
})

it('learned again holds for a minute from then on, and the latest counts', () => {
  limits.leftAfter(3)
  limits.servesOnly(1)
  nowMs += 59_999
  limits.leftAfter(7)
  limits.servesOnly(4)
  nowMs += 59_999
  expect([limits.queries, limits.connections]).toEqual([7, 4])
})

it('leaves one query on one connection at least: otherwise nobody would ask the server any more', () => {
  limits.leftAfter(0)
  limits.servesOnly(0)
  expect([limits.queries, limits.connections]).toEqual([1, 1])
})

it.each([
  [0, 250],
  [125, 250],
  [126, 252],
  [4000, 8000],
])('after a first answer that took %i ms a connection without one has %i ms', (afterMs, stallMs) => {
  limits.firstAnswer(1000)
  limits.firstAnswer(afterMs)
  expect(limits.stallMs).toBe(stallMs)
})

it('gives a connection a quarter of a second before any answer has shown how long one takes', () => {
  expect(limits.stallMs).toBe(250)
})
