import { mkdtempSync, openSync, readFileSync, rmSync, closeSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it } from 'vitest'
import { loadSyscalls } from '../../src/os/syscalls.ts'
import { StreamCell, StreamCounters } from '../../src/stats/stream-counters.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import type {
  FromStreamWorker,
  StreamListener,
  StreamWorkerData,
  ToStreamWorker,
} from '../../src/stream/stream-worker-messages.ts'
import { idOf, query } from './dns-messages.ts'
import { listening } from './listening.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'
import { ScriptedUpstream } from './scripted-upstream.ts'
import { TestClient } from './test-client.ts'
import { until } from '../until.ts'

const sys = loadSyscalls()
const LOOPBACK: StreamListener = { address: '127.0.0.1', port: 0, fd: null }

/** A stream worker in its thread. */
class Thread {
  readonly counters: StreamCounters = new StreamCounters()
  readonly dataWorkers: ScriptedDataWorker[]
  readonly messages: FromStreamWorker[] = []
  exitCode: number | null = null
  readonly #thread: Worker

  constructor(start: Partial<StreamWorkerData> = {}, wakeFd: number = -1) {
    this.dataWorkers = [new ScriptedDataWorker(), new ScriptedDataWorker()]
    const ports = this.dataWorkers.map(({ port }) => ({ port, wakeFd }))
    const workerData: StreamWorkerData = {
      listeners: [LOOPBACK],
      ports,
      settings: DEFAULT_STREAM_SETTINGS,
      servers: [],
      counters: this.counters.buffer,
      ...start,
    }
    this.#thread = new Worker(new URL('../../src/stream/stream-worker.ts', import.meta.url), {
      workerData,
      transferList: ports.map(({ port }) => port),
    })
    this.#thread.on('message', (message: FromStreamWorker) => this.messages.push(message))
    this.#thread.on('exit', (code) => {
      this.exitCode = code
    })
  }

  async ready(): Promise<FromStreamWorker & { kind: 'ready' }> {
    return await until(() => {
      const ready = this.messages.find((message) => message.kind === 'ready')
      if (ready === undefined) throw new Error('not ready')
      return ready
    })
  }

  async port(): Promise<number> {
    return (await this.ready()).bound[0]!.port
  }

  post(message: ToStreamWorker, ...transfer: ScriptedDataWorker[]): void {
    this.#thread.postMessage(
      message,
      transfer.map(({ port }) => port),
    )
  }

  /** Returns how many connections were cut. */
  async drained(): Promise<number> {
    return await until(() => {
      const last = this.messages.at(-1)
      if (last?.kind !== 'response') throw new Error('not drained')
      return Number(last.response)
    })
  }

  async stopped(): Promise<void> {
    await until(() => expect(this.exitCode).toBe(0))
  }

  async end(): Promise<void> {
    await this.#thread.terminate()
  }
}

function drainIn(deadlineMs: number): ToStreamWorker {
  return { kind: 'request', number: 1, name: 'drain', payload: { deadlineMs } }
}

let thread: Thread | null = null
afterEach(async () => {
  await thread?.end()
  thread = null
})

describe('listeners', () => {
  it('are served, and a busy one is named without keeping the others from it', async () => {
    const blocker = createServer()
    const port = await listening(blocker)
    thread = new Thread({ listeners: [{ address: '127.0.0.1', port, fd: null }, LOOPBACK] })
    const { bound, failed } = await thread.ready()
    blocker.close()
    expect(failed).toEqual([
      {
        address: '127.0.0.1',
        port,
        code: 'EADDRINUSE',
        message: `TCP 127.0.0.1:${port}: address already in use; stop what listens there or choose another port`,
      },
    ])
    expect(bound).toHaveLength(1)
    for (const worker of thread.dataWorkers) worker.echoes = true
    const client = new TestClient(bound[0]!.port)
    client.send(query(5, 'a.'))
    await until(() => expect(client.replies.map(idOf)).toEqual([5]))
    client.socket.destroy()
  })

  it.skipIf(typeof sys === 'string')('that listen already are served by their descriptor', async () => {
    if (typeof sys === 'string') return
    const loopback = new Uint8Array(16)
    // sockaddr_in: family 2 in host order, port 0, 127.0.0.1.
    loopback.set([2, 0, 0, 0, 127, 0, 0, 1])
    const fd = sys.openListener(2, loopback, 16)
    expect(fd).toBeGreaterThan(0)
    const port = sys.boundPort(fd)
    thread = new Thread({ listeners: [{ address: '127.0.0.1', port, fd: sys.duplicate(fd) }] })
    expect(await thread.ready()).toMatchObject({ bound: [{ address: '127.0.0.1', port }], failed: [] })
    thread.post({ kind: 'stop' })
    await thread.stopped()
    // Who comes between two stream workers waits in the kernel for the next.
    const client = new TestClient(port)
    client.send(query(1, 'a.'))
    thread = new Thread({ listeners: [{ address: '127.0.0.1', port, fd: sys.duplicate(fd) }] })
    for (const worker of thread.dataWorkers) worker.echoes = true
    await until(() => expect(client.replies.map(idOf)).toEqual([1]))
    client.socket.destroy()
    await thread.end()
    sys.close(fd)
  })

  it('with a descriptor that is none are named', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'byname-stream-'))
    const fd = openSync(join(folder, 'file'), 'w')
    thread = new Thread({ listeners: [{ address: '127.0.0.1', port: 53, fd }] })
    const { bound, failed } = await thread.ready()
    expect(bound).toEqual([])
    expect(failed[0]!.message).toMatch(/^TCP 127\.0\.0\.1:53: descriptor \d+ cannot be used: /)
    closeSync(fd)
    rmSync(folder, { recursive: true })
  })
})

it('wakes the data worker once a turn, by eight bytes that say 1', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-stream-'))
  const file = join(folder, 'wake')
  const wakeFd = openSync(file, 'a')
  thread = new Thread({}, wakeFd)
  const client = new TestClient(await thread.port())
  client.send(query(1, 'a.'), query(2, 'b.'))
  const [worker] = thread.dataWorkers
  await until(() => expect(worker!.queries).toHaveLength(2))
  await until(() => expect([...readFileSync(file)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]))
  client.socket.destroy()
  await thread.end()
  closeSync(wakeFd)
  rmSync(folder, { recursive: true })
})

it('asks upstream servers, other ones once told so', async () => {
  const [one, two] = [await ScriptedUpstream.start(), await ScriptedUpstream.start()]
  for (const upstream of [one, two]) upstream.onQueries = (queries) => upstream.answer(queries)
  thread = new Thread({ servers: [one.server] })
  const [worker] = thread.dataWorkers
  const asked = { transport: 'tcp', query: query(1, 'a.'), timeoutMs: 2000, attemptMs: 1000 } as const
  worker!.ask({ ...asked, server: one.server.label, token: 1 })
  await until(() => expect(worker!.upstreamReplies).toMatchObject([{ token: 1, failure: null }]))
  thread.post({ kind: 'servers', servers: [two.server], rootCertificates: null })
  await until(() => expect(one.open).toBe(0))
  worker!.ask({ ...asked, server: two.server.label, token: 2 })
  await until(() => expect(worker!.upstreamReplies).toMatchObject([{ token: 1 }, { token: 2, failure: null }]))
  expect(two.queries).toHaveLength(1)
  one.stop()
  two.stop()
})

it('serves on with a data worker that was restarted', async () => {
  thread = new Thread()
  const client = new TestClient(await thread.port())
  client.send(query(1, 'a.'))
  await until(() => expect(thread!.dataWorkers[0]!.queries).toHaveLength(1))
  const successor = new ScriptedDataWorker()
  successor.echoes = true
  thread.post({ kind: 'replace', worker: 0, port: { port: successor.port, wakeFd: -1 } }, successor)
  await until(() => expect(client.closed).toBe(true))
  thread.dataWorkers[1]!.echoes = true
  const again = [new TestClient(await thread.port()), new TestClient(await thread.port())]
  for (const each of again) each.send(query(2, 'a.'))
  await until(() => expect(again.map(({ replies }) => replies.length)).toEqual([1, 1]))
  expect(successor.queries).toHaveLength(1)
  for (const each of again) each.socket.destroy()
})

describe('draining', () => {
  it('answers what is under way and accepts nothing more', async () => {
    thread = new Thread()
    const port = await thread.port()
    const client = new TestClient(port)
    client.send(query(1, 'a.'))
    const [worker] = thread.dataWorkers
    await until(() => expect(worker!.queries).toHaveLength(1))
    thread.post(drainIn(10_000))
    await until(async () => {
      const late = new TestClient(port)
      await until(() => expect(late.closed).toBe(true))
      expect(late.error?.code).toBe('ECONNREFUSED')
    })
    worker!.answer(worker!.queries)
    expect(await thread.drained()).toBe(0)
    await until(() => expect(client.closed).toBe(true))
    expect(client.replies.map(idOf)).toEqual([1])
  })

  it('leaves upstream queries with servers alone; they end when the thread is stopped', async () => {
    const upstream = await ScriptedUpstream.start()
    thread = new Thread({ servers: [upstream.server] })
    await thread.ready()
    const [worker] = thread.dataWorkers
    const asked = { server: upstream.server.label, transport: 'tcp', timeoutMs: 10_000, attemptMs: 10_000 } as const
    worker!.ask({ ...asked, token: 1, query: query(1, 'a.') })
    worker!.ask({ ...asked, token: 2, query: query(2, 'b.') })
    await until(() => expect(upstream.queries).toHaveLength(2))
    thread.post(drainIn(10_000))
    expect(await thread.drained()).toBe(0)
    upstream.answer(upstream.queries.slice(0, 1))
    await until(() =>
      expect(worker!.upstreamReplies.map(({ token, failure }) => [token, failure])).toEqual([[1, null]]),
    )
    thread.post({ kind: 'stop' })
    await thread.stopped()
    upstream.stop()
  })

  it('cuts what is not answered by the deadline', async () => {
    thread = new Thread()
    const client = new TestClient(await thread.port())
    client.send(query(1, 'a.'))
    await until(() => expect(thread!.counters.get(StreamCell.queries)).toBe(1))
    thread.post(drainIn(20))
    expect(await thread.drained()).toBe(1)
    await until(() => expect(client.closed).toBe(true))
  })
})

it('ends the thread when stopped, also while connections are closing', async () => {
  thread = new Thread()
  for (const worker of thread.dataWorkers) worker.echoes = true
  const port = await thread.port()
  const clients = Array.from({ length: 8 }, () => new TestClient(port))
  for (const client of clients) client.send(query(1, 'a.'), query(2, 'b.'))
  await until(() => expect(clients.every(({ replies }) => replies.length === 2)).toBe(true))
  for (const client of clients) client.socket.destroy()
  thread.post({ kind: 'stop' })
  await thread.stopped()
})
