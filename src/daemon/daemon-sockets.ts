/**
 * The sockets of the daemon: those by which clients ask it, and those that it was given for its HTTP endpoints. They come from
 * the process before this one, from the service manager, or are opened here.
 */
import type { Config } from '../config/schema.ts'
import type { Log } from '../observe/log.ts'
import type { Syscalls } from '../os/syscalls.ts'
import { type Passed, placeSockets, takePassed } from './activation.ts'
import type { Inherited, LentEndpoint } from './handover.ts'
import { addSockets, type OpenListener } from './listener-sockets.ts'
import { openListeners } from './listeners.ts'

/** Where the sockets come from, and who is told of those that are of no use. */
export interface DaemonSocketsOptions {
  /** What the service manager says of its sockets is taken away from it. */
  env: NodeJS.ProcessEnv
  inherited: Inherited | null
  sys: Syscalls | null
  /** Why there are no system calls, '' where there are. */
  sysProblem: string
  warn: (line: string) => void
  log: Log
}

/** The sockets until they are closed. Threads get copies, or the use of them. */
export class DaemonSockets {
  readonly #options: DaemonSocketsOptions
  readonly #passed: Passed
  #listeners: readonly OpenListener[] = []
  #endpoints: LentEndpoint[]

  constructor(options: DaemonSocketsOptions) {
    this.#options = options
    this.#passed = takePassed(options.env, process.pid)
    this.#endpoints = options.inherited?.endpoints ?? []
  }

  /** Those that clients ask; none before `open`. */
  get listeners(): readonly OpenListener[] {
    return this.#listeners
  }

  /** Those that were given for HTTP endpoints. Whoever uses one takes it off, and closes the others (handover.ts). */
  get endpoints(): LentEndpoint[] {
    return this.#endpoints
  }

  /** All that is asked over UDP waits in sockets that the service manager keeps. */
  get areActivated(): boolean {
    return this.#listeners.length > 0 && this.#listeners.every((each) => each.isActivated)
  }

  /** @throws BindError; Error if sockets were passed that cannot be used, as nobody else can have them */
  async open(config: Config): Promise<void> {
    const { inherited, log, sys } = this.#options
    this.#listeners = await openListeners(config, sys, inherited?.listeners ?? this.#takeActivated(config), log)
  }

  /** Inherited listeners may be for fewer workers. */
  addFor(workers: number): void {
    const { sys } = this.#options
    if (sys !== null) for (const listener of this.#listeners) addSockets(sys, listener, workers)
  }

  /** Clients that connect are refused, once the stream worker has closed its copies. */
  closeTcp(): void {
    this.#close(this.#listeners.map(({ tcpFd }) => tcpFd))
  }

  /** The data workers have ended. */
  closeUdp(): void {
    this.#close(this.#listeners.flatMap(({ udpFds }) => udpFds))
  }

  #takeActivated(config: Config): OpenListener[] {
    const { sys, sysProblem, warn } = this.#options
    const { sockets, problem } = this.#passed
    if (problem !== null) warn(problem)
    if (sockets.length === 0) return []
    if (sys === null)
      throw new Error(
        `the service manager passed ${sockets.length} sockets, and ${sysProblem}; without that they cannot be used: stop the socket unit`,
      )
    const { listeners, endpoints, problems } = placeSockets(sockets, config, sys)
    this.#endpoints = endpoints
    for (const each of problems) warn(each)
    return listeners
  }

  #close(fds: readonly number[]): void {
    for (const fd of fds) if (fd >= 0) this.#options.sys?.close(fd)
  }
}
