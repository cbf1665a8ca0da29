/**
 * What all parts have in common that may have the answer to a query. The engine asks them in one order (engine.ts), and
 * the first answer ends the query. `explain` asks the same stages in the same order, into a buffer that nobody sends.
 */
import type { Source } from '../../stats/counters.ts'
import type { Image } from '../../table/image.ts'
import type { ClientQuery } from '../client-query.ts'
import type { EngineSettings } from '../settings.ts'

/** A stage's answer to a query that the next stage is to look at. */
export const PASS = -1

/** What stages may look at: the engine's state now. */
export interface AnswerContext {
  /** Table in use, null before the first. */
  readonly image: Image | null
  readonly settings: EngineSettings
  /** Seed of all name hashes. */
  readonly seed: number
  /** Engine time in ms. */
  readonly now: number
  readonly random: () => number
}

/** A part of the engine that may have the answer to a query. */
export interface AnswerStage {
  /** Name for people: a few words, lower case. */
  readonly name: string
  /** Who answered the query that `answer` did not pass on: the `source` label of the metrics. */
  readonly source: Source
  /**
   * Writes the reply to `query` into `out` at `outAt` and returns its length, or PASS. Changes nothing but `out` and the
   * stage's own notes of this query: it may be asked without anybody waiting for the answer.
   */
  answer(query: ClientQuery, out: Uint8Array, outAt: number): number
  /** Does what follows once the reply that `answer` has just written goes to a client: counts, refreshes. */
  answered?(query: ClientQuery): void
  /** Says in one line what `answer` has just looked at and found. Only for people: it makes strings. */
  finding(query: ClientQuery): string
}
