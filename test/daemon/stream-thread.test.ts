/** The control thread's side of the stream worker: one that dies comes back, and so does what it listened on. */
import { fstatSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { StreamCounters } from '../../src/stats/stream-counters.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import { type StreamAddress, StreamThread } from '../../src/daemon/stream-thread.ts'
import { freePort } from '../free-port.ts'
import { idOf, query } from '../stream/dns-messages.ts'
import { ScriptedDataWorker } from '../stream/scripted-data-worker.ts'
import { TestClient } from '../stream/test-client.ts'
import { until } from '../until.ts'

const LOOPBACK = '127.0.0.1'
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** A stream thread with one data worker that echoes; each start of the thread has a new one. */
class Bench {
  readonly thread: StreamThread
  readonly logged: string[] = []
  /** When the last line was logged. */
  loggedAtMs = 0
  dataWorker: ScriptedDataWorker = new ScriptedDataWorker()
  /** What giving the ways to the data workers throws. */
  portsError: Error | null = null

  constructor(listeners: StreamAddress[]) {
    const write = (_fields: object, message: string): void => {
      this.logged.push(message)
      this.loggedAtMs = performance.now()
    }
    this.thread = new StreamThread({
      listeners,
      settings: DEFAULT_STREAM_SETTINGS,
      servers: [],
      counters: new StreamCounters().buffer,
      openPorts: () => {
        const { portsError } = this
        this.portsError = null
        if (portsError !== null) throw portsError
        return this.#ports()
      },
      log: { info: write, warn: write, error: write },
    })
    closers.push(() => this.thread.stop())
  }

  async start(): Promise<void> {
    await this.thread.start()
  }

  #ports(): { port: ScriptedDataWorker['port']; wakeFd: number }[] {
    this.dataWorker = new ScriptedDataWorker()
    this.dataWorker.echoes = true
    return [{ port: this.dataWorker.port, wakeFd: -1 }]
  }

  /** Ends the thread by an error of its own: servers that make it throw. Those of the next one are good. */
  crash(): void {
    this.crashAlways()
    this.thread.configure([], null)
  }

  /** The same, and all that follow end before they listen. */
  crashAlways(): void {
    const unusable: UpstreamServer[] = JSON.parse('null')
    this.thread.configure(unusable, null)
  }

  said(text: string): string[] {
    return this.logged.filter((line) => line.includes(text))
  }
}

function asks(port: number): TestClient {
  const client = new TestClient(port)
  closers.push(() => client.socket.destroy())
  client.send(query(1, 'a.'))
  return client
}

it('listens again once it can, and says what keeps it from it', async () => {
  const port = await freePort()
  const bench = new Bench([{ address: LOOPBACK, port, lend: () => null }])
  await bench.start()
  // Between two threads somebody else takes the port.
  const other = createServer()
  bench.crash()
  await until(() => expect(bench.said('the stream worker ended')).toHaveLength(1))
  other.listen(port, LOOPBACK)
  await until(() => expect(bench.said(`TCP ${LOOPBACK}:${port}: address already in use`).length).toBeGreaterThan(1))
  other.close()
  await until(() => expect(bench.said('clients are listened for over TCP again')).toHaveLength(1))
  const client = asks(port)
  await until(() => expect(client.replies.map(idOf)).toEqual([1]))
  expect(bench.thread.restarts).toBe(1)
})

it('serves what it can listen on while it tries the rest again', async () => {
  const [port, lost] = [await freePort(), await freePort()]
  let lends = 0
  const bench = new Bench([
    { address: LOOPBACK, port, lend: () => null },
    // No descriptor is to be had for the second thread.
    { address: LOOPBACK, port: lost, lend: () => (++lends === 2 ? -1 : null) },
  ])
  await bench.start()
  bench.crash()
  await until(() => expect(bench.said('descriptor -1 cannot be used')).toHaveLength(1))
  const client = asks(port)
  await until(() => expect(client.replies.map(idOf)).toEqual([1]))
  await until(() => expect(bench.said('clients are listened for over TCP again')).toHaveLength(1))
  const again = asks(lost)
  await until(() => expect(again.replies.map(idOf)).toEqual([1]))
  expect(client.closed).toBe(false)
})

it('is tried again where it cannot even be started', async () => {
  const port = await freePort()
  const bench = new Bench([{ address: LOOPBACK, port, lend: () => null }])
  await bench.start()
  bench.portsError = new Error('no memory')
  bench.crash()
  await until(() => expect(bench.said('the stream worker cannot be started')).toHaveLength(1))
  const client = await until(async () => {
    const asking = asks(port)
    await until(() => expect(asking.closed || asking.replies.length > 0).toBe(true))
    expect(asking.replies.map(idOf)).toEqual([1])
    return asking
  })
  expect(client.error).toBeNull()
})

it('waits longer each time it dies soon after it has listened', async () => {
  const port = await freePort()
  const bench = new Bench([{ address: LOOPBACK, port, lend: () => null }])
  await bench.start()
  const waits: number[] = []
  for (let n = 1; n <= 2; n++) {
    bench.crash()
    await until(() => expect(bench.said('the stream worker ended')).toHaveLength(n))
    // Not when that was noticed here.
    const endedAtMs = bench.loggedAtMs
    await until(async () => {
      const client = asks(port)
      await until(() => expect(client.closed || client.replies.length > 0).toBe(true))
      expect(client.replies.map(idOf)).toEqual([1])
    })
    waits.push(performance.now() - endedAtMs)
  }
  // Doubled from half a second.
  expect(waits[1]).toBeGreaterThan(900)
})

it('closes descriptors that were lent to a thread which did not live to take them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-lent-'))
  closers.push(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'lent')
  const lent: number[] = []
  const port = await freePort()
  const lend = (): number => {
    lent.push(openSync(file, 'a'))
    return lent.at(-1)!
  }
  let starts = 0
  const bench = new Bench([{ address: LOOPBACK, port, lend: () => (starts++ === 0 ? null : lend()) }])
  await bench.start()
  bench.crashAlways()
  await until(() => expect(bench.said('the stream worker ended')).toHaveLength(3))
  expect(lent).toHaveLength(2)
  const { ino } = statSync(file)
  expect(lent.filter((fd) => inodeOf(fd) === ino)).toEqual([])
})

/** Null for a descriptor that is closed. */
function inodeOf(fd: number): number | null {
  try {
    return fstatSync(fd).ino
  } catch {
    return null
  }
}
