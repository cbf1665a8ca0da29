/** Answers that the cache has, fresh or, after a failure to refresh them, stale. */
import { nameToText, finishHash } from '../../dns/name.ts'
import { Flag, Type } from '../../dns/constants.ts'
import { Cell, Source, type WorkerCounters } from '../../stats/counters.ts'
import { type AnswerContext, type AnswerStage, PASS } from '../answers/answer-stage.ts'
import { isBelowService, isEndedDenial } from '../answers/service-names.ts'
import { type ClientQuery, Variant } from '../client-query.ts'
import type { Upstreams } from '../forward/upstreams.ts'
import type { Cache } from './cache.ts'
import { answerBelowCut } from './nxdomain-cut.ts'
import { isServable, writeStale } from './stale-answers.ts'
import { ageOf, AnswerStore, StoredFlag, writeStored } from './stored-answer.ts'

/** A hit in this last part of an answer's life refreshes it. */
const PREFETCH_PART = 10

/** What the last look found. */
const Found = { NOTHING: 0, FRESH: 1, EXPIRED: 2, STALE: 3, DENIAL: 4, ENDED: 5 } as const

/** What the cache stage may look at besides. */
export interface CacheStageContext extends AnswerContext {
  readonly cache: Cache | null
  readonly counters: WorkerCounters
  /** How many tables there were. */
  readonly tables: number
  /** What answers questions that the cache passes on. */
  readonly forwarder: {
    readonly upstreams: Upstreams
    prefetch(hash: number, key: Uint8Array, keyLength: number): void
  }
}

/** An answer in the cache, for people. */
export interface CacheEntry {
  /** Label of the server that gave it; null if it is not known. */
  server: string | null
  ageSeconds: number
  /** Until it expires; 0 or less for one that has. */
  leftSeconds: number
}

/** An answer is kept under its question's key, which this stage writes after the name of each query, in `name.lower`. */
export class CacheStage implements AnswerStage {
  readonly name = 'cache'
  /** Hash and length of the key of the query asked last. */
  hash = 0
  keyLength = 0
  readonly #context: CacheStageContext
  #found: number = Found.NOTHING
  /** The block found, of which store, and how old it is. */
  #block = -1
  #store: AnswerStore = new AnswerStore(0)
  #ageSeconds = 0
  #isServable = false

  constructor(context: CacheStageContext) {
    this.#context = context
  }

  get source(): Source {
    return this.#found === Found.STALE ? Source.stale : Source.cache
  }

  /** True if the query that was passed on last was looked for: without RD, or without a cache, it is not. */
  hasLooked(query: ClientQuery): boolean {
    return this.#context.cache !== null && isRecursive(query)
  }

  /** True if the answer to the query that was passed on last has expired, but may serve if asking again takes long. */
  get hasStale(): boolean {
    return this.#found === Found.EXPIRED && this.#isServable
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { name, type } = query
    const { cache } = this.#context
    const variant =
      (query.dnssecOk ? Variant.DO : 0) |
      ((query.flags & Flag.CD) !== 0 ? Variant.CD : 0) |
      (isRecursive(query) ? 0 : Variant.NO_RECURSION) |
      query.classBits
    // `lower` has room for type and variant after the name, so nothing is copied.
    const key = name.lower
    key[name.length] = type >>> 8
    key[name.length + 1] = type
    key[name.length + 2] = variant
    this.keyLength = name.length + 3
    // `keyHash` written out: called, it makes a hit 7 % slower.
    this.hash = finishHash(name.hash() ^ Math.imul((type << 3) | variant, 0x9e3779b1))
    this.#found = Found.NOTHING
    if (cache === null || !isRecursive(query)) return PASS
    const block = cache.find(this.hash, key, 0, this.keyLength)
    if (block < 0) {
      return this.#context.settings.cache.nxdomainCut === true
        ? this.#answerBelowCut(cache, query, variant, out, outAt)
        : PASS
    }
    const { now, random } = this.#context
    const { store } = cache
    const age = ageOf(store, block, now)
    this.#block = block
    this.#store = store
    this.#ageSeconds = age
    if (age >= store.lifetimeSeconds(block)) return this.#answerExpired(query, out, outAt)
    if (store.has(block, StoredFlag.NEGATIVE) && this.#isEnded(query)) return this.#passEnded()
    this.#found = Found.FRESH
    query.server = store.server(block)
    return writeStored(store, block, query, age, -1, store.ede(block), random(), out, outAt)
  }

  answered(query: ClientQuery): void {
    const { counters, forwarder, settings } = this.#context
    counters.add(Cell.cacheRequests, 1)
    if (this.#found === Found.STALE) return counters.add(Cell.cacheHitsStale, 1)
    if (this.#found === Found.DENIAL) return counters.add(Cell.cacheHitsNegative, 1)
    const store = this.#store
    const block = this.#block
    counters.add(store.has(block, StoredFlag.NEGATIVE) ? Cell.cacheHitsNegative : Cell.cacheHitsPositive, 1)
    const isNearItsEnd = this.#ageSeconds * PREFETCH_PART >= store.lifetimeSeconds(block) * (PREFETCH_PART - 1)
    if (!isNearItsEnd || !settings.cache.prefetch || store.has(block, StoredFlag.PREFETCHED)) return
    store.mark(block, StoredFlag.PREFETCHED)
    forwarder.prefetch(this.hash, query.name.lower, this.keyLength)
  }

  finding(query: ClientQuery): string {
    if (this.#context.cache === null) return 'the cache is off'
    if (!isRecursive(query)) return 'not looked at: the query does not ask for recursion'
    switch (this.#found) {
      case Found.FRESH:
        return `an answer${this.#entryText()}`
      case Found.STALE:
        return `an expired answer${this.#entryText()}; asking for a new one has just failed`
      case Found.EXPIRED:
        return `an expired answer${this.#entryText()}`
      case Found.ENDED:
        return 'a denial that a later table has ended'
      case Found.DENIAL:
        return `a name above ${nameToText(query.name.lower)} does not exist (RFC 8020)`
      default:
        return 'nothing'
    }
  }

  /** The answer that has just been found, fresh or expired; null if there is none. For people. */
  get entry(): CacheEntry | null {
    if (this.#found !== Found.FRESH && this.#found !== Found.STALE && this.#found !== Found.EXPIRED) return null
    const store = this.#store
    const block = this.#block
    const ageSeconds = this.#ageSeconds
    const server = this.#context.forwarder.upstreams.labelOf(store.server(block))
    return { server, ageSeconds, leftSeconds: store.lifetimeSeconds(block) - ageSeconds }
  }

  #entryText(): string {
    const { server, ageSeconds, leftSeconds } = this.entry!
    const from = server === null ? '' : ` from ${server}`
    const end = leftSeconds > 0 ? `${leftSeconds} s left` : `${-leftSeconds} s over its time`
    return `${from}, ${ageSeconds} s ago, ${end}`
  }

  /** The answer has expired: it is served if asking again has just failed, and later if asking takes long. */
  #answerExpired(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { now, random, settings } = this.#context
    const store = this.#store
    const block = this.#block
    this.#found = Found.EXPIRED
    if (store.has(block, StoredFlag.NEGATIVE) && this.#isEnded(query)) return this.#passEnded()
    this.#isServable = isServable(store, block, settings.cache.staleSeconds, now)
    if (!this.#isServable || this.#ageSeconds >= store.staleUntilSeconds(block)) return PASS
    this.#found = Found.STALE
    query.server = store.server(block)
    return writeStale(store, block, query, random(), out, outAt)
  }

  /** True if a table that came after it ends the denial found. */
  #isEnded({ name }: ClientQuery): boolean {
    return isEndedDenial(this.#context, this.#store, this.#block, name.lower, 0, name.length)
  }

  #passEnded(): number {
    this.#found = Found.ENDED
    return PASS
  }

  /** The query that was passed on last goes to a server: a denial that has ended must not come back with a later table. */
  passed({ name }: ClientQuery): void {
    if (this.#found === Found.ENDED) this.#context.cache?.forget(this.hash, name.lower, 0, this.keyLength)
  }

  #answerBelowCut(cache: Cache, query: ClientQuery, variant: number, out: Uint8Array, outAt: number): number {
    const { forwarder, image, now, seed, settings } = this.#context
    const { lower, length: nameLength } = query.name
    const isBrief = image !== null && settings.headlessNegativeTtlSeconds !== undefined
    // A stage behind this one has another answer, which leaves the name's IPv4 addresses alone.
    if (settings.aaaaWithheld !== undefined && query.type === Type.AAAA && !query.dnssecOk) return PASS
    // The name above may be one of the mesh that servers do not know.
    if (isBrief && isBelowService(image, lower, 0, nameLength)) return PASS
    const length = answerBelowCut(cache, forwarder.upstreams, query, variant, seed, now, out, outAt)
    if (length !== PASS) this.#found = Found.DENIAL
    return length
  }
}

function isRecursive(query: ClientQuery): boolean {
  return (query.flags & Flag.RD) !== 0
}
