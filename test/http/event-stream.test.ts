import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { EventStream } from '../../src/http/event-stream.ts'
import { type HttpLimits, HttpServer } from '../../src/http/http-server.ts'
import { type Route, text } from '../../src/http/route.ts'
import { fakeLog } from '../observe/fake-sources.ts'
import { httpRequest } from './http-request.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** Waits, on a busy machine too. */
function until<T>(read: () => T): ReturnType<typeof expect.poll<T>> {
  return expect.poll(read)
}

interface Address {
  address: string
  port: number
}

/** A clock whose timers run when told. */
function handClock(): Clock & { ring: () => void; timers: Set<() => void> } {
  const timers = new Set<() => void>()
  return {
    timers,
    now: () => 0,
    after: (_, run) => {
      timers.add(run)
      return () => timers.delete(run)
    },
    ring: () => {
      for (const run of timers) run()
    },
  }
}

async function serve(
  stream: EventStream,
  limits: Partial<HttpLimits> = {},
  first: unknown = 'first',
): Promise<{ at: Address; server: HttpServer }> {
  const events: Route = {
    method: 'GET',
    path: '/events',
    purpose: 'stream',
    about: '',
    handle: ({ signal }) => stream.reply([{ event: 'first', data: first }], signal),
  }
  const page: Route = { ...events, path: '/page', purpose: 'page', handle: () => text(200, 'ok') }
  const log = fakeLog()
  const server = new HttpServer({ name: 'admin', address: '127.0.0.1', port: 0, routes: [events, page], log, limits })
  stops.push(() => server.stop(0))
  await server.start()
  return { at: (await server.bound())!, server }
}

interface Follower {
  socket: Socket
  received: () => string
}

async function follow({ address, port }: Address): Promise<Follower> {
  const socket = connect(port, address)
  stops.push(() => socket.destroy())
  let received = ''
  socket.setEncoding('utf8')
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: string) => (received += chunk))
  socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => received).toContain('\r\n\r\n')
  return { socket, received: () => received }
}

const tick = (n: number): { event: string; data: unknown } => ({ event: 'tick', data: { n, line: 'a\nb' } })

test('every reader gets the first events, then what is published, one line of JSON each', async () => {
  const stream = new EventStream(handClock())
  const { at } = await serve(stream)
  const readers = [await follow(at), await follow(at)]
  await until(() => stream.size).toBe(2)
  stream.publish([tick(1), tick(2)])
  for (const { received } of readers) {
    await until(received).toContain('"n":2')
    expect(received()).toContain('content-type: text/event-stream; charset=utf-8\r\n')
    expect(received()).toContain('retry: 2000\n\nevent: first\ndata: "first"\n\n')
    expect(received()).toContain('event: tick\ndata: {"n":1,"line":"a\\nb"}\n\nevent: tick\ndata: {"n":2')
  }
})

test('one that goes away is forgotten, and nothing of it is left to wait', async () => {
  const clock = handClock()
  const stream = new EventStream(clock)
  const { at } = await serve(stream)
  const { socket } = await follow(at)
  await until(() => [stream.size, clock.timers.size]).toEqual([1, 1])
  socket.destroy()
  await until(() => [stream.size, clock.timers.size]).toEqual([0, 0])
})

test('without events a comment is sent now and then', async () => {
  const clock = handClock()
  const { at } = await serve(new EventStream(clock))
  const { received } = await follow(at)
  await until(() => clock.timers.size).toBe(1)
  clock.ring()
  await until(received).toContain('\n:\n\n')
})

test('there are no more streams at once than may be, and other requests are answered beside them', async () => {
  const stream = new EventStream(handClock())
  const { at } = await serve(stream, { atOnce: { probe: 1, page: 1, listing: 1, stream: 2 } })
  const { socket } = await follow(at)
  await follow(at)
  expect(await httpRequest(at, '/events')).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
  expect((await httpRequest(at, '/page')).status).toBe(200)
  socket.destroy()
  await until(() => stream.size).toBe(1)
  expect((await follow(at)).received()).toContain('200 OK')
})

test('a reader that takes nothing keeps only the newest events, and is dropped', async () => {
  const stream = new EventStream(handClock())
  // More than the buffers of the kernel hold.
  const { at } = await serve(stream, { stalledMs: 200 }, 'x'.repeat(16 << 20))
  const socket = connect(at.port, at.address)
  stops.push(() => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => stream.size).toBe(1)
  for (let n = 0; n < 1000; n++) stream.publish([tick(n)])
  await until(() => stream.size).toBe(0)
})

test('a slow reader misses what was followed by newer events before it took them', async () => {
  const stream = new EventStream(handClock())
  const { at } = await serve(stream)
  const { received } = await follow(at)
  await until(() => stream.size).toBe(1)
  for (let n = 0; n < 10; n++) stream.publish([tick(n)])
  await until(received).toContain('"n":9')
  expect(received()).not.toContain('"n":5')
})

test('the end of the server ends a stream at once, whole, so that its client may come back', async () => {
  const stream = new EventStream(handClock())
  const { at, server } = await serve(stream)
  const { socket, received } = await follow(at)
  await until(() => stream.size).toBe(1)
  const closed = once(socket, 'close')
  // The test would run into its own limit otherwise.
  await server.stop(600_000)
  await closed
  expect(received().endsWith('0\r\n\r\n')).toBe(true)
  expect(stream.size).toBe(0)
})

test('a stream has an end, after which its client must show its token again', async () => {
  const stream = new EventStream(handClock())
  const { at } = await serve(stream, { sendMs: { probe: 1, page: 1000, listing: 1, stream: 50 } })
  const { socket } = await follow(at)
  if (!socket.closed) await once(socket, 'close')
  await until(() => stream.size).toBe(0)
})

test('HEAD of a stream ends', async () => {
  const stream = new EventStream(handClock())
  const { at } = await serve(stream)
  expect(await httpRequest(at, '/events', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' })
  expect(stream.size).toBe(0)
})
