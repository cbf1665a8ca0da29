import { readFileSync } from 'node:fs'
import type { Http2SecureServer, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import { createSecureServer } from 'node:http2'
import type { Socket } from 'node:net'
import { createServer as createPlainServer } from 'node:net'
import type { Server, TLSSocket } from 'node:tls'
import { createServer } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { DataWorkerLink } from '../../src/stream/data-worker-link.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import { UpstreamStreams } from '../../src/stream/upstreams/upstream-streams.ts'
import { a, message as encoded } from '../dns/messages.ts'
import { idOf, query, replyTo } from './dns-messages.ts'
import { listening } from './listening.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'
import { ScriptedUpstream } from './scripted-upstream.ts'
import { until } from '../until.ts'

const CA = certificate('ca.pem')
const IDENTITY = { cert: certificate('server.pem'), key: certificate('server.key.pem') }

let nowMs: number
let counters: StreamCounters
let worker: ScriptedDataWorker
let link: DataWorkerLink
let streams: UpstreamStreams
let asked: number
/** Servers whose TLS is said to fail, and why. */
let told: [label: string, code: string][]
/** Of the server that is asked. */
let label: string

beforeEach(() => {
  nowMs = 1000
  asked = 0
  trust(CA)
})

afterEach(() => {
  streams.close()
  link.close()
})

function certificate(file: string): string {
  return readFileSync(new URL(`./certificates/${file}`, import.meta.url), 'utf8')
}

function trust(rootCertificates: string | null): void {
  counters = new StreamCounters()
  const settings = { ...DEFAULT_STREAM_SETTINGS.upstream, rootCertificates }
  told = []
  streams = new UpstreamStreams({
    settings,
    counters,
    now: () => nowMs,
    onTlsFailure: (server, code) => told.push([server.label, code]),
  })
  worker = new ScriptedDataWorker()
  link = new DataWorkerLink(
    { port: worker.port, wakeFd: -1 },
    {
      replies: () => {},
      repliesEnd: () => {},
      askUpstream: (message, from) => streams.ask(message, from),
      lost: () => {},
    },
  )
}

function use(server: UpstreamServer): void {
  label = server.label
  streams.use([server])
}

/** Asks an upstream server and returns how that ended. */
async function ask(
  transport: 'tls' | 'https',
  message: Uint8Array,
  timeoutMs: number = 5000,
  attemptMs: number = 1000,
): Promise<Uint8Array | string> {
  const token = ++asked
  worker.ask({ token, server: label, transport, query: message, timeoutMs, attemptMs })
  const ended = await until(() => {
    const found = worker.upstreamReplies.find((each) => each.token === token)
    expect(found).toBeDefined()
    return found!
  })
  return ended.reply ?? ended.failure ?? 'neither'
}

/** Asks over a new connection. */
async function askAnew(): Promise<Uint8Array | string> {
  nowMs += DEFAULT_STREAM_SETTINGS.upstream.idleTimeoutMs
  streams.sweep()
  return await ask('tls', query(7, 'a.'))
}

/** A query with an OPT. */
function ednsQuery(id: number, name: string): Uint8Array {
  const bare = query(id, name)
  bare[11] = 1
  return Uint8Array.of(...bare, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
}

describe('DoT', () => {
  let server: Server
  let upstream: ScriptedUpstream
  let resumed: boolean[]

  beforeEach(async () => {
    resumed = []
    server = createServer({ ...IDENTITY, ALPNProtocols: ['dot'] })
    server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
    server.on('tlsClientError', () => {})
    upstream = await ScriptedUpstream.start(server, 'secureConnection')
    upstream.onQueries = (queries) => upstream.answer(queries)
  })

  afterEach(() => upstream.stop())

  function at(serverName?: string): UpstreamServer {
    return { ...upstream.server, transport: 'tls', ...(serverName === undefined ? {} : { serverName }) }
  }

  it('asks a server whose certificate carries its name, over one connection', async () => {
    use(at('dns.test'))
    expect(await ask('tls', query(7, 'a.'))).toEqual(replyTo(query(7, 'a.')))
    expect(await ask('tls', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(upstream.sockets).toHaveLength(1)
    expect(counters.get(StreamCell.upstreamQueriesTls)).toBe(2)
  })

  it('asks a server without a name if the certificate carries its address', async () => {
    use(at())
    expect(await ask('tls', query(7, 'a.'))).toEqual(replyTo(query(7, 'a.')))
  })

  it.each([
    ['carries another name', CA, 'other.test', 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['comes from nobody we trust', null, 'dns.test', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ])('sends nothing to a server whose certificate %s, and says why', async (_, roots, name, code) => {
    trust(roots)
    use(at(name))
    expect(await ask('tls', query(7, 'a.'))).toBe('tls')
    expect(upstream.queries).toEqual([])
    expect(counters.get(StreamCell.failuresTls)).toBe(1)
    expect(told).toEqual([[label, code]])
  })

  it('says that TLS fails once until it works again, and at most once a minute', async () => {
    let isBroken = true
    const front = createPlainServer((socket) => {
      if (isBroken) socket.end('no TLS here')
      else server.emit('connection', socket)
    })
    use({ ...at('dns.test'), port: await listening(front) })
    for (let n = 0; n < 8; n++) expect(await askAnew()).toBe('tls')
    expect(told).toHaveLength(1)
    isBroken = false
    expect(await askAnew()).toEqual(replyTo(query(7, 'a.')))
    isBroken = true
    expect(await askAnew()).toBe('tls')
    expect(told).toHaveLength(2)
    const toldAt = nowMs
    isBroken = false
    expect(await askAnew()).toEqual(replyTo(query(7, 'a.')))
    isBroken = true
    expect(await askAnew()).toBe('tls')
    expect(told).toHaveLength(2)
    // A minute after it was told, to the millisecond, it is told again: it has worked since.
    isBroken = false
    nowMs = toldAt + 60_000 - 2 * DEFAULT_STREAM_SETTINGS.upstream.idleTimeoutMs
    expect(await askAnew()).toEqual(replyTo(query(7, 'a.')))
    isBroken = true
    expect(await askAnew()).toBe('tls')
    expect([nowMs - toldAt, told.length]).toEqual([60_000, 3])
    front.close()
  })

  it('fails as `tls` with a server that speaks something else', async () => {
    const plain = await ScriptedUpstream.start()
    use({ ...plain.server, transport: 'tls' })
    const outcome = ask('tls', query(7, 'a.'))
    await until(() => expect(plain.sockets).toHaveLength(1))
    plain.send(0, query(1, 'a.'))
    expect(await outcome).toBe('tls')
    plain.stop()
  })

  it('resumes its session on the next connection', async () => {
    use(at('dns.test'))
    await ask('tls', query(1, 'a.'))
    nowMs += DEFAULT_STREAM_SETTINGS.upstream.idleTimeoutMs
    streams.sweep()
    await until(() => expect(upstream.open).toBe(0))
    await ask('tls', query(2, 'b.'))
    expect(resumed).toEqual([false, true])
  })

  it('resumes no session after a connection that failed', async () => {
    let isBroken = false
    const front = createPlainServer((socket) => {
      if (isBroken) socket.end('no TLS here')
      else server.emit('connection', socket)
    })
    use({ ...at('dns.test'), port: await listening(front) })
    for (let n = 0; n < 2; n++) expect(await askAnew()).toEqual(replyTo(query(7, 'a.')))
    isBroken = true
    expect(await askAnew()).toBe('tls')
    isBroken = false
    expect(await askAnew()).toEqual(replyTo(query(7, 'a.')))
    expect(resumed).toEqual([false, true, false])
    front.close()
  })

  it('is verified anew where the root certificates are others, over a new connection', async () => {
    const dot = at('dns.test')
    use(dot)
    expect(await ask('tls', query(7, 'a.'))).toEqual(replyTo(query(7, 'a.')))
    streams.use([dot], CA)
    expect(await ask('tls', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(upstream.sockets).toHaveLength(1)
    streams.use([dot], null)
    expect(await ask('tls', query(9, 'c.'))).toBe('tls')
    streams.use([dot], CA)
    expect(await ask('tls', query(10, 'd.'))).toEqual(replyTo(query(10, 'd.')))
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(3)
  })

  it('pads queries to blocks of 128 bytes', async () => {
    use(at('dns.test'))
    for (const name of ['a.', 'a-name-that-is-much-longer.example.org.', `${'x'.repeat(60)}.${'y'.repeat(50)}.`]) {
      await ask('tls', ednsQuery(1, name))
    }
    expect(upstream.queries.map(({ message }) => message.length)).toEqual([128, 128, 256])
    const { message } = upstream.queries[0]!
    const question = 12 + 3 + 4
    expect([...message.subarray(question, question + 11)]).toEqual([
      0,
      0,
      41,
      4,
      208,
      0,
      0,
      0,
      0,
      0,
      128 - question - 11,
    ])
    expect([...message.subarray(question + 11, question + 15)]).toEqual([0, 12, 0, 128 - question - 15])
  })
})

describe('DoH', () => {
  let server: Http2SecureServer
  let sessions: Set<ServerHttp2Session>
  let sockets: TLSSocket[]
  let opened: number
  let requests: { headers: IncomingHttpHeaders; body: Uint8Array }[]
  let port: number
  let respond: (stream: ServerHttp2Stream, body: Uint8Array) => void

  beforeEach(async () => {
    sessions = new Set()
    sockets = []
    opened = 0
    requests = []
    respond = (stream, body) => {
      stream.respond({ ':status': 200, 'content-type': 'application/dns-message' })
      stream.end(replyTo(body))
    }
    server = createSecureServer(IDENTITY)
    server.on('secureConnection', (socket) => sockets.push(socket))
    server.on('session', (session) => {
      opened++
      sessions.add(session)
      session.on('error', () => {})
      session.on('close', () => sessions.delete(session))
    })
    server.on('tlsClientError', () => {})
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      const chunks: Buffer[] = []
      stream.on('error', () => {})
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const body = new Uint8Array(Buffer.concat(chunks))
        requests.push({ headers, body })
        respond(stream, body)
      })
    })
    port = await listening(server)
    use(at('dns.test'))
  })

  afterEach(() => {
    server.close()
    for (const session of sessions) session.destroy()
  })

  function at(serverName: string): UpstreamServer {
    return { label: 'doh', transport: 'https', address: '127.0.0.1', port, serverName, path: '/dns-query' }
  }

  /** Has the server end the connection in use, as nginx does after `keepalive_requests`, while `slow` answers over it are due. */
  async function endWithSlowRequest(
    slow: (() => void)[],
    usual: typeof respond,
  ): Promise<{ outcome: Promise<Uint8Array | string> }> {
    const before = slow.length
    respond = (stream, body) => void slow.push(() => usual(stream, body))
    const outcome = ask('https', query(1, 'slow.'))
    await until(() => expect(slow).toHaveLength(before + 1))
    respond = (stream, body) => {
      stream.session!.close()
      usual(stream, body)
    }
    expect(await ask('https', query(2, 'a.'))).toEqual(replyTo(query(2, 'a.')))
    return { outcome }
  }

  it('posts queries with id 0 and gives replies the id back, over one connection', async () => {
    expect(await ask('https', query(7, 'a.'))).toEqual(replyTo(query(7, 'a.')))
    expect(await ask('https', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(requests.map(({ body }) => idOf(body))).toEqual([0, 0])
    expect(requests[0]!.headers).toMatchObject({
      ':method': 'POST',
      ':path': '/dns-query',
      ':authority': `dns.test:${port}`,
      'content-type': 'application/dns-message',
      accept: 'application/dns-message',
    })
    expect(opened).toBe(1)
  })

  it('takes the age that an answer has in an HTTP cache from its TTLs', async () => {
    respond = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/dns-message', age: '250' })
      stream.end(encoded({ id: 0, flags: 0x8180, questions: [['a', 1]], answers: [a(1, 600)] }))
    }
    const expected = encoded({ id: 7, flags: 0x8180, questions: [['a', 1]], answers: [a(1, 350)] })
    expect(await ask('https', query(7, 'a.'))).toEqual(expected)
  })

  it('closes the connection when idle and opens another when needed', async () => {
    await ask('https', query(7, 'a.'))
    nowMs += DEFAULT_STREAM_SETTINGS.upstream.idleTimeoutMs
    streams.sweep()
    await until(() => expect(sessions.size).toBe(0))
    expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(0)
    expect(await ask('https', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(opened).toBe(2)
  })

  it('is idle from its last reply on, not from the query', async () => {
    const { idleTimeoutMs } = DEFAULT_STREAM_SETTINGS.upstream
    const usual = respond
    const held: (() => void)[] = []
    respond = (stream, body) => void held.push(() => usual(stream, body))
    const slow = ask('https', query(7, 'a.'), 10 * idleTimeoutMs, 10 * idleTimeoutMs)
    await until(() => expect(held).toHaveLength(1))
    nowMs += 2 * idleTimeoutMs
    streams.sweep()
    held[0]!()
    expect(await slow).toEqual(replyTo(query(7, 'a.')))
    respond = usual
    nowMs += idleTimeoutMs - 1
    streams.sweep()
    expect(await ask('https', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1)
  })

  it('asks again when the server ended the connection with the query under way', async () => {
    await ask('https', query(7, 'a.'))
    const usual = respond
    respond = () => {
      respond = usual
      for (const session of sessions) session.destroy()
    }
    expect(await ask('https', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(1)
  })

  it('asks each question by itself of a server that ends connections after the first answer', async () => {
    const usual = respond
    const answered = new Set<unknown>()
    respond = (stream, body) => {
      const { session } = stream
      if (answered.has(session)) return
      answered.add(session)
      usual(stream, body)
      // The client has read it once it answers the ping.
      stream.once('close', () => session?.ping(() => session.destroy()))
    }
    const names = Array.from({ length: 20 }, (_, n) => query(n, `n${n}.`))
    expect(await Promise.all(names.map((name) => ask('https', name)))).toEqual(names.map((name) => replyTo(name)))
    const before = counters.get(StreamCell.upstreamQueriesRetried)
    expect(await Promise.all(names.map((name) => ask('https', name)))).toEqual(names.map((name) => replyTo(name)))
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(before)
  })

  it('asks four times at most', async () => {
    await ask('https', query(7, 'a.'))
    respond = (stream) => stream.session!.destroy()
    expect(await ask('https', query(8, 'b.'))).toBe('network')
    expect(requests.length).toBeLessThanOrEqual(1 + 4)
  })

  it('asks again what the server refuses unseen, four times in all', async () => {
    const REFUSED_STREAM = 0x7
    respond = (stream) => stream.close(REFUSED_STREAM)
    expect(await ask('https', query(8, 'b.'))).toBe('network')
    expect(requests).toHaveLength(4)
    expect(counters.get(StreamCell.upstreamQueriesRetried)).toBe(3)
  })

  it('waits for its turn at a server that allows one stream at a time, and asks it over several connections', async () => {
    server.removeAllListeners('session')
    server.close()
    const narrow = createSecureServer({ ...IDENTITY, settings: { maxConcurrentStreams: 1 } })
    const under = new Map<unknown, number>()
    let most = 0
    let connections = 0
    narrow.on('session', (session) => {
      connections++
      sessions.add(session)
    })
    narrow.on('stream', (stream: ServerHttp2Stream) => {
      const { session } = stream
      under.set(session, (under.get(session) ?? 0) + 1)
      most = Math.max(most, under.get(session)!)
      const chunks: Buffer[] = []
      stream.on('error', () => {})
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        respond(stream, new Uint8Array(Buffer.concat(chunks)))
      })
      stream.on('close', () => under.set(session, under.get(session)! - 1))
    })
    port = await listening(narrow)
    use(at('dns.test'))
    const names = Array.from({ length: 40 }, (_, n) => query(n, `n${n}.`))
    for (let round = 0; round < 2; round++) {
      expect(await Promise.all(names.map((name) => ask('https', name)))).toEqual(names.map((name) => replyTo(name)))
    }
    expect(most).toBe(1)
    expect(connections).toBeLessThanOrEqual(DEFAULT_STREAM_SETTINGS.upstream.maxConnections)
    narrow.close()
  })

  it('over a connection on which nothing came until the time was up, nobody is asked again', async () => {
    const usual = respond
    respond = () => {}
    const first = ask('https', query(7, 'a.'))
    await until(() => expect(requests).toHaveLength(1))
    nowMs += 5000
    streams.sweep()
    expect(await first).toBe('timeout')
    respond = usual
    expect(await ask('https', query(8, 'b.'))).toEqual(replyTo(query(8, 'b.')))
    expect(opened).toBe(2)
    streams.sweep()
    await until(() => expect(sessions.size).toBe(1))
  })

  it('a question repeated over a silent connection goes over another one, and what the first brings late counts', async () => {
    const usual = respond
    const late: (() => void)[] = []
    respond = (stream, body) => void late.push(() => usual(stream, body))
    const first = ask('https', query(7, 'a.'))
    await until(() => expect(requests).toHaveLength(1))
    nowMs += 1000
    streams.sweep()
    respond = usual
    expect(await ask('https', query(8, 'a.'))).toEqual(replyTo(query(8, 'a.')))
    expect(opened).toBe(2)
    late[0]!()
    expect(await first).toEqual(replyTo(query(7, 'a.')))
    expect(sessions.size).toBe(2)
  })

  it('a server that never finishes a handshake has a bounded number of connections', async () => {
    const mute = await ScriptedUpstream.start()
    use({ ...at('dns.test'), port: mute.port })
    const asking: Promise<unknown>[] = []
    for (let n = 1; n <= 12; n++) {
      asking.push(ask('https', query(n, 'a.'), 5000, 100))
      await until(() => expect(counters.get(StreamCell.upstreamQueriesHttps)).toBe(n))
      nowMs += 100
    }
    expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(2 * DEFAULT_STREAM_SETTINGS.upstream.maxConnections)
    streams.close()
    await Promise.all(asking)
    mute.stop()
  })

  it('while connections that the server is ending carry slow requests, as many again may be opened', async () => {
    const { maxConnections } = DEFAULT_STREAM_SETTINGS.upstream
    const usual = respond
    const slow: (() => void)[] = []
    const asking: Promise<unknown>[] = []
    for (let n = 1; n <= 2 * maxConnections; n++) {
      asking.push((await endWithSlowRequest(slow, usual)).outcome)
      expect(opened).toBe(n)
    }
    const waiting = ask('https', query(7, 'b.'))
    await until(() => expect(counters.get(StreamCell.upstreamQueriesHttps)).toBe(4 * maxConnections + 1))
    expect(opened).toBe(2 * maxConnections)
    respond = usual
    for (const answer of slow) answer()
    expect(await waiting).toEqual(replyTo(query(7, 'b.')))
    await Promise.all(asking)
    await until(() => expect(counters.get(StreamCell.upstreamConnectionsOpen)).toBe(1))
  })

  it('with no room for another connection, one that looks dead is better than none', async () => {
    const { maxConnections } = DEFAULT_STREAM_SETTINGS.upstream
    const usual = respond
    const slow: (() => void)[] = []
    respond = (stream, body) => void slow.push(() => usual(stream, body))
    const short = ask('https', query(1, 'a.'), 1000)
    const asking: Promise<unknown>[] = [ask('https', query(2, 'slow.'))]
    await until(() => expect(slow).toHaveLength(2))
    nowMs += 1000
    streams.sweep()
    expect(await short).toBe('timeout')
    for (let n = 2; n <= 2 * maxConnections; n++) asking.push((await endWithSlowRequest(slow, usual)).outcome)
    respond = usual
    expect(await ask('https', query(7, 'b.'))).toEqual(replyTo(query(7, 'b.')))
    expect(opened).toBe(2 * maxConnections)
    // Nobody takes the first any more.
    for (const answer of slow.slice(1)) answer()
    await Promise.all(asking)
  })

  it('for a name that nobody answers one more connection is opened: it was reached, so the server is slow', async () => {
    const usual = respond
    await ask('https', query(1, 'a.'))
    respond = () => {}
    nowMs += 1
    const asking: Promise<unknown>[] = []
    const deadlineMs = nowMs + 4000
    for (let n = 2; n <= 4; n++) {
      asking.push(ask('https', query(n, 'dead.'), deadlineMs - nowMs))
      await until(() => expect(requests).toHaveLength(n))
      if (n < 4) nowMs += 1000
    }
    expect(opened).toBe(2)
    nowMs = deadlineMs
    streams.sweep()
    expect(await Promise.all(asking)).toEqual(['timeout', 'timeout', 'timeout'])
    respond = usual
    expect(await ask('https', query(5, 'b.'))).toEqual(replyTo(query(5, 'b.')))
    expect(opened).toBe(2)
  })

  it('a connection has said something with its handshake', async () => {
    const held: Socket[] = []
    const front = createPlainServer((socket) => held.push(socket))
    use({ ...at('dns.test'), port: await listening(front) })
    const usual = respond
    respond = () => {}
    const first = ask('https', query(1, 'a.'))
    await until(() => expect(held).toHaveLength(1))
    nowMs += 900
    server.emit('connection', held[0])
    await until(() => expect(requests).toHaveLength(1))
    respond = usual
    nowMs += 100
    expect(await ask('https', query(2, 'a.'))).toEqual(replyTo(query(2, 'a.')))
    expect(opened).toBe(1)
    streams.close()
    await first
    front.close()
  })

  it('a connection is used on if a question was given up before its time: the server had no chance', async () => {
    const usual = respond
    await ask('https', query(1, 'a.'))
    respond = () => {}
    nowMs += 500
    const short = ask('https', query(2, 'b.'), 200)
    await until(() => expect(requests).toHaveLength(2))
    nowMs += 200
    streams.sweep()
    expect(await short).toBe('timeout')
    respond = usual
    expect(await ask('https', query(3, 'c.'))).toEqual(replyTo(query(3, 'c.')))
    expect(opened).toBe(1)
  })

  it('a connection is used on once nobody waits for the one answer that it owes', async () => {
    const usual = respond
    respond = () => {}
    const dead = ask('https', query(1, 'dead.'), 2000)
    await until(() => expect(requests).toHaveLength(1))
    respond = usual
    nowMs += 500
    await ask('https', query(2, 'b.'))
    nowMs += 1500
    streams.sweep()
    expect(await dead).toBe('timeout')
    expect(await ask('https', query(3, 'c.'))).toEqual(replyTo(query(3, 'c.')))
    expect(opened).toBe(1)
  })

  it('sends nothing to a server whose certificate carries another name', async () => {
    use(at('other.test'))
    expect(await ask('https', query(7, 'a.'))).toBe('tls')
    expect(told).toEqual([['doh', 'ERR_TLS_CERT_ALTNAME_INVALID']])
    expect(requests).toEqual([])
  })

  it.each<[string, string, (stream: ServerHttp2Stream, body: Uint8Array) => void]>([
    ['an HTTP error', 'network', (stream) => (stream.respond({ ':status': 503 }), stream.end('no'))],
    [
      'another media type',
      'malformed',
      (stream) => (stream.respond({ ':status': 200, 'content-type': 'text/html' }), stream.end('hi')),
    ],
    ['a stream reset', 'network', (stream) => stream.close(2)],
    [
      'another question',
      'malformed',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/dns-message' })
        stream.end(replyTo(query(0, 'z.')))
      },
    ],
    [
      'a body too long',
      'malformed',
      (stream, body) => {
        stream.respond({ ':status': 200, 'content-type': 'application/dns-message' })
        stream.end(replyTo(body, 70_000))
      },
    ],
  ])('%s is `%s`', async (_, failure, answer) => {
    respond = answer
    expect(await ask('https', query(7, 'a.'))).toBe(failure)
  })

  it('takes a body of 65,535 bytes, and none of one more', async () => {
    const question = query(7, 'a.')
    let extra = 0xffff - question.length
    respond = (stream, body) => {
      stream.respond({ ':status': 200, 'content-type': 'application/dns-message' })
      stream.end(replyTo(body, extra))
    }
    expect((await ask('https', question)).length).toBe(0xffff)
    extra++
    expect(await ask('https', question)).toBe('malformed')
  })

  it('a handshake has its time and no more', async () => {
    const mute = await ScriptedUpstream.start()
    use({ ...at('dns.test'), port: mute.port })
    const asking = ask('https', query(1, 'a.'), 60_000, 60_000)
    await until(() => expect(counters.get(StreamCell.upstreamConnectionsOpened)).toBe(1))
    nowMs += DEFAULT_STREAM_SETTINGS.upstream.connectTimeoutMs - 1
    streams.sweep()
    expect(counters.get(StreamCell.failuresTimeout)).toBe(0)
    nowMs += 1
    streams.sweep()
    expect(await asking).toBe('timeout')
    mute.stop()
  })

  it('fails what is more than may be under way and wait', async () => {
    respond = () => {}
    const { maxPipelined, maxQueued } = DEFAULT_STREAM_SETTINGS.upstream
    const count = maxPipelined + maxQueued
    for (let token = 1; token <= count + 1; token++) {
      worker.ask({
        token,
        server: label,
        transport: 'https',
        query: query(1, 'a.'),
        timeoutMs: 60_000,
        attemptMs: 60_000,
      })
    }
    await until(() =>
      expect(worker.upstreamReplies.map(({ token, failure }) => [token, failure])).toEqual([[count + 1, 'network']]),
    )
  })

  it('gives up at the deadline', async () => {
    respond = () => {
      nowMs += 5000
      streams.sweep()
    }
    expect(await ask('https', query(7, 'a.'))).toBe('timeout')
  })

  it('is `refused` where nobody listens', async () => {
    server.close()
    const gone = await ScriptedUpstream.start()
    gone.stop()
    use({ ...at('dns.test'), port: gone.port })
    expect(await ask('https', query(7, 'a.'))).toBe('refused')
  })
})
