/** A query that an engine has been given, and what the engine is being told at a moment. */
import type { Cache } from '../../src/engine/cache/cache.ts'
import type { Asked } from './queries.ts'
import type { Expectation, KnownAnswer } from './reference-resolver.ts'
import type { ReplyLimits } from './reply-check.ts'
import type { Verdict } from './virtual-network.ts'

/** What the engine is being told at the moment. */
export type Context =
  | { kind: 'timer' }
  | { kind: 'query'; opening: Opening | null }
  | { kind: 'other' }
  | { kind: 'message'; verdict: Verdict; known: KnownAnswer | null }

/** The question that the engine is given, for which nobody waits: it opens a pending query, or joins one that was kept open. */
export interface Opening {
  key: string
  /** The account of its queries without OPT. */
  plain: string
  coalescedBefore: number
}

/** The cache at some moment, null if it is off: what it had then it still has as long as nothing had to go. */
export interface CacheMoment {
  cache: Cache | null
  evictions: number
}

export function momentOf(cache: Cache | null): CacheMoment {
  return { cache, evictions: cache?.evictions ?? 0 }
}

/** When the engine answered a query, and what it was being told. */
export interface AnswerMoment {
  context: Context
  at: number
  cache: CacheMoment
  /** The query in hand found no room, or this one made room for it. */
  isCrowded: boolean
}

/** A query that the engine has been given. */
export interface Pending {
  /** The question as it goes on, which may be another one than the client's, `original`. */
  asked: Asked
  original: Asked
  key: string
  isStream: boolean
  limits: ReplyLimits
  expectation: Expectation
  receivedAt: number
  deadlineAt: number
  /** The engine did not answer it at once. */
  isHeld: boolean
  isDone: boolean
  /** Its connection has ended: the engine answers it, and nobody sees that. */
  isGone: boolean
  /** The moment at which the engine answered: a stream's reply is seen only later. */
  answeredIn: AnswerMoment | null
  /** It joined a pending query for which nobody waited any more. */
  isLatecomer: boolean
  /** Gets the reply as well: the query came from a server that had been asked it. */
  relay: ((reply: Buffer, now: number) => void) | null
}

const FLAG_RD = 0x0100

/** True if it may be answered from the cache, and what it is answered with kept. */
export function isRecursive({ flags }: Asked): boolean {
  return (flags & FLAG_RD) !== 0
}
