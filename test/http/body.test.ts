import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { type HttpLimits, HttpServer } from '../../src/http/http-server.ts'
import { type Reply, type Route, type RouteRequest, text } from '../../src/http/route.ts'
import { fakeLog } from '../observe/fake-sources.ts'
import { httpRequest } from './http-request.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

interface Address {
  address: string
  port: number
}

async function serve(
  body: (request: RouteRequest) => Reply['body'],
  limits: Partial<HttpLimits> = {},
): Promise<{ at: Address; server: HttpServer }> {
  const list: Route = {
    method: 'GET',
    path: '/list',
    purpose: 'listing',
    about: '',
    handle: (request) => ({ status: 200, type: 'text/plain', body: body(request) }),
  }
  const probe: Route = { ...list, path: '/probe', purpose: 'probe', handle: () => text(200, 'ok') }
  const log = fakeLog()
  const server = new HttpServer({ name: 'admin', address: '127.0.0.1', port: 0, routes: [list, probe], log, limits })
  stops.push(() => server.stop(0))
  await server.start()
  return { at: (await server.bound())!, server }
}

/** Asks for the listing and reads its head only. */
async function askSlowly({ address, port }: Address): Promise<Socket> {
  const socket = connect(port, address)
  stops.push(() => socket.destroy())
  socket.on('error', () => socket.destroy())
  socket.write('GET /list HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(socket, 'readable')
  return socket
}

const PIECE = 'x'.repeat(1 << 20)

/** More than kernel buffers hold. `state.ended`: it was told that nobody wants more. */
function* endless(state: { ended: number }): Generator<string> {
  try {
    for (;;) yield PIECE
  } finally {
    state.ended++
  }
}

async function* ticking(state: { ended: number }, signal: AbortSignal): AsyncGenerator<string> {
  try {
    yield 'first'
    await once(signal, 'abort')
  } finally {
    state.ended++
  }
}

describe('the producer of a body', () => {
  test('is told when the client goes away', async () => {
    const state = { ended: 0 }
    const { at } = await serve(() => endless(state))
    const socket = await askSlowly(at)
    expect(state.ended).toBe(0)
    socket.destroy()
    await expect.poll(() => state.ended).toBe(1)
  })

  test('is told by the signal while it waits for something to send', async () => {
    const state = { ended: 0 }
    const { at } = await serve(({ signal }) => ticking(state, signal))
    const socket = await askSlowly(at)
    // What it has is sent at once, not kept until there is more.
    expect(String(socket.read())).toContain('first')
    socket.destroy()
    await expect.poll(() => state.ended).toBe(1)
  })

  test('is told when the server stops', async () => {
    const state = { ended: 0 }
    const { at, server } = await serve(() => endless(state))
    await askSlowly(at)
    await server.stop(1)
    await expect.poll(() => state.ended).toBe(1)
  })

  test('is not begun for HEAD', async () => {
    let begun = 0
    const { at } = await serve(() => ({
      *[Symbol.iterator]() {
        begun++
        yield 'x'
      },
    }))
    expect(await httpRequest(at, '/list', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' })
    expect(begun).toBe(0)
    expect((await httpRequest(at, '/list')).body).toBe('x')
    expect(begun).toBe(1)
  })

  test('keeps nothing else from running while it has much to send', async () => {
    let turns = 0
    const count = (): void => {
      turns++
      timer = setImmediate(count)
    }
    let timer = setImmediate(count)
    stops.push(() => clearImmediate(timer))
    const before = turns
    const seen: number[] = []
    const { at } = await serve(() => ({
      *[Symbol.iterator]() {
        for (let n = 0; n < 32; n++) {
          seen.push(turns)
          yield PIECE
        }
      },
    }))
    await httpRequest(at, '/list')
    expect(new Set(seen).size).toBe(32)
    expect(turns).toBeGreaterThan(before)
  })
})

describe('a client that reads slowly', () => {
  test('is cut off after a while, and cannot take what it has for complete', async () => {
    const state = { ended: 0 }
    const { at } = await serve(() => endless(state), { sendMs: { probe: 1000, page: 1000, listing: 20, stream: 1 } })
    const socket = await askSlowly(at)
    await expect.poll(() => state.ended).toBe(1)
    let received = ''
    socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1', 0, 512) + chunk.toString('latin1', -8)))
    await once(socket, 'close')
    expect(received).toMatch(/^HTTP\/1\.1 200 OK[^]*transfer-encoding: chunked/i)
    expect(received.endsWith('0\r\n\r\n')).toBe(false)
  })

  test('holds one of the two places for listings until it is gone', async () => {
    const state = { ended: 0 }
    const { at } = await serve(() => endless(state))
    const [first] = [await askSlowly(at), await askSlowly(at)]
    expect(await httpRequest(at, '/list')).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
    expect((await httpRequest(at, '/probe')).status).toBe(200)
    first.destroy()
    await expect.poll(() => state.ended).toBe(1)
    const third = await askSlowly(at)
    third.resume()
    expect((await httpRequest(at, '/list')).status).toBe(503)
  })
})

test('listings that were asked for ahead give their places back when the connection goes', async () => {
  const state = { ended: 0 }
  let begun = 0
  const { at } = await serve(() => {
    begun++
    return begun <= 2 ? endless(state) : ['ok']
  })
  const socket = await askSlowly(at)
  socket.write('GET /list HTTP/1.1\r\nHost: x\r\n\r\n')
  await expect.poll(() => begun).toBe(2)
  expect((await httpRequest(at, '/list')).status).toBe(503)
  socket.destroy()
  await expect.poll(async () => (await httpRequest(at, '/list')).status).toBe(200)
  const [other] = [await httpRequest(at, '/list')]
  expect(other.body).toBe('ok')
})

test('an async body arrives whole, piece by piece', async () => {
  const { at } = await serve(async function* () {
    for (const piece of ['a', '', 'b', 'ü']) {
      await Promise.resolve()
      yield piece
    }
  })
  expect((await httpRequest(at, '/list')).body).toBe('abü')
})

test('an async body that fails halfway breaks the connection', async () => {
  const { at } = await serve(async function* () {
    yield 'half'
    await Promise.resolve()
    throw new Error('the rest is gone')
  })
  await expect(httpRequest(at, '/list')).rejects.toThrow()
  expect((await httpRequest(at, '/probe')).status).toBe(200)
})
