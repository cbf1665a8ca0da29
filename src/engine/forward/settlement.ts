/**
 * What those who wait for an exchange are given in the end, and what the cache keeps of it.
 *
 * ```
 *  an answer            → all who wait, cache
 *  none, or not yet     → the expired answer in the cache, TTL 30 (RFC 8767) │ half an answer, with TC, over UDP │
 *                         SERVFAIL, which the cache keeps for a few seconds (RFC 9520)
 * ```
 */
import { Ede, Flag, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import { readU16, setCounts } from '../../dns/reply.ts'
import { readReply } from '../../dns/scrub.ts'
import { Cell, Source } from '../../stats/counters.ts'
import { ANY_TYPE_KEY, type ClientQuery, Variant } from '../client-query.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { NONE } from './in-flight.ts'
import { cutHash } from '../cache/nxdomain-cut.ts'
import { isServable, writeStale } from '../cache/stale-answers.ts'
import { AnswerStore, ageOf, StoredFlag, storeAnswer, storeFailure, writeStored } from '../cache/stored-answer.ts'

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

export class Settlement {
  readonly #state: ForwarderState
  readonly #waiter: ClientQuery
  /** One answer in the form in which it is kept; 64 KiB and what surrounds it. */
  readonly #scratch: AnswerStore = new AnswerStore(96 * 1024)

  /** `waiter`: made the query of one waiter after the other. */
  constructor(state: ForwarderState, waiter: ClientQuery) {
    this.#state = state
    this.#waiter = waiter
  }

  /** The answer in `context.answer` is the one: keeps it, and gives it to all who wait. */
  answer(x: number): void {
    const { context, inFlight } = this.#state
    const { answer, cache } = context
    const variant = inFlight.keys[inFlight.keyAt(x) + inFlight.keyLength[x]! - 1]!
    const isRecursive = (variant & Variant.NO_RECURSION) === 0
    const isCacheable = this.#storeAnswer(x) > 0 && isRecursive
    if (cache !== null && isCacheable) cache.put(this.#scratch, 0)
    // What was said before is outdated, and must not come back as a stale answer.
    else if (isRecursive && (answer.rcode === Rcode.NOERROR || answer.rcode === Rcode.NXDOMAIN)) this.#forget(x)
    this.#deliver(x, 0)
    if (isCacheable && answer.rcode === Rcode.NXDOMAIN) this.#keepCut(x)
  }

  /** No server gave an answer: a stale one if there is one (RFC 8767), or half of one, else SERVFAIL, to all who wait. */
  fail(x: number): void {
    const { context, inFlight } = this.#state
    const { outlet } = context
    if (this.giveStale(x) || this.#giveTruncated(x)) return
    const waiter = this.#waiter
    const ede = this.#failureEde(x)
    for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
      outlet.openReply(w)
      this.#sendFailure(w, ede)
    }
    // Without a server to ask nothing has failed.
    if (inFlight.attemptsMade[x]! > 0) this.#keepFailure(x)
  }

  /**
   * Gives all who wait for an exchange the stale answer, and those after them at once; false if there is none. The
   * exchange may go on to refresh it.
   */
  giveStale(x: number): boolean {
    const { context, inFlight } = this.#state
    const { cache, counters, now, outlet, random } = context
    const waiter = this.#waiter
    const block = this.#cached(x)
    const { staleSeconds } = this.#state.settings.cache
    if (cache === null || block < 0 || !isServable(cache.store, block, staleSeconds, now)) return false
    const { store } = cache
    store.setStaleUntilSeconds(block, ageOf(store, block, now) + STALE_RECHECK_SECONDS)
    for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
      outlet.openReply(w)
      const length = writeStale(store, block, waiter, random(), outlet.reply, outlet.replyAt)
      counters.add(Cell.cacheHitsStale, 1)
      this.#send(w, Source.stale, store.rcode(block), length)
    }
    return true
  }

  /** What a client is told beside SERVFAIL when all has failed. */
  #failureEde(x: number): number {
    const ede = this.#state.inFlight.ede[x]!
    // What a server says of why ("DNSSEC Bogus", say) tells more. Its text may be anything, and is not passed on.
    if (ede !== Ede.NONE) return ede
    const reason = this.#state.lastFailure(x)
    return reason === 'network' || reason === 'tls' ? Ede.NETWORK_ERROR : Ede.NO_REACHABLE_AUTHORITY
  }

  /**
   * Gives all who wait what a server cut off, with TC; nothing is kept of it. False if there is nothing of the kind. Who
   * asks over TCP gets SERVFAIL: TC tells a client to ask in a way that has room for more (RFC 2181 §9), and it has done
   * so; without TC half of an answer would pass for the whole. So it is told what is true, and can ask another resolver.
   */
  #giveTruncated(x: number): boolean {
    const { context, inFlight, truncated } = this.#state
    const { answer } = context
    const reply = truncated.of(x)
    if (reply === undefined) return false
    const keyLength = inFlight.keyLength[x]!
    const questionEnd = HEADER_BYTES + keyLength + 1
    const type = readU16(inFlight.keys, inFlight.keyAt(x) + keyLength - 3)
    if (!readReply(reply, 0, reply.length, questionEnd, type, answer)) {
      // Cut off within a record: the client learns that there is more than it can have.
      setCounts(reply, 0, 0, 0, 0)
      readReply(reply, 0, questionEnd, questionEnd, type, answer)
    }
    if (answer.rcode > Flag.RCODE) return false
    this.#storeAnswer(x)
    this.#deliver(x, Flag.TC)
    return true
  }

  /** Puts the answer in `context.answer` into `scratch`; returns for how many seconds it may be served. */
  #storeAnswer(x: number): number {
    const { context, inFlight, settings } = this.#state
    const { answer, now } = context
    return storeAnswer(
      this.#scratch,
      0,
      answer.packet,
      answer.start,
      answer,
      inFlight.keys,
      inFlight.keyAt(x),
      inFlight.keyLength[x]!,
      inFlight.hash[x]!,
      now,
      settings.cache,
    )
  }

  /** Gives the answer in `scratch` to all who wait; `flags`: Flag.TC if it is half of one, else 0. */
  #deliver(x: number, flags: number): void {
    const { context, inFlight } = this.#state
    const { answer, outlet, random } = context
    const scratch = this.#scratch
    const waiter = this.#waiter
    for (let w = inFlight.takeWaiter(x, waiter); w !== NONE; w = inFlight.takeWaiter(x, waiter)) {
      outlet.openReply(w)
      if (flags !== 0 && waiter.proto === TCP) {
        this.#sendFailure(w, this.#failureEde(x))
        continue
      }
      const length = writeStored(scratch, 0, waiter, 0, -1, scratch.ede(0), random(), outlet.reply, outlet.replyAt)
      outlet.reply[outlet.replyAt + 2]! |= flags >> 8
      this.#send(w, Source.upstream, answer.rcode, length)
    }
  }

  /** Sends SERVFAIL to the waiter taken last. It is the servers' failure, and counts as theirs. */
  #sendFailure(w: number, ede: number): void {
    const { context, inFlight } = this.#state
    const { outlet } = context
    const length = context.writeError(this.#waiter, Rcode.SERVFAIL, ede, outlet.reply, outlet.replyAt, Source.upstream)
    outlet.sendReply(w, length)
    inFlight.freeWaiter(w)
  }

  /** Sends the reply just written to the waiter taken last and gives the place back. */
  #send(w: number, source: Source, rcode: number, length: number): void {
    const { context, inFlight } = this.#state
    const { outlet } = context
    context.complete(this.#waiter, source, rcode, length, outlet.reply, outlet.replyAt)
    outlet.sendReply(w, length)
    inFlight.freeWaiter(w)
  }

  /** Keeps the NXDOMAIN in `scratch` for names below as well, unless it says so of a name that CNAMEs led to. */
  #keepCut(x: number): void {
    const { context, inFlight, settings } = this.#state
    const { answer, cache, seed } = context
    if (cache === null || settings.cache.nxdomainCut !== true || answer.answers > 0) return
    const keyAt = inFlight.keyAt(x)
    const nameLength = inFlight.keyLength[x]! - 3
    const variant = inFlight.keys[keyAt + nameLength + 2]!
    this.#scratch.rekey(0, ANY_TYPE_KEY, cutHash(seed, inFlight.keys, keyAt, nameLength, variant))
    cache.put(this.#scratch, 0)
  }

  /** Remembers that nobody could answer: for a second, and longer if that was so a moment ago (RFC 9520). */
  #keepFailure(x: number): void {
    const { context, inFlight } = this.#state
    const { cache, now } = context
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    if (cache === null || (inFlight.keys[keyAt + keyLength - 1]! & Variant.NO_RECURSION) !== 0) return
    const block = this.#cached(x)
    let lifetime = FIRST_FAILURE_SECONDS
    if (block >= 0 && cache.store.has(block, StoredFlag.FAILURE)) {
      const before = cache.store.lifetimeSeconds(block)
      const isRepeated = ageOf(cache.store, block, now) < before + REPEATED_WITHIN_SECONDS
      if (isRepeated) lifetime = Math.min(before * 2, LONGEST_FAILURE_SECONDS)
    }
    storeFailure(this.#scratch, 0, inFlight.keys, keyAt, keyLength, inFlight.hash[x]!, now, lifetime)
    cache.put(this.#scratch, 0)
  }

  #forget(x: number): void {
    const { context, inFlight } = this.#state
    context.cache?.forget(inFlight.hash[x]!, inFlight.keys, inFlight.keyAt(x), inFlight.keyLength[x]!)
  }

  /** The block in the cache for an exchange's question, -1 if there is none. */
  #cached(x: number): number {
    const { context, inFlight } = this.#state
    const { cache } = context
    return cache === null ? -1 : cache.find(inFlight.hash[x]!, inFlight.keys, inFlight.keyAt(x), inFlight.keyLength[x]!)
  }
}
