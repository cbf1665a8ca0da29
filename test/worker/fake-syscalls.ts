/**
 * A kernel of the test's own: it reads and writes the same structs as the real one, says what the test tells it to, and
 * drives the batch driver's loop, which ends only when it is drained: each `epollWait` of the loop runs the next step.
 */
import { randomFillSync } from 'node:crypto'
import {
  type DatagramOptions,
  EAGAIN,
  ECONNREFUSED,
  EPOLL_EVENT_BYTES,
  EPOLL_TOKEN_AT,
  MSG_TRUNC,
  POLLERR,
  POLLIN,
  SOL_UDP,
  type Syscalls,
  UDP_SEGMENT,
} from '../../src/os/syscalls.ts'

const MMSGHDR = 64
const NOTHING: Uint8Array = new Uint8Array(0)

/** A datagram on its way in or out. `name` is the sockaddr of the other side. */
export interface FakeDatagram {
  bytes: Uint8Array
  name: Uint8Array
  control: Uint8Array
}

/** A socket, and what happens when it is used. */
export class FakeSocket {
  readonly inbox: FakeDatagram[] = []
  readonly sent: FakeDatagram[] = []
  /** Error numbers that the next calls of recvmmsg give before the inbox is looked at. */
  readonly receiveErrors: number[] = []
  /** How many datagrams the next calls of sendmmsg take at most; a negative one is an error. */
  readonly sendLimits: number[] = []
  /** The error that sending this datagram gives, 0 for none. */
  refuses: (datagram: FakeDatagram) => number = () => 0
  /** The error that a message to be cut into datagrams gives, 0 for none. */
  refusesSegments = 0
  /** An error that waiting reports and takeError takes. */
  pendingError = 0
  connectedTo: Uint8Array | null = null
  sendCalls = 0
  /** Messages taken; one may have been cut into several datagrams. */
  messages = 0
  errorsTaken = 0
}

export class FakeSyscalls implements Syscalls {
  readonly sockets: Map<number, FakeSocket> = new Map()
  readonly eventfds: Map<number, number> = new Map()
  readonly closed: number[] = []
  /** Time-outs of the loop's waits, in order. */
  readonly timeouts: number[] = []
  sleeps = 0
  canCutMessages = true
  /** Polls for room in a send buffer. */
  roomPolls = 0
  time = 1000
  /** What happens during the loop's waits, one after the other; the error number that a step returns is the wait's. */
  steps: (() => number | void)[] = []
  /** Called when the loop waits and no step is left. */
  onIdle: () => void = () => {
    throw new Error('the loop waits and nothing is left to happen')
  }
  /** Tokens of the descriptors that are waited for. */
  readonly watched: Map<number, number> = new Map()
  readonly #memories: SharedArrayBuffer[] = []
  #nextFd = 100

  addSocket(): { fd: number; socket: FakeSocket } {
    const fd = this.#nextFd++
    const socket = new FakeSocket()
    this.sockets.set(fd, socket)
    return { fd, socket }
  }

  addressOf(memory: SharedArrayBuffer): bigint {
    this.#memories.push(memory)
    return BigInt(this.#memories.length) << 40n
  }

  poll(): number {
    this.roomPolls++
    return 1
  }

  epollCreate(): number {
    return this.#nextFd++
  }

  epollAdd(_epollFd: number, fd: number, token: number): number {
    this.watched.set(fd, token)
    return 0
  }

  epollRemove(_epollFd: number, fd: number): number {
    this.watched.delete(fd)
    return 0
  }

  epollWait(_epollFd: number, events: Uint8Array, most: number, timeoutMs: number): number {
    const view = new DataView(events.buffer, events.byteOffset, events.byteLength)
    this.timeouts.push(timeoutMs)
    const step = this.steps.shift()
    const error = step === undefined ? this.onIdle() : step()
    if (typeof error === 'number' && error !== 0) return -error
    let ready = 0
    for (const [fd, token] of this.watched) {
      const bits = this.#eventsOf(fd)
      if (bits === 0 || ready === most) continue
      view.setUint32(ready * EPOLL_EVENT_BYTES, bits, true)
      view.setUint32(ready * EPOLL_EVENT_BYTES + EPOLL_TOKEN_AT, token, true)
      ready++
    }
    if (ready === 0 && timeoutMs > 0) this.time += timeoutMs
    return ready
  }

  #eventsOf(fd: number): number {
    const count = this.eventfds.get(fd)
    if (count !== undefined) return count > 0 ? POLLIN : 0
    const socket = this.#socket(fd)
    return (
      (socket.inbox.length + socket.receiveErrors.length > 0 ? POLLIN : 0) | (socket.pendingError !== 0 ? POLLERR : 0)
    )
  }

  recvmmsg(fd: number, messages: Uint8Array, count: number): number {
    const socket = this.#socket(fd)
    const error = socket.receiveErrors.shift()
    if (error !== undefined) return -error
    if (socket.inbox.length === 0) return -EAGAIN
    const arrived = socket.inbox.splice(0, count)
    arrived.forEach((datagram, k) => this.#deliver(datagram, new FakeMessage(messages, k, this.#memories)))
    return arrived.length
  }

  #deliver(datagram: FakeDatagram, message: FakeMessage): void {
    const room = message.data
    room.set(datagram.bytes.subarray(0, room.length))
    message.received = Math.min(room.length, datagram.bytes.length)
    message.flags = datagram.bytes.length > room.length ? MSG_TRUNC : 0
    message.name.set(datagram.name)
    message.nameLength = datagram.name.length
    message.control.set(datagram.control)
    message.controlLength = datagram.control.length
  }

  sendmmsg(fd: number, messages: Uint8Array, count: number): number {
    const socket = this.#socket(fd)
    socket.sendCalls++
    const limit = socket.sendLimits.shift() ?? count
    if (limit < 0) return limit
    for (let k = 0; k < count && k < limit; k++) {
      const datagrams = new FakeMessage(messages, k, this.#memories).datagrams()
      const refusal = datagrams.length > 1 ? socket.refusesSegments : 0
      const error = datagrams.reduce((first, datagram) => first || socket.refuses(datagram), refusal)
      if (error !== 0) return k > 0 ? k : -error
      socket.messages++
      socket.sent.push(...datagrams)
    }
    return Math.min(count, limit)
  }

  trimHeap(): void {}

  dropPages(): number {
    return 0
  }

  random(bytes: Uint8Array): boolean {
    randomFillSync(bytes)
    return true
  }

  now(): number {
    return this.time
  }

  sleep(microseconds: number): void {
    this.time += microseconds / 1000
    this.sleeps++
  }

  openDatagram(_family: number, _address: Uint8Array | null, _options: DatagramOptions): number {
    return this.addSocket().fd
  }

  openListener(): number {
    return -ECONNREFUSED
  }

  shareAddress(): number {
    return 0
  }

  connect(fd: number, address: Uint8Array): number {
    this.#socket(fd).connectedTo = address.slice()
    return 0
  }

  boundPort(): number {
    return 0
  }

  receiveBuffer(): number {
    return 425_984
  }

  canSegment(): boolean {
    return this.canCutMessages
  }

  takeError(fd: number): number {
    const socket = this.#socket(fd)
    const error = socket.pendingError
    socket.pendingError = 0
    socket.errorsTaken++
    return error
  }

  close(fd: number): number {
    this.closed.push(fd)
    this.sockets.delete(fd)
    this.watched.delete(fd)
    return 0
  }

  duplicate(fd: number): number {
    return fd
  }

  describe(): null {
    return null
  }

  adopt(): void {}

  sendLocal(): number {
    return 0
  }

  eventfd(): number {
    const fd = this.#nextFd++
    this.eventfds.set(fd, 0)
    return fd
  }

  wake(fd: number): void {
    this.eventfds.set(fd, this.eventfds.get(fd)! + 1)
  }

  drain(fd: number): void {
    this.eventfds.set(fd, 0)
  }

  /** Open sockets towards upstream servers, in the order in which they were opened. */
  get upstreamSockets(): FakeSocket[] {
    return [...this.sockets.values()].filter((socket) => socket.connectedTo !== null)
  }

  #socket(fd: number): FakeSocket {
    const socket = this.sockets.get(fd)
    if (socket === undefined) throw new Error(`descriptor ${fd} is not open`)
    return socket
  }
}

/** A `struct mmsghdr` and what it points to. */
class FakeMessage {
  readonly #view: DataView
  readonly #memories: readonly SharedArrayBuffer[]

  constructor(headers: Uint8Array, k: number, memories: readonly SharedArrayBuffer[]) {
    this.#view = new DataView(headers.buffer, headers.byteOffset + k * MMSGHDR, MMSGHDR)
    this.#memories = memories
  }

  /** The datagrams that leave: the bytes of all iovecs, cut as UDP_SEGMENT says. */
  datagrams(): FakeDatagram[] {
    const name = this.name.slice()
    const bytes = Buffer.concat(
      Array.from({ length: Number(this.#view.getBigUint64(24, true)) }, (_, n) => this.#iovec(n)),
    )
    const control = this.control.slice()
    const segmentBytes = segmentBytesOf(control)
    if (segmentBytes === 0) return [{ bytes: new Uint8Array(bytes), name, control }]
    const count = Math.ceil(bytes.length / segmentBytes)
    return Array.from({ length: count }, (_, n) => {
      return { bytes: new Uint8Array(bytes.subarray(n * segmentBytes, (n + 1) * segmentBytes)), name, control }
    })
  }

  /** What the first iovec names. */
  get data(): Uint8Array {
    return this.#iovec(0)
  }

  #iovec(n: number): Uint8Array {
    const iovec = this.#at(this.#view.getBigUint64(16, true) + BigInt(n * 16), 16)
    const view = new DataView(iovec.buffer, iovec.byteOffset, 16)
    return this.#at(view.getBigUint64(0, true), Number(view.getBigUint64(8, true)))
  }

  get name(): Uint8Array {
    return this.#at(this.#view.getBigUint64(0, true), this.#view.getUint32(8, true))
  }

  set nameLength(bytes: number) {
    this.#view.setUint32(8, bytes, true)
  }

  get control(): Uint8Array {
    return this.#at(this.#view.getBigUint64(32, true), this.#view.getUint32(40, true))
  }

  set controlLength(bytes: number) {
    this.#view.setUint32(40, bytes, true)
  }

  set flags(flags: number) {
    this.#view.setUint32(48, flags, true)
  }

  set received(bytes: number) {
    this.#view.setUint32(56, bytes, true)
  }

  #at(pointer: bigint, length: number): Uint8Array {
    if (pointer === 0n || length === 0) return NOTHING
    const memory = this.#memories[Number(pointer >> 40n) - 1]!
    return new Uint8Array(memory, Number(pointer & 0xff_ffff_ffffn), length)
  }
}

/** The size in a control message UDP_SEGMENT; 0: there is none. */
function segmentBytesOf(control: Uint8Array): number {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength)
  if (control.length < 18 || view.getUint32(8, true) !== SOL_UDP || view.getUint32(12, true) !== UDP_SEGMENT) return 0
  if (view.getBigUint64(0, true) !== 18n) throw new Error('EINVAL: length of the control message')
  return view.getUint16(16, true)
}
