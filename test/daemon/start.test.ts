/** The daemon's start and end, with good and with bad surroundings. */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { byname, type Ended, LAUNCHER } from '../cli/byname-process.ts'
import { hasIPv6, skipWithoutIPv6 } from '../ipv6.ts'
import { services, Stage } from '../scenario/scenario.ts'
import { freePort } from '../free-port.ts'
import { addressesOf, askTcp, TcpClient } from '../worker/dns-client.ts'
import { runLauncher } from './daemon-process.ts'
import { until } from '../until.ts'

const stage = new Stage()

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'byname-start-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  return folder
}

function tableFile(): string {
  const file = join(scratch(), 'table.json')
  writeFileSync(file, nameTableToJson(services({ web: '10.0.0.1' })))
  return file
}

test('both families, UDP and TCP on each; log and status name the driver and why', async (context) => {
  skipWithoutIPv6(context)
  const daemon = await stage.daemon({
    config: { listen: ['127.0.0.1:0', '[::1]:0'], mesh: { source: { table: tableFile() } } },
  })
  const clients = [await stage.client(), await stage.client('::1')]
  for (const [k, client] of clients.entries()) {
    await until(async () => expect(addressesOf((await client.ask(daemon.at(k), 'web')).packet)).toEqual(['10.0.0.1']))
    expect(addressesOf(await askTcp(daemon.at(k), 'web'))).toEqual(['10.0.0.1'])
  }
  for (const family of ['4', '6']) {
    expect(await daemon.metric('byname_dns_requests_total', { proto: 'udp', family, type: 'A' })).toBeGreaterThan(0)
    expect(await daemon.metric('byname_dns_requests_total', { proto: 'tcp', family, type: 'A' })).toBe(1)
  }
  const why = 'batched system calls work here'
  expect(await daemon.line('byname is answering')).toMatchObject({ driver: 'batch', why })
  expect((await daemon.status()).driver).toEqual({ name: 'batch', why })
})

test.each(['batch', 'dgram'])(
  'driver %s: a port that is busy over UDP alone: the address, the transport and what to do',
  async (driver) => {
    const port = await freePort()
    const socket = createSocket('udp4').bind(port, '127.0.0.1')
    await once(socket, 'listening')
    stage.closing(() => socket.close())
    const listen = `127.0.0.1:${port}`
    const env = {
      BYNAME_DRIVER: driver,
      BYNAME_MESH_SOURCE_TABLE: tableFile(),
      BYNAME_METRICS_LISTEN: '127.0.0.1:0',
      BYNAME_ADMIN_LISTEN: '127.0.0.1:0',
      BYNAME_LOG_LEVEL: 'error',
    }
    const { code, err } = await byname(['run', '--listen', listen], env)
    expect(code).toBe(1)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
    expect(err).toContain(`cannot listen on ${listen} (UDP)`)
    expect(err).toContain('--listen ADDR:PORT')
  },
)

test('a server that is an own listener would be a loop: refused at start', async () => {
  const port = await freePort()
  const env = { BYNAME_UPSTREAM_SERVERS: `127.0.0.1:${port}`, BYNAME_LOG_LEVEL: 'error' }
  const { code, err } = await byname(['run', '--listen', `127.0.0.1:${port}`], env)
  expect(code).toBe(2)
  expect(err).toContain(`127.0.0.1:${port} is byname's own listener`)
})

test('a bad configuration: exit code 2, file, line and key', async () => {
  const file = join(scratch(), 'byname.yaml')
  writeFileSync(file, 'listen: ["127.0.0.1:0"]\ncache:\n  maxBites: 5\n')
  const { code, err } = await byname(['run', '--config', file])
  expect(code).toBe(2)
  expect(err).toMatch(/byname\.yaml:3:\d+: cache\.maxBites: unknown key/)
})

test('a metrics port that is busy is no reason for DNS to stop', async () => {
  const first = await stage.daemon({ config: { mesh: { source: { table: tableFile() } } } })
  const { port } = await first.line('metrics endpoint is listening')
  const second = await stage.daemon({
    config: { mesh: { source: { table: tableFile() } }, metrics: { listen: `127.0.0.1:${String(port)}` } },
  })
  const client = await stage.client()
  await until(async () => expect(addressesOf((await client.ask(second.at(), 'web')).packet)).toEqual(['10.0.0.1']))
})

test.each(['batch', 'dgram'])('driver %s: SIGTERM ends an idle daemon at once, with exit code 0', async (driver) => {
  const daemon = await stage.daemon({ config: { driver, mesh: { source: { table: tableFile() } } } })
  const client = await stage.client()
  await until(async () => expect(addressesOf((await client.ask(daemon.at(), 'web')).packet)).toEqual(['10.0.0.1']))
  const startedAt = performance.now()
  expect(await daemon.end('SIGTERM')).toEqual([0, null])
  expect(performance.now() - startedAt).toBeLessThan(5000)
  await daemon.line('byname has stopped')
})

test('SIGINT while a question is under way: it is answered, then the daemon ends; a second SIGINT ends it at once', async () => {
  const upstream = await stage.resolver(() => {})
  const daemon = await stage.daemon({
    config: {
      mesh: { source: { table: tableFile() }, beforeSync: 'forward' },
      upstream: { servers: [upstream.text], attemptTimeoutMs: 60_000, deadlineMs: 60_000 },
    },
  })
  const client = await stage.client()
  client.ask(daemon.at(), 'silent.example').catch(() => {})
  await until(() => expect(upstream.asked('silent.example')).toBe(1))
  daemon.child.kill('SIGINT')
  await daemon.line('draining')
  expect(await daemon.end('SIGINT')).toEqual([null, 'SIGINT'])
})

test('a second SIGTERM, and a third, cost no answer: what was taken in is answered', async () => {
  const upstream = await stage.resolver(() => {})
  const daemon = await stage.daemon({
    config: {
      mesh: { source: { table: tableFile() }, beforeSync: 'forward' },
      upstream: { servers: [upstream.text], attemptTimeoutMs: 60_000, deadlineMs: 60_000 },
    },
  })
  const client = await stage.client()
  const slow = client.ask(daemon.at(), 'slow.example')
  const connection = await TcpClient.open(daemon.at())
  const slowTcp = connection.ask('slowly.example')
  // The daemon's own probes for loops are asked as well.
  await until(() => expect([upstream.asked('slow.example'), upstream.asked('slowly.example')]).toEqual([1, 1]))
  const ended = once(daemon.child, 'exit')
  daemon.child.kill('SIGTERM')
  await daemon.line('draining')
  daemon.child.kill('SIGTERM')
  daemon.child.kill('SIGTERM')
  // Asked after the signals: whoever answers this has had them.
  expect(await daemon.metric('byname_upstream_requests_total', {})).toBeUndefined()
  for (const query of upstream.queries) query.answer('192.0.2.1')
  expect(addressesOf((await slow).packet)).toEqual(['192.0.2.1'])
  expect(addressesOf(await slowTcp)).toEqual(['192.0.2.1'])
  expect(await ended).toEqual([0, null])
})

test('SIGKILL of the process leaves nothing that keeps the port', async () => {
  const port = await freePort()
  const config = { listen: [`127.0.0.1:${port}`], mesh: { source: { table: tableFile() } } }
  const daemon = await stage.daemon({ config })
  await daemon.end('SIGKILL')
  const again = await stage.daemon({ config })
  expect(again.at().port).toBe(port)
})

/** Runs byname with a limit of open files. */
async function withOpenFiles(limit: number, ...args: string[]): Promise<Ended> {
  const child = spawn('sh', ['-c', `ulimit -n ${limit}; exec "$@"`, 'sh', LAUNCHER, ...args])
  stage.closing(() => child.kill('SIGKILL'))
  const ended: Ended = { code: null, out: '', err: '' }
  child.stdout.on('data', (text) => (ended.out += String(text)))
  child.stderr.on('data', (text) => {
    const isAnswering = ended.err.includes('byname is answering')
    ended.err += String(text)
    if (!isAnswering && ended.err.includes('byname is answering')) child.kill('SIGTERM')
  })
  await once(child, 'close')
  return { ...ended, code: child.exitCode }
}

test.each([16, 20, 24, 31])('with %d open files it ends at once with one line that names the limit', async (limit) => {
  const { code, err } = await withOpenFiles(limit, 'run')
  expect(code).toBe(1)
  expect(err).toMatch(/^byname: at most \d+ files may be open.*raise the limit \(ulimit -n.*\n$/)
})

test.each([
  [32, 1],
  [40, 1],
  [48, 1],
  [64, 0],
])('with %d open files it says what it needs, or what it goes without', async (limit, code) => {
  const config = join(scratch(), 'byname.yaml')
  writeFileSync(
    config,
    JSON.stringify({
      listen: ['127.0.0.1:0'],
      metrics: { listen: '127.0.0.1:0' },
      admin: { listen: '127.0.0.1:0' },
      mesh: { source: { table: tableFile() } },
      upstream: { servers: ['127.0.0.1:53'] },
    }),
  )
  const ended = await withOpenFiles(limit, 'run', '--config', config)
  expect(ended.code).toBe(code)
  expect(ended.err).toContain(`at most ${limit} files may be open`)
  expect(ended.err).toContain('raise the limit (ulimit -n')
  if (code === 0) expect(ended.err).toMatch(/: \d+ TCP connections of clients are served at a time instead of 1024/)
})

/** A copy of the package as npm lays it out, but with a node_modules in which koffi is missing. */
function packageWithoutKoffi(): string {
  const root = scratch()
  const from = join(LAUNCHER, '..', '..')
  for (const part of ['bin', 'dist', 'protos', 'config', 'package.json'])
    cpSync(join(from, part), join(root, part), { recursive: true })
  return root
}

test('without koffi: the other driver runs, says why, and answers over both transports and families', async () => {
  const launcher = join(packageWithoutKoffi(), 'bin', 'byname')
  const listen = ['127.0.0.1:0', ...(hasIPv6 ? ['[::1]:0'] : [])]
  const daemon = await stage.daemon({ launcher, config: { listen, mesh: { source: { table: tableFile() } } } })
  const said = await daemon.line('byname is answering')
  expect(said).toMatchObject({ driver: 'dgram' })
  expect(said['why']).toMatch(/^koffi cannot be loaded: Cannot find (module|package) 'koffi'/)
  for (const [k] of listen.entries()) {
    const client = await stage.client(k === 0 ? '127.0.0.1' : '::1')
    await until(async () => expect(addressesOf((await client.ask(daemon.at(k), 'web')).packet)).toEqual(['10.0.0.1']))
    expect(addressesOf(await askTcp(daemon.at(k), 'web'))).toEqual(['10.0.0.1'])
  }
  expect((await daemon.status()).driver).toMatchObject({ name: 'dgram' })
})

test('without koffi `driver: batch` is refused, with the reason and the remedy', async () => {
  const launcher = join(packageWithoutKoffi(), 'bin', 'byname')
  const { code, err } = await runLauncher(launcher, ['run', '--listen', '127.0.0.1:0'], {
    BYNAME_DRIVER: 'batch',
    BYNAME_LOG_LEVEL: 'error',
  })
  expect(code).toBe(2)
  expect(err).toMatch(/driver: batch is not to be had here: koffi cannot be loaded.*; use auto/)
})

test.each(['udp4', 'tcp'])(
  'without koffi: a port that is busy (%s) ends the start with its name',
  async (transport) => {
    const launcher = join(packageWithoutKoffi(), 'bin', 'byname')
    const port = await freePort()
    if (transport === 'udp4') {
      const socket = createSocket('udp4').bind(port, '127.0.0.1')
      await once(socket, 'listening')
      stage.closing(() => socket.close())
    } else {
      const blocker = await stage.resolver(() => {}, { port })
      expect(blocker.port).toBe(port)
    }
    const env = {
      BYNAME_MESH_SOURCE_TABLE: tableFile(),
      BYNAME_METRICS_LISTEN: '127.0.0.1:0',
      BYNAME_ADMIN_LISTEN: '127.0.0.1:0',
      BYNAME_LOG_LEVEL: 'error',
    }
    const { code, err } = await runLauncher(launcher, ['run', '--listen', `127.0.0.1:${port}`], env)
    expect(code).toBe(1)
    expect(err.trimEnd().split('\n').at(-1)).toContain(`cannot listen on 127.0.0.1:${port}`)
  },
)
