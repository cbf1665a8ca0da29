import { afterEach, expect, test } from 'vitest'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { UpstreamSockets } from '../../src/worker/batch/upstream-sockets.ts'
import { sys } from './data-plane.ts'

const opened = new Int32Array(64).fill(-1)
const sockets = new UpstreamSockets(sys, () => 0, opened)
afterEach(() => sockets.closeAll())

const at = (address: string): UpstreamServer => ({ label: address, transport: 'udp', address, port: 53 })

test('a link-local server whose interface is not there gets no socket, and the others do', () => {
  sockets.configure([at('fe80::1%nowhere'), at('127.0.0.1')], 1000, 0)
  expect(sockets.pick(0, -1, 0)).toBeNull()
  expect(sockets.pick(1, -1, 0)).toMatchObject({ server: 1 })
  expect(opened.filter((fd) => fd >= 0)).toHaveLength(1)
})

test('a socket is replaced after a bounded use and a bounded time, so that its port is another one', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  const first = sockets.pick(0, -1, 0)!
  expect(sockets.pick(0, -1, 59_999)).toBe(first)
  const second = sockets.pick(0, -1, 60_000)!
  expect(second.number).not.toBe(first.number)
  second.uses = 8192
  expect(sockets.pick(0, -1, 60_001)!.number).not.toBe(second.number)
  // Replies may still be under way to those that were replaced.
  expect([...sockets.all()]).toHaveLength(3)
  sockets.closeRetired(sockets.nextClose)
  expect([...sockets.all()]).toHaveLength(2)
})

test('replaced sockets are bounded in number, but none is closed before the round is over: it may be in its poll set', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  sockets.closeRetired(Number.POSITIVE_INFINITY)
  const replaced = Array.from({ length: 40 }, (_, k) => {
    const socket = sockets.pick(0, -1, k)!
    socket.uses = 8192
    return socket
  })
  const inUse = sockets.pick(0, -1, 40)!
  expect(new Set([...sockets.all()].map(({ fd }) => fd)).size).toBe(41)
  expect(sockets.nextClose).toBe(0)
  // The oldest go first.
  sockets.closeRetired(40)
  expect([...sockets.all()]).toEqual([inUse, ...replaced.slice(8)])
  expect(sockets.nextClose).toBe(replaced[8]!.closeAt)
})

test('a new deadline counts for sockets that are replaced from then on', () => {
  sockets.configure([at('127.0.0.1')], 1000, 0)
  sockets.pick(0, -1, 0)
  // The queries under way by that one were sent with the old deadline.
  sockets.configure([at('127.0.0.1')], 9000, 10)
  expect(sockets.nextClose).toBe(1010)
  sockets.closeRetired(1010)
  sockets.pick(0, -1, 2000)
  sockets.configure([at('127.0.0.1')], 1000, 2000)
  expect(sockets.nextClose).toBe(11_000)
})
