/** What systemd is to a service: the other end of notifications, and the keeper of sockets over restarts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { vi } from 'vitest'
import { socketAddress } from '../../src/os/socket-address.ts'
import { LAUNCHER } from '../cli/byname-process.ts'
import { WAIT_MS } from '../wait.ts'
import { sys } from '../worker/data-plane.ts'

const AF_UNIX = 1
const BUFFER_BYTES = 8 << 20
const BACKLOG = 1024
const WAIT = { timeout: WAIT_MS, interval: 5 }

/** Receives notifications. */
export class NotifySocket {
  readonly messages: string[] = []
  readonly #fd: number
  readonly #buffer: Buffer = Buffer.alloc(4096)
  /** Read whether somebody waits or not: the kernel queues ten. */
  readonly #reading: NodeJS.Timeout

  /** `path`: in the file system, or `@NAME` in the abstract namespace. */
  constructor(path: string) {
    const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`)
    const family = Buffer.alloc(2)
    family.writeUInt16LE(AF_UNIX)
    const options = { reusePort: false, packetInfo: false, bufferBytes: 0 }
    this.#fd = sys.openDatagram(AF_UNIX, Buffer.concat([family, name]), options)
    if (this.#fd < 0) throw new Error(`bind ${path}: ${this.#fd}`)
    this.#reading = setInterval(() => this.#read(), WAIT.interval)
  }

  /** Waits for the n-th message (from 1) that has this line, and returns its other lines. */
  async line(line: string, n = 1): Promise<string[]> {
    return await vi.waitFor(() => {
      const found = this.messages.filter((message) => message.split('\n').includes(line))
      if (found.length < n) throw new Error(`no ${n} "${line}" among:\n${this.messages.join('\n--\n')}`)
      return found[n - 1]!.split('\n').filter((other) => other !== line)
    }, WAIT)
  }

  close(): void {
    clearInterval(this.#reading)
    sys.close(this.#fd)
  }

  #read(): void {
    for (;;) {
      try {
        this.messages.push(this.#buffer.toString('utf8', 0, readSync(this.#fd, this.#buffer)))
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return
        throw error
      }
    }
  }
}

/** One socket of a socket unit. */
export interface UnitSocket {
  kind: 'udp' | 'tcp'
  address: string
  port: number
  /** FileDescriptorName= */
  name?: string
}

/** Keeps sockets, and starts the service with them as often as it is told. */
export class Activator {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'byname-activation-'))
  /** Everything that the service has written to standard error. */
  log = ''
  readonly #sockets: { fd: number; name: string }[]
  #child: ChildProcess | null = null

  constructor(sockets: readonly UnitSocket[]) {
    this.#sockets = sockets.map(({ kind, address, port, name = 'byname.socket' }) => {
      const { family, bytes } = socketAddress(address, port)
      const options = { reusePort: false, packetInfo: false, bufferBytes: BUFFER_BYTES }
      const fd = kind === 'tcp' ? sys.openListener(family, bytes, BACKLOG) : sys.openDatagram(family, bytes, options)
      if (fd < 0) throw new Error(`cannot open ${kind} ${address} ${port}: ${fd}`)
      return { fd, name }
    })
  }

  /** Starts the service; resolves when it answers, or has ended. */
  async start(config: object, env: Record<string, string> = {}): Promise<void> {
    const file = join(this.folder, 'byname.yaml')
    writeFileSync(file, JSON.stringify(config))
    const before = this.log.length
    // The process id is known only then; exec keeps it.
    const script = 'LISTEN_PID=$$ exec "$0" "$@"'
    const child = spawn('sh', ['-c', script, LAUNCHER, 'run', '--config', file], {
      env: {
        PATH: process.env['PATH'] ?? '',
        LISTEN_FDS: String(this.#sockets.length),
        LISTEN_FDNAMES: this.#sockets.map(({ name }) => name).join(':'),
        ...env,
      },
      stdio: ['ignore', 'ignore', 'pipe', ...this.#sockets.map(({ fd }) => fd)],
    })
    this.#child = child
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.log += text))
    await vi.waitFor(() => {
      if (!this.log.slice(before).includes('byname is answering') && child.exitCode === null) throw new Error(this.log)
    }, WAIT)
  }

  /** Waits for the n-th log line with this text (from 1), and returns it. */
  async logged(text: string, n = 1): Promise<Record<string, unknown>> {
    return await vi.waitFor(() => {
      const found = this.log.split('\n').filter((line) => line.includes(text))[n - 1]
      if (found === undefined) throw new Error(`no ${n} "${text}" in:\n${this.log}`)
      return JSON.parse(found)
    }, WAIT)
  }

  /** Of the process that was started first. */
  get pid(): number {
    return this.#child!.pid!
  }

  /** Ends the service and returns its exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child
    if (child === null || child.exitCode !== null) return child?.exitCode ?? null
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
    return child.exitCode
  }

  async close(): Promise<void> {
    await this.stop()
    for (const { fd } of this.#sockets) sys.close(fd)
    rmSync(this.folder, { recursive: true, force: true })
  }
}
