/**
 * The whole way of a query over TCP but for the sockets: chunks of any size into a client's connection, its frames to the
 * stream desk and the engine, replies back, each of them real code. The engine's servers answer what comes to mind.
 */
import { Socket } from 'node:net'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { Engine } from '../../src/engine/engine.ts'
import type { Outlet } from '../../src/engine/outlet.ts'
import {
  connectionAt,
  framesLengthAt,
  putRead,
  READ_HEADER_BYTES,
  settledAt,
  WRITE_HEADER_BYTES,
} from '../../src/engine/stream-batch.ts'
import type { ToStream } from '../../src/engine/stream-port.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { ClientConnection, type ConnectionOwner } from '../../src/stream/clients/client-connection.ts'
import { DataWorkerLink } from '../../src/stream/data-worker-link.ts'
import { DEFAULT_STREAM_SETTINGS, type StreamSettings } from '../../src/stream/stream-settings.ts'
import { StreamWorkerLink } from '../../src/worker/stream-worker-link.ts'
import { mix, Random } from '../simulation/random.ts'
import { Violation } from '../simulation/violation.ts'
import { Corpus, parseFound } from './corpus.ts'
import { FrameReference } from './frame-reference.ts'
import { Mutator } from './mutator.ts'
import { Packet } from './packet.ts'
import { PendingQueries } from './pending-queries.ts'
import { QueryMaker } from './query-maker.ts'
import { ReplyCheck } from './reply-check.ts'
import { ReplyMaker } from './reply-maker.ts'
import { makeImages, makeSettings } from './scenery.ts'
import type { FuzzTarget, TargetOptions } from './target.ts'

const CONNECTIONS = 8
const READS = 1 << 20
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)
const REST_MS = 30_000
/** Steps in which no connection takes a packet: thousands of turns of the data worker, and minutes of its time. */
const LONGEST_STALL = 20_000

/** A socket that goes nowhere: what is written to it is looked at. */
class FakeSocket extends Socket {
  isRead = true
  isGone = false
  written: (bytes: Uint8Array) => void = () => {}

  constructor() {
    super({ allowHalfOpen: true })
  }

  override write(bytes: Uint8Array | string): boolean {
    if (this.isGone) throw new Violation('a reply is written to a connection that is closed')
    if (typeof bytes !== 'string') this.written(bytes)
    return true
  }

  override pause(): this {
    this.isRead = false
    return this
  }

  override resume(): this {
    this.isRead = true
    return this
  }

  override resetAndDestroy(): this {
    this.isGone = true
    return this
  }

  override destroySoon(): void {
    this.isGone = true
  }
}

/** One connection and what it is held against. */
interface Peer {
  connection: ClientConnection
  socket: FakeSocket
  reference: FrameReference
  /** Messages that are complete and not yet passed on. */
  expected: Uint8Array[]
  pending: PendingQueries
  nextId: number
  /** The client has sent its FIN. */
  isEnding: boolean
}

export class FramingTarget implements FuzzTarget, ConnectionOwner {
  readonly settings: StreamSettings = { ...DEFAULT_STREAM_SETTINGS, maxInFlight: 16 }
  packets = 0
  readonly #seed: number
  readonly #episode: number
  readonly #random: Random
  readonly #packet: Packet
  readonly #reply: Packet = new Packet()
  readonly #stream: Packet = new Packet()
  readonly #queries: Corpus
  readonly #replies: Corpus
  readonly #queryMaker: QueryMaker
  readonly #replyMaker: ReplyMaker
  readonly #queryMutator: Mutator
  readonly #replyMutator: Mutator
  readonly #check: ReplyCheck = new ReplyCheck()
  readonly #channel: MessageChannel = new MessageChannel()
  readonly #linkChannel: MessageChannel = new MessageChannel()
  readonly #link: DataWorkerLink
  readonly #reads: Uint8Array = new Uint8Array(READS)
  #readsUsed = 0
  #peers: Peer[] = []
  /** By number, closed ones included as long as something of theirs may come. */
  readonly #byNumber: Map<number, Peer> = new Map()
  #opened = 0
  #desk: StreamWorkerLink = new StreamWorkerLink(0)
  #engine: Engine | null = null
  #episodes = 0
  #sent: { token: number; isStream: boolean; socket: number; bytes: Uint8Array }[] = []
  #now = 0
  /** Steps without a packet. */
  #stalled = 0
  #packetsBefore = 0
  /** Payload size that OPTs tell clients. */
  #advertise = 0
  #answered = 0
  #malformed = 0

  constructor({ seed, packet, episode }: TargetOptions) {
    const random = new Random(mix(seed, 0xf4a3e))
    this.#seed = seed
    this.#episode = episode
    this.#random = random
    this.#packet = packet
    this.#queries = Corpus.of('queries', random)
    this.#replies = Corpus.of('replies', random)
    this.#queryMaker = new QueryMaker(random)
    this.#replyMaker = new ReplyMaker(random)
    this.#queryMutator = new Mutator(random, () => this.#queries.pick())
    this.#replyMutator = new Mutator(random, () => this.#replies.pick())
    this.#link = new DataWorkerLink(
      { port: this.#linkChannel.port1, wakeFd: -1 },
      { replies: () => {}, repliesEnd: () => {}, askUpstream: () => {}, lost: () => {} },
    )
    this.#begin()
  }

  now(): number {
    return this.#now
  }

  wrote(): void {
    // Counted by others.
  }

  closed(): void {
    // Nobody closes what was never connected.
  }

  get summary(): string {
    return `${this.#answered} replies over ${this.#opened} connections, ${this.#malformed} of them cut off for a malformed frame`
  }

  step(): void {
    if (this.packets >= this.#episodes * this.#episode) {
      this.finish()
      this.#begin()
    }
    const random = this.#random
    if (this.packets !== this.#packetsBefore) this.#stalled = 0
    else if (++this.#stalled > LONGEST_STALL) throw new Violation('connections are read no more')
    this.#packetsBefore = this.packets
    const k = random.below(CONNECTIONS)
    const peer = this.#peers[k]!
    if (peer.socket.isGone) this.#peers[k] = this.#open()
    else if (peer.isEnding) this.#exchange()
    else if (peer.socket.isRead && random.chance(0.01)) {
      peer.isEnding = true
      peer.socket.emit('end')
    }
    // What was on its way when reading was paused still comes.
    else if (peer.socket.isRead || random.chance(0.02)) this.#feed(peer)
    if (random.chance(0.4)) this.#exchange()
  }

  close(): void {
    this.#link.close()
    this.#channel.port1.close()
  }

  takeFound(text: string): void {
    const { queries, replies } = parseFound(text)
    for (const packet of queries) this.#queries.add(packet)
    for (const packet of replies) this.#replies.add(packet)
  }

  finish(): void {
    this.#exchange()
    // Clients that have gone are waited for as well.
    const isBusy = (): boolean =>
      this.#peers.some(({ connection }) => connection.inFlight > 0) || this.#engine?.isQuiet === false
    for (let rounds = 0; rounds < 1000 && isBusy(); rounds++) {
      this.#now += REST_MS
      this.#exchange()
    }
    for (const { pending, connection, socket, expected, isEnding } of this.#peers) {
      if (isEnding && !socket.isGone)
        throw new Violation(`a FIN did not end a connection, ${connection.inFlight} in flight`)
      if (isEnding && pending.size > 0)
        throw new Violation(`a FIN ended a connection on which queries wait; ${pending.text}`)
      if (socket.isGone) continue
      if (pending.size > 0 || connection.inFlight > 0)
        throw new Violation(`queries wait although all is quiet; ${pending.text}, ${connection.inFlight} in flight`)
      if (expected.length > 0) throw new Violation('whole frames were not passed on')
    }
    if (this.#engine?.isQuiet === false) throw new Violation('something is under way although all is quiet')
  }

  #begin(): void {
    const settings = makeSettings(mix(this.#seed, ++this.#episodes))
    delete settings.rateLimit
    this.#advertise = settings.maxUdpPayload.local
    const random = new Random(mix(this.#seed, this.#episodes, 1))
    const images = makeImages()
    const desk = new StreamWorkerLink(settings.maxInFlight * 16 + 65_536)
    desk.attach(this.#channel.port1)
    this.#desk = desk
    this.#sent = []
    this.#now = 0
    const outlet: Outlet = {
      hold: (waiter) => desk.hold(waiter),
      openReply: () => {},
      get reply() {
        return desk.reply
      },
      get replyAt() {
        return desk.replyAt
      },
      sendReply: (_waiter, length) => desk.send(length),
      openQuery: () => {},
      query: new Uint8Array(512),
      queryAt: 0,
      sendQuery: (server, length) => this.#keep({ token: 0, isStream: false, socket: server }, outlet.query, length),
      sendStreamQuery: (token, _server, _transport, length) =>
        void this.#keep({ token, isStream: true, socket: 0 }, outlet.query, length),
    }
    outlet.openReply = (waiter) => desk.open(waiter)
    this.#engine = new Engine({
      settings,
      outlet,
      counters: new WorkerCounters(),
      random: () => random.next(),
      seed: images[0]!.seed,
      now: 0,
    })
    this.#engine.adopt(images[0]!)
    this.#byNumber.clear()
    this.#peers = Array.from({ length: CONNECTIONS }, () => this.#open())
  }

  #keep(how: { token: number; isStream: boolean; socket: number }, query: Uint8Array, length: number): number {
    this.#sent.push({ ...how, bytes: query.slice(0, length) })
    return how.socket
  }

  #open(): Peer {
    const number = ++this.#opened
    const socket = new FakeSocket()
    const peer: Peer = {
      socket,
      connection: new ClientConnection(socket, number, '127.0.0.1', LOOPBACK, this.#link, this),
      reference: new FrameReference(),
      expected: [],
      pending: new PendingQueries(this.#check),
      nextId: 0,
      isEnding: false,
    }
    socket.written = (bytes) => this.#written(peer, bytes)
    this.#byNumber.set(number, peer)
    return peer
  }

  /** Some messages with their lengths, of which few lie, in chunks of any size. */
  #feed(peer: Peer): void {
    const random = this.#random
    const stream = this.#stream.clear()
    for (let messages = 1 + random.below(5); messages > 0; messages--) {
      this.#makeQuery(peer)
      const { length } = this.#packet
      this.packets++
      const lie = random.chance(0.995) ? 0 : random.pick([1, 2, 40, -1, -12, 11 - length, -length, 3000])
      stream.u16(Math.max(0, Math.min(65_535, length + lie))).append(this.#packet.bytes, 0, length)
    }
    let at = 0
    while (at < stream.length && !peer.socket.isGone) {
      const size = random.chance(0.5)
        ? stream.length - at
        : random.chance(0.5)
          ? 1 + random.below(4)
          : 1 + random.below(600)
      const chunk = Buffer.from(stream.bytes.subarray(at, Math.min(stream.length, at + size)))
      at += chunk.length
      this.#deliver(peer, chunk)
    }
  }

  #deliver(peer: Peer, chunk: Buffer): void {
    const messages = peer.reference.push(chunk)
    if (messages !== null) peer.expected.push(...messages)
    peer.socket.emit('data', chunk)
    // The buffer is the socket's again.
    if (messages === null) {
      if (!peer.socket.isGone || peer.connection.endReason !== 'malformed')
        throw new Violation('a malformed frame was let pass')
      this.#malformed++
    } else if (peer.socket.isGone) throw new Violation('a connection was cut off without a malformed frame')
  }

  #makeQuery(peer: Peer): void {
    const random = this.#random
    const packet = this.#packet
    this.#queryMaker.make(packet)
    if (random.chance(0.6)) this.#queryMutator.mutate(packet)
    // A frame shorter than a header ends the connection: that comes of the lies as well.
    while (packet.length < 12 && random.chance(0.95)) packet.u8(0)
    packet.set16(0, peer.nextId++ & 0xffff)
  }

  /** The connection passes whole frames on. */
  submit(connection: ClientConnection, frames: Uint8Array, count: number): void {
    const peer = this.#byNumber.get(connection.number)!
    let at = 0
    for (let k = 0; k < count; k++) {
      const expected = peer.expected.shift()
      const length = (frames[at]! << 8) | frames[at + 1]!
      if (expected === undefined || expected.length !== length)
        throw new Violation('other frames were passed on than came')
      for (let i = 0; i < length; i++)
        if (frames[at + 2 + i] !== expected[i]) throw new Violation('a frame was passed on with other bytes')
      peer.pending.add(expected, 0, length, true, false, this.#advertise, this.#now)
      at += 2 + length
    }
    if (at !== frames.length) throw new Violation(`${count} frames were passed on, and some bytes more`)
    if (this.#readsUsed + READ_HEADER_BYTES + frames.length > READS) this.#exchange()
    this.#readsUsed = putRead(this.#reads, this.#readsUsed, connection.number, connection.address, frames)
  }

  /** A turn of the data worker: what was read goes in, servers answer, time passes, replies come back. */
  #exchange(): void {
    const random = this.#random
    const engine = this.#engine!
    this.#now += random.chance(0.98) ? random.below(4) : random.below(4000)
    engine.advance(this.#now)
    const reads = this.#reads.slice(0, this.#readsUsed)
    this.#readsUsed = 0
    if (reads.length > 0) this.#desk.receive({ kind: 'queries', reads }, engine)
    for (const { token, isStream, socket, bytes } of this.#sent.splice(0)) {
      if (random.chance(0.05)) continue
      this.#replyMaker.make(bytes, 0, bytes.length, this.#reply)
      if (random.chance(0.5)) this.#replyMutator.mutate(this.#reply)
      const reply = this.#reply.copy()
      if (!isStream) engine.upstreamDatagram(socket, reply, 0, reply.length, false)
      else this.#desk.receive({ kind: 'upstreamReply', token, reply, failure: null }, engine)
    }
    this.#desk.flush()
    const flushed = new Set<ClientConnection>()
    for (;;) {
      const next: { message: ToStream } | undefined = receiveMessageOnPort(this.#channel.port2)
      if (next === undefined) break
      if (next.message.kind === 'replies') this.#replied(next.message.writes, flushed)
      // `upstreamQuery` messages are those of the stream worker link, which the outlet above does not use.
    }
    for (const connection of flushed) connection.flush()
  }

  #replied(writes: Uint8Array, flushed: Set<ClientConnection>): void {
    for (let at = 0; at < writes.length; ) {
      const from = at + WRITE_HEADER_BYTES
      const to = from + framesLengthAt(writes, at)
      const peer = this.#byNumber.get(connectionAt(writes, at))
      if (peer === undefined || to > writes.length) throw new Violation('replies for a connection that there never was')
      if (!peer.socket.isGone) {
        peer.connection.reply(writes.subarray(from, to), settledAt(writes, at))
        flushed.add(peer.connection)
      }
      at = to
    }
  }

  #written(peer: Peer, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const length = (bytes[at]! << 8) | bytes[at + 1]!
      if (at + 2 + length > bytes.length) throw new Violation('a frame is written that is not whole')
      const fault = peer.pending.answer(bytes, at + 2, length)
      if (fault !== null) throw new Violation(fault)
      this.#answered++
      at += 2 + length
    }
  }
}
