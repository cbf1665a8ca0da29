/**
 * The path of a query, top to bottom. The engine owns no socket, no clock and no timer: it is told what arrived and what
 * time it is, and says what to send (outlet.ts). So the same code runs behind both drivers and in the simulation.
 *
 * ```
 *  sanity → EDNS → rate limit → access → mesh → special names → hosts file → cache → forward
 * ```
 */
import { Answer } from '../dns/answer.ts'
import { Ede, Flag, HEADER_BYTES, Opcode, Rcode, Type } from '../dns/constants.ts'
import { writeCookie } from '../dns/cookie.ts'
import { finishHash } from '../dns/name.ts'
import { opcodeOf, readQuery, Verdict } from '../dns/query.ts'
import { beginReply, headerRcode, setCounts } from '../dns/reply.ts'
import { Cell, Drop, Source, type WorkerCounters } from '../stats/counters.ts'
import type { Image } from '../table/image.ts'
import { isAllowed, isLocal } from './access.ts'
import { Cache } from './cache/cache.ts'
import { ClientQuery, Variant } from './client-query.ts'
import { Forwarder } from './forward/forwarder.ts'
import { HostNames } from './answers/host-names.ts'
import { NOT_OURS, writeMeshAnswer, writePointerAnswer } from './answers/mesh-answers.ts'
import type { Outlet } from './outlet.ts'
import { answerBelowCut } from './cache/nxdomain-cut.ts'
import { RateLimit } from './rate-limit.ts'
import { writeReplyOpt } from './reply-opt.ts'
import type { EngineSettings } from './settings.ts'
import type { UpstreamReply } from './stream-port.ts'
import { FAILURE_MEMORY_MS } from './forward/settlement.ts'
import { rcodeOf, writeMinimalAny, writeSpecialAnswer } from './answers/special-names.ts'
import { ageOf, StoredFlag, writeStored } from './cache/stored-answer.ts'

/** `beforeSync: auto` waits this long for a table before it forwards. */
const SYNC_WAIT_MS = 5000
/** A hit in this last part of an answer's life refreshes it. */
const PREFETCH_PART = 10
const MAX_TCP_REPLY = 65_535
const ALL_SOURCES: readonly Source[] = [Source.mesh, Source.cache, Source.stale, Source.upstream, Source.local]

export interface EngineOptions {
  settings: EngineSettings
  outlet: Outlet
  counters: WorkerCounters
  /** Fresh unpredictable 32-bit numbers: ids are drawn from it. */
  random: () => number
  /** Seed of all name hashes; the image's, as long as there is one. */
  seed: number
  /** Engine time in ms: any clock that never goes back. */
  now: number
  /** Told the label of a server that forwards to us, and the address (4 or 16 bytes) that the query came back from. */
  onLoop?: (server: string, from: Uint8Array) => void
}

export class Engine {
  readonly outlet: Outlet
  readonly counters: WorkerCounters
  readonly random: () => number
  /** Scratch of whoever reads an upstream reply. */
  readonly answer: Answer = new Answer()
  /** Engine time of the batch in hand, in ms. */
  now: number
  cache: Cache | null
  readonly forwarder: Forwarder
  readonly #onLoop: EngineOptions['onLoop']
  #settings: EngineSettings
  #seed: number
  #image: Image | null = null
  readonly #query: ClientQuery = new ClientQuery()
  #rateLimit: RateLimit | null
  #hosts: HostNames | null
  /** Address of the client of the queries in hand, where the driver has it. */
  #address: Uint8Array = new Uint8Array(4)
  #addressAt = 0
  #addressLength = 4
  /** Whether the client of the queries in hand is on this machine, and whether it may ask. */
  #isLocal = true
  #isAllowed = true
  /** Evictions of the cache that the counter has. */
  #evictionsCounted = 0
  /** Answers of the batch in hand by source, until `endBatch` knows how long they took. */
  readonly #batchAnswers: Int32Array = new Int32Array(ALL_SOURCES.length)

  constructor(options: EngineOptions) {
    this.outlet = options.outlet
    this.counters = options.counters
    this.random = options.random
    this.now = options.now
    this.#settings = options.settings
    this.#onLoop = options.onLoop
    this.#seed = options.seed
    this.cache = options.settings.cache.maxBytes > 0 ? new Cache(options.settings.cache.maxBytes) : null
    this.#rateLimit = this.#makeRateLimit()
    this.#hosts = this.#indexHosts()
    this.forwarder = new Forwarder(this, options.settings, new ClientQuery())
  }

  /** Image in use, null before the first. */
  get image(): Image | null {
    return this.#image
  }

  /** Seed of all name hashes. */
  get seed(): number {
    return this.#seed
  }

  /** Adopts a table: one reference swap. Another hash seed empties the cache, whose keys it made. */
  adopt(image: Image): void {
    if (image.seed !== this.#seed) {
      this.#seed = image.seed
      this.cache?.flush()
      this.#hosts = this.#indexHosts()
    }
    this.#image = image
    this.counters.set(Cell.imageGeneration, image.generation)
  }

  /** Takes new settings between two batches. The cache is kept unless its size changed. */
  configure(settings: EngineSettings): void {
    const isResized = settings.cache.maxBytes !== this.#settings.cache.maxBytes
    const before = this.#settings.rateLimit
    this.#settings = settings
    const { rateLimit } = settings
    if (rateLimit?.queriesPerSecond !== before?.queriesPerSecond || rateLimit?.burst !== before?.burst) {
      this.#rateLimit = this.#makeRateLimit()
    }
    this.#hosts = this.#indexHosts()
    if (isResized) {
      this.cache = settings.cache.maxBytes > 0 ? new Cache(settings.cache.maxBytes) : null
      this.#evictionsCounted = 0
      this.#showCache()
    }
    // Other servers may know better.
    this.cache?.forgetFailures(this.now - FAILURE_MEMORY_MS)
    this.forwarder.configure(settings)
  }

  /** Moves time on, never back, and fires what is due. */
  advance(now: number): void {
    if (now > this.now) this.now = now
    this.forwarder.tick()
  }

  /** No timer fires before this engine time; Infinity if none is armed. */
  get nextDue(): number {
    return this.forwarder.nextDue
  }

  /** True if nothing is under way. */
  get isQuiet(): boolean {
    return this.forwarder.isQuiet
  }

  /**
   * Says who sends the queries that follow: `proto` 0 UDP, 1 TCP; `length` 4 or 16 bytes of address at `at` (an
   * IPv4-mapped address has 4), which must stay there as long as queries of that client follow.
   */
  client(proto: number, address: Uint8Array, at: number, length: number): void {
    const query = this.#query
    query.proto = proto
    query.family = length === 4 ? 0 : 1
    this.#address = address
    this.#addressAt = at
    this.#addressLength = length
    this.#isLocal = isLocal(this.#settings, address, at, length)
    this.#isAllowed = this.#isLocal || isAllowed(this.#settings, address, at, length)
  }

  /**
   * Answers the query of `length` bytes at `at`, from the client named last, into `out` at `outAt` (room: 4,096 bytes or
   * the larger UDP payload in the settings; 65,535 for TCP). Returns the reply's length; 0 if there is none, or none yet.
   */
  query(packet: Uint8Array, at: number, length: number, out: Uint8Array, outAt: number): number {
    const query = this.#query
    const verdict = readQuery(packet, at, length, this.#seed, query)
    if (verdict === Verdict.DROP_RUNT || verdict === Verdict.DROP_RESPONSE) {
      this.counters.drop(verdict === Verdict.DROP_RUNT ? Drop.runt : Drop.response)
      return 0
    }
    this.counters.request(query.proto, query.family, query.type)
    this.#setLimit(query)
    if (query.cookieAt > 0) this.#makeCookie(query)
    if (this.#rateLimit !== null && this.#isOverLimit()) return this.#refuseOverLimit(query, out, outAt)
    if (!this.#isAllowed) return this.#refuse(query, out, outAt)
    if (verdict !== Verdict.OK) return this.#refuseFault(query, verdict, out, outAt)
    if (query.questionEnd === query.at) return this.#writeEmpty(query, out, outAt)

    const image = this.#image
    if (image !== null) {
      if (image.find(query.name)) {
        const written = writeMeshAnswer(image, query, this.#settings, this.random(), out, outAt)
        if (written !== NOT_OURS) return this.#count(query, Source.mesh, Rcode.NOERROR, written, out, outAt)
      }
      // Also where a wildcard host has the reverse name: it has no pointers of its own.
      if (query.type === Type.PTR) {
        const written = writePointerAnswer(image, query, this.#settings, out, outAt)
        if (written !== NOT_OURS) return this.#count(query, Source.mesh, Rcode.NOERROR, written, out, outAt)
      }
    }

    const special = writeSpecialAnswer(query, out, outAt)
    if (special !== NOT_OURS) return this.#count(query, Source.local, rcodeOf(out, outAt), special, out, outAt)

    if (this.#hosts !== null) {
      const written = this.#hosts.answer(query, this.#settings, this.random(), out, outAt)
      if (written !== NOT_OURS) return this.#count(query, Source.local, Rcode.NOERROR, written, out, outAt)
    }

    if (query.type === Type.HINFO && this.#isFromLoop(query))
      return this.writeError(query, Rcode.REFUSED, Ede.OTHER, out, outAt)
    if (image === null && this.#isWaitingForTable()) {
      return this.writeError(query, Rcode.SERVFAIL, Ede.NOT_READY, out, outAt)
    }
    if (query.type === Type.ANY) {
      const written = writeMinimalAny(query, out, outAt)
      return this.#count(query, Source.local, Rcode.NOERROR, written, out, outAt)
    }
    return this.#answerFromUpstream(query, out, outAt)
  }

  /** A datagram larger than any receive buffer came from the client named last; its first `length` bytes are at `at`. */
  cutQuery(packet: Uint8Array, at: number, out: Uint8Array, outAt: number): number {
    const query = this.#query
    // The header alone: what follows is not whole.
    const verdict = readQuery(packet, at, HEADER_BYTES, this.#seed, query)
    if (verdict === Verdict.DROP_RESPONSE) {
      this.counters.drop(Drop.response)
      return 0
    }
    this.counters.request(query.proto, query.family, 0)
    this.#setLimit(query)
    if (this.#rateLimit !== null && this.#isOverLimit()) return this.#refuseOverLimit(query, out, outAt)
    if (!this.#isAllowed) return this.#refuse(query, out, outAt)
    return this.writeError(query, Rcode.FORMERR, Ede.NONE, out, outAt)
  }

  /** A datagram from an upstream server, by the outlet's socket `socket`; `isCut` if it was larger than the buffer. */
  upstreamDatagram(socket: number, packet: Uint8Array, at: number, length: number, isCut: boolean): void {
    this.forwarder.datagram(socket, packet, at, length, isCut)
  }

  /** A query over a stream has been answered, or has failed (stream-port.ts). */
  streamReply(token: number, reply: Uint8Array | null, failure: UpstreamReply['failure']): void {
    this.forwarder.streamReply(token, reply, failure)
  }

  /** The socket towards an upstream server reported an error. */
  upstreamFailed(socket: number): void {
    this.forwarder.socketFailed(socket)
  }

  /** Says that the batch's replies have been sent: they took until `now` (ms, may have a fraction). */
  endBatch(now: number): void {
    const seconds = Math.max(0, now - this.now) / 1000
    const answers = this.#batchAnswers
    // No iterator: it would be garbage once a batch.
    for (let k = 0; k < ALL_SOURCES.length; k++) {
      const source = ALL_SOURCES[k]!
      if (answers[source] === 0) continue
      this.counters.duration(source, seconds, answers[source]!)
      answers[source] = 0
    }
    const { cache } = this
    if (cache === null) return
    this.#showCache()
    // By what came since: the counter must not fall when a cache begins anew.
    this.counters.add(Cell.cacheEvictions, cache.evictions - this.#evictionsCounted)
    this.#evictionsCounted = cache.evictions
  }

  #showCache(): void {
    this.counters.set(Cell.cacheEntries, this.cache?.entries ?? 0)
    this.counters.set(Cell.cacheBytes, this.cache?.bytes ?? 0)
  }

  /** Writes a reply without records to `query`, counts it and returns its length. */
  writeError(query: ClientQuery, rcode: number, ede: number, out: Uint8Array, outAt: number): number {
    let at = beginReply(query, headerRcode(rcode), out, outAt)
    if (query.hasEdns) {
      setCounts(out, outAt, 0, 0, 1)
      at = writeReplyOpt(query, rcode, ede, out, at)
    }
    return this.#count(query, Source.local, rcode, at - outAt, out, outAt)
  }

  #indexHosts(): HostNames | null {
    const { hosts } = this.#settings
    return hosts === undefined || hosts.length === 0 ? null : new HostNames(hosts, this.#seed)
  }

  #makeRateLimit(): RateLimit | null {
    const { rateLimit } = this.#settings
    if (rateLimit === undefined || rateLimit.queriesPerSecond === 0) return null
    return new RateLimit(rateLimit.queriesPerSecond, rateLimit.burst, this.random())
  }

  #isOverLimit(): boolean {
    return !this.#rateLimit!.take(this.#address, this.#addressAt, this.#addressLength, this.now)
  }

  /** A datagram's sender may be a lie, and a reply would hit whoever is named: only a stream's is told. */
  #refuseOverLimit(query: ClientQuery, out: Uint8Array, outAt: number): number {
    this.counters.drop(Drop.rateLimited)
    return query.proto === 1 ? this.#refuse(query, out, outAt) : 0
  }

  #setLimit(query: ClientQuery): void {
    const { maxUdpPayload } = this.#settings
    query.receivedAt = this.now
    query.advertise = this.#isLocal ? maxUdpPayload.local : maxUdpPayload.remote
    if (query.proto === 1) query.limit = MAX_TCP_REPLY
    else query.limit = query.payloadSize < query.advertise ? query.payloadSize : query.advertise
  }

  /**
   * The cookie for the reply: a fresh one, whatever server cookie came with the query (RFC 9018 §4.3 allows it), as we
   * never make a client prove its address. Its time is the engine's own: only we read it.
   */
  #makeCookie(query: ClientQuery): void {
    const secret = this.#settings.cookieSecret
    if (secret === undefined) {
      query.cookieAt = 0
      return
    }
    const seconds = Math.floor(this.now / 1000)
    const address = this.#address
    writeCookie(
      secret,
      query.packet,
      query.cookieAt,
      seconds,
      address,
      this.#addressAt,
      this.#addressLength,
      query.replyCookie,
      0,
    )
  }

  #count(query: ClientQuery, source: Source, rcode: number, length: number, out: Uint8Array, outAt: number): number {
    this.counters.response(source, rcode, query.proto, length)
    if ((out[outAt + 2]! & (Flag.TC >> 8)) !== 0) this.counters.add(Cell.truncated, 1)
    if (query.receivedAt === this.now) this.#batchAnswers[source]!++
    else this.counters.duration(source, (this.now - query.receivedAt) / 1000, 1)
    return length
  }

  #refuse(query: ClientQuery, out: Uint8Array, outAt: number): number {
    return this.writeError(query, Rcode.REFUSED, Ede.PROHIBITED, out, outAt)
  }

  #refuseFault(query: ClientQuery, rcode: number, out: Uint8Array, outAt: number): number {
    if (rcode === Rcode.NOTIMP) {
      const opcode = opcodeOf(query)
      if (opcode === Opcode.UPDATE) this.counters.add(Cell.updateRequests, 1)
      else if (opcode === Opcode.DSO) this.counters.add(Cell.dsoRequests, 1)
    }
    return this.writeError(query, rcode, Ede.NONE, out, outAt)
  }

  /** QDCOUNT 0 with a COOKIE (RFC 7873 §5.4): NOERROR, nothing else. */
  #writeEmpty(query: ClientQuery, out: Uint8Array, outAt: number): number {
    return this.writeError(query, Rcode.NOERROR, Ede.NONE, out, outAt)
  }

  /** True for a probe of ours that has come back; whoever wants to know is told. */
  #isFromLoop(query: ClientQuery): boolean {
    const server = this.forwarder.loopProbe.serverOf(query.name.lower, query.name.length)
    if (server < 0) return false
    this.counters.add(Cell.loopsDetected, 1)
    const from = this.#address.slice(this.#addressAt, this.#addressAt + this.#addressLength)
    this.#onLoop?.(this.forwarder.upstreams.server(server).label, from)
    return true
  }

  #isWaitingForTable(): boolean {
    const { beforeSync, startedAtMs } = this.#settings
    if (beforeSync === 'auto') return this.now - startedAtMs < SYNC_WAIT_MS
    return beforeSync === 'servfail'
  }

  #answerFromUpstream(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { cache } = this
    const { name } = query
    // The key is the name with type and variant behind it: there is room for them, and no copy to make.
    const key = name.lower
    const isRecursive = (query.flags & 0x0100) !== 0
    const variant =
      (query.dnssecOk ? Variant.DO : 0) |
      ((query.flags & 0x0010) !== 0 ? Variant.CD : 0) |
      (isRecursive ? 0 : Variant.NO_RECURSION)
    key[name.length] = query.type >>> 8
    key[name.length + 1] = query.type
    key[name.length + 2] = variant
    const keyLength = name.length + 3
    // `keyHash` written out: called, it makes a hit 7 % slower.
    const hash = finishHash(name.hash() ^ Math.imul((query.type << 3) | variant, 0x9e3779b1))
    if (cache !== null && isRecursive) {
      this.counters.add(Cell.cacheRequests, 1)
      const block = cache.find(hash, key, 0, keyLength)
      if (block >= 0) {
        const { store } = cache
        const age = ageOf(store, block, this.now)
        const lifetime = store.lifetimeSeconds(block)
        if (age < lifetime) {
          const isNegative = store.has(block, StoredFlag.NEGATIVE)
          this.counters.add(isNegative ? Cell.cacheHitsNegative : Cell.cacheHitsPositive, 1)
          const length = writeStored(store, block, query, age, -1, store.ede(block), this.random(), out, outAt)
          if (this.#settings.cache.prefetch && age * PREFETCH_PART >= lifetime * (PREFETCH_PART - 1))
            this.#prefetch(hash, keyLength, block)
          return this.#count(query, Source.cache, store.rcode(block), length, out, outAt)
        }
        return this.#answerExpired(query, hash, keyLength, block, age, out, outAt)
      }
      if (this.#settings.cache.nxdomainCut === true) {
        const written = this.#answerBelowCut(query, variant, out, outAt)
        if (written !== NOT_OURS) return written
      }
    }
    return this.forwarder.forward(query, hash, key, keyLength, false, out, outAt)
  }

  /** The cache has an answer whose time is over: it serves if asking again has just failed, or will if that takes long. */
  #answerExpired(
    query: ClientQuery,
    hash: number,
    keyLength: number,
    block: number,
    age: number,
    out: Uint8Array,
    outAt: number,
  ): number {
    const { store } = this.cache!
    const isStale = this.forwarder.isServable(store, block)
    if (!isStale || age >= store.staleUntilSeconds(block)) {
      return this.forwarder.forward(query, hash, query.name.lower, keyLength, isStale, out, outAt)
    }
    const length = this.forwarder.writeStale(query, store, block, out, outAt)
    return this.#count(query, Source.stale, store.rcode(block), length, out, outAt)
  }

  #answerBelowCut(query: ClientQuery, variant: number, out: Uint8Array, outAt: number): number {
    const { upstreams } = this.forwarder
    const length = answerBelowCut(this.cache!, upstreams, query, variant, this.#seed, this.now, out, outAt)
    if (length === NOT_OURS) return NOT_OURS
    this.counters.add(Cell.cacheHitsNegative, 1)
    return this.#count(query, Source.cache, Rcode.NXDOMAIN, length, out, outAt)
  }

  #prefetch(hash: number, keyLength: number, block: number): void {
    const store = this.cache!.store
    if (store.has(block, StoredFlag.PREFETCHED)) return
    store.mark(block, StoredFlag.PREFETCHED)
    this.forwarder.prefetch(hash, this.#query.name.lower, keyLength)
  }
}
