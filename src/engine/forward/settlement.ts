/**
 * What those who wait for a pending query are given in the end, and what the cache keeps of it.
 *
 * ```
 *  an answer            → all who wait, cache
 *  none, or not yet     → the expired answer in the cache, TTL 30 (RFC 8767) │ a partial answer, with TC, over UDP │
 *                         SERVFAIL, which the cache keeps for a few seconds (RFC 9520)
 * ```
 */
import { Ede, Flag, HEADER_BYTES, Rcode, Type } from '../../dns/constants.ts'
import { keepWholeRecords } from '../../dns/answer.ts'
import { readU16, setCounts } from '../../dns/reply.ts'
import { readReply } from '../../dns/scrub.ts'
import { Cell, Source } from '../../stats/counters.ts'
import { ANY_TYPE_KEY, CLASS_SHIFT, type ClientQuery, Variant } from '../client-query.ts'
import { isBelowService, isEndedDenial } from '../answers/service-names.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { NONE } from './attempts.ts'
import type { EngineSettings } from '../settings.ts'
import { cutHash } from '../cache/nxdomain-cut.ts'
import { isServable, writeStale } from '../cache/stale-answers.ts'
import {
  AnswerStore,
  ageOf,
  StoredFlag,
  storeAnswer,
  storeFailure,
  type TtlBounds,
  writeStored,
} from '../cache/stored-answer.ts'

/** After a failure to refresh it a stale answer serves at once: the failure recheck timer (RFC 8767 §5). */
const STALE_RECHECK_SECONDS = 30
/** How long a failure is kept, doubled each time it repeats (RFC 9520 §3.2); how long after that it counts as repeated. */
const FIRST_FAILURE_SECONDS = 1
const LONGEST_FAILURE_SECONDS = 5
const REPEATED_WITHIN_SECONDS = 30
/** After so long a failure that was kept plays no part any more. */
export const FAILURE_MEMORY_MS: number = (LONGEST_FAILURE_SECONDS + REPEATED_WITHIN_SECONDS) * 1000
/** A client's `proto`. */
const TCP = 1

/** Ends pending queries: replies to the waiters, stores answers. */
export class Settlement {
  readonly #state: ForwarderState
  readonly #waiter: ClientQuery
  /** One answer in the form in which it is kept; 64 KiB and what surrounds it. */
  readonly #scratch: AnswerStore = new AnswerStore(96 * 1024)

  /** How denials of names below a Kubernetes host of the table are kept. */
  #briefBounds: TtlBounds
  /** By number of the answer class: how answers are kept whose TTLs a rule bounds. */
  #boundsOfClass: readonly TtlBounds[]

  /** `waiter`: made the query of one waiter after the other. */
  constructor(state: ForwarderState, waiter: ClientQuery) {
    this.#state = state
    this.#waiter = waiter
    this.#briefBounds = briefBounds(state.settings)
    this.#boundsOfClass = boundsOfClass(state.settings)
  }

  /** Takes new settings. */
  configure(settings: EngineSettings): void {
    this.#briefBounds = briefBounds(settings)
    this.#boundsOfClass = boundsOfClass(settings)
  }

  /** The answer in `context.answer`, which is from `server`, is the one: keeps it, and gives it to all who wait. */
  answer(p: number, server: number): void {
    const { context, inFlight, upstreams } = this.#state
    const { answer, cache } = context
    const variant = inFlight.keys[inFlight.keyAt(p) + inFlight.keyLength(p) - 1]!
    const isRecursive = (variant & Variant.NO_RECURSION) === 0
    const isCacheable = this.#storeAnswer(p) > 0 && isRecursive && !this.#isWithheld(p)
    this.#scratch.setServer(0, upstreams.server(server).number ?? 0)
    if (cache !== null && isCacheable) cache.put(this.#scratch, 0)
    // What was said before is outdated, and must not come back as a stale answer.
    else if (isRecursive && (answer.rcode === Rcode.NOERROR || answer.rcode === Rcode.NXDOMAIN)) this.#forget(p)
    this.#deliver(p, 0)
    if (isCacheable && answer.rcode === Rcode.NXDOMAIN) this.#keepCut(p)
  }

  /**
   * True if the answer in `context.answer`, which is from `server`, denies what was there shortly before, and no other server has
   * denied it. Another one is asked then; if there is none, or it has no answer either, the answer of before is served on as
   * a stale one: a server that has lost a zone for a moment takes nothing away from clients.
   */
  isDoubted(p: number, server: number): boolean {
    const { context, inFlight, settings } = this.#state
    const { staleOnDenialSeconds = 0 } = settings.cache
    if (staleOnDenialSeconds === 0) return false
    const { answer, cache, now } = context
    const isDenial = answer.rcode === Rcode.NXDOMAIN || (answer.rcode === Rcode.NOERROR && !answer.hasAnswer)
    if (!isDenial || cache === null || (inFlight.deniedBy.of(p) & ~(1 << server)) !== 0) return false
    const block = this.#cached(p)
    if (block < 0 || cache.store.has(block, StoredFlag.NEGATIVE)) return false
    return now - cache.store.storedAt(block) < staleOnDenialSeconds * 1000
  }

  /** True for an AAAA answer that was asked for when there was still a use for it. */
  #isWithheld(p: number): boolean {
    const { inFlight, settings } = this.#state
    return (
      settings.aaaaWithheld !== undefined && inFlight.type(p) === Type.AAAA && (inFlight.variant(p) & Variant.DO) === 0
    )
  }

  /** No server gave an answer: a stale one if there is one (RFC 8767), or a partial one, else SERVFAIL, to all who wait. */
  fail(p: number): void {
    // Without a server to ask nothing has failed.
    if (this.giveUp(p) && this.#state.inFlight.messages(p) > 0) this.#keepFailure(p)
  }

  /** The same, and a failure is not remembered: servers may not have had their time. True if it was SERVFAIL. */
  giveUp(p: number): boolean {
    const { context, waiters } = this.#state
    const { outlet } = context
    if (this.giveStale(p, true) || this.#giveTruncated(p)) return false
    const waiter = this.#waiter
    const ede = this.#failureEde(p)
    for (let w = waiters.take(p, waiter); w !== NONE; w = waiters.take(p, waiter)) {
      outlet.openReply(w)
      this.#sendFailure(w, ede)
    }
    return true
  }

  /**
   * Gives all who wait for a pending query the stale answer, and those after them at once; false if there is none. The
   * query may go on to refresh it, unless `hasFailed`.
   */
  giveStale(p: number, hasFailed: boolean = false): boolean {
    const { context, waiters } = this.#state
    const { cache, counters, now, outlet, random } = context
    const waiter = this.#waiter
    const block = this.#cached(p)
    const { staleOnDenialSeconds = 0, staleSeconds } = this.#state.settings.cache
    const isDenied = this.#state.inFlight.deniedBy.of(p) !== 0
    const seconds = isDenied ? Math.max(staleSeconds, staleOnDenialSeconds) : staleSeconds
    if (cache === null || block < 0 || !isServable(cache.store, block, seconds, now)) return false
    const { store } = cache
    if (this.#isEnded(p, store, block)) return false
    store.setStaleUntilSeconds(block, ageOf(store, block, now) + STALE_RECHECK_SECONDS)
    for (let w = waiters.take(p, waiter); w !== NONE; w = waiters.take(p, waiter)) {
      outlet.openReply(w)
      waiter.server = store.server(block)
      const length = writeStale(store, block, waiter, random(), outlet.reply, outlet.replyAt)
      counters.add(Cell.cacheHitsStale, 1)
      counters.add(Cell.staleForwarded, 1)
      if (hasFailed) counters.add(Cell.staleAfterFailure, 1)
      this.#send(w, Source.stale, store.rcode(block), length)
    }
    return true
  }

  /** True for the denial of a name that may be there now, by a table that came after it. */
  #isEnded(p: number, store: AnswerStore, block: number): boolean {
    const { context, inFlight } = this.#state
    if (!store.has(block, StoredFlag.NEGATIVE)) return false
    return isEndedDenial(context, store, block, inFlight.keys, inFlight.keyAt(p), inFlight.nameLength(p))
  }

  /** What a client is told beside SERVFAIL when all has failed. */
  #failureEde(p: number): number {
    const ede = this.#state.inFlight.ede(p)
    // What a server says of why ("DNSSEC Bogus", say) tells more. Its text may be anything, and is not passed on.
    if (ede !== Ede.NONE) return ede
    const reason = this.#state.inFlight.lastFailure(p)
    return reason === 'network' || reason === 'tls' ? Ede.NETWORK_ERROR : Ede.NO_REACHABLE_AUTHORITY
  }

  /**
   * Gives all waiters the partial answer, with TC; nothing of it is kept. False if there is nothing of the kind. Who
   * asks over TCP gets SERVFAIL: TC tells a client to ask in a way that has room for more (RFC 2181 §9), and it has done
   * so; without TC a part would pass for the whole. So it is told what is true, and can ask another resolver.
   */
  #giveTruncated(p: number): boolean {
    const { context, inFlight, truncated } = this.#state
    const { answer } = context
    const reply = truncated.of(p)
    if (reply === undefined) return false
    const keyLength = inFlight.keyLength(p)
    const questionEnd = HEADER_BYTES + keyLength + 1
    const type = readU16(inFlight.keys, inFlight.keyAt(p) + keyLength - 3)
    const dnssecOk = (inFlight.keys[inFlight.keyAt(p) + keyLength - 1]! & Variant.DO) !== 0
    const length = keepWholeRecords(reply, reply.length, questionEnd)
    if (!readReply(reply, 0, length, questionEnd, type, dnssecOk, answer)) {
      // Not even that can be read: the client learns that there is more than it can have.
      setCounts(reply, 0, 0, 0, 0)
      readReply(reply, 0, questionEnd, questionEnd, type, dnssecOk, answer)
    }
    if (answer.rcode > Flag.RCODE) return false
    this.#storeAnswer(p)
    this.#deliver(p, Flag.TC)
    return true
  }

  /** Puts the answer in `context.answer` into `scratch`; returns for how many seconds it may be served. */
  #storeAnswer(p: number): number {
    const { context, inFlight, settings } = this.#state
    const { answer, now, tables } = context
    const scratch = this.#scratch
    const isBrief = this.#isBriefDenial(p)
    const ofClass = this.#boundsOfClass[inFlight.variant(p) >> CLASS_SHIFT] ?? settings.cache
    const seconds = storeAnswer(
      scratch,
      0,
      answer.packet,
      answer.start,
      answer,
      inFlight.keys,
      inFlight.keyAt(p),
      inFlight.keyLength(p),
      inFlight.hash(p),
      now,
      isBrief ? this.#briefBounds : ofClass,
    )
    scratch.setTable(0, tables)
    if (!isBrief) return seconds
    scratch.mark(0, StoredFlag.BRIEF)
    if (answer.soaTtl >= 0) scratch.lowerMinimum(0, answer.soaTtlAt)
    // A table that came while the server was asked may know better already.
    return inFlight.tables(p) === tables ? seconds : 0
  }

  /** True if the answer in `context.answer` denies a name below a Kubernetes host of the table. */
  #isBriefDenial(p: number): boolean {
    const { context, inFlight, settings } = this.#state
    const { answer, image } = context
    if (image === null || settings.headlessNegativeTtlSeconds === undefined) return false
    if (answer.rcode === Rcode.NOERROR ? answer.hasAnswer : answer.rcode !== Rcode.NXDOMAIN) return false
    return isBelowService(image, inFlight.keys, inFlight.keyAt(p), inFlight.nameLength(p))
  }

  /** Gives the answer in `scratch` to all who wait; `flags`: Flag.TC if it is partial, else 0. */
  #deliver(p: number, flags: number): void {
    const { context, waiters } = this.#state
    const { answer, outlet, random } = context
    const scratch = this.#scratch
    const waiter = this.#waiter
    for (let w = waiters.take(p, waiter); w !== NONE; w = waiters.take(p, waiter)) {
      outlet.openReply(w)
      if (flags !== 0 && waiter.proto === TCP) {
        this.#sendFailure(w, this.#failureEde(p))
        continue
      }
      waiter.server = scratch.server(0)
      const length = writeStored(scratch, 0, waiter, 0, -1, scratch.ede(0), random(), outlet.reply, outlet.replyAt)
      outlet.reply[outlet.replyAt + 2]! |= flags >> 8
      this.#send(w, Source.upstream, answer.rcode, length)
    }
  }

  /** Sends SERVFAIL to the waiter taken last. It is the servers' failure, and counts as theirs. */
  #sendFailure(w: number, ede: number): void {
    const { context, waiters } = this.#state
    const { outlet } = context
    const length = context.writeError(this.#waiter, Rcode.SERVFAIL, ede, outlet.reply, outlet.replyAt, Source.upstream)
    outlet.sendReply(w, length)
    waiters.release(w)
  }

  /** Sends the reply just written to the waiter taken last and gives the place back. */
  #send(w: number, source: Source, rcode: number, length: number): void {
    const { context, waiters } = this.#state
    const { outlet } = context
    const sent = context.complete(this.#waiter, source, rcode, length, outlet.reply, outlet.replyAt)
    outlet.sendReply(w, sent)
    waiters.release(w)
  }

  /** Keeps the NXDOMAIN in `scratch` for names below as well, unless it says so of a name that CNAMEs led to. */
  #keepCut(p: number): void {
    const { context, inFlight, settings } = this.#state
    const { answer, cache, seed, storms } = context
    if (cache === null || answer.answers > 0) return
    const keyAt = inFlight.keyAt(p)
    const nameLength = inFlight.nameLength(p)
    const variant = inFlight.variant(p)
    // Search storms are answered without DO and CD alone.
    const isOfStorm = variant === 0 && storms.isParent(inFlight.keys, keyAt, nameLength)
    if (settings.cache.nxdomainCut !== true && !isOfStorm) return
    this.#scratch.rekey(0, ANY_TYPE_KEY, cutHash(seed, inFlight.keys, keyAt, nameLength, variant))
    cache.put(this.#scratch, 0)
  }

  /** Remembers that nobody could answer: for a second, and longer if that was so a moment ago (RFC 9520). */
  #keepFailure(p: number): void {
    const { context, inFlight } = this.#state
    const { cache, now } = context
    const keyAt = inFlight.keyAt(p)
    const keyLength = inFlight.keyLength(p)
    if (cache === null || (inFlight.keys[keyAt + keyLength - 1]! & Variant.NO_RECURSION) !== 0) return
    if (this.#isWithheld(p)) return
    const block = this.#cached(p)
    let lifetime = FIRST_FAILURE_SECONDS
    if (block >= 0 && cache.store.has(block, StoredFlag.FAILURE)) {
      const before = cache.store.lifetimeSeconds(block)
      const isRepeated = ageOf(cache.store, block, now) < before + REPEATED_WITHIN_SECONDS
      if (isRepeated) lifetime = Math.min(before * 2, LONGEST_FAILURE_SECONDS)
    }
    storeFailure(this.#scratch, 0, inFlight.keys, keyAt, keyLength, inFlight.hash(p), now, lifetime)
    cache.put(this.#scratch, 0)
  }

  #forget(p: number): void {
    const { context, inFlight } = this.#state
    context.cache?.forget(inFlight.hash(p), inFlight.keys, inFlight.keyAt(p), inFlight.keyLength(p))
  }

  /** The block in the cache for a query's question, -1 if there is none. */
  #cached(p: number): number {
    const { context, inFlight } = this.#state
    const { cache } = context
    return cache === null ? -1 : cache.find(inFlight.hash(p), inFlight.keys, inFlight.keyAt(p), inFlight.keyLength(p))
  }
}

function briefBounds({ cache, headlessNegativeTtlSeconds = Number.POSITIVE_INFINITY }: EngineSettings): TtlBounds {
  const { minTtlSeconds, maxTtlSeconds, maxNegativeTtlSeconds } = cache
  return {
    minTtlSeconds,
    maxTtlSeconds,
    maxNegativeTtlSeconds: Math.min(maxNegativeTtlSeconds, headlessNegativeTtlSeconds),
  }
}

function boundsOfClass({ cache, rules }: EngineSettings): TtlBounds[] {
  const classes = rules?.answerClasses ?? []
  return [
    cache,
    ...classes.map(({ maxTtlSeconds, minTtlSeconds }) => ({
      minTtlSeconds: minTtlSeconds ?? Math.min(cache.minTtlSeconds, maxTtlSeconds ?? cache.minTtlSeconds),
      maxTtlSeconds: maxTtlSeconds ?? Math.max(cache.maxTtlSeconds, minTtlSeconds ?? 0),
      maxNegativeTtlSeconds: cache.maxNegativeTtlSeconds,
    })),
  ]
}
