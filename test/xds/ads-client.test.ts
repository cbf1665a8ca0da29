import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { Metadata, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { fromStruct } from '../../src/proto/ads.ts'
import { NAME_TABLE_TYPE, type TableSink, type TableVerdict } from '../../src/table/nds.ts'
import { XdsOrigin, type XdsOriginOptions } from '../../src/tables/xds-origin.ts'
import { plaintext } from '../../src/xds/credentials.ts'
import { buildNode } from '../../src/xds/node.ts'
import type { XdsState } from '../../src/xds/xds-state.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { Inbox } from './inbox.ts'
import { ScriptedAdsServer, type ScriptedStream } from './scripted-ads-server.ts'

const node = buildNode({
  identity: {
    namespace: 'shop',
    domain: 'shop.svc.cluster.local',
    pod: 'web-0',
    ip: '10.0.0.7',
    serviceAccount: 'web',
    cluster: 'Kubernetes',
    network: '',
    labels: {},
  },
  metadata: {},
  ownAddresses: [],
  version: '0',
})

/** A table is any bytes here: the sink refuses those that begin with `bad` and throws at `bug`. */
const table = (text: string): Uint8Array => Buffer.from(text)

interface Rig {
  client: XdsOrigin
  clock: FakeClock
  /** What the sink was given. */
  accepted: Inbox<{ text: string; version: string }>
  held: () => string
  states: Inbox<XdsState>
  logs: string[]
}

const running: { stop(deadlineMs: number): Promise<unknown> }[] = []
afterEach(async () => {
  for (const each of running.splice(0).toReversed()) await each.stop(1000)
})

async function serve(options: Parameters<typeof ScriptedAdsServer.start>[0] = {}): Promise<ScriptedAdsServer> {
  const server = await ScriptedAdsServer.start(options)
  running.push(server)
  return server
}

function subscribe(addresses: string[], options: Partial<XdsOriginOptions> = {}): Rig {
  const clock = new FakeClock()
  const accepted: Rig['accepted'] = new Inbox()
  const states: Rig['states'] = new Inbox()
  const logs: string[] = []
  let held = ''
  const sink: TableSink = {
    accept(bytes, version): TableVerdict {
      const text = Buffer.from(bytes).toString()
      if (text.startsWith('bug')) throw new Error('out of luck')
      accepted.put({ text, version })
      if (text.startsWith('bad')) return { accepted: false, reason: 'host "a..b" is no name' }
      const changed = text !== held
      held = text
      return { accepted: true, changed }
    },
  }
  const log = (level: string) => (fields: object, message: string) => {
    logs.push(`${level} ${message} ${JSON.stringify(fields)}`)
  }
  const client = new XdsOrigin({
    addresses,
    delta: false,
    node,
    credentials: plaintext,
    sink,
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    random: () => 0.5,
    clock,
    onState: (state) => states.put(state),
    ...options,
  })
  running.push(client)
  client.start()
  return { client, clock, accepted, held: () => held, states, logs }
}

/** The stream's first request is taken. */
async function subscribed(server: ScriptedAdsServer): Promise<ScriptedStream> {
  const stream = await server.streams.next()
  await stream.requests.next()
  return stream
}

const loud = (logs: string[]): string[] => logs.filter((line) => !line.startsWith('debug'))
const retrying = (state: XdsState): boolean => state.nextAttemptAtMs !== null

describe('state of the world', () => {
  it('subscribes to the name table in its first request, with the node and no resource names', async () => {
    const server = await serve()
    subscribe([server.address])
    const stream = await server.streams.next()
    expect(stream.dialect).toBe('sotw')
    const request = await stream.requests.next()
    expect(request).toMatchObject({
      type_url: NAME_TABLE_TYPE,
      resource_names: [],
      version_info: '',
      response_nonce: '',
    })
    expect(request.node?.id).toBe('sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local')
    expect(fromStruct(request.node!.metadata)).toMatchObject({ NAMESPACE: 'shop', DNS_CAPTURE: 'true' })
  })

  it('acknowledges a table with its nonce and version, and tells of it', async () => {
    const server = await serve()
    const { client, accepted } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('one')], version: '2026/1', nonce: 'a', controlPlane: '{"Component":"istiod"}' })
    expect(await accepted.next()).toEqual({ text: 'one', version: '2026/1' })
    const ack = await stream.requests.next()
    expect(ack).toEqual({
      version_info: '2026/1',
      response_nonce: 'a',
      type_url: NAME_TABLE_TYPE,
      resource_names: [],
      node: null,
      error_detail: null,
    })
    expect(client.state()).toMatchObject({
      connected: true,
      address: server.address,
      dialect: 'state of the world',
      controlPlane: '{"Component":"istiod"}',
      streamsOpened: 1,
      reconnects: 0,
      nonce: 'a',
      version: '2026/1',
      accepted: 1,
      unchanged: 0,
      rejected: 0,
      lastError: null,
      ageSeconds: 0,
    })
    // What it said of itself stays where a later response says nothing.
    stream.push({ tables: [table('two')] })
    await stream.requests.next()
    expect(client.state().controlPlane).toBe('{"Component":"istiod"}')
  })

  it('refuses a table with its nonce, the version last accepted and the reason, and keeps the one in use', async () => {
    const server = await serve()
    const { clock, client, held, logs } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    expect(client.state().refused).toBeNull()
    const refusedAtMs = clock.now()
    for (const _ of [1, 2]) {
      stream.push({ tables: [table('bad')] })
      expect(await stream.requests.next()).toMatchObject({
        version_info: 'v1',
        error_detail: { code: status.INVALID_ARGUMENT, message: 'host "a..b" is no name' },
      })
      clock.advance(1000)
    }
    expect(held()).toBe('good')
    expect(client.state()).toMatchObject({ version: 'v1', nonce: 'n3', accepted: 1, rejected: 2 })
    // Since the first of them, and seen last at the second.
    expect(client.state().lastErrorAtMs).toBe(refusedAtMs + 1000)
    const refused = { sinceMs: refusedAtMs, address: server.address, reason: 'host "a..b" is no name' }
    expect(client.state().refused).toEqual(refused)
    expect(client.state().lastError).toBe('host "a..b" is no name')
    expect(loud(logs).filter((line) => line.includes('refused'))).toHaveLength(1)
    stream.push({ tables: [table('better')] })
    expect(await stream.requests.next()).toMatchObject({ version_info: 'v4', response_nonce: 'n4', error_detail: null })
    expect(loud(logs).at(-1)).toContain('can be used again')
    expect(client.state().refused).toBeNull()
  })

  it('refuses a first table without a version to go back to', async () => {
    const server = await serve()
    subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('bad')] })
    expect(await stream.requests.next()).toMatchObject({ version_info: '', response_nonce: 'n1' })
  })

  it.each([
    ['an empty resource list', { tables: [] }, 'no resource', NAME_TABLE_TYPE],
    ['a resource of another type', { resourceTypeUrl: 'type.googleapis.com/x.Y' }, 'x.Y', NAME_TABLE_TYPE],
    ['a response of another type', { typeUrl: 'type.googleapis.com/x.Y' }, 'x.Y', 'type.googleapis.com/x.Y'],
  ])('refuses %s and keeps the table in use', async (_, push, reason, typeUrl) => {
    const server = await serve()
    const { held, client } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    stream.push(push)
    const nack = await stream.requests.next()
    expect(nack).toMatchObject({ type_url: typeUrl, response_nonce: 'n2', error_detail: { code: 3 } })
    expect(nack.version_info).toBe(typeUrl === NAME_TABLE_TYPE ? 'v1' : '')
    expect(nack.error_detail?.message).toContain(reason)
    expect(held()).toBe('good')
    expect(client.state()).toMatchObject({ connected: true, version: 'v1', accepted: 1, rejected: 1 })
  })

  it('refuses a table that breaks the sink, and goes on', async () => {
    const server = await serve()
    const { logs, held } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('bug')] })
    expect(await stream.requests.next()).toMatchObject({
      error_detail: { code: status.INTERNAL, message: 'out of luck' },
    })
    expect(loud(logs).some((line) => line.startsWith('error'))).toBe(true)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    expect(held()).toBe('good')
  })

  it('takes the first of several tables, as Istio does, and says so', async () => {
    const server = await serve()
    const { accepted, logs } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('first'), table('second')] })
    expect((await accepted.next()).text).toBe('first')
    expect(await stream.requests.next()).toMatchObject({ version_info: 'v1', error_detail: null })
    expect(loud(logs).at(-1)).toContain('2 name tables in one response')
    // Once, until there is something else to say.
    const said = loud(logs).length
    for (const names of [['one', 'two'], ['one'], ['one', 'two', 'three']]) {
      stream.push({ tables: names.map(table) })
      await stream.requests.next()
    }
    expect(loud(logs).slice(said)).toEqual([expect.stringContaining('3 name tables in one response')])
  })

  it('counts a table equal to the one in use apart', async () => {
    const server = await serve()
    const { client } = subscribe([server.address])
    const stream = await subscribed(server)
    for (const _ of [1, 2, 3]) {
      stream.push({ tables: [table('same')] })
      await stream.requests.next()
    }
    expect(client.state()).toMatchObject({ accepted: 3, unchanged: 2, version: 'v3' })
  })

  it('takes a table of over 10 MB', async () => {
    const server = await serve()
    const { accepted } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [Buffer.alloc(12_000_000, 'x')] })
    expect((await accepted.next()).text).toHaveLength(12_000_000)
    expect(await stream.requests.next()).toMatchObject({ response_nonce: 'n1', error_detail: null })
  })
})

describe('delta', () => {
  it('subscribes, and acknowledges by nonce alone', async () => {
    const server = await serve()
    const { client, accepted } = subscribe([server.address], { delta: true })
    const stream = await server.streams.next()
    expect(stream.dialect).toBe('delta')
    const first = await stream.requests.next()
    expect(first).toMatchObject({
      type_url: NAME_TABLE_TYPE,
      resource_names_subscribe: [],
      initial_resource_versions: {},
      response_nonce: '',
    })
    expect(first.node?.id).toContain('web-0.shop')
    stream.push({ tables: [table('one')], version: 'push-7' })
    expect(await accepted.next()).toEqual({ text: 'one', version: 'push-7' })
    expect(await stream.requests.next()).toEqual({
      node: null,
      type_url: NAME_TABLE_TYPE,
      resource_names_subscribe: [],
      resource_names_unsubscribe: [],
      initial_resource_versions: {},
      response_nonce: 'n1',
      error_detail: null,
    })
    expect(client.state()).toMatchObject({ dialect: 'delta', version: 'push-7', accepted: 1 })
  })

  it('refuses by nonce and reason', async () => {
    const server = await serve()
    const { held } = subscribe([server.address], { delta: true })
    const stream = await subscribed(server)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    stream.push({ tables: [table('bad')] })
    expect(await stream.requests.next()).toMatchObject({
      response_nonce: 'n2',
      error_detail: { code: 3, message: 'host "a..b" is no name' },
    })
    expect(held()).toBe('good')
  })

  it.each([
    ['a removal', { tables: [], removed: [''] }],
    ['an empty response', { tables: [] }],
  ])('acknowledges %s and keeps the table in use', async (_, push) => {
    const server = await serve()
    const { held, client } = subscribe([server.address], { delta: true })
    const stream = await subscribed(server)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    stream.push(push)
    expect(await stream.requests.next()).toMatchObject({ response_nonce: 'n2', error_detail: null })
    expect(held()).toBe('good')
    expect(client.state()).toMatchObject({ version: 'v1', accepted: 1, rejected: 0 })
  })

  it('falls back to state of the world at once where the server does not speak delta', async () => {
    const server = await serve({ speaks: ['sotw'] })
    const { client, logs, clock } = subscribe([server.address], { delta: true })
    const stream = await server.streams.next()
    expect(stream.dialect).toBe('sotw')
    stream.push()
    await stream.requests.nextWhere((request) => request.response_nonce === 'n1')
    expect(client.state()).toMatchObject({ connected: true, dialect: 'state of the world', lastError: null })
    expect(loud(logs).filter((line) => line.startsWith('warn'))).toEqual([])
    expect(clock.now()).toBe(1_000_000)
  })

  it('says so and goes on trying where the server speaks neither', async () => {
    const server = await serve({ speaks: [] })
    const { states, logs } = subscribe([server.address], { delta: true })
    const state = await states.nextWhere(retrying)
    expect(state.lastError).toBe('UNIMPLEMENTED: no sotw here')
    expect(loud(logs).filter((line) => line.startsWith('warn'))).toHaveLength(1)
  })
})

describe('reconnecting', () => {
  it('names the version held to the server that sent it, but no nonce', async () => {
    const server = await serve()
    const { clock, states } = subscribe([server.address])
    const first = await subscribed(server)
    first.push({ tables: [table('one')], version: 'v9' })
    await first.requests.next()
    first.end()
    await states.nextWhere(retrying)
    clock.advance(1000)
    const second = await server.streams.next()
    const request = await second.requests.next()
    expect(request).toMatchObject({ version_info: 'v9', response_nonce: '', error_detail: null })
    expect(request.node?.id).toContain('web-0')
  })

  it('names the resource version held over delta, if the resource had one', async () => {
    const server = await serve()
    const { clock, states } = subscribe([server.address], { delta: true })
    const first = await subscribed(server)
    first.push({ resourceName: 'table', resourceVersion: '17' })
    await first.requests.next()
    first.end()
    await states.nextWhere(retrying)
    clock.advance(1000)
    const second = await server.streams.next()
    expect((await second.requests.next()).initial_resource_versions).toEqual({ table: '17' })
  })

  it('leaves at a GOAWAY and comes back at once and quietly', async () => {
    const server = await serve()
    const { clock, states, logs, client, held } = subscribe([server.address])
    const first = await subscribed(server)
    first.push({ tables: [table('one')] })
    await first.requests.next()
    clock.advance(30 * 60_000)
    const before = loud(logs).length
    server.goaway()
    await expect.poll(() => clock.pending).toEqual([50])
    clock.advance(50)
    expect((await states.nextWhere(retrying)).nextAttemptAtMs).toBe(clock.now())
    await first.gone
    clock.advance(0)
    const second = await subscribed(server)
    second.push({ tables: [table('two')] })
    await second.requests.next()
    expect(held()).toBe('two')
    expect(client.state()).toMatchObject({ connected: true, streamsOpened: 2, reconnects: 1, lastError: null })
    expect(loud(logs)).toHaveLength(before)
  })

  it('takes what still comes after a GOAWAY, and leaves nevertheless', async () => {
    const server = await serve()
    const { clock, states, held } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('one')] })
    await stream.requests.next()
    server.goaway()
    await expect.poll(() => clock.pending).toEqual([50])
    stream.push({ tables: [table('two')] })
    await stream.requests.next()
    expect(held()).toBe('two')
    clock.advance(50)
    expect((await states.nextWhere(retrying)).lastError).toBeNull()
  })

  it('comes back at once and quietly when the server ends the stream', async () => {
    const server = await serve()
    const { clock, states, logs } = subscribe([server.address])
    const first = await subscribed(server)
    first.push()
    await first.requests.next()
    clock.advance(5000)
    const before = loud(logs).length
    first.end()
    expect(await states.nextWhere(retrying)).toMatchObject({ nextAttemptAtMs: clock.now(), away: null })
    clock.advance(0)
    await subscribed(server)
    expect(loud(logs)).toHaveLength(before)
  })

  it('backs off from the opening of the stream, doubling, and starts again after the first response', async () => {
    const server = await serve()
    const { clock, states } = subscribe([server.address])
    const waits: number[] = []
    const failOnce = async (stream: ScriptedStream): Promise<void> => {
      stream.fail(status.UNAVAILABLE, 'not ready')
      const state = await states.nextWhere(retrying)
      waits.push(state.nextAttemptAtMs! - clock.now())
    }
    let stream = await subscribed(server)
    for (let attempt = 0; attempt < 7; attempt++) {
      clock.advance(100)
      await failOnce(stream)
      clock.advance(waits.at(-1)!)
      stream = await subscribed(server)
    }
    // random() is 0.5: three quarters of 1, 2, 4, 8, 16, 30, 30 s, less the 100 ms that each stream was open.
    expect(waits).toEqual([650, 1400, 2900, 5900, 11_900, 22_400, 22_400])
    stream.push()
    await stream.requests.next()
    await failOnce(stream)
    expect(waits.at(-1)).toBe(750)
  })

  it('opens no more than a stream a backoff to a server that flaps after each table', async () => {
    const server = await serve()
    server.onStream = (stream) => {
      stream.push({ tables: [table('flap')] })
      stream.end()
    }
    const { clock, states, accepted, client, held } = subscribe([server.address])
    for (let round = 1; round <= 10; round++) {
      await accepted.next()
      expect((await states.nextWhere(retrying)).nextAttemptAtMs! - clock.now()).toBe(750)
      expect(server.connections).toBe(round)
      clock.advance(750)
    }
    expect(held()).toBe('flap')
    expect(client.state().unchanged).toBeGreaterThanOrEqual(9)
  })

  it('keeps the table, says once that the server is gone and once that it is back', async () => {
    const server = await serve()
    const { port } = server
    const { clock, states, logs, client, held } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('kept')] })
    await stream.requests.next()
    await server.stop()
    const lostAtMs = clock.now()
    for (let attempt = 0; attempt < 5; attempt++) {
      const state = await states.nextWhere(retrying)
      clock.advance(state.nextAttemptAtMs! - clock.now())
    }
    const { nextAttemptAtMs } = await states.nextWhere(retrying)
    expect(client.state()).toMatchObject({ connected: false, version: 'v1', accepted: 1 })
    expect(client.state().lastError).toBe(`UNAVAILABLE: connect ECONNREFUSED 127.0.0.1:${port}`)
    expect(client.state().ageSeconds).toBeGreaterThan(10)
    expect(client.state().away).toEqual({
      sinceMs: lostAtMs,
      address: `127.0.0.1:${port}`,
      reason: `UNAVAILABLE: connect ECONNREFUSED 127.0.0.1:${port}`,
    })
    expect(held()).toBe('kept')
    const back = await serve({ port })
    clock.advance(nextAttemptAtMs! - clock.now())
    const again = await subscribed(back)
    again.push({ tables: [table('new')] })
    await again.requests.next()
    expect(client.state().away).toBeNull()
    expect(held()).toBe('new')
    expect(loud(logs).map((line) => line.split(/[;{]/)[0]?.trim())).toEqual([
      'info connected to the control plane',
      'warn lost the control plane',
      'info connected to the control plane again',
    ])
  })

  it('tries the addresses in turn, at once within a round, and stays with the one that works', async () => {
    const [silent, live] = [await serve({ speaks: [] }), await serve()]
    const dead = await serve()
    const deadAddress = dead.address
    await dead.stop()
    const { clock, states, client, logs } = subscribe([deadAddress, silent.address, live.address])
    for (const address of [deadAddress, silent.address]) {
      const state = await states.nextWhere((each) => retrying(each))
      expect(state).toMatchObject({ address, nextAttemptAtMs: clock.now() })
      clock.advance(0)
    }
    const stream = await subscribed(live)
    stream.push()
    await stream.requests.next()
    expect(client.state()).toMatchObject({ connected: true, address: live.address, streamsOpened: 3 })
    stream.end()
    const state = await states.nextWhere(retrying)
    expect(state.nextAttemptAtMs! - clock.now()).toBe(750)
    clock.advance(750)
    await subscribed(live)
    expect(client.state()).toMatchObject({ address: live.address, streamsOpened: 4 })
    expect(loud(logs).filter((line) => line.startsWith('warn'))).toHaveLength(1)
  })

  it('waits a backoff after a whole round of addresses', async () => {
    const [one, two] = [await serve({ speaks: [] }), await serve({ speaks: [] })]
    const { clock, states } = subscribe([one.address, two.address])
    const waits: number[] = []
    for (let attempt = 0; attempt < 4; attempt++) {
      const state = await states.nextWhere(retrying)
      waits.push(state.nextAttemptAtMs! - clock.now())
      clock.advance(waits.at(-1)!)
    }
    expect(waits).toEqual([0, 750, 0, 1500])
  })

  it('gives up a connection that opens and never sends', async () => {
    const server = await serve()
    const { clock, states } = subscribe([server.address])
    const stream = await subscribed(server)
    await expect.poll(() => clock.pending).toEqual([60_000])
    clock.advance(60_000)
    const state = await states.nextWhere(retrying)
    expect(state.lastError).toBe('connected, but no response within 60 s')
    await stream.gone
    clock.advance(0)
    await subscribed(server)
  })

  it('takes silence for an answer where it has named the version it holds', async () => {
    const server = await serve()
    const { clock, states, client } = subscribe([server.address])
    const first = await subscribed(server)
    first.push()
    await first.requests.next()
    first.end()
    await states.nextWhere(retrying)
    clock.advance(1000)
    const second = await subscribed(server)
    await expect.poll(() => clock.pending).toEqual([60_000])
    expect(client.state().connected).toBe(false)
    clock.advance(60_000)
    expect(client.state().connected).toBe(true)
    second.push({ tables: [table('later')], version: 'v2' })
    await second.requests.next()
    expect(client.state()).toMatchObject({ version: 'v2', streamsOpened: 2 })
  })

  it('gives up a server that accepts connections and says nothing', async () => {
    const sockets: Inbox<Socket> = new Inbox()
    const mute = createServer((socket) => sockets.put(socket))
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const address = mute.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const { clock, states } = subscribe([`127.0.0.1:${port}`])
    const socket = await sockets.next()
    clock.advance(10_000)
    expect((await states.nextWhere(retrying)).lastError).toBe('no connection within 10 s')
    socket.destroy()
    mute.close()
  })

  it('treats a message that is no protobuf as a failed stream', async () => {
    const server = await serve()
    const { states, held, clock } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push({ tables: [table('good')] })
    await stream.requests.next()
    stream.pushBytes(Buffer.from([0x0a, 0xff]))
    const state = await states.nextWhere(retrying)
    expect(state.lastError).toContain('INTERNAL: Response message parsing error')
    expect(held()).toBe('good')
    clock.advance(1000)
    await subscribed(server)
  })
})

describe('addresses', () => {
  it.for<[string, string]>([
    ['::1', '[::1]'],
    ['127.0.0.1', 'localhost'],
  ])('may be on %s, written %s', async ([host, written], context) => {
    skipWithoutIPv6(context, host)
    const server = await serve({ host })
    const { client } = subscribe([`${written}:${server.port}`])
    const stream = await subscribed(server)
    stream.push()
    await stream.requests.next()
    expect(client.state()).toMatchObject({ connected: true, address: `${written}:${server.port}` })
  })

  it('that do not resolve fail the attempt with the reason', async () => {
    const { states } = subscribe(['istiod.invalid:15010'])
    expect((await states.nextWhere(retrying)).lastError).toMatch(/^UNAVAILABLE: Name resolution failed for target/)
  })

  it('are needed', () => {
    expect(() => subscribe([])).toThrow('needs an address')
  })
})

describe('credentials', () => {
  it('are asked for anew for every connection, and their metadata goes with the stream', async () => {
    const server = await serve()
    let asked = 0
    const { clock, states } = subscribe([server.address], {
      credentials: {
        async forConnection(address, signal) {
          const metadata = new Metadata()
          metadata.set('authorization', `Bearer ${++asked}`)
          const given = await plaintext.forConnection(address, signal)
          return 'failure' in given ? given : { ...given, metadata }
        },
      },
    })
    for (const round of [1, 2]) {
      const stream = await subscribed(server)
      expect(stream.metadata.get('authorization')).toEqual([`Bearer ${round}`])
      stream.push()
      await stream.requests.next()
      stream.end()
      await states.nextWhere(retrying)
      clock.advance(1000)
    }
  })

  it('that are missing fail the attempt with their reason', async () => {
    const { states, clock } = subscribe(['127.0.0.1:1'], {
      credentials: { forConnection: () => Promise.resolve({ failure: './token: no such file' }) },
    })
    const state = await states.nextWhere(retrying)
    expect(state).toMatchObject({ lastError: './token: no such file', streamsOpened: 1 })
    expect(state.nextAttemptAtMs! - clock.now()).toBe(750)
  })

  it('that never come are not waited for', async () => {
    const signals: AbortSignal[] = []
    const { states, clock } = subscribe(['127.0.0.1:1'], {
      credentials: {
        forConnection(_, signal) {
          signals.push(signal)
          return new Promise(() => {})
        },
      },
    })
    clock.advance(10_000)
    expect((await states.nextWhere(retrying)).lastError).toBe('no connection within 10 s')
    expect(signals[0]?.aborted).toBe(true)
  })
})

describe('another address', () => {
  it('is told no version of what the one before sent, in neither dialect, and its own once it has sent one', async () => {
    for (const delta of [false, true]) {
      const [first, second] = [await serve(), await serve()]
      const { clock, states, held } = subscribe([first.address, second.address], { delta })
      const stream = await subscribed(first)
      stream.push({ tables: [table('one')], version: 'v9', resourceName: 'table', resourceVersion: '9' })
      await stream.requests.next()
      await first.stop()
      await states.nextWhere(retrying)
      clock.advance(1000)
      // The first is tried once more before the second has its turn.
      await states.nextWhere(({ nextAttemptAtMs }) => nextAttemptAtMs === clock.now())
      clock.advance(0)
      const other = await second.streams.next()
      const request = await other.requests.next()
      expect([request.version_info ?? '', request.initial_resource_versions ?? {}]).toEqual(['', {}])
      expect(held()).toBe('one')
      other.push({ tables: [table('two')], version: 'v1', resourceName: 'table', resourceVersion: '1' })
      await other.requests.next()
      other.end()
      await states.nextWhere(retrying)
      clock.advance(1000)
      const again = await (await second.streams.next()).requests.next()
      expect([again.version_info ?? '', again.initial_resource_versions ?? {}]).toEqual(
        delta ? ['', { table: '1' }] : ['v1', {}],
      )
    }
  })
})

describe('a new connection on demand', () => {
  it('is made at once and quietly, and the server is told what is held', async () => {
    const server = await serve()
    const { client, clock, logs } = subscribe([server.address])
    const first = await subscribed(server)
    first.push({ tables: [table('one')], version: 'v9' })
    await first.requests.next()
    client.reconnect()
    expect(client.state()).toMatchObject({ connected: false, connectedSinceMs: null, streamsOpened: 2, reconnects: 1 })
    await first.gone
    const second = await server.streams.next()
    expect(await second.requests.next()).toMatchObject({ version_info: 'v9' })
    second.push({ tables: [table('two')] })
    await second.requests.next()
    expect(client.state()).toMatchObject({ connected: true, away: null, lastError: null, streamsOpened: 2 })
    expect(loud(logs)).toHaveLength(1)
    // What became of the first stream sets no timer for another one.
    clock.advance(100_000)
    expect(client.state().streamsOpened).toBe(2)
  })

  it('is not made beside the next attempt, and the server is away since it was left', async () => {
    const server = await serve()
    const { client, clock, states } = subscribe([server.address])
    const first = await subscribed(server)
    first.push()
    await first.requests.next()
    clock.advance(5000)
    const leftAtMs = clock.now()
    const { address } = server
    client.reconnect()
    await server.stop()
    const { away, nextAttemptAtMs } = await states.nextWhere(retrying)
    expect(away).toMatchObject({ sinceMs: leftAtMs, address })
    client.reconnect()
    expect(client.state()).toMatchObject({ streamsOpened: 2, nextAttemptAtMs })
    expect(clock.pending).toHaveLength(1)
  })

  it('is not made by a client that was stopped', async () => {
    const server = await serve()
    const { client } = subscribe([server.address])
    await subscribed(server)
    await client.stop(1000)
    client.reconnect()
    expect(client.state().streamsOpened).toBe(1)
  })
})

describe('stopping', () => {
  it('closes the stream and sets no timer', async () => {
    const server = await serve()
    const { client, clock, logs } = subscribe([server.address])
    const stream = await subscribed(server)
    stream.push()
    await stream.requests.next()
    await client.stop(1000)
    await stream.gone
    expect(client.state()).toMatchObject({ connected: false, version: 'v1' })
    expect(clock.pending).toEqual([])
    expect(loud(logs)).toHaveLength(1)
  })

  it('takes back the next attempt', async () => {
    const server = await serve({ speaks: [] })
    const { client, clock, states } = subscribe([server.address])
    await states.nextWhere(retrying)
    await client.stop(1000)
    clock.advance(100_000)
    expect(client.state()).toMatchObject({ streamsOpened: 1, nextAttemptAtMs: null })
    expect(clock.pending).toEqual([])
  })

  it('is quick while a connection is being made', async () => {
    const { client, clock } = subscribe(['127.0.0.1:1'])
    await client.stop(1000)
    expect(clock.pending).toEqual([])
  })
})
