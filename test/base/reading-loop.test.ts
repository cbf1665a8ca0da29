import { expect, test } from 'vitest'
import { ReadingLoop } from '../../src/base/reading-loop.ts'
import { FakeClock } from './fake-clock.ts'

/** A loop whose readings end when the test says so. */
function rig(): { loop: ReadingLoop; clock: FakeClock; began: () => number; end: () => void } {
  const clock = new FakeClock()
  let began = 0
  let reading = Promise.withResolvers<void>()
  const loop = new ReadingLoop(() => {
    began++
    reading = Promise.withResolvers<void>()
    return reading.promise
  }, clock)
  return { loop, clock, began: () => began, end: () => reading.resolve() }
}

/** Whatever follows from promises that are settled has happened afterwards. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

test('changes during a reading are one more reading after it, and all wait for that', async () => {
  const { loop, began, end } = rig()
  const first = loop.read()
  expect(loop.isStale).toBe(false)
  const later = [loop.read(), loop.read()]
  expect(loop.isStale).toBe(true)
  end()
  await turn()
  expect(began()).toBe(2)
  expect(loop.isStale).toBe(false)
  end()
  await Promise.all([first, ...later, loop.settled()])
  expect(began()).toBe(2)
})

test('a stop waits for the reading under way and lets no other follow', async () => {
  const { loop, clock, began, end } = rig()
  const reading = loop.read()
  void loop.read()
  const stopped = loop.stop(1000)
  end()
  await Promise.all([reading, stopped])
  expect(began()).toBe(1)
  expect(clock.pending).toEqual([])
})

test('a stop does not wait beyond its deadline, nor for nothing', async () => {
  const { loop, clock } = rig()
  await loop.stop(1000)
  void loop.read()
  let isStopped = false
  const stopped = loop.stop(1000).then(() => (isStopped = true))
  clock.advance(999)
  await turn()
  expect(isStopped).toBe(false)
  clock.advance(1)
  await stopped
})

test('one reading after the other: a change after the end of one begins another', async () => {
  const { loop, began, end } = rig()
  await loop.settled()
  expect([loop.isStale, began()]).toEqual([false, 0])
  for (let n = 1; n <= 2; n++) {
    const reading = loop.read()
    let isSettled = false
    const settled = loop.settled().then(() => (isSettled = true))
    await turn()
    expect(isSettled).toBe(false)
    end()
    await Promise.all([reading, settled])
    expect([began(), loop.isStale]).toEqual([n, false])
  }
})
