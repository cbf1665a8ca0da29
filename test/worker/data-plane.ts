/** Everything between the sockets and the name table, as the daemon puts it together: data workers, stream worker, table. */
import { readdirSync } from 'node:fs'
import type { EngineSettings, UpstreamServer } from '../../src/engine/settings.ts'
import { loadSyscalls, type Syscalls } from '../../src/os/syscalls.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { StreamCounters } from '../../src/stats/stream-counters.ts'
import { DEFAULT_STREAM_SETTINGS } from '../../src/stream/stream-settings.ts'
import { StreamThread } from '../../src/daemon/stream-thread.ts'
import type { TableCompiler } from '../../src/table/compile.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { startThread, type StartThread } from '../../src/daemon/data-thread.ts'
import { DataWorkers } from '../../src/daemon/data-workers.ts'
import { forWorker, type OpenListener, openListener, probeListener } from '../../src/daemon/listener-sockets.ts'
import { type SettingsChange, settingsWith } from '../engine/engine-under-test.ts'
import { compiled, newCompiler } from '../table/compiled.ts'

/** A driver and where its sockets come from. */
export type DriverKind = 'batch' | 'dgram, descriptors lent' | 'dgram, sockets of its own'

export interface DataPlaneOptions {
  driver?: DriverKind
  workers?: number
  /** Literal addresses, each on a port of its own; 127.0.0.1 if not given. */
  listen?: string[]
  /** Sockets that are open already, instead of `listen`; they are closed with the rest. */
  lent?: OpenListener[]
  settings?: SettingsChange
  table?: NameTable
  /** With the thread that serves TCP and asks over it. */
  withStream?: boolean
  /** How threads of data workers are started, as in service if not given. */
  startThread?: StartThread
}

/** koffi's calls; a machine that runs these tests has them. */
export const sys: Syscalls = (() => {
  const loaded = loadSyscalls()
  if (typeof loaded === 'string') throw new Error(loaded)
  return loaded
})()

/** An upstream server as settings name it. */
export function udpServer(port: number, address: string = '127.0.0.1'): UpstreamServer {
  return { label: `${address}:${port}`, transport: 'udp', address, port }
}

export class DataPlane {
  readonly workers: DataWorkers
  readonly compiler: TableCompiler
  readonly listeners: OpenListener[]
  readonly streamCounters: StreamCounters = new StreamCounters()
  /** Lines logged, as `level message error`. */
  readonly logged: string[] = []
  settings: EngineSettings
  #stream: StreamThread | null = null
  #version = 0

  private constructor(options: DataPlaneOptions, listeners: OpenListener[]) {
    const { driver = 'batch', workers = 1 } = options
    this.listeners = listeners
    this.settings = settingsWith({ servers: [], ...options.settings })
    this.compiler = newCompiler()
    const write = (level: string) => (fields: object, message: string) =>
      void this.logged.push(`${level} ${message} ${'error' in fields ? String(fields.error) : ''}`.trimEnd())
    const log = { info: write('info'), warn: write('warn'), error: write('error') }
    this.workers = new DataWorkers({
      knockFds: () => [],
      onStreamWanted: () => {},
      count: workers,
      driver: driver === 'batch' ? 'batch' : 'dgram',
      sys: driver === 'dgram, sockets of its own' ? null : sys,
      listeners: (index) =>
        listeners
          .flatMap((listener) => forWorker(listener, index, workers))
          .map((lent) => (driver === 'dgram, descriptors lent' ? { ...lent, fd: sys.duplicate(lent.fd) } : lent)),
      settings: this.settings,
      startedAtEpochMs: Date.now(),
      seed: 0x5eed,
      log,
      images: this.compiler.pool,
      onAdopted: () => {},
      startThread: options.startThread ?? startThread,
      onRestarted: (index) => this.#stream?.replace(index, this.workers.openStreamPort(index)),
    })
    this.#openStream = async () => {
      if (!options.withStream) return
      const stream = new StreamThread({
        listeners: listeners.map(({ address, port, tcpFd }) => ({
          address,
          port,
          lend: () => (tcpFd < 0 ? null : sys.duplicate(tcpFd)),
        })),
        settings: DEFAULT_STREAM_SETTINGS,
        servers: this.settings.servers,
        counters: this.streamCounters.buffer,
        openPorts: () => this.workers.openStreamPorts(),
        log,
      })
      this.#stream = stream
      const { failed } = await stream.start()
      if (failed.length > 0) throw new Error(failed[0]!.message)
    }
  }

  readonly #openStream: () => Promise<void>

  static async start(options: DataPlaneOptions = {}): Promise<DataPlane> {
    const { driver = 'batch', workers = 1, listen = ['127.0.0.1'], lent = [] } = options
    const listeners: OpenListener[] = [...lent]
    for (const address of lent.length > 0 ? [] : listen) {
      const isOwn = driver === 'dgram, sockets of its own'
      const listener = isOwn ? await probeListener(address, 0, workers) : openListener(sys, address, 0, workers)
      listeners.push(listener!)
    }
    const plane = new DataPlane(options, listeners)
    if (options.table !== undefined) plane.publish(options.table)
    await plane.workers.start()
    // What it says is answered first: the sockets are open.
    await plane.workers.ping(10_000)
    await plane.#openStream()
    return plane
  }

  /** Where to ask; listener `index`. */
  at(index: number = 0): { address: string; port: number } {
    const { address, port } = this.listeners[index]!
    return { address, port }
  }

  /** Compiles a table and hands it to the workers; returns its generation. */
  publish(table: NameTable): number {
    const { image } = compiled(this.compiler, table, String(++this.#version))
    this.workers.publish(image)
    return image.generation
  }

  configure(change: SettingsChange): void {
    this.settings = settingsWith({ servers: this.settings.servers, ...change })
    this.workers.configure(this.settings)
    this.#stream?.configure(this.settings.servers, null)
  }

  /** The counters of all workers added up; a view of this moment. */
  get counters(): WorkerCounters {
    const sum = new WorkerCounters()
    for (const { cells } of this.workers.counters) cells.forEach((value, k) => (sum.cells[k] = sum.cells[k]! + value))
    return sum
  }

  async stop(): Promise<void> {
    await this.#stream?.drain(2000)
    const { overdue } = await this.workers.stop(2000)
    await this.#stream?.stop()
    this.workers.closeWakeFds()
    for (const { tcpFd, udpFds } of this.listeners) for (const fd of [tcpFd, ...udpFds]) if (fd >= 0) sys.close(fd)
    if (overdue > 0) throw new Error(`${overdue} data workers did not end`)
  }
}

/** Descriptors that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}
