/**
 * Cookies towards upstream servers (RFC 7873 §5): a random client cookie for each, and the server cookie that came for it. A
 * datagram without our cookie may be forged, errors included. byname learns from replies whether a server takes cookies; one
 * that does not is asked without them for a while.
 *
 * ```
 *  unknown ── replies with ours ──→ keeps: a reply without it is suspect, and the question is asked over TCP in parallel
 *     ├────── answers without ────→ takes: sent, not expected
 *     ├────── answers only to a query without ──→ none, for minutes, then for an hour
 *     └────── answers only without an OPT ──→ the next query goes without, to see which of them it was
 *  any ── a stream brings none or a wrong one, or three questions in a row do ──→ none, for an hour
 * ```
 */
import { EdnsOption } from '../../dns/constants.ts'
import { addOption } from '../../dns/reply.ts'
import type { UpstreamServer } from '../settings.ts'

const CLIENT_BYTES = 8
/** Both cookies at their shortest and longest (RFC 7873 §4). */
const LEAST_BYTES = 16
const MOST_BYTES = 40
/** How long a server is asked without cookies before it is tried again. */
const AGAIN_MS = 3_600_000
/** The same where it has left the first one unanswered: that datagram may have been lost. */
const SOON_AGAIN_MS = 300_000
/**
 * So many questions in a row whose replies lack the right cookie, and it gets none. One shows nothing: it may be forged, by
 * somebody who knew id and port.
 */
const LOST_QUESTIONS = 3

interface CookieState {
  readonly label: string
  /** Our cookie, then the server's. */
  readonly cookie: Uint8Array
  length: number
  /** It has answered a query with a cookie, one way or another. */
  takes: boolean
  /** It has sent ours back. */
  keeps: boolean
  /** Questions in a row to which a datagram came without the right one. */
  lostInARow: number
  /** It has left one unanswered, and answered without. */
  wasSilent: boolean
  /** It answered a question only without an OPT, which had a cookie before: the next question goes without, to see. */
  isSuspect: boolean
  /** Engine time until which it gets none, and is not expected to send any. */
  noneUntil: number
}

/** Cookies by server. */
export class UpstreamCookies {
  readonly #states: CookieState[]

  /** `earlier`: the state before a change of settings; servers that stay keep their cookies. */
  constructor(servers: readonly UpstreamServer[], random: () => number, earlier?: UpstreamCookies) {
    const known = earlier === undefined ? [] : earlier.#states
    this.#states = servers.map(
      ({ label }): CookieState =>
        known.find((state) => state.label === label) ?? {
          label,
          cookie: ownCookie(random),
          length: CLIENT_BYTES,
          takes: false,
          keeps: false,
          lostInARow: 0,
          wasSilent: false,
          isSuspect: false,
          noneUntil: 0,
        },
    )
  }

  /** True if a query is to carry a cookie. `isRepeat`: the server has not answered the first one of this question. */
  isWanted(server: number, isRepeat: boolean, now: number): boolean {
    const state = this.#states[server]!
    return now >= state.noneUntil && (state.takes || !(isRepeat || state.isSuspect))
  }

  /** Adds the cookie to the OPT record at `opt`, which ends at `at`; returns the offset after it. */
  add(server: number, out: Uint8Array, opt: number, at: number): number {
    const { cookie, length } = this.#states[server]!
    return addOption(out, opt, at, EdnsOption.COOKIE, cookie, 0, length)
  }

  /** True if each reply of the server to a query with a cookie has to have it as well. */
  isExpected(server: number, now: number): boolean {
    const state = this.#states[server]!
    return state.keeps && now >= state.noneUntil
  }

  /**
   * Looks at the cookie of a reply (`length` bytes at `at`; 0: it has none) and remembers what the server gave us.
   * `wasSent`: the query had one. False if it is not ours, or missing where this server always sent one.
   */
  check(
    server: number,
    wasSent: boolean,
    isStream: boolean,
    packet: Uint8Array,
    at: number,
    length: number,
    now: number,
  ): boolean {
    const state = this.#states[server]!
    if (!wasSent) {
      state.isSuspect = false
      if (!state.takes && !isStream && now >= state.noneUntil) {
        state.noneUntil = now + (state.wasSilent ? AGAIN_MS : SOON_AGAIN_MS)
        state.wasSilent = true
      }
      return true
    }
    if (length === 0) {
      if (this.isExpected(server, now)) return false
      state.takes = true
      return true
    }
    if (length !== CLIENT_BYTES && (length < LEAST_BYTES || length > MOST_BYTES)) return false
    for (let i = 0; i < CLIENT_BYTES; i++) if (packet[at + i] !== state.cookie[i]) return false
    state.takes = true
    state.keeps = true
    if (!isStream) state.lostInARow = 0
    // Some only send ours back, without one of their own (CoreDNS).
    if (length > CLIENT_BYTES) {
      state.cookie.set(packet.subarray(at, at + length))
      state.length = length
    }
    return true
  }

  /** The server answered a question only without an OPT: perhaps it is a cookie that it does not like. */
  suspect(server: number): void {
    const state = this.#states[server]!
    if (!state.takes) state.isSuspect = true
  }

  /** A question got a datagram without the right cookie. */
  lost(server: number, now: number): void {
    const state = this.#states[server]!
    if (++state.lostInARow >= LOST_QUESTIONS) this.giveUp(server, now)
  }

  /**
   * The server gets none: it refuses even the one that it has just given, or a stream, which nobody can forge, shows that it
   * does not send ours back.
   */
  giveUp(server: number, now: number): void {
    const state = this.#states[server]!
    state.lostInARow = 0
    state.noneUntil = now + AGAIN_MS
  }
}

function ownCookie(random: () => number): Uint8Array {
  const cookie = new Uint8Array(MOST_BYTES)
  for (let i = 0; i < CLIENT_BYTES; i += 4) new DataView(cookie.buffer).setInt32(i, random() | 0)
  return cookie
}
