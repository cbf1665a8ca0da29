/** The descriptors that a batch driver waits for: eventfd, listeners, upstream sockets; built anew when sockets change. */
import { POLLFD_BYTES, POLLIN, type Syscalls } from '../../os/syscalls.ts'
import type { UpstreamSocket, UpstreamSockets } from './upstream-sockets.ts'

/** poll skips it. */
const IGNORED_FD = -1

/** The descriptors that a worker waits on. */
export class PollSet {
  /** Upstream sockets in the set, in its order. */
  sockets: UpstreamSocket[] = []
  readonly #sys: Syscalls
  readonly #wakeFd: number
  readonly #listenerFds: readonly number[]
  readonly #upstream: UpstreamSockets
  #set: Buffer = Buffer.alloc(0)
  #builtFor = -1
  #hasListeners = true

  constructor(sys: Syscalls, wakeFd: number, listenerFds: readonly number[], upstream: UpstreamSockets) {
    this.#sys = sys
    this.#wakeFd = wakeFd
    this.#listenerFds = listenerFds
    this.#upstream = upstream
  }

  /** Waits for all but the listeners from now on: another process reads them. */
  leaveListeners(): void {
    this.#hasListeners = false
    this.#builtFor = -1
  }

  /** Waits for up to `timeoutMs` (−1: without end). Returns how many have something; the set stays as it is until the next. */
  wait(timeoutMs: number): number {
    if (this.#builtFor !== this.#upstream.changes) this.#build()
    return this.#sys.poll(this.#set, this.#set.length / POLLFD_BYTES, timeoutMs)
  }

  #build(): void {
    this.#builtFor = this.#upstream.changes
    this.sockets = [...this.#upstream.all()]
    const fds = [
      this.#wakeFd,
      ...this.#listenerFds.map((fd) => (this.#hasListeners ? fd : IGNORED_FD)),
      ...this.sockets.map((socket) => socket.fd),
    ]
    this.#set = Buffer.from(new SharedArrayBuffer(fds.length * POLLFD_BYTES))
    fds.forEach((fd, k) => {
      this.#set.writeInt32LE(fd, k * POLLFD_BYTES)
      this.#set.writeUInt16LE(POLLIN, k * POLLFD_BYTES + 4)
    })
  }

  get isWoken(): boolean {
    return this.#events(0) !== 0
  }

  hasQueries(listener: number): boolean {
    return this.#events(1 + listener) !== 0
  }

  /** What poll returned for `sockets[k]`, 0 for nothing. */
  eventsOf(k: number): number {
    return this.#events(1 + this.#listenerFds.length + k)
  }

  #events(k: number): number {
    const at = k * POLLFD_BYTES + 6
    return this.#set[at]! | (this.#set[at + 1]! << 8)
  }
}
