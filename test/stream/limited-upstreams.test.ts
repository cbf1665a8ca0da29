/** Servers that do not take streams as RFC 7766 wants them to: everything is answered all the same, and soon they are asked in their way. */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { FrameReader } from '../../src/dns/frame.ts'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { DataWorkerLink } from '../../src/stream/data-worker-link.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import { UpstreamStreams } from '../../src/stream/upstreams/upstream-streams.ts'
import { framed, joined, messagesOf, query, replyTo } from './dns-messages.ts'
import { listening } from './listening.ts'
import { until } from '../until.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'

const CA = certificate('ca.pem')
const IDENTITY = { cert: certificate('server.pem'), key: certificate('server.key.pem'), allowHalfOpen: true }
const TIMEOUT_MS = 4500
const REPEAT_MS = 1000

function certificate(file: string): string {
  return readFileSync(new URL(`./certificates/${file}`, import.meta.url), 'utf8')
}

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0).toReversed()) close()
})

/** What a server does with the queries that one read of a connection brought; `n` counts its answers on the connection. */
type Serve = (connection: Connection, messages: Uint8Array[]) => void

interface Connection {
  socket: Socket
  answered: number
  waiting: Uint8Array[]
  /** Connections before it that are open. */
  before: () => number
}

/** Answers all of them, in one write. */
function answer(connection: Connection, messages: readonly Uint8Array[]): void {
  connection.answered += messages.length
  connection.socket.write(joined(...messages.map((message) => framed(replyTo(message)))))
}

/** By TCP socket or what is around it. */
const resets = new WeakMap<Socket, () => void>()

function reset(socket: Socket): void {
  resets.get(socket)!()
}

/** Answers so many on a connection, then does as `end` says and hears no more. */
function answersOnly(count: number, end: (socket: Socket) => void): Serve {
  return (connection, messages) => {
    const room = count - connection.answered
    if (room <= 0) return
    answer(connection, messages.slice(0, room))
    if (connection.answered === count) connection.socket.write('', () => end(connection.socket))
  }
}

/** One query after the other: the next when the answer to the one before has left. */
const inOrder: Serve = (connection, messages) => {
  const isBusy = connection.waiting.length > 0
  connection.waiting.push(...messages)
  const next = (): void => {
    const [first] = connection.waiting
    if (first === undefined || connection.socket.destroyed) return
    answer(connection, [first])
    setImmediate(() => {
      connection.waiting.shift()
      next()
    })
  }
  if (!isBusy) next()
}

interface Kind {
  name: string
  serve: Serve
  /** Connections are taken one at a time: the next when the one before is closed. */
  isOneAtATime?: true
  /** Of a burst some are answered only after so long: until then nothing shows that they will not be. */
  silentMs?: number
  /** Connections that a second burst of twenty opens at most. */
  opens: number
}

const KINDS: Kind[] = [
  { name: 'pipelines', serve: answer, opens: 0 },
  { name: 'answers in order only', serve: inOrder, opens: 4 },
  { name: 'closes after each answer', serve: answersOnly(1, (socket) => socket.end()), opens: 20 },
  { name: 'closes after three answers', serve: answersOnly(3, (socket) => socket.end()), opens: 9 },
  { name: 'resets after each answer', serve: answersOnly(1, reset), opens: 20 },
  {
    name: 'closes some time after each answer',
    serve: answersOnly(1, (socket) => setImmediate(() => setImmediate(() => socket.end()))),
    opens: 20,
  },
  {
    name: 'ends only its side after each answer',
    serve: answersOnly(1, (socket) => socket.end(() => socket.removeAllListeners('end'))),
    opens: 20,
  },
  {
    name: 'closes as soon as nothing is under way',
    serve: (connection, messages) => {
      answer(connection, messages)
      connection.socket.end()
    },
    opens: 20,
  },
  {
    name: 'resets where more than one query comes at a time',
    serve: (connection, messages) => {
      if (messages.length > 1) reset(connection.socket)
      else answer(connection, messages)
    },
    opens: 20,
  },
  {
    name: 'reads one query of several that come together',
    serve: (connection, messages) => answer(connection, messages.slice(0, 1)),
    silentMs: REPEAT_MS,
    opens: 20,
  },
  { name: 'serves one connection at a time', serve: answer, isOneAtATime: true, silentMs: 300, opens: 0 },
  { name: 'serves one connection at a time, in order', serve: inOrder, isOneAtATime: true, silentMs: 300, opens: 0 },
  {
    name: 'serves one connection at a time and closes it after each answer',
    serve: answersOnly(1, (socket) => socket.end()),
    isOneAtATime: true,
    opens: 20,
  },
  {
    name: 'has room for two connections and resets further ones',
    serve: (connection, messages) => {
      if (connection.before() >= 2) reset(connection.socket)
      else answer(connection, messages)
    },
    opens: 2,
  },
]

class Bench {
  nowMs = 1000
  opened = 0
  asked = 0
  readonly counters: StreamCounters = new StreamCounters()
  readonly worker: ScriptedDataWorker = new ScriptedDataWorker()
  readonly #streams: UpstreamStreams
  readonly #transport: 'tcp' | 'tls' | 'https'

  constructor(transport: 'tcp' | 'tls' | 'https', port: number) {
    this.#transport = transport
    this.#streams = new UpstreamStreams({
      settings: { ...DEFAULT_STREAM_SETTINGS.upstream, rootCertificates: CA },
      counters: this.counters,
      now: () => this.nowMs,
      onTlsFailure: () => {},
    })
    this.#streams.use([{ label: 'x', transport, address: '127.0.0.1', port, serverName: 'dns.test' }])
    const link = new DataWorkerLink(
      { port: this.worker.port, wakeFd: -1 },
      {
        replies: () => {},
        repliesEnd: () => {},
        askUpstream: (message, from) => this.#streams.ask(message, from),
        lost: () => {},
      },
    )
    closers.push(() => {
      this.#streams.close()
      link.close()
    })
  }

  /** Asks so many at once. */
  burst(count: number): void {
    for (let n = 0; n < count; n++) {
      const number = ++this.asked
      this.worker.ask({
        token: number,
        server: 'x',
        transport: this.#transport,
        query: query(number, `n${number}.test.`),
        timeoutMs: TIMEOUT_MS,
        attemptMs: REPEAT_MS,
      })
    }
  }

  /** All that was asked is answered, each with its own reply. */
  async answered(): Promise<void> {
    const { upstreamReplies } = this.worker
    await until(() => expect(upstreamReplies).toHaveLength(this.asked))
    for (const { failure, reply, token } of upstreamReplies) {
      expect([token, failure]).toEqual([token, null])
      expect(reply).toEqual(replyTo(query(token, `n${token}.test.`)))
    }
  }

  /** Nothing more comes for a while: the time that is to pass then shows what would never come. */
  async quiet(): Promise<void> {
    for (let seen = -1; seen !== this.worker.upstreamReplies.length; ) {
      seen = this.worker.upstreamReplies.length
      for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate)
    }
  }

  pass(ms: number): void {
    this.nowMs += ms
    this.#streams.sweep()
  }
}

/** Starts a server of a kind, and the stream worker's side for it. */
async function benchFor(kind: Kind, transport: 'tcp' | 'tls'): Promise<Bench> {
  const sockets: Socket[] = []
  const open = (): Socket[] => sockets.filter((socket) => !socket.destroyed)
  let opened = 0
  const serve = (socket: Socket): void => {
    opened++
    const connection: Connection = { socket, answered: 0, waiting: [], before: () => served.indexOf(socket) }
    const served = [...live.add(socket)]
    const reader = new FrameReader()
    resets.set(socket, () => sockets.find(({ remotePort }) => remotePort === socket.remotePort)!.resetAndDestroy())
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      const frames = reader.push(chunk)
      if (frames !== null) kind.serve(connection, messagesOf(frames))
    })
    socket.on('end', () => socket.end())
    socket.on('close', () => live.delete(socket))
  }
  const live = new Set<Socket>()
  const server = transport === 'tls' ? createTlsServer(IDENTITY, serve) : createServer({ allowHalfOpen: true }, serve)
  server.on('tlsClientError', () => {})
  // In front of it, as the kernel is: connections that nobody reads from yet.
  const front = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      const next = open()[0]
      if (kind.isOneAtATime && next !== undefined && !admitted.has(next)) admit(next)
    })
    if (!kind.isOneAtATime || open().length === 1) admit(socket)
  })
  const admitted = new Set<Socket>()
  const admit = (socket: Socket): void => {
    admitted.add(socket)
    server.emit('connection', socket)
  }
  closers.push(() => {
    front.close()
    for (const socket of sockets) socket.destroy()
  })
  const bench = new Bench(transport, await listening(front))
  Object.defineProperty(bench, 'opened', { get: () => opened })
  return bench
}

describe.each(['tcp', 'tls'] as const)('over %s, a server that', (transport) => {
  it.each(KINDS)('$name has all of a burst answered, and the next one without delay', async (kind) => {
    const bench = await benchFor(kind, transport)
    bench.burst(40)
    if (kind.silentMs !== undefined) {
      await until(() => expect(bench.worker.upstreamReplies.length).toBeGreaterThan(0))
      await bench.quiet()
      expect(bench.worker.upstreamReplies.length).toBeLessThan(40)
      bench.pass(kind.silentMs)
    }
    await bench.answered()
    const before = bench.opened
    // The clock stands still: nothing waits for a time-out.
    bench.burst(20)
    await bench.answered()
    expect(bench.opened - before).toBeLessThanOrEqual(kind.opens)
    // What came by one connection and was asked again by another one is asked a bounded number of times.
    expect(bench.counters.get(StreamCell.upstreamQueriesRetried)).toBeLessThanOrEqual(60 * 3)
  })

  it('hears one query of a connection and no more has those answered that came by a used one', async () => {
    const serve = answersOnly(1, () => {})
    const bench = await benchFor({ name: '', serve, opens: 20 }, transport)
    bench.burst(1)
    await bench.answered()
    bench.burst(20)
    await bench.quiet()
    expect(bench.worker.upstreamReplies.length).toBeLessThan(21)
    bench.pass(REPEAT_MS)
    await bench.answered()
    bench.burst(20)
    await bench.answered()
  })
})
