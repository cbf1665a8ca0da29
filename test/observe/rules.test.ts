/** config/prometheus and config/grafana: what they query is what byname exports, and an alert fires when it should. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { createMetrics } from '../../src/observe/metrics.ts'
import { SocketDrops } from '../../src/observe/socket-drops.ts'
import { fakeLog, fakeSources } from './fake-sources.ts'

const RULES = fileURLToPath(new URL('../../config/prometheus/byname.rules.yaml', import.meta.url))
const BOARD = fileURLToPath(new URL('../../config/grafana/byname.json', import.meta.url))

interface Rule {
  record?: string
  alert?: string
  expr: string
  annotations?: Record<string, string>
}
interface Panel {
  type: string
  title: string
  targets?: { expr: string }[]
}
interface Board {
  panels: Panel[]
  templating: { list: { type: string; definition?: string }[] }
}

const { groups }: { groups: { rules: Rule[] }[] } = parse(readFileSync(RULES, 'utf8'))
const rules = groups.flatMap((group) => group.rules)
const board: Board = JSON.parse(readFileSync(BOARD, 'utf8'))
const whyNoPromtool = spawnSync('promtool', ['--version']).error ? 'promtool is not here' : null
if (whyNoPromtool !== null) process.stderr.write(`NOT TESTED, alerting rules: ${whyNoPromtool}\n`)

/** Every name that a sample on /metrics may have. */
async function exportedNames(): Promise<Set<string>> {
  const text = await createMetrics(fakeSources(), new SocketDrops(), fakeLog(), { nodeMetrics: true }).render()
  return new Set(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name!],
    ),
  )
}

/** The metrics in a query: what begins as byname's, Node's or a process's names do. */
function metricsIn(query: string): string[] {
  return query.match(/\b(?:byname_|process_|nodejs_|istio_agent_)\w+/g) ?? []
}

test.each(rules.map((rule): [string, Rule] => [rule.alert ?? rule.record!, rule]))(
  '%s queries exported metrics',
  async (_, rule) => {
    const recorded = new Set(rules.flatMap(({ record }) => record ?? []))
    const records = rule.expr.match(/\bbyname:[\w:]+/g) ?? []
    const names = metricsIn(rule.expr)
    expect(names.length + records.length).toBeGreaterThan(0)
    expect(records.filter((name) => !recorded.has(name))).toEqual([])
    const exported = await exportedNames()
    expect(names.filter((name) => !exported.has(name))).toEqual([])
    // A sentence that names a metric must name one that is there, too.
    const told = metricsIn(Object.values(rule.annotations ?? {}).join(' '))
    expect(told.filter((name) => !exported.has(name))).toEqual([])
  },
)

test('docs/observability.md has every alert', () => {
  const documented = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8')
  const missing = rules.flatMap(({ alert }) =>
    alert === undefined || documented.includes(`| \`${alert}\` |`) ? [] : [alert],
  )
  expect(missing).toEqual([])
})

test('the dashboard queries exported metrics, each panel something, all for the chosen pods', async () => {
  const exported = await exportedNames()
  const panels = board.panels.filter(({ type }) => type !== 'row')
  expect(panels.length).toBeGreaterThan(15)
  for (const { title, targets = [] } of panels) {
    expect([title, targets.length > 0]).toEqual([title, true])
    for (const { expr } of targets) {
      const names = metricsIn(expr)
      expect([title, names.filter((name) => !exported.has(name))]).toEqual([title, []])
      expect([title, names.length > 0]).toEqual([title, true])
      expect(expr).toContain('cluster=~"$cluster",namespace=~"$namespace",pod=~"$pod"')
    }
  }
  const variables = board.templating.list.flatMap(({ definition }) => (definition === undefined ? [] : [definition]))
  expect(variables.flatMap(metricsIn).filter((name) => !exported.has(name))).toEqual([])
})

/** Series of one byname over 40 minutes, and the alerts that fire then. A minute apart, as Prometheus writes them. */
const SCENES: [what: string, series: Record<string, string>, alerts: string[]][] = [
  ['all is well', {}, []],
  [
    'a resolver is down',
    {
      'byname_upstream_healthy{server="10.0.0.2:53"}': '0x40',
      'byname_upstream_healthy{server="10.0.0.3:53"}': '1x40',
    },
    ['BynameUpstreamDown'],
  ],
  [
    'every resolver is down',
    { 'byname_upstream_healthy{server="10.0.0.2:53"}': '0x40' },
    ['BynameUpstreamDown', 'BynameAllUpstreamsDown'],
  ],
  ['istiod is away', { byname_xds_connected: '0x40' }, ['BynameControlPlaneAway']],
  ['the table is from disk', { byname_mesh_from_last_known_good: '1x40' }, ['BynameTableStale']],
  ['no table has ever come', { byname_mesh_last_update_timestamp_seconds: '0x40' }, ['BynameNoTable']],
  ['a table was refused', { 'byname_mesh_updates_total{result="refused"}': '0x35 1x5' }, ['BynameTablesRefused']],
  ['the kernel drops datagrams', { byname_udp_socket_drops_total: '0+60x40' }, ['BynameDrops']],
  ['queries are dropped', { 'byname_dropped_total{reason="in_flight_full"}': '0+600x40' }, ['BynameDrops']],
  [
    'the token expires',
    { 'byname_credential_expiry_timestamp_seconds{kind="token"}': '3000x40' },
    ['BynameCredentialExpires'],
  ],
  [
    'the root expires',
    { 'byname_credential_expiry_timestamp_seconds{kind="root"}': '400000x40' },
    ['BynameCredentialExpires'],
  ],
  ['a worker died', { byname_worker_restarts_total: '0x35 1x5' }, ['BynameWorkerRestarted']],
  [
    'byname restarts again and again',
    { byname_cache_requests_total: '0+30x10 0+30x10 0+30x10 0+30x10' },
    ['BynameRestarts'],
  ],
  [
    'the application restarts',
    { byname_build_info: '1x40', process_start_time_seconds: '0x10 600x10 1200x10 1800x10' },
    [],
  ],
  ['a loop', { byname_upstream_loops_total: '0x35 1x5' }, ['BynameLoop']],
  ['a problem', { 'byname_problems{about="config"}': '1x40' }, ['BynameProblem']],
  [
    'replies fail',
    {
      'byname_dns_responses_total{rcode="SERVFAIL",source="upstream"}': '0+10x40',
      'byname_dns_responses_total{rcode="NOERROR",source="mesh"}': '0+90x40',
      'byname_dns_requests_total{proto="udp",family="4",type="A"}': '0+100x40',
    },
    ['BynameServfail'],
  ],
  [
    'a search storm',
    {
      'byname_dns_responses_total{rcode="NXDOMAIN",source="cache"}': '0+5400x40',
      'byname_dns_responses_total{rcode="NOERROR",source="mesh"}': '0+600x40',
      'byname_dns_requests_total{proto="udp",family="4",type="A"}': '0+6000x40',
    },
    ['BynameSearchStorm'],
  ],
  [
    'the cache answers less',
    { 'byname_cache_hits_total{kind="positive"}': '0+900x20 18000+10x20', byname_cache_requests_total: '0+1000x40' },
    ['BynameCacheHitRatioDropped'],
  ],
]

describe.skipIf(whyNoPromtool !== null)('promtool', () => {
  test('finds nothing to say of the rules', () => {
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })
    expect(`${stdout}${stderr}`).toMatch(/SUCCESS: \d+ rules found/)
    expect(status).toBe(0)
  })

  test('every alert has a scene in which it fires', () => {
    const fired = new Set(SCENES.flatMap(([, , alerts]) => alerts))
    expect(rules.flatMap(({ alert }) => alert ?? []).filter((alert) => !fired.has(alert))).toEqual([])
  })

  test('the scenes fire the alerts they should, and no other', () => {
    const folder = mkdtempSync(join(tmpdir(), 'byname-rules-'))
    try {
      const all = rules.flatMap(({ alert }) => alert ?? [])
      const tests = SCENES.map(([name, series, alerts]) => ({
        name,
        interval: '1m',
        input_series: Object.entries(series).map(([each, values]) => ({ series: withInstance(each), values })),
        // promtool compares labels and annotations as well; how many of each alert fire is what counts here.
        promql_expr_test: all.map((alert) => ({
          expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) > 0 or vector(0)`,
          eval_time: '40m',
          exp_samples: [{ labels: '{}', value: alerts.includes(alert) ? 1 : 0 }],
        })),
      }))
      const file = join(folder, 'tests.yaml')
      writeFileSync(file, stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }))
      const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
      expect(`${stdout}${stderr}`).toMatch(/SUCCESS/)
      expect(status).toBe(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

/** The series with the label that each scrape has. */
function withInstance(series: string): string {
  return series.includes('{') ? series.replace('{', '{instance="a",') : `${series}{instance="a"}`
}
