/**
 * What a message is that came in under an attempt's id, from where the attempt went: the server's reply or a forgery
 * (RFC 5452), an answer or a reason to ask elsewhere. Nothing follows from it here but what is known of the server's
 * cookies and the case it answers in; the forwarder draws the conclusions.
 *
 * ```
 *  response? → question? → case? → nobody waits? → cookie of errors and what is cut off → whole? → cookie → rcode
 * ```
 */
import { isSameQuestion, readCookie } from '../dns/answer.ts'
import { Flag, HEADER_BYTES, Rcode } from '../dns/constants.ts'
import { hasCapitals, hasMixedCase } from '../dns/name-case.ts'
import { isServerFailure, readU16 } from '../dns/reply.ts'
import { readReply } from '../dns/scrub.ts'
import { Drop } from '../stats/counters.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, Purpose } from './in-flight.ts'
import { CookieCheck } from './upstream-cookies.ts'

/**
 * DROPPED: none of ours, and counted; the wait goes on. OTHER_CASE: neither, but it may be the server's. DOUBTED: it lacks
 * the cookie that the server always sent. SEEN: nobody waits for it. FAILED: an error, see `rcode` and `isBare`.
 * TRUNCATED, MALFORMED, BAD_COOKIE: as they say. USELESS: sound, but an answer that leads nowhere, as a zone's CNAMEs that
 * are a loop. ANSWER: it stands in `context.answer`.
 */
export const Judgement = {
  DROPPED: 0,
  OTHER_CASE: 1,
  DOUBTED: 2,
  SEEN: 3,
  FAILED: 4,
  TRUNCATED: 5,
  MALFORMED: 6,
  USELESS: 7,
  BAD_COOKIE: 8,
  ANSWER: 9,
} as const

export class ReplyJudgement {
  /** Rcode of the reply judged last; that it is nothing but a header. */
  rcode = 0
  isBare = false
  readonly #state: ForwarderState

  constructor(state: ForwarderState) {
    this.#state = state
  }

  /** Judges the message of `length` bytes at `start`; `isCut`: it was longer than the buffer. Returns a Judgement. */
  judge(a: number, packet: Uint8Array, start: number, length: number, isCut: boolean, isStream: boolean): number {
    const { context, inFlight, truncated, upstreams } = this.#state
    const { answer, counters } = context
    const x = inFlight.attemptExchange[a]!
    const keyAt = inFlight.keyAt(x)
    const keyLength = inFlight.keyLength[x]!
    const flags = readU16(packet, start + 2)
    if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR) return this.#drop()
    const rcode = flags & Flag.RCODE
    this.rcode = rcode
    this.isBare = length === HEADER_BYTES
    const isWaitedFor = inFlight.purpose[x]! < Purpose.PROBE
    if (!isSameQuestion(packet, start, length, inFlight.keys, keyAt, keyLength - 3)) {
      // A bare header with an error is how some servers refuse what they do not understand.
      if (readU16(packet, start + 4) !== 0 || rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN) return this.#drop()
      return isWaitedFor
        ? this.#judgeUnread(a, packet, start, length, HEADER_BYTES, isStream, Judgement.FAILED)
        : Judgement.FAILED
    }
    const seed = inFlight.attemptCase[a]!
    if (seed !== 0) {
      const isOurs = hasMixedCase(packet, start + HEADER_BYTES, inFlight.keys, keyAt, keyLength - 3, seed)
      if (!isOurs) return this.#loseCase(a)
      // Without a letter (the root, say), or with small ones by chance, there was nothing to repeat.
      if (hasCapitals(packet, start + HEADER_BYTES, keyLength - 3)) upstreams.caseKept(inFlight.attemptServer[a]!)
    }
    if (!isWaitedFor) return Judgement.SEEN
    const questionEnd = HEADER_BYTES + keyLength + 1
    const isFailure = isServerFailure(rcode)
    if (isCut || (flags & Flag.TC) !== 0) {
      const judgement = this.#judgeUnread(a, packet, start, length, questionEnd, isStream, Judgement.TRUNCATED)
      if (judgement === Judgement.TRUNCATED && !isFailure) truncated.keep(x, packet, start, length, questionEnd)
      return judgement
    }
    if (isFailure) return this.#judgeUnread(a, packet, start, length, questionEnd, isStream, Judgement.FAILED)
    const type = readU16(inFlight.keys, keyAt + keyLength - 3)
    if (!readReply(packet, start, length, questionEnd, type, answer)) {
      const otherwise = answer.isSound ? Judgement.USELESS : Judgement.MALFORMED
      const judgement = this.#judgeUnread(a, packet, start, length, questionEnd, isStream, otherwise)
      if (judgement === otherwise) counters.drop(Drop.malformedReply)
      return judgement
    }
    const doubt = this.#checkCookie(a, packet, start, isStream)
    if (doubt !== Judgement.ANSWER) return doubt
    if (answer.rcode <= Flag.RCODE) return Judgement.ANSWER
    if (answer.rcode === Rcode.BADCOOKIE && inFlight.attemptCookie[a] !== AttemptCookie.NONE)
      return Judgement.BAD_COOKIE
    // Rcodes beyond the header's four bits mean that something failed, and a client without EDNS would read them as another.
    const isAboutEdns = answer.rcode === Rcode.BADVERS && inFlight.attemptPlain[a] === 0
    this.rcode = isAboutEdns ? Rcode.FORMERR : Rcode.SERVFAIL
    return Judgement.FAILED
  }

  /** The server cannot be asked over a stream whether it has given up cookies: it is believed without from now on. */
  forgetDoubt(a: number): void {
    const { context, cookies, inFlight } = this.#state
    if (inFlight.attemptCookie[a] !== AttemptCookie.DOUBTED) return
    cookies.expectNone(inFlight.attemptServer[a]!, context.now)
  }

  #drop(): number {
    this.#state.context.counters.drop(Drop.spoofedReply)
    return Judgement.DROPPED
  }

  /** A reply in another case than the question. It counts once for a question: a forger may send many. */
  #loseCase(a: number): number {
    const { context, inFlight, upstreams } = this.#state
    const x = inFlight.attemptExchange[a]!
    const server = inFlight.attemptServer[a]!
    const bit = 1 << server
    context.counters.drop(Drop.spoofedReply)
    if ((inFlight.caseLost[x]! & bit) === 0) upstreams.caseLost(server, context.now)
    inFlight.caseLost[x] = inFlight.caseLost[x]! | bit
    return Judgement.OTHER_CASE
  }

  /** `otherwise`, unless its cookie speaks against a reply that is not read, as it is cut off or an error. Its records begin at `from`. */
  #judgeUnread(
    a: number,
    packet: Uint8Array,
    start: number,
    length: number,
    from: number,
    isStream: boolean,
    otherwise: number,
  ): number {
    const { context, cookies, inFlight } = this.#state
    const { answer, now } = context
    if (inFlight.attemptCookie[a] === AttemptCookie.NONE) return otherwise
    readCookie(packet, start, length, from, answer)
    // An error without one says nothing of whether the server takes cookies.
    if (answer.cookieLength === 0 && !cookies.isExpected(inFlight.attemptServer[a]!, now)) return otherwise
    const doubt = this.#checkCookie(a, packet, start, isStream)
    return doubt === Judgement.ANSWER ? otherwise : doubt
  }

  /**
   * ANSWER if the cookie of the reply in `context.answer` is the server's, or none can be expected; else the reply may be
   * forged: DROPPED, or DOUBTED if there is none where there always was one (RFC 7873 §5.3).
   */
  #checkCookie(a: number, packet: Uint8Array, start: number, isStream: boolean): number {
    const { context, cookies, inFlight } = this.#state
    const { answer, now } = context
    const server = inFlight.attemptServer[a]!
    const wasSent = inFlight.attemptCookie[a] !== AttemptCookie.NONE
    const check = cookies.check(server, wasSent, packet, start + answer.cookieAt, answer.cookieLength, now)
    if (check === CookieCheck.FINE) return Judgement.ANSWER
    if (isStream) {
      cookies.expectNone(server, now)
      return Judgement.ANSWER
    }
    this.#drop()
    return check === CookieCheck.MISSING ? Judgement.DOUBTED : Judgement.DROPPED
  }
}
