/**
 * What is known of cookies towards servers (RFC 7873): which ones a query may carry, and what a reply's cookie means. By
 * server of the world; only what is certain counts, as a reply may come too late to teach the engine anything.
 */
import type { ParsedMessage } from './message.ts'
import { COOKIE } from './server-manners.ts'

const CLIENT_BYTES = 8
const LEAST_BYTES = 16
const MOST_BYTES = 40
/** How long a server may be asked without after it has shown that it does not keep ours. */
const WITHOUT_MS = 3_600_000
/** Queries whose replies lack the right cookie, without one in between that has it, before that is so. */
const LOST = 3
/** Longer than any question is open. */
const LONGEST_MS = 10_000
/** Cookies of a server that are remembered at least. */
const REMEMBERED = 200

interface State {
  /** Ours, as queries showed it; '' before the first. */
  own: string
  /** What it gave us, numbered in their order. */
  given: Map<string, number>
  /** Number of the newest that the engine certainly has. */
  newest: number
  /** The engine has believed a reply to a query with a cookie, and one that had it. */
  takes: boolean
  keeps: boolean
  /** It has sent ours back, but it is not certain that the engine has believed it. */
  mayKeep: boolean
  /** Queries that got a reply without the right cookie. */
  lost: number
  /** Until when the engine may leave cookies out, and believe replies without. */
  withoutUntil: number
  /** When a reply without the right cookie came last, by question: it may be asked without. */
  lostAt: Map<string, number>
}

/** What the cookie of a reply says of it: it must not be believed if it is wrong, and may be if that is not certain. */
export type CookieVerdict = 'fine' | 'wrong' | 'unsure'

export class CookieRules {
  private readonly states: Map<number, State> = new Map()
  private numbers = 0

  /** The engine starts anew, with cookies of its own that are new. */
  reset(): void {
    this.states.clear()
  }

  /** Servers that the settings do not name any more are forgotten. */
  configured(servers: readonly number[]): void {
    for (const server of this.states.keys()) if (!servers.includes(server)) this.states.delete(server)
  }

  private stateOf(server: number): State {
    let state = this.states.get(server)
    if (state === undefined) {
      state = {
        own: '',
        given: new Map(),
        newest: 0,
        takes: false,
        keeps: false,
        mayKeep: false,
        lost: 0,
        withoutUntil: 0,
        lostAt: new Map(),
      }
      this.states.set(server, state)
    }
    return state
  }

  /**
   * Checks the cookie of a query to a server; what is wrong with it, or null. `isPrivate`: over TLS or HTTPS. `isRepeat`:
   * a datagram asked once more over TCP, and perhaps that had to do without.
   */
  checkQuery(query: ParsedMessage, server: number, isPrivate: boolean, isRepeat: boolean, now: number): string | null {
    const cookie = query.opt?.options.get(COOKIE)
    const state = this.stateOf(server)
    if (cookie === undefined) {
      const lostAt = state.lostAt.get(placeOf(query)) ?? Number.NEGATIVE_INFINITY
      const mayGoWithout = now < state.withoutUntil || now < lostAt + LONGEST_MS
      const isOwed = query.opt !== null && !isPrivate && !isRepeat && !mayGoWithout
      return isOwed && (state.takes || state.own === '') ? 'no cookie to a server that may take it' : null
    }
    if (isPrivate) return 'a cookie to a server that proves itself'
    if (cookie.length < CLIENT_BYTES || cookie.length > MOST_BYTES) return `a cookie of ${cookie.length} bytes`
    const own = cookie.slice(0, CLIENT_BYTES)
    if (state.own === '') {
      for (const other of this.states.values()) if (other.own === own) return 'one cookie of ours for two servers'
      state.own = own
    }
    if (own !== state.own) return 'another cookie of ours than before'
    const number = cookie.length === CLIENT_BYTES ? 0 : state.given.get(cookie)
    if (number === undefined) return 'a cookie that the server never gave us'
    return number < state.newest ? 'an older cookie than the one that the server gave us last' : null
  }

  /** What the cookie of a reply (undefined: none that can be read) to the query says, and remembers what was given. */
  judge(
    query: ParsedMessage,
    cookie: string | undefined,
    server: number,
    isStream: boolean,
    now: number,
  ): CookieVerdict {
    const sent = query.opt?.options.get(COOKIE)
    const state = this.stateOf(server)
    if (sent === undefined) {
      if (!state.takes && !isStream) this.mayGoWithout(state, now)
      return 'fine'
    }
    const isMissing = cookie === undefined || cookie === ''
    if (!isMissing && isRight(cookie, sent.slice(0, CLIENT_BYTES))) {
      if (cookie.length > CLIENT_BYTES) this.note(state, cookie)
      state.mayKeep = true
      return 'fine'
    }
    if (isMissing && !state.mayKeep) return 'fine'
    if (isStream) {
      this.mayGoWithout(state, now)
      return 'fine'
    }
    const isCertain = !isMissing || (state.keeps && now >= state.withoutUntil)
    state.lostAt.set(placeOf(query), now)
    if (++state.lost >= LOST) this.mayGoWithout(state, now)
    return isCertain ? 'wrong' : 'unsure'
  }

  private mayGoWithout(state: State, now: number): void {
    state.withoutUntil = now + LONGEST_MS + WITHOUT_MS
  }

  /** Given once more, a cookie is as good as new. */
  private note({ given, newest }: State, cookie: string): void {
    given.delete(cookie)
    given.set(cookie, ++this.numbers)
    if (given.size <= REMEMBERED) return
    for (const [old, number] of given) if (number < newest) given.delete(old)
  }

  /** The engine has acted on the reply: it knows what the cookie in it says. */
  believed(query: ParsedMessage, reply: ParsedMessage, server: number, isStream: boolean): void {
    const state = this.states.get(server)
    if (query.opt?.options.has(COOKIE) !== true || state === undefined) return
    const cookie = reply.opt?.options.get(COOKIE) ?? ''
    if (cookie !== '' && !isRight(cookie, state.own)) return
    state.takes = true
    if (cookie === '') return
    state.keeps = true
    if (!isStream) state.lost = 0
    state.newest = Math.max(state.newest, state.given.get(cookie) ?? 0)
  }

  /** The server has answered BADCOOKIE. */
  refused(server: number, now: number): void {
    this.mayGoWithout(this.stateOf(server), now)
  }
}

function placeOf(query: ParsedMessage): string {
  return `${query.type} ${query.name}`
}

/** True for a cookie of a length that there is (RFC 7873 §4), and ours. */
function isRight(cookie: string, own: string): boolean {
  const isSound = cookie.length === CLIENT_BYTES || (cookie.length >= LEAST_BYTES && cookie.length <= MOST_BYTES)
  return isSound && cookie.startsWith(own)
}
