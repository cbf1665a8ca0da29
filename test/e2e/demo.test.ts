/** `byname demo` as a newcomer meets it: a child process on free ports, asked over real sockets. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byname, LAUNCHER } from '../cli/byname-process.ts'
import { startLauncher } from '../daemon/daemon-process.ts'
import { parseExposition, valueOf } from '../observe/exposition.ts'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { addressesOf, type AskedType, askTcp, rcodeOf, UdpClient } from '../worker/dns-client.ts'
import { until } from '../until.ts'

const MESH = fileURLToPath(new URL('../../config/demo', import.meta.url))
const FREE_PORTS = ['--listen', '127.0.0.1:0', '--listen', '[::1]:0'].concat(
  ['--control-plane-listen', '--metrics-listen', '--admin-listen'].flatMap((option) => [option, '127.0.0.1:0']),
)
/** Names in the comments that are shown because the demo's workload does not see them. */
const NOT_SEEN = ['cart', 'vault.shop.svc.cluster.local']
const OUTSIDE = '192.0.2.80'

/** A demo that runs. */
class Demo {
  readonly child: ChildProcess
  screen = ''

  constructor(args: readonly string[], upstream: ScriptedResolver) {
    this.child = startLauncher(LAUNCHER, ['demo', ...FREE_PORTS, ...args], {
      BYNAME_UPSTREAM_SERVERS: upstream.text,
      BYNAME_UPSTREAM_ATTEMPT_TIMEOUT_MS: '3000',
    })
    this.child.stderr!.resume()
  }

  async started(): Promise<this> {
    for await (const line of createInterface({ input: this.child.stdout! })) {
      this.screen += `${line}\n`
      if (line.startsWith('Ctrl-C ends it')) return this
    }
    throw new Error(`it ended after: ${this.screen}`)
  }

  /** Where it answers, by family. */
  at(family: 4 | 6 = 4): { address: string; port: number } {
    const pattern = family === 4 ? /DNS +(127\.0\.0\.1):(\d+)/ : /DNS .*\[(::1)\]:(\d+)/
    const [, address, port] = pattern.exec(this.screen)!
    return { address: address!, port: Number(port) }
  }

  /** The web address that the screen shows for a thing. */
  url(what: string): string {
    return new RegExp(`${what} +(http:\\S+)`).exec(this.screen)![1]!
  }

  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    return valueOf(parseExposition(await (await fetch(this.url('metrics'))).text()), name, labels) ?? 0
  }

  async end(signal: NodeJS.Signals): Promise<[number | null, NodeJS.Signals | null]> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = once(this.child, 'exit')
      this.child.kill(signal)
      await ended
    }
    return [this.child.exitCode, this.child.signalCode]
  }
}

describe('on the mesh that ships with it', () => {
  let upstream: ScriptedResolver
  let demo: Demo
  let client: UdpClient

  beforeAll(async () => {
    upstream = await ScriptedResolver.start((query) => (query.type === 'A' ? query.answer(OUTSIDE) : query.reply({})))
    client = await UdpClient.open()
    demo = await new Demo([], upstream).started()
    // The screen comes with the sockets; the first table a moment later.
    await until(async () => expect(addressesOf((await client.ask(demo.at(), 'reviews')).packet)).toHaveLength(1))
  })
  afterAll(async () => {
    await demo.end('SIGKILL')
    client.close()
    await upstream.stop()
  })

  test('each dig line of the screen gets addresses, over UDP and TCP', async () => {
    const names = [...demo.screen.matchAll(/^ {2}dig @127\.0\.0\.1 -p (\d+) (\S+) {2,}/gm)]
    expect(names.length).toBeGreaterThanOrEqual(4)
    for (const [, port, name] of names) {
      expect(Number(port)).toBe(demo.at().port)
      const { packet } = await client.ask(demo.at(), name!)
      expect(addressesOf(packet), name).not.toEqual([])
      expect(addressesOf(await askTcp(demo.at(), name!)), name).toEqual(addressesOf(packet))
      expect(packet.flag_aa).toBe(name !== 'example.com')
    }
  })

  test('its query line says where the answer came from', async () => {
    const [, line] = /byname (query .*?) {2,}/.exec(demo.screen)!
    const { code, out } = await byname(line!.split(' '))
    expect(code).toBe(0)
    expect(out).toMatch(/10\.96\.14\.20[^]*mesh table/)
  })

  test('each dig line in the comments of the demo files is answered as the comment says', async () => {
    const lines = readdirSync(MESH).flatMap((file) => [
      ...readFileSync(join(MESH, file), 'utf8').matchAll(
        /^# +dig @127\.0\.0\.1 -p 15053 (?:-x (\S+)|(\S+)(?: +([A-Z]+))?)/gm,
      ),
    ])
    expect(lines.length).toBeGreaterThan(5)
    for (const [line, reverse, name, type] of lines) {
      const asked = reverse === undefined ? name! : `${reverse.split('.').toReversed().join('.')}.in-addr.arpa`
      const askedType: AskedType = reverse !== undefined ? 'PTR' : type === 'AAAA' ? 'AAAA' : 'A'
      const { packet } = await client.ask(demo.at(), asked, askedType)
      expect(rcodeOf(packet), line).toBe('NOERROR')
      expect(packet.flag_aa, line).toBe(!NOT_SEEN.includes(name!))
    }
  })

  test('over IPv6 the same', async (context) => {
    skipWithoutIPv6(context)
    const v6 = await UdpClient.open('::1')
    expect(addressesOf((await v6.ask(demo.at(6), 'reviews')).packet)).toEqual(['10.96.14.20'])
    expect(addressesOf(await askTcp(demo.at(6), 'reviews'))).toEqual(['10.96.14.20'])
    v6.close()
  })

  test('an outside name: the second time from the cache, and the metrics say so', async () => {
    const before = await demo.metric('byname_cache_hits_total', { kind: 'positive' })
    const lookups = await demo.metric('byname_cache_requests_total')
    for (let n = 0; n < 3; n++) {
      expect(addressesOf((await client.ask(demo.at(), 'cached.example')).packet)).toEqual([OUTSIDE])
    }
    expect(upstream.asked('cached.example')).toBe(1)
    expect(await demo.metric('byname_cache_hits_total', { kind: 'positive' })).toBe(before + 2)
    expect(await demo.metric('byname_cache_requests_total')).toBe(lookups + 3)
    expect(await demo.metric('byname_cache_entries')).toBeGreaterThan(0)
  })

  test('requests are counted by transport, family and type, answers by where they came from', async () => {
    const requests = (type: string): Promise<number> =>
      demo.metric('byname_dns_requests_total', { proto: 'udp', family: '4', type })
    const before = [await requests('A'), await requests('AAAA'), await requests('TXT')]
    const mesh = await demo.metric('byname_dns_responses_total', { rcode: 'NOERROR', source: 'mesh' })
    await client.ask(demo.at(), 'reviews')
    await client.ask(demo.at(), 'reviews', 'AAAA')
    await client.ask(demo.at(), 'reviews', 'AAAA')
    await client.ask(demo.at(), 'reviews', 'TXT')
    expect([await requests('A'), await requests('AAAA'), await requests('TXT')]).toEqual([
      before[0]! + 1,
      before[1]! + 2,
      before[2]! + 1,
    ])
    expect(await demo.metric('byname_dns_responses_total', { rcode: 'NOERROR', source: 'mesh' })).toBe(mesh + 3)
    expect(await demo.metric('istio_agent_dns_requests_total')).toBeGreaterThan(3)
    expect(await demo.metric('byname_mesh_hosts')).toBeGreaterThan(5)
    expect(await demo.metric('byname_xds_connected')).toBe(1)
  })

  test('health, readiness and the status page', async () => {
    for (const path of ['/healthz', '/readyz']) {
      expect((await fetch(new URL(path, demo.url('metrics')))).status, path).toBe(200)
    }
    expect((await fetch(demo.url('status page'))).status).toBe(200)
    const { code, out } = await byname(['status', '--admin', new URL(demo.url('status page')).host])
    expect(code).toBe(0)
    expect(out).toMatch(/batch|dgram/)
  })

  test('SIGTERM ends it with exit code 0', async () => {
    expect(await demo.end('SIGTERM')).toEqual([0, null])
  })
})

test('an edit of a mesh file is answered; a bad edit changes nothing; two SIGINTs end it at once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-e2e-'))
  cpSync(MESH, folder, { recursive: true })
  const upstream = await ScriptedResolver.start((query) =>
    query.name === 'silent.example' ? undefined : query.reply({ flags: 0x183 }),
  )
  const client = await UdpClient.open()
  const demo = await new Demo(['--mesh', folder], upstream).started()
  const ask = async (): Promise<string[]> => addressesOf((await client.ask(demo.at(), 'reviews')).packet)
  await until(async () => expect(await ask()).toEqual(['10.96.14.20']))
  const file = join(folder, 'bookinfo.yaml')
  const text = readFileSync(file, 'utf8')

  writeFileSync(file, text.replace('clusterIP: 10.96.14.20', 'clusterIP: 10.96.14.99'))
  await until(async () => expect(await ask()).toEqual(['10.96.14.99']))

  writeFileSync(file, 'kind: [rubbish')
  writeFileSync(
    join(folder, 'more.yaml'),
    text.replaceAll('reviews', 'opinions').replaceAll('10.96.14.20', '10.96.14.77'),
  )
  await until(async () =>
    expect(addressesOf((await client.ask(demo.at(), 'opinions')).packet)).toEqual(['10.96.14.77']),
  )
  expect(await ask()).toEqual(['10.96.14.99'])

  // A question under way would hold the end up for seconds.
  client.ask(demo.at(), 'silent.example').catch(() => {})
  await until(() => expect(upstream.asked('silent.example')).toBeGreaterThan(0))
  const ended = once(demo.child, 'exit')
  demo.child.kill('SIGINT')
  // A signal that comes while another waits to be handled is one signal: send it again until it is heard.
  const again = setInterval(() => demo.child.kill('SIGINT'), 20)
  expect(await ended).toEqual([null, 'SIGINT'])
  clearInterval(again)
  client.close()
  await upstream.stop()
  rmSync(folder, { recursive: true })
})
