import { afterEach, expect, test } from 'vitest'
import { ENOMEM } from '../../src/os/syscalls.ts'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { DatagramSender } from '../../src/worker/batch/datagram-sender.ts'
import { UpstreamBatches } from '../../src/worker/batch/upstream-batches.ts'
import { UpstreamSockets } from '../../src/worker/batch/upstream-sockets.ts'
import { sys } from './data-plane.ts'
import { FakeSyscalls } from './fake-syscalls.ts'

const opened = new Int32Array(128).fill(-1)
const sockets = new UpstreamSockets(sys, () => 0, opened)
afterEach(() => sockets.closeAll())

const times = (count: number, stepMs: number): number[] => Array.from({ length: count }, (_, n) => n * stepMs)
const at = (address: string): UpstreamServer => ({ label: address, transport: 'udp', address, port: 53 })

test('a link-local server whose interface is not there gets no socket, and the others do', () => {
  sockets.configure([at('fe80::1%nowhere'), at('127.0.0.1')], 1000, 0)
  expect(sockets.pick(0, -1, 0)).toBeNull()
  expect(sockets.pick(1, -1, 0)).toMatchObject({ server: 1 })
  expect(opened.filter((fd) => fd >= 0)).toHaveLength(1)
})

test('a socket is replaced after a few questions and a bounded time, so that its port is another one', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  const first = sockets.pick(0, -1, 0)!
  first.uses = 1
  expect(sockets.pick(0, -1, 59_999)).toBe(first)
  const second = sockets.pick(0, -1, 60_000)!
  expect(second.number).not.toBe(first.number)
  second.uses = 31
  expect(sockets.pick(0, -1, 60_001)).toBe(second)
  second.uses = 32
  expect(sockets.pick(0, -1, 60_001)!.number).not.toBe(second.number)
  // Replies may still be under way to those that were replaced.
  expect([...sockets.all()]).toHaveLength(3)
  sockets.closeRetired(sockets.nextClose)
  expect([...sockets.all()]).toHaveLength(2)
})

test('a repeat avoids the socket that it must, used up or not', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  const used = sockets.pick(0, -1, 0)!
  for (const uses of [1, 32, 500]) {
    used.uses = uses
    const other = sockets.pick(0, used.number, 0)!
    expect(other.number).not.toBe(used.number)
    // The one beside it is used up, and replaced: not by the one to avoid.
    other.uses = 32
    const next = sockets.pick(0, used.number, 0)!
    expect([used.number, other.number]).not.toContain(next.number)
  }
})

test('where no more can be opened the socket to avoid is taken only if it is the only one', () => {
  const few = new UpstreamSockets(sys, () => 2, new Int32Array(2).fill(-1))
  few.configure([at('127.0.0.1')], 1000, 0)
  const [first, second] = [few.pick(0, -1, 0)!, few.pick(0, -1, 0)!]
  expect(first.number).not.toBe(second.number)
  expect(few.pick(0, first.number, 0)).toBe(second)
  expect(few.pick(0, second.number, 0)).toBe(first)
  few.closeAll()
  const one = new UpstreamSockets(sys, () => 2, new Int32Array(1).fill(-1))
  one.configure([at('127.0.0.1')], 1000, 0)
  const only = one.pick(0, -1, 0)!
  expect(one.pick(0, only.number, 0)).toBe(only)
  one.closeAll()
})

test('a socket that cannot be waited for is closed at once: nobody would read its replies', () => {
  const watched: number[] = []
  const places = new Int32Array(8).fill(-1)
  const deaf = new UpstreamSockets(
    sys,
    () => 2,
    places,
    (fd) => (watched.push(fd) === 1 ? -ENOMEM : 0),
  )
  deaf.configure([at('127.0.0.1')], 1000, 0)
  expect(deaf.pick(0, -1, 0)).toBeNull()
  expect([...deaf.all(), ...places].every((each) => each === -1)).toBe(true)
  const heard = deaf.pick(0, -1, 0)!
  expect([watched[1], deaf.at(heard.place)]).toEqual([heard.fd, heard])
  deaf.closeAll()
  expect(deaf.at(heard.place)).toBeUndefined()
})

test('a replaced socket is closed with the last reply that it waits for, but not before the round is over', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  sockets.closeRetired(Number.POSITIVE_INFINITY)
  const first = sockets.pick(0, -1, 0)!
  first.uses = 32
  sockets.received(first, 30)
  expect(sockets.nextClose).toBe(Number.POSITIVE_INFINITY)
  sockets.pick(0, -1, 0)
  expect(sockets.nextClose).toBe(1000)
  sockets.received(first, 2)
  expect([sockets.nextClose, [...sockets.all()].includes(first)]).toEqual([0, true])
  sockets.closeRetired(1)
  expect([sockets.nextClose, [...sockets.all()].includes(first)]).toEqual([Number.POSITIVE_INFINITY, false])
})

test('replaced sockets are bounded in number: while so many wait for a silent server, those in use stay', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  sockets.closeRetired(Number.POSITIVE_INFINITY)
  const replaced = Array.from({ length: 64 }, (_, k) => {
    const socket = sockets.pick(0, -1, k)!
    socket.uses = 32
    return socket
  })
  const last = sockets.pick(0, -1, 64)!
  last.uses = 500
  expect(sockets.pick(0, -1, 64)).toBe(last)
  expect([...sockets.all()]).toEqual([last, ...replaced])
  // The oldest has waited long enough.
  sockets.closeRetired(sockets.nextClose)
  expect(sockets.pick(0, -1, 1001)!.number).not.toBe(last.number)
})

test('under load sockets are replaced at a bounded rate: 256 at once, and 128 a second', () => {
  const busy = new UpstreamSockets(sys, () => 0, new Int32Array(4).fill(-1))
  busy.configure([at('127.0.0.1')], 1000, 0)
  // Every question finds its socket used up. Their numbers count from 1.
  const ask = (now: number): number => {
    const socket = busy.pick(0, -1, now)!
    socket.uses = 32
    busy.received(socket, 32)
    busy.closeRetired(now)
    return socket.number
  }
  expect(times(1000, 0).map(ask).at(-1)).toBe(1 + 256)
  expect(busy.mayReplace(0)).toBe(false)
  // Less than one is due from one question to the next.
  expect(times(10_001, 0.3).map(ask).at(-1)).toBeCloseTo(1 + 256 + 3 * 128, -0.5)
  expect(busy.mayReplace(100_000)).toBe(true)
  busy.closeAll()
})

test('a large batch leaves by several ports as long as there are others to be had, and then by one', () => {
  const fake = new FakeSyscalls()
  const own = new UpstreamSockets(fake, () => 0, new Int32Array(128).fill(-1))
  const batches = new UpstreamBatches(fake, new DatagramSender(fake), own, false)
  own.configure([at('192.0.2.53')], 1000, 0)
  batches.configure([at('192.0.2.53')])
  const sendBatch = (): number[] => {
    const numbers = Array.from({ length: 64 }, () => batches.add(0, 40, -1, 0))
    batches.flush()
    return [...new Set(numbers)]
  }
  expect(sendBatch()).toEqual([1, 2])
  expect(fake.upstreamSockets.map(({ sent }) => sent.length)).toEqual([32, 32])
  // Nobody replies: 64 sockets wait, and the last one stays.
  for (let n = 0; n < 40; n++) sendBatch()
  expect(sendBatch()).toEqual([65])
  own.closeAll()
})

test('a new deadline counts for sockets that are replaced from then on', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  sockets.pick(0, -1, 0)!.uses = 1
  // The queries under way by that one were sent with the old deadline.
  sockets.configure([at('127.0.0.1')], 9000, 10)
  expect(sockets.nextClose).toBe(1010)
  sockets.closeRetired(1010)
  sockets.pick(0, -1, 2000)!.uses = 1
  sockets.configure([at('127.0.0.1')], 1000, 2000)
  expect(sockets.nextClose).toBe(11_000)
})
