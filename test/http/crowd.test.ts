import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { clientOf } from '../../src/http/connections.ts'
import { DEFAULT_LIMITS, type HttpLimits, HttpServer } from '../../src/http/http-server.ts'
import { type Reply, type Route, text } from '../../src/http/route.ts'
import { fakeLog } from '../observe/fake-sources.ts'
import { type HttpReply, httpRequest } from './http-request.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const PROBE: Route = {
  method: 'GET',
  path: '/healthz',
  purpose: 'probe',
  about: 'probe',
  handle: () => text(200, 'ok'),
}

interface Address {
  address: string
  port: number
}

async function serve(routes: Route[] = [PROBE], limits: Partial<HttpLimits> = {}): Promise<Address> {
  const log = fakeLog()
  const server = new HttpServer({ name: 'metrics', address: '0.0.0.0', port: 0, routes, log, limits })
  stops.push(() => server.stop(0))
  await server.start()
  return { address: '127.0.0.1', port: (await server.bound())!.port }
}

/** A client's connection, and what came over it. */
class Client {
  readonly socket: Socket
  received = ''
  #changed: PromiseWithResolvers<void> = Promise.withResolvers()

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1')
      this.#tell()
    })
    socket.on('close', () => this.#tell())
    stops.push(() => socket.destroy())
  }

  static async open(at: Address, localAddress: string = '127.0.0.1'): Promise<Client> {
    const socket = connect({ host: at.address, port: at.port, localAddress })
    const client = new Client(socket)
    await once(socket, 'connect')
    return client
  }

  send(...paths: string[]): void {
    this.socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''))
  }

  /** Waits for so many replies of `ok`. */
  async replies(count: number): Promise<void> {
    while (this.received.split('\r\n\r\nok\n').length <= count) {
      if (this.socket.closed) throw new Error(`closed after ${JSON.stringify(this.received)}`)
      await this.#changed.promise
    }
  }

  async closed(): Promise<void> {
    while (!this.socket.closed) await this.#changed.promise
  }

  #tell(): void {
    const { resolve } = this.#changed
    this.#changed = Promise.withResolvers()
    resolve()
  }
}

async function openMany(at: Address, count: number, localAddress?: string): Promise<Client[]> {
  const clients: Client[] = []
  // One after the other: their order matters.
  for (let n = 0; n < count; n++) clients.push(await Client.open(at, localAddress))
  return clients
}

/** Which of them the server has not closed: they still get an answer. */
async function alive(clients: readonly Client[]): Promise<boolean[]> {
  return await Promise.all(
    clients.map(async (client) => {
      if (client.socket.closed) return false
      const before = client.received.split('\r\n\r\nok\n').length
      client.send('/healthz')
      return await client.replies(before).then(
        () => true,
        () => false,
      )
    }),
  )
}

describe('a probe is answered', () => {
  const crowds: [what: string, path: string, behave: (client: Client) => void][] = [
    ['that are idle', '', () => {}],
    ['that have sent half of a request', '', ({ socket }) => void socket.write('GET /healthz HTTP/1.1\r\nX-Slow: ')],
    ['that were answered and keep the connection', '', (client) => client.send('/healthz')],
    [
      'that read nothing of what they asked for',
      '/big',
      (client) => {
        client.socket.pause()
        client.send('/big')
      },
    ],
  ]
  const big: Route = {
    ...PROBE,
    path: '/big',
    purpose: 'page',
    handle: () => text(200, 'x'.repeat(8 << 20)),
  }
  test.each(crowds)('among 200 connections of one client %s', async (_, __, behave) => {
    const at = await serve([PROBE, big])
    for (const client of await openMany(at, 200)) behave(client)
    expect(await httpRequest(at, '/healthz')).toMatchObject({ status: 200, body: 'ok\n' })
  })

  test('among 200 idle connections of four clients', async () => {
    const at = await serve()
    for (let client = 2; client <= 5; client++) await openMany(at, 50, `127.0.0.${client}`)
    expect((await httpRequest(at, '/healthz')).status).toBe(200)
  })

  test('while pages are asked for that never come', async () => {
    const hung: Route = { ...PROBE, path: '/hung', purpose: 'page', handle: () => new Promise(() => {}) }
    const at = await serve([PROBE, hung])
    for (const client of await openMany(at, 100)) client.send('/hung')
    expect((await httpRequest(at, '/healthz')).status).toBe(200)
  })
})

describe('of too many connections', () => {
  test('none goes as long as there are no more than may be', async () => {
    const at = await serve([PROBE], { most: 5, mostPerClient: 3 })
    const clients = [...(await openMany(at, 3)), ...(await openMany(at, 2, '127.0.0.2'))]
    expect(await alive(clients)).toEqual([true, true, true, true, true])
  })

  test('one more of the same client displaces its own that has waited longest, and nobody else’s', async () => {
    const at = await serve([PROBE], { most: 64, mostPerClient: 3 })
    const others = await openMany(at, 2, '127.0.0.2')
    const clients = await openMany(at, 3)
    // The oldest has just been answered: the second has waited longest.
    clients[0]!.send('/healthz')
    await clients[0]!.replies(1)
    const last = await Client.open(at)
    await clients[1]!.closed()
    expect(await alive([...clients, last, ...others])).toEqual([true, false, true, true, true, true])
  })

  test('one more of another client displaces one of the client that has most', async () => {
    const at = await serve([PROBE], { most: 4, mostPerClient: 3 })
    const few = await openMany(at, 1)
    const many = await openMany(at, 3, '127.0.0.2')
    const last = await Client.open(at, '127.0.0.3')
    await many[0]!.closed()
    expect(await alive([...few, ...many, last])).toEqual([true, false, true, true, true])
  })

  test('where none waits, the one goes that has read its reply longest', async () => {
    const big: Route = { ...PROBE, path: '/big', purpose: 'page', handle: () => text(200, 'x'.repeat(8 << 20)) }
    const at = await serve([PROBE, big], { most: 64, mostPerClient: 2 })
    const clients = await openMany(at, 2)
    for (const { socket } of clients) {
      socket.write('GET /big HTTP/1.1\r\nHost: x\r\n\r\n')
      await once(socket, 'data')
      socket.pause()
    }
    const last = await Client.open(at)
    clients[0]!.socket.resume()
    await clients[0]!.closed()
    expect(clients[0]!.received.length).toBeLessThan(8 << 20)
    expect(clients[1]!.socket.closed).toBe(false)
    expect(await alive([last])).toEqual([true])
  })

  test('one that is being answered stays, and one that waits goes', async () => {
    const asked = Promise.withResolvers<void>()
    const release = Promise.withResolvers<void>()
    const slow: Route = {
      ...PROBE,
      path: '/slow',
      handle: async () => {
        asked.resolve()
        await release.promise
        return text(200, 'ok')
      },
    }
    const at = await serve([PROBE, slow], { most: 64, mostPerClient: 2 })
    const answered = await Client.open(at)
    answered.send('/slow')
    await asked.promise
    const waiting = await Client.open(at)
    await Client.open(at)
    await waiting.closed()
    release.resolve()
    await answered.replies(1)
  })

  test('those that went leave room for others', async () => {
    const at = await serve([PROBE], { most: 2, mostPerClient: 2 })
    for (let n = 0; n < 5; n++) {
      const clients = await openMany(at, 2)
      expect(await alive(clients)).toEqual([true, true])
    }
  })
})

describe('where every connection is being answered', () => {
  test('sixteen more are taken in, and the next is refused', async () => {
    const { route, release, entered } = heldRoute('probe')
    const at = await serve([route], {
      most: 2,
      mostPerClient: 40,
      atOnce: { probe: 40, page: 1, listing: 1, stream: 1 },
    })
    const clients: Client[] = []
    for (let n = 1; n <= 18; n++) {
      clients.push(await Client.open(at))
      clients.at(-1)!.send('/held')
      // One that waits for its request would be displaced by the next.
      await expect.poll(entered, { interval: 2 }).toBe(n)
    }
    const last = await Client.open(at)
    await last.closed()
    release()
    for (const client of clients) await client.replies(1)
  })

  test('one that has sent ahead and is not done is not displaced', async () => {
    const { route, release, entered } = heldRoute('page')
    const at = await serve([PROBE, route], { most: 64, mostPerClient: 2 })
    const ahead = await Client.open(at)
    ahead.send('/healthz', '/held')
    await ahead.replies(1)
    await expect.poll(entered).toBe(1)
    const other = await Client.open(at)
    await Client.open(at)
    await other.closed()
    release()
    await ahead.replies(2)
  })
})

test('connections that went are counted no longer, and those that stay still are', async () => {
  const at = await serve([PROBE], { most: 64, mostPerClient: 3 })
  const [gone, stays] = await openMany(at, 2)
  gone!.socket.end()
  await gone!.closed()
  for (let n = 1; n <= 2; n++) {
    stays!.send('/healthz')
    await stays!.replies(n)
  }
  const two = await openMany(at, 2)
  expect(await alive([stays!, ...two])).toEqual([true, true, true])
  await Client.open(at)
  await stays!.closed()
})

describe('a connection', () => {
  test('answers one request after the other', async () => {
    const client = await Client.open(await serve())
    for (let n = 1; n <= 20; n++) {
      client.send('/healthz')
      await client.replies(n)
    }
  })

  test('may send eight requests ahead, and is closed at the ninth', async () => {
    const release = Promise.withResolvers<void>()
    const slow: Route = { ...PROBE, handle: () => release.promise.then(() => text(200, 'ok')) }
    const at = await serve([slow])
    const eight = await Client.open(at)
    eight.send(...Array.from({ length: 8 }, () => '/healthz'))
    const nine = await Client.open(at)
    nine.send(...Array.from({ length: 9 }, () => '/healthz'))
    await nine.closed()
    release.resolve()
    await eight.replies(8)
    // What was sent ahead over the closed connection counts no longer: its places are free.
    const again = await openMany(at, 4)
    for (const client of again) client.send(...Array.from({ length: 8 }, () => '/healthz'))
    await Promise.all(again.map((client) => client.replies(8)))
  })
})

/** A route whose requests are answered once `release` is called. */
function heldRoute(purpose: Route['purpose']): { route: Route; release: () => void; entered: () => number } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let entered = 0
  const handle = async (): Promise<Reply> => {
    entered++
    await promise
    return text(200, 'ok')
  }
  return { route: { ...PROBE, path: '/held', purpose, handle }, release: resolve, entered: () => entered }
}

describe('requests at once', () => {
  test.each(['probe', 'page', 'listing'] as const)(
    'of purpose %s: as many as may be, one more gets 503',
    async (purpose) => {
      const { route, release, entered } = heldRoute(purpose)
      const at = await serve([PROBE, route], { atOnce: { probe: 3, page: 3, listing: 3, stream: 1 } })
      const held = [1, 2, 3].map(() => httpRequest(at, '/held'))
      await expect.poll(entered).toBe(3)
      expect(await httpRequest(at, '/held')).toMatchObject({
        status: 503,
        body: 'busy: too many requests of this kind at once; try again\n',
        headers: { 'retry-after': '1' },
      })
      // Other purposes have places of their own.
      if (purpose !== 'probe') expect((await httpRequest(at, '/healthz')).status).toBe(200)
      release()
      expect((await Promise.all(held)).map(({ status }: HttpReply) => status)).toEqual([200, 200, 200])
      expect((await httpRequest(at, '/held')).status).toBe(200)
    },
  )

  test('as many as may be, however many there were before', async () => {
    const { route, release, entered } = heldRoute('page')
    const quick: Route = { ...PROBE, path: '/quick', purpose: 'page' }
    const at = await serve([quick, route], { atOnce: { probe: 1, page: 2, listing: 1, stream: 1 } })
    for (let n = 0; n < 3; n++) await httpRequest(at, '/quick')
    const held = [1, 2].map(() => httpRequest(at, '/held'))
    await expect.poll(entered).toBe(2)
    expect((await httpRequest(at, '/quick')).status).toBe(503)
    release()
    await Promise.all(held)
  })

  test('a page that is read slowly takes no place from others', async () => {
    const big: Route = { ...PROBE, path: '/big', purpose: 'page', handle: () => text(200, 'x'.repeat(8 << 20)) }
    const at = await serve([big], { atOnce: { probe: 1, page: 1, listing: 1, stream: 1 } })
    const slow = await Client.open(at)
    slow.send('/big')
    await once(slow.socket, 'data')
    slow.socket.pause()
    expect((await httpRequest(at, '/big')).status).toBe(200)
  })

  test('a handler that fails gives its place back', async () => {
    const broken: Route = { ...PROBE, path: '/broken', purpose: 'page', handle: () => Promise.reject(new Error('no')) }
    const at = await serve([broken])
    for (let n = 0; n <= DEFAULT_LIMITS.atOnce.page; n++) expect((await httpRequest(at, '/broken')).status).toBe(500)
  })

  test('one that was answered for gives its place back', async () => {
    const hung: Route = { ...PROBE, path: '/hung', purpose: 'page', handle: () => new Promise(() => {}) }
    const at = await serve([hung], { handlerMs: 5, atOnce: { probe: 1, page: 1, listing: 1, stream: 1 } })
    for (let n = 0; n < 3; n++) expect((await httpRequest(at, '/hung')).body).toBe('no answer within 5 ms\n')
  })
})

test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::1', '0:0:0:0::/64'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::6', '2001:db8:0:0::/64'],
  ['2001:db8::4:5:6:7:8', '2001:db8:0:4::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('the client of %s is %s', (address, client) => {
  expect(clientOf(address)).toBe(client)
})
