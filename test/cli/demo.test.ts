import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import dnsPacket, { type DecodedPacket } from 'dns-packet'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { exchangeUdp } from '../../src/cli/dns-exchange.ts'
import { byname, startByname } from './byname-process.ts'
import { ScriptedServer } from './scripted-server.ts'

const DEMO = fileURLToPath(new URL('../../config/demo', import.meta.url))
const FREE_PORTS = ['--control-plane-listen', '--metrics-listen', '--admin-listen'].flatMap((name) => [
  name,
  '127.0.0.1:0',
])

const folder = mkdtempSync(join(tmpdir(), 'byname-demo-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Reads what a child prints until `pattern` matches. */
async function until(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = ''
  for await (const line of createInterface({ input: child.stdout! })) {
    text += `${line}\n`
    if (pattern.test(text)) return text
  }
  throw new Error(`it ended after: ${text}`)
}

describe('demo', () => {
  const mesh = join(folder, 'mesh')
  let upstream: ScriptedServer
  let child: ChildProcess
  let screen: string
  let port: number

  beforeAll(async () => {
    cpSync(DEMO, mesh, { recursive: true })
    upstream = await ScriptedServer.start(() => ({
      flags: 0x8180,
      answers: [{ name: 'example.com', type: 'A', ttl: 300, data: '192.0.2.80' }],
    }))
    const args = ['demo', '--mesh', mesh, '--listen', '127.0.0.1:0', ...FREE_PORTS]
    child = startByname(args, {
      BYNAME_UPSTREAM_SERVERS: upstream.text,
      BYNAME_UPSTREAM_ATTEMPT_TIMEOUT_MS: '3000',
    })
    child.stderr!.resume()
    screen = await until(child, /Ctrl-C/)
    port = Number(/DNS +127\.0\.0\.1:(\d+)/.exec(screen)?.[1])
  })
  afterAll(() => {
    child.kill('SIGKILL')
    upstream.stop()
  })

  async function ask(name: string): Promise<DecodedPacket> {
    const query = dnsPacket.encode({ id: 7, flags: dnsPacket.RECURSION_DESIRED, questions: [{ type: 'A', name }] })
    return dnsPacket.decode((await exchangeUdp({ address: '127.0.0.1', port, text: 'demo' }, query, 5000)).reply)
  }

  /** Asks until the answer has these addresses. */
  async function waitFor(name: string, addresses: string[]): Promise<void> {
    await expect.poll(async () => addressesOf(await ask(name))).toEqual(addresses)
  }

  test('the screen shows the ports that are open', async () => {
    expect(port).toBeGreaterThan(0)
    expect(screen).toContain(`dig @127.0.0.1 -p ${port} example.com`)
    expect(screen).toContain(mesh)
    const metrics = /metrics +(http:\S+)/.exec(screen)![1]!
    expect((await fetch(metrics)).status).toBe(200)
    expect((await fetch(/status page +(http:\S+)/.exec(screen)![1]!)).status).toBe(200)
  })

  test('mesh names are answered: short, pod, wildcard', async () => {
    await waitFor('reviews', ['10.96.14.20'])
    expect(addressesOf(await ask('db-0.db.default.svc.cluster.local'))).toEqual(['10.244.1.10'])
    expect(addressesOf(await ask('anything.example.test'))).toEqual(['198.51.100.40'])
    expect((await ask('reviews')).flag_aa).toBe(true)
  })

  test('an outside name comes from upstream once, then from the cache, and the metrics say so', async () => {
    await waitFor('example.com', ['192.0.2.80'])
    await ask('example.com')
    expect(upstream.queries.filter(({ query }) => query.questions?.[0]?.name === 'example.com')).toHaveLength(1)
    const metrics = await (await fetch(/metrics +(http:\S+)/.exec(screen)![1]!)).text()
    expect(metrics).toMatch(/^byname_cache_hits_total\{kind="positive"\} [1-9]/m)
    expect(metrics).toMatch(/^byname_xds_connected 1$/m)
  })

  test('an edited file is answered', async () => {
    const file = join(mesh, 'bookinfo.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace('clusterIP: 10.96.14.20', 'clusterIP: 10.96.14.99'))
    await waitFor('reviews', ['10.96.14.99'])
  })

  test('Ctrl-C ends it cleanly', async () => {
    child.kill('SIGINT')
    expect(await once(child, 'exit')).toEqual([0, null])
  })
})

describe('a port in use: which, what to do, exit code 1', () => {
  test.each(['--listen', '--control-plane-listen'])('%s', async (option) => {
    const blocker = createServer().listen(0, '127.0.0.1')
    await once(blocker, 'listening')
    const address = blocker.address()
    const busy = typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
    // The last one of an option given twice counts, but for --listen, which may be repeated.
    const listen = option === '--listen' ? [] : ['--listen', '127.0.0.1:0']
    const { code, err } = await byname(['demo', ...FREE_PORTS, ...listen, option, busy], { BYNAME_LOG_LEVEL: 'error' })
    blocker.close()
    expect(code).toBe(1)
    const line = err.trimEnd().split('\n').at(-1)!
    expect(line).toMatch(/^byname demo: cannot listen on /)
    expect(line).toContain(busy)
    expect(line).toContain(`or choose another with ${option} ADDR:PORT`)
  })
})

describe('control-plane', () => {
  let child: ChildProcess | null = null
  afterEach(() => {
    child?.kill('SIGKILL')
  })

  test('serves until SIGTERM, then ends with exit code 0', async () => {
    child = startByname(['control-plane', '--mesh', DEMO, '--listen', '127.0.0.1:0'])
    for await (const line of createInterface({ input: child.stderr! })) if (line.includes('is serving')) break
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  test('a folder that is not there, in one line', async () => {
    const { code, err } = await byname(['control-plane', '--mesh', '/nowhere/mesh', '--listen', '127.0.0.1:0'])
    expect(code).toBe(1)
    expect(err).toMatch(/^byname control-plane: mesh folder \/nowhere\/mesh: .*\n$/)
  })
})

function addressesOf(packet: DecodedPacket): string[] {
  return (packet.answers ?? []).flatMap((record) => (record.type === 'A' ? [record.data] : []))
}
