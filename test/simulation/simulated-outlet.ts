/** What a driver is to the engine: holds clients, carries queries to servers. Replies go to the referee instead of a socket. */
import type { Engine } from '../../src/engine/engine.ts'
import type { Outlet } from '../../src/engine/outlet.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { Client } from './episode.ts'
import type { Asked } from './queries.ts'
import type { Pending } from './pending.ts'
import type { Referee } from './referee.ts'
import type { StreamClients } from './stream-clients.ts'
import { Violation } from './violation.ts'
import type { VirtualNetwork } from './virtual-network.ts'

const ROOM = 4096
const CANARY = 0xa5
const CANARY_BYTES = 32
const QUERY_ROOM = 512
const PACKET_AT = 13

export class SimulatedOutlet implements Outlet {
  readonly replyBytes: Buffer = Buffer.alloc(ROOM + 2 * CANARY_BYTES, CANARY)
  readonly query: Buffer = Buffer.alloc(QUERY_ROOM + 2 * CANARY_BYTES, CANARY)
  readonly queryAt: number = CANARY_BYTES
  private readonly packet: Buffer = Buffer.alloc(8192)
  private readonly held: (Pending | 'stream' | null)[]
  private readonly network: VirtualNetwork
  private readonly referee: Referee
  private readonly streams: StreamClients
  private readonly now: () => number
  private inHand: Pending | 'stream' = 'stream'
  private wasHeld = false
  private isStreamReply = false

  constructor(waiters: number, network: VirtualNetwork, referee: Referee, streams: StreamClients, now: () => number) {
    this.held = Array.from({ length: waiters }, () => null)
    this.network = network
    this.referee = referee
    this.streams = streams
    this.now = now
  }

  /** A datagram of a client, or of a server that passes on what it was asked: then `relay` gets the reply. */
  ask(
    engine: Engine,
    client: Client,
    packet: Buffer,
    asked: Asked,
    settings: EngineSettings,
    now: number,
    relay: Pending['relay'] = null,
  ): Pending {
    const pending = this.referee.ask(asked, client, false, settings, now)
    pending.relay = relay
    this.inHand = pending
    this.wasHeld = false
    packet.copy(this.packet, PACKET_AT)
    this.packet.fill(0xc0, PACKET_AT + packet.length, PACKET_AT + packet.length + 300)
    engine.client(0, client.address, 0, client.address.length)
    const length = engine.query(this.packet, PACKET_AT, packet.length, this.replyBytes, CANARY_BYTES)
    // The driver's buffer belongs to the next datagram.
    this.packet.fill(0xff, 0, PACKET_AT + packet.length + 300)
    this.inHand = 'stream'
    this.referee.given(pending, client)
    if (length > 0) {
      if (this.wasHeld) throw new Violation('a query was held and answered')
      this.finish(pending, length, now)
    } else if (!this.wasHeld) this.referee.ignored(pending)
    return pending
  }

  cutQuery(engine: Engine, client: Client, packet: Buffer, asked: Asked, settings: EngineSettings, now: number): void {
    const flags = packet.readUInt16BE(2)
    const verdict = (flags & 0x8000) === 0 ? 1 : 'drop'
    const cut: Asked = {
      ...asked,
      id: packet.readUInt16BE(0),
      flags,
      question: '',
      edns: null,
      verdict,
      isBroken: true,
    }
    const pending = this.referee.ask(cut, client, false, settings, now)
    engine.client(0, client.address, 0, client.address.length)
    const length = engine.cutQuery(packet, 0, this.replyBytes, CANARY_BYTES)
    if (length > 0) this.finish(pending, length, now)
    else this.referee.ignored(pending)
  }

  private finish(pending: Pending, length: number, now: number): void {
    this.referee.answered(pending, this.replyBytes, CANARY_BYTES, length, now)
    checkCanary(this.replyBytes, 0)
    checkCanary(this.replyBytes, CANARY_BYTES + ROOM)
  }

  hold(waiter: number): void {
    this.wasHeld = true
    if (this.held[waiter] !== null) throw new Violation(`waiter ${waiter} is held already`)
    this.held[waiter] = this.inHand
    if (this.inHand === 'stream') this.streams.hold(waiter)
    else this.referee.held(this.inHand, this.now())
  }

  openReply(waiter: number): void {
    const held = this.held[waiter]
    if (held === null || held === undefined) throw new Violation(`a reply to waiter ${waiter}, who is not held`)
    this.isStreamReply = held === 'stream'
    if (this.isStreamReply) this.streams.open(waiter)
  }

  get reply(): Uint8Array {
    return this.isStreamReply ? this.streams.reply : this.replyBytes
  }

  get replyAt(): number {
    return this.isStreamReply ? this.streams.replyAt : CANARY_BYTES
  }

  sendReply(waiter: number, length: number): void {
    const held = this.held[waiter]
    if (held === null || held === undefined) throw new Violation(`a reply to waiter ${waiter}, who is not held`)
    this.held[waiter] = null
    if (held === 'stream') this.streams.send(waiter, length)
    else if (length > 0) this.finish(held, length, this.now())
  }

  /** The worker starts anew: nobody is held. */
  reset(): void {
    this.held.fill(null)
  }

  openQuery(): void {
    this.query.fill(CANARY, CANARY_BYTES, CANARY_BYTES + 64)
  }

  sendQuery(server: number, length: number, avoid: number): number {
    checkCanary(this.query, 0)
    checkCanary(this.query, CANARY_BYTES + QUERY_ROOM)
    const socket = this.network.datagram(server, this.query, CANARY_BYTES, length, avoid, this.now())
    this.referee.sent(socket, server, 'udp', this.now())
    return typeof socket === 'number' ? socket : -1
  }

  sendStreamQuery(
    token: number,
    server: number,
    transport: 'tcp' | 'tls' | 'https',
    length: number,
    timeoutMs: number,
    attemptMs: number,
  ): void {
    const query = this.query.slice(CANARY_BYTES, CANARY_BYTES + length)
    this.streams.exchange(token, this.network.labels[server]!, transport, query, timeoutMs, attemptMs)
  }
}

function checkCanary(bytes: Buffer, at: number): void {
  for (let i = at; i < at + CANARY_BYTES; i++)
    if (bytes[i] !== CANARY) throw new Violation('the engine wrote beyond its room')
}
