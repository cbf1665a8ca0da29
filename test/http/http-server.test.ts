import { connect } from 'node:net'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../free-port.ts'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { addressInstead, HttpServer, type HttpServerOptions } from '../../src/http/http-server.ts'
import { type Route, text } from '../../src/http/route.ts'
import { fakeLog } from '../observe/fake-sources.ts'
import { httpRequest } from './http-request.ts'
import { until } from '../until.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const HELLO: Route = {
  method: 'GET',
  path: '/hello',
  purpose: 'page',
  about: 'says hello',
  handle: () => text(200, 'hello'),
}

async function serve(
  options: Partial<HttpServerOptions> = {},
): Promise<{ server: HttpServer; at: { address: string; port: number } }> {
  const server = new HttpServer({
    name: 'metrics',
    address: '127.0.0.1',
    port: 0,
    routes: [HELLO],
    log: fakeLog(),
    ...options,
  })
  stops.push(() => server.stop(0))
  await server.start()
  return { server, at: (await server.bound())! }
}

/** A port that somebody else holds until `free` is called. */
async function takePort(): Promise<{ port: number; free: () => Promise<void> }> {
  const { server, at } = await serve({ port: await freePort() })
  return { port: at.port, free: () => server.stop(0) }
}

function* manyPieces(): Generator<string> {
  for (let i = 0; i < 2000; i++) yield `${i};`.repeat(100)
}

function* brokenPieces(): Generator<string> {
  yield 'half'
  throw new Error('the rest is gone')
}

test('a known path is answered, with headers that keep browsers from using it elsewhere', async () => {
  const { at } = await serve()
  const reply = await httpRequest(at, '/hello?x=1')
  expect(reply).toMatchObject({ status: 200, body: 'hello\n' })
  expect(reply.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
  })
  expect(reply.headers['access-control-allow-origin']).toBeUndefined()
})

test('HEAD gets the headers of GET without the body', async () => {
  const { at } = await serve()
  const reply = await httpRequest(at, '/hello', { method: 'HEAD' })
  expect(reply).toMatchObject({ status: 200, body: '' })
  expect(reply.headers['content-length']).toBe('6')
})

test('an unknown path is 404 and lists what there is', async () => {
  const { at } = await serve()
  for (const path of ['/nothing', '/hello/', '//hello', '/%2e%2e/hello', '/hello%00']) {
    const reply = await httpRequest(at, path)
    expect(reply.status).toBe(404)
    expect(reply.body).toContain('/hello')
    expect(reply.body).toContain('says hello')
  }
})

test('another method is 405 and says which', async () => {
  const { at } = await serve({ routes: [HELLO, { ...HELLO, method: 'POST', path: '/change' }] })
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const reply = await httpRequest(at, '/hello', { method })
    expect(reply.status).toBe(405)
    expect(reply.headers['allow']).toBe('GET, HEAD')
  }
  const reply = await httpRequest(at, '/change')
  expect(reply.status).toBe(405)
  expect(reply.headers['allow']).toBe('POST')
})

test('a body is not taken', async () => {
  const { at } = await serve({ routes: [{ ...HELLO, method: 'POST' }] })
  const post = (headers: Record<string, string>, body: string): Promise<{ status: number }> =>
    httpRequest(at, '/hello', { method: 'POST', headers, body })
  expect((await post({ 'content-length': '1024' }, 'x'.repeat(1024))).status).toBe(200)
  expect((await post({ 'content-length': '1025' }, 'x'.repeat(1025))).status).toBe(413)
  expect((await post({ 'transfer-encoding': 'chunked' }, 'x')).status).toBe(413)
  expect((await post({ 'content-length': '2' }, 'ok')).status).toBe(200)
})

test('headers over the limit are 431', async () => {
  const { at } = await serve()
  expect((await httpRequest(at, '/hello', { headers: { 'x-long': 'x'.repeat(10_000) } })).status).toBe(431)
})

test('a handler that throws is 500 in one line, and the next request is answered', async () => {
  const log = fakeLog()
  const broken: Route = {
    ...HELLO,
    path: '/broken',
    handle: () => {
      throw new Error('out of\norder')
    },
  }
  const { at } = await serve({ routes: [HELLO, broken], log })
  expect(await httpRequest(at, '/broken')).toMatchObject({ status: 500, body: 'failed: out of order\n' })
  expect(log.lines.at(-1)).toMatchObject({ level: 'warn', fields: { path: '/broken' } })
  expect((await httpRequest(at, '/hello')).status).toBe(200)
})

test('a handler that never answers is answered for', async () => {
  const hung: Route = { ...HELLO, path: '/hung', handle: () => new Promise(() => {}) }
  const { at } = await serve({ routes: [hung], limits: { handlerMs: 10 } })
  expect(await httpRequest(at, '/hung')).toMatchObject({ status: 503, body: 'no answer within 10 ms\n' })
})

test('a body in pieces arrives whole', async () => {
  const big: Route = { ...HELLO, path: '/big', handle: () => ({ status: 200, type: 'text/plain', body: manyPieces() }) }
  const { at } = await serve({ routes: [big] })
  expect((await httpRequest(at, '/big')).body).toBe([...manyPieces()].join(''))
})

test('a body that fails halfway breaks the connection instead of looking complete', async () => {
  const half: Route = {
    ...HELLO,
    path: '/half',
    handle: () => ({ status: 200, type: 'text/plain', body: brokenPieces() }),
  }
  const { at } = await serve({ routes: [HELLO, half] })
  await expect(httpRequest(at, '/half')).rejects.toThrow()
  expect((await httpRequest(at, '/hello')).status).toBe(200)
})

test('what is no HTTP gets 400 and does no harm', async () => {
  const { at } = await serve()
  const socket = connect(at.port, at.address)
  socket.write('\x00\x1d\x00\x00garbage\r\n\r\n')
  let reply = ''
  socket.on('data', (chunk) => (reply += chunk.toString()))
  await once(socket, 'close')
  expect(reply).toContain('400 Bad Request')
  expect((await httpRequest(at, '/hello')).status).toBe(200)
})

test('[::] answers over both families', async (context) => {
  const { at } = await serve({ address: '::' })
  expect((await httpRequest({ ...at, address: '127.0.0.1' }, '/hello')).status).toBe(200)
  // A machine without IPv6 is no error: then only the other family is served.
  skipWithoutIPv6(context)
  expect((await httpRequest({ ...at, address: '::1' }, '/hello')).status).toBe(200)
})

test('where there is no IPv6, any address is 0.0.0.0', () => {
  expect(addressInstead('::', 'EAFNOSUPPORT')).toBe('0.0.0.0')
  expect(addressInstead('::', 'EADDRNOTAVAIL')).toBe('0.0.0.0')
  expect(addressInstead('::', 'EADDRINUSE')).toBeNull()
  expect(addressInstead('::1', 'EAFNOSUPPORT')).toBeNull()
})

test('a port that the process before this one is about to leave is no problem for a while', async () => {
  const { port, free } = await takePort()
  const log = fakeLog()
  const start = async (busyAllowedMs: number): Promise<HttpServer> => {
    const pauses = { retryFirstMs: 1, retryMaxMs: 5 }
    const server = new HttpServer({
      name: 'metrics',
      address: '127.0.0.1',
      port,
      routes: [HELLO],
      log,
      busyAllowedMs,
      ...pauses,
    })
    stops.push(() => server.stop(0))
    await server.start()
    return server
  }
  const patient = await start(60_000)
  expect([patient.problem, log.lines]).toEqual([null, []])
  const impatient = await start(1)
  await until(() => expect(impatient.problem).toContain('is in use by another process'))
  await impatient.stop(0)
  await free()
  expect(await patient.bound()).toEqual({ address: '127.0.0.1', port })
})

test('a busy port is reported once and bound when it is free', async () => {
  const { port, free } = await takePort()
  const log = fakeLog()
  const server = new HttpServer({
    name: 'metrics',
    address: '127.0.0.1',
    port,
    routes: [HELLO],
    log,
    retryFirstMs: 1,
    retryMaxMs: 5,
  })
  stops.push(() => server.stop(0))
  await server.start()
  expect(server.problem).toBe(
    `metrics endpoint: 127.0.0.1:${port} is in use by another process; trying again, or set metrics.listen`,
  )
  await free()
  const at = await server.bound()
  expect(at).toEqual({ address: '127.0.0.1', port })
  expect(server.problem).toBeNull()
  expect((await httpRequest(at!, '/hello')).status).toBe(200)
  expect(log.lines.map(({ level }) => level)).toEqual(['warn', 'info'])
})

test('an address that is not there is reported, and stopping ends the attempts', async () => {
  // TEST-NET-1 (RFC 5737): nobody's.
  const server = new HttpServer({ name: 'admin', address: '192.0.2.1', port: 0, routes: [], log: fakeLog() })
  await server.start()
  expect(server.problem).toMatch(/^admin endpoint: 192\.0\.2\.1:0 cannot be bound \(.*EADDRNOTAVAIL/)
  await server.stop(1000)
  expect(await server.bound()).toBeNull()
})

test('stopping lets a request under way end and closes idle connections', async () => {
  const release = Promise.withResolvers<void>()
  const entered = Promise.withResolvers<void>()
  const slow: Route = {
    ...HELLO,
    path: '/slow',
    handle: async () => {
      entered.resolve()
      await release.promise
      return text(200, 'done')
    },
  }
  const { server, at } = await serve({ routes: [slow] })
  const idle = connect(at.port, at.address)
  await once(idle, 'connect')
  const reply = httpRequest(at, '/slow')
  await entered.promise
  const stopped = server.stop(5000)
  release.resolve()
  expect(await reply).toMatchObject({ status: 200, body: 'done\n', headers: { connection: 'close' } })
  await stopped
  await expect(httpRequest(at, '/slow')).rejects.toThrow('ECONNREFUSED')
  idle.destroy()
})

test('stopping cuts off at the deadline what does not end', async () => {
  const entered = Promise.withResolvers<void>()
  const hung: Route = {
    ...HELLO,
    path: '/hung',
    handle: () => {
      entered.resolve()
      return new Promise(() => {})
    },
  }
  const { server, at } = await serve({ routes: [hung] })
  const reply = expect(httpRequest(at, '/hung')).rejects.toThrow()
  await entered.promise
  await server.stop(10)
  await reply
})

test('stopping answers what was sent over a connection that was accepted a moment before, and closes the others', async () => {
  const { server, at } = await serve()
  const [fresh, kept] = [connect(at.port, at.address), connect(at.port, at.address)]
  await Promise.all([once(fresh, 'connect'), once(kept, 'connect')])
  kept.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(kept, 'data')
  // Both are the server's by now: the reply shows that it has accepted what came before.
  const stopped = server.stop(5000)
  await once(kept, 'close')
  fresh.write('GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
  const [reply] = await once(fresh, 'data')
  expect(String(reply)).toMatch(/^HTTP\/1\.1 200 [^]*connection: close[^]*hello\n$/i)
  await stopped
})

test('a socket that cannot be used is not the end: the address is bound as without it', async () => {
  const log = fakeLog()
  const options = { name: 'metrics', address: '127.0.0.1', port: 0, routes: [HELLO], retryFirstMs: 1 }
  const server = new HttpServer({ ...options, log, inheritedFd: 9999 })
  stops.push(() => server.stop(0))
  await server.start()
  expect((await httpRequest((await server.bound())!, '/hello')).status).toBe(200)
})
