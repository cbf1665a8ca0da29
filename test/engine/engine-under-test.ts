import { Type } from '../../src/dns/constants.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { RuleMatch } from '../../src/engine/rule-reports.ts'
import type { EngineSettings, UpstreamServer } from '../../src/engine/settings.ts'
import type { QueryTap } from '../../src/querylog/query-tap.ts'
import { Cell, Drop, DROP_REASONS, RCODES, SOURCES, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import type { Image } from '../../src/table/image.ts'
import { bytes, decode, type DecodedMessage, message, opt, type OptParts, type WireMessage } from '../dns/messages.ts'
import { FakeOutlet, type SentQuery, type SentStream } from './fake-outlet.ts'

export const SEED = 0x5eed
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)
const OUT_AT = 16

export function server(label: string, transport: UpstreamServer['transport'] = 'udp'): UpstreamServer {
  return { label, transport, address: '192.0.2.53', port: 53 }
}

export type SettingsChange = Partial<Omit<EngineSettings, 'cache'>> & { cache?: Partial<EngineSettings['cache']> }

/** Settings with one upstream server; `change` replaces parts of them. */
export function settingsWith(change: SettingsChange = {}): EngineSettings {
  const servers = change.servers ?? [server('one')]
  return {
    ttlSeconds: 30,
    httpsRecords: 'nodata',
    beforeSync: 'forward',
    startedAtMs: 0,
    maxUdpPayload: { local: 4096, remote: 1232 },
    access: [],
    ownAddresses: [],
    routes: [{ domains: [new Uint8Array(1)], servers: servers.map((_, k) => k), policy: 'sequential' }],
    attemptTimeoutMs: 1000,
    deadlineMs: 4500,
    maxInFlight: 64,
    ...change,
    servers,
    cache: {
      maxBytes: 64 * 1024,
      minTtlSeconds: 0,
      maxTtlSeconds: 3600,
      maxNegativeTtlSeconds: 300,
      staleSeconds: 0,
      prefetch: true,
      ...change.cache,
    },
  }
}

export interface Asking {
  id?: number
  /** RD, AD and CD; RD if not given. */
  flags?: number
  edns?: OptParts | null
  tcp?: boolean
  qclass?: number
}

/** A client's question, and its reply once there is one. */
export class Asked {
  reply: DecodedMessage | null = null
  length = 0
}

/** Repeatable 32-bit numbers. */
export function randomNumbers(seed: number = 1): () => number {
  let state = seed
  return () => {
    state = (state + 0x9e3779b9) | 0
    let x = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    return x ^ (x >>> 16)
  }
}

/** An engine on virtual time, with a client in front of it and upstream servers behind it that a test plays. */
export class EngineUnderTest {
  readonly outlet: FakeOutlet = new FakeOutlet()
  readonly counters: WorkerCounters = new WorkerCounters()
  readonly engine: Engine
  readonly settings: EngineSettings
  /** Servers that were found to forward to us, and from where their queries came. */
  readonly loops: [server: string, from: string][] = []
  /** Matches of rules that were told of. */
  readonly ruleMatches: RuleMatch[] = []
  /** Search domains whose questions are all asked again, and why. */
  readonly stormsOff: [domain: string, why: string][] = []
  /** Lines that plug-ins logged, and those that are switched off, by id, and why. */
  readonly pluginLines: string[] = []
  readonly pluginsOff: [id: number, why: string][] = []
  /** Memory of plug-ins' instances that have trapped. */
  discardedBytes = 0
  now = 0
  readonly #out: Uint8Array = new Uint8Array(OUT_AT + 65_535)
  readonly #waiting: Map<number, Asked> = new Map()
  #repliesSeen = 0

  constructor(change: SettingsChange = {}, image: Image | null = null, tap?: QueryTap) {
    this.settings = settingsWith(change)
    this.engine = new Engine({
      settings: this.settings,
      outlet: this.outlet,
      counters: this.counters,
      random: randomNumbers(),
      seed: SEED,
      now: 0,
      onLoop: (label, from) => void this.loops.push([label, from.join('.')]),
      ...(tap && { tap }),
      onStormsOff: (domain, why) => void this.stormsOff.push([domain, why]),
      onRuleMatch: (match) => void this.ruleMatches.push(match),
      pluginEvents: {
        wallClock: () => this.now,
        log: (plugin, text) => void this.pluginLines.push(`${plugin}: ${new TextDecoder().decode(text)}`),
        switchedOff: (id, why) => void this.pluginsOff.push([id, why]),
        discarded: (length) => void (this.discardedBytes += length),
      },
    })
    if (image !== null) this.engine.adopt(image)
    this.from(LOOPBACK)
  }

  /** Names the client that asks from now on. */
  from(address: Uint8Array, proto: number = 0, port: number = 0): void {
    this.engine.client(proto, address, 0, address.length, false, port)
  }

  /** Asks and returns the question with its reply, or without one as long as it waits. */
  ask(name: string, type: number = Type.A, asking: Asking = {}): Asked {
    const parts: WireMessage = { flags: asking.flags ?? 0x0100, questions: [[name, type, asking.qclass ?? 1]] }
    if (asking.id !== undefined) parts.id = asking.id
    if (asking.edns !== undefined && asking.edns !== null) parts.additionals = [opt(asking.edns)]
    if (asking.tcp) this.from(LOOPBACK, 1)
    const asked = this.askRaw(message(parts))
    if (asking.tcp) this.from(LOOPBACK)
    return asked
  }

  /** Sends any bytes as a client's message. */
  askRaw(packet: Uint8Array): Asked {
    const asked = new Asked()
    const held = this.outlet.lastHeld
    this.outlet.lastHeld = -1
    // As drivers have it: a Buffer, which belongs to the next query afterwards.
    const received = Buffer.from(bytes(7, 7, packet))
    const length = this.engine.query(received, 2, packet.length, this.#out, OUT_AT)
    received.fill(0xff)
    if (this.outlet.lastHeld >= 0) {
      this.#deliver(this.outlet.repliesBefore)
      this.#waiting.set(this.outlet.lastHeld, asked)
    } else this.outlet.lastHeld = held
    if (length > 0) this.#give(asked, this.#out.slice(OUT_AT, OUT_AT + length))
    this.#deliver()
    return asked
  }

  /** Moves time on and fires what is due. */
  advance(milliseconds: number): void {
    this.now += milliseconds
    this.engine.advance(this.now)
    this.#deliver()
  }

  /** The datagram sent last. */
  get lastQuery(): SentQuery {
    const last = this.outlet.queries.at(-1)
    if (last === undefined) throw new Error('no query was sent')
    return last
  }

  get lastStream(): SentStream {
    const last = this.outlet.streams.at(-1)
    if (last === undefined) throw new Error('nothing was asked over a stream')
    return last
  }

  /** Datagrams sent so far, as the servers' numbers in order. */
  get serversAsked(): number[] {
    return this.outlet.queries.map((sent) => sent.server)
  }

  /** Answers a query sent (the last one if not given) with these records; id and question are the query's. */
  answer(parts: WireMessage, to: SentQuery = this.lastQuery): void {
    this.datagram(to.socket, replyTo(to.bytes, parts))
  }

  /** Answers with an rcode and no records. */
  fail(rcode: number, to: SentQuery = this.lastQuery): void {
    this.answer({ flags: 0x8180 | rcode }, to)
  }

  answerStream(parts: WireMessage, to: SentStream = this.lastStream): void {
    this.engine.streamReply(to.token, replyTo(to.bytes, parts), null)
    this.#deliver()
  }

  failStream(failure: 'timeout' | 'refused' | 'network' | 'malformed' | 'tls', to: SentStream = this.lastStream): void {
    this.engine.streamReply(to.token, null, failure)
    this.#deliver()
  }

  datagram(socket: number, packet: Uint8Array, isCut: boolean = false): void {
    this.engine.upstreamDatagram(socket, bytes(9, packet), 1, packet.length, isCut)
    this.#deliver()
  }

  socketFailed(socket: number): void {
    this.engine.upstreamFailed(socket)
    this.#deliver()
  }

  dropped(reason: keyof typeof Drop): number {
    return this.counters.droppedOf(Drop[reason])
  }

  cell(cell: keyof typeof Cell): number {
    return this.counters.get(Cell[cell])
  }

  upstream(index: number, field: keyof typeof UpstreamField): number {
    return this.counters.upstreamGet(index, UpstreamField[field])
  }

  get requests(): number {
    let sum = 0
    for (let proto = 0; proto < 2; proto++) {
      for (let family = 0; family < 2; family++) {
        for (let slot = 0; slot < 20; slot++) sum += this.counters.requestsOf(proto, family, slot)
      }
    }
    return sum
  }

  /** Replies counted, of one source or all. */
  responses(source?: number): number {
    let sum = 0
    for (let s = 0; s < SOURCES.length; s++) {
      if (source !== undefined && s !== source) continue
      for (let rcode = 0; rcode < RCODES.length; rcode++) sum += this.counters.responsesOf(s, rcode)
    }
    return sum
  }

  get drops(): number {
    return DROP_REASONS.reduce((sum, _, reason) => sum + this.counters.droppedOf(reason), 0)
  }

  get waiting(): number {
    return this.outlet.held.size
  }

  #give(asked: Asked, packet: Uint8Array): void {
    if (asked.reply !== null) throw new Error('a second reply')
    asked.length = packet.length
    asked.reply = decode(packet)
  }

  #deliver(end: number = this.outlet.replies.length): void {
    const { replies } = this.outlet
    for (; this.#repliesSeen < end; this.#repliesSeen++) {
      const { waiter, bytes: packet } = replies[this.#repliesSeen]!
      const asked = this.#waiting.get(waiter)
      if (asked === undefined) throw new Error(`a reply for waiter ${waiter}, whom nobody knows`)
      this.#waiting.delete(waiter)
      this.#give(asked, packet)
    }
  }
}

/** A reply to the query of these bytes: QR, RD, RA and its question, unless `parts` says otherwise. */
export function replyTo(query: Uint8Array, parts: WireMessage): Uint8Array {
  const id = (query[0]! << 8) | query[1]!
  const built = message({ id, flags: 0x8180, ...parts })
  if (parts.questions !== undefined) return built
  let end = 12
  while (query[end]! !== 0) end += query[end]! + 1
  const whole = bytes(built.subarray(0, 12), query.subarray(12, end + 5), built.subarray(12))
  whole[5] = 1
  return whole
}
