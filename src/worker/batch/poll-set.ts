/**
 * The descriptors that a batch driver waits for: eventfd, listeners, TCP listeners that nobody serves yet, upstream
 * sockets; built anew when sockets change.
 */
import { POLLFD_BYTES, POLLIN, type Syscalls } from '../../os/syscalls.ts'
import type { UpstreamSocket, UpstreamSockets } from './upstream-sockets.ts'

/** poll skips it. */
const IGNORED_FD = -1

/** The descriptors that a worker waits on. */
export class PollSet {
  /** Upstream sockets in the set, in its order. */
  readonly sockets: UpstreamSocket[] = []
  readonly #sys: Syscalls
  readonly #wakeFd: number
  readonly #listenerFds: readonly number[]
  #knockFds: readonly number[]
  readonly #upstream: UpstreamSockets
  /** `struct pollfd` each; more memory than the set needs, because it changes hundreds of times a second under load. */
  #set: Buffer = Buffer.alloc(0)
  #words: Int32Array = new Int32Array(0)
  #count = 0
  /** Place of `sockets[0]` in the set. */
  #firstSocket = 0
  #builtFor = -1
  #hasListeners = true

  constructor(
    sys: Syscalls,
    wakeFd: number,
    listenerFds: readonly number[],
    knockFds: readonly number[],
    upstream: UpstreamSockets,
  ) {
    this.#sys = sys
    this.#wakeFd = wakeFd
    this.#listenerFds = listenerFds
    this.#knockFds = knockFds
    this.#upstream = upstream
  }

  /** Waits for all but the listeners from now on: another process reads them. */
  leaveListeners(): void {
    this.#hasListeners = false
    this.#knockFds = []
    this.#builtFor = -1
  }

  /** Whether TCP listeners are in the set. */
  get hasKnocks(): boolean {
    return this.#knockFds.length > 0
  }

  /** Whether a client waits to be accepted; once told of it nobody is told again. */
  takeKnock(): boolean {
    const first = 1 + this.#listenerFds.length
    // No callback: it would be garbage in every round.
    for (let k = 0; k < this.#knockFds.length; k++) {
      if (this.#events(first + k) === 0) continue
      this.#knockFds = []
      this.#builtFor = -1
      return true
    }
    return false
  }

  /** Waits for up to `timeoutMs` (−1: without end). Returns how many have something; the set stays as it is until the next. */
  wait(timeoutMs: number): number {
    if (this.#builtFor !== this.#upstream.changes) this.#build()
    return this.#sys.poll(this.#set, this.#count, timeoutMs)
  }

  #build(): void {
    this.#builtFor = this.#upstream.changes
    const { sockets } = this
    sockets.length = 0
    for (const socket of this.#upstream.all()) sockets.push(socket)
    const listeners = this.#listenerFds.length
    const knocks = this.#knockFds.length
    this.#count = 1 + listeners + knocks + sockets.length
    this.#firstSocket = 1 + listeners + knocks
    if (this.#count * POLLFD_BYTES > this.#set.length) {
      const memory = new SharedArrayBuffer(this.#count * 2 * POLLFD_BYTES)
      this.#set = Buffer.from(memory)
      this.#words = new Int32Array(memory)
    }
    this.#put(0, this.#wakeFd)
    for (let k = 0; k < listeners; k++) this.#put(1 + k, this.#hasListeners ? this.#listenerFds[k]! : IGNORED_FD)
    for (let k = 0; k < knocks; k++) this.#put(1 + listeners + k, this.#knockFds[k]!)
    for (let k = 0; k < sockets.length; k++) this.#put(this.#firstSocket + k, sockets[k]!.fd)
  }

  #put(k: number, fd: number): void {
    this.#words[k * 2] = fd
    this.#words[k * 2 + 1] = POLLIN
  }

  get isWoken(): boolean {
    return this.#events(0) !== 0
  }

  hasQueries(listener: number): boolean {
    return this.#events(1 + listener) !== 0
  }

  /** What poll returned for `sockets[k]`, 0 for nothing. */
  eventsOf(k: number): number {
    return this.#events(this.#firstSocket + k)
  }

  #events(k: number): number {
    const at = k * POLLFD_BYTES + 6
    return this.#set[at]! | (this.#set[at + 1]! << 8)
  }
}
