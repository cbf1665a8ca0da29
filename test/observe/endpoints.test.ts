import { afterEach, describe, expect, test } from 'vitest'
import { Observer } from '../../src/observe/observer.ts'
import type { ObserveSources } from '../../src/observe/sources.ts'
import { Cell, UpstreamField } from '../../src/stats/counters.ts'
import { parseExposition, valueOf } from './exposition.ts'
import { fakeLog, fakeMesh, fakeSources } from './fake-sources.ts'
import { type HttpReply, httpRequest } from '../http/http-request.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

interface Ask {
  metrics: (path: string) => Promise<HttpReply>
  admin: (path: string, options?: Parameters<typeof httpRequest>[2]) => Promise<HttpReply>
  observer: Observer
}

async function observe(changes: Partial<ObserveSources> = {}): Promise<Ask> {
  const any = { address: '127.0.0.1', port: 0 }
  const observer = new Observer({ sources: fakeSources(changes), metrics: any, admin: any, log: fakeLog() })
  stops.push(() => observer.stop(0))
  await observer.start()
  const metricsAt = (await observer.metricsServer!.bound())!
  const adminAt = (await observer.adminServer!.bound())!
  return {
    observer,
    metrics: (path) => httpRequest(metricsAt, path),
    admin: (path, options) => httpRequest(adminAt, path, options),
  }
}

describe('the metrics endpoint', () => {
  test('/metrics is an exposition', async () => {
    const { metrics } = await observe()
    const reply = await metrics('/metrics')
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(valueOf(parseExposition(reply.body), 'byname_mesh_hosts')).toBe(12)
  })

  test('/healthz is 200 only if every data worker answers', async () => {
    const healthz = async (ping: ObserveSources['ping']): Promise<unknown> => {
      const { status, body } = await (await observe({ ping })).metrics('/healthz')
      return [status, body]
    }
    expect(await healthz(() => Promise.resolve([true, true]))).toEqual([200, 'ok\n'])
    expect(await healthz(() => Promise.resolve([true, false]))).toEqual([503, 'data worker 1 does not answer\n'])
    expect(await healthz(() => Promise.resolve([]))).toEqual([503, 'no data worker runs\n'])
    expect(await healthz(() => new Promise(() => {}))).toEqual([503, 'the data workers do not answer\n'])
    expect((await (await observe({ ping: () => Promise.reject(new Error('gone')) })).metrics('/healthz')).status).toBe(
      500,
    )
  })

  test('/readyz says what is missing', async () => {
    expect((await (await observe()).metrics('/readyz')).status).toBe(200)
    const missing = ['no name table yet', 'sockets are not bound']
    const reply = await (await observe({ ready: () => ({ ready: false, missing }) })).metrics('/readyz')
    expect(reply).toMatchObject({ status: 503, body: 'not ready: no name table yet; sockets are not bound\n' })
  })

  test('the admin paths are not on it', async () => {
    const reply = await (await observe()).metrics('/debug/config')
    expect(reply.status).toBe(404)
    expect(reply.body).toContain('/readyz')
  })
})

describe('the admin endpoint', () => {
  test('/debug/table and /debug/ndsz show the table in use', async () => {
    const { admin } = await observe({ tableJson: () => ['{"table":', '{"a.example":{"ips":["10.0.0.1"]}}', '}'] })
    for (const path of ['/debug/table', '/debug/ndsz']) {
      const reply = await admin(path)
      expect(reply.headers['content-type']).toContain('application/json')
      expect(JSON.parse(reply.body)).toEqual({ table: { 'a.example': { ips: ['10.0.0.1'] } } })
    }
  })

  test('/debug/status is the whole report', async () => {
    const { admin } = await observe({ warnings: () => ['resolv.conf is gone'] })
    expect(JSON.parse((await admin('/debug/status')).body)).toMatchObject({
      version: '1.2.3',
      uptimeSeconds: 60,
      driver: { name: 'dgram', why: 'koffi is not installed' },
      table: { hosts: 12, ageSeconds: 30, updates: { refused: 1 } },
      xds: { connected: true },
      cache: { hitRatio: null },
      warnings: ['resolv.conf is gone'],
    })
  })

  test('/debug/cache, /debug/upstreams and /debug/xds show their part', async () => {
    const sources = fakeSources()
    const worker = sources.counters()[0]!
    worker.add(Cell.cacheRequests, 4)
    worker.add(Cell.cacheHitsNegative, 3)
    worker.upstreamSet(0, UpstreamField.rttSeconds, 0.0125)
    const xds = { connected: false, reconnects: 5, lastError: 'refused' }
    const { admin } = await observe({ ...sources, xds: () => xds })
    const read = async (path: string): Promise<unknown> => JSON.parse((await admin(path)).body)
    expect(await read('/debug/cache')).toMatchObject({ hits: 3, misses: 1, hitRatio: 0.75 })
    expect(await read('/debug/upstreams')).toMatchObject([{ label: '10.96.0.10:53', rttMs: 12.5 }, { rttMs: null }])
    expect(await read('/debug/xds')).toEqual(xds)
  })

  test('/debug/config hides secrets', async () => {
    const { admin } = await observe({ config: () => ({ mesh: { token: 'abc' }, workers: 1 }) })
    expect(JSON.parse((await admin('/debug/config')).body)).toEqual({ mesh: { token: '[redacted]' }, workers: 1 })
  })

  test('the cache is flushed by POST, all of it or one name', async () => {
    const flushed: (string | null)[] = []
    const flush = (name: string | null): Promise<number> => Promise.resolve(flushed.push(name))
    const { admin } = await observe({ flush })
    const post = { method: 'POST' }
    expect(JSON.parse((await admin('/debug/cache/flush', post)).body)).toEqual({ name: null, flushed: 1 })
    const one = await admin('/debug/cache/flush?name=www.example.org', post)
    expect(JSON.parse(one.body)).toEqual({ name: 'www.example.org', flushed: 2 })
    expect((await admin('/debug/cache/flush?name=', post)).status).toBe(400)
    expect(await admin('/debug/cache/flush?name=a..b', post)).toMatchObject({
      status: 400,
      body: '"a..b" is no domain name\n',
    })
    expect((await admin('/debug/cache/flush')).status).toBe(405)
    expect(flushed).toEqual([null, 'www.example.org'])
  })

  test('a web page can neither flush the cache nor read the table', async () => {
    const flushed: (string | null)[] = []
    const flush = (name: string | null): Promise<number> => Promise.resolve(flushed.push(name))
    const { admin } = await observe({ flush })
    const foreign = { method: 'POST', headers: { origin: 'https://evil.example' } }
    expect((await admin('/debug/cache/flush', foreign)).status).toBe(403)
    const rebound = { headers: { host: 'evil.example' } }
    expect((await admin('/debug/table', rebound)).status).toBe(403)
    expect((await admin('/debug/cache/flush', { ...rebound, method: 'POST' })).status).toBe(403)
    expect((await admin('/debug/table', { headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403)
    expect(flushed).toEqual([])
  })

  test('the status page escapes what it shows and links to the rest', async () => {
    const { admin } = await observe({
      mesh: () => fakeMesh({ version: '<script>alert(1)</script>' }),
      warnings: () => ['a & b'],
    })
    const page = await admin('/')
    expect(page.headers['content-type']).toContain('text/html')
    expect(page.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page.body).not.toContain('<script>')
    expect(page.body).toContain('a &#38; b')
    expect(page.body).toContain('href="/debug/status"')
  })
})

test('an endpoint that cannot be bound is a warning of the status', async () => {
  const { observer } = await observe()
  const taken = (await observer.metricsServer!.bound())!
  const second = new Observer({ sources: fakeSources(), metrics: taken, admin: null, log: fakeLog() })
  stops.push(() => second.stop(0))
  await second.start()
  expect((await second.status()).warnings).toEqual([expect.stringContaining('is in use by another process')])
  expect(second.adminServer).toBeNull()
})
