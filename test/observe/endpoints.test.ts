import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import type { ExplainedStage } from '../../src/engine/explain.ts'
import type { QuestionExplanation } from '../../src/explain/name-explanation.ts'
import type { RequiredToken } from '../../src/http/request-guard.ts'
import type { HistoryColumns } from '../../src/observe/history.ts'
import { Observer } from '../../src/observe/observer.ts'
import type { ProcessUsage } from '../../src/observe/process-usage.ts'
import type { ObserveSources, Problem } from '../../src/observe/sources.ts'
import { Cell, UpstreamField } from '../../src/stats/counters.ts'
import { parseExposition, valueOf } from './exposition.ts'
import { fakeLog, fakeMesh, fakeSources } from './fake-sources.ts'
import { handClock } from './hand-clock.ts'
import { PAGE } from './page-world.ts'
import { type HttpReply, httpRequest } from '../http/http-request.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** No time passes, and nothing is used. */
const quiet = (): { clock: Clock; usage: () => ProcessUsage; pageTemplate: () => string } => ({
  pageTemplate: () => readFileSync(PAGE, 'utf8'),
  clock: { now: () => 0, after: () => () => {} },
  usage: () => ({ rssBytes: 0, anonymousBytes: null, cpuSeconds: 0 }),
})

/** A stage that passes. */
function stage(name: string, finding: string): ExplainedStage {
  return { name, answers: false, finding }
}

/** The page without its script and style, which are the same whatever is filled in. */
function filledIn(page: string): string {
  return page.replace(/<(script|style)>.*?<\/\1>/gs, '')
}

interface Ask {
  metrics: (path: string) => Promise<HttpReply>
  admin: (path: string, options?: Parameters<typeof httpRequest>[2]) => Promise<HttpReply>
  observer: Observer
}

async function observe(changes: Partial<ObserveSources> = {}, clock: Clock = quiet().clock): Promise<Ask> {
  const any = { address: '127.0.0.1', port: 0 }
  const observer = new Observer({
    sources: fakeSources(changes),
    metrics: any,
    admin: any,
    ...quiet(),
    clock,
    log: fakeLog(),
  })
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

  test('/metrics/byname has the metrics of no other process: those of /metrics that are named after byname', async () => {
    const { metrics } = await observe()
    const familiesAt = async (path: string): Promise<string[]> =>
      [...(await metrics(path)).body.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name!)
    const all = await familiesAt('/metrics')
    const own = await familiesAt('/metrics/byname')
    expect(own).toEqual(all.filter((name) => name.startsWith('byname_')))
    expect(own.length).toBeGreaterThan(20)
    expect(all).toEqual(expect.arrayContaining(['process_cpu_seconds_total', 'istio_agent_dns_requests_total']))
    expect(valueOf(parseExposition((await metrics('/metrics/byname')).body), 'byname_mesh_hosts')).toBe(12)
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

  test('/readyz stays ready while the table is held, and says what is wrong and since when', async () => {
    const sinceMs = Date.UTC(2026, 10, 1)
    const problems = (count: number): Problem[] =>
      Array.from({ length: count }, (_, n) => ({ about: 'mesh_files', text: `${n}\nfile ${'x'.repeat(400)}`, sinceMs }))
    const one = await (await observe({ problems: () => problems(1) })).metrics('/readyz')
    expect([one.status, one.body]).toEqual([200, `ready\nproblem: 0 file ${'x'.repeat(293)}\n`])
    const away: Problem = { about: 'control_plane', text: 'the control plane is away: istiod: refused', sinceMs }
    const other = { problems: () => [away], ready: () => ({ ready: false, missing: ['no table'] }) }
    expect(await (await observe(other)).metrics('/readyz')).toMatchObject({
      status: 503,
      body: 'not ready: no table\nproblem: the control plane is away: istiod: refused (since 2026-11-01T00:00:00.000Z)\n',
    })
    const eight = await (await observe({ problems: () => problems(8) })).metrics('/readyz')
    expect(eight.body.split('\n')).toHaveLength(10)
    const nine = (await (await observe({ problems: () => problems(9) })).metrics('/readyz')).body.split('\n')
    expect(nine).toHaveLength(11)
    expect(nine.at(-2)).toBe('problem: and 1 more: see byname status')
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
    const xds = {
      connected: false,
      reconnects: 5,
      away: { sinceMs: 7, address: 'istiod:15012', reason: 'refused' },
    }
    const { admin } = await observe({ ...sources, xds: () => xds })
    const read = async (path: string): Promise<unknown> => JSON.parse((await admin(path)).body)
    expect(await read('/debug/cache')).toMatchObject({ hits: 3, misses: 1, hitRatio: 0.75 })
    expect(await read('/debug/upstreams')).toMatchObject([{ label: '10.96.0.10:53', rttMs: 12.5 }, { rttMs: null }])
    expect(await read('/debug/xds')).toEqual({ ...xds, credentials: [] })
  })

  test('/debug/xds/history and /debug/log show what happened last, secrets redacted', async () => {
    const atMs = Date.UTC(2026, 10, 1)
    const event = { what: 'failed' as const, address: 'istiod:15012', detail: 'refused', times: 3 }
    const line = {
      time: '2026-11-01T00:00:00.000Z',
      level: 'warn',
      message: 'https://me:pw@a/ fails',
      fields: { token: 't' },
    }
    const { admin } = await observe({
      xdsHistory: () => [{ atMs, ...event }],
      recentLog: () => ({ lines: [line], failures: [line], dropped: 2 }),
    })
    const read = async (path: string): Promise<unknown> => JSON.parse((await admin(path)).body)
    expect(await read('/debug/xds/history')).toEqual([{ at: '2026-11-01T00:00:00.000Z', ...event }])
    const shown = { ...line, message: 'https://[redacted]@a/ fails', fields: { token: '[redacted]' } }
    expect(await read('/debug/log')).toEqual({ lines: [shown], failures: [shown], dropped: 2 })
  })

  test('/debug/history has samples figure by figure, as many seconds as asked for', async () => {
    const time = handClock()
    const { admin } = await observe({}, time)
    const read = async (path: string): Promise<HistoryColumns> => JSON.parse((await admin(path)).body)
    expect((await read('/debug/history')).times).toEqual([])
    for (let n = 0; n < 3; n++) time.pass(5000)
    const history = await read('/debug/history')
    expect(history).toMatchObject({ intervalMs: 5000, servers: [{ label: '10.96.0.10:53' }, {}] })
    expect([history.times, history.figures.queriesPerSecond].map((list) => list.length)).toEqual([3, 3])
    expect((await read('/debug/history?seconds=10')).times).toHaveLength(2)
    for (const seconds of ['-1', '3601', 'x', '1.5']) {
      const reply = await admin(`/debug/history?seconds=${seconds}`)
      expect([reply.status, reply.body]).toEqual([400, '?seconds= takes a whole number up to 3600\n'])
    }
  })

  test('/debug/overview is all of it in one reply', async () => {
    const time = handClock()
    const sources = fakeSources()
    const { admin } = await observe(sources, time)
    time.pass(5000)
    sources.counters()[0]!.upstreamAdd(0, UpstreamField.failuresTimeout, 2)
    time.pass(5000)
    const read = async (path: string): Promise<unknown> => JSON.parse((await admin(path)).body)
    const overview = {
      status: {
        version: '1.2.3',
        health: { state: 'well', sentence: expect.stringContaining('answering; table of 12 hosts') },
      },
      sample: { figures: { tableHosts: 12 }, servers: [{ failuresPerSecond: 0.4 }, {}] },
      failures: { servers: [{ server: '10.96.0.10:53', reason: 'timeout', count: 2 }] },
    }
    expect(await read('/debug/overview')).toMatchObject({ ...overview, history: { times: [] } })
    expect(await read('/debug/overview?history=3600')).toMatchObject({
      ...overview,
      history: { figures: { tableHosts: [12, 12] } },
    })
  })

  test('/debug/events sends the overview at once and with every sample, until the end', async () => {
    const time = handClock()
    const { observer } = await observe({}, time)
    const { port } = (await observer.adminServer!.bound())!
    const response = await fetch(`http://127.0.0.1:${port}/debug/events`)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const pieces = response.body!.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]()
    let received = ''
    const until = async (text: string): Promise<void> => {
      while (!received.includes(text)) received += (await pieces.next()).value ?? ''
    }
    await until('"sample":null')
    expect(received).toContain('event: overview\ndata: {"status":{"version":"1.2.3"')
    time.pass(5000)
    await until('"sample":{"time":')
    await observer.stop(600_000)
    while ((await pieces.next()).done !== true);
  })

  test('/debug/hosts finds hosts, a page at a time', async () => {
    const asked: unknown[] = []
    const shown = [{ host: 'a.example', ips: ['10.0.0.1'], registry: 'External', namespace: '', shortname: '' }]
    const { admin } = await observe({
      searchHosts: (...given) => {
        asked.push(given)
        return { hosts: 12, found: 3, shown }
      },
    })
    const reply = await admin('/debug/hosts?search=%20a.ex%20&limit=1&offset=2')
    expect(JSON.parse(reply.body)).toEqual({ search: ' a.ex ', offset: 2, hosts: 12, found: 3, shown })
    expect((await admin('/debug/hosts')).status).toBe(200)
    expect(asked).toEqual([
      ['a.ex', 2, 1],
      ['', 0, 50],
    ])
    for (const query of ['limit=501', 'offset=-1', 'limit=x', `search=${'x'.repeat(257)}`])
      expect((await admin(`/debug/hosts?${query}`)).status).toBe(400)
  })

  test('/debug/cache/entry is what explain finds in the cache', async () => {
    const question: QuestionExplanation = {
      name: 'www.example.org.',
      type: 'AAAA',
      outcome: 'addresses',
      rcode: 'NOERROR',
      source: 'cache',
      answers: [{ name: 'www.example.org.', ttl: 17, type: 'AAAA', data: '2001:db8::1' }],
      extendedErrors: [],
      refusal: null,
      stages: [stage('mesh', 'nothing'), stage('cache', 'an answer, 3 of 20 s old')],
      forward: null,
      cached: { server: '10.0.0.2:53', ageSeconds: 3, leftSeconds: 17 },
      worker: 0,
      workers: 1,
    }
    const asked: string[] = []
    const answer =
      (changes: Partial<QuestionExplanation>): ObserveSources['explain'] =>
      (query) => {
        asked.push(String(query))
        return Promise.resolve({
          explanation: { name: 'x', questions: [{ ...question, ...changes }], application: null },
        })
      }
    const read = async (changes: Partial<QuestionExplanation>, query: string): Promise<unknown> =>
      JSON.parse((await (await observe({ explain: answer(changes) })).admin(`/debug/cache/entry?${query}`)).body)
    const { name, type, answers } = question
    expect(await read({}, 'name=www.example.org&type=AAAA')).toEqual({
      name,
      type,
      isCached: true,
      finding: 'an answer, 3 of 20 s old',
      server: '10.0.0.2:53',
      ageSeconds: 3,
      leftSeconds: 17,
      answeredBy: 'cache',
      rcode: 'NOERROR',
      answers,
      extendedErrors: [],
    })
    const ofMesh = { source: 'mesh', stages: [stage('mesh', 'the host')] }
    expect(await read(ofMesh, 'name=reviews')).toMatchObject({
      isCached: false,
      finding: null,
      answeredBy: 'mesh',
      answers: [],
    })
    expect(asked).toEqual(['name=www.example.org&type=AAAA', 'name=reviews&type=A'])
    expect((await (await observe()).admin('/debug/cache/entry')).status).toBe(400)
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

  test('with a token every path needs it, whatever it is at the time of the request', async () => {
    let required: RequiredToken = { token: 'one' }
    const flushed: (string | null)[] = []
    const flush = (name: string | null): Promise<number> => Promise.resolve(flushed.push(name))
    const { admin, metrics } = await observe({ adminToken: () => required, flush })
    const paths = ['/', '/debug/status', '/debug/table', '/debug/cache', '/debug/config', '/debug/xds', '/nothing']
    for (const path of paths) expect((await admin(path)).status).toBe(401)
    const post = { method: 'POST', headers: { authorization: 'Bearer two' } }
    expect((await admin('/debug/cache/flush', post)).status).toBe(401)
    expect(flushed).toEqual([])
    required = { token: 'two' }
    expect((await admin('/debug/cache/flush', post)).status).toBe(200)
    expect((await admin('/debug/status', { headers: { authorization: 'Bearer one' } })).status).toBe(401)
    required = { problem: 'is empty' }
    expect((await admin('/debug/cache/flush', post)).status).toBe(503)
    expect(flushed).toEqual([null])
    // Probes and scrapers have none.
    expect((await metrics('/readyz')).status).toBe(200)
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

  test('the status page links to the rest', async () => {
    const page = await (await observe()).admin('/')
    expect(page.headers['content-type']).toContain('text/html')
    expect(page.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page.body).toContain('href="/debug/status"')
  })

  test('the status page runs its own script and style, and no other', async () => {
    const { body, headers } = await (await observe()).admin('/')
    const policy = String(headers['content-security-policy'])
    for (const tag of ['script', 'style']) {
      const [, text] = new RegExp(`<${tag}>(.*)</${tag}>`, 's').exec(body)!
      const hash = createHash('sha256').update(text!).digest('base64')
      expect(policy).toContain(`${tag}-src 'sha256-${hash}';`)
    }
    expect(policy).not.toContain('unsafe')
    expect(body).not.toMatch(/\{\{\w+\}\}/)
    expect(filledIn(body)).not.toMatch(/ (?:src|style|on\w+)=|https?:/)
  })

  test('with a token the page without anything in it asks for it', async () => {
    const { admin } = await observe({ adminToken: () => ({ token: 'one' }) })
    const { status, headers, body } = await admin('/')
    expect([status, headers['www-authenticate'], headers['content-type']]).toEqual([
      401,
      'Bearer',
      'text/html; charset=utf-8',
    ])
    expect(body).toContain('This page needs a token')
    expect(filledIn(body)).not.toMatch(/1\.2\.3|answering|12 hosts|debug/)
    expect((await admin('/', { headers: { authorization: 'Bearer one' } })).body).toContain(
      'answering; table of 12 hosts',
    )
    expect((await admin('/', { method: 'POST' })).headers['content-type']).toContain('text/plain')
    const foreign = await admin('/', { headers: { 'sec-fetch-site': 'cross-site', authorization: 'Bearer one' } })
    expect(foreign.status).toBe(403)
  })

  const hostile = `<<b>>&&""''`
  const escaped = '&#60;&#60;b&#62;&#62;&#38;&#38;&#34;&#34;&#39;&#39;'
  const away = { sinceMs: 0, address: hostile, reason: hostile }
  const places: [place: string, times: number, changes: Partial<ObserveSources>][] = [
    ['the version of byname', 1, { version: hostile }],
    ['the version of the table', 1, { mesh: () => fakeMesh({ version: hostile }) }],
    ['the source of the table', 2, { mesh: () => fakeMesh({ source: hostile }) }],
    ['a warning', 1, { warnings: () => [hostile] }],
    ['a problem', 2, { problems: () => [{ about: 'hosts_file', text: hostile, sinceMs: 0 }] }],
    ['what is missing', 2, { ready: () => ({ ready: false, missing: [hostile] }) }],
    ['the driver', 2, { driver: () => ({ name: hostile, why: hostile }) }],
    ['a listener', 1, { listeners: () => [{ proto: 'udp', address: hostile, port: 53 }] }],
    ['an upstream server', 1, { serverLabels: () => [hostile] }],
    ['the control plane', 2, { xds: () => ({ connected: false, reconnects: 0, away }) }],
  ]
  test.each(places)('the status page escapes every character of %s', async (_, times, changes) => {
    const body = filledIn((await (await observe(changes)).admin('/')).body)
    expect(body.split(escaped)).toHaveLength(times + 1)
    expect(body).not.toMatch(/<<|>>|&&|""[^>]|''/)
  })

  test('the status page says since when the control plane is away, and what is wrong', async () => {
    const sinceMs = Date.UTC(2026, 10, 1)
    const changes: Partial<ObserveSources> = {
      xds: () => ({ connected: false, reconnects: 3, away: { sinceMs, address: 'istiod:15012', reason: 'refused' } }),
      problems: () => [{ about: 'mesh_files', text: 'a.yaml: line 3', sinceMs }],
    }
    const { body } = await (await observe(changes)).admin('/')
    expect(body).toContain('<td>away since 2026-11-01T00:00:00.000Z: istiod:15012: refused</td>')
    expect(body).toContain('<li>a.yaml: line 3 (since 2026-11-01T00:00:00.000Z)</li>')
    expect(body).toContain('<p id="sentence">a.yaml: line 3; answering; table of 12 hosts')
    const connecting = { xds: () => ({ connected: false, reconnects: 0, away: null }) }
    expect((await (await observe(connecting)).admin('/')).body).toContain('<td>connecting</td>')
    expect((await (await observe({ xds: () => null })).admin('/')).body).toContain('control plane</th><td>none</td>')
  })

  test('/debug/status has what is wrong, and for how long', async () => {
    const problem: Problem = { about: 'mesh_files', text: 'x', sinceMs: Date.UTC(2026, 10, 1) }
    const { admin } = await observe({ problems: () => [problem] })
    const { problems: shown } = JSON.parse((await admin('/debug/status')).body)
    expect(shown).toEqual([{ about: 'mesh_files', text: 'x', since: '2026-11-01T00:00:00.000Z', forSeconds: 60 }])
  })
})

test('an endpoint that cannot be bound is a warning of the status', async () => {
  const { observer } = await observe()
  const taken = (await observer.metricsServer!.bound())!
  const second = new Observer({ sources: fakeSources(), metrics: taken, admin: null, ...quiet(), log: fakeLog() })
  stops.push(() => second.stop(0))
  await second.start()
  expect((await second.status()).warnings).toEqual([expect.stringContaining('is in use by another process')])
  expect(second.adminServer).toBeNull()
})
