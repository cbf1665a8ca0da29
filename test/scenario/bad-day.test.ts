/**
 * A bad day, scene by scene: what the status page, `byname top`, `byname explain` and a bug report say first of what has
 * happened, and which alert fires on the metrics of it. docs/bad-day.md shows the lines; they are compared with it. With
 * SCREENSHOTS=FOLDER its images are made again.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { Evidence } from '../../src/cli/report/evidence.ts'
import { findingsOf } from '../../src/cli/report/findings.ts'
import type { ExplainResult } from '../../src/explain/explain-request.ts'
import type { StatusReport } from '../../src/observe/status.ts'
import { Source } from '../../src/stats/counters.ts'
import { encodeNameTable } from '../../src/table/nds.ts'
import { byname } from '../cli/byname-process.ts'
import { readArchive } from '../cli/report/read-archive.ts'
import { SecuredControlPlane } from '../credentials/secured-control-plane.ts'
import { TestAuthority } from '../credentials/test-authority.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { PageWorld } from '../observe/page-world.ts'
import { addressesOf } from '../worker/dns-client.ts'
import { ScriptedAdsServer } from '../xds/scripted-ads-server.ts'
import { services, Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()
const folder = mkdtempSync(join(tmpdir(), 'byname-bad-day-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const DOCUMENT = readFileSync(new URL('../../docs/bad-day.md', import.meta.url), 'utf8')
const RULES = new URL('../../config/prometheus/byname.rules.yaml', import.meta.url)
const { groups }: { groups: { rules: { alert?: string; annotations?: { summary: string } }[] }[] } = parse(
  readFileSync(RULES, 'utf8'),
)
const { SCREENSHOTS } = process.env
const CHROMIUM = '/usr/bin/chromium'
const MINUTE_MS = 60_000
const SEARCH = 'search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n'

/** What each place says first. */
type Place = 'page' | 'top' | 'explain' | 'bug report'
type FirstLines = Record<Place, string>

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

async function addressOf(daemon: DaemonProcess, endpoint: 'admin' | 'metrics'): Promise<string> {
  const { address, port } = await daemon.line(`${endpoint} endpoint is listening`)
  return `${String(address)}:${String(port)}`
}

async function textOf(daemon: DaemonProcess, endpoint: 'admin' | 'metrics', path: string): Promise<string> {
  return await (await daemon.get(endpoint, path)).text()
}

/** The finding that a report about this daemon would begin with: of what it says of itself, without the machine. */
async function firstFinding(daemon: DaemonProcess): Promise<string> {
  const documents = [
    ['daemon/status.json', '/debug/status'],
    ['daemon/upstreams.json', '/debug/upstreams'],
    ['daemon/table.json', '/debug/table'],
    ['daemon/xds-history.json', '/debug/xds/history'],
    ['daemon/last-hour.json', '/debug/overview?history=3600'],
    ['daemon/configuration.json', '/debug/config'],
  ] as const
  const files = new Map<string, string>([
    ['versions.json', JSON.stringify({ byname: (await daemon.status()).version })],
    ['network/resolv.conf', SEARCH],
    ['daemon/metrics.txt', await textOf(daemon, 'metrics', '/metrics')],
  ])
  for (const [name, path] of documents) files.set(name, await textOf(daemon, 'admin', path))
  return findingsOf(new Evidence(files, [])).at(0)?.text ?? ''
}

async function topLine(admin: string): Promise<string> {
  const { out, err } = await byname(['top', '--count', '1', '--admin', admin])
  expect(err).toBe('')
  return out.split('\n')[1]!
}

async function explainLine(admin: string, name: string): Promise<string> {
  const resolvConf = file('resolv.conf', SEARCH)
  const { out, err } = await byname(['explain', name, '--resolv-conf', resolvConf, '--admin', admin])
  expect(err).toBe('')
  return out.split('\n')[0]!
}

/** First lines about `name`. */
async function firstLines(daemon: DaemonProcess, name: string): Promise<FirstLines> {
  const admin = await addressOf(daemon, 'admin')
  const { health } = await daemon.status()
  return {
    page: health.sentence,
    top: await topLine(admin),
    explain: await explainLine(admin, name),
    'bug report': await firstFinding(daemon),
  }
}

/** Numbers are those of the moment. */
function shape(text: string): string {
  return text.replaceAll(/\d+/g, '0')
}

/** Each line names the cause, and is the one that the document shows. `names`: what this run has for the document's. */
function expectDocumented(scene: string, lines: FirstLines, cause: RegExp, names: Record<string, string>): void {
  for (const [place, line] of Object.entries(lines)) {
    expect([scene, place, line]).toEqual([scene, place, expect.stringMatching(cause)])
    const renamed = Object.entries(names).reduce((text, [real, shown]) => text.replaceAll(real, shown), line)
    const row = DOCUMENT.split('\n').find((each) => each.startsWith(`| ${scene} | ${place} |`))
    const shown = row?.split('|')[3]?.trim() ?? ''
    // Where top breaks its line depends on the length of numbers and names.
    if (place === 'top') expect(shape(`${scene}: ${shown}`)).toContain(shape(renamed).slice(0, 60))
    else expect(`${scene}, ${place}: ${shape(shown)}`).toBe(`${scene}, ${place}: ${shape(renamed)}`)
  }
}

/** The document has the alert with what its rule says in one line. */
function expectAlert(scene: string, alert: string): void {
  const rule = groups.flatMap(({ rules }) => rules).find((each) => each.alert === alert)
  const words = rule?.annotations?.summary.split(/\{\{.*?\}\}/) ?? ['no such rule']
  const row = DOCUMENT.split('\n').find((each) => each.startsWith(`| ${scene} | alert |`)) ?? ''
  expect(row).toContain(`\`${alert}\`: `)
  for (const part of words) expect(row).toContain(part)
}

async function screenshot(url: string, name: string): Promise<void> {
  if (SCREENSHOTS === undefined || !existsSync(CHROMIUM)) return
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  try {
    const page = await browser.newPage({ viewport: { width: 960, height: 560 } })
    await page.goto(url)
    await page.locator('#connection', { hasText: 'live' }).waitFor()
    await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) })
  } finally {
    await browser.close()
  }
}

test('a resolver dies', async () => {
  const good = await stage.resolver((query) => query.answer('192.0.2.1'))
  let isDead = false
  const dying = await stage.resolver((query) => {
    if (!isDead) query.answer('192.0.2.1')
  })
  const servers = [dying.text, good.text]
  const daemon = await stage.daemon({
    config: { upstream: { servers, attemptTimeoutMs: 1000, deadlineMs: 4000 } },
  })
  const client = await stage.client()
  await client.ask(daemon.at(), 'before.example')
  isDead = true
  let names = 0
  await until(async () => {
    await client.ask(daemon.at(), `after${names++}.example`)
    expect(await daemon.metric('byname_upstream_healthy', { server: dying.text })).toBe(0)
  })
  const cause = new RegExp(`resolver ${dying.text} (?:fails: \\d+ timeout|timed out \\d+ times)`)
  const lines = await firstLines(daemon, 'api.example.com')
  expectDocumented('A resolver dies', lines, cause, { [dying.text]: '10.0.0.2:53' })
  expectAlert('A resolver dies', 'BynameUpstreamDown')
  await screenshot(`http://${await addressOf(daemon, 'admin')}/`, 'bad-day-resolver')

  // The whole report, with all that it finds out about the machine, begins with the same.
  const path = join(folder, 'report.tar.gz')
  const metrics = await addressOf(daemon, 'metrics')
  await byname(['bug-report', '--output', path, '--admin', await addressOf(daemon, 'admin'), '--metrics', metrics])
  const made: { findings: { text: string }[] } = JSON.parse(
    readArchive(readFileSync(path)).get('findings.json') ?? '{"findings":[]}',
  )
  expect(made.findings[0]?.text).toMatch(cause)
})

test('the control plane goes away, and the table goes stale', async () => {
  const plane = await ScriptedAdsServer.start()
  const { address } = plane
  const daemon = await stage.daemon({ config: { mesh: { source: { xds: { address } } } } })
  const stream = await plane.streams.next()
  stream.push({ tables: [encodeNameTable(services({ web: '10.0.0.1' }))] })
  await until(async () => expect((await daemon.status()).table.hosts).toBe(1))
  await plane.stop()
  await until(async () => expect((await daemon.status()).xds?.away?.reason).toContain('ECONNREFUSED'))
  expect(await daemon.metric('byname_xds_connected')).toBe(0)
  const lines = await firstLines(daemon, 'web')
  expectDocumented('The table goes stale', lines, /the control plane is away/, {
    [address]: '10.96.0.9:15012',
  })
  expectAlert('The table goes stale', 'BynameControlPlaneAway')

  // Two hours later: as the daemon would say it then.
  const status: StatusReport = await daemon.status()
  status.table.ageSeconds = 2 * 3600
  const later = findingsOf(new Evidence(new Map([['daemon/status.json', JSON.stringify(status)]]), []))
  expect(later.map(({ text }) => text)).toContainEqual(
    expect.stringMatching(/^the table is 2 h 0 min old, and the control plane .* is away: /),
  )
})

test("the control plane's client certificate is near its end", async () => {
  const authority = new TestAuthority('mesh root')
  const plane = new SecuredControlPlane({ authority, table: encodeNameTable(services({ web: '10.0.0.1' })) })
  const address = await plane.start()
  stage.closing(() => plane.stop())
  const now = Date.now()
  const { cert, key } = authority.issue({
    names: ['URI:spiffe://td/ns/shop/sa/app'],
    fromMs: now - 55 * MINUTE_MS,
    toMs: now + 5.5 * MINUTE_MS,
  })
  const certificate = file('cert-chain.pem', cert)
  const tls = {
    rootCert: file('root.pem', authority.root),
    serverName: 'istiod.istio-system.svc',
    cert: certificate,
    key: file('key.pem', key),
  }
  const daemon = await stage.daemon({ config: { mesh: { source: { xds: { address, tls } } } } })
  await until(async () => expect((await daemon.status()).table.hosts).toBe(1))
  const expires = await daemon.metric('byname_credential_expiry_timestamp_seconds', { kind: 'certificate' })
  expect(expires! - now / 1000).toBeLessThan(3600)
  const lines = await firstLines(daemon, 'web')
  expectDocumented('A certificate ends soon', lines, /certificate .*cert-chain\.pem\s+expires in [45] min/, {
    [folder]: '/etc/certs',
    [address]: '10.96.0.9:15012',
  })
  expectAlert('A certificate ends soon', 'BynameCredentialExpires')
})

test('a search storm', async () => {
  const upstream = await stage.resolver((query) =>
    query.name.includes('.cluster.local') ? query.reply({ flags: 0x8183 }) : query.answer('192.0.2.1', 60),
  )
  const table = file('one-host.json', '{"table":{"web.default.svc.cluster.local":{"ips":["10.0.0.1"]}}}')
  const daemon = await stage.daemon({
    config: { mesh: { source: { table } }, upstream: { servers: [upstream.text] } },
    resolvConf: SEARCH,
  })
  const client = await stage.client()
  const searched = SEARCH.split('\n')[0]!.split(' ').slice(1)
  for (let n = 0; n < 60; n++) for (const domain of searched) await client.ask(daemon.at(), `api.example.com.${domain}`)

  // The page looks at a whole minute: the same storm on a clock that is moved by hand, explained by the real daemon.
  const explain = async (query: URLSearchParams): Promise<ExplainResult> => ({
    explanation: JSON.parse(await textOf(daemon, 'admin', `/debug/explain?${query.toString()}`)),
  })
  const world = new PageWorld({ explain, searchDomains: () => searched })
  await world.start()
  stage.closing(() => world.observer.stop(0))
  for (let sample = 0; sample < 12; sample++) {
    for (let n = 0; n < 500; n++) {
      world.counters.request(0, 0, 1)
      world.counters.response(Source.upstream, n % 8 === 0 ? 0 : 3, 0, 80)
    }
    world.sample('api.example.com.default.svc.cluster.local.', { rcode: 3, weight: 100 })
    world.clock.pass(5000)
  }
  const admin = world.url.replace(/^http:\/\/|\/$/g, '')
  const status: StatusReport = JSON.parse(await (await fetch(`${world.url}debug/status`)).text())
  // A report looks at all replies since the start.
  await until(async () => expect(await firstFinding(daemon)).toContain('api.example.com'))
  const lines = {
    page: status.health.sentence,
    top: await topLine(admin),
    explain: await explainLine(admin, 'api.example.com'),
    'bug report': await firstFinding(daemon),
  }
  expectDocumented('A search storm', lines, /\d+ % of .*NXDOMAIN, most for api\.example\.com/, {})
  expectAlert('A search storm', 'BynameSearchStorm')
  await screenshot(world.url, 'bad-day-storm')
})

test('a host entry is poisoned: the hosts file has another address than the name table', async () => {
  const table = file('table.json', JSON.stringify({ table: { 'web.default.svc.cluster.local': KUBERNETES } }))
  const hostsFile = file('hosts', '127.0.0.1 localhost\n10.66.6.6 web.default.svc.cluster.local\n')
  const daemon = await stage.daemon({ config: { mesh: { source: { table } }, hostsFile } })
  await until(async () => expect((await daemon.status()).table.hosts).toBe(1))
  expect(await daemon.metric('byname_problems', { about: 'hosts_file' })).toBe(1)
  const lines = await firstLines(daemon, 'web')
  expectDocumented(
    'A host entry is poisoned',
    lines,
    /hosts file contradicts the name table: web\.default\.svc\.cluster\.local is 10\.66\.6\.6 there and/,
    { [folder]: '/etc/byname' },
  )
  expectAlert('A host entry is poisoned', 'BynameProblem')
  // The table's address is what is answered, and mended is mended.
  const client = await stage.client()
  expect(addressesOf((await client.ask(daemon.at(), 'web.default.svc.cluster.local')).packet)).toEqual(['10.0.0.1'])
  writeFileSync(hostsFile, '127.0.0.1 localhost\n10.0.0.1 web.default.svc.cluster.local\n')
  await until(async () => expect((await daemon.status()).problems).toEqual([]))
})

test('a mesh host captures an outside name: explain and report say whose it is, the hosts file makes it a problem', async () => {
  const captured = { ips: ['10.66.6.6'], registry: 'External', namespace: 'shop' }
  const table = file('captured.json', JSON.stringify({ table: { 'api.example.com': captured } }))
  const hostsFile = file('pinned', '192.0.2.7 api.example.com\n')
  const daemon = await stage.daemon({ config: { mesh: { source: { table } } } })
  await until(async () => expect((await daemon.status()).table.hosts).toBe(1))
  const lines = await firstLines(daemon, 'api.example.com.')
  const { explain, 'bug report': report, page } = lines
  expect(page).toMatch(/^answering; table of 1 host/)
  expect(explain).toMatch(
    /The name table has it, not a resolver: host api\.example\.com \(External.*\) is 10\.66\.6\.6\.$/,
  )
  expect(report).toMatch(
    /^the name table, and no resolver, has 1 name of outside the cluster: api\.example\.com \(10\.66\.6\.6/,
  )
  const pinned = await stage.daemon({ config: { mesh: { source: { table } }, hostsFile } })
  await until(async () => expect((await pinned.status()).problems).toHaveLength(1))
  const { problems } = await pinned.status()
  expect(problems[0]?.text).toContain('api.example.com is 192.0.2.7 there and 10.66.6.6 in the table')
})

const KUBERNETES = { ips: ['10.0.0.1'], registry: 'Kubernetes', shortname: 'web', namespace: 'default' }
