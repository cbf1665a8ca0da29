/** Clients over streams, and the stream worker before them: the real StreamWorkerLink behind a port that is none. */
import type { MessagePort } from 'node:worker_threads'
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import {
  connectionAt,
  framesLengthAt,
  putRead,
  READ_HEADER_BYTES,
  settledAt,
  WRITE_HEADER_BYTES,
} from '../../src/engine/stream-batch.ts'
import type { UpstreamQuery, UpstreamReply, ToStream } from '../../src/engine/stream-port.ts'
import { StreamWorkerLink } from '../../src/worker/stream-worker-link.ts'
import type { Client } from './episode.ts'
import type { Asked } from './queries.ts'
import type { Pending } from './pending.ts'
import type { Referee } from './referee.ts'
import { Violation } from './violation.ts'

interface Connection {
  waiting: Pending[]
  /** Queries given to the desk, less those that it says are settled. */
  unsettled: number
}

const CONNECTIONS = 6
/** Expectations of queries over a stream that get no reply. */
const NO_REPLY: ReadonlySet<string> = new Set(['drop', 'dropped by a plug-in'])

export class StreamClients {
  private desk: StreamWorkerLink
  private readonly waiters: number
  private readonly referee: Referee
  private readonly askServer: (message: UpstreamQuery) => void
  private connections: Map<number, Connection> = new Map()
  private nextConnection = 1
  /** Streams under way in the stream worker of now: what an earlier one was asked is lost with it. */
  private exchanges: Set<number> = new Set()
  private inHand: Pending | null = null
  private readonly held: Pending[] = []
  private readonly now: () => number

  constructor(waiters: number, referee: Referee, ask: (message: UpstreamQuery) => void, now: () => number) {
    this.waiters = waiters
    this.referee = referee
    this.askServer = ask
    this.now = now
    this.desk = new StreamWorkerLink(waiters)
    this.attach()
  }

  private attach(): void {
    const desk = this.desk
    const connections = new Map<number, Connection>()
    this.connections = connections
    this.exchanges = new Set()
    this.nextConnection = 1
    const port = {
      postMessage: (message: ToStream): void => {
        if (message.kind === 'upstreamQuery') {
          this.exchanges.add(message.token)
          this.askServer(message)
        } else this.receive(message.writes, connections)
      },
      close: (): void => {},
    }
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the desk uses no more of a port than these two
    desk.attach(port as unknown as MessagePort)
  }

  /** The stream worker has died and another has taken its place; its connections are numbered from one again. */
  newStreamWorker(): void {
    this.referee.see('new stream worker')
    // What servers were asked over streams is lost with it.
    this.referee.disturbed(this.now())
    for (const connection of this.connections.values())
      for (const pending of connection.waiting) this.referee.gone(pending)
    this.attach()
  }

  /** The data worker has died. The stream worker closes the connections that waited for it. */
  newDesk(): void {
    for (const connection of this.connections.values())
      for (const pending of connection.waiting) this.referee.gone(pending)
    this.desk = new StreamWorkerLink(this.waiters)
    this.attach()
  }

  ask(client: Client, packet: Buffer, asked: Asked, settings: EngineSettings, engine: Engine): void {
    const number = this.nextConnection - 1 - (asked.id % CONNECTIONS)
    let connection = this.connections.get(number)
    let at = number
    if (connection === undefined || asked.id % 11 === 0) {
      at = this.nextConnection++
      connection = { waiting: [], unsettled: 0 }
      this.connections.set(at, connection)
    }
    // Ids of one connection are its client's to keep apart.
    if (connection.waiting.some((pending) => !pending.isDone && pending.asked.id === asked.id)) return
    const pending = this.referee.ask(asked, client, true, settings, this.now())
    connection.waiting.push(pending)
    connection.unsettled++
    const frames = Buffer.alloc(packet.length + 2)
    frames.writeUInt16BE(packet.length)
    packet.copy(frames, 2)
    const reads = Buffer.alloc(READ_HEADER_BYTES + frames.length)
    putRead(reads, 0, at, client.address, frames)
    this.inHand = pending
    this.desk.receive({ kind: 'queries', reads }, engine)
    this.inHand = null
    this.referee.given(pending, client)
    this.desk.flush()
  }

  exchanged(token: number, bytes: Buffer | null, failure: UpstreamReply['failure'], engine: Engine): void {
    if (!this.exchanges.delete(token)) return
    this.desk.receive(
      { kind: 'upstreamReply', token, reply: bytes === null ? null : Uint8Array.from(bytes), failure },
      engine,
    )
    this.desk.flush()
  }

  private receive(writes: Uint8Array, connections: Map<number, Connection>): void {
    const bytes = Buffer.from(writes.buffer, writes.byteOffset, writes.byteLength)
    let at = 0
    while (at + WRITE_HEADER_BYTES <= bytes.length) {
      const number = connectionAt(bytes, at)
      const connection = connections.get(number)
      const end = at + WRITE_HEADER_BYTES + framesLengthAt(bytes, at)
      if (connection === undefined) throw new Violation(`a reply to connection ${number}, which there is not`)
      connection.unsettled -= settledAt(bytes, at)
      if (connection.unsettled < 0) throw new Violation(`more is settled on connection ${number} than was asked`)
      at += WRITE_HEADER_BYTES
      while (at < end) {
        const length = bytes.readUInt16BE(at)
        const id = bytes.readUInt16BE(at + 2)
        const place = connection.waiting.findIndex((pending) => pending.asked.id === id)
        if (place < 0) throw new Violation(`a reply with id ${id} to connection ${number}, which did not ask`)
        const [pending] = connection.waiting.splice(place, 1)
        this.referee.answered(pending!, bytes, at + 2, length, this.now())
        at += 2 + length
      }
      if (at !== end) throw new Violation('a write that does not end with a frame')
      connection.waiting = connection.waiting.filter((pending) => !NO_REPLY.has(pending.expectation.kind))
    }
    if (at !== bytes.length) throw new Violation('writes that do not end with a write')
  }

  flush(): void {
    this.desk.flush()
  }

  hold(waiter: number): void {
    if (this.inHand === null) throw new Violation('a waiter is held, and no query is in hand')
    this.referee.held(this.inHand, this.now())
    this.held[waiter] = this.inHand
    this.desk.hold(waiter)
  }

  open(waiter: number): void {
    this.desk.open(waiter)
  }

  get reply(): Uint8Array {
    return this.desk.reply
  }

  get replyAt(): number {
    return this.desk.replyAt
  }

  send(waiter: number, length: number): void {
    this.referee.noteAnswer(this.held[waiter]!, this.now())
    this.desk.send(length)
  }

  exchange(
    token: number,
    server: string,
    transport: 'tcp' | 'tls' | 'https',
    query: Uint8Array,
    timeoutMs: number,
    attemptMs: number,
  ): void {
    this.desk.askUpstream(token, server, transport, query, timeoutMs, attemptMs)
  }
}
