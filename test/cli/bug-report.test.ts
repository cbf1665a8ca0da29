import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { byname, type Ended } from './byname-process.ts'
import { readArchive } from './report/read-archive.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-bug-report-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const TABLE = {
  table: {
    'reviews.shop.svc.cluster.local': {
      ips: ['10.0.0.7'],
      registry: 'Kubernetes',
      namespace: 'shop',
      shortname: 'reviews',
    },
  },
}

interface MadeReport {
  ended: Ended
  path: string
  files: Map<string, string>
  /** Findings as `severity: text`. */
  findings: string[]
}

async function makeReport(
  name: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<MadeReport> {
  const path = join(folder, `${name}.tar.gz`)
  const ended = await byname(['bug-report', '--output', path, ...args], env)
  const files = existsSync(path) ? readArchive(readFileSync(path)) : new Map<string, string>()
  const read: { findings: { severity: string; text: string }[] } = JSON.parse(
    files.get('findings.json') ?? '{"findings":[]}',
  )
  return { ended, path, files, findings: read.findings.map(({ severity, text }) => `${severity}: ${text}`) }
}

/** Options that name a daemon's endpoints. */
function endpointsOf(daemon: DaemonProcess): string[] {
  return ['--admin', addressOf(daemon, 'admin'), '--metrics', addressOf(daemon, 'metrics')]
}

function addressOf(daemon: DaemonProcess, endpoint: 'admin' | 'metrics'): string {
  const line = daemon.lines.find(({ msg }) => msg.startsWith(`${endpoint} endpoint is listening`))!
  return `${String(line['address'])}:${String(line['port'])}`
}

function json(report: MadeReport, file: string): Record<string, unknown> {
  const read: Record<string, unknown> = JSON.parse(report.files.get(file) ?? 'null')
  return read
}

describe('a report about a daemon that runs', () => {
  let daemon: DaemonProcess
  let report: MadeReport
  beforeAll(async () => {
    const table = join(folder, 'table.json')
    writeFileSync(table, JSON.stringify(TABLE))
    daemon = await DaemonProcess.start({ config: { mesh: { source: { table } }, workers: 1 } })
    await daemon.line('metrics endpoint is listening')
    await daemon.line('admin endpoint is listening')
    report = await makeReport('running', endpointsOf(daemon))
  })
  afterAll(() => daemon.stop())

  test('is one file that only its owner may read', () => {
    expect(report.ended.err).not.toContain('undefined')
    expect(report.ended).toMatchObject({ code: 0, out: '' })
    expect(statSync(report.path).mode & 0o777).toBe(0o600)
  })

  test('has what the daemon says of itself', () => {
    expect(json(report, 'daemon/status.json')).toMatchObject({
      pid: daemon.child.pid,
      ready: true,
      table: { hosts: 1 },
    })
    expect(json(report, 'daemon/configuration.json')).toMatchObject({ workers: 1, identity: { namespace: 'default' } })
    expect(json(report, 'daemon/table.json')).toMatchObject(TABLE)
    expect(json(report, 'daemon/table-summary.json')).toMatchObject({
      hosts: 1,
      listed: 1,
      registries: { Kubernetes: 1 },
      namespaces: { shop: 1 },
    })
    expect(json(report, 'daemon/log.json')).toMatchObject({
      lines: expect.arrayContaining([expect.objectContaining({ message: 'byname is answering' })]),
    })
    expect(report.files.get('daemon/cache.json')).toContain('"hitRatio"')
    expect(report.files.get('daemon/xds-history.json')).toBe('[]\n')
  })

  test('has what there is to know of its process and its machine', () => {
    expect(json(report, 'machine/processes.json')).toMatchObject({
      processes: expect.arrayContaining([expect.objectContaining({ pid: daemon.child.pid, state: 'S (sleeping)' })]),
    })
    expect(json(report, 'versions.json')).toMatchObject({
      node: process.version,
      libc: expect.stringMatching(/^glibc 2\./),
    })
    const { port } = daemon.at()
    expect(report.files.get('network/sockets.json')).toContain(`127.0.0.1:${port}`)
    expect(report.files.get('network/resolv.conf')).toBe(readFileSync(daemon.resolvConf, 'utf8'))
    expect(report.files.has('network/hosts')).toBe(true)
  })

  test('has answers to questions that were asked now', () => {
    const tests: { test: string; result: string; detail: string }[] = JSON.parse(report.files.get('self-tests.json')!)
    const of = (name: string): unknown => tests.find(({ test: its }) => its === name)
    expect(of('mesh name')).toMatchObject({
      question: 'reviews.shop.svc.cluster.local A',
      result: 'ok',
      detail: expect.stringMatching(/^NOERROR, 1 record, \d+ bytes$/),
    })
    expect(of('mesh name over TCP')).toMatchObject({ result: 'ok', transport: 'tcp' })
    expect(of('mesh name, a type that it has not (NODATA)')).toMatchObject({ result: 'ok' })
    expect(of('EDNS with 512 bytes')).toMatchObject({ result: 'ok' })
    expect(of('mesh name over IPv6')).toMatchObject({ result: 'skipped' })
  })

  test('lists what could not be collected, with its reason', () => {
    const { missing }: { missing: { file: string }[] } = JSON.parse(report.files.get('findings.json')!)
    expect(missing).toContainEqual(
      expect.objectContaining({ file: 'machine/pod.json', reason: expect.stringContaining('this is no pod') }),
    )
    for (const { file } of missing) expect(report.files.has(file)).toBe(false)
  })

  test('opens with a page whose links lead to files, and without scripts', () => {
    const page = report.files.get('index.html')!
    expect(page).toMatch(/^<!doctype html>/)
    expect(page).not.toMatch(/<script|javascript:|https?:/i)
    const links = [...page.matchAll(/href="([^"]+)"/g)].map(([, target]) => target!)
    expect(links.length).toBeGreaterThan(10)
    for (const link of links) expect(report.files.has(link), link).toBe(true)
  })

  test('is not written over a file that exists', async () => {
    const { ended } = await makeReport('running', [])
    expect(ended).toEqual({
      code: 1,
      out: '',
      err: `byname bug-report: ${report.path} exists already; remove it, or name another file with --output\n`,
    })
  })
})

describe('without a daemon that answers', () => {
  test('a report says that there is none, and has all else', async () => {
    const { ended, files, findings } = await makeReport('none', [
      '--admin',
      '127.0.0.1:9',
      '--set',
      'metrics.listen=127.0.0.1:9',
    ])
    expect(ended.code).toBe(0)
    expect(findings[0]).toMatch(
      /^error: byname (?:does not run here, as far as can be seen|runs, and its admin endpoint does not answer): nothing listens on 127\.0\.0\.1:9/,
    )
    expect(files.has('network/resolv.conf')).toBe(true)
    expect(files.has('configuration.json')).toBe(true)
  })

  test('a daemon that is stopped is found by its process, and nothing waits for it for long', async () => {
    const daemon = await DaemonProcess.start()
    try {
      await daemon.line('metrics endpoint is listening')
      await daemon.line('admin endpoint is listening')
      const endpoints = endpointsOf(daemon)
      daemon.child.kill('SIGSTOP')
      const startedAt = performance.now()
      const { findings, ended } = await makeReport('stopped', endpoints)
      expect(ended.code).toBe(0)
      expect(performance.now() - startedAt).toBeLessThan(50_000)
      expect(findings[0]).toBe(
        `error: byname does not answer: its process ${daemon.child.pid} is stopped (SIGSTOP, or a debugger); kill -CONT ${daemon.child.pid} lets it go on`,
      )
    } finally {
      daemon.child.kill('SIGCONT')
      await daemon.stop()
    }
  })

  test('a daemon of another version, whose answers mean something else, does no harm', async () => {
    const server: Server = createServer((_, response) =>
      response.end('{"table":[1],"upstreams":{"a":null},"xds":7,"credentials":{"x":[]}}'),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : 0
    const { ended, findings } = await makeReport('other', ['--admin', `127.0.0.1:${port}`])
    server.close()
    expect(ended.code).toBe(0)
    expect(findings).toContain('warning: the status is not what this version of byname knows: another version may run')
  })

  test('a configuration that is refused is the next finding', async () => {
    const config = join(folder, 'bad.yaml')
    writeFileSync(config, 'cache: { maxBites: 1 }\n')
    const { findings } = await makeReport('refused', ['--admin', '127.0.0.1:9', '--config', config])
    expect(findings[1]).toMatch(/^error: the configuration is refused: .*bad\.yaml:1:\d+: cache\.maxBites: unknown key/)
  })
})

describe('a wrong command line', () => {
  test.each([
    [['--output', ''], 2, '--output needs a file'],
    [['--output', '/nowhere/at/all.tar.gz'], 1, '/nowhere/at is no folder'],
    [['--output', '/tmp'], 1, '/tmp exists already'],
    [['extra'], 2, 'unexpected argument "extra"'],
  ])('%j ends before anything is collected', async (args, code, message) => {
    const ended = await byname(['bug-report', ...args])
    expect(ended.code).toBe(code)
    expect(ended.err).toContain(message)
    expect(ended.err).not.toContain('asking')
  })
})

test('--output - writes the archive to standard output and nothing else', async () => {
  const { LAUNCHER } = await import('./byname-process.ts')
  const { execFile } = await import('node:child_process')
  const archive = await new Promise<Buffer>((resolve, reject) => {
    execFile(
      LAUNCHER,
      ['bug-report', '--output', '-', '--admin', '127.0.0.1:9'],
      { encoding: 'buffer', maxBuffer: 1 << 26 },
      (error, stdout) => (error === null ? resolve(stdout) : reject(error)),
    )
  })
  expect(readArchive(archive).has('index.html')).toBe(true)
})
