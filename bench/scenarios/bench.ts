/** What every scenario works with: the machine's programs, one upstream, query files, and servers started afresh. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Asker } from '../load/ask.ts'
import { ControlGroup, type Limits } from '../load/cgroup.ts'
import { ControlPlane, encodePush } from '../load/control-plane.ts'
import { addressAt, nameAt } from '../load/names.ts'
import { compileNative, type Native } from '../load/native.ts'
import { cpuSeconds } from '../load/process-usage.ts'
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
  /** CPU time until then, in ticks of 10 ms. */
  firstAnswerCpuSeconds: number
  /** That it runs in; null without limits. */
  group: ControlGroup | null
}

export interface SubjectOptions {
  hosts?: number
  workers?: number
  controlPlanePort?: number
  /** What the first right answer holds, if not the last host's address. */
  firstAddress?: string
  /** Of CPU time and memory, from its first instruction on. Fails where there are no control groups. */
  limits?: Limits
  /** Pause between the questions that wait for the first answer: each is answered in the end, and costs CPU time. 1 ms if not given. */
  askEveryMs?: number
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
    await firstAnswer(server, port, 'ready.example.net', undefined, 1, signal)
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
    const { hosts = 0 } = options
    if (peer.isTablePushed !== true || hosts === 0) return await this.#withServer(peer, options, use)
    const plane = new ControlPlane(encodePush(hosts, 'bench'))
    try {
      const pushed = { controlPlanePort: await plane.start(), firstAddress: addressAt(0) }
      return await this.#withServer(peer, { ...options, hosts: 0, ...pushed }, use)
    } finally {
      plane.stop()
    }
  }

  async #withServer<T>(peer: Peer, options: SubjectOptions, use: (subject: Subject) => Promise<T>): Promise<T> {
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
    const group = options.limits === undefined ? null : new ControlGroup(options.limits, `byname-bench-${task.port}`)
    const startedAt = performance.now()
    const server = await this.#servers.start(group?.limit(command) ?? command)
    const endCompanion = peer.companion?.(task)
    try {
      const name = hosts > 0 ? nameAt(hosts - 1) : options.firstAddress === undefined ? 'ready.example.net' : nameAt(0)
      const address = options.firstAddress ?? (hosts > 0 ? addressAt(hosts - 1) : undefined)
      await firstAnswer(server, task.port, name, address, options.askEveryMs ?? 1, this.signal)
      const firstAnswerMs = performance.now() - startedAt
      const firstAnswerCpuSeconds = cpuSeconds(server.pid)
      return await use({ pid: server.pid, port: task.port, firstAnswerMs, firstAnswerCpuSeconds, group })
    } finally {
      endCompanion?.()
      await server.stop(STOP_DEADLINE_MS)
      await group?.remove()
      rmSync(folder, { recursive: true, force: true })
    }
  }

  /** `use` with a program that does nothing but compute on each of `count` cores. */
  async withNeighbours<T>(count: number, use: () => Promise<T>): Promise<T> {
    const command = { file: '/bin/sh', args: ['-c', 'while :; do :; done'] }
    const neighbours = await Promise.all(Array.from({ length: count }, () => this.#servers.start(command)))
    try {
      return await use()
    } finally {
      await Promise.all(neighbours.map((each) => each.stop(STOP_DEADLINE_MS)))
    }
  }

  /** A wait that ends early (and rejects) when the run is interrupted. */
  async pause(seconds: number): Promise<void> {
    await delay(seconds * 1000, undefined, { signal: this.signal })
  }
}

/** Asks every `everyMs`. Rejects with the server's own words if it ends or never answers. */
async function firstAnswer(
  server: RunningServer,
  port: number,
  name: string,
  address: string | undefined,
  everyMs: number,
  signal: AbortSignal,
): Promise<void> {
  const asker = new Asker(port, name)
  const ended = new AbortController()
  const watch = setInterval(() => server.hasEnded && ended.abort(), 50)
  try {
    const right = (reply: { rcode: number; address: string | undefined }): boolean =>
      reply.rcode === 0 && (address === undefined ? reply.address !== undefined : reply.address === address)
    await asker.until(right, everyMs, START_DEADLINE_MS, AbortSignal.any([signal, ended.signal]))
  } catch (error) {
    signal.throwIfAborted()
    throw new Error(`did not start: ${server.output || String(error)}`, { cause: error })
  } finally {
    clearInterval(watch)
    asker.close()
  }
}
