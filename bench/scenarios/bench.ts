/** What every scenario works with: the machine's programs, one upstream, query files, and servers started afresh. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Asker } from '../load/ask.ts'
import { addressAt, nameAt } from '../load/names.ts'
import { compileNative, type Native } from '../load/native.ts'
import { freePort, type RunningServer, type Servers } from '../load/servers.ts'
import type { Peer, Task } from '../peers/peer.ts'

/** Longest wait for a server's first answer. */
const START_DEADLINE_MS = 60_000
const STOP_DEADLINE_MS = 3000

export interface Upstream {
  port: number
  pid: number
}

/** A server under test that answers. */
export interface Subject {
  pid: number
  port: number
  /** From the start of the process to the first answer that was right. */
  firstAnswerMs: number
}

export interface SubjectOptions {
  hosts?: number
  workers?: number
  controlPlanePort?: number
  /** What the first right answer holds, if not the last host's address. */
  firstAddress?: string
}

export class Bench {
  readonly folder: string
  /** Length of one measurement. */
  readonly seconds: number
  readonly native: Native
  readonly upstream: Upstream
  /** Aborts when the run is interrupted. */
  readonly signal: AbortSignal
  readonly #servers: Servers

  private constructor(
    folder: string,
    seconds: number,
    native: Native,
    upstream: Upstream,
    servers: Servers,
    signal: AbortSignal,
  ) {
    this.folder = folder
    this.seconds = seconds
    this.native = native
    this.upstream = upstream
    this.#servers = servers
    this.signal = signal
  }

  /** Compiles what can be compiled and starts the upstream. `folder` and `servers` stay the caller's to remove and kill. */
  static async start(folder: string, seconds: number, servers: Servers, signal: AbortSignal): Promise<Bench> {
    const native = compileNative(folder)
    const port = await freePort()
    const script = join(import.meta.dirname, '..', 'load', 'responder.ts')
    const server = await servers.start(
      native.responder === undefined
        ? { file: process.execPath, args: [script, String(port)] }
        : { file: native.responder, args: [String(port)] },
    )
    await firstAnswer(server, port, 'ready.example.net', undefined, signal)
    return new Bench(folder, seconds, native, { port, pid: server.pid }, servers, signal)
  }

  /** The query file `name`, written by `write` when first asked for. */
  queryFile(name: string, write: (file: string) => void): string {
    const file = join(this.folder, `${name}.queries`)
    if (!existsSync(file)) write(file)
    return file
  }

  /** Starts a peer with an empty cache, waits for its first answer, lets `use` work with it and stops it whatever happens. */
  async withServer<T>(peer: Peer, options: SubjectOptions, use: (subject: Subject) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(this.folder, `${peer.id}-`))
    const hosts = peer.abilities.includes('table') ? (options.hosts ?? 0) : 0
    const task: Task = {
      folder,
      port: await freePort(),
      hosts,
      upstreamPort: this.upstream.port,
      workers: options.workers ?? 1,
      sparePorts: [await freePort(), await freePort()],
      ...(options.controlPlanePort === undefined ? {} : { controlPlanePort: options.controlPlanePort }),
    }
    mkdirSync(folder, { recursive: true })
    const command = peer.command(task)
    const startedAt = performance.now()
    const server = await this.#servers.start(command)
    try {
      const name = hosts > 0 ? nameAt(hosts - 1) : options.firstAddress === undefined ? 'ready.example.net' : nameAt(0)
      const address = options.firstAddress ?? (hosts > 0 ? addressAt(hosts - 1) : undefined)
      await firstAnswer(server, task.port, name, address, this.signal)
      return await use({ pid: server.pid, port: task.port, firstAnswerMs: performance.now() - startedAt })
    } finally {
      await server.stop(STOP_DEADLINE_MS)
      rmSync(folder, { recursive: true, force: true })
    }
  }

  /** A wait that ends early (and rejects) when the run is interrupted. */
  async pause(seconds: number): Promise<void> {
    await delay(seconds * 1000, undefined, { signal: this.signal })
  }
}

/** Asks every millisecond. Rejects with the server's own words if it ends or never answers. */
async function firstAnswer(
  server: RunningServer,
  port: number,
  name: string,
  address: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const asker = new Asker(port, name)
  const ended = new AbortController()
  const watch = setInterval(() => server.hasEnded && ended.abort(), 50)
  try {
    const right = (reply: { rcode: number; address: string | undefined }): boolean =>
      reply.rcode === 0 && (address === undefined ? reply.address !== undefined : reply.address === address)
    await asker.until(right, 1, START_DEADLINE_MS, AbortSignal.any([signal, ended.signal]))
  } catch (error) {
    signal.throwIfAborted()
    throw new Error(`did not start: ${server.output || String(error)}`, { cause: error })
  } finally {
    clearInterval(watch)
    asker.close()
  }
}
