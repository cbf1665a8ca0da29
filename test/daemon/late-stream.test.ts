/** The stream worker, 6 MB, starts when the first client connects or the first query needs a stream, and not before. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { loadSyscalls } from '../../src/os/syscalls.ts'
import { Stage } from '../scenario/scenario.ts'
import { addressesOf, askTcp } from '../worker/dns-client.ts'
import type { DaemonProcess } from './daemon-process.ts'
import type { ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { until } from '../until.ts'

const stage = new Stage()
let resolver: ScriptedResolver

const LONG = Array.from({ length: 100 }, (_, n) => `10.0.0.${n + 1}`)

beforeEach(async () => {
  resolver = await stage.resolver((query) => {
    if (!query.name.startsWith('long')) return query.answer('192.0.2.1')
    if (query.transport === 'udp') return query.reply({ flags: 0x380 })
    const { name } = query.packet.questions![0]!
    query.reply({ answers: LONG.map((data) => ({ type: 'A', name, ttl: 60, data })) })
  })
})

function threads({ child }: DaemonProcess): number {
  return Number(/^Threads:\s+(\d+)$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1])
}

async function start(servers: string[]): Promise<DaemonProcess> {
  return await stage.daemon({ config: { driver: 'batch', upstream: { servers } } })
}

describe.skipIf(typeof loadSyscalls() === 'string')('the batch driver', () => {
  test('starts it for a client that connects, who is answered, as are those that come later', async () => {
    const daemon = await start([resolver.text])
    const before = threads(daemon)
    const packets = await Promise.all(Array.from({ length: 20 }, (_, n) => askTcp(daemon.at(), `n${n}.example.org`)))
    for (const packet of packets) expect(addressesOf(packet)).toEqual(['192.0.2.1'])
    expect(threads(daemon)).toBeGreaterThan(before)
    expect(addressesOf(await askTcp(daemon.at(), 'later.example.org'))).toEqual(['192.0.2.1'])
  })

  test('starts it for a truncated reply, whose question is asked over TCP', async () => {
    const daemon = await start([resolver.text])
    const client = await stage.client()
    const { packet } = await client.ask(daemon.at(), 'long.example.org', 'A', { edns: 4096 })
    expect(addressesOf(packet).toSorted()).toEqual(LONG.toSorted())
    const { workers } = await daemon.status()
    expect(workers.restarts).toBe(0)
  })

  test('starts it for a reload that names a server over TCP', async () => {
    const daemon = await start([resolver.text])
    const before = threads(daemon)
    const file = join(daemon.folder, 'byname.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace(resolver.text, `tcp://${resolver.text}`))
    await until(() => expect(threads(daemon)).toBeGreaterThan(before))
    const client = await stage.client()
    // Other threads may have come first.
    let asked = 0
    await until(async () => {
      const name = `n${++asked}.example.org`
      const { packet } = await client.ask(daemon.at(), name, 'A')
      expect(addressesOf(packet)).toEqual(['192.0.2.1'])
      expect(resolver.asked(name, 'tcp')).toBe(1)
    })
  })
})
