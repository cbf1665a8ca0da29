/** Upstream servers that misbehave, seen through the whole daemon. */
import { createSocket } from 'node:dgram'
import dnsPacket from 'dns-packet'
import { describe, expect, test } from 'vitest'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { addressesOf, askTcp, rcodeOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { addressRecord, type ReceivedQuery } from './scripted-resolver.ts'
import { until } from '../until.ts'

const SERVFAIL = 0x182
const REFUSED = 0x185
const TRUNCATED = 0x380
const BY_FORWARDING = { beforeSync: 'forward', source: { table: '/nowhere/table.json' } }

describe('upstream servers', () => {
  const stage = new Stage()

  async function start(upstream: object): Promise<DaemonProcess> {
    return await stage.daemon({ config: { mesh: BY_FORWARDING, upstream } })
  }

  test('forged replies are counted and change nothing; the true one that follows is the answer', async () => {
    const forger = createSocket('udp4')
    stage.closing(() => forger.close())
    const upstream = await stage.resolver((query) => {
      const answer = [addressRecord('bank.example', '203.0.113.66')]
      const { id, questions } = query.packet
      // The probe for loops is a question of its own.
      if (questions![0]!.name !== 'bank.example') return
      const forge = (parts: object): Buffer =>
        dnsPacket.encode({ type: 'response', id: id!, flags: 0x180, questions: questions!, answers: answer, ...parts })
      // From another port the kernel lets nothing through: not even counted.
      forger.send(forge({}), query.from.port, query.from.address, () => {
        query.reply(forge({ id: (id! + 1) & 0xffff }))
        query.reply(forge({ questions: [{ type: 'A', name: 'bank.example.net', class: 'IN' }] }))
        query.reply(forge({ questions: [{ type: 'AAAA', name: 'bank.example', class: 'IN' }] }))
        query.reply(forge({ type: 'query' }))
        query.answer('192.0.2.1')
      })
    })
    const daemon = await start({ servers: [upstream.text], attemptTimeoutMs: 10_000, deadlineMs: 10_000 })
    const client = await stage.client()
    expect(addressesOf((await client.ask(daemon.at(), 'bank.example')).packet)).toEqual(['192.0.2.1'])
    expect(upstream.asked('bank.example')).toBe(1)
    // None of them counts as late, not even the one whose id is not under way: its question is, by this very socket.
    expect(await daemon.metric('byname_dropped_total', { reason: 'spoofed_reply' })).toBe(4)
  })

  test('a reply that comes too late is counted, and the second try has been answered long since', async () => {
    const slow: ReceivedQuery[] = []
    const upstream = await stage.resolver((query) => {
      // The daemon's own probes for loops are asked as well.
      if (query.name === 'slow.example' && slow.push(query) === 1) return
      query.answer('192.0.2.2')
    })
    const daemon = await start({ servers: [upstream.text], attemptTimeoutMs: 2000, deadlineMs: 10_000 })
    const client = await stage.client()
    expect(addressesOf((await client.ask(daemon.at(), 'slow.example')).packet)).toEqual(['192.0.2.2'])
    expect(slow[0]!.packet.id === slow[1]!.packet.id && slow[0]!.from.port === slow[1]!.from.port).toBe(false)
    slow[0]!.answer('203.0.113.1')
    await until(async () => expect(await daemon.metric('byname_dropped_total', { reason: 'late_reply' })).toBe(1))
    expect(addressesOf((await client.ask(daemon.at(), 'slow.example')).packet)).toEqual(['192.0.2.2'])
  })

  test.each<[string, (query: ReceivedQuery) => void]>([
    ['SERVFAIL', (query) => query.reply({ flags: SERVFAIL })],
    ['REFUSED', (query) => query.reply({ flags: REFUSED })],
    ['a malformed answer', (query) => query.reply(Buffer.concat([withCount(query.encode()), Buffer.from('rubbish')]))],
    ['a header alone', (query) => query.reply(withCount(query.encode({ flags: SERVFAIL, questions: [] }), 0))],
  ])('%s from one server: the next one is asked at once', async (_what, misbehave) => {
    const bad = await stage.resolver(misbehave)
    const good = await stage.resolver((query) => query.answer('192.0.2.3'))
    const daemon = await start({
      servers: [bad.text, good.text],
      policy: 'sequential',
      attemptTimeoutMs: 10_000,
      deadlineMs: 10_000,
    })
    const client = await stage.client()
    expect(addressesOf((await client.ask(daemon.at(), 'second.example')).packet)).toEqual(['192.0.2.3'])
    expect(bad.asked('second.example')).toBeGreaterThan(0)
  })

  test('every server fails: SERVFAIL, and a working one is found again', async () => {
    let fails = true
    const upstream = await stage.resolver((query) =>
      fails ? query.reply({ flags: SERVFAIL }) : query.answer('192.0.2.4'),
    )
    const daemon = await start({ servers: [upstream.text] })
    const client = await stage.client()
    expect(rcodeOf((await client.ask(daemon.at(), 'a.example')).packet)).toBe('SERVFAIL')
    fails = false
    expect(addressesOf((await client.ask(daemon.at(), 'b.example')).packet)).toEqual(['192.0.2.4'])
  })

  test('a truncated answer is fetched over TCP before the client hears anything, and cached whole', async () => {
    const addresses = Array.from({ length: 300 }, (_, k) => `192.0.${k >> 8}.${k & 255}`)
    const upstream = await stage.resolver((query) => {
      if (query.transport === 'udp') return query.reply({ flags: TRUNCATED })
      query.reply({ answers: addresses.map((address) => addressRecord('l.example', address)) })
    })
    const daemon = await start({ servers: [upstream.text] })
    const client = await stage.client()
    const { packet, message } = await client.ask(daemon.at(), 'l.example', 'A', { edns: 4096 })
    expect(packet.flag_tc).toBe(true)
    expect(message.length).toBeLessThanOrEqual(4096)
    expect(packet.answers!.length).toBeGreaterThan(100)
    expect(addressesOf(await askTcp(daemon.at(), 'l.example'))).toEqual(addresses.toSorted())
    expect(upstream.asked('l.example', 'tcp')).toBe(1)
    expect(await daemon.metric('byname_upstream_requests_total', { server: upstream.text, proto: 'tcp' })).toBe(1)
  })

  test('a question that waits holds up no other, over UDP and TCP', async () => {
    const held: ReceivedQuery[] = []
    const upstream = await stage.resolver((query) =>
      query.name === 'held.example' ? void held.push(query) : query.answer('192.0.2.5'),
    )
    const daemon = await start({ servers: [upstream.text], attemptTimeoutMs: 20_000, deadlineMs: 20_000 })
    const client = await stage.client()
    const waiting = [
      client.ask(daemon.at(), 'held.example').then(({ packet }) => packet),
      askTcp(daemon.at(), 'held.example'),
    ]
    await until(() => expect(held).toHaveLength(1))
    expect(addressesOf((await client.ask(daemon.at(), 'other.example')).packet)).toEqual(['192.0.2.5'])
    expect(addressesOf(await askTcp(daemon.at(), 'another.example'))).toEqual(['192.0.2.5'])
    held[0]!.answer('192.0.2.6')
    for (const packet of await Promise.all(waiting)) expect(addressesOf(packet)).toEqual(['192.0.2.6'])
  })
})

/** Sets the number of answers that a message says it has; cuts it to its header if it is to have no question. */
function withCount(message: Buffer, answers: number = 1): Buffer {
  message.writeUInt16BE(answers, 6)
  return message
}
