/**
 * The driver for anywhere: node:dgram in the same worker, on its event loop, with the same engine. Same answers, fewer
 * of them per second. (A wildcard listener answers from the address that the route says: Node has no packet info.)
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import type { MessagePort } from 'node:worker_threads'
import type { EngineSettings, UpstreamServer } from '../../engine/settings.ts'
import type { FromStream } from '../../engine/stream-port.ts'
import { addressBytes } from '../../dns/address.ts'
import { loadSyscalls, type Syscalls } from '../../os/syscalls.ts'
import { Drop, type WorkerCounters } from '../../stats/counters.ts'
import { tryBatchCalls } from '../batch/batch-trial.ts'
import { bootClock } from './boot-clock.ts'
import {
  type Driver,
  type DriverContext,
  isLoopbackListener,
  MAX_QUERY_BYTES,
  MAX_UPSTREAM_REPLY_BYTES,
} from '../driver.ts'
import type { ToWorker, WorkerListener } from '../mailbox.ts'
import { LINGER_MS, MAX_AGE_MS, MAX_RETIRED, MAX_USES, Replacements, SOCKETS_EACH } from '../upstream-pool.ts'
import { LastReplies } from './last-replies.ts'

const QUERY_BYTES = 512
const RECEIVE_BUFFER_BYTES = 4 << 20

/** A socket that clients ask. */
interface ClientSocket {
  /** Null once the driver has left it. */
  socket: Socket | null
  /** The same as a descriptor; −1: it is the driver's own. */
  fd: number
  /** Who asks here is this machine. */
  isLoopback: boolean
}

interface Held {
  client: ClientSocket
  address: string
  port: number
}

interface UpstreamSocket {
  number: number
  socket: Socket
  openedAt: number
  /** Queries sent, and datagrams received. */
  uses: number
  replies: number
  isConnected: boolean
  /** Written before the socket was connected. */
  queued: Uint8Array[]
}

/** The driver over Node's sockets of one data worker. */
export class DgramDriver implements Driver {
  readonly #counters: WorkerCounters
  readonly #listeners: WorkerListener[]
  readonly #control: MessagePort
  readonly #random: () => number
  readonly #clock: () => number = bootClock()
  readonly #clients: ClientSocket[] = []
  /** The way out for replies once the listeners are left. */
  #sys: Syscalls | null = null
  #lastReplies: LastReplies | null = null
  #servers: UpstreamServer[] = []
  #pools: UpstreamSocket[][] = []
  readonly #retired: Set<UpstreamSocket> = new Set()
  readonly #replacements: Replacements = new Replacements()
  #lingerMs = 0
  #nextNumber = 1
  readonly #held: (Held | null)[]
  /** Client of the query in hand; null: it came by a stream. */
  #inHand: Held | null = null
  #replyTo: Held | null = null
  readonly #replyBytes: Uint8Array
  readonly #queryBytes: Uint8Array = new Uint8Array(QUERY_BYTES)
  readonly #addresses: Map<string, Uint8Array> = new Map()
  #timer: NodeJS.Timeout | null = null
  #timerAt: number = Number.POSITIVE_INFINITY
  #context: DriverContext | null = null
  #drainUntil = 0
  #finish: (() => void) | null = null

  constructor(options: {
    counters: WorkerCounters
    listeners: WorkerListener[]
    control: MessagePort
    random: () => number
    settings: EngineSettings
    waiters: number
  }) {
    this.#counters = options.counters
    this.#listeners = options.listeners
    this.#control = options.control
    this.#random = options.random
    this.#held = Array.from({ length: options.waiters }, () => null)
    const { local, remote } = options.settings.maxUdpPayload
    this.#replyBytes = new Uint8Array(Math.max(local, remote, 512))
    this.configure(options.settings)
  }

  now(): number {
    return this.#clock()
  }

  configure(settings: EngineSettings): void {
    for (const pool of this.#pools) for (const socket of pool) this.#retire(socket)
    this.#servers = settings.servers
    this.#pools = settings.servers.map(() => [])
    this.#lingerMs = settings.deadlineMs + LINGER_MS
  }

  async run(context: DriverContext): Promise<void> {
    this.#context = context
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve
    })
    this.#control.on('message', (message: ToWorker) => {
      const before = context.stream.port
      context.receive(message)
      const { port } = context.stream
      if (port !== null && port !== before) port.on('message', (mail: FromStream) => this.#receiveStream(mail))
      this.#afterWork()
    })
    await Promise.all(this.#listeners.map((listener) => this.#listen(listener)))
    await finished
    if (this.#timer !== null) clearTimeout(this.#timer)
    for (const client of this.#clients) this.#close(client)
    for (const pool of this.#pools) for (const { socket } of pool) socket.close()
    for (const { socket } of this.#retired) socket.close()
    this.#control.close()
    context.stream.port?.close()
  }

  leaveListeners(): void {
    const sys = loadSyscalls()
    // Another process has the sockets only where there are system calls. Where they are refused (seccomp) replies could not
    // leave otherwise than by Node's sockets: those stay, and read on until they are drained.
    if (typeof sys === 'string' || tryBatchCalls(sys) !== null) return
    this.#sys = sys
    this.#lastReplies ??= new LastReplies(sys, this.#replyBytes.length)
    for (const client of this.#clients) this.#leave(client, sys)
  }

  /** Keeps a descriptor to reply by, and closes Node's socket, which would read as long as it is open. */
  #leave(client: ClientSocket, sys: Syscalls): void {
    const { socket, fd } = client
    if (socket === null || fd < 0) return
    // Closing drops what waits for room in the send buffer; while it waits the worker does not end (`drain`).
    if (socket.getSendQueueCount() > 0) return void setTimeout(() => this.#leave(client, sys), 1)
    const kept = sys.duplicate(fd)
    if (kept < 0) return
    client.fd = kept
    client.socket = null
    socket.close()
  }

  #close(client: ClientSocket): void {
    const { socket, fd } = client
    client.socket = null
    if (socket !== null) socket.close()
    // No thread's end closes what came through koffi.
    else this.#sys?.close(fd)
  }

  drain(deadlineMs: number): void {
    this.#drainUntil = this.#clock() + deadlineMs
    const look = (): void => {
      const isSent = this.#clients.every(({ socket }) => (socket?.getSendQueueCount() ?? 0) === 0)
      const isDone = this.#context?.engine.isQuiet === true && isSent
      if (isDone || this.#clock() >= this.#drainUntil) this.#finish?.()
      else setTimeout(look, 5)
    }
    // One turn of the event loop first: what is queued in the sockets is read in it.
    setTimeout(look, 5)
  }

  async #listen(listener: WorkerListener): Promise<void> {
    const socket = createSocket({
      type: listener.family === 1 ? 'udp6' : 'udp4',
      ipv6Only: listener.family === 1,
      // Not without need: macOS has no such thing.
      reusePort: listener.fd < 0 && listener.isShared,
      // What is lent has its buffer; asking again may cut it down to net.core.rmem_max.
      ...(listener.fd < 0 && { recvBufferSize: RECEIVE_BUFFER_BYTES }),
    })
    const client: ClientSocket = { socket, fd: listener.fd, isLoopback: isLoopbackListener(listener) }
    socket.on('message', (packet, from) => this.#receiveQuery(client, packet, from))
    socket.on('error', (error) =>
      this.#context?.log('warn', { listener: listener.address, error: error.message }, 'socket error'),
    )
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      const bound = (): void => {
        socket.off('error', reject)
        resolve()
      }
      if (listener.fd >= 0) socket.bind({ fd: listener.fd }, bound)
      else socket.bind({ address: listener.address, port: listener.port, exclusive: true }, bound)
    })
    this.#clients.push(client)
  }

  #receiveQuery(client: ClientSocket, packet: Uint8Array, from: RemoteInfo): void {
    const { engine } = this.#context!
    if (from.port === 0) return this.#counters.drop(Drop.sourcePortZero)
    engine.advance(this.#clock())
    const address = this.#bytesOf(from.address)
    engine.client(0, address, 0, address.length, client.isLoopback, from.port)
    this.#inHand = { client, address: from.address, port: from.port }
    const length =
      packet.length <= MAX_QUERY_BYTES
        ? engine.query(packet, 0, packet.length, this.#replyBytes, 0)
        : engine.cutQuery(packet, 0, this.#replyBytes, 0)
    if (length > 0) this.#send(this.#inHand, length)
    this.#inHand = null
    this.#afterWork()
  }

  #receiveStream(message: FromStream): void {
    const { stream, engine } = this.#context!
    engine.advance(this.#clock())
    this.#inHand = null
    stream.receive(message, engine)
    this.#afterWork()
  }

  /** What is left to do after anything has been handed to the engine. */
  #afterWork(): void {
    const { stream, engine } = this.#context!
    stream.flush()
    engine.endBatch(this.#clock())
    const due = engine.nextDue
    if (due >= this.#timerAt) return
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timerAt = due
    this.#timer = setTimeout(() => this.#tick(), Math.max(1, Math.ceil(due - this.#clock())))
  }

  #tick(): void {
    this.#timer = null
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#context!.engine.advance(this.#clock())
    this.#afterWork()
  }

  /** Bytes of an address, remembered: there are few clients. */
  #bytesOf(address: string): Uint8Array {
    let bytes = this.#addresses.get(address)
    if (bytes === undefined) {
      if (this.#addresses.size >= 1024) this.#addresses.clear()
      bytes = addressBytes(address)
      this.#addresses.set(address, bytes)
    }
    return bytes
  }

  hold(waiter: number): void {
    this.#held[waiter] = this.#inHand
    if (this.#inHand === null) this.#context!.stream.hold(waiter)
  }

  openReply(waiter: number): void {
    this.#replyTo = this.#held[waiter]!
    if (this.#replyTo === null) this.#context!.stream.open(waiter)
  }

  get reply(): Uint8Array {
    return this.#replyTo === null ? this.#context!.stream.reply : this.#replyBytes
  }

  get replyAt(): number {
    return this.#replyTo === null ? this.#context!.stream.replyAt : 0
  }

  sendReply(waiter: number, length: number): void {
    this.#held[waiter] = null
    if (this.#replyTo === null) this.#context!.stream.send(length)
    else if (length > 0) this.#send(this.#replyTo, length)
  }

  #send({ client, address, port }: Held, length: number): void {
    if (client.socket === null) {
      const isSent = this.#lastReplies?.send(client.fd, this.#replyBytes.subarray(0, length), address, port)
      if (isSent !== true) this.#counters.drop(Drop.sendFailed)
      return
    }
    // Node keeps the bytes until the kernel has them: they need a copy of their own.
    client.socket.send(this.#replyBytes.slice(0, length), port, address, (error) => {
      if (error !== null) this.#counters.drop(Drop.sendFailed)
    })
  }

  openQuery(): void {
    // There is one place for it.
  }

  get query(): Uint8Array {
    return this.#queryBytes
  }

  get queryAt(): number {
    return 0
  }

  sendQuery(server: number, length: number, avoid: number): number {
    const upstream = this.#pick(server, avoid)
    const bytes = this.#queryBytes.slice(0, length)
    upstream.uses++
    if (upstream.isConnected) this.#sendUpstream(upstream, bytes)
    else upstream.queued.push(bytes)
    return upstream.number
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
    const query = this.#queryBytes.slice(0, length)
    this.#context!.stream.askUpstream(token, label, transport, query, timeoutMs, attemptMs)
  }

  #sendUpstream(upstream: UpstreamSocket, bytes: Uint8Array): void {
    upstream.socket.send(bytes, (error) => {
      if (error !== null) this.#upstreamFailed(upstream)
    })
  }

  #pick(server: number, avoid: number): UpstreamSocket {
    const pool = this.#pools[server]!
    let k = (this.#random() >>> 0) % SOCKETS_EACH
    if (pool[k]?.number === avoid) k = (k + 1) % SOCKETS_EACH
    const known = pool[k]
    if (known) {
      const now = this.#clock()
      if (known.uses < MAX_USES && now - known.openedAt < MAX_AGE_MS) return known
      if (this.#retired.size >= MAX_RETIRED || !this.#replacements.has(now)) return known
      this.#retire(known)
      this.#replacements.take()
    }
    const fresh = this.#openUpstream(this.#servers[server]!)
    pool[known ? k : pool.length] = fresh
    return fresh
  }

  #openUpstream(server: UpstreamServer): UpstreamSocket {
    const isV6 = server.address.includes(':')
    const socket = createSocket({
      type: isV6 ? 'udp6' : 'udp4',
      // Literal addresses need no look-up, and a thread of the pool for each would be a detour.
      lookup: (address, _options, done) => done(null, address, isV6 ? 6 : 4),
    })
    const upstream: UpstreamSocket = {
      number: this.#nextNumber++,
      socket,
      openedAt: this.#clock(),
      uses: 0,
      replies: 0,
      isConnected: false,
      queued: [],
    }
    socket.on('message', (packet) => {
      const { engine } = this.#context!
      engine.advance(this.#clock())
      // What the other driver would not have read whole counts as cut here too: same answers.
      engine.upstreamDatagram(upstream.number, packet, 0, packet.length, packet.length > MAX_UPSTREAM_REPLY_BYTES)
      upstream.replies++
      if (upstream.replies >= upstream.uses) this.#closeRetired(upstream)
      this.#afterWork()
    })
    socket.on('error', () => {
      if (!upstream.isConnected) this.#discard(upstream)
      this.#upstreamFailed(upstream)
    })
    socket.on('connect', () => {
      upstream.isConnected = true
      for (const bytes of upstream.queued.splice(0)) this.#sendUpstream(upstream, bytes)
    })
    // Without a callback: given one, Node tells it of an error (no route to the server) instead of the listener above.
    socket.connect(server.port, server.address)
    return upstream
  }

  /** Gives up a socket that could not be connected: the next try is made with a new one. */
  #discard(upstream: UpstreamSocket): void {
    for (const pool of this.#pools) {
      const place = pool.indexOf(upstream)
      if (place >= 0) pool.splice(place, 1)
    }
    this.#retired.delete(upstream)
    upstream.socket.close()
  }

  #upstreamFailed(upstream: UpstreamSocket): void {
    const { engine } = this.#context!
    engine.advance(this.#clock())
    engine.upstreamFailed(upstream.number)
    this.#afterWork()
  }

  /** Leaves a replaced socket open for the replies under way. */
  #retire(upstream: UpstreamSocket): void {
    this.#retired.add(upstream)
    if (upstream.replies >= upstream.uses) return this.#closeRetired(upstream)
    setTimeout(() => this.#closeRetired(upstream), this.#lingerMs).unref()
  }

  #closeRetired(upstream: UpstreamSocket): void {
    if (this.#retired.delete(upstream)) upstream.socket.close()
  }
}
