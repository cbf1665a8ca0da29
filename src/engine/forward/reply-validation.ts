/**
 * What a message is that came in under an attempt's id, from where the attempt went: the server's reply or a forgery
 * (RFC 5452), an answer or a reason to ask elsewhere. Nothing follows from it here but what is known of the server's
 * cookies and the case it answers in; the forwarder draws the conclusions.
 *
 * ```
 *  response? → question? → case? → nobody waits? → cookie of errors and truncated replies → whole? → cookie → rcode
 * ```
 */
import { isSameQuestion, readOptions } from '../../dns/answer.ts'
import { Ede, Flag, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import { hasCapitals, hasMixedCase } from '../../dns/name-case.ts'
import { isServerFailure, readU16 } from '../../dns/reply.ts'
import { readReply } from '../../dns/scrub.ts'
import { Drop } from '../../stats/counters.ts'
import { Variant } from '../client-query.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { AttemptCookie } from './attempts.ts'

/**
 * DROPPED: none of ours, and counted; the wait goes on. NEAR_MISS: the same, with another question under the right id. SUSPECT: the same, but it may be the server's after all, as one that
 * does not repeat the name's case or the cookie. SEEN: nobody waits for it. FAILED: an error, see `rcode` and `isBare`.
 * TRUNCATED, MALFORMED, BAD_COOKIE: as they say. USELESS: sound, but an answer that leads nowhere, as a zone's CNAMEs that
 * are a loop. ANSWER: it stands in `context.answer`, which also has the extended error of one that FAILED.
 */
export const ReplyVerdict = {
  DROPPED: 0,
  SUSPECT: 1,
  SEEN: 2,
  FAILED: 3,
  TRUNCATED: 4,
  MALFORMED: 5,
  USELESS: 6,
  BAD_COOKIE: 7,
  ANSWER: 8,
  NEAR_MISS: 9,
} as const

/** Decides what a message from a server is worth. */
export class ReplyValidation {
  /** Of the reply validated last: its rcode, and whether it is nothing but a header. */
  rcode = 0
  isBare = false
  readonly #state: ForwarderState

  constructor(state: ForwarderState) {
    this.#state = state
  }

  /** Validates the message of `length` bytes at `start`; `isCut`: it was longer than the buffer. Returns a ReplyVerdict. */
  validate(a: number, packet: Uint8Array, start: number, length: number, isCut: boolean, isStream: boolean): number {
    const { attempts, context, inFlight, truncated, upstreams } = this.#state
    const { answer, counters } = context
    const p = attempts.pendingOf(a)
    const keyAt = inFlight.keyAt(p)
    const keyLength = inFlight.keyLength(p)
    const flags = readU16(packet, start + 2)
    if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR) return this.#drop()
    const rcode = flags & Flag.RCODE
    answer.ede = Ede.NONE
    this.rcode = rcode
    this.isBare = length === HEADER_BYTES
    const isWaitedFor = inFlight.isWaitedFor(p)
    if (!isSameQuestion(packet, start, length, inFlight.keys, keyAt, keyLength - 3)) {
      // A bare header with an error is how some servers refuse what they do not understand.
      if (readU16(packet, start + 4) !== 0 || rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN) {
        this.#drop()
        return isStream || !isWaitedFor ? ReplyVerdict.DROPPED : ReplyVerdict.NEAR_MISS
      }
      return isWaitedFor
        ? this.#validateUnread(a, packet, start, length, HEADER_BYTES, isStream, ReplyVerdict.FAILED)
        : ReplyVerdict.FAILED
    }
    const seed = attempts.caseSeed(a)
    if (seed !== 0) {
      const isOurs = hasMixedCase(packet, start + HEADER_BYTES, inFlight.keys, keyAt, keyLength - 3, seed)
      if (!isOurs) return this.#loseCase(a)
      // Without a letter (the root, say), or with small ones by chance, there was nothing to repeat.
      if (hasCapitals(packet, start + HEADER_BYTES, keyLength - 3)) upstreams.caseKept(attempts.server(a))
    }
    if (!isWaitedFor) return ReplyVerdict.SEEN
    const questionEnd = HEADER_BYTES + keyLength + 1
    const isFailure = isServerFailure(rcode)
    if (isCut || (flags & Flag.TC) !== 0) {
      const verdict = this.#validateUnread(a, packet, start, length, questionEnd, isStream, ReplyVerdict.TRUNCATED)
      if (verdict === ReplyVerdict.TRUNCATED && !isFailure) truncated.keep(p, packet, start, length, questionEnd)
      return verdict
    }
    if (isFailure) return this.#validateUnread(a, packet, start, length, questionEnd, isStream, ReplyVerdict.FAILED)
    const type = readU16(inFlight.keys, keyAt + keyLength - 3)
    const variant = inFlight.keys[keyAt + keyLength - 1]!
    if (!readReply(packet, start, length, questionEnd, type, (variant & Variant.DO) !== 0, answer)) {
      const otherwise = answer.isSound ? ReplyVerdict.USELESS : ReplyVerdict.MALFORMED
      const verdict = this.#validateUnread(a, packet, start, length, questionEnd, isStream, otherwise)
      if (verdict === otherwise) counters.drop(Drop.malformedReply)
      return verdict
    }
    if (!this.#hasCookie(a, packet, start, isStream)) return ReplyVerdict.SUSPECT
    if (answer.isReferral && (variant & Variant.NO_RECURSION) === 0) {
      // A server of zones in a resolver's place will not look for the answer. To a query without RD a referral is an answer.
      this.rcode = Rcode.REFUSED
      return ReplyVerdict.FAILED
    }
    if (answer.rcode <= Flag.RCODE) return ReplyVerdict.ANSWER
    // With a cookie of its own alone (RFC 7873 §5.3): else anybody could say so.
    const isBadCookie = answer.rcode === Rcode.BADCOOKIE && answer.cookieLength > 0
    if (isBadCookie && attempts.cookie(a) !== AttemptCookie.NONE) return ReplyVerdict.BAD_COOKIE
    // Rcodes beyond the header's four bits mean that something failed, and a client without EDNS would read them as another.
    const isAboutEdns = answer.rcode === Rcode.BADVERS && !attempts.isPlain(a)
    this.rcode = isAboutEdns ? Rcode.FORMERR : Rcode.SERVFAIL
    return ReplyVerdict.FAILED
  }

  #drop(): number {
    this.#state.context.counters.drop(Drop.spoofedReply)
    return ReplyVerdict.DROPPED
  }

  /** A reply in another case than the question. It counts once for a question: a forger may send many. */
  #loseCase(a: number): number {
    const { attempts, context, inFlight, upstreams } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    context.counters.drop(Drop.spoofedReply)
    if (!inFlight.caseLost.has(p, server)) upstreams.caseLost(server, context.now)
    inFlight.caseLost.add(p, server)
    return ReplyVerdict.SUSPECT
  }

  /** `otherwise`, unless the cookie makes the reply suspect. For replies whose records are not read: truncated ones and errors. Its records begin at `from`. */
  #validateUnread(
    a: number,
    packet: Uint8Array,
    start: number,
    length: number,
    from: number,
    isStream: boolean,
    otherwise: number,
  ): number {
    const { attempts, context, cookies } = this.#state
    const { answer, now } = context
    readOptions(packet, start, length, from, answer)
    if (attempts.cookie(a) === AttemptCookie.NONE) return otherwise
    // An error without one says nothing of whether the server takes cookies.
    const isExpected = !isStream && cookies.isExpected(attempts.server(a), now)
    if (answer.cookieLength === 0 && !isExpected) return otherwise
    return this.#hasCookie(a, packet, start, isStream) ? otherwise : ReplyVerdict.SUSPECT
  }

  /**
   * True if the cookie of the reply in `context.answer` is the server's, or none can be expected; else the reply may be
   * forged (RFC 7873 §5.3). That counts once for a question.
   */
  #hasCookie(a: number, packet: Uint8Array, start: number, isStream: boolean): boolean {
    const { attempts, context, cookies, inFlight } = this.#state
    const { answer, now } = context
    // Without an OPT there was no place for one: that says nothing of cookies.
    if (attempts.isPlain(a)) return true
    const server = attempts.server(a)
    const wasSent = attempts.cookie(a) !== AttemptCookie.NONE
    const at = start + answer.cookieAt
    if (cookies.check(server, wasSent, isStream, packet, at, answer.cookieLength, now)) return true
    if (isStream) {
      cookies.giveUp(server, now)
      return true
    }
    this.#drop()
    const p = attempts.pendingOf(a)
    if (!inFlight.cookieLost.has(p, server)) cookies.lost(server, now)
    inFlight.cookieLost.add(p, server)
    return false
  }
}
