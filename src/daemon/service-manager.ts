/**
 * What the daemon tells the service manager that started it (systemd), sd_notify(3):
 *
 * ```
 *  sockets bound, first table or 5 s without one ── READY=1 ──→ active; what is ordered after it starts
 *  every third of WatchdogSec=, while the data workers answer ── WATCHDOG=1
 *  SIGHUP ── RELOADING=1, MONOTONIC_USEC= … READY=1        SIGUSR2 ── MAINPID= of the new process        SIGTERM ── STOPPING=1
 * ```
 */
import { execFile } from 'node:child_process'
import { type Clock, steadyClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { socketText } from '../config/address.ts'
import type { ObserveSources } from '../observe/sources.ts'
import { errorName, type Syscalls } from '../os/syscalls.ts'

/** Between two looks at how the daemon fares; sooner if the watchdog needs it. */
const LOOK_MS = 10_000
/** A notification is sent so often within the watchdog's time: one may be late. */
const SIGNS_OF_LIFE = 3
const PROGRAM_MS = 5000
const PING_MS = 1000
/** What people see of it is one line of a terminal or two. */
const MAX_STATUS_LENGTH = 240

const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const

/** How notifications are sent and when. */
export interface ServiceManagerOptions {
  /** Sends assignments (`READY=1`), one a line. Never throws. */
  send: (message: string) => void
  /** How long the service manager waits for a sign of life; null: it does not watch. */
  watchdogMs: number | null
  /** What a process that takes over needs to notify as well. */
  environment: Readonly<Record<string, string>>
  clock?: Clock
  /** CLOCK_MONOTONIC in microseconds. */
  monotonicUs?: () => bigint
}

/** What is looked at while the daemon runs. */
export interface ServiceState {
  /** One line about now, for `systemctl status`. */
  status: () => string
  /** Whether the data workers answer. */
  isAlive: () => Promise<boolean>
}

/** The daemon's end of the conversation. Before `ready` nothing but the end is told, and after the end nothing. */
export class ServiceManager {
  readonly environment: Readonly<Record<string, string>>
  readonly #send: (message: string) => void
  readonly #lookMs: number
  readonly #isWatched: boolean
  readonly #clock: Clock
  readonly #monotonicUs: () => bigint
  #state: ServiceState | null = null
  #isOver = false
  #shown = ''
  #cancel: () => void = () => {}

  constructor(options: ServiceManagerOptions) {
    const { watchdogMs } = options
    this.environment = options.environment
    this.#send = options.send
    this.#isWatched = watchdogMs !== null
    this.#lookMs = Math.min(
      LOOK_MS,
      watchdogMs === null ? LOOK_MS : Math.max(1, Math.floor(watchdogMs / SIGNS_OF_LIFE)),
    )
    this.#clock = options.clock ?? steadyClock
    this.#monotonicUs = options.monotonicUs ?? (() => process.hrtime.bigint() / 1000n)
  }

  /** The daemon answers; from now on `state` is looked at again and again. */
  ready(state: ServiceState): void {
    this.#state = state
    this.#tell('READY=1', this.#isWatched ? 'WATCHDOG=1' : '')
    this.#lookLater()
  }

  /** The configuration is read again; `reloaded` follows. */
  reloading(): void {
    if (this.#state === null) return
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${this.#monotonicUs()}\nSTATUS=Reading the configuration again`)
    this.#shown = ''
  }

  /** The configuration was read again, and is in use or was refused. */
  reloaded(): void {
    if (this.#state !== null) this.#tell('READY=1')
  }

  /** Another process answers from now on, and is the service: it notifies as well. Nothing is told after it. */
  handedOver(pid: number): void {
    this.#end(`MAINPID=${pid}`)
  }

  /** The daemon drains and ends, whether it was ready or not. Nothing is told after it. */
  stopping(): void {
    this.#end('STOPPING=1\nSTATUS=Answering what has been asked, then ending')
  }

  #end(message: string): void {
    this.#state = null
    this.#cancel()
    if (!this.#isOver) this.#send(message)
    this.#isOver = true
  }

  #lookLater(): void {
    this.#cancel = this.#clock.after(this.#lookMs, () => void this.#look())
  }

  async #look(): Promise<void> {
    const state = this.#state
    const isAlive = (await state?.isAlive()) ?? false
    if (state === null || this.#state !== state) return
    this.#tell(this.#isWatched && isAlive ? 'WATCHDOG=1' : '')
    this.#lookLater()
  }

  /** Sends assignments, and the status where it is another one than before. */
  #tell(...assignments: string[]): void {
    const status = `STATUS=${oneLine(this.#state?.status() ?? '')}`
    const lines = [...assignments, status === this.#shown ? '' : status].filter((line) => line !== '')
    this.#shown = status
    if (lines.length > 0) this.#send(lines.join('\n'))
  }
}

/** How a daemon that answers is doing, as its observer sees it. */
export function serviceState({
  listeners,
  mesh,
  problems,
  ready,
  ping,
}: Pick<ObserveSources, 'listeners' | 'mesh' | 'problems' | 'ready' | 'ping'>): ServiceState {
  return {
    status: () => {
      const at = listeners().flatMap(({ proto, address, port }) => (proto === 'udp' ? [socketText(address, port)] : []))
      const { hosts, fromLastKnownGood } = mesh()
      const { missing } = ready()
      const names = `mesh hosts: ${hosts}${fromLastKnownGood ? ' (last known good table)' : ''}`
      return [
        `Answering on ${at.join(', ')}`,
        ...(missing.length > 0 ? missing : [names]),
        ...problems().map(({ text }) => text),
      ].join('; ')
    },
    isAlive: async () => (await ping(PING_MS)).every(Boolean),
  }
}

/**
 * The service manager that `env` names, which is taken away from it and from this process's environment: no child is to
 * notify in its name. Null without one, and where it cannot be told (the log says why then). `sys`: null without koffi;
 * systemd's own program notifies then.
 */
export function openServiceManager(
  env: NodeJS.ProcessEnv,
  sys: Syscalls | null,
  log: Pick<Log, 'warn'>,
): ServiceManager | null {
  const { NOTIFY_SOCKET: socket = '', WATCHDOG_USEC: watchdogUs = '', WATCHDOG_PID: watched } = env
  const path = env['PATH']
  for (const name of VARIABLES) {
    delete env[name]
    delete process.env[name]
  }
  if (socket === '') return null
  if (!/^[/@]./.test(socket)) {
    log.warn({ socket }, 'NOTIFY_SOCKET is no local socket: the service manager is told nothing')
    return null
  }
  const isWatched = /^[1-9]\d{0,15}$/.test(watchdogUs) && (watched === undefined || watched === String(process.pid))
  const environment = { NOTIFY_SOCKET: socket, ...(isWatched && { WATCHDOG_USEC: watchdogUs }) }
  return new ServiceManager({
    send: sys === null ? programSender(socket, path, log) : socketSender(socket, sys, log),
    watchdogMs: isWatched ? Number(watchdogUs) / 1000 : null,
    environment,
  })
}

function socketSender(socket: string, sys: Syscalls, log: Pick<Log, 'warn'>): (message: string) => void {
  const tell = once(log, socket)
  return (message) => {
    const sent = sys.sendLocal(socket, message)
    if (sent < 0) tell(errorName(-sent))
  }
}

/** One after the other: the order counts. */
function programSender(socket: string, path: string | undefined, log: Pick<Log, 'warn'>): (message: string) => void {
  const tell = once(log, socket)
  const env = { NOTIFY_SOCKET: socket, PATH: path }
  let last = Promise.resolve()
  return (message) => {
    const send = (): Promise<void> =>
      new Promise((resolve) => {
        execFile('systemd-notify', message.split('\n'), { env, timeout: PROGRAM_MS }, (error) => {
          if (error !== null) tell(`there is no koffi, and systemd-notify: ${error.message}`)
          resolve()
        })
      })
    last = last.then(send)
  }
}

/** Says once that notifications do not arrive: each one would be a line. */
function once(log: Pick<Log, 'warn'>, socket: string): (reason: string) => void {
  let isSaid = false
  return (reason) => {
    if (isSaid) return
    isSaid = true
    log.warn({ socket, reason: oneLine(reason) }, 'the service manager cannot be told how the daemon fares')
  }
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim()
  return line.length > MAX_STATUS_LENGTH ? `${line.slice(0, MAX_STATUS_LENGTH - 1)}…` : line
}
