/**
 * The fast driver: the worker's own loop over epoll, recvmmsg and sendmmsg, up to 64 datagrams a call, in memory laid out
 * once. Answers are built where they are sent from; a hit allocates nothing.
 *
 * ```
 *  epoll ─→ eventfd: mail, stream queries
 *        ─→ TCP listeners that nobody serves yet: the stream worker is wanted
 *        ─→ upstream sockets: recvmmsg → engine.upstreamDatagram → replies to those who waited ─┐
 *        ─→ listeners:        recvmmsg → engine.query → answer in place ────────────────────────┴→ sendmmsg
 *                                             └→ queries to upstream servers, one sendmmsg a server
 * ```
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { isLoopback } from '../../engine/access.ts'
import type { EngineSettings, UpstreamServer } from '../../engine/settings.ts'
import type { FromStream } from '../../engine/stream-port.ts'
import {
  AF_INET,
  EAGAIN,
  EINTR,
  MSG_DONTWAIT,
  MSG_TRUNC,
  POLLERR,
  SOCKADDR_BYTES,
  SOCKADDR_IN_BYTES,
  type Syscalls,
} from '../../os/syscalls.ts'
import { Cell, Drop, type WorkerCounters } from '../../stats/counters.ts'
import { DatagramGroups } from './datagram-groups.ts'
import { CONTROL_STRIDE, DatagramRing, NAME_STRIDE } from './datagram-ring.ts'
import { DatagramSender } from './datagram-sender.ts'
import {
  type Driver,
  type DriverContext,
  isLoopbackListener,
  MAX_QUERY_BYTES,
  MAX_UPSTREAM_REPLY_BYTES,
} from '../driver.ts'
import { FailedRounds } from './failed-rounds.ts'
import type { ToWorker, WorkerListener } from '../mailbox.ts'
import { LINGER_MS } from '../upstream-pool.ts'
import { PollSet } from './poll-set.ts'
import { UpstreamBatches } from './upstream-batches.ts'
import { type UpstreamSocket, UpstreamSockets } from './upstream-sockets.ts'

const BATCH = 64
/** Full batches taken from one listener before the next listener is read. */
const BATCHES_IN_A_ROW = 8
const NAME_WORDS = NAME_STRIDE / 4
const FAMILY_V6 = 10
/** From so many datagrams a round on, the next ones are let gather before they are read: for so long, and timer slack. */
const GATHER_FROM = 16
const GATHER_US = 50
/** Messages taken from a port before datagrams are read again. */
const MAIL_IN_A_ROW = 64

/** The batch driver of one data worker. */
export class BatchDriver implements Driver {
  readonly #sys: Syscalls
  readonly #counters: WorkerCounters
  readonly #listeners: WorkerListener[]
  /** By listener: who asks there is this machine. */
  readonly #isLoopback: boolean[]
  readonly #control: MessagePort
  readonly #wakeFd: number
  readonly #sockets: UpstreamSockets
  readonly #in: DatagramRing
  readonly #out: DatagramRing
  readonly #upstreamIn: DatagramRing
  readonly #sender: DatagramSender
  /** By listener: groups of `#out` if its replies to the same client may leave as one message. */
  readonly #groups: (DatagramGroups | null)[]
  readonly #upstream: UpstreamBatches
  readonly #pollSet: PollSet
  /** By listener, and the wait's at the end. */
  readonly #failures: FailedRounds
  #servers: readonly UpstreamServer[] = []

  /** Queries received in this round. */
  #received = 0
  #outUsed = 0
  #outListener = 0
  /** The query in hand: its slot in `#in` and its listener; −1: it came by a stream. */
  #slot = -1
  #listener = 0
  /** −1: it came by a stream. */
  readonly #heldListener: Int16Array
  readonly #heldNames: Uint32Array
  readonly #heldControls: Uint8Array
  readonly #heldControlLength: Uint8Array
  #replyToStream = false

  #context: DriverContext | null = null
  #drainUntil: number = Number.POSITIVE_INFINITY
  #isDraining = false
  #hasLeft = false

  constructor(options: {
    sys: Syscalls
    counters: WorkerCounters
    listeners: WorkerListener[]
    control: MessagePort
    wakeFd: number
    knockFds: readonly number[]
    openedFds: Int32Array
    random: () => number
    settings: EngineSettings
    waiters: number
  }) {
    const { sys, settings, waiters } = options
    this.#sys = sys
    this.#counters = options.counters
    this.#listeners = options.listeners
    this.#isLoopback = options.listeners.map(isLoopbackListener)
    this.#control = options.control
    this.#wakeFd = options.wakeFd
    const hasWildcard = options.listeners.some((listener) => listener.isWildcard)
    const controlBytes = hasWildcard ? CONTROL_STRIDE : 0
    const replyBytes = (Math.max(settings.maxUdpPayload.local, settings.maxUdpPayload.remote, 512) + 7) & ~7
    this.#in = new DatagramRing(sys, BATCH, MAX_QUERY_BYTES, SOCKADDR_BYTES, controlBytes)
    this.#out = new DatagramRing(sys, BATCH, replyBytes, SOCKADDR_BYTES, controlBytes)
    this.#upstreamIn = new DatagramRing(sys, BATCH, MAX_UPSTREAM_REPLY_BYTES, 0, 0)
    this.#sender = new DatagramSender(sys)
    const canSegment = options.listeners.some((listener) => sys.canSegment(listener.fd))
    const groups = canSegment ? new DatagramGroups(sys, this.#out) : null
    this.#groups = options.listeners.map((listener) => (listener.isWildcard ? null : groups))
    const fds = options.listeners.map((listener) => listener.fd)
    const set = new PollSet(sys, options.wakeFd, fds, options.knockFds, options.openedFds)
    this.#pollSet = set
    this.#sockets = new UpstreamSockets(sys, options.random, options.openedFds, (fd, place) => set.addSocket(fd, place))
    this.#upstream = new UpstreamBatches(sys, this.#sender, this.#sockets, canSegment)
    this.#failures = new FailedRounds(fds.length + 1)
    this.#heldListener = new Int16Array(waiters)
    this.#heldNames = new Uint32Array(waiters * NAME_WORDS)
    this.#heldControls = new Uint8Array(hasWildcard ? waiters * CONTROL_STRIDE : 0)
    this.#heldControlLength = new Uint8Array(waiters)
    if (options.listeners.length > 0) {
      this.#counters.set(Cell.receiveBufferBytes, Math.max(0, sys.receiveBuffer(options.listeners[0]!.fd)))
    }
    this.configure(settings)
  }

  now(): number {
    return this.#sys.now()
  }

  configure(settings: EngineSettings): void {
    // What was gathered in this round counts as sent, and the servers may be the same.
    this.#upstream.flush()
    this.#servers = settings.servers
    this.#sockets.configure(settings.servers, settings.deadlineMs + LINGER_MS, this.#sys.now())
    this.#upstream.configure(settings.servers)
  }

  leaveListeners(): void {
    this.#hasLeft = true
    this.#pollSet.leaveListeners()
  }

  drain(deadlineMs: number): void {
    this.#isDraining = true
    this.#drainUntil = this.#sys.now() + deadlineMs
  }

  run(context: DriverContext): void {
    this.#context = context
    const { engine, stream } = context
    const sys = this.#sys
    while (true) {
      this.#failures.begin()
      const ready = this.#pollSet.wait(this.#timeout())
      if (ready < 0 && ready !== -EINTR) this.#failures.failed(this.#listeners.length, 'epoll_wait', -ready)
      const now = sys.now()
      engine.advance(now)
      if (ready > 0) this.#work(ready)
      this.#reportFailures()
      stream.flush()
      this.#upstream.flush()
      this.#flushReplies()
      if (now >= this.#sockets.nextClose) this.#sockets.closeRetired(now)
      engine.endBatch(sys.now())
      if (this.#isDraining && this.#isDrained(ready, now)) break
      this.#gather()
    }
    this.#sockets.closeAll()
    this.#pollSet.close()
  }

  /**
   * Under load a moment's wait makes batches of twenty out of batches of seven: 15 % more answers per CPU second, for at
   * most 0.1 ms. Network cards do the same with their interrupts.
   */
  #gather(): void {
    if (this.#received >= GATHER_FROM) this.#sys.sleep(GATHER_US)
    this.#received = 0
  }

  /** Milliseconds until something is due, rounded up so that the wait does not end just before it; −1: nothing is. */
  #timeout(): number {
    if (this.#isDraining) return 1
    if (this.#sender.failed.length > 0) return 0
    const due = Math.min(this.#context!.engine.nextDue, this.#sockets.nextClose)
    if (due === Number.POSITIVE_INFINITY) return -1
    return Math.max(0, Math.min(60_000, Math.ceil(due - this.#sys.now())))
  }

  #isDrained(ready: number, now: number): boolean {
    return now >= this.#drainUntil || ((ready <= 0 || this.#hasLeft) && this.#context!.engine.isQuiet)
  }

  #work(ready: number): void {
    const set = this.#pollSet
    // Replies first: they free places for the queries that follow. No socket is closed before the next round.
    for (let k = 0; k < ready; k++) {
      const place = set.placeAt(k)
      const socket = place < 0 ? undefined : this.#sockets.at(place)
      if (socket !== undefined) this.#receiveReplies(socket, set.eventsAt(k))
    }
    for (let k = 0; k < ready; k++) {
      const listener = set.listenerAt(k)
      if (listener >= 0) this.#receiveQueries(listener)
    }
    for (let k = 0; k < ready; k++) if (set.isWakeAt(k)) this.#receiveMail()
    for (let k = 0; k < ready; k++) if (set.isKnockAt(k)) this.#receiveKnock()
  }

  #receiveKnock(): void {
    // Once told of it nobody is told again.
    this.#pollSet.stopKnocks()
    this.#context!.stream.want()
  }

  // ── mail ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #receiveMail(): void {
    const context = this.#context!
    const { stream, engine } = context
    this.#sys.drain(this.#wakeFd)
    for (let n = 0; ; n++) {
      const mail = receiveMessageOnPort(this.#control)
      if (mail === undefined) break
      const message: ToWorker = mail.message
      context.receive(message)
      if (n < MAIL_IN_A_ROW) continue
      // More may be waiting, and nobody will say so again: come back in the next round.
      this.#sys.wake(this.#wakeFd)
      break
    }
    this.#slot = -1
    for (let n = 0; ; n++) {
      const port = stream.port
      const mail = port === null ? undefined : receiveMessageOnPort(port)
      if (mail === undefined) return
      const message: FromStream = mail.message
      stream.receive(message, engine)
      if (n < MAIL_IN_A_ROW) continue
      this.#sys.wake(this.#wakeFd)
      return
    }
  }

  // ── queries ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #receiveQueries(listener: number): void {
    const { fd } = this.#listeners[listener]!
    const ring = this.#in
    for (let round = 0; round < BATCHES_IN_A_ROW; round++) {
      const count = this.#sys.recvmmsg(fd, ring.headers, BATCH, MSG_DONTWAIT)
      if (count <= 0) {
        if (count < 0 && -count !== EAGAIN && -count !== EINTR) this.#receiveFailed(listener, -count, round > 0)
        return
      }
      this.#counters.add(Cell.batches, 1)
      this.#counters.add(Cell.datagrams, count)
      this.#received += count
      if (listener !== this.#outListener) {
        this.#flushReplies()
        this.#outListener = listener
      }
      this.#listener = listener
      for (let k = 0; k < count; k++) this.#serve(k)
      ring.resetLengths(count)
      this.#flushReplies()
      // Where several came at once more have come meanwhile: looking costs less than a round through epoll and the clock.
      if (count === 1) return
      this.#upstream.flush()
    }
  }

  /** An ICMP error queued on the socket costs one call; the datagrams behind it are read in the next round. */
  #receiveFailed(listener: number, error: number, hasReceived: boolean): void {
    const { address, fd, port } = this.#listeners[listener]!
    this.#sys.takeError(fd)
    if (!hasReceived) this.#failures.failed(listener, `recvmmsg on ${address} port ${port}`, error)
  }

  #serve(k: number): void {
    const { engine } = this.#context!
    const ring = this.#in
    const out = this.#out
    // The port is the upper half of a sockaddr's first word. None can be replied to, and a reply would stop its batch.
    if (ring.nameWords[k * NAME_WORDS]! >>> 16 === 0) return this.#counters.drop(Drop.sourcePortZero)
    if (this.#outUsed === BATCH) this.#flushReplies()
    this.#slot = k
    const name = k * NAME_STRIDE
    const isSameMachine =
      this.#isLoopback[this.#listener]! ||
      (this.#listeners[this.#listener]!.isWildcard &&
        isToLoopback(ring.controls, k * CONTROL_STRIDE, ring.controlLength(k)))
    const port = (ring.names[name + 2]! << 8) | ring.names[name + 3]!
    if (ring.names[name] === AF_INET) engine.client(0, ring.names, name + 4, 4, isSameMachine, port)
    else engine.client(0, ring.names, name + 8, 16, isSameMachine, port)
    const at = k * MAX_QUERY_BYTES
    const to = this.#outUsed * out.slotBytes
    const length =
      (ring.flags(k) & MSG_TRUNC) === 0
        ? engine.query(ring.bytes, at, ring.received(k), out.bytes, to)
        : engine.cutQuery(ring.bytes, at, out.bytes, to)
    if (length === 0) return
    // What a query caused may have sent the batch, and its slot with it: not when it was answered at once.
    const slot = this.#outUsed
    copyName(ring.nameWords, k * NAME_WORDS, out.nameWords, slot * NAME_WORDS)
    let controlBytes = 0
    if (this.#listeners[this.#listener]!.isWildcard) {
      controlBytes = copyPacketInfo(
        ring.controls,
        k * CONTROL_STRIDE,
        ring.controlLength(k),
        out.controls,
        slot * CONTROL_STRIDE,
      )
    }
    out.setLengths(slot, length, nameBytesOf(ring.names[name]!), controlBytes)
    this.#outUsed = slot + 1
  }

  // ── replies to clients ──────────────────────────────────────────────────────────────────────────────────────────────

  hold(waiter: number): void {
    if (this.#slot < 0) {
      this.#heldListener[waiter] = -1
      this.#context!.stream.hold(waiter)
      return
    }
    const ring = this.#in
    const k = this.#slot
    this.#heldListener[waiter] = this.#listener
    copyName(ring.nameWords, k * NAME_WORDS, this.#heldNames, waiter * NAME_WORDS)
    if (!this.#listeners[this.#listener]!.isWildcard) return
    this.#heldControlLength[waiter] = copyPacketInfo(
      ring.controls,
      k * CONTROL_STRIDE,
      ring.controlLength(k),
      this.#heldControls,
      waiter * CONTROL_STRIDE,
    )
  }

  openReply(waiter: number): void {
    const listener = this.#heldListener[waiter]!
    this.#replyToStream = listener < 0
    if (this.#replyToStream) return this.#context!.stream.open(waiter)
    if (listener !== this.#outListener || this.#outUsed === BATCH) this.#flushReplies()
    this.#outListener = listener
  }

  get reply(): Uint8Array {
    return this.#replyToStream ? this.#context!.stream.reply : this.#out.bytes
  }

  get replyAt(): number {
    return this.#replyToStream ? this.#context!.stream.replyAt : this.#outUsed * this.#out.slotBytes
  }

  sendReply(waiter: number, length: number): void {
    if (this.#replyToStream) return this.#context!.stream.send(length)
    if (length === 0) return
    const out = this.#out
    const slot = this.#outUsed++
    copyName(this.#heldNames, waiter * NAME_WORDS, out.nameWords, slot * NAME_WORDS)
    let controlBytes = 0
    if (this.#listeners[this.#outListener]!.isWildcard) {
      controlBytes = this.#heldControlLength[waiter]!
      const from = waiter * CONTROL_STRIDE
      for (let i = 0; i < controlBytes; i++) out.controls[slot * CONTROL_STRIDE + i] = this.#heldControls[from + i]!
    }
    out.setLengths(slot, length, nameBytesOf(out.nameWords[slot * NAME_WORDS]! & 0xff), controlBytes)
  }

  #flushReplies(): void {
    if (this.#outUsed === 0) return
    const listener = this.#outListener
    const dropped = this.#sender.sendReplies(
      this.#listeners[listener]!.fd,
      this.#out,
      this.#outUsed,
      this.#groups[listener]!,
    )
    for (let k = 0; k < dropped; k++) this.#counters.drop(Drop.sendFailed)
    this.#outUsed = 0
  }

  // ── upstream ────────────────────────────────────────────────────────────────────────────────────────────────────────

  openQuery(): void {
    // Where it will go is not known yet.
  }

  get query(): Uint8Array {
    return this.#upstream.query
  }

  get queryAt(): number {
    return 0
  }

  sendQuery(server: number, length: number, avoid: number): number {
    return this.#upstream.add(server, length, avoid, this.#context!.engine.now)
  }

  sendStreamQuery(
    token: number,
    server: number,
    transport: 'tcp' | 'tls' | 'https',
    length: number,
    timeoutMs: number,
    attemptMs: number,
  ): void {
    const { label } = this.#servers[server]!
    const query = this.#upstream.query.slice(0, length)
    this.#context!.stream.askUpstream(token, label, transport, query, timeoutMs, attemptMs)
  }

  #receiveReplies(socket: UpstreamSocket, events: number): void {
    const { engine } = this.#context!
    const ring = this.#upstreamIn
    for (let round = 0; round < BATCHES_IN_A_ROW; round++) {
      const count = this.#sys.recvmmsg(socket.fd, ring.headers, BATCH, MSG_DONTWAIT)
      if (count <= 0) {
        if (count < 0 && -count !== EAGAIN && -count !== EINTR) this.#sender.failed.push(socket.number)
        else if ((events & POLLERR) !== 0) this.#sys.takeError(socket.fd)
        return
      }
      for (let k = 0; k < count; k++) {
        const isCut = (ring.flags(k) & MSG_TRUNC) !== 0
        engine.upstreamDatagram(socket.number, ring.bytes, k * MAX_UPSTREAM_REPLY_BYTES, ring.received(k), isCut)
      }
      ring.resetLengths(count)
      this.#sockets.received(socket, count)
      if (count < BATCH) return
    }
  }

  /** What sockets reported is told to the engine only here, when it is not in the middle of something. */
  #reportFailures(): void {
    const { failed } = this.#sender
    while (failed.length > 0) this.#context!.engine.upstreamFailed(failed.shift()!)
  }
}

function nameBytesOf(family: number): number {
  return family === FAMILY_V6 ? SOCKADDR_BYTES : SOCKADDR_IN_BYTES
}

function copyName(from: Uint32Array, at: number, to: Uint32Array, toAt: number): void {
  for (let i = 0; i < 7; i++) to[toAt + i] = from[at + i]!
}

/** Bytes of a `struct cmsghdr`: length u64, level i32, type i32. */
const CMSG_HEAD = 16
const IPPROTO_IPV6 = 41

/** Whether a received packet info says that the datagram came to a loopback address. */
function isToLoopback(controls: Uint8Array, at: number, length: number): boolean {
  if (length === 0) return false
  // in6_pktinfo: address 16, index 4; in_pktinfo: index 4, own address 4, destination 4.
  if (controls[at + 8] === IPPROTO_IPV6) return isLoopback(controls, at + CMSG_HEAD, 16)
  return isLoopback(controls, at + CMSG_HEAD + 8, 4)
}

/**
 * Copies a received packet info so that the reply leaves from the address that was asked, by whatever interface the
 * route says: the index is cleared but for link-local addresses, which mean nothing without it.
 */
function copyPacketInfo(from: Uint8Array, at: number, length: number, to: Uint8Array, toAt: number): number {
  if (length === 0 || length > CONTROL_STRIDE) return 0
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i]!
  const isV6 = from[at + 8] === IPPROTO_IPV6
  // in6_pktinfo: address 16, index 4; in_pktinfo: index 4, own address 4, destination 4.
  const isLinkLocal = isV6 && from[at + CMSG_HEAD] === 0xfe && (from[at + CMSG_HEAD + 1]! & 0xc0) === 0x80
  const index = toAt + CMSG_HEAD + (isV6 ? 16 : 0)
  if (!isLinkLocal) to.fill(0, index, index + 4)
  return length
}
