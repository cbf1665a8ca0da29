/** Listeners on 0.0.0.0 and ::, which only the batch driver serves as asked: Node has no packet info. */
import { createRequire } from 'node:module'
import { networkInterfaces } from 'node:os'
import type koffiTypes from 'koffi'
import { afterEach, expect, test } from 'vitest'
import { addressBytes } from '../../src/dns/address.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { Drop } from '../../src/stats/counters.ts'
import { type ReceivedQuery, ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { service } from '../table/compiled.ts'
import { DataPlane, udpServer } from './data-plane.ts'
import { addressesOf, encodeQuery, UdpClient } from './dns-client.ts'
import { until } from '../until.ts'

const TABLE = new Map([service('web', 'shop', ['10.0.0.1'])])
const OWN = Object.values(networkInterfaces()).flatMap((infos) => (infos ?? []).map(({ address }) => address))
const OTHER_V6 = OWN.find((address) => address.includes(':') && address !== '::1' && !address.startsWith('fe80'))
const open: { stop?: () => Promise<void>; close?: () => void }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await (thing.stop?.() ?? thing.close?.())
})

async function start(address: string, upstreamPort?: number): Promise<DataPlane> {
  const servers = upstreamPort === undefined ? [] : [udpServer(upstreamPort)]
  const settings = { servers, ownAddresses: OWN.map(addressBytes) }
  const plane = await DataPlane.start({ listen: [address], table: TABLE, settings })
  open.push(plane)
  return plane
}

async function client(address: string): Promise<UdpClient> {
  const opened = await UdpClient.open(address)
  open.push(opened)
  return opened
}

test('a hit leaves from the address asked', async () => {
  const plane = await start('0.0.0.0')
  const asking = await client('0.0.0.0')
  for (const address of ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.255.1.1']) {
    const { from, packet } = await asking.ask({ ...plane.at(), address }, 'web')
    expect(from.address).toBe(address)
    expect(addressesOf(packet)).toEqual(['10.0.0.1'])
  }
})

test('queries of one batch to several addresses: each reply leaves from its own, also those that had to wait', async () => {
  const held: ReceivedQuery[] = []
  const upstream = await ScriptedResolver.start((query) => void held.push(query))
  open.push(upstream)
  const plane = await start('0.0.0.0', upstream.port)
  const asking = await client('0.0.0.0')
  const addresses = Array.from({ length: 40 }, (_, k) => `127.0.0.${2 + (k % 5)}`)
  const answers = addresses.map((address, k) =>
    asking.ask({ ...plane.at(), address }, k % 2 === 0 ? 'web' : `n${k}.example`),
  )
  await until(() => expect(held).toHaveLength(20))
  for (const query of held.toReversed()) query.answer('192.0.2.1')
  const froms = (await Promise.all(answers)).map(({ from }) => from.address)
  expect(froms).toEqual(addresses)
})

test.skipIf(OTHER_V6 === undefined)('the same over IPv6 (needs an address besides ::1)', async () => {
  const plane = await start('::')
  const asking = await client('::')
  for (const address of ['::1', OTHER_V6!, '::1']) {
    const { from } = await asking.ask({ ...plane.at(), address }, 'web')
    expect(from.address).toBe(address)
  }
})

const sendFromPortZero = rawSender()
test.skipIf(sendFromPortZero === null)(
  'queries from port 0 among others harm nobody (needs the right to open raw sockets)',
  async () => {
    const plane = await start('0.0.0.0')
    const asking = await client('127.0.0.1')
    const answers: Promise<unknown>[] = []
    for (let k = 0; k < 20; k++) {
      sendFromPortZero!(plane.at().port, encodeQuery('web', 'A'))
      answers.push(asking.ask({ ...plane.at(), address: '127.0.0.1' }, 'web'))
    }
    await Promise.all(answers)
    expect(plane.counters.droppedOf(Drop.sourcePortZero)).toBe(20)
    expect(plane.counters.droppedOf(Drop.sendFailed)).toBe(0)
  },
)

/** Sends UDP datagrams from port 0 of 127.0.0.1, which no ordinary socket does; null without CAP_NET_RAW. */
function rawSender(): ((port: number, payload: Buffer) => void) | null {
  const koffi: typeof koffiTypes = createRequire(import.meta.url)('koffi')
  const libc = koffi.load(null)
  const fd: number = libc.func('int socket(int domain, int type, int protocol)')(2, 3, 17)
  if (fd < 0) return null
  const sendto = libc.func(
    'long sendto(int fd, const void *data, size_t length, int flags, const void *to, unsigned int toLength)',
  )
  return (port, payload) => {
    // source 0, destination, length, no checksum
    const header = Buffer.alloc(8)
    header.writeUInt16BE(port, 2)
    header.writeUInt16BE(8 + payload.length, 4)
    const to = socketAddress('127.0.0.1', 0).bytes
    sendto(fd, Buffer.concat([header, payload]), 8 + payload.length, 0, to, to.length)
  }
}
