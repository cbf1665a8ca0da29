/** The query log of a daemon as people run it: files, signals, sockets, and the programs that read dnstap. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { missing } from '../interop/real-servers.ts'
import { askTcp, type UdpClient } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const absent = missing('dnstap-ldns', 'fstrm_capture')
if (absent.length > 0)
  process.stderr.write(`NOT TESTED, dnstap as its readers see it, for want of: ${absent.join(', ')}\n`)
const stage = new Stage()
let folder: string
let file: string
let client: UdpClient

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'byname-query-log-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  file = join(folder, 'queries')
  client = await stage.client()
})

async function start(queryLog: object, driver = 'auto'): Promise<DaemonProcess> {
  const resolver = await stage.resolver((query) =>
    query.name.startsWith('no') ? query.reply({ flags: 0x8183 }) : query.answer('192.0.2.7'),
  )
  const upstream = { servers: [`127.0.0.1:${resolver.port}`] }
  const daemon = await stage.daemon({ config: { queryLog, upstream, driver, mesh: { beforeSync: 'forward' } } })
  await daemon.line('queries are logged')
  return daemon
}

/** Writes the configuration anew, with another query log. */
function configure(daemon: DaemonProcess, queryLog: object): void {
  const path = join(daemon.folder, 'byname.yaml')
  writeFileSync(`${path}.new`, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), queryLog }))
  renameSync(`${path}.new`, path)
}

function entries(path: string = file): Record<string, unknown>[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line))
}

const names = (path?: string): unknown[] => entries(path).map(({ QNAME }) => QNAME)

describe('JSON lines', () => {
  test.each(['auto', 'dgram'])('have one for each query, over UDP and TCP (driver %s)', async (driver) => {
    const daemon = await start({ file }, driver)
    const sentAtMs = Date.now()
    await client.ask(daemon.at(), 'LocalHost')
    await client.ask(daemon.at(), 'example.org')
    await askTcp(daemon.at(), 'example.org')
    await until(() => expect(entries()).toHaveLength(3))
    const [local, upstream, cache] = entries()
    const udp = { client: '127.0.0.1', port: client.port, proto: 'udp' }
    expect(local).toMatchObject({ ...udp, QNAME: 'LocalHost.', RCODEname: 'NOERROR', source: 'local', server: null })
    expect(upstream).toMatchObject({ ...udp, QNAME: 'example.org.', QTYPEname: 'A', source: 'upstream' })
    expect(cache).toMatchObject({ client: '127.0.0.1', proto: 'tcp', QNAME: 'example.org.', source: 'cache' })
    expect(cache!['port']).toBeGreaterThan(1023)
    for (const entry of entries()) {
      expect(Math.abs(Date.parse(String(entry['time'])) - sentAtMs)).toBeLessThan(60_000)
      expect(entry['latencyMs']).toBeLessThan(10_000)
    }
    expect(await daemon.metric('byname_query_log_entries_total')).toBe(3)
    expect(await daemon.metric('byname_query_log_dropped_total', { reason: 'ring_full' })).toBe(0)
  })

  test('go to another file, and of other queries, as soon as the configuration says so', async () => {
    const daemon = await start({ file, rcodes: ['NXDOMAIN'] })
    for (const name of ['yes.example', 'no.example']) await client.ask(daemon.at(), name)
    await until(() => expect(names()).toEqual(['no.example.']))
    configure(daemon, { file, names: ['shop.example'], sources: ['upstream'] })
    await daemon.line('configuration read again')
    // The workers have answered this after they have heard of it.
    expect((await daemon.get('metrics', '/healthz')).status).toBe(200)
    for (const name of ['yes.example', 'a.shop.example', 'a.shop.example', 'shop.example'])
      await client.ask(daemon.at(), name)
    await until(() => expect(names()).toEqual(['no.example.', 'a.shop.example.', 'shop.example.']))
    configure(daemon, { file: `${file}.2` })
    await daemon.nthLine('configuration read again', 2)
    await daemon.nthLine('queries are logged', 2)
    await client.ask(daemon.at(), 'yes.example')
    await until(() => expect(names(`${file}.2`)).toEqual(['yes.example.']))
    configure(daemon, {})
    await daemon.line('queries are logged no more')
    await client.ask(daemon.at(), 'yes.example')
    await daemon.end()
    expect([names().length, names(`${file}.2`).length]).toEqual([3, 1])
  })

  test('follow in a new file after SIGHUP if the old one was moved, whatever the configuration', async () => {
    const daemon = await start({ file })
    await client.ask(daemon.at(), 'one.example')
    await until(() => expect(names()).toEqual(['one.example.']))
    renameSync(file, `${file}.old`)
    writeFileSync(join(daemon.folder, 'byname.yaml'), 'listen: [')
    daemon.child.kill('SIGHUP')
    await until(() => expect(existsSync(file)).toBe(true))
    await client.ask(daemon.at(), 'two.example')
    await until(() => expect(names()).toEqual(['two.example.']))
    expect(names(`${file}.old`)).toEqual(['one.example.'])
  })

  test('are all there when the daemon ends', async () => {
    const daemon = await start({ file })
    await Promise.all(Array.from({ length: 100 }, (_, k) => client.ask(daemon.at(), `n${k}.example`)))
    await daemon.end()
    expect(entries()).toHaveLength(100)
  })

  test('can go to standard output', async () => {
    const daemon = await start({ file: 'stdout' })
    let out = ''
    daemon.child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()))
    await client.ask(daemon.at(), 'one.example')
    await until(() => expect(out.split('\n').filter((line) => line.includes('one.example.'))).toHaveLength(1))
  })

  test('that a full disk does not take are counted, and DNS goes on', async () => {
    const daemon = await start({ file: '/dev/full' })
    await client.ask(daemon.at(), 'one.example')
    expect(await daemon.line('the query log cannot be written')).toMatchObject({ output: 'file /dev/full' })
    expect((await daemon.status()).problems).toMatchObject([{ about: 'query_log' }])
    await client.ask(daemon.at(), 'two.example')
    await daemon.end()
    expect(daemon.lines.filter(({ msg }) => msg.startsWith('the query log'))).toHaveLength(1)
  })

  test('go to a socket, and again after its reader was away', async () => {
    const path = join(folder, 'socket')
    let got = ''
    const listen = (): ReturnType<typeof createServer> => {
      const server = createServer((socket) => {
        socket.on('data', (chunk: Buffer) => (got += chunk.toString()))
        stage.closing(() => socket.destroy())
        server.once('close', () => socket.destroy())
      })
      stage.closing(() => server.close())
      return server.listen(path)
    }
    const daemon = await start({ socket: path })
    await daemon.line('the query log cannot be written')
    await client.ask(daemon.at(), 'one.example')
    listen()
    await until(() => expect(got).toContain('one.example.'))
    await daemon.line('the query log is written again')
  })
})

/** Bytes that a process has read so far, from files and sockets. */
function bytesRead({ pid }: ChildProcess): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1])
}

/** A dnstap file as its standard reader prints it. */
function read(path: string, format: '-q' | '-y'): string {
  return execFileSync('dnstap-ldns', [format, '-r', path], { encoding: 'utf8' })
}

describe.skipIf(absent.length > 0)('dnstap', () => {
  test('in a file is read by a standard reader', async () => {
    const daemon = await start({ file, format: 'dnstap' })
    await client.ask(daemon.at(), 'example.org', 'A', { edns: 1400 })
    await askTcp(daemon.at(), 'no.example')
    await until(() => expect(statSync(file).size).toBeGreaterThan(400))
    await daemon.end()
    const lines = read(file, '-q').trim().split('\n')
    expect(lines.map((line) => line.replace(/^\S+ \S+ /, ''))).toEqual([
      expect.stringMatching(/^CQ 127\.0\.0\.1 UDP \d+b "example\.org\." IN A$/),
      expect.stringMatching(/^CR 127\.0\.0\.1 UDP \d+b "example\.org\." IN A$/),
      expect.stringMatching(/^CQ 127\.0\.0\.1 TCP \d+b "no\.example\." IN A$/),
      expect.stringMatching(/^CR 127\.0\.0\.1 TCP \d+b "no\.example\." IN A$/),
    ])
    const whole = read(file, '-y')
    expect(whole).toContain('192.0.2.7')
    expect(whole).toContain('NXDOMAIN')
    expect(whole).toContain(`query_port: ${client.port}`)
  })

  test('over a socket is taken by fstrm_capture, and again by the one that comes after it', async () => {
    const socket = join(folder, 'socket')
    const capture = (path: string): ReturnType<typeof spawn> => {
      const child = spawn('fstrm_capture', ['-t', 'protobuf:dnstap.Dnstap', '-u', socket, '-w', path], {
        stdio: 'ignore',
      })
      stage.closing(() => child.kill('SIGKILL'))
      return child
    }
    const first = capture(file)
    await until(() => expect(existsSync(socket)).toBe(true))
    const daemon = await start({ socket, format: 'dnstap' })
    const before = bytesRead(first)
    await client.ask(daemon.at(), 'one.example')
    // What waits in the socket would be lost: two messages, which come together. The greeting before them is shorter.
    await until(() => expect(bytesRead(first) - before).toBeGreaterThan(150))
    first.kill('SIGTERM')
    await once(first, 'exit')
    await daemon.line('the query log cannot be written')
    const second = capture(`${file}.2`)
    await daemon.line('the query log is written again')
    await client.ask(daemon.at(), 'two.example')
    await until(async () => expect(await daemon.metric('byname_query_log_entries_total')).toBe(2))
    await daemon.end()
    second.kill('SIGTERM')
    await once(second, 'exit')
    expect(read(file, '-q')).toMatch(/CQ .*"one\.example\.".*\n.*CR .*"one\.example\."/)
    expect(read(`${file}.2`, '-q')).toMatch(/CQ .*"two\.example\.".*\n.*CR .*"two\.example\."/)
  })
})
