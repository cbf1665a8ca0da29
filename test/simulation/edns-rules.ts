/**
 * Which servers may be asked without an OPT (RFC 6891 §7): one that has failed the question with one, or left it unanswered
 * beside another message with one, or for the last time; and one that has answered three questions only without. By server
 * of the world; what is in doubt is allowed.
 */
import type { ParsedMessage } from './message.ts'

const QUESTIONS = 3
const REMEMBERED_MS = 900_000
/** Longer than any question is open. */
const LONGEST_MS = 10_000

interface State {
  /** Answers to queries without an OPT since the engine believed one to a query with an OPT. */
  answeredPlainly: number
  mayBePlainUntil: number
}

export class EdnsRules {
  private readonly states: Map<number, State> = new Map()
  /** When a server failed a query last, by server and question. */
  private readonly failedAt: Map<string, number> = new Map()
  /** When a server was asked with an OPT last, by server and question. */
  private readonly askedAt: Map<string, number> = new Map()

  /** The engine starts anew. */
  reset(): void {
    this.states.clear()
    this.failedAt.clear()
    this.askedAt.clear()
  }

  /** Servers that the settings do not name any more are forgotten. */
  configured(servers: readonly number[]): void {
    for (const server of this.states.keys()) if (!servers.includes(server)) this.states.delete(server)
  }

  /**
   * Checks a query to a server; what is wrong with it, or null. `mayBeProbe`: nobody may wait for it. `mayDropOpt`: so many
   * messages with an OPT are unanswered that it is time for one without, or there will be no other.
   */
  checkQuery(
    query: ParsedMessage,
    server: number,
    mayBeProbe: boolean,
    mayDropOpt: () => boolean,
    now: number,
  ): string | null {
    const place = placeOf(query, server)
    if (query.opt !== null) {
      this.askedAt.set(place, now)
      return null
    }
    if (mayBeProbe || now < this.stateOf(server).mayBePlainUntil) return null
    const failedAt = this.failedAt.get(place) ?? Number.NEGATIVE_INFINITY
    const askedAt = this.askedAt.get(place) ?? Number.NEGATIVE_INFINITY
    return (now < askedAt + LONGEST_MS && mayDropOpt()) || now < failedAt + LONGEST_MS
      ? null
      : 'a query without OPT to a server that may know EDNS'
  }

  /** A reply has come that may be one to the engine, whoever waits for it. */
  arrived(query: ParsedMessage, server: number, isAnswer: boolean, now: number): void {
    // A failure without an OPT is no reason to go back to one.
    if (!isAnswer) this.failedAt.set(placeOf(query, server), now)
    else if (query.opt === null) {
      const state = this.stateOf(server)
      if (++state.answeredPlainly >= QUESTIONS) state.mayBePlainUntil = now + REMEMBERED_MS
    }
  }

  /** The engine has acted on an answer. */
  believed(query: ParsedMessage, server: number): void {
    if (query.opt !== null) this.stateOf(server).answeredPlainly = 0
  }

  private stateOf(server: number): State {
    let state = this.states.get(server)
    if (state === undefined) {
      state = { answeredPlainly: 0, mayBePlainUntil: 0 }
      this.states.set(server, state)
    }
    return state
  }
}

/** A query without an OPT does not show which of two questions it is for. */
function placeOf(query: ParsedMessage, server: number): string {
  return `${server} ${query.type} ${query.name}`
}
