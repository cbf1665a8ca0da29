/**
 * Cookies towards upstream servers (RFC 7873 §5): a random one of ours for each, and what it gave us for it. A datagram
 * that does not bring ours back is not the server's, whatever it says, errors included. Whether a server takes cookies is
 * found out on the way, and those that do not are asked without for a while.
 *
 * ```
 *  unknown ── replies with ours ──→ keeps: a reply without is discarded, the question asked again over TCP
 *     ├────── answers without ────→ takes: sent, not expected
 *     └────── answers only to a query without ──→ none, for an hour
 * ```
 */
import { EdnsOption } from '../dns/constants.ts'
import { addOption } from '../dns/reply.ts'
import type { UpstreamServer } from './settings.ts'

const CLIENT_BYTES = 8
/** Both cookies at their shortest and longest (RFC 7873 §4). */
const LEAST_BYTES = 16
const MOST_BYTES = 40
/** How long a server is asked without cookies, or not expected to send them, before it is tried again. */
const AGAIN_MS = 3_600_000

/** What a reply's cookie says. FORGED: it is not ours, or none at all. MISSING: there is none, but this server always sent one. */
export const CookieCheck = { FINE: 0, FORGED: 1, MISSING: 2 } as const

interface CookieState {
  readonly label: string
  /** Our cookie, and the server's behind it. */
  readonly cookie: Uint8Array
  length: number
  /** It has answered a query with a cookie, one way or another. */
  takes: boolean
  /** It has sent ours back. */
  keeps: boolean
  /** Engine times until which it gets none, and is not expected to send any. */
  noneUntil: number
  laxUntil: number
}

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
          noneUntil: 0,
          laxUntil: 0,
        },
    )
  }

  /** True if a query is to carry a cookie. `isRepeat`: the server has not answered the first one of this question. */
  isWanted(server: number, isRepeat: boolean, now: number): boolean {
    const state = this.#states[server]!
    return now >= state.noneUntil && (state.takes || !isRepeat)
  }

  /** Adds the cookie to the OPT record at `opt`, which ends at `at`; returns the offset after it. */
  add(server: number, out: Uint8Array, opt: number, at: number): number {
    const { cookie, length } = this.#states[server]!
    return addOption(out, opt, at, EdnsOption.COOKIE, cookie, 0, length)
  }

  /** True if each reply of the server to a query with a cookie has to have it as well. */
  isExpected(server: number, now: number): boolean {
    const state = this.#states[server]!
    return state.keeps && now >= state.laxUntil
  }

  /**
   * Looks at the cookie of a reply (`length` bytes at `at`; 0: it has none) and remembers what the server gave us.
   * `wasSent`: the query had one.
   */
  check(server: number, wasSent: boolean, packet: Uint8Array, at: number, length: number, now: number): number {
    const state = this.#states[server]!
    if (!wasSent) {
      if (!state.takes) state.noneUntil = now + AGAIN_MS
      return CookieCheck.FINE
    }
    if (length === 0) {
      if (this.isExpected(server, now)) return CookieCheck.MISSING
      state.takes = true
      return CookieCheck.FINE
    }
    if (length !== CLIENT_BYTES && (length < LEAST_BYTES || length > MOST_BYTES)) return CookieCheck.FORGED
    for (let i = 0; i < CLIENT_BYTES; i++) if (packet[at + i] !== state.cookie[i]) return CookieCheck.FORGED
    state.takes = true
    state.keeps = true
    // Some only send ours back, without one of their own (CoreDNS).
    if (length > CLIENT_BYTES) {
      state.cookie.set(packet.subarray(at, at + length))
      state.length = length
    }
    return CookieCheck.FINE
  }

  /**
   * A server that always sent cookies does not any more, as a stream shows, which nobody can forge; or there is no stream
   * to it, so that nothing else can be done than to believe it from now on.
   */
  expectNone(server: number, now: number): void {
    this.#states[server]!.laxUntil = now + AGAIN_MS
  }

  /** It refuses even the cookie that it has just given: it gets none. */
  stop(server: number, now: number): void {
    this.#states[server]!.noneUntil = now + AGAIN_MS
  }
}

function ownCookie(random: () => number): Uint8Array {
  const cookie = new Uint8Array(MOST_BYTES)
  for (let i = 0; i < CLIENT_BYTES; i += 4) new DataView(cookie.buffer).setInt32(i, random() | 0)
  return cookie
}
