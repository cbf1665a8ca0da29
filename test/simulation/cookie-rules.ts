/**
 * What is known of cookies towards servers (RFC 7873): which ones a query may carry, and what a reply's cookie means. By
 * server of the world; only what is certain counts, as a reply may come too late to teach the engine anything.
 */
import type { ParsedMessage } from './message.ts'
import { COOKIE } from './server-manners.ts'

const CLIENT_BYTES = 8
const LEAST_BYTES = 16
const MOST_BYTES = 40
/** How long a server need not send cookies after it has shown over a stream that it does not, or could not show it. */
const LAX_MS = 3_600_000
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
  /** From when until when it may be believed all the same. */
  laxFrom: number
  laxUntil: number
  /** It has answered BADCOOKIE, or a query without a cookie before any with one: the engine may leave cookies out. */
  mayGoWithout: boolean
}

/** What the cookie of a reply says of it. */
export type CookieVerdict = 'fine' | 'forged' | 'missing'

export class CookieRules {
  private readonly states: Map<number, State> = new Map()
  private numbers = 0
  private attemptMs = 0

  /** The engine starts anew, with cookies of its own that are new. */
  reset(): void {
    this.states.clear()
  }

  /** Servers that the settings do not name any more are forgotten. */
  configured(servers: readonly number[], attemptMs: number): void {
    this.attemptMs = attemptMs
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
        laxFrom: 0,
        laxUntil: 0,
        mayGoWithout: false,
      }
      this.states.set(server, state)
    }
    return state
  }

  /**
   * Checks the cookie of a query to a server; what is wrong with it, or null. `isPrivate`: over TLS or HTTPS. `isRepeat`:
   * a datagram asked once more over TCP, and perhaps that had to do without.
   */
  checkQuery(query: ParsedMessage, server: number, isPrivate: boolean, isRepeat: boolean): string | null {
    const cookie = query.opt?.options.get(COOKIE)
    const state = this.stateOf(server)
    if (cookie === undefined) {
      const isOwed = query.opt !== null && !isPrivate && !isRepeat && !state.mayGoWithout
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
      state.mayGoWithout ||= !state.takes
      return 'fine'
    }
    if (cookie === undefined || cookie === '') {
      const isMissing = !isStream && state.keeps && (now < state.laxFrom || now >= state.laxUntil)
      // Whether that is certain or not, it may be asked over a stream now, and what comes to nothing there shows itself after
      // the time of an attempt.
      this.doubt(state, isStream ? now : now + this.attemptMs, now)
      return isMissing ? 'missing' : 'fine'
    }
    if (isRight(cookie, sent.slice(0, CLIENT_BYTES))) {
      if (cookie.length > CLIENT_BYTES) this.note(state, cookie)
      return 'fine'
    }
    if (!isStream) return 'forged'
    this.doubt(state, now, now)
    return 'fine'
  }

  private doubt(state: State, from: number, now: number): void {
    if (now >= state.laxUntil || from < state.laxFrom) state.laxFrom = from
    state.laxUntil = now + LONGEST_MS + LAX_MS
  }

  /** Given once more, a cookie is as good as new. */
  private note({ given, newest }: State, cookie: string): void {
    given.delete(cookie)
    given.set(cookie, ++this.numbers)
    if (given.size <= REMEMBERED) return
    for (const [old, number] of given) if (number < newest) given.delete(old)
  }

  /** The engine has acted on the reply: it knows what the cookie in it says. */
  believed(query: ParsedMessage, reply: ParsedMessage, server: number): void {
    const state = this.states.get(server)
    if (query.opt?.options.has(COOKIE) !== true || state === undefined) return
    const cookie = reply.opt?.options.get(COOKIE) ?? ''
    if (cookie !== '' && !isRight(cookie, state.own)) return
    state.takes = true
    if (cookie === '') return
    state.keeps = true
    state.newest = Math.max(state.newest, state.given.get(cookie) ?? 0)
  }

  /** The server has answered BADCOOKIE. */
  refused(server: number): void {
    this.stateOf(server).mayGoWithout = true
  }

  /** A stream to the server came to nothing: perhaps one that was to show whether it has given up cookies. */
  streamFailed(server: number, now: number): void {
    const state = this.states.get(server)
    if (state !== undefined) this.doubt(state, now, now)
  }
}

/** True for a cookie of a length that there is (RFC 7873 §4), and ours. */
function isRight(cookie: string, own: string): boolean {
  const isSound = cookie.length === CLIENT_BYTES || (cookie.length >= LEAST_BYTES && cookie.length <= MOST_BYTES)
  return isSound && cookie.startsWith(own)
}
