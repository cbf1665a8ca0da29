/** Starts the servers under test and makes sure that none outlives the bench. */
import { spawn, type ChildProcess } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

export interface Command {
  file: string
  args: string[]
  env?: Record<string, string>
  /** Folder to run in. */
  cwd?: string
}

/** One server that runs. */
export class RunningServer {
  readonly pid: number
  readonly #child: ChildProcess
  #output = ''

  constructor(child: ChildProcess, pid: number) {
    this.pid = pid
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#output = (this.#output + text).slice(-4000)))
    }
  }

  /** The end of what it printed: why it did not start. */
  get output(): string {
    return this.#output.trim()
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** SIGTERM, then SIGKILL to the whole group after `deadlineMs`. Resolves when it has ended. */
  async stop(deadlineMs: number): Promise<void> {
    if (!this.hasEnded) {
      const ended = once(this.#child, 'exit')
      signalGroup(this.pid, 'SIGTERM')
      const timer = setTimeout(() => signalGroup(this.pid, 'SIGKILL'), deadlineMs)
      await ended
      clearTimeout(timer)
    }
    signalGroup(this.pid, 'SIGKILL')
  }
}

/** All servers of one bench run. */
export class Servers {
  readonly #running = new Set<RunningServer>()

  /** Starts one, in a process group of its own so that its children end with it. Rejects if it cannot be executed. */
  async start(command: Command): Promise<RunningServer> {
    const child = spawn(command.file, command.args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...command.env },
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    })
    await once(child, 'spawn')
    const server = new RunningServer(child, child.pid!)
    this.#running.add(server)
    child.once('exit', () => this.#running.delete(server))
    return server
  }

  /** At once and without waiting: the last thing before the process ends. */
  killAll(): void {
    for (const server of this.#running) signalGroup(server.pid, 'SIGKILL')
  }
}

/** A port that is free for UDP and TCP on 127.0.0.1 now. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const tcp = createServer().listen(0, '127.0.0.1')
    await once(tcp, 'listening')
    const address = tcp.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const udp = createSocket('udp4')
    const free = await new Promise<boolean>((resolve) => {
      udp.once('error', () => resolve(false))
      udp.bind(port, '127.0.0.1', () => resolve(true))
    })
    udp.close()
    tcp.close()
    await once(tcp, 'close')
    if (free) return port
  }
  throw new Error('no port is free for both UDP and TCP on 127.0.0.1')
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // Already gone.
  }
}
