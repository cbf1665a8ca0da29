/**
 * A real Prometheus scrapes a real byname: every query of the dashboard and every rule gets data from it. With
 * DRAW_BOARD=FILE.html the board is drawn from the same answers, for people to look at.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { SecuredControlPlane } from '../credentials/secured-control-plane.ts'
import { TestAuthority } from '../credentials/test-authority.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { freePort } from '../free-port.ts'
import { Stage } from '../scenario/scenario.ts'
import { boardPage, type Board, type Series } from './board-page.ts'
import { until } from '../until.ts'

const RULES = fileURLToPath(new URL('../../config/prometheus/byname.rules.yaml', import.meta.url))
const BOARD = fileURLToPath(new URL('../../config/grafana/byname.json', import.meta.url))
const board: Board = JSON.parse(readFileSync(BOARD, 'utf8'))
const { groups }: { groups: { rules: { record?: string; alert?: string }[] }[] } = parse(readFileSync(RULES, 'utf8'))
const rules = groups.flatMap((group) => group.rules)
const whyNot = spawnSync('prometheus', ['--version']).error ? 'prometheus is not here' : null
if (whyNot !== null) process.stderr.write(`NOT TESTED, dashboard against a real Prometheus: ${whyNot}\n`)

/** What Grafana would fill in. */
const VARIABLES: Record<string, string> = {
  $cluster: '.*',
  $namespace: 'shop',
  $pod: '.*',
  $__rate_interval: '4s',
}
const DRAWN_SECONDS = 60

const stage = new Stage('all')
const folder = mkdtempSync(join(tmpdir(), 'byname-prometheus-'))
let base = ''
const over = new AbortController()

describe.skipIf(whyNot !== null)('a real Prometheus', () => {
  beforeAll(async () => {
    const daemon = await busyDaemon()
    const metrics = await daemon.line('metrics endpoint is listening')
    const port = await freePort()
    base = `http://127.0.0.1:${port}`
    writeFileSync(
      join(folder, 'prometheus.yml'),
      stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: [RULES],
        scrape_configs: [
          {
            job_name: 'byname',
            static_configs: [
              {
                targets: [`127.0.0.1:${String(metrics['port'])}`],
                labels: { cluster: 'east', namespace: 'shop', pod: 'app-0' },
              },
            ],
          },
        ],
      }),
    )
    const prometheus = spawn(
      'prometheus',
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=error',
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    )
    stage.closing(() => end(prometheus))
    // Rates need two scrapes; a rule of five minutes as well.
    await until(async () => expect((await series('count_over_time(up{job="byname"}[1m]) >= 6')).length).toBe(1))
  })
  afterAll(() => {
    over.abort()
    rmSync(folder, { recursive: true, force: true })
  })

  const queries = board.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }): [panel: string, expr: string] => [title, expr]),
  )

  test.each(queries)('has data for the panel %s: %s', async (_, expr) => {
    await until(async () => expect(valuesOf(await series(expr)).length).toBeGreaterThan(0))
  })

  test.each(board.templating.list.flatMap(({ name, definition }) => (definition ? [[name, definition]] : [])))(
    'has values for the variable %s',
    async (name, definition) => {
      const [, of, label] = /^label_values\((.+), (\w+)\)$/.exec(definition)!
      expect(label).toBe(name)
      const found = await get<Record<string, string>[]>(`/api/v1/series?match[]=${encodeURIComponent(filled(of!))}`)
      expect(found.map((labels) => labels[name])).not.toContain(undefined)
      expect(found.length).toBeGreaterThan(0)
    },
  )

  test('evaluates every rule without an error, and has what is recorded', async () => {
    await until(async () => {
      const { groups: evaluated } = await get<{ groups: { rules: { name: string; health: string }[] }[] }>(
        '/api/v1/rules',
      )
      const bad = evaluated.flatMap((group) => group.rules.filter(({ health }) => health !== 'ok'))
      expect(bad).toEqual([])
      expect(evaluated.flatMap((group) => group.rules)).toHaveLength(rules.length)
    })
    for (const { record } of rules)
      if (record !== undefined) await until(async () => expect((await series(record)).length).toBeGreaterThan(0))
  })

  test.runIf(process.env['DRAW_BOARD'] !== undefined)('draws the board', async () => {
    const answers = new Map<string, Series[]>()
    await until(async () => expect((await series(`count_over_time(up[5m]) >= ${DRAWN_SECONDS}`)).length).toBe(1))
    for (const [, expr] of queries) answers.set(expr, await series(expr, DRAWN_SECONDS))
    writeFileSync(process.env['DRAW_BOARD']!, boardPage(board, answers))
  })
})

/** A byname with all that a board can show: credentials, servers of which one fails, a problem, all kinds of queries. */
async function busyDaemon(): Promise<DaemonProcess> {
  const authority = new TestAuthority('mesh root')
  const plane = new SecuredControlPlane({ authority })
  const address = await plane.start()
  stage.closing(() => plane.stop())
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const { cert, key } = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/app'] })
  const good = await stage.resolver((query) =>
    query.name.startsWith('none') ? query.reply({ flags: 0x8183 }) : query.answer('192.0.2.1', 3),
  )
  const bad = await stage.resolver((query) => query.reply({ flags: 0x8182 }))
  const daemon = await stage.daemon({
    config: {
      hostsFile: file('hosts', ''),
      mesh: {
        source: {
          xds: {
            address,
            tls: {
              rootCert: file('root.pem', authority.root),
              serverName: 'istiod.istio-system.svc',
              cert: file('cert.pem', cert),
              key: file('key.pem', key),
            },
          },
        },
      },
      upstream: { servers: [good.text, bad.text], policy: 'random' },
    },
  })
  // A problem.
  rmSync(join(folder, 'hosts'))
  const client = await stage.client()
  let n = 0
  const ask = async (): Promise<void> => {
    for (; !over.signal.aborted; n++) {
      const names = ['again.example', `new${n}.example`, `none${n}.example`]
      await Promise.all([
        ...names.map((name) => client.ask(daemon.at(), name, n % 3 === 0 ? 'AAAA' : 'A').catch(() => null)),
        client.askRaw(daemon.at(), Uint8Array.of(n >> 8, n, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)).catch(() => null),
      ])
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const asked = ask()
  stage.closing(() => {
    over.abort()
    return asked
  })
  return daemon
}

function filled(query: string): string {
  return Object.entries(VARIABLES).reduce((text, [name, value]) => text.replaceAll(name, value), query)
}

/** The answer to a query over the last seconds. */
async function series(query: string, seconds: number = 5): Promise<Series[]> {
  const now = Date.now() / 1000
  const parameters = { query: filled(query), start: String(now - seconds), end: String(now), step: '1' }
  const { result } = await get<{ result: Series[] }>(
    `/api/v1/query_range?${new URLSearchParams(parameters).toString()}`,
  )
  return result
}

function valuesOf(found: readonly Series[]): number[] {
  return found.flatMap(({ values }) => values.map(([, value]) => Number(value))).filter((value) => !Number.isNaN(value))
}

async function get<T>(path: string): Promise<T> {
  const response: { status: string; data: T; error?: string } = JSON.parse(await (await fetch(base + path)).text())
  if (response.status !== 'success') throw new Error(response.error)
  return response.data
}

async function end(prometheus: ChildProcess): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  prometheus.once('exit', () => resolve())
  prometheus.kill('SIGTERM')
  await promise
}
