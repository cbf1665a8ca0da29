import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import type { StatusReport } from '../../src/observe/status.ts'
import { byname } from './byname-process.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

/** An admin endpoint that answers these paths (`POST path` for those that are not got); returns its address. */
async function serve(bodies: Record<string, string>): Promise<string> {
  const server = createServer((request, response) => {
    const body = bodies[`${request.method === 'GET' ? '' : `${request.method} `}${request.url}`]
    response.statusCode = body === undefined ? 404 : 200
    response.end(body ?? 'not found\nmore')
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
}

const table = {
  table: {
    'reviews.shop.svc.cluster.local': {
      ips: ['10.0.0.7', 'fd00::7'],
      registry: 'Kubernetes',
      shortname: 'reviews',
      namespace: 'shop',
    },
    '*.example.com': { ips: ['240.240.0.1'], registry: 'External' },
  },
}

const status: StatusReport = {
  version: '0.1.0',
  pid: 42,
  startedAt: '2026-01-01T00:00:00.000Z',
  uptimeSeconds: 11_520,
  ready: true,
  missing: [],
  driver: { name: 'dgram', why: 'asked for' },
  listeners: [
    { proto: 'udp', address: '127.0.0.1', port: 15053 },
    { proto: 'tcp', address: '127.0.0.1', port: 15053 },
    { proto: 'udp', address: '::1', port: 15053 },
  ],
  workers: { count: 1, restarts: 0 },
  requests: 1234,
  responses: { mesh: 1000, cache: 200, stale: 0, upstream: 34, local: 0 },
  table: {
    hosts: 2,
    bytes: 4096,
    version: 'v7',
    source: 'xds 127.0.0.1:15010',
    fromLastKnownGood: false,
    ageSeconds: 75,
    skippedHosts: 0,
    updates: { changed: 3, unchanged: 1, refused: 0 },
  },
  xds: { connected: true, reconnects: 1, away: null },
  credentials: [],
  cache: {
    entries: 1,
    bytes: 300,
    requests: 10,
    hits: 8,
    positiveHits: 7,
    negativeHits: 1,
    staleHits: 0,
    misses: 2,
    hitRatio: 0.8,
    evictions: 0,
    prefetches: 0,
  },
  rules: null,
  upstreams: [
    {
      label: '10.0.0.10:53',
      routes: ['.', 'corp.example'],
      isLoop: false,
      healthy: false,
      rttMs: 1.23,
      requests: { udp: 2 },
      failures: { timeout: 1 },
    },
  ],
  drops: { runt: 2 },
  socketDrops: 5,
  receiveBufferBytes: 0,
  warnings: ['mind the \u001b[31m gap'],
  problems: [],
  reload: null,
  health: {
    state: 'failing',
    sentence: 'resolver 10.0.0.10:53 fails: 1 timeout; \u001b[31m answering',
    causes: ['resolver 10.0.0.10:53 fails: 1 timeout'],
  },
}

describe('table', () => {
  test('is shown in name order, addresses and all', async () => {
    const admin = await serve({ '/debug/table': JSON.stringify(table) })
    expect(await byname(['table', '--admin', admin])).toEqual({
      code: 0,
      err: '',
      out: `HOST                            REGISTRY    NAMESPACE  SHORT NAME  ADDRESSES
*.example.com                   External    -          -           240.240.0.1
reviews.shop.svc.cluster.local  Kubernetes  shop       reviews     10.0.0.7 fd00::7
`,
    })
  })

  test('--json is what the endpoint sends, fit for mesh.source.table', async () => {
    const body = JSON.stringify(table)
    const admin = await serve({ '/debug/table': body })
    expect((await byname(['table', '--json'], { BYNAME_ADMIN_LISTEN: admin })).out).toBe(`${body}\n`)
  })

  test('an empty table says so', async () => {
    const admin = await serve({ '/debug/table': '{}' })
    expect((await byname(['table', '--admin', admin])).out).toBe('The name table is empty.\n')
  })
})

describe('status', () => {
  test('is shown for people', async () => {
    const admin = await serve({ '/debug/status': JSON.stringify(status) })
    const { code, out } = await byname(['status', '--admin', admin])
    expect(code).toBe(0)
    expect(out).toBe(`resolver 10.0.0.10:53 fails: 1 timeout; \\x1b[31m answering

byname       0.1.0, ready, up 3 h 12 min, pid 42
listening    127.0.0.1:15053 UDP+TCP, [::1]:15053 UDP
driver       dgram (asked for), 1 worker, 0 restarts
table        2 hosts, 4.0 KiB, version v7, 1 min old, from xds 127.0.0.1:15010; updates 3 changed, 1 unchanged, 0 refused
xds          connected, 1 reconnect
queries      1,234; answered from mesh 1,000, cache 200, upstream 34
cache        80.0 % hits (7 positive, 1 negative, 0 stale, 2 missed), 1 entry in 300 bytes
no reply to  runt 2, by the kernel 5

SERVER        STATE    RTT     REQUESTS  FAILURES   ROUTES
10.0.0.10:53  failing  1.2 ms  udp 2     timeout 1  . corp.example

warning: mind the \\x1b[31m gap
`)
  })

  test('a daemon without a table says what it waits for', async () => {
    const early: StatusReport = {
      ...status,
      ready: false,
      missing: ['no name table has arrived yet'],
      table: { ...status.table, hosts: 0, ageSeconds: null },
      credentials: [],
      xds: null,
      upstreams: [],
      drops: {},
      socketDrops: 0,
      warnings: [],
    }
    const admin = await serve({ '/debug/status': JSON.stringify(early) })
    const { out } = await byname(['status', '--admin', admin])
    expect(out).toMatch(/^byname +0\.1\.0, not ready: no name table has arrived yet,/m)
    expect(out).toMatch(/^table +none yet, from xds 127\.0\.0\.1:15010$/m)
    expect(out).toMatch(/^no reply to +none$/m)
    expect(out).toContain('No upstream servers.')
  })

  test('what is wrong, and since when, is said below, before the warnings', async () => {
    const away = { sinceMs: Date.UTC(2026, 0, 1), address: 'istiod:15012', reason: 'connect \u001b[31m refused' }
    const problem = {
      about: 'mesh_files' as const,
      text: 'mesh files in /m: \u001b[31m a.yaml: line 3',
      since: '2026-01-01T00:00:00.000Z',
      forSeconds: 125,
    }
    const troubled: StatusReport = { ...status, problems: [problem], xds: { connected: false, reconnects: 2, away } }
    const { out } = await byname(['status', '--admin', await serve({ '/debug/status': JSON.stringify(troubled) })])
    expect(out).toMatch(
      /^xds +away since 2026-01-01T00:00:00\.000Z \(istiod:15012: connect \\x1b\[31m refused\), 2 reconnects$/m,
    )
    expect(out).toContain(
      '\n\nproblem: mesh files in /m: \\x1b[31m a.yaml: line 3 (for 2 min, since 2026-01-01T00:00:00.000Z)\nwarning: mind the',
    )
    const early = { ...status, xds: { connected: false, reconnects: 0, away: null } }
    const { out: begun } = await byname(['status', '--admin', await serve({ '/debug/status': JSON.stringify(early) })])
    expect(begun).toMatch(/^xds +connecting, 0 reconnects$/m)
  })

  test('--json passes it on', async () => {
    const admin = await serve({ '/debug/status': JSON.stringify(status) })
    expect(JSON.parse((await byname(['status', '--json', '--admin', admin])).out)).toEqual(status)
  })
})

describe('upstreams', () => {
  test('are shown for people', async () => {
    const [first] = status.upstreams
    const loop = {
      ...first!,
      label: 'tls://9.9.9.9:853#dns.quad9.net',
      isLoop: true,
      rttMs: null,
      routes: [],
      failures: {},
    }
    const admin = await serve({ '/debug/upstreams': JSON.stringify([{ ...first, healthy: true }, loop]) })
    expect(
      (await byname(['upstreams', '--admin', admin])).out,
    ).toBe(`SERVER                           STATE    RTT     REQUESTS  FAILURES   ROUTES
10.0.0.10:53                     healthy  1.2 ms  udp 2     timeout 1  . corp.example
tls://9.9.9.9:853#dns.quad9.net  loop     -       udp 2     -          -
`)
  })

  test('--json passes them on', async () => {
    const admin = await serve({ '/debug/upstreams': JSON.stringify(status.upstreams) })
    expect(JSON.parse((await byname(['upstreams', '--json', '--admin', admin])).out)).toEqual(status.upstreams)
  })
})

describe('cache', () => {
  test('shows figures', async () => {
    const admin = await serve({ '/debug/cache': JSON.stringify(status.cache) })
    const { out } = await byname(['cache', '--admin', admin])
    expect(out).toBe('80.0 % hits (7 positive, 1 negative, 0 stale, 2 missed), 1 entry in 300 bytes\n')
    expect(JSON.parse((await byname(['cache', '--json', '--admin', admin])).out)).toEqual(status.cache)
  })

  test('flush empties it', async () => {
    const admin = await serve({ 'POST /debug/cache/flush': '{"name":null,"flushed":1234}' })
    expect((await byname(['cache', 'flush', '--admin', admin])).out).toBe('1,234 answers removed\n')
  })

  test('flush NAME removes one name', async () => {
    const admin = await serve({
      'POST /debug/cache/flush?name=www.example.com': '{"name":"www.example.com","flushed":1}',
    })
    const { out } = await byname(['cache', 'flush', 'www.example.com', '--admin', admin])
    expect(out).toBe('1 answer removed for www.example.com\n')
  })

  test.each([
    [['flush', ''], '"" is no domain name'],
    [['flush', 'a..b'], '"a..b" is no domain name'],
    [['empty'], 'cache takes "flush" or nothing, not "empty"'],
    [['flush', 'a', 'b'], 'unexpected argument "b"'],
  ])('%j is bad usage', async (args, message) => {
    const { code, err } = await byname(['cache', ...args])
    expect(code).toBe(2)
    expect(err).toContain(message)
  })
})

describe('an endpoint that is not byname’s', () => {
  test.each([
    [{}, /^byname status: http:\/\/127\.0\.0\.1:\d+\/debug\/status answers 404: not found\n$/],
    [{ '/debug/status': '<html>' }, /^byname status: the admin endpoint answers .* is no JSON; is it byname's\?\n$/],
  ])('%j', async (bodies, message) => {
    const { code, err } = await byname(['status', '--admin', await serve(bodies)])
    expect(code).toBe(1)
    expect(err).toMatch(message)
  })

  test('a bad address is bad usage', async () => {
    expect(await byname(['table', '--admin', 'here'])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^byname table: --admin: "here" has no port; write HOST:PORT .*\n$/),
    })
  })
})
