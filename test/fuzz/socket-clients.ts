/** Clients that send mutated queries to a daemon over UDP and TCP, and hold each reply against its query. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Random } from '../simulation/random.ts'
import { FrameReference } from './frame-reference.ts'
import type { Mutator } from './mutator.ts'
import { Packet } from './packet.ts'
import { PendingQueries } from './pending-queries.ts'
import type { QueryMaker } from './query-maker.ts'
import { ReplyCheck } from './reply-check.ts'

/** Datagrams above are cut by the server (src/worker/driver.ts), and no larger one can be sent. */
const MAX_QUERY = 4096
const MAX_DATAGRAM = 65_507
const WINDOW = 256
const TCP_WINDOW = 200
/** Payload size that byname tells clients on loopback. */
const ADVERTISE = 4096
const ANSWER_MS = 15_000

export interface Where {
  address: string
  port: number
}

/** What clients make packets with. */
export interface Making {
  random: Random
  maker: QueryMaker
  mutator: Mutator
}

/** What all clients have sent, for comparison with the daemon's counters. */
export class Tally {
  udpQueries = 0
  tcpQueries = 0
  runts = 0
  udpResponses = 0
  tcpResponses = 0
  replies = 0
  connections = 0
  malformed = 0
  /** Queries whose connection was ended, by either side, before all replies had come. */
  givenUp = 0
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Waits until a condition holds, or fails with what `late` says. */
async function settled(holds: () => boolean, late: () => string): Promise<void> {
  const until = performance.now() + ANSWER_MS
  while (!holds()) {
    if (performance.now() > until) throw new Error(late())
    await turn()
  }
}

export class UdpFuzzer {
  readonly #socket: UdpSocket
  readonly #to: Where
  readonly #making: Making
  readonly #tally: Tally
  readonly #pending: PendingQueries = new PendingQueries(new ReplyCheck())
  readonly #packet: Packet = new Packet()
  #nextId = 0
  #fault: string | null = null

  private constructor(socket: UdpSocket, to: Where, making: Making, tally: Tally) {
    this.#socket = socket
    this.#to = to
    this.#making = making
    this.#tally = tally
    socket.on('message', (reply) => {
      this.#tally.replies++
      this.#fault ??= this.#pending.answer(reply, 0, reply.length)
    })
  }

  static async open(to: Where, making: Making, tally: Tally): Promise<UdpFuzzer> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20, sendBufferSize: 4 << 20 })
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    return new UdpFuzzer(socket, to, making, tally)
  }

  /** Sends so many packets and waits for all replies. */
  async run(count: number): Promise<void> {
    for (let sent = 0; sent < count; ) {
      for (let burst = 0; burst < 64 && sent < count && this.#pending.size < WINDOW; burst++, sent++) this.#send()
      await turn()
      if (this.#fault !== null) throw new Error(this.#fault)
      if (this.#pending.size >= WINDOW)
        await settled(
          () => this.#pending.size < WINDOW,
          () => this.#unanswered(),
        )
    }
    await settled(
      () => this.#pending.size === 0,
      () => this.#unanswered(),
    )
    if (this.#fault !== null) throw new Error(this.#fault)
  }

  close(): void {
    this.#socket.close()
  }

  #unanswered(): string {
    return `queries over UDP got no reply: ${this.#pending.text}`
  }

  #send(): void {
    const { random, maker, mutator } = this.#making
    const packet = this.#packet
    maker.make(packet)
    if (random.chance(0.75)) mutator.mutate(packet)
    if (packet.length > MAX_DATAGRAM) packet.length = MAX_DATAGRAM
    packet.set16(0, this.#nextId++ & 0xffff)
    const bytes = packet.copy()
    const isCut = bytes.length > MAX_QUERY
    if (this.#pending.add(bytes, 0, bytes.length, false, isCut, ADVERTISE, performance.now())) this.#tally.udpQueries++
    else if (bytes.length < 12) this.#tally.runts++
    else this.#tally.udpResponses++
    this.#socket.send(bytes, this.#to.port, this.#to.address)
  }
}

/** One connection after another, each until it has served its time or a lie ended it. */
export class TcpFuzzer {
  readonly #to: Where
  readonly #making: Making
  readonly #tally: Tally
  readonly #check: ReplyCheck = new ReplyCheck()
  readonly #packet: Packet = new Packet()
  readonly #stream: Packet = new Packet()
  #connection: Connection | null = null
  #nextId = 0

  constructor(to: Where, making: Making, tally: Tally) {
    this.#to = to
    this.#making = making
    this.#tally = tally
  }

  /** Sends about so many packets and waits for all replies that may come. */
  async run(count: number): Promise<void> {
    const { random } = this.#making
    for (let sent = 0; sent < count; ) {
      this.#connection ??= await Connection.open(this.#to, this.#check, this.#tally)
      const connection = this.#connection
      sent += this.#write(connection)
      await turn()
      if (connection.fault !== null) throw new Error(connection.fault)
      if (connection.isMalformed) {
        // Whatever had come before it in the same read is lost with it.
        await connection.gone('a malformed frame did not end its connection')
        this.#connection = null
        continue
      }
      const isFull = connection.pending.size > TCP_WINDOW
      if (isFull)
        await settled(
          () => connection.pending.size < TCP_WINDOW >> 1,
          () => connection.unanswered,
        )
      if (random.chance(0.005)) {
        connection.abort(random.chance(0.5))
        this.#connection = null
      } else if (random.chance(0.01)) {
        await connection.halfClose()
        this.#connection = null
      }
    }
    if (this.#connection !== null) await this.#connection.halfClose()
    this.#connection = null
  }

  /** Some messages in chunks of any size; returns how many. */
  #write(connection: Connection): number {
    const { random, maker, mutator } = this.#making
    const packet = this.#packet
    const stream = this.#stream.clear()
    const count = 1 + random.below(12)
    for (let k = 0; k < count; k++) {
      maker.make(packet)
      if (random.chance(0.6)) mutator.mutate(packet)
      while (packet.length < 12) packet.u8(0)
      packet.set16(0, this.#nextId++ & 0xffff)
      const { length } = packet
      const lie = random.chance(0.997) ? 0 : random.pick([1, 2, 40, -1, -12, 11 - length, -length, 3000])
      stream.u16(Math.max(0, Math.min(65_535, length + lie))).append(packet.bytes, 0, length)
    }
    const bytes = Buffer.from(stream.copy())
    const parts = random.chance(0.6) ? 1 : 1 + random.below(4)
    for (let at = 0; at < bytes.length; ) {
      const size = parts === 1 ? bytes.length : Math.max(1, Math.ceil((bytes.length / parts) * 2 * random.fraction()))
      connection.write(bytes.subarray(at, at + size))
      at += size
    }
    return count
  }
}

class Connection {
  readonly pending: PendingQueries
  fault: string | null = null
  readonly #socket: Socket
  readonly #tally: Tally
  readonly #sent: FrameReference = new FrameReference()
  readonly #received: FrameReference = new FrameReference()
  #isExpectedToEnd = false
  #isClosed = false

  private constructor(socket: Socket, check: ReplyCheck, tally: Tally) {
    this.#socket = socket
    this.#tally = tally
    this.pending = new PendingQueries(check)
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isClosed = true
      if (!this.#isExpectedToEnd) this.fault ??= `a connection was closed with ${this.pending.size} queries unanswered`
    })
    socket.on('data', (chunk: Buffer) => {
      for (const reply of this.#received.push(chunk) ?? []) {
        tally.replies++
        this.fault ??= this.pending.answer(reply, 0, reply.length)
      }
      if (this.#received.isMalformed) this.fault ??= 'a reply shorter than a header'
    })
  }

  static async open(to: Where, check: ReplyCheck, tally: Tally): Promise<Connection> {
    const socket = connect({ host: to.address, port: to.port, noDelay: true })
    await once(socket, 'connect')
    tally.connections++
    return new Connection(socket, check, tally)
  }

  /** A length that none may have was sent: the connection is over. */
  get isMalformed(): boolean {
    return this.#sent.isMalformed
  }

  get unanswered(): string {
    return `queries over TCP got no reply: ${this.pending.text}`
  }

  write(bytes: Buffer): void {
    if (this.#sent.isMalformed) return
    const messages = this.#sent.push(bytes)
    if (messages === null) this.#isExpectedToEnd = true
    for (const message of messages ?? []) {
      if (this.pending.add(message, 0, message.length, true, false, ADVERTISE, performance.now()))
        this.#tally.tcpQueries++
      else this.#tally.tcpResponses++
    }
    this.#socket.write(bytes)
  }

  /** Waits until the server has ended it. */
  async gone(late: string): Promise<void> {
    await settled(
      () => this.#isClosed,
      () => late,
    )
    this.#tally.malformed++
    this.#tally.givenUp += this.pending.clear()
    if (this.fault !== null) throw new Error(this.fault)
  }

  abort(withReset: boolean): void {
    this.#isExpectedToEnd = true
    if (withReset) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
    this.#tally.givenUp += this.pending.clear()
  }

  /** Sends a FIN: all replies must come, and the server's own FIN after them. */
  async halfClose(): Promise<void> {
    this.#isExpectedToEnd = true
    this.#socket.end()
    await settled(
      () => this.#isClosed,
      () => `${this.unanswered}, and the connection is still open after a FIN`,
    )
    if (this.fault === null && this.pending.size > 0) this.fault = `${this.unanswered} before the connection was closed`
    if (this.fault !== null) throw new Error(this.fault)
  }
}
