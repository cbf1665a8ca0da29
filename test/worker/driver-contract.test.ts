/** What every driver does alike, over real sockets in real threads: one suite for all of them. */
import dnsPacket from 'dns-packet'
import { afterEach, describe, expect, test } from 'vitest'
import { Cell, Drop, Source, UpstreamField } from '../../src/stats/counters.ts'
import { freePort } from '../free-port.ts'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { type ReceivedQuery, type ResolverScript, ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { info, service } from '../table/compiled.ts'
import { DataPlane, type DataPlaneOptions, type DriverKind, udpServer } from './data-plane.ts'
import { addressesOf, encodeQuery, rcodeOf, TcpClient, UdpClient } from './dns-client.ts'
import { until } from '../until.ts'

const TABLE = new Map([
  service('web', 'shop', ['10.0.0.1', 'fd00::1']),
  ['*.wild.example', info({ ips: ['10.0.0.9'] })] as const,
])

describe.each<DriverKind>(['batch', 'dgram, descriptors lent', 'dgram, sockets of its own'])('%s', (driver) => {
  const open: { stop?: () => Promise<void>; close?: () => void }[] = []
  afterEach(async () => {
    for (const thing of open.splice(0).toReversed()) await (thing.stop?.() ?? thing.close?.())
  })

  async function start(options: DataPlaneOptions = {}): Promise<DataPlane> {
    const plane = await DataPlane.start({ driver, table: TABLE, ...options })
    open.push(plane)
    return plane
  }

  async function client(address?: string): Promise<UdpClient> {
    const opened = await UdpClient.open(address)
    open.push(opened)
    return opened
  }

  async function resolver(
    script: ResolverScript,
    options: { port?: number; address?: string } = {},
  ): Promise<ScriptedResolver> {
    const opened = await ScriptedResolver.start(script, options)
    open.push(opened)
    return opened
  }

  test.for(['127.0.0.1', '::1'])('a mesh hit over %s', async (address, context) => {
    skipWithoutIPv6(context, address)
    const plane = await start({ listen: [address] })
    const asking = await client(address)
    const { packet, from } = await asking.ask(plane.at(), 'web.shop.svc.cluster.local')
    expect(addressesOf(packet)).toEqual(['10.0.0.1'])
    expect(packet.flag_aa).toBe(true)
    expect(from).toMatchObject(plane.at())
    expect(plane.counters.requestsOf(0, address === '::1' ? 1 : 0, 1)).toBe(1)
  })

  test.for(['127.0.0.1', '::1'])(
    'a miss over %s goes upstream once, then the cache has it',
    async (address, context) => {
      skipWithoutIPv6(context, address)
      const upstream = await resolver((query) => query.answer('192.0.2.7'), { address })
      const plane = await start({ listen: [address], settings: { servers: [udpServer(upstream.port, address)] } })
      const asking = await client(address)
      for (let n = 0; n < 3; n++) {
        const { packet } = await asking.ask(plane.at(), 'outside.example')
        expect(addressesOf(packet)).toEqual(['192.0.2.7'])
      }
      expect(upstream.asked('outside.example', 'udp')).toBe(1)
      expect(plane.counters.get(Cell.cacheHitsPositive)).toBe(2)
    },
  )

  test.for(['127.0.0.1', '::1'])(
    'hundreds of questions at once over %s: each gets its own answer',
    async (address, context) => {
      skipWithoutIPv6(context, address)
      const upstream = await resolver((query) => query.answer(`192.0.2.${/\d+/.exec(query.name)![0]}`))
      const settings = { servers: [udpServer(upstream.port)], maxInFlight: 1000 }
      const plane = await start({ listen: [address], settings })
      const clients = await Promise.all([client(address), client(address), client(address)])
      const names = Array.from({ length: 250 }, (_, k) => `n${k}.outside.example`)
      const answers = await Promise.all(
        names.flatMap((name, k) => [
          clients[k % 3]!.ask(plane.at(), name),
          clients[(k + 1) % 3]!.ask(plane.at(), `n${k}.wild.example`),
        ]),
      )
      answers.forEach(({ packet }, k) =>
        expect(addressesOf(packet)).toEqual([k % 2 === 0 ? `192.0.2.${k / 2}` : '10.0.0.9']),
      )
      for (const asking of clients) expect(asking.strays).toEqual([])
    },
  )

  test('several listeners: each answers from where it was asked', async (context) => {
    skipWithoutIPv6(context)
    const upstream = await resolver((query) => query.answer('192.0.2.7'))
    const plane = await start({
      listen: ['127.0.0.1', '127.0.0.2', '::1'],
      settings: { servers: [udpServer(upstream.port)] },
    })
    const v4 = await client()
    const v6 = await client('::1')
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, k) => {
        const asking = k % 3 === 2 ? v6 : v4
        return asking.ask(plane.at(k % 3), k % 2 === 0 ? `n${k >> 3}.outside.example` : 'web')
      }),
    )
    answers.forEach(({ from }, k) => expect(from).toMatchObject(plane.at(k % 3)))
  })

  test('a server that refuses costs none of the questions that were asked together an attempt', async () => {
    const upstream = await resolver((query) => query.answer('192.0.2.7'))
    const servers = [udpServer(await freePort()), udpServer(upstream.port)]
    const plane = await start({ settings: { servers, attemptTimeoutMs: 60_000, deadlineMs: 60_000 } })
    const asking = await client()
    // Nobody learns of a timeout here: whoever is not told that the socket has failed waits a minute.
    const names = Array.from({ length: 40 }, (_, k) => `n${k}.refused.example`)
    const answers = await Promise.all(names.map((name) => asking.ask(plane.at(), name)))
    for (const { packet } of answers) expect(addressesOf(packet)).toEqual(['192.0.2.7'])
  })

  test('equal questions of several clients are one pending query', async () => {
    const held = Promise.withResolvers<ReceivedQuery>()
    const upstream = await resolver(held.resolve)
    const plane = await start({ settings: { servers: [udpServer(upstream.port)] } })
    const clients = await Promise.all(Array.from({ length: 8 }, () => client()))
    const answers = clients.map((asking) => asking.ask(plane.at(), 'joined.example'))
    await until(() => expect(plane.counters.get(Cell.coalesced)).toBe(7))
    ;(await held.promise).answer('192.0.2.8')
    for (const { packet } of await Promise.all(answers)) expect(addressesOf(packet)).toEqual(['192.0.2.8'])
    expect(upstream.queries).toHaveLength(1)
  })

  test('a datagram over 4,096 bytes is a FORMERR', async () => {
    const plane = await start()
    const asking = await client()
    const large = Buffer.concat([encodeQuery('web', 'A', { id: 77 }), Buffer.alloc(5000)])
    const { packet } = await asking.askRaw(plane.at(), large)
    expect(rcodeOf(packet)).toBe('FORMERR')
    expect(packet.id).toBe(77)
  })

  test('a reply over 4,096 bytes from an upstream server is asked for again over TCP', async () => {
    const upstream = await resolver((query) => {
      if (query.transport === 'udp') query.reply(Buffer.concat([query.encode(), Buffer.alloc(5000)]))
      else query.answer('192.0.2.15')
    })
    const plane = await start({ withStream: true, settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    expect(addressesOf((await asking.ask(plane.at(), 'large.example')).packet)).toEqual(['192.0.2.15'])
  })

  test('a server that the system refuses to send to fails at once, and at every try', async () => {
    // Nobody may send to the broadcast address without asking for it.
    const plane = await start({
      settings: { servers: [udpServer(53, '255.255.255.255')], attemptTimeoutMs: 1000, deadlineMs: 1000 },
    })
    const asking = await client()
    const answers = Array.from({ length: 8 }, (_, k) => asking.ask(plane.at(), `n${k}.example`))
    for (const { packet } of await Promise.all(answers)) expect(rcodeOf(packet)).toBe('SERVFAIL')
    expect(plane.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBeGreaterThan(8)
    expect(plane.counters.upstreamGet(0, UpstreamField.failuresTimeout)).toBe(0)
  })

  test('no way to a server: the next one is asked at once', async () => {
    const upstream = await resolver((query) => query.answer('192.0.2.16'))
    const servers = [udpServer(53, '255.255.255.255'), udpServer(upstream.port)]
    const plane = await start({ settings: { servers, attemptTimeoutMs: 20_000, deadlineMs: 20_000 } })
    const asking = await client()
    expect(addressesOf((await asking.ask(plane.at(), 'second.example')).packet)).toEqual(['192.0.2.16'])
  })

  test('rubbish gets nothing and harms nothing', async () => {
    const plane = await start()
    const asking = await client()
    asking.send(plane.at(), Buffer.alloc(0))
    asking.send(plane.at(), Buffer.from('short'))
    asking.send(plane.at(), dnsPacket.encode({ type: 'response', id: 5, questions: [{ type: 'A', name: 'web' }] }))
    expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.1'])
    expect(plane.counters.droppedOf(Drop.runt)).toBe(2)
    expect(plane.counters.droppedOf(Drop.response)).toBe(1)
    expect(asking.strays).toEqual([])
  })

  test('a client that has gone away by the time of its answer costs the others nothing', async () => {
    const held: ReceivedQuery[] = []
    const upstream = await resolver((query) => void held.push(query))
    const plane = await start({ settings: { servers: [udpServer(upstream.port)] } })
    const gone = await UdpClient.open()
    gone.send(plane.at(), encodeQuery('gone.example', 'A'))
    await until(() => expect(held).toHaveLength(1))
    gone.close()
    const staying = await client()
    const answers = [staying.ask(plane.at(), 'gone.example'), staying.ask(plane.at(), 'other.example')]
    await until(() => expect(held.length + plane.counters.get(Cell.coalesced)).toBe(3))
    for (const query of held) query.answer('192.0.2.9')
    for (const { packet } of await Promise.all(answers)) expect(addressesOf(packet)).toEqual(['192.0.2.9'])
    // The ICMP error that the gone client's machine sent back is no reason to stop.
    expect(addressesOf((await staying.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.1'])
  })

  test('a closed upstream port is tried again, and answers once the upstream is there', async () => {
    const port = await freePort()
    const plane = await start({ settings: { servers: [udpServer(port)], deadlineMs: 20_000 } })
    const asking = await client()
    const answer = asking.ask(plane.at(), 'patient.example')
    await until(() => expect(plane.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBeGreaterThan(1))
    await resolver((query) => query.answer('192.0.2.10'), { port })
    expect(addressesOf((await answer).packet)).toEqual(['192.0.2.10'])
  })

  test('a closed upstream port: the next server answers at once', async () => {
    const upstream = await resolver((query) => query.answer('192.0.2.11'))
    const servers = [udpServer(await freePort()), udpServer(upstream.port)]
    const plane = await start({ settings: { servers, attemptTimeoutMs: 20_000, deadlineMs: 20_000 } })
    const asking = await client()
    expect(addressesOf((await asking.ask(plane.at(), 'second.example')).packet)).toEqual(['192.0.2.11'])
  })

  test('no upstream answers: SERVFAIL at the deadline', async () => {
    const upstream = await resolver(() => {})
    const plane = await start({
      settings: { servers: [udpServer(upstream.port)], attemptTimeoutMs: 20, deadlineMs: 3000 },
    })
    const asking = await client()
    const { packet } = await asking.ask(plane.at(), 'silent.example', 'A', { edns: 1232 })
    expect(rcodeOf(packet)).toBe('SERVFAIL')
    // Another try comes from another port under another id.
    expect(new Set(upstream.queries.map(({ from }) => from.port)).size).toBeGreaterThan(1)
    expect(plane.counters.upstreamGet(0, UpstreamField.failuresTimeout)).toBeGreaterThan(1)
  })

  test('queries leave from several ports and under ids that do not count up', async () => {
    const upstream = await resolver((query) => query.answer('192.0.2.1'))
    const plane = await start({ settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    for (let k = 0; k < 40; k++) await asking.ask(plane.at(), `n${k}.example`)
    const ids = upstream.queries.map(({ packet }) => packet.id!)
    expect(new Set(upstream.queries.map(({ from }) => from.port)).size).toBeGreaterThan(1)
    expect(new Set(ids).size).toBeGreaterThan(35)
    expect(ids.filter((id, k) => k > 0 && id === ids[k - 1]! + 1).length).toBeLessThan(3)
  })

  test('another table, other settings, a ping and a flush reach an idle worker', async () => {
    const first = await resolver((query) => query.answer('192.0.2.1'))
    const second = await resolver((query) => query.answer('192.0.2.2'))
    const plane = await start({ settings: { servers: [udpServer(first.port)] } })
    const asking = await client()
    const ask = async (name: string): Promise<string[]> => addressesOf((await asking.ask(plane.at(), name)).packet)
    expect(await ask('web')).toEqual(['10.0.0.1'])
    const generation = plane.publish(new Map([service('web', 'shop', ['10.0.0.2'])]))
    await until(() => expect(plane.counters.get(Cell.imageGeneration)).toBe(generation))
    expect(await ask('web')).toEqual(['10.0.0.2'])
    expect(await ask('outside.example')).toEqual(['192.0.2.1'])
    plane.configure({ servers: [udpServer(second.port)] })
    expect(await plane.workers.ping(10_000)).toEqual([true])
    expect(await ask('outside.example')).toEqual(['192.0.2.1'])
    expect(await plane.workers.flush(null, 10_000)).toBe(1)
    expect(await ask('outside.example')).toEqual(['192.0.2.2'])
  })

  test('other servers while a question is under way: it is asked again there', async () => {
    const silent = await resolver(() => {})
    const upstream = await resolver((query) => query.answer('192.0.2.3'))
    const plane = await start({
      settings: { servers: [udpServer(silent.port)], attemptTimeoutMs: 15_000, deadlineMs: 15_000 },
    })
    const asking = await client()
    const answer = asking.ask(plane.at(), 'moved.example')
    await until(() => expect(silent.queries).toHaveLength(1))
    plane.configure({ servers: [udpServer(upstream.port)], attemptTimeoutMs: 15_000, deadlineMs: 15_000 })
    expect(addressesOf((await answer).packet)).toEqual(['192.0.2.3'])
  })

  test('draining answers what is under way, then ends', async () => {
    const held = Promise.withResolvers<ReceivedQuery>()
    const upstream = await resolver(held.resolve)
    const plane = await DataPlane.start({ driver, settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    const answer = asking.ask(plane.at(), 'last.example')
    const query = await held.promise
    const stopped = plane.stop()
    query.answer('192.0.2.12')
    expect(addressesOf((await answer).packet)).toEqual(['192.0.2.12'])
    await stopped
  })

  test('queries over a stream: pipelined, out of order, and with the answers of a truncated datagram', async () => {
    const held = Promise.withResolvers<ReceivedQuery>()
    const upstream = await resolver((query) => {
      if (query.name === 'slow.example') return held.resolve(query)
      if (query.transport === 'udp') return query.reply({ flags: 0x380 })
      query.answer('192.0.2.14')
    })
    const plane = await start({ withStream: true, settings: { servers: [udpServer(upstream.port)] } })
    const connection = await TcpClient.open(plane.at())
    open.push(connection)
    const slow = connection.ask('slow.example')
    expect(addressesOf(await connection.ask('web'))).toEqual(['10.0.0.1'])
    expect(addressesOf(await connection.ask('large.example'))).toEqual(['192.0.2.14'])
    expect(upstream.asked('large.example', 'tcp')).toBe(1)
    ;(await held.promise).answer('192.0.2.13')
    expect(addressesOf(await slow)).toEqual(['192.0.2.13'])
    expect(plane.counters.responsesOf(Source.upstream, 0)).toBe(2)
    expect(plane.counters.requestsOf(1, 0, 1)).toBe(3)
  })
})
