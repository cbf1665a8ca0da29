/** The daemon as a process of its own, started as people start it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { StatusReport } from '../../src/observe/status.ts'
import { type Ended, LAUNCHER } from '../cli/byname-process.ts'
import { WAIT_MS } from '../wait.ts'
import { parseExposition, valueOf } from '../observe/exposition.ts'

/** A log line. */
export type LogLine = Record<string, unknown> & { level: string; msg: string }

export interface DaemonStart {
  /** Of the configuration file; listen, metrics and admin are on free ports unless it says otherwise. */
  config?: { upstream?: object; log?: object; [key: string]: unknown }
  env?: Record<string, string>
  /** Text of resolv.conf, `missing` for none at all; an empty one if not given. */
  resolvConf?: string
  /** Further arguments of `byname run`. */
  args?: readonly string[]
  /** Of another copy of the package. */
  launcher?: string
}

/** Starts a copy of byname; only PATH comes from this process's environment. */
export function startLauncher(
  launcher: string,
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcess {
  return spawn(process.execPath, [launcher, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** Runs a copy of byname to its end; one that does not end is killed, so that no test leaves it behind. */
export async function runLauncher(
  launcher: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Ended> {
  const child = startLauncher(launcher, args, env)
  let out = ''
  let err = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (err += text))
  const timer = setTimeout(() => child.kill('SIGKILL'), WAIT_MS)
  await once(child, 'close')
  clearTimeout(timer)
  return { code: child.exitCode, out, err }
}

export class DaemonProcess {
  readonly child: ChildProcess
  /** A folder for files of this daemon; it goes with the daemon. */
  readonly folder: string
  readonly resolvConf: string
  readonly lines: LogLine[] = []
  /** What was printed on standard error besides log lines. */
  readonly otherLines: string[] = []
  #changed: PromiseWithResolvers<void> = Promise.withResolvers()
  #hasEnded = false

  private constructor(options: DaemonStart) {
    this.folder = mkdtempSync(join(tmpdir(), 'byname-daemon-'))
    this.resolvConf = join(this.folder, 'resolv.conf')
    if (options.resolvConf !== 'missing') writeFileSync(this.resolvConf, options.resolvConf ?? '')
    const file = join(this.folder, 'byname.yaml')
    const { upstream, log, ...config } = options.config ?? {}
    const whole = {
      listen: ['127.0.0.1:0'],
      metrics: { listen: '127.0.0.1:0' },
      admin: { listen: '127.0.0.1:0' },
      ...config,
      // A server of the test's own may have no processor for a while: that is no reason to ask again.
      upstream: { resolvConf: this.resolvConf, attemptTimeoutMs: 3000, ...upstream },
      log: { format: 'json', ...log },
    }
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(whole))
    this.child = startLauncher(
      options.launcher ?? LAUNCHER,
      ['run', '--config', file, ...(options.args ?? [])],
      options.env,
    )
    this.child.stdout!.resume()
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      try {
        this.lines.push(JSON.parse(line))
      } catch {
        this.otherLines.push(line)
      }
      this.#tell()
    })
    this.child.on('close', () => {
      this.#hasEnded = true
      this.#tell()
    })
  }

  /** Starts it and waits until it answers. */
  static async start(options: DaemonStart = {}): Promise<DaemonProcess> {
    const daemon = new DaemonProcess(options)
    try {
      await daemon.line('byname is answering')
      return daemon
    } catch (error) {
      await daemon.stop()
      throw error
    }
  }

  /** Waits for a log line whose message begins so, one that is there already included. */
  async line(message: string, timeoutMs: number = WAIT_MS): Promise<LogLine> {
    const deadline = AbortSignal.timeout(timeoutMs)
    const over = once(deadline, 'abort')
    for (;;) {
      const found = this.lines.find(({ msg }) => msg.startsWith(message))
      if (found !== undefined) return found
      if (this.#hasEnded || deadline.aborted)
        throw new Error(`no line "${message}" ${this.#hasEnded ? 'before it ended' : 'in time'}; ${this.#said}`)
      await Promise.race([this.#changed.promise, over])
    }
  }

  /** Waits for the n-th log line whose message begins so (from 1). */
  async nthLine(message: string, n: number, timeoutMs: number = WAIT_MS): Promise<LogLine> {
    const deadline = AbortSignal.timeout(timeoutMs)
    const over = once(deadline, 'abort')
    for (;;) {
      const found = this.lines.filter(({ msg }) => msg.startsWith(message))
      if (found.length >= n) return found[n - 1]!
      if (this.#hasEnded || deadline.aborted) throw new Error(`no ${n} lines "${message}"; ${this.#said}`)
      await Promise.race([this.#changed.promise, over])
    }
  }

  /** Where it listens, by the order in the configuration. */
  at(index: number = 0): { address: string; port: number } {
    const listen: unknown = this.lines.find(({ msg }) => msg === 'byname is answering')?.['listen']
    const [, address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(Array.isArray(listen) ? String(listen[index]) : '')!
    return { address: address!, port: Number(port) }
  }

  async get(endpoint: 'metrics' | 'admin', path: string): Promise<Response> {
    const { address, port } = await this.line(`${endpoint} endpoint is listening`)
    return await fetch(`http://${String(address)}:${String(port)}${path}`)
  }

  /** A metric's value; labels as in the exposition format. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number | undefined> {
    return valueOf(parseExposition(await (await this.get('metrics', '/metrics')).text()), name, labels)
  }

  async status(): Promise<StatusReport> {
    const report: StatusReport = JSON.parse(await (await this.get('admin', '/debug/status')).text())
    return report
  }

  /** Ends it with a signal and returns exit code and signal. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<[number | null, NodeJS.Signals | null]> {
    if (!this.#hasEnded) {
      // One that has handed over is gone; its pipes close with the last process after it.
      const isGone = this.child.exitCode !== null || this.child.signalCode !== null
      const event = isGone ? 'close' : 'exit'
      const ended = once(this.child, event, { signal: AbortSignal.timeout(WAIT_MS) })
      this.child.kill(signal)
      await ended
    }
    return [this.child.exitCode, this.child.signalCode]
  }

  /** Ends it whatever it takes, and cleans up. */
  async stop(): Promise<void> {
    try {
      await this.end()
    } catch {
      this.child.kill('SIGKILL')
      throw new Error(`the daemon did not end on SIGTERM; ${this.#said}`)
    } finally {
      rmSync(this.folder, { recursive: true, force: true })
    }
  }

  get #said(): string {
    return `it said:\n${[...this.lines.map((line) => JSON.stringify(line)), ...this.otherLines].join('\n')}`
  }

  #tell(): void {
    const { resolve } = this.#changed
    this.#changed = Promise.withResolvers()
    resolve()
  }
}
