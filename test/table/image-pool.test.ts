import { expect, test } from 'vitest'
import { ImagePool } from '../../src/table/image-pool.ts'

function publish(pool: ImagePool, bytes: number = 1000): { generation: number; buffer: SharedArrayBuffer } {
  const slot = pool.acquire(bytes)
  if (slot === null) throw new Error('busy')
  pool.published(slot.generation)
  return { generation: slot.generation, buffer: slot.buffer }
}

test('two slots take turns while the workers keep up', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  pool.workerStarted(2)
  const buffers = new Set<SharedArrayBuffer>()
  for (let i = 0; i < 10; i++) {
    const { generation, buffer } = publish(pool)
    expect(generation).toBe(i + 1)
    pool.acknowledged(1, generation)
    pool.acknowledged(2, generation)
    buffers.add(buffer)
  }
  expect(buffers.size).toBe(2)
})

test('a slot is not rewritten before every worker has acknowledged a newer one', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  pool.workerStarted(2)
  const slots = [publish(pool), publish(pool), publish(pool)]
  pool.acknowledged(1, 3)
  pool.acknowledged(2, 1)
  expect(pool.acquire(1000)).toBeNull()
  pool.acknowledged(2, 2)
  expect(pool.acquire(1000)?.buffer).toBe(slots[0]!.buffer)
})

test('the newest is never rewritten, even without workers: one may start', () => {
  const pool = new ImagePool()
  const newest = publish(pool).buffer
  const next = pool.acquire(1000)!
  expect(next.buffer).not.toBe(newest)
  pool.abandon(next.generation)
  expect(pool.acquire(1000)!.buffer).not.toBe(newest)
})

test('a worker that starts holds what is newest then, and what comes later until it says so', () => {
  const pool = new ImagePool()
  publish(pool)
  pool.workerStarted(1)
  publish(pool)
  publish(pool)
  expect(pool.acquire(1000)).toBeNull()
  pool.acknowledged(1, 3)
  expect(pool.acquire(1000)).not.toBeNull()
})

test('a worker that is gone holds nothing, and a late word of it counts for nothing', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  for (let i = 0; i < 3; i++) publish(pool)
  expect(pool.acquire(1000)).toBeNull()
  pool.workerGone(1)
  pool.acknowledged(1, 1)
  for (let i = 0; i < 5; i++) publish(pool)
})

test('an acknowledgement that comes late or twice takes nothing back', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  for (let i = 0; i < 3; i++) publish(pool)
  pool.acknowledged(1, 3)
  pool.acknowledged(1, 2)
  publish(pool)
})

test('an image that is retained stays until it is released', () => {
  const pool = new ImagePool()
  const { generation, buffer } = publish(pool)
  expect(pool.retain(generation)).toBe(true)
  for (let i = 0; i < 5; i++) expect(publish(pool).buffer).not.toBe(buffer)
  pool.release(generation)
  expect(pool.retain(generation)).toBe(false)
  expect([publish(pool).buffer, publish(pool).buffer]).toContain(buffer)
})

test('a third slot is given up when the workers have caught up', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  for (let i = 0; i < 3; i++) publish(pool)
  const before = pool.bytes
  pool.acknowledged(1, 3)
  expect(pool.bytes).toBe((before / 3) * 2)
})

test('slots grow in steps of a quarter at most, doubling when enlarged, with what was written', () => {
  const pool = new ImagePool()
  const slot = pool.acquire(9_000_000)!
  expect(slot.buffer.byteLength).toBeGreaterThanOrEqual(9_000_000)
  expect(slot.buffer.byteLength).toBeLessThan(9_000_000 * 1.25)
  const before = slot.buffer
  new Uint8Array(before).set([1, 2, 3])
  pool.enlarge(slot, 9_000_001, 3)
  expect(slot.buffer.byteLength).toBeGreaterThanOrEqual(before.byteLength * 2)
  expect([...new Uint8Array(slot.buffer).subarray(0, 3)]).toEqual([1, 2, 3])
})

test('after a huge table a small one gives the memory back', () => {
  const pool = new ImagePool()
  pool.workerStarted(1)
  for (const bytes of [50_000_000, 50_000_000, 10_000, 10_000]) pool.acknowledged(1, publish(pool, bytes).generation)
  expect(pool.bytes).toBeLessThan(200_000)
})

test('only a slot that is being written can be published', () => {
  expect(() => new ImagePool().published(1)).toThrow('not being written')
})

test('an image that nobody holds can be given up again: nothing happens', () => {
  const pool = new ImagePool()
  const { generation } = publish(pool)
  pool.release(generation)
  pool.release(99)
  expect(pool.retain(generation)).toBe(true)
})
