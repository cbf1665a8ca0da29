/** The cache of a running daemon: how much memory it takes, what outlives a reload, and what a flush takes away. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { byname } from '../cli/byname-process.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { addressesOf, encodeQuery, type UdpClient } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const MESH = { beforeSync: 'forward', source: { table: '/nowhere/table.json' } }
const MIB = 2 ** 20

const stage = new Stage()

/** Bytes of memory that the daemon has for itself. */
async function anonymousBytes(daemon: DaemonProcess): Promise<number> {
  const { pid } = await daemon.status()
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
  return Number(kilobytes) * 1024
}

/** A server whose every answer is a TXT record of 1,100 bytes, of TTL 0 for names that begin so. */
async function largeAnswers(): Promise<string> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
  stage.closing(() => socket.close())
  socket.on('message', (query, from) => {
    const end = query.indexOf(0, 12) + 5
    const isForever = query.toString('latin1', 13, 17) !== 'zero'
    const text = Buffer.concat(Array.from({ length: 5 }, () => Buffer.concat([Buffer.of(219), Buffer.alloc(219, 'x')])))
    const head = Buffer.of(
      0xc0,
      12,
      0,
      16,
      0,
      1,
      0,
      0,
      isForever ? 14 : 0,
      16 * Number(isForever),
      text.length >> 8,
      text.length & 255,
    )
    const reply = Buffer.concat([query.subarray(0, end), head, text])
    reply.set([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], 2)
    socket.send(reply, from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return `127.0.0.1:${socket.address().port}`
}

/** Asks for `prefix0`, `prefix1` … some dozens at a time. */
async function askFor(client: UdpClient, daemon: DaemonProcess, prefix: string, count: number): Promise<void> {
  const at = daemon.at()
  let next = 0
  const ask = async (): Promise<void> => {
    while (next < count) {
      const { message } = await client.askRaw(at, encodeQuery(`${prefix}${next++}.example`, 'TXT', { edns: 4096 }))
      expect(message.length).toBeGreaterThan(1100)
    }
  }
  await Promise.all(Array.from({ length: 48 }, ask))
}

test('a cache that has been filled to its bound takes that much memory and little beside, and no more when it is filled again', async () => {
  const maxBytes = 16 * MIB
  const server = await largeAnswers()
  const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [server] }, cache: { maxBytes } } })
  const client = await stage.client()
  // What answering as such takes: code, buffers, tables.
  await askFor(client, daemon, 'zero', 8000)
  expect((await daemon.status()).cache.entries).toBe(0)
  const before = await anonymousBytes(daemon)
  await askFor(client, daemon, 'a', 15_000)
  const filled = await anonymousBytes(daemon)
  const { cache } = await daemon.status()
  expect(cache.bytes).toBeLessThanOrEqual(maxBytes)
  expect(cache.evictions).toBeGreaterThan(0)
  expect(cache.bytes).toBeGreaterThan(maxBytes / 2)
  // The heap moves by some megabytes either way meanwhile; a second cache would be 16.
  expect((filled - before) / MIB).toBeLessThan(16 + 10)
  await askFor(client, daemon, 'b', 15_000)
  expect(((await anonymousBytes(daemon)) - filled) / MIB).toBeLessThan(10)
  expect((await daemon.status()).cache.bytes).toBeLessThanOrEqual(maxBytes)
})

test('the cache outlives a reload, and a resolv.conf with other servers', async () => {
  const upstream = await stage.resolver((query) => query.answer('192.0.2.1'))
  const other = await stage.resolver((query) => query.answer('192.0.2.2'))
  const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [upstream.text] } } })
  const client = await stage.client()
  const names = Array.from({ length: 100 }, (_, n) => `n${n}.example`)
  const ask = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  for (const name of names) expect(await ask(name)).toEqual(['192.0.2.1'])

  daemon.child.kill('SIGHUP')
  await daemon.line('configuration read again')
  for (const name of names) expect(await ask(name)).toEqual(['192.0.2.1'])
  expect(names.every((name) => upstream.asked(name) === 1)).toBe(true)

  const file = join(daemon.folder, 'byname.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace(upstream.text, other.text))
  daemon.child.kill('SIGHUP')
  await daemon.nthLine('configuration read again', 2)
  await until(async () => expect((await daemon.status()).upstreams.map(({ label }) => label)).toEqual([other.text]))
  for (const name of names) expect(await ask(name)).toEqual(['192.0.2.1'])
  expect(await ask('new.example')).toEqual(['192.0.2.2'])
  expect(names.some((name) => other.asked(name) > 0)).toBe(false)
  expect((await daemon.status()).cache.hits).toBe(200)
})

test('byname cache flush takes away one name, or all', async () => {
  const upstream = await stage.resolver((query) => query.answer('192.0.2.1'))
  const daemon = await stage.daemon({ config: { mesh: MESH, workers: 2, upstream: { servers: [upstream.text] } } })
  const { address, port } = await daemon.line('admin endpoint is listening')
  const admin = `${String(address)}:${String(port)}`
  // Other sockets may lead to another worker, which has a cache of its own.
  const clients = [await stage.client(), await stage.client(), await stage.client(), await stage.client()]
  const askAll = async (name: string): Promise<number> => {
    for (const client of clients) await client.ask(daemon.at(), name)
    return upstream.asked(name)
  }
  const one = await askAll('one.example')
  const two = await askAll('two.example')
  expect([await askAll('one.example'), await askAll('two.example')]).toEqual([one, two])
  expect((await byname(['cache', 'flush', 'ONE.example.', '--admin', admin])).out).toMatch(`${one} answer`)
  expect([await askAll('one.example'), await askAll('two.example')]).toEqual([2 * one, two])
  expect((await byname(['cache', 'flush', '--admin', admin])).code).toBe(0)
  expect([await askAll('one.example'), await askAll('two.example')]).toEqual([3 * one, 2 * two])
})
