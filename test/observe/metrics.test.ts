import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { BucketCounts, COMPILE_BOUNDS } from '../../src/observe/bucket-counts.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { SocketDrops } from '../../src/observe/socket-drops.ts'
import { type ObserveSources, PROBLEM_SUBJECTS, type ServerUse } from '../../src/observe/sources.ts'
import { Cell, Drop, Source, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { WAIT_MS } from '../wait.ts'
import { type Exposition, parseExposition, valueOf } from './exposition.ts'
import { fakeLog, fakeMesh, fakeSources } from './fake-sources.ts'

async function scrape(sources: ObserveSources, nodeMetrics = false): Promise<{ text: string; parsed: Exposition }> {
  const text = await createMetrics(sources, new SocketDrops(), fakeLog(), { nodeMetrics }).render()
  return { text, parsed: parseExposition(text) }
}

/** Sources in which everything that can be counted was counted. */
function busySources(): ObserveSources {
  const compileDurations = new BucketCounts(COMPILE_BOUNDS)
  compileDurations.observe(0.003)
  const sources = fakeSources({ mesh: () => fakeMesh({ compileDurations }) })
  for (const worker of sources.counters()) {
    for (const proto of [0, 1]) {
      for (const family of [0, 1]) for (const type of [1, 28, 65, 999]) worker.request(proto, family, type)
      for (const source of [0, 1, 2, 3, 4] as const) {
        for (const rcode of [0, 2, 3, 16, 23]) worker.response(source, rcode, proto, 100 * (rcode + 1))
        worker.duration(source, 0.0007, 3)
        worker.duration(source, 30, 1)
      }
    }
    for (const reason of Object.values(Drop)) worker.drop(reason)
    for (const cell of Object.values(Cell)) worker.add(cell, 5)
    for (const server of [0, 1]) {
      for (const field of Object.values(UpstreamField)) {
        if (field < UpstreamField.healthy) worker.upstreamAdd(server, field, 2)
      }
      worker.upstreamSet(server, UpstreamField.healthy, 1)
      worker.upstreamSet(server, UpstreamField.rttSeconds, 0.004)
      worker.upstreamDuration(server, 0.02)
    }
  }
  return sources
}

/** contract.md, "Metrics": names, types and labels that users depend on. */
const CONTRACT: [name: string, type: string, labels: string[]][] = [
  ['byname_dns_requests_total', 'counter', ['proto', 'family', 'type']],
  ['byname_dns_responses_total', 'counter', ['rcode', 'source']],
  ['byname_dns_request_duration_seconds', 'histogram', ['source']],
  ['byname_dns_response_size_bytes', 'histogram', ['proto']],
  ['byname_cache_requests_total', 'counter', []],
  ['byname_cache_hits_total', 'counter', ['kind']],
  ['byname_cache_entries', 'gauge', []],
  ['byname_cache_bytes', 'gauge', []],
  ['byname_cache_evictions_total', 'counter', []],
  ['byname_cache_prefetches_total', 'counter', []],
  ['byname_search_denials_total', 'counter', []],
  ['byname_search_questions_total', 'counter', ['kind']],
  ['byname_upstream_requests_total', 'counter', ['server', 'proto']],
  ['byname_upstream_failures_total', 'counter', ['server', 'reason']],
  ['byname_upstream_request_duration_seconds', 'histogram', ['server']],
  ['byname_upstream_healthy', 'gauge', ['server']],
  ['byname_problems', 'gauge', ['about']],
  ['byname_upstream_coalesced_total', 'counter', []],
  ['byname_mesh_hosts', 'gauge', []],
  ['byname_mesh_table_bytes', 'gauge', []],
  ['byname_mesh_updates_total', 'counter', ['result']],
  ['byname_mesh_last_update_timestamp_seconds', 'gauge', []],
  ['byname_mesh_compile_duration_seconds', 'histogram', []],
  ['byname_xds_connected', 'gauge', []],
  ['byname_xds_reconnects_total', 'counter', []],
  ['byname_dropped_total', 'counter', ['reason']],
  ['byname_worker_restarts_total', 'counter', []],
  ['byname_build_info', 'gauge', ['version']],
  ['byname_query_log_dropped_total', 'counter', ['reason']],
  ['byname_query_log_entries_total', 'counter', []],
  ['byname_udp_socket_drops_total', 'counter', []],
  ['istio_agent_dns_requests_total', 'counter', []],
  ['istio_agent_dns_upstream_requests_total', 'counter', []],
  ['istio_agent_dns_upstream_failures_total', 'counter', []],
  ['istio_agent_dns_upstream_request_duration_seconds', 'histogram', []],
]

describe('names and labels are those of the contract', () => {
  for (const [name, type, labels] of CONTRACT) {
    test(name, async () => {
      const { parsed } = await scrape(busySources())
      expect(parsed.types.get(name)).toBe(type)
      expect(parsed.help.get(name)).toMatch(/\w+ \w+/)
      const lines = parsed.series.filter((series) =>
        type === 'histogram' ? series.name === `${name}_bucket` : series.name === name,
      )
      expect(lines.length).toBeGreaterThan(0)
      const expected = type === 'histogram' ? [...labels, 'le'] : labels
      for (const series of lines) expect(Object.keys(series.labels).toSorted()).toEqual(expected.toSorted())
    })
  }
})

test('label values are the bounded ones', async () => {
  const { parsed } = await scrape(busySources())
  const values = (name: string, label: string): string[] => [
    ...new Set(parsed.series.filter((series) => series.name === name).map((series) => series.labels[label]!)),
  ]
  expect(values('byname_dns_requests_total', 'proto')).toEqual(['udp', 'tcp'])
  expect(values('byname_dns_requests_total', 'family')).toEqual(['4', '6'])
  expect(values('byname_dns_requests_total', 'type').toSorted()).toEqual(['A', 'AAAA', 'HTTPS', 'other'])
  expect(values('byname_dns_responses_total', 'source')).toEqual(['mesh', 'cache', 'stale', 'upstream', 'local'])
  expect(values('byname_dns_responses_total', 'rcode')).toEqual([
    'NOERROR',
    'SERVFAIL',
    'NXDOMAIN',
    'BADVERS',
    'BADCOOKIE',
  ])
  expect(values('byname_cache_hits_total', 'kind')).toEqual(['positive', 'negative', 'stale'])
  expect(values('byname_upstream_requests_total', 'server')).toEqual(fakeSources().serverLabels())
  expect(values('byname_upstream_requests_total', 'proto')).toEqual(['udp', 'tcp', 'tls', 'https'])
  expect(values('byname_mesh_updates_total', 'result')).toEqual(['changed', 'unchanged', 'refused'])
})

test('promtool accepts it without a complaint, Node metrics included', async (context) => {
  const { text } = await scrape(busySources(), true)
  expect(parseExposition(text).types.get('process_cpu_seconds_total')).toBe('counter')
  const promtool = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8', timeout: WAIT_MS })
  if (promtool.error) context.skip('promtool is not installed')
  expect(promtool.stderr + promtool.stdout).toBe('')
  expect(promtool.status).toBe(0)
})

test('histograms are cumulative, end in +Inf, and agree with their counts', async () => {
  const { parsed } = await scrape(busySources())
  const histograms = [...parsed.types].filter(([, type]) => type === 'histogram').map(([name]) => name)
  expect(histograms.length).toBeGreaterThanOrEqual(5)
  for (const name of histograms) {
    const counts = parsed.series.filter((series) => series.name === `${name}_count`)
    expect(counts.length).toBeGreaterThan(0)
    for (const count of counts) {
      const buckets = parsed.series.filter((series) => {
        const { le: _le, ...labels } = series.labels
        return series.name === `${name}_bucket` && JSON.stringify(labels) === JSON.stringify(count.labels)
      })
      expect(buckets.at(-1)!.labels['le']).toBe('+Inf')
      expect(buckets.at(-1)!.value).toBe(count.value)
      const bounds = buckets.map((bucket) => Number(bucket.labels['le']!.replace('+Inf', 'Infinity')))
      expect(bounds).toEqual(bounds.toSorted((a, b) => a - b))
      const values = buckets.map((bucket) => bucket.value)
      expect(values).toEqual(values.toSorted((a, b) => a - b))
      expect(valueOf(parsed, `${name}_sum`, count.labels)).toBeTypeOf('number')
    }
  }
  // Two workers, two rounds each of 3 × 0.7 ms and 1 × 30 s.
  const mesh = { source: 'mesh' }
  const at = (le: string): number | undefined =>
    valueOf(parsed, 'byname_dns_request_duration_seconds_bucket', { ...mesh, le })
  expect([at('0.0005'), at('0.001'), at('2.5'), at('+Inf')]).toEqual([0, 12, 12, 16])
  expect(valueOf(parsed, 'byname_dns_request_duration_seconds_sum', mesh)).toBeCloseTo(4 * (3 * 0.0007 + 30))
})

test('what two workers counted is added up', async () => {
  const [first, second] = [new WorkerCounters(), new WorkerCounters()]
  first.request(0, 0, 1)
  second.request(0, 0, 1)
  second.request(1, 1, 28)
  first.response(Source.mesh, 0, 0, 60)
  second.response(Source.mesh, 0, 0, 600)
  first.add(Cell.cacheHitsPositive, 3)
  second.add(Cell.cacheHitsPositive, 4)
  first.set(Cell.cacheEntries, 10)
  second.set(Cell.cacheEntries, 20)
  first.upstreamAdd(0, UpstreamField.failuresTimeout, 1)
  second.upstreamAdd(0, UpstreamField.failuresTimeout, 2)
  first.set(Cell.receiveBufferBytes, 425_984)
  second.set(Cell.receiveBufferBytes, 212_992)
  const { parsed } = await scrape(fakeSources({ counters: () => [first, second] }))
  const requests = { proto: 'udp', family: '4', type: 'A' }
  expect(valueOf(parsed, 'byname_dns_requests_total', requests)).toBe(2)
  expect(valueOf(parsed, 'istio_agent_dns_requests_total')).toBe(3)
  expect(valueOf(parsed, 'byname_dns_responses_total', { rcode: 'NOERROR', source: 'mesh' })).toBe(2)
  expect(valueOf(parsed, 'byname_dns_response_size_bytes_sum', { proto: 'udp' })).toBe(660)
  expect(valueOf(parsed, 'byname_cache_hits_total', { kind: 'positive' })).toBe(7)
  expect(valueOf(parsed, 'byname_cache_entries')).toBe(30)
  expect(valueOf(parsed, 'byname_upstream_failures_total', { server: '10.96.0.10:53', reason: 'timeout' })).toBe(3)
  expect(valueOf(parsed, 'byname_udp_receive_buffer_bytes')).toBe(212_992)
})

test('Istio counts queries that were forwarded, not attempts', async () => {
  const worker = new WorkerCounters()
  worker.response(Source.upstream, 2, 0, 40)
  worker.duration(Source.upstream, 4.5, 1)
  worker.response(Source.upstream, 0, 0, 90)
  worker.duration(Source.upstream, 0.01, 1)
  worker.upstreamAdd(0, UpstreamField.requestsUdp, 6)
  worker.upstreamAdd(0, UpstreamField.failuresTimeout, 5)
  const { parsed } = await scrape(fakeSources({ counters: () => [worker] }))
  expect(valueOf(parsed, 'istio_agent_dns_upstream_requests_total')).toBe(2)
  expect(valueOf(parsed, 'istio_agent_dns_upstream_failures_total')).toBe(1)
  expect(valueOf(parsed, 'istio_agent_dns_upstream_request_duration_seconds_count')).toBe(2)
})

test('cache hits are there from the start, and a quiet daemon has a short exposition', async () => {
  const { text, parsed } = await scrape(fakeSources())
  for (const kind of ['positive', 'negative', 'stale']) {
    expect(valueOf(parsed, 'byname_cache_hits_total', { kind })).toBe(0)
  }
  expect(valueOf(parsed, 'byname_cache_requests_total')).toBe(0)
  expect(valueOf(parsed, 'byname_upstream_requests_total', { server: '10.96.0.10:53', proto: 'udp' })).toBe(0)
  const tls = { server: 'tls://9.9.9.9:853#dns.quad9.net', proto: 'tls' }
  expect(valueOf(parsed, 'byname_upstream_requests_total', tls)).toBe(0)
  expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length).toBeLessThan(190)
})

test('no workers at all is no error', async () => {
  const { parsed } = await scrape(fakeSources({ counters: () => [] }))
  expect(valueOf(parsed, 'istio_agent_dns_requests_total')).toBe(0)
})

test('mesh and xDS state are shown', async () => {
  const { parsed } = await scrape(fakeSources({ mesh: () => fakeMesh({ fromLastKnownGood: true, updatedAtMs: null }) }))
  expect(valueOf(parsed, 'byname_mesh_hosts')).toBe(12)
  expect(valueOf(parsed, 'byname_mesh_updates_total', { result: 'refused' })).toBe(1)
  expect(valueOf(parsed, 'byname_mesh_from_last_known_good')).toBe(1)
  expect(valueOf(parsed, 'byname_mesh_last_update_timestamp_seconds')).toBe(0)
  expect(valueOf(parsed, 'byname_xds_connected')).toBe(1)
  expect(valueOf(parsed, 'byname_xds_reconnects_total')).toBe(2)
  expect(valueOf(parsed, 'byname_build_info', { version: '1.2.3' })).toBe(1)
})

test('credentials have a line for each that says when it expires', async () => {
  const base = { from: '/f', problem: null, problemSinceMs: null, isNeeded: true }
  const { parsed } = await scrape(
    fakeSources({
      credentials: () => [
        { ...base, kind: 'token', expiresAtMs: 1_500 },
        { ...base, kind: 'certificate', expiresAtMs: 3_000_000 },
        { ...base, kind: 'root', expiresAtMs: null },
      ],
    }),
  )
  const lines = parsed.series.filter(({ name }) => name === 'byname_credential_expiry_timestamp_seconds')
  expect(lines.map(({ labels, value }) => [labels['kind'], value])).toEqual([
    ['token', 1.5],
    ['certificate', 3000],
  ])
})

test("the time of a server's replies is counted in its bucket and in those above", async () => {
  const sources = fakeSources()
  const [first, second] = sources.counters()
  first!.upstreamDuration(0, 0.02)
  second!.upstreamDuration(0, 0.0007)
  second!.upstreamDuration(0, 30)
  first!.upstreamDuration(1, 0.3)
  const { parsed } = await scrape(sources)
  const [server] = sources.serverLabels()
  const name = 'byname_upstream_request_duration_seconds'
  const at = (le: string): number | undefined => valueOf(parsed, `${name}_bucket`, { server: server!, le })
  expect(['0.0005', '0.001', '0.01', '0.025', '2.5', '+Inf'].map(at)).toEqual([0, 1, 1, 2, 2, 3])
  expect(valueOf(parsed, `${name}_sum`, { server: server! })).toBeCloseTo(30.0207)
})

test('before the first query the series that alerts and graphs name are there, and no others', async () => {
  const { parsed } = await scrape(fakeSources())
  const of = (name: string): Record<string, string>[] =>
    parsed.series.filter((series) => series.name === name).map(({ labels }) => labels)
  expect(of('byname_dns_requests_total')).toEqual(['A', 'AAAA'].map((type) => ({ proto: 'udp', family: '4', type })))
  expect(of('byname_dns_responses_total')).toEqual(
    ['mesh', 'cache', 'upstream'].map((source) => ({ rcode: 'NOERROR', source })),
  )
  expect(of('byname_dns_request_duration_seconds_count')).toEqual(
    ['mesh', 'cache', 'upstream'].map((source) => ({ source })),
  )
  expect(of('byname_dns_response_size_bytes_count')).toEqual([{ proto: 'udp' }])
  expect(valueOf(parsed, 'byname_udp_receive_buffer_bytes')).toBe(0)
})

test('connections are shown as the stream worker counts them', async () => {
  const streamCounters = new StreamCounters()
  streamCounters.add(StreamCell.connectionsOpen, 3)
  streamCounters.add(StreamCell.connectionsSlowClosed, 2)
  const { parsed } = await scrape(fakeSources({ streamCounters: () => streamCounters }))
  expect(valueOf(parsed, 'byname_client_connections')).toBe(3)
  expect(valueOf(parsed, 'byname_client_connections_closed_total', { reason: 'slow_reader' })).toBe(2)
  const without = await scrape(fakeSources({ streamCounters: () => null }))
  expect(valueOf(without.parsed, 'byname_client_connections')).toBeUndefined()
})

test('without xDS its metrics have no lines', async () => {
  const { parsed } = await scrape(fakeSources({ xds: () => null }))
  expect(valueOf(parsed, 'byname_xds_connected')).toBeUndefined()
})

test('a server is healthy while one worker gets answers from it, and a label used twice is one server', async () => {
  const [first, second] = [new WorkerCounters(), new WorkerCounters()]
  second.upstreamSet(0, UpstreamField.healthy, 1)
  first.upstreamAdd(2, UpstreamField.requestsTcp, 4)
  const labels = ['a:53', 'b:53', 'a:53']
  const { parsed } = await scrape(fakeSources({ counters: () => [first, second], serverLabels: () => labels }))
  expect(valueOf(parsed, 'byname_upstream_healthy', { server: 'a:53' })).toBe(1)
  expect(valueOf(parsed, 'byname_upstream_healthy', { server: 'b:53' })).toBe(0)
  expect(valueOf(parsed, 'byname_upstream_requests_total', { server: 'a:53', proto: 'tcp' })).toBe(4)
})

test('the round-trip time of a server is the mean of the workers that know one, and absent where none does', async () => {
  const sources = fakeSources()
  const [first, second] = sources.counters()
  first!.upstreamSet(0, UpstreamField.rttSeconds, 0.004)
  second!.upstreamSet(0, UpstreamField.rttSeconds, 0.002)
  const { parsed } = await scrape(sources)
  const [known, unknown] = sources.serverLabels()
  expect(valueOf(parsed, 'byname_upstream_rtt_seconds', { server: known! })).toBeCloseTo(0.003)
  expect(valueOf(parsed, 'byname_upstream_rtt_seconds', { server: unknown! })).toBeUndefined()
  second!.upstreamSet(0, UpstreamField.rttSeconds, 0)
  expect(valueOf((await scrape(sources)).parsed, 'byname_upstream_rtt_seconds', { server: known! })).toBeCloseTo(0.004)
})

test('each route of a server has a line', async () => {
  const { parsed } = await scrape(fakeSources())
  const [first, second] = fakeSources().serverLabels()
  expect(valueOf(parsed, 'byname_upstream_route', { server: first!, route: '.' })).toBe(1)
  expect(valueOf(parsed, 'byname_upstream_route', { server: first!, route: 'corp.example' })).toBe(1)
  expect(valueOf(parsed, 'byname_upstream_route', { server: second!, route: 'corp.example' })).toBeUndefined()
})

test('each quote, backslash and line end of a label is escaped, wherever text of others becomes one', async () => {
  const label = 'a""b\\\\c\n\nd"'
  const serverUses = (): ServerUse[] => [{ routes: [label], isLoop: false }]
  const sources = fakeSources({ version: label, serverLabels: () => [label], serverUses })
  sources.counters()[0]!.upstreamAdd(0, UpstreamField.requestsUdp, 1)
  const { text, parsed } = await scrape(sources)
  expect(valueOf(parsed, 'byname_upstream_healthy', { server: label })).toBe(0)
  expect(valueOf(parsed, 'byname_upstream_route', { server: label, route: label })).toBe(1)
  expect(valueOf(parsed, 'byname_upstream_requests_total', { server: label, proto: 'udp' })).toBe(1)
  expect(valueOf(parsed, 'byname_build_info', { version: label })).toBe(1)
  // As the format wants it, without trusting the reader of the tests.
  expect(text).toContain(String.raw`byname_build_info{version="a\"\"b\\\\c\n\nd\""} 1`)
})

test('problems are counted by what they are about, zeros included', async () => {
  const problem = { about: 'mesh_files', text: 'x', sinceMs: 0 } as const
  const { parsed } = await scrape(fakeSources({ problems: () => [problem, problem] }))
  const counts = parsed.series
    .filter(({ name }) => name === 'byname_problems')
    .map(({ labels, value }) => [labels['about'], value])
  expect(counts).toEqual(PROBLEM_SUBJECTS.map((about) => [about, about === 'mesh_files' ? 2 : 0]))
})

test('a source that throws costs its own metrics only, and is logged once', async () => {
  const log = fakeLog()
  const sources = fakeSources({
    mesh: () => {
      throw new Error('no table')
    },
    socketTables: () => Promise.reject(new Error('no /proc')),
  })
  const metrics = createMetrics(sources, new SocketDrops(), log, { nodeMetrics: false })
  await metrics.render()
  const parsed = parseExposition(await metrics.render())
  expect(valueOf(parsed, 'byname_mesh_hosts')).toBeUndefined()
  expect(valueOf(parsed, 'byname_cache_requests_total')).toBe(0)
  const complaints = log.lines.map(({ fields }) => fields['metric'])
  expect(complaints).toContain('byname_udp_socket_drops_total')
  expect(new Set(complaints).size).toBe(complaints.length)
})
