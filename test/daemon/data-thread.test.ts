import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { afterEach, expect, test } from 'vitest'
import { startFirstThread } from '../../src/daemon/data-thread.ts'

const threads: Worker[] = []
afterEach(async () => {
  await Promise.all(threads.splice(0).map(async (thread) => await thread.terminate()))
})

function taken(thread: Worker): Worker {
  threads.push(thread)
  return thread
}

test('the first thread is on its way before it is asked for; each is given once, each worker its own', async () => {
  const startThread = startFirstThread()
  const second = taken(startThread(1))
  const first = taken(startThread(0))
  expect(first.threadId).toBeLessThan(second.threadId)
  expect(taken(startThread(0)).threadId).toBeGreaterThan(second.threadId)
  await once(first, 'online')
})

test('one that has ended before it is asked for is replaced', async () => {
  const startThread = startFirstThread()
  const first = startThread(0)
  await first.terminate()
  const again = taken(startThread(0))
  expect(again).not.toBe(first)
  await once(again, 'online')
})
