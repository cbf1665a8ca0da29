/** One engine, the steps that can be done to it, and what must be true after each. */
import { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Drop, RCODES, SOURCES, WorkerCounters } from '../../src/stats/counters.ts'
import type { Image } from '../../src/table/image.ts'
import { mix, Random } from '../simulation/random.ts'
import { checkAtRest } from '../simulation/rest-checks.ts'
import { Violation } from '../simulation/violation.ts'
import { FuzzOutlet } from './fuzz-outlet.ts'
import type { Packet } from './packet.ts'
import { ReplyCheck } from './reply-check.ts'
import { makeImages, makeSettings } from './scenery.ts'
import { ReplyFlag, type Step } from './steps.ts'
import type { Asked } from './asked.ts'

/** Address, whether it asks over TCP, whether it is on this machine, whether it may ask. */
export const CLIENTS: readonly { address: Uint8Array; proto: 0 | 1; isLocal: boolean; isAllowed: boolean }[] = [
  { address: Uint8Array.of(127, 0, 0, 1), proto: 0, isLocal: true, isAllowed: true },
  { address: Uint8Array.of(127, 0, 0, 1), proto: 1, isLocal: true, isAllowed: true },
  { address: Uint8Array.of(192, 0, 2, 7), proto: 0, isLocal: false, isAllowed: true },
  { address: Uint8Array.of(192, 0, 2, 7), proto: 1, isLocal: false, isAllowed: true },
  { address: Uint8Array.of(198, 51, 100, 7), proto: 0, isLocal: false, isAllowed: false },
  { address: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), proto: 0, isLocal: true, isAllowed: true },
  { address: Uint8Array.of(192, 0, 2, 1), proto: 0, isLocal: true, isAllowed: true },
]

/** Where packets stand in the buffer that the engine reads them from: what is behind them is no part of them. */
const IN_AT = 13
const GARBAGE = 64
/** Timers may be that late, by their wheel. */
const TIMER_SLACK_MS = 32
/** Longer than any deadline, with what may linger after it. */
const REST_MS = 30_000

const images: Image[] = makeImages()

export class Harness {
  readonly check: ReplyCheck = new ReplyCheck()
  readonly counters: WorkerCounters = new WorkerCounters()
  readonly engine: Engine
  readonly outlet: FuzzOutlet
  #settings: EngineSettings
  readonly #in: Uint8Array = new Uint8Array(IN_AT + 66_000 + GARBAGE)
  now = 0
  queries = 0
  replies = 0
  /** Queries that got no reply, as they should. */
  ignored = 0
  #limited = 0
  /** The longest deadline since all was quiet: who joins a question that is under way waits as long as that does. */
  #deadlineMs: number

  /** The same seed makes the same engine with the same settings. */
  constructor(seed: number) {
    this.#settings = makeSettings(seed)
    this.#deadlineMs = this.#settings.deadlineMs
    const random = new Random(mix(seed, 0xe49))
    this.outlet = new FuzzOutlet(mix(seed, 0x0de), (asked, length) =>
      this.#answered(asked, this.outlet.reply, this.outlet.replyAt, length),
    )
    this.engine = new Engine({
      settings: this.#settings,
      outlet: this.outlet,
      counters: this.counters,
      random: () => random.next(),
      seed: images[0]!.seed,
      now: 0,
    })
    if (random.chance(0.9)) this.engine.adopt(images[0]!)
  }

  get settings(): EngineSettings {
    return this.#settings
  }

  /** Does a step that was noted down. */
  replay(step: Step, packet: Packet): void {
    packet.set(step.bytes)
    this.do(step.kind, step.a, step.b, packet)
  }

  do(kind: string, a: number, b: number, packet: Packet): void {
    switch (kind) {
      case 'q':
        return this.#query(a, packet, false)
      case 'x':
        return this.#query(a, packet, true)
      case 'r':
        return this.#reply(a, b, packet)
      case 's':
        return this.#streamFails(b)
      case 'e':
        return this.#socketFails(b)
      case 't':
        return this.#pass(a)
      case 'c':
        this.#settings = { ...makeSettings(a), maxInFlight: this.#settings.maxInFlight }
        this.#deadlineMs = Math.max(this.#deadlineMs, this.#settings.deadlineMs)
        return this.engine.configure(this.#settings)
      case 'a':
        return this.engine.adopt(images[a % images.length]!)
      case 'z':
        return this.rest()
      default:
        throw new Error(`no step: ${kind}`)
    }
  }

  #query(client: number, packet: Packet, isCut: boolean): void {
    const { engine, outlet } = this
    const { address, proto, isLocal, isAllowed } = CLIENTS[client % CLIENTS.length]!
    const asked = outlet.inHand
    const input = this.#place(packet)
    const { local, remote } = this.#settings.maxUdpPayload
    const isQuery = packet.length >= 12 && (packet.bytes[2]! & 0x80) === 0
    if (isQuery) {
      asked.read(input, IN_AT, isCut ? 12 : packet.length, proto === 1, isLocal ? local : remote)
      asked.isCut = isCut
      asked.isAllowed = isAllowed
      asked.askedAt = this.now
      asked.deadlineAt = this.now + this.#deadlineMs + TIMER_SLACK_MS
    } else if (isCut && packet.length < 12) return
    outlet.wasHeld = false
    engine.client(proto, address, 0, address.length)
    const length = isCut
      ? engine.cutQuery(input, IN_AT, outlet.reply, outlet.replyAt)
      : engine.query(input, IN_AT, packet.length, outlet.reply, outlet.replyAt)
    if (isQuery) this.queries++
    if (length > 0) {
      if (outlet.wasHeld) throw new Violation('a query is answered and held')
      if (!isQuery) throw new Violation('an answer to what is no query')
      this.#answered(asked, outlet.reply, outlet.replyAt, length)
      return outlet.checkReply()
    }
    if (outlet.wasHeld) {
      if (!isQuery) throw new Violation('what is no query is held')
      return
    }
    if (isQuery && !this.#isLimited(proto)) throw new Violation('a query got no reply, at once or later')
    this.ignored++
  }

  /** True if the query just dropped was over the rate limit. */
  #isLimited(proto: number): boolean {
    const before = this.#limited
    this.#limited = this.counters.droppedOf(Drop.rateLimited)
    return proto === 0 && this.#limited > before
  }

  #reply(flags: number, back: number, packet: Packet): void {
    const sent = this.outlet.sentBefore(back)
    if (sent === null) return
    if ((flags & ReplyFlag.ID) !== 0) packet.set16(0, (sent.bytes[0]! << 8) | sent.bytes[1]!)
    if ((flags & ReplyFlag.QUESTION) !== 0)
      for (let i = 12; i < Math.min(sent.length, packet.length) && sent.bytes[i] !== 0; i++)
        packet.bytes[i] = sent.bytes[i]!
    sent.isAnswered = true
    if (sent.isStream) return this.engine.streamReply(sent.token, packet.bytes.subarray(0, packet.length), null)
    const socket = (flags & ReplyFlag.SOCKET) !== 0 ? sent.socket : sent.socket + 1
    this.engine.upstreamDatagram(socket, this.#place(packet), IN_AT, packet.length, (flags & ReplyFlag.CUT) !== 0)
  }

  #streamFails(back: number): void {
    const sent = this.outlet.sentBefore(back)
    if (sent === null || !sent.isStream) return
    sent.isAnswered = true
    const failures = ['timeout', 'refused', 'network', 'malformed', 'tls'] as const
    this.engine.streamReply(sent.token, null, failures[back % failures.length]!)
  }

  #socketFails(back: number): void {
    const sent = this.outlet.sentBefore(back)
    if (sent !== null && !sent.isStream) this.engine.upstreamFailed(sent.socket)
  }

  /** Time passes, and what is due on the way is done when it is due. */
  #pass(milliseconds: number): void {
    const { engine } = this
    const until = this.now + milliseconds
    for (let due = engine.nextDue; due <= until; due = engine.nextDue) {
      // A timer that is due now and stays so would be a loop without end.
      this.now = due > this.now ? due : this.now + 1
      engine.advance(this.now)
    }
    if (until > this.now) this.now = until
    engine.advance(this.now)
    engine.endBatch(this.now)
  }

  #place(packet: Packet): Uint8Array {
    const { length, bytes } = packet
    if (length > 128) this.#in.set(bytes.subarray(0, length), IN_AT)
    else for (let i = 0; i < length; i++) this.#in[IN_AT + i] = bytes[i]!
    for (let i = IN_AT + length; i < IN_AT + length + GARBAGE; i++) this.#in[i] = 0xc0 + (i & 1)
    return this.#in
  }

  #answered(asked: Asked, bytes: Uint8Array, at: number, length: number): void {
    this.replies++
    if (this.now > asked.deadlineAt) throw new Violation(`a reply after ${this.now - asked.askedAt} ms`)
    const fault = this.check.check(asked, bytes, at, length)
    if (fault === null) return
    const hex = Buffer.from(bytes.subarray(at, at + Math.min(length, 600))).toString('hex')
    throw new Violation(`${fault}; the reply: ${hex}`)
  }

  /** Nothing comes until nobody waits any more: then nothing may be left. */
  rest(): void {
    this.#pass(REST_MS)
    const { engine, outlet, counters } = this
    const { inFlight, timers } = engine.forwarder
    if (outlet.waiting > 0) throw new Violation(`${outlet.waiting} wait although all is quiet`)
    if (
      !engine.isQuiet ||
      inFlight.open > 0 ||
      inFlight.waiters.held > 0 ||
      inFlight.attempts.open > 0 ||
      timers.armed > 0
    )
      throw new Violation('something is under way although all is quiet')
    this.#deadlineMs = this.#settings.deadlineMs
    let counted = 0
    for (let source = 0; source < SOURCES.length; source++)
      for (let rcode = 0; rcode < RCODES.length; rcode++) counted += counters.responsesOf(source, rcode)
    // Over TCP a query over the limit is refused, and counted twice.
    if (counted !== this.replies) throw new Violation(`${counted} replies are counted, there were ${this.replies}`)
    let requests = 0
    for (const proto of [0, 1])
      for (const family of [0, 1])
        for (let slot = 0; slot < 20; slot++) requests += counters.requestsOf(proto, family, slot)
    if (requests !== this.queries) throw new Violation(`${requests} queries are counted, there were ${this.queries}`)
  }

  /** At the end: every place in the tables is free again. The engine is of no use afterwards. */
  finish(): void {
    this.rest()
    checkAtRest(this.engine, this.counters)
  }
}
