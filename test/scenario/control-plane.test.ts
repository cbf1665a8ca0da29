/** A control plane that pushes, refuses, falls over and comes back, seen through the whole daemon. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodeNameTable, type NameTable } from '../../src/table/nds.ts'
import type { DaemonProcess, DaemonStart } from '../daemon/daemon-process.ts'
import { service } from '../table/compiled.ts'
import { addressesOf, askTcp, rcodeOf, TcpClient, type UdpClient } from '../worker/dns-client.ts'
import { ScriptedAdsServer } from '../xds/scripted-ads-server.ts'
import { services, Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

async function controlPlane(port?: number): Promise<ScriptedAdsServer> {
  const server = await ScriptedAdsServer.start(port === undefined ? {} : { port })
  stage.closing(() => server.stop())
  return server
}

async function daemonOf(address: string, mesh: object = {}, more: DaemonStart['config'] = {}): Promise<DaemonProcess> {
  const config = { mesh: { source: { xds: { address } }, ...mesh }, log: { level: 'debug' }, ...more }
  return await stage.daemon({ config })
}

/** Asks for `web` until the answer is this one. */
async function answers(client: UdpClient, daemon: DaemonProcess, address: string): Promise<void> {
  await until(async () => expect(addressesOf((await client.ask(daemon.at(), 'web')).packet)).toEqual([address]))
}

function tableOf(addresses: Record<string, string>): Uint8Array[] {
  return [encodeNameTable(services(addresses))]
}

test('before the first table SERVFAIL, then answers; a refused push leaves them; each push is acknowledged or refused', async () => {
  const server = await controlPlane()
  const daemon = await daemonOf(server.address, { beforeSync: 'servfail' })
  const client = await stage.client()
  expect(rcodeOf((await client.ask(daemon.at(), 'web')).packet)).toBe('SERVFAIL')
  expect((await daemon.get('metrics', '/readyz')).status).toBe(503)
  const stream = await server.streams.next()
  await stream.requests.next()

  stream.push({ tables: tableOf({ web: '10.0.0.1' }) })
  expect(await stream.requests.next()).toMatchObject({ response_nonce: 'n1', error_detail: null })
  await answers(client, daemon, '10.0.0.1')
  expect((await daemon.get('metrics', '/readyz')).status).toBe(200)

  stream.push({ tables: [Buffer.from('rubbish')] })
  const refused = await stream.requests.next()
  expect(refused.response_nonce).toBe('n2')
  expect(refused.error_detail?.message).toMatch(/not a NameTable/)
  await answers(client, daemon, '10.0.0.1')

  // A host that is no name and an address that is none are left out; the rest counts.
  stream.push({
    tables: [
      encodeNameTable(
        new Map([
          ...services({ web: '10.0.0.2' }),
          ['no..name', { ips: ['10.0.0.3'], registry: 'External', shortname: '', namespace: '', altHosts: [] }],
          ...services({ bad: 'nonsense' }),
        ]),
      ),
    ],
  })
  expect(await stream.requests.next()).toMatchObject({ response_nonce: 'n3', error_detail: null })
  await answers(client, daemon, '10.0.0.2')
  const { table } = await daemon.status()
  expect(table).toMatchObject({ hosts: 1, skippedHosts: 2, updates: { changed: 2, refused: 1 } })
  expect(await daemon.metric('byname_mesh_updates_total', { result: 'refused' })).toBe(1)
})

test('the control plane is gone: answers stay; it comes back: its table is taken', async () => {
  const server = await ScriptedAdsServer.start()
  const { port } = server
  const daemon = await daemonOf(server.address)
  const client = await stage.client()
  const stream = await server.streams.next()
  stream.push({ tables: tableOf({ web: '10.0.0.1' }) })
  await answers(client, daemon, '10.0.0.1')
  await server.stop()
  await until(async () => expect(await daemon.metric('byname_xds_connected')).toBe(0))
  await answers(client, daemon, '10.0.0.1')
  expect(addressesOf(await askTcp(daemon.at(), 'web'))).toEqual(['10.0.0.1'])
  expect((await daemon.get('metrics', '/readyz')).status).toBe(200)

  const back = await controlPlane(port)
  const again = await back.streams.next()
  again.push({ tables: tableOf({ web: '10.0.0.2' }) })
  await answers(client, daemon, '10.0.0.2')
  expect(await daemon.metric('byname_xds_connected')).toBe(1)
  expect(await daemon.metric('byname_xds_reconnects_total')).toBeGreaterThan(0)
})

test('a control plane that flaps: every query is answered meanwhile', async () => {
  const server = await controlPlane()
  server.onStream = (stream) => stream.push({ tables: tableOf({ web: '10.0.0.1' }) })
  const daemon = await daemonOf(server.address)
  const client = await stage.client()
  await answers(client, daemon, '10.0.0.1')
  const asking = new Asking(client, daemon)
  for (let n = 0; n < 2; n++) {
    await server.streams.next()
    server.cut()
  }
  await server.streams.next()
  expect(await asking.end()).toBeGreaterThan(0)
  expect(server.connections).toBeGreaterThan(2)
  expect((await daemon.status()).workers.restarts).toBe(0)
})

describe.each(['batch', 'dgram'])('driver %s', (driver) => {
  test('a table of more than 10 MB: no query is lost while it is taken, over UDP and TCP', async () => {
    const large = new Map([...services({ web: '10.0.0.2' }), ...manyServices(120_000)])
    const bytes = encodeNameTable(large)
    expect(bytes.length).toBeGreaterThan(10_000_000)
    const server = await controlPlane()
    const daemon = await daemonOf(server.address, {}, { driver })
    const client = await stage.client()
    const stream = await server.streams.next()
    stream.push({ tables: tableOf({ web: '10.0.0.1' }) })
    await answers(client, daemon, '10.0.0.1')
    const asking = new Asking(client, daemon)
    const connection = await TcpClient.open(daemon.at())
    stage.closing(() => connection.close())
    const overTcp = new Asking({ ask: async (_at, name) => ({ packet: await connection.ask(name) }) }, daemon)
    stream.push({ tables: [bytes] })
    await answers(client, daemon, '10.0.0.2')
    expect(await asking.end()).toBeGreaterThan(10)
    expect(await overTcp.end()).toBeGreaterThan(10)
    const { packet } = await client.ask(daemon.at(), 'svc-119999.large.svc.cluster.local')
    expect(addressesOf(packet)).toEqual([addressOf(119_999)])
    expect(await daemon.metric('byname_mesh_hosts')).toBe(120_001)
  })
})

test('after a restart without a control plane the last known good table answers, and its age is shown', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-scenario-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const lastKnownGood = join(folder, 'table.image')
  const server = await controlPlane()
  server.onStream = (stream) => stream.push({ tables: tableOf({ web: '10.0.0.1' }) })
  const first = await daemonOf(server.address, { lastKnownGood })
  const client = await stage.client()
  await answers(client, first, '10.0.0.1')
  // Ending writes what is still to be written.
  expect(await first.end()).toEqual([0, null])
  server.cut()
  server.onStream = () => {}

  const second = await daemonOf(server.address, { lastKnownGood })
  expect(await second.line('answering from the last known good table')).toMatchObject({ hosts: 1 })
  await answers(client, second, '10.0.0.1')
  const { table, warnings } = await second.status()
  expect(table).toMatchObject({ fromLastKnownGood: true, hosts: 1 })
  expect(table.ageSeconds).toBeGreaterThanOrEqual(0)
  expect(warnings.join('\n')).toContain('kept on disk')
  const updatedAt = (await second.metric('byname_mesh_last_update_timestamp_seconds'))!
  expect(updatedAt).toBeLessThanOrEqual(Date.now() / 1000)
  expect(updatedAt).toBeGreaterThan(Date.now() / 1000 - 300)

  // The next table of the control plane ends it.
  server.cut()
  server.onStream = (stream) => stream.push({ tables: tableOf({ web: '10.0.0.2' }) })
  await answers(client, second, '10.0.0.2')
  expect((await second.status()).table.fromLastKnownGood).toBe(false)
})

test('a damaged last known good table is said and not used', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-scenario-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const lastKnownGood = join(folder, 'table.image')
  writeFileSync(lastKnownGood, Buffer.alloc(5000, 7))
  const server = await controlPlane()
  const daemon = await daemonOf(server.address, { lastKnownGood, beforeSync: 'servfail' })
  expect(await daemon.line('the last known good table is of no use')).toMatchObject({
    level: 'warn',
    file: lastKnownGood,
  })
  const client = await stage.client()
  expect(rcodeOf((await client.ask(daemon.at(), 'web')).packet)).toBe('SERVFAIL')
})

/** Asks again as soon as it is answered, until it is ended; every answer must be one of the host's. */
class Asking {
  #count = 0
  #isOver = false
  readonly #done: Promise<void>

  constructor(
    client: {
      ask: (
        at: { address: string; port: number },
        name: string,
      ) => Promise<{ packet: Parameters<typeof addressesOf>[0] }>
    },
    daemon: DaemonProcess,
  ) {
    this.#done = this.#run(client, daemon)
  }

  async #run(client: ConstructorParameters<typeof Asking>[0], daemon: DaemonProcess): Promise<void> {
    while (!this.#isOver) {
      const { packet } = await client.ask(daemon.at(), 'web')
      expect(addressesOf(packet)).toHaveLength(1)
      this.#count++
    }
  }

  /** Ends it and returns how many answers there were; throws if one did not come or was wrong. */
  async end(): Promise<number> {
    this.#isOver = true
    await this.#done
    return this.#count
  }
}

function addressOf(k: number): string {
  return `10.${(k >> 16) & 255}.${(k >> 8) & 255}.${k & 255}`
}

function manyServices(count: number): NameTable {
  return new Map(
    Array.from({ length: count }, (_, k) => service(`svc-${k}`, 'large', [addressOf(k), `fd00::${k.toString(16)}`])),
  )
}
