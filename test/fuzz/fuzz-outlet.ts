/** What a driver is to the engine, as quick as can be: clients that wait and messages sent are kept in place. */
import type { Outlet } from '../../src/engine/outlet.ts'
import { Random } from '../simulation/random.ts'
import { Violation } from '../simulation/violation.ts'
import { Asked } from './asked.ts'

const CANARY = 0xa5
const CANARY_BYTES = 32
const REPLY_ROOM = 65_535
const QUERY_ROOM = 512
/** Messages to servers that can still be answered. */
const SENT = 256

/** A message to a server. */
export class Sent {
  server = 0
  socket = 0
  token = 0
  isStream = false
  isAnswered = false
  readonly bytes: Uint8Array = new Uint8Array(QUERY_ROOM)
  length = 0
}

export class FuzzOutlet implements Outlet {
  readonly reply: Uint8Array = new Uint8Array(REPLY_ROOM + 2 * CANARY_BYTES).fill(CANARY)
  readonly replyAt: number = CANARY_BYTES
  readonly query: Uint8Array = new Uint8Array(QUERY_ROOM + 2 * CANARY_BYTES).fill(CANARY)
  readonly queryAt: number = CANARY_BYTES
  /** By waiter: what it asked, and whether it waits. */
  readonly #asked: Asked[] = []
  readonly #isHeld: boolean[] = []
  waiting = 0
  sent = 0
  readonly #sent: Sent[] = Array.from({ length: SENT }, () => new Sent())
  readonly #answered: (asked: Asked, length: number) => void
  readonly #random: Random
  /** Chance that no socket can be had. */
  readonly #shortage: number
  /** The query in hand: it takes the place of the one that the waiter's number had before. */
  inHand: Asked = new Asked()
  wasHeld = false
  #opened = -1
  #isQueryOpen = false

  constructor(seed: number, answered: (asked: Asked, length: number) => void) {
    this.#answered = answered
    this.#random = new Random(seed)
    this.#shortage = this.#random.pick([0, 0, 0.02])
  }

  hold(waiter: number): void {
    while (this.#asked.length <= waiter) this.#asked.push(new Asked())
    if (this.#isHeld[waiter] === true) throw new Violation('a waiter is held who waits already')
    if (this.wasHeld) throw new Violation('a query is held twice')
    this.#isHeld[waiter] = true
    this.waiting++
    this.wasHeld = true
    const free = this.#asked[waiter]!
    this.#asked[waiter] = this.inHand
    this.inHand = free
  }

  openReply(waiter: number): void {
    if (this.#isHeld[waiter] !== true) throw new Violation('a reply is opened for a waiter who does not wait')
    this.#opened = waiter
  }

  sendReply(waiter: number, length: number): void {
    if (this.#opened !== waiter || this.#isHeld[waiter] !== true)
      throw new Violation('a reply was sent that was not opened')
    this.#opened = -1
    this.#isHeld[waiter] = false
    this.waiting--
    if (length > 0) this.#answered(this.#asked[waiter]!, length)
    else throw new Violation('a waiter got no reply')
    this.checkReply()
  }

  openQuery(): void {
    this.#isQueryOpen = true
  }

  sendQuery(server: number, length: number, avoid: number): number {
    const sent = this.#keep(server, length)
    if (this.#shortage > 0 && this.#random.chance(this.#shortage)) {
      this.sent--
      return -1
    }
    let socket = server * 10 + this.#random.below(3)
    if (socket === avoid) socket = server * 10 + ((socket + 1) % 3)
    sent.socket = socket
    sent.isStream = false
    return socket
  }

  sendStreamQuery(
    token: number,
    server: number,
    _transport: 'tcp' | 'tls' | 'https',
    length: number,
    timeoutMs: number,
  ): void {
    if (!(timeoutMs > 0)) throw new Violation(`an upstream query with ${timeoutMs} ms of time`)
    const sent = this.#keep(server, length)
    sent.token = token
    sent.isStream = true
  }

  /** A message sent: 0 is the last one. Null if there was none so long ago. */
  sentBefore(back: number): Sent | null {
    return back >= Math.min(SENT, this.sent) ? null : this.#sent[(this.sent - 1 - back) % SENT]!
  }

  /** Throws if the engine wrote beyond the room it was given. */
  checkReply(): void {
    checkCanary(this.reply, 0)
    checkCanary(this.reply, CANARY_BYTES + REPLY_ROOM)
  }

  #keep(server: number, length: number): Sent {
    if (!this.#isQueryOpen) throw new Violation('a query was sent that was not opened')
    this.#isQueryOpen = false
    checkCanary(this.query, 0)
    checkCanary(this.query, CANARY_BYTES + QUERY_ROOM)
    if (length < 17 || length > QUERY_ROOM) throw new Violation(`a query of ${length} bytes to a server`)
    const sent = this.#sent[this.sent++ % SENT]!
    sent.server = server
    sent.isAnswered = false
    sent.length = length
    for (let i = 0; i < length; i++) sent.bytes[i] = this.query[CANARY_BYTES + i]!
    return sent
  }
}

function checkCanary(bytes: Uint8Array, at: number): void {
  for (let i = at; i < at + CANARY_BYTES; i++)
    if (bytes[i] !== CANARY) throw new Violation('the engine wrote beyond its room')
}
