import { once } from 'node:events'
import { type Server, Socket } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { ClientConnections } from '../../src/stream/clients/client-connections.ts'
import { DataWorkerLink } from '../../src/stream/data-worker-link.ts'
import type { StreamSettings } from '../../src/stream/stream-settings.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import { framed, idOf, joined, query } from './dns-messages.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'
import { listening } from './listening.ts'
import { TestClient } from './test-client.ts'
import { until } from '../until.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0).toReversed()) close()
})

/** The clients' half of a stream worker with scripted data workers and a clock that the test moves. */
class Bench {
  nowMs = 1000
  readonly counters: StreamCounters = new StreamCounters()
  readonly clients: ClientConnections
  readonly workers: ScriptedDataWorker[]
  readonly links: DataWorkerLink[]
  port = 0
  readonly server: Server

  private constructor(settings: Partial<StreamSettings>, workers: number) {
    this.clients = new ClientConnections({
      settings: { ...DEFAULT_STREAM_SETTINGS, ...settings },
      counters: this.counters,
      now: () => this.nowMs,
      firstNumber: 1,
    })
    this.workers = Array.from({ length: workers }, () => new ScriptedDataWorker())
    this.links = this.workers.map((worker) => this.link(worker))
    this.clients.use(this.links)
    this.server = this.clients.createServer()
  }

  static async start(settings: Partial<StreamSettings> = {}, workers: number = 1): Promise<Bench> {
    const bench = new Bench(settings, workers)
    bench.port = await listening(bench.server)
    closers.push(() => {
      bench.server.close()
      bench.clients.cutAll()
      for (const link of bench.links) link.close()
    })
    return bench
  }

  get worker(): ScriptedDataWorker {
    return this.workers[0]!
  }

  link(worker: ScriptedDataWorker): DataWorkerLink {
    return new DataWorkerLink(
      { port: worker.port, wakeFd: -1 },
      {
        replies: (connection, settled, frames) => this.clients.replies(connection, settled, frames),
        repliesEnd: () => this.clients.flush(),
        askUpstream: () => {},
        lost: (link) => this.clients.lost(link),
      },
    )
  }

  connect(from: string = '127.0.0.1'): TestClient {
    const client = new TestClient(this.port, '127.0.0.1', from)
    closers.push(() => client.socket.destroy())
    return client
  }

  /** A client whose connection has been accepted. */
  async accepted(from?: string): Promise<TestClient> {
    const before = this.count(StreamCell.connectionsAccepted)
    const client = this.connect(from)
    await until(() => expect(this.count(StreamCell.connectionsAccepted)).toBe(before + 1))
    return client
  }

  /** A client who was answered and asks no more. */
  async acceptedAndAnswered(): Promise<TestClient> {
    const client = await this.accepted()
    client.send(query(0, 'first.'))
    await until(() => expect(this.worker.queries).toHaveLength(1))
    this.worker.answer(this.worker.queries.splice(0))
    await until(() => expect(client.replies).toHaveLength(1))
    return client
  }

  count(cell: StreamCell): number {
    return this.counters.get(cell)
  }

  /** Lets time pass and the deadlines be looked at. What that closes is closed afterwards, and counted. */
  async pass(ms: number): Promise<void> {
    this.nowMs += ms
    this.clients.sweep()
    // A socket tells of its end in a later turn.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
  }
}

const NAMES = ['a.example.', 'b.example.', 'c.example.', 'd.example.']
const FOUR: Uint8Array[] = NAMES.map((name, i) => query(i + 1, name))

describe('pipelining', () => {
  it('passes queries of one segment on as one read and writes their answers at once', async () => {
    const bench = await Bench.start()
    bench.worker.echoes = true
    const client = bench.connect()
    client.send(...FOUR)
    await until(() => expect(client.replies.map(idOf)).toEqual([1, 2, 3, 4]))
    expect(bench.worker.reads).toEqual([{ connection: 1, count: 4 }])
    expect(bench.count(StreamCell.writes)).toBe(1)
    expect(bench.count(StreamCell.queries)).toBe(4)
  })

  it('sends answers in the order they come, not that of the queries', async () => {
    const bench = await Bench.start()
    const client = bench.connect()
    client.send(...FOUR)
    await until(() => expect(bench.worker.queries).toHaveLength(4))
    for (const i of [2, 0, 3, 1]) bench.worker.answer([bench.worker.queries[i]!])
    await until(() => expect(client.replies.map(idOf)).toEqual([3, 1, 4, 2]))
  })

  it('writes answers that arrive together in one write a connection', async () => {
    const bench = await Bench.start()
    const [one, two] = [await bench.accepted(), await bench.accepted()]
    one.send(...FOUR)
    two.send(...FOUR)
    await until(() => expect(bench.worker.queries).toHaveLength(8))
    for (const received of bench.worker.queries) bench.worker.answer([received])
    await until(() => expect([one.replies.length, two.replies.length]).toEqual([4, 4]))
    expect(bench.count(StreamCell.writes)).toBe(2)
  })

  it('reads queries that arrive byte by byte', async () => {
    const bench = await Bench.start()
    bench.worker.echoes = true
    const client = bench.connect()
    const stream = joined(...FOUR.map(framed))
    for (const byte of stream) {
      await new Promise((resolve) => client.socket.write(Uint8Array.of(byte), resolve))
    }
    await until(() => expect(client.replies.map(idOf)).toEqual([1, 2, 3, 4]))
  })

  it('tells the data worker who asks', async () => {
    const bench = await Bench.start()
    bench.connect().send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    expect([...bench.worker.queries[0]!.address]).toEqual([127, 0, 0, 1])
    expect(bench.worker.queries[0]!.message).toEqual(FOUR[0])
  })

  it('spreads connections over the data workers in turn', async () => {
    const bench = await Bench.start({}, 3)
    for (let i = 0; i < 6; i++) (await bench.accepted()).send(FOUR[0]!)
    await until(() => expect(bench.workers.map((worker) => worker.queries.length)).toEqual([2, 2, 2]))
  })
})

describe('limits', () => {
  it('holds back queries over the limit in flight until others are answered', async () => {
    const bench = await Bench.start({ maxInFlight: 3 })
    const client = bench.connect()
    const many = Array.from({ length: 10 }, (_, i) => query(i, 'x.example.'))
    client.send(...many)
    await until(() => expect(bench.worker.queries).toHaveLength(3))
    client.send(query(10, 'x.example.'))
    for (let answered = 0; answered < 11; ) {
      await until(() => expect(bench.worker.queries.length).toBeGreaterThan(answered))
      expect(bench.worker.queries.length - answered).toBeLessThanOrEqual(3)
      bench.worker.answer([bench.worker.queries[answered++]!])
    }
    await until(() => expect(client.replies.map(idOf)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  })

  it('has no more queries in flight than may be, however they come, and passes on more once half of them are answered', async () => {
    const bench = await Bench.start({ maxInFlight: 4 })
    const client = await bench.accepted()
    const queries = Array.from({ length: 12 }, (_, n) => query(n, 'a.'))
    const passedOn = (count: number): Promise<void> => until(() => expect(bench.worker.queries).toHaveLength(count))
    const answer = async (count: number): Promise<void> => {
      const before = client.replies.length
      bench.worker.answer(bench.worker.queries.slice(before, before + count))
      await until(() => expect(client.replies).toHaveLength(before + count))
      await bench.pass(0)
    }
    client.send(...queries.slice(0, 3))
    await passedOn(3)
    client.send(...queries.slice(3))
    await passedOn(4)
    await answer(1)
    expect(bench.worker.queries).toHaveLength(4)
    await answer(1)
    await passedOn(6)
    await answer(4)
    await passedOn(10)
    await answer(3)
    await passedOn(12)
    await answer(3)
    expect(client.replies.map(idOf)).toEqual(queries.map(idOf))
  })

  it('is not read from while as many queries are in flight as may be', async () => {
    const bench = await Bench.start({ maxInFlight: 2 })
    const [[accepted], client] = await Promise.all([once(bench.server, 'connection'), bench.accepted()])
    const isPaused = (): boolean => (accepted instanceof Socket ? accepted.isPaused() : false)
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    expect(isPaused()).toBe(false)
    client.send(FOUR[1]!)
    await until(() => expect(bench.worker.queries).toHaveLength(2))
    expect(isPaused()).toBe(true)
    bench.worker.answer(bench.worker.queries.slice(0, 1))
    await until(() => expect(client.replies).toHaveLength(1))
    expect(isPaused()).toBe(false)
  })

  it('counts queries that get no reply as settled', async () => {
    const bench = await Bench.start({ maxInFlight: 2 })
    const client = bench.connect()
    client.send(...FOUR)
    await until(() => expect(bench.worker.queries).toHaveLength(2))
    bench.worker.reply({ connection: 1, messages: [], settled: 2 })
    await until(() => expect(bench.worker.queries).toHaveLength(4))
    expect(client.replies).toEqual([])
    expect(bench.count(StreamCell.writes)).toBe(0)
  })

  it('refuses connections over the limit of one client whose others are all in use', async () => {
    const bench = await Bench.start({ maxConnectionsPerClient: 2 })
    const [first, second] = [await bench.accepted(), await bench.accepted()]
    for (const client of [first, second]) client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(2))
    const third = bench.connect()
    await until(() => expect(third.closed).toBe(true))
    expect(bench.count(StreamCell.connectionsRefusedClient)).toBe(1)
    await bench.accepted('127.0.0.2')
    second.socket.resetAndDestroy()
    await until(() => expect(bench.count(StreamCell.connectionsOpen)).toBe(2))
    await bench.accepted()
    expect([first.closed, bench.count(StreamCell.connectionsEvicted)]).toEqual([false, 0])
  })

  it("closes a client's own oldest idle connection where it has all that it may have", async () => {
    const bench = await Bench.start({ maxConnectionsPerClient: 3 })
    bench.worker.echoes = true
    const other = await bench.accepted('127.0.0.2')
    const own: TestClient[] = []
    for (let n = 0; n < 3; n++) {
      bench.nowMs += 10
      own.push(await bench.accepted())
    }
    expect(bench.count(StreamCell.connectionsEvicted)).toBe(0)
    bench.nowMs += 10
    own[0]!.send(FOUR[0]!)
    await until(() => expect(own[0]!.replies).toHaveLength(1))
    await bench.accepted()
    await until(() => expect(own[1]!.closed).toBe(true))
    expect([own[0]!.ended, own[2]!.ended, other.ended]).toEqual([false, false, false])
    expect(bench.count(StreamCell.connectionsEvicted)).toBe(1)
    expect(bench.count(StreamCell.connectionsOpen)).toBe(4)
  })

  it('counts what it closed for a client no more: its places are free once it has left', async () => {
    const bench = await Bench.start({ maxConnectionsPerClient: 2 })
    const all: TestClient[] = []
    for (let n = 0; n < 6; n++) all.push(await bench.accepted())
    expect(bench.count(StreamCell.connectionsEvicted)).toBe(4)
    for (const client of all) client.socket.destroy()
    await until(() => expect(bench.clients.size).toBe(0))
    for (let n = 0; n < 2; n++) (await bench.accepted()).send(FOUR[n]!)
    await until(() => expect(bench.worker.queries).toHaveLength(2))
    const third = bench.connect()
    await until(() => expect(third.closed).toBe(true))
    expect(bench.count(StreamCell.connectionsRefusedClient)).toBe(1)
  })

  it('closes nobody else’s connection for a client who has all that it may have', async () => {
    const bench = await Bench.start({ maxConnectionsPerClient: 2 })
    const others = [await bench.accepted('127.0.0.2'), await bench.accepted('127.0.0.2')]
    for (let n = 0; n < 2; n++) (await bench.accepted()).send(FOUR[n]!)
    await until(() => expect(bench.worker.queries).toHaveLength(2))
    const refused = bench.connect()
    await until(() => expect(refused.closed).toBe(true))
    expect([others.some(({ ended }) => ended), bench.count(StreamCell.connectionsEvicted)]).toEqual([false, 0])
  })

  it('takes the place of whoever has most, though another one has come later', async () => {
    const bench = await Bench.start({ maxConnections: 3 })
    const own = [await bench.accepted(), await bench.accepted()]
    bench.nowMs -= 10
    const other = await bench.accepted('127.0.0.2')
    bench.nowMs += 10
    await bench.accepted('127.0.0.3')
    await until(() => expect(own[0]!.closed).toBe(true))
    expect([own[1]!.ended, other.ended]).toEqual([false, false])
  })

  it('does not let a client with many idle connections take the places of others', async () => {
    const bench = await Bench.start({ maxConnections: 4 })
    const other = await bench.accepted('127.0.0.2')
    bench.nowMs += 10
    const own = [await bench.accepted(), await bench.accepted(), await bench.accepted()]
    await bench.accepted('127.0.0.3')
    await until(() => expect(own[0]!.closed).toBe(true))
    for (let n = 0; n < 4; n++) await bench.accepted()
    expect(other.ended).toBe(false)
    expect(bench.count(StreamCell.connectionsOpen)).toBe(4)
  })

  it('closes the connection idle longest when all places are taken', async () => {
    const bench = await Bench.start({ maxConnections: 2 })
    bench.worker.echoes = true
    const [first, second] = [await bench.accepted(), await bench.accepted()]
    bench.nowMs += 10
    first.send(FOUR[0]!)
    await until(() => expect(first.replies).toHaveLength(1))
    await bench.accepted()
    await until(() => expect(second.closed).toBe(true))
    expect(first.ended).toBe(false)
    expect(bench.count(StreamCell.connectionsEvicted)).toBe(1)
    expect(bench.count(StreamCell.connectionsOpen)).toBe(2)
  })

  it('refuses a connection when all places are taken and none is idle', async () => {
    const bench = await Bench.start({ maxConnections: 1 })
    const busy = await bench.accepted()
    busy.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    const refused = bench.connect()
    await until(() => expect(refused.closed).toBe(true))
    expect(bench.count(StreamCell.connectionsRefusedTotal)).toBe(1)
    expect(busy.closed).toBe(false)
  })
})

describe('idle connections', () => {
  it('are closed after the idle timeout', async () => {
    const bench = await Bench.start({ idleTimeoutMs: 10_000 })
    bench.worker.echoes = true
    const client = await bench.accepted()
    await bench.pass(9_000)
    client.send(FOUR[0]!)
    await until(() => expect(client.replies).toHaveLength(1))
    await bench.pass(9_999)
    expect(bench.clients.size).toBe(1)
    await bench.pass(1)
    await until(() => expect(client.ended).toBe(true))
    expect(bench.count(StreamCell.connectionsIdleClosed)).toBe(1)
    expect(client.error).toBeNull()
  })

  it('are looked after by themselves, as long as there are any', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const bench = await Bench.start({ idleTimeoutMs: 10_000 })
      expect([vi.getTimerCount(), bench.clients.sweep()]).toEqual([0, false])
      const client = await bench.accepted()
      expect([vi.getTimerCount(), bench.clients.sweep()]).toEqual([1, true])
      bench.nowMs += 10_000
      vi.advanceTimersByTime(250)
      // `until` waits by timers of its own.
      while (!client.closed || bench.clients.size > 0) await new Promise(setImmediate)
      vi.advanceTimersByTime(250)
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it('are closed at once, whether or not the client closes its side', async () => {
    const bench = await Bench.start({ idleTimeoutMs: 10_000 })
    const client = await bench.accepted()
    client.endsWithServer = false
    await bench.pass(10_000)
    await until(() => expect([client.ended, bench.clients.size]).toEqual([true, 0]))
  })

  it('are idle from their last reply on, not from the query', async () => {
    const bench = await Bench.start({ idleTimeoutMs: 10_000 })
    const client = await bench.accepted()
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    await bench.pass(9_000)
    bench.worker.answer(bench.worker.queries)
    await until(() => expect(client.replies).toHaveLength(1))
    await bench.pass(9_999)
    expect(bench.count(StreamCell.connectionsIdleClosed)).toBe(0)
    await bench.pass(1)
    await until(() => expect(client.ended).toBe(true))
  })

  it('are idle from their last query on where that got no reply', async () => {
    const bench = await Bench.start({ idleTimeoutMs: 10_000 })
    const client = await bench.accepted()
    await bench.pass(9_000)
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    bench.worker.reply({ connection: 1, messages: [], settled: 1 })
    await until(() => expect(bench.worker.messages).toBeGreaterThan(0))
    await bench.pass(9_999)
    expect(bench.count(StreamCell.connectionsIdleClosed)).toBe(0)
  })

  it('are not idle while a query is under way', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    await bench.pass(60_000)
    bench.worker.answer(bench.worker.queries)
    await until(() => expect(client.replies).toHaveLength(1))
    expect(client.ended).toBe(false)
  })

  it('are closed although bytes trickle in that complete no query', async () => {
    const bench = await Bench.start({ idleTimeoutMs: 10_000 })
    const [[accepted], client] = await Promise.all([once(bench.server, 'connection'), bench.accepted()])
    for (let sent = 1; sent <= 5; sent++) {
      client.socket.write(Uint8Array.of(sent === 2 ? 40 : 0))
      await until(() => expect(accepted).toMatchObject({ bytesRead: sent }))
      await bench.pass(1_999)
    }
    expect(client.ended).toBe(false)
    await bench.pass(5)
    await until(() => expect(client.closed).toBe(true))
    expect(bench.count(StreamCell.connectionsIdleClosed)).toBe(1)
  })

  it('are closed sooner when most places are taken', async () => {
    const bench = await Bench.start({ maxConnections: 4, idleTimeoutMs: 10_000, crowdedIdleTimeoutMs: 1_000 })
    for (let i = 0; i < 3; i++) await bench.accepted()
    await bench.pass(1_000)
    expect(bench.count(StreamCell.connectionsOpen)).toBe(3)
    await bench.accepted()
    await bench.pass(0)
    await until(() => expect(bench.count(StreamCell.connectionsOpen)).toBe(1))
  })
})

describe('clients that misbehave', () => {
  it('are cut off when a frame is too short for a header', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    client.socket.write(Uint8Array.of(0, 3, 1, 2, 3))
    await until(() => expect(client.closed).toBe(true))
    expect(bench.count(StreamCell.framesMalformed)).toBe(1)
    expect(bench.worker.queries).toEqual([])
  })

  it('are cut off when more answers wait for them than may', async () => {
    const bench = await Bench.start({ maxQueuedBytes: 1 << 16 })
    const client = await bench.accepted()
    client.socket.pause()
    const id = 1
    client.send(query(id, 'x.example.'))
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    // The kernel takes some megabytes before anything waits here.
    const write = { connection: 1, messages: Array.from({ length: 16 }, () => new Uint8Array(65_000)), settled: 0 }
    for (let i = 0; i < 40 && bench.count(StreamCell.connectionsSlowClosed) === 0; i++) {
      bench.worker.reply(write)
      await new Promise(setImmediate)
    }
    await until(() => expect(bench.count(StreamCell.connectionsSlowClosed)).toBe(1))
    expect(bench.clients.size).toBe(0)
  })

  it('are cut off when answers wait for them too long', async () => {
    const bench = await Bench.start({ maxQueuedBytes: Number.MAX_SAFE_INTEGER, writeTimeoutMs: 10_000 })
    const client = await bench.accepted()
    client.socket.pause()
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    const write = { connection: 1, messages: Array.from({ length: 16 }, () => new Uint8Array(65_000)), settled: 0 }
    for (let i = 0; i < 16; i++) bench.worker.reply(write)
    await until(() => expect(bench.count(StreamCell.writes)).toBeGreaterThan(0))
    await new Promise(setImmediate)
    await bench.pass(0)
    await bench.pass(9_999)
    expect(bench.count(StreamCell.connectionsSlowClosed)).toBe(0)
    await bench.pass(1)
    await until(() => expect(bench.count(StreamCell.connectionsSlowClosed)).toBe(1))
  })

  it('do no harm by resetting the connection with queries under way', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    client.send(...FOUR)
    await until(() => expect(bench.worker.queries).toHaveLength(4))
    client.socket.resetAndDestroy()
    await until(() => expect(bench.count(StreamCell.connectionsOpen)).toBe(0))
    bench.worker.answer(bench.worker.queries)
    await until(() => expect(bench.count(StreamCell.repliesUnclaimed)).toBe(4))
    expect(bench.count(StreamCell.connectionsFailed)).toBe(1)
  })
})

/** Replies until something waits for the client here, and some more: the kernel takes some megabytes before. */
async function pile(bench: Bench, turns: number): Promise<void> {
  const write = { connection: 1, messages: Array.from({ length: 16 }, () => new Uint8Array(65_000)), settled: 0 }
  for (let n = 0; n < turns; n++) {
    bench.worker.reply(write)
    await new Promise(setImmediate)
  }
}

describe('a client that reads slowly', () => {
  it('is not read from while much waits for it, and read on when it has gone', async () => {
    const bench = await Bench.start({ maxQueuedBytes: Number.MAX_SAFE_INTEGER, writeTimeoutMs: 60_000 })
    const client = await bench.accepted()
    client.socket.pause()
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    await pile(bench, 16)
    bench.worker.answer(bench.worker.queries)
    await until(() => expect(bench.count(StreamCell.writes)).toBeGreaterThan(0))
    client.send(FOUR[1]!)
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
    expect(bench.worker.queries).toHaveLength(1)
    client.socket.resume()
    await until(() => expect(bench.worker.queries).toHaveLength(2))
  })

  it('is not cut off as long as something leaves within each while', async () => {
    const bench = await Bench.start({ maxQueuedBytes: Number.MAX_SAFE_INTEGER, writeTimeoutMs: 10_000 })
    const client = await bench.accepted()
    client.socket.pause()
    client.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    await pile(bench, 24)
    await bench.pass(0)
    await bench.pass(9_000)
    // It reads a good deal, and stops again.
    const before = client.socket.bytesRead
    client.socket.resume()
    await until(() => expect(client.socket.bytesRead).toBeGreaterThan(before + (8 << 20)))
    client.socket.pause()
    await bench.pass(999)
    await bench.pass(9_000)
    expect(bench.count(StreamCell.connectionsSlowClosed)).toBe(0)
    client.socket.resume()
    await until(() => expect(client.replies).toHaveLength(24 * 16))
  })
})

describe('half-closed connections', () => {
  it('still get the answers to what was asked before', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    client.send(...FOUR)
    client.socket.end()
    await until(() => expect(bench.worker.queries).toHaveLength(4))
    bench.worker.answer(bench.worker.queries.slice(0, 2))
    await until(() => expect(client.replies).toHaveLength(2))
    expect(client.ended).toBe(false)
    bench.worker.answer(bench.worker.queries.slice(2))
    await until(() => expect(client.closed).toBe(true))
    expect(client.replies.map(idOf)).toEqual([1, 2, 3, 4])
    expect(client.error).toBeNull()
  })

  it('still get the answers to what was held back', async () => {
    const bench = await Bench.start({ maxInFlight: 1 })
    bench.worker.echoes = true
    const client = await bench.accepted()
    client.send(...FOUR)
    client.socket.end()
    await until(() => expect(client.closed).toBe(true))
    expect(client.replies.map(idOf)).toEqual([1, 2, 3, 4])
  })

  it('are closed when nothing is under way', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    client.socket.end()
    await until(() => expect(bench.clients.size).toBe(0))
  })
})

describe('a data worker that is gone', () => {
  it('costs the connections whose queries it had, and no others', async () => {
    const bench = await Bench.start({}, 2)
    bench.workers[0]!.echoes = true
    const [idle, waiting, other] = [await bench.accepted(), await bench.accepted(), await bench.accepted()]
    idle.send(FOUR[0]!)
    await until(() => expect(idle.replies).toHaveLength(1))
    waiting.send(FOUR[0]!)
    await until(() => expect(bench.workers[1]!.queries).toHaveLength(1))
    bench.workers[1]!.die()
    await until(() => expect(waiting.closed).toBe(true))
    expect(bench.count(StreamCell.connectionsLost)).toBe(1)
    expect([idle.closed, other.closed]).toEqual([false, false])
  })

  it('costs nothing of what others have under way', async () => {
    const bench = await Bench.start({}, 2)
    const [first, second] = [await bench.accepted(), await bench.accepted()]
    for (const client of [first, second]) client.send(FOUR[0]!)
    await until(() => expect(bench.workers.map(({ queries }) => queries.length)).toEqual([1, 1]))
    bench.workers[1]!.die()
    await until(() => expect(second.closed).toBe(true))
    bench.worker.answer(bench.worker.queries)
    await until(() => expect(first.replies).toHaveLength(1))
    expect(bench.count(StreamCell.connectionsLost)).toBe(1)
  })

  it('gets no new connections until it is replaced', async () => {
    const bench = await Bench.start({}, 2)
    bench.workers[1]!.die()
    await until(() => expect(bench.links[1]!.isUp).toBe(false))
    for (let i = 0; i < 3; i++) (await bench.accepted()).send(FOUR[0]!)
    await until(() => expect(bench.workers[0]!.queries).toHaveLength(3))
    const successor = new ScriptedDataWorker()
    bench.links[1]!.replace({ port: successor.port, wakeFd: -1 })
    for (let i = 0; i < 2; i++) (await bench.accepted()).send(FOUR[0]!)
    await until(() => expect(successor.queries).toHaveLength(1))
  })

  it('leaves its idle connections to its successor', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    const successor = new ScriptedDataWorker()
    successor.echoes = true
    bench.links[0]!.replace({ port: successor.port, wakeFd: -1 })
    client.send(FOUR[0]!)
    await until(() => expect(client.replies).toHaveLength(1))
  })

  it('without a successor makes clients ask elsewhere at once', async () => {
    const bench = await Bench.start()
    const client = await bench.accepted()
    bench.worker.die()
    await until(() => expect(bench.links[0]!.isUp).toBe(false))
    client.send(FOUR[0]!)
    await until(() => expect(client.closed).toBe(true))
    const refused = bench.connect()
    await until(() => expect(refused.closed).toBe(true))
  })
})

describe('draining', () => {
  it('closes idle connections at once and others after their answers', async () => {
    const bench = await Bench.start()
    const [idle, busy] = [await bench.acceptedAndAnswered(), await bench.accepted()]
    busy.send(...FOUR)
    await until(() => expect(bench.worker.queries).toHaveLength(4))
    let drained = false
    const draining = bench.clients.drain().then(() => (drained = true))
    await until(() => expect(idle.closed).toBe(true))
    expect(drained).toBe(false)
    bench.worker.answer(bench.worker.queries)
    await draining
    await until(() => expect(busy.replies).toHaveLength(4))
    expect(busy.error).toBeNull()
  })

  it('answers what had been sent and not yet been read, more than may be in flight included', async () => {
    const bench = await Bench.start({ maxInFlight: 2 })
    bench.worker.echoes = true
    const client = await bench.accepted()
    client.send(...FOUR)
    await bench.clients.drain()
    await until(() => expect(client.closed).toBe(true))
    expect(client.replies.map(idOf)).toEqual([1, 2, 3, 4])
    expect(client.error).toBeNull()
  })

  it('resets nobody who asks once more before he sees the end, and waits a bounded time for his', async () => {
    const bench = await Bench.start()
    const client = await bench.acceptedAndAnswered()
    client.endsWithServer = false
    bench.worker.echoes = true
    const drained = bench.clients.drain()
    await until(() => expect(client.ended).toBe(true))
    client.send(...FOUR)
    await until(() => expect(client.socket.bytesWritten).toBeGreaterThan(0))
    await bench.pass(499)
    expect(bench.clients.size).toBe(1)
    await bench.pass(1)
    await drained
    expect(client.error).toBeNull()
    expect(client.replies.map(idOf)).toEqual([0])
  })

  it('answers the first query of a connection that was opened a moment ago', async () => {
    const bench = await Bench.start()
    bench.worker.echoes = true
    const [client, silent] = [await bench.accepted(), await bench.accepted()]
    const drained = bench.clients.drain()
    await bench.pass(499)
    expect([client.ended, silent.ended]).toEqual([false, false])
    client.send(FOUR[0]!)
    await until(() => expect(client.closed).toBe(true))
    expect([client.replies.map(idOf), client.error]).toEqual([[1], null])
    await bench.pass(1)
    await drained
    await until(() => expect(silent.closed).toBe(true))
  })

  it('takes no more from a client that stays above the limit', async () => {
    const bench = await Bench.start({ maxInFlight: 1 })
    const client = await bench.accepted()
    client.send(FOUR[0]!, FOUR[1]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    const drained = bench.clients.drain()
    await bench.pass(999)
    expect(client.ended).toBe(false)
    await bench.pass(1)
    bench.worker.echoes = true
    bench.worker.answer(bench.worker.queries)
    await drained
    await until(() => expect(client.replies.map(idOf)).toEqual([1, 2]))
  })

  it('accepts nobody meanwhile', async () => {
    const bench = await Bench.start()
    const busy = await bench.accepted()
    busy.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    const drained = bench.clients.drain()
    const late = bench.connect()
    await until(() => expect(late.closed).toBe(true))
    bench.worker.answer(bench.worker.queries)
    await drained
    expect([busy.replies.length, bench.count(StreamCell.connectionsAccepted)]).toEqual([1, 1])
  })

  it('is cut short where nobody waits any longer: all connections are closed, and none is accepted', async () => {
    const bench = await Bench.start()
    const clients = [await bench.accepted(), await bench.accepted()]
    clients[0]!.send(FOUR[0]!)
    await until(() => expect(bench.worker.queries).toHaveLength(1))
    expect(bench.clients.cutAll()).toBe(2)
    await until(() => expect(clients.map(({ closed }) => closed)).toEqual([true, true]))
    const late = bench.connect()
    await until(() => expect(late.closed).toBe(true))
    expect([bench.clients.size, bench.count(StreamCell.connectionsAccepted)]).toEqual([0, 2])
  })

  it('is over at once when nobody is connected', async () => {
    const bench = await Bench.start()
    await bench.clients.drain()
  })
})
