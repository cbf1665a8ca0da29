import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { DataWorkerLink } from '../../src/stream/data-worker-link.ts'
import type { Connector } from '../../src/stream/upstreams/upstream-connection.ts'
import { FramedUpstream } from '../../src/stream/upstreams/framed-upstream.ts'
import type { UpstreamStreamSettings } from '../../src/stream/stream-settings.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import type { TransportFactory } from '../../src/stream/upstreams/upstream-streams.ts'
import { UpstreamStreams } from '../../src/stream/upstreams/upstream-streams.ts'
import { framed, idOf, joined, query, replyTo } from './dns-messages.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'
import { type AskedQuery, ScriptedUpstream } from './scripted-upstream.ts'
import { until } from '../until.ts'

let nowMs: number
let upstream: ScriptedUpstream
let worker: ScriptedDataWorker
let link: DataWorkerLink
let streams: UpstreamStreams
let counters: StreamCounters
let nextToken: number

beforeEach(async () => {
  nowMs = 1000
  nextToken = 0
  upstream = await ScriptedUpstream.start()
  setUp({})
})

afterEach(() => {
  streams.close()
  link.close()
  upstream.stop()
})

function setUp(settings: Partial<UpstreamStreamSettings>, factory?: TransportFactory): void {
  counters = new StreamCounters()
  streams = new UpstreamStreams({
    settings: { ...DEFAULT_STREAM_SETTINGS.upstream, ...settings },
    counters,
    now: () => nowMs,
    onTlsFailure: () => {},
    ...(factory === undefined ? {} : { factory }),
  })
  streams.use([upstream.server])
  worker = new ScriptedDataWorker()
  link = linkTo(worker)
}

function linkTo(to: ScriptedDataWorker): DataWorkerLink {
  return new DataWorkerLink(
    { port: to.port, wakeFd: -1 },
    {
      replies: () => {},
      repliesEnd: () => {},
      askUpstream: (message, from) => streams.ask(message, from),
      lost: () => {},
    },
  )
}

/** Asks the upstream server and returns the token. */
function ask(message: Uint8Array, timeoutMs: number = 1000, attemptMs: number = timeoutMs): number {
  worker.ask({
    token: ++nextToken,
    server: upstream.server.label,
    transport: 'tcp',
    query: message,
    timeoutMs,
    attemptMs,
  })
  return nextToken
}

/** Moves the clock and has the deadlines looked at. */
function pass(ms: number): void {
  nowMs += ms
  streams.sweep()
}

async function outcomes(count: number): Promise<(string | null)[]> {
  await until(() => expect(worker.upstreamReplies).toHaveLength(count))
  return worker.upstreamReplies.toSorted((a, b) => a.token - b.token).map(({ failure }) => failure)
}

describe('pipelining', () => {
  it('sends upstream queries of one turn over one connection in one segment and tells replies apart by ids of its own', async () => {
    const messages = ['a.', 'b.', 'c.'].map((name) => query(7, name))
    for (const message of messages) ask(message)
    await until(() => expect(upstream.queries).toHaveLength(3))
    expect(upstream.sockets).toHaveLength(1)
    expect(upstream.segments).toBe(1)
    expect(new Set(upstream.queries.map(({ message }) => idOf(message))).size).toBe(3)
    upstream.answer(upstream.queries.toReversed())
    await until(() => expect(worker.upstreamReplies).toHaveLength(3))
    expect(worker.upstreamReplies.map(({ token }) => token)).toEqual([3, 2, 1])
    for (const { token, reply } of worker.upstreamReplies) {
      expect(reply).toEqual(replyTo(messages[token - 1]!))
      // Not a view: it would take along what else was read.
      expect(reply!.buffer.byteLength).toBe(reply!.length)
    }
  })

  it('accepts a reply whose question differs in case', async () => {
    const message = query(9, 'Example.')
    ask(message)
    await until(() => expect(upstream.queries).toHaveLength(1))
    const reply = replyTo(upstream.queries[0]!.message)
    reply[13] = 0x65
    upstream.send(0, reply)
    expect(await outcomes(1)).toEqual([null])
    expect(idOf(worker.upstreamReplies[0]!.reply!)).toBe(9)
  })

  it('accepts an error that is a header alone', async () => {
    ask(query(9, 'example.'))
    await until(() => expect(upstream.queries).toHaveLength(1))
    const id = upstream.queries[0]!.message.subarray(0, 2)
    upstream.send(0, Uint8Array.of(...id, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0))
    expect(await outcomes(1)).toEqual([null])
    expect(worker.upstreamReplies[0]!.reply).toHaveLength(12)
  })

  it('reads replies that come byte by byte', async () => {
    ask(query(1, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(1))
    for (const byte of framed(replyTo(upstream.queries[0]!.message))) {
      await new Promise((resolve) => upstream.sockets[0]!.write(Uint8Array.of(byte), resolve))
    }
    expect(await outcomes(1)).toEqual([null])
  })
})

describe('the pool', () => {
  it('uses a connection again, closes it when idle and opens another when needed', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    ask(query(2, 'b.'))
    await outcomes(2)
    expect(upstream.sockets).toHaveLength(1)
    pass(DEFAULT_STREAM_SETTINGS.upstream.idleTimeoutMs - 1)
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(1)
    pass(1)
    await until(() => expect(upstream.open).toBe(0))
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(0)
    ask(query(3, 'c.'))
    expect(await outcomes(3)).toEqual([null, null, null])
    expect(upstream.sockets).toHaveLength(2)
  })

  it('opens further connections under load, no more than it may, and queues the rest', async () => {
    setUp({ maxConnections: 2, maxPipelined: 2, maxQueued: 3 })
    for (let i = 1; i <= 8; i++) ask(query(i, 'a.'))
    // Two connections of two, three queued, one too many.
    await until(() => expect(worker.upstreamReplies).toHaveLength(1))
    expect(worker.upstreamReplies[0]).toMatchObject({ token: 8, failure: 'network' })
    await until(() => expect(upstream.queries).toHaveLength(4))
    expect(upstream.sockets).toHaveLength(2)
    upstream.onQueries = (queries) => upstream.answer(queries)
    upstream.answer(upstream.queries.slice(0, 4))
    expect(await outcomes(8)).toEqual([null, null, null, null, null, null, null, 'network'])
    expect(upstream.sockets).toHaveLength(2)
  })

  it('is idle from its last reply on, not from the query', async () => {
    ask(query(1, 'a.'), 60_000, 60_000)
    await until(() => expect(upstream.queries).toHaveLength(1))
    const { idleTimeoutMs } = DEFAULT_STREAM_SETTINGS.upstream
    pass(idleTimeoutMs - 1)
    upstream.answer(upstream.queries)
    await outcomes(1)
    pass(idleTimeoutMs - 1)
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(1)
    pass(1)
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(0)
  })

  it('opens the second connection with the seventeenth question under way, not before', async () => {
    for (let n = 1; n <= 16; n++) ask(query(n, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(16))
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1)
    ask(query(17, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(17))
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(2)
  })

  it('closes connections of a server that has another address, port, name or path now, and opens others to it', async () => {
    const opened: string[] = []
    setUp({}, (server) => ({
      ask: (attempt) => {
        opened.push(`${server.address} ${server.port} ${server.serverName} ${server.path}`)
        attempt.settle(null, 'network')
      },
      sweep: () => false,
      close: () => opened.push('closed'),
    }))
    const base: UpstreamServer = { ...upstream.server, serverName: 'a', path: '/a' }
    const others = [{ port: 1 }, { port: 1, serverName: 'b' }, { port: 1, serverName: 'b', path: '/b' }]
    for (const server of [base, ...others.map((other) => ({ ...base, ...other }))]) {
      streams.use([server])
      ask(query(1, 'a.'))
      await until(() => expect(worker.upstreamReplies).toHaveLength(nextToken))
    }
    const { port } = upstream
    expect(opened).toEqual([
      `127.0.0.1 ${port} a /a`,
      'closed',
      '127.0.0.1 1 a /a',
      'closed',
      '127.0.0.1 1 b /a',
      'closed',
      '127.0.0.1 1 b /b',
    ])
  })

  it('fails what waits in the queue too long, at its deadline and unsent, and keeps the others in it', async () => {
    setUp({ maxConnections: 1, maxPipelined: 1 })
    ask(query(1, 'a.'), 5000)
    ask(query(2, 'b.'), 1000, 5000)
    ask(query(3, 'c.'), 5000)
    await until(() => expect(upstream.queries).toHaveLength(1))
    pass(999)
    expect(counters.get(StreamCell.failuresTimeout)).toBe(0)
    pass(1)
    expect(await outcomes(1)).toEqual(['timeout'])
    expect(worker.upstreamReplies[0]!.token).toBe(2)
    upstream.onQueries = (queries) => upstream.answer(queries)
    upstream.answer(upstream.queries.slice(0, 1))
    expect(await outcomes(3)).toEqual([null, 'timeout', null])
    expect(upstream.queries.map(({ message }) => message[13])).toEqual([0x61, 0x63])
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1)
  })

  it('keeps connections of servers that stay in the settings and closes the others', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    const other: UpstreamServer = { label: 'x', transport: 'tcp', address: '127.0.0.2', port: 9 }
    streams.use([upstream.server, other])
    ask(query(2, 'b.'))
    await outcomes(2)
    expect(upstream.sockets).toHaveLength(1)
    // Nothing is verified over TCP.
    streams.use([upstream.server, other], 'other root certificates')
    ask(query(3, 'c.'))
    await outcomes(3)
    expect(upstream.sockets).toHaveLength(1)
    streams.use([other])
    await until(() => expect(upstream.open).toBe(0))
  })
})

describe('a connection without a word', () => {
  it('is not asked again once a question has waited its time, and what it brings late counts', async () => {
    ask(query(1, 'a.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(1))
    pass(500)
    ask(query(2, 'b.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(2))
    expect(upstream.sockets).toHaveLength(1)
    pass(500)
    ask(query(3, 'c.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(3))
    expect(upstream.queries.map(({ connection }) => connection)).toEqual([0, 0, 1])
    upstream.answer(upstream.queries.slice(2))
    upstream.answer(upstream.queries.slice(0, 2))
    expect(await outcomes(3)).toEqual([null, null, null])
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(4, 'd.'), 5000, 1000)
    expect(await outcomes(4)).toEqual([null, null, null, null])
    expect(upstream.sockets).toHaveLength(2)
  })

  it('casts doubt on the others on which nothing has come since', async () => {
    setUp({ maxPipelined: 1 })
    for (let i = 1; i <= 3; i++) ask(query(i, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(3))
    upstream.answer(upstream.queries)
    await outcomes(3)
    pass(1)
    // A firewall has forgotten all of them.
    ask(query(4, 'b.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(4))
    pass(1000)
    ask(query(4, 'b.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(5))
    expect(upstream.queries[4]!.connection).toBe(3)
  })

  it('is asked on while others are answered over it, however long one takes', async () => {
    ask(query(1, 'slow.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(1))
    upstream.onQueries = (queries) => upstream.answer(queries)
    for (let n = 1; n <= 6; n++) {
      pass(600)
      ask(query(2, 'quick.'), 5000, 1000)
      await until(() => expect(worker.upstreamReplies).toHaveLength(n))
    }
    expect(upstream.sockets).toHaveLength(1)
  })

  it('is replaced by a bounded number of others', async () => {
    setUp({ maxConnections: 2 })
    for (let n = 1; n <= 20; n++) {
      ask(query(n, 'a.'), 60_000, 1000)
      await until(() => expect(upstream.queries).toHaveLength(n))
      pass(1000)
    }
    expect(upstream.sockets).toHaveLength(4)
    expect(new Set(upstream.queries.slice(10).map(({ connection }) => connection)).size).toBe(4)
  })

  it('is replaced once for a name that nobody answers: the replacement was reached, so the server is slow', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = () => {}
    pass(1)
    for (let n = 2; n <= 4; n++) {
      ask(query(n, 'dead.'), 5000 - nowMs, 1000)
      await until(() => expect(upstream.queries).toHaveLength(n))
      if (n < 4) pass(1000)
    }
    expect(upstream.queries.map(({ connection }) => connection)).toEqual([0, 0, 1, 1])
    pass(5000 - nowMs)
    expect(await outcomes(4)).toEqual([null, 'timeout', 'timeout', 'timeout'])
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(5, 'b.'))
    await outcomes(5)
    expect(upstream.queries[4]!.connection).toBe(1)
    expect(upstream.sockets).toHaveLength(2)
  })

  it('is used on if a question was given up before its time: the server had no chance', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = () => {}
    pass(500)
    ask(query(2, 'b.'), 200, 1000)
    await until(() => expect(upstream.queries).toHaveLength(2))
    pass(200)
    expect(await outcomes(2)).toEqual([null, 'timeout'])
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(3, 'c.'))
    expect(await outcomes(3)).toEqual([null, 'timeout', null])
    expect(upstream.sockets).toHaveLength(1)
  })

  it('is used on once nobody waits for the one answer that it owes', async () => {
    ask(query(1, 'dead.'), 2000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(1))
    pass(500)
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(2, 'b.'), 1000)
    await until(() => expect(worker.upstreamReplies).toHaveLength(1))
    pass(1500)
    expect(await outcomes(2)).toEqual(['timeout', null])
    ask(query(3, 'c.'), 1000)
    await outcomes(3)
    expect(upstream.sockets).toHaveLength(1)
  })

  it('has said something with its handshake, which does not save it at the end', async () => {
    const lookups: (() => void)[] = []
    const connector: Connector = {
      open: () =>
        connect({
          host: 'x.invalid',
          port: upstream.port,
          lookup: (_host, _options, found) => {
            lookups.push(() => found(null, [{ address: '127.0.0.1', family: 4 }]))
          },
        }),
      readyEvent: 'connect',
      prepare: (message) => message,
    }
    setUp(
      {},
      () => new FramedUpstream({ connector, settings: DEFAULT_STREAM_SETTINGS.upstream, counters, now: () => nowMs }),
    )
    ask(query(1, 'a.'), 5000, 1000)
    await until(() => expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1))
    pass(900)
    lookups[0]!()
    await until(() => expect(upstream.queries).toHaveLength(1))
    pass(100)
    ask(query(2, 'a.'), 5000, 1000)
    await until(() => expect(upstream.queries).toHaveLength(2))
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1)
    pass(5000)
    expect(await outcomes(2)).toEqual(['timeout', 'timeout'])
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(0)
  })
})

describe('failures', () => {
  it('a server that is not there is `refused`', async () => {
    upstream.stop()
    ask(query(1, 'a.'))
    ask(query(2, 'b.'))
    expect(await outcomes(2)).toEqual(['refused', 'refused'])
    expect(counters.get(StreamCell.failuresRefused)).toBe(2)
  })

  it('a server that does not answer is a `timeout`, and its connection is not used again', async () => {
    ask(query(1, 'a.'), 500)
    await until(() => expect(upstream.queries).toHaveLength(1))
    pass(499)
    expect(worker.upstreamReplies).toEqual([])
    pass(1)
    expect(await outcomes(1)).toEqual(['timeout'])
    ask(query(2, 'b.'))
    await until(() => expect(upstream.sockets).toHaveLength(2))
  })

  it('a reply that comes after its time is dropped without harm to the connection', async () => {
    ask(query(1, 'a.'), 500, 60_000)
    ask(query(2, 'b.'), 5000)
    await until(() => expect(upstream.queries).toHaveLength(2))
    pass(500)
    expect(await outcomes(1)).toEqual(['timeout'])
    // Its id is still taken: what comes under it is not the answer to a later question.
    ask(query(3, 'c.'), 5000)
    await until(() => expect(upstream.queries).toHaveLength(3))
    expect(new Set(upstream.queries.map(({ message }) => idOf(message))).size).toBe(3)
    upstream.answer(upstream.queries)
    expect(await outcomes(3)).toEqual(['timeout', null, null])
    ask(query(4, 'd.'), 5000)
    await until(() => expect(upstream.queries).toHaveLength(4))
    expect(upstream.sockets).toHaveLength(1)
  })

  it.each([
    [16, 1],
    [17, 2],
  ])('after %d questions on it that timed out a connection that answers others is %d', async (count, sockets) => {
    setUp({ maxConnections: 1 })
    for (let n = 0; n < count; n++) ask(query(n, 'silent.'), 1000, 60_000)
    await until(() => expect(upstream.queries).toHaveLength(count))
    const answering = (queries: AskedQuery[]): void => upstream.answer(queries)
    upstream.onQueries = answering
    ask(query(100, 'a.'), 5000)
    await until(() => expect(worker.upstreamReplies).toHaveLength(1))
    expect(upstream.sockets).toHaveLength(1)
    pass(1000)
    await until(() => expect(worker.upstreamReplies).toHaveLength(1 + count))
    ask(query(101, 'b.'), 5000)
    await until(() => expect(worker.upstreamReplies).toHaveLength(2 + count))
    expect(upstream.sockets).toHaveLength(sockets)
  })

  it('a connection that does not come about is a `timeout`', async () => {
    // As far as a name server that never answers the look-up.
    const connector: Connector = {
      open: () => connect({ host: 'x.invalid', port: 53, lookup: () => {} }),
      readyEvent: 'connect',
      prepare: (message) => message,
    }
    setUp(
      {},
      () => new FramedUpstream({ connector, settings: DEFAULT_STREAM_SETTINGS.upstream, counters, now: () => nowMs }),
    )
    ask(query(1, 'a.'), 60_000)
    await until(() => expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1))
    pass(DEFAULT_STREAM_SETTINGS.upstream.connectTimeoutMs - 1)
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(1)
    pass(1)
    expect(await outcomes(1)).toEqual(['timeout'])
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(0)
  })

  it.each([
    ['another name', (message: Uint8Array) => ((message[13] = 0x7a), message)],
    ['another type', (message: Uint8Array) => ((message[message.length - 3] = 28), message)],
    ['no response bit', (message: Uint8Array) => ((message[2]! &= 0x7f), message)],
    ['its question cut off', (message: Uint8Array) => message.subarray(0, message.length - 1)],
    ['no question and no error', (message: Uint8Array) => ((message[5] = 0), message)],
  ])(
    'a reply with %s is `malformed`: the others on its connection are answered, and it ends then',
    async (_, forge) => {
      ask(query(1, 'a.'))
      ask(query(2, 'b.'))
      await until(() => expect(upstream.queries).toHaveLength(2))
      upstream.send(0, forge(replyTo(upstream.queries[0]!.message)))
      expect(await outcomes(1)).toEqual(['malformed'])
      upstream.answer(upstream.queries.slice(1))
      expect(await outcomes(2)).toEqual(['malformed', null])
      await until(() => expect(upstream.open).toBe(0))
    },
  )

  it('a reply with an unknown id: whose it was to be waits for its time-out, and the others are answered', async () => {
    ask(query(1, 'a.'), 500)
    ask(query(2, 'b.'), 5000)
    await until(() => expect(upstream.queries).toHaveLength(2))
    const stray = replyTo(upstream.queries[0]!.message)
    stray[0]! ^= 0x55
    upstream.send(0, stray)
    upstream.answer(upstream.queries.slice(1))
    await until(() => expect(worker.upstreamReplies).toHaveLength(1))
    expect(worker.upstreamReplies[0]).toMatchObject({ token: 2, failure: null })
    expect(upstream.open).toBe(1)
    // What is asked now goes over another connection: this one's server cannot count.
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(3, 'c.'))
    await until(() => expect(worker.upstreamReplies).toHaveLength(2))
    expect(upstream.sockets).toHaveLength(2)
    pass(500)
    expect(await outcomes(3)).toEqual(['timeout', null, null])
    await until(() => expect(upstream.open).toBe(1))
  })

  it('frames of no bytes before a reply are passed over; a stream of them is `malformed`', async () => {
    upstream.onQueries = ([first]) =>
      upstream.sockets[0]!.write(joined(Uint8Array.of(0, 0), framed(replyTo(first!.message))))
    for (let k = 0; k < 20; k++) {
      ask(query(k, `n${k}.`))
      await until(() => expect(worker.upstreamReplies).toHaveLength(k + 1))
    }
    expect(await outcomes(20)).toEqual(Array(20).fill(null))
    expect(upstream.sockets).toHaveLength(1)
    upstream.onQueries = () => upstream.sockets[0]!.write(new Uint8Array(34))
    ask(query(1, 'last.'))
    expect((await outcomes(21)).at(-1)).toBe('malformed')
  })

  it('a frame shorter than a header is `malformed`', async () => {
    ask(query(1, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(1))
    upstream.sockets[0]!.write(Uint8Array.of(0, 1, 0))
    expect(await outcomes(1)).toEqual(['malformed'])
  })

  it('a frame shorter than a header teaches nothing, and nothing is sent again for it', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = (queries) => {
      if (queries.length < 3) return
      upstream.answer(queries.slice(1, 2))
      upstream.sockets[0]!.write(Uint8Array.of(0, 1, 0))
    }
    for (const name of ['b.', 'c.', 'd.']) ask(query(2, name))
    expect(await outcomes(4)).toEqual([null, 'malformed', null, 'malformed'])
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(0)
    upstream.onQueries = (queries) => upstream.answer(queries)
    for (const name of ['e.', 'f.', 'g.']) ask(query(3, name))
    await outcomes(7)
    // All three over one connection: the server bears them.
    expect(upstream.sockets).toHaveLength(2)
  })

  it('a server that could not be reached is not taken to answer one question on a connection', async () => {
    let isReachable = false
    const connector: Connector = {
      open: () =>
        connect({
          host: 'x.invalid',
          port: upstream.port,
          lookup: (_host, _options, found) => {
            const unreachable = Object.assign(new Error('unreachable'), { code: 'EHOSTUNREACH' })
            if (isReachable) found(null, [{ address: '127.0.0.1', family: 4 }])
            else found(unreachable, [])
          },
        }),
      readyEvent: 'connect',
      prepare: (message) => message,
    }
    setUp(
      {},
      () => new FramedUpstream({ connector, settings: DEFAULT_STREAM_SETTINGS.upstream, counters, now: () => nowMs }),
    )
    for (const name of ['a.', 'b.', 'c.']) ask(query(1, name))
    expect(await outcomes(3)).toEqual(['network', 'network', 'network'])
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(0)
    isReachable = true
    upstream.onQueries = (queries) => upstream.answer(queries)
    for (const name of ['a.', 'b.', 'c.']) ask(query(2, name))
    await outcomes(6)
    expect(upstream.sockets).toHaveLength(1)
  })

  it('a server that closes in the middle of a reply is a `network` failure', async () => {
    ask(query(1, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(1))
    upstream.sockets[0]!.end(framed(replyTo(upstream.queries[0]!.message)).subarray(0, 10))
    expect(await outcomes(1)).toEqual(['network'])
    expect(upstream.sockets).toHaveLength(1)
  })

  it('while settings differ between threads, a question reaches the server it is meant for, or none', async () => {
    const other = await ScriptedUpstream.start()
    for (const server of [upstream, other]) server.onQueries = (queries) => server.answer(queries)
    // Where the data worker's first server was, there is another one now.
    streams.use([other.server, upstream.server])
    ask(query(1, 'internal.corp.'))
    expect(await outcomes(1)).toEqual([null])
    streams.use([other.server])
    ask(query(2, 'internal.corp.'))
    expect(await outcomes(2)).toEqual([null, 'network'])
    expect([upstream.queries.length, other.queries.length]).toEqual([1, 0])
    other.stop()
  })

  it('a server that the settings do not list is a `network` failure', async () => {
    worker.ask({
      token: 1,
      server: '192.0.2.5:53',
      transport: 'tcp',
      query: query(1, 'a.'),
      timeoutMs: 1000,
      attemptMs: 1000,
    })
    expect(await outcomes(1)).toEqual(['network'])
  })
})

describe('a connection that the server closes', () => {
  it('between two queries is replaced without the data worker noticing', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    // The server closes as it gets the next query: the two cross on the way.
    upstream.onQueries = ([first]) => {
      upstream.sockets[0]!.resetAndDestroy()
      upstream.onQueries = (queries) => upstream.answer(queries)
      expect(first!.connection).toBe(0)
    }
    ask(query(2, 'b.'))
    expect(await outcomes(2)).toEqual([null, null])
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(1)
  })

  it('under a query each time has it sent four times and no more', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = ([first]) => upstream.sockets[first!.connection]!.resetAndDestroy()
    ask(query(2, 'b.'))
    expect(await outcomes(2)).toEqual([null, 'network'])
    expect(upstream.sockets).toHaveLength(4)
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(3)
  })

  it('without ever an answer has nobody asked on and on', async () => {
    upstream.onQueries = ([first]) => upstream.sockets[first!.connection]!.resetAndDestroy()
    for (let i = 1; i <= 40; i++) ask(query(i, 'a.'))
    expect(new Set(await outcomes(40))).toEqual(new Set(['network']))
    expect(upstream.queries.length).toBeLessThanOrEqual(80)
  })

  it('is not sent anything again that it closed on after its deadline', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = ([first]) => {
      nowMs += 1000
      upstream.sockets[first!.connection]!.resetAndDestroy()
    }
    ask(query(2, 'b.'), 1000)
    expect((await outcomes(2))[1]).toMatch(/network|timeout/)
    expect(upstream.queries).toHaveLength(2)
  })

  it('after the first of several answers has the others asked again', async () => {
    upstream.onQueries = (queries) => {
      upstream.answer(queries.slice(0, 1))
      upstream.sockets[0]!.end()
      upstream.onQueries = (later) => upstream.answer(later)
    }
    for (let i = 1; i <= 3; i++) ask(query(i, 'a.'))
    expect(await outcomes(3)).toEqual([null, null, null])
    // From then on each query has a connection of its own, for a minute.
    expect(upstream.sockets).toHaveLength(3)
    for (let i = 4; i <= 5; i++) ask(query(i, 'a.'))
    await outcomes(5)
    expect(upstream.sockets).toHaveLength(5)
    pass(60_000)
    for (let i = 6; i <= 8; i++) ask(query(i, 'a.'))
    await outcomes(8)
    expect(upstream.sockets).toHaveLength(6)
  })

  it('is told from one that leaves a slow question: nothing is sent again to a server that pipelines', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    ask(query(2, 'b.'))
    await outcomes(2)
    upstream.onQueries = (queries) => upstream.answer(queries.slice(1))
    ask(query(3, 'slow.'), 5000, 1000)
    ask(query(4, 'c.'), 5000, 1000)
    await until(() => expect(worker.upstreamReplies).toHaveLength(3))
    pass(2000)
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(0)
    expect(upstream.open).toBe(1)
  })

  it('is not waited for by what another one is answered: twice the time of a first answer, and then over that one', async () => {
    for (let n = 1; n <= 17; n++) ask(query(n, 'a.'), 5000, 5000)
    await until(() => expect(upstream.queries).toHaveLength(17))
    pass(400)
    upstream.answer(upstream.queries.filter(({ connection }) => connection === 0))
    await until(() => expect(worker.upstreamReplies).toHaveLength(16))
    pass(399)
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(0)
    upstream.onQueries = (queries) => upstream.answer(queries)
    pass(1)
    expect(await outcomes(17)).toEqual(Array(17).fill(null))
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(1)
    expect(upstream.queries.at(-1)!.connection).toBe(0)
    // The answer on the slow one comes too late, and shows that it is served after all.
    upstream.answer(upstream.queries.filter(({ connection }) => connection === 1))
    for (let n = 18; n <= 50; n++) ask(query(n, 'b.'), 5000, 5000)
    await outcomes(50)
    expect(upstream.sockets).toHaveLength(2)
  })

  it('has what it left asked again before what waits in the queue', async () => {
    setUp({ maxConnections: 1, maxPipelined: 2 })
    upstream.onQueries = (queries) => {
      upstream.answer(queries.slice(0, 1))
      upstream.sockets[queries[0]!.connection]!.end()
    }
    for (const name of ['a.', 'b.', 'c.', 'd.']) ask(query(1, name))
    expect(await outcomes(4)).toEqual([null, null, null, null])
    const names = upstream.queries.map(({ message }) => String.fromCharCode(message[13]!))
    // The third took the place of the first, and was left as well.
    expect(names).toEqual(['a', 'b', 'c', 'b', 'c', 'd'])
  })

  it('under a query that crosses its end is not taken to answer one only', async () => {
    upstream.onQueries = (queries) => upstream.answer(queries)
    ask(query(1, 'a.'))
    await outcomes(1)
    upstream.onQueries = () => {
      upstream.sockets[0]!.end()
      upstream.onQueries = (queries) => upstream.answer(queries)
    }
    ask(query(2, 'b.'))
    await outcomes(2)
    for (let i = 3; i <= 8; i++) ask(query(i, 'c.'))
    await outcomes(8)
    expect(upstream.sockets).toHaveLength(2)
  })
})

describe('a data worker that is gone', () => {
  it('is not replaced by its successor in what it asked', async () => {
    ask(query(1, 'a.'))
    await until(() => expect(upstream.queries).toHaveLength(1))
    const successor = new ScriptedDataWorker()
    link.replace({ port: successor.port, wakeFd: -1 })
    upstream.answer(upstream.queries)
    upstream.onQueries = (queries) => upstream.answer(queries)
    successor.ask({
      token: 77,
      server: upstream.server.label,
      transport: 'tcp',
      query: query(2, 'b.'),
      timeoutMs: 1000,
      attemptMs: 1000,
    })
    await until(() => expect(successor.upstreamReplies).toHaveLength(1))
    expect(successor.upstreamReplies[0]!.token).toBe(77)
    expect(joined(successor.upstreamReplies[0]!.reply!)).toEqual(replyTo(query(2, 'b.')))
  })
})

it('fails what is under way and what waits when it is closed', async () => {
  setUp({ maxConnections: 1, maxPipelined: 1 })
  ask(query(1, 'a.'))
  ask(query(2, 'b.'))
  await until(() => expect(upstream.queries).toHaveLength(1))
  streams.close()
  expect(await outcomes(2)).toEqual(['network', 'network'])
  expect(upstream.queries).toHaveLength(1)
  await until(() => expect(upstream.open).toBe(0))
})
