import { Ede, Rcode } from '../../dns/constants.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { writeEmptyReply } from '../reply-opt.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'

/** `beforeSync: auto` waits this long for a table before it forwards. */
const SYNC_WAIT_MS = 5000

/** SERVFAIL while there is no table, for as long as `mesh.beforeSync` says: the name may be one of the mesh. */
export class BeforeSyncStage implements AnswerStage {
  readonly name = 'wait for the first table'
  readonly source: Source = Source.local
  readonly #context: AnswerContext

  constructor(context: AnswerContext) {
    this.#context = context
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    if (this.#context.image !== null || !this.#isWaiting()) return PASS
    return writeEmptyReply(query, Rcode.SERVFAIL, Ede.NOT_READY, out, outAt)
  }

  finding(): string {
    if (this.#context.image !== null) return 'there is a table'
    return `there is no table yet, and mesh.beforeSync says ${this.#isWaiting() ? 'wait' : 'forward'}`
  }

  #isWaiting(): boolean {
    const { now, settings } = this.#context
    const { beforeSync, startedAtMs } = settings
    if (beforeSync === 'auto') return now - startedAtMs < SYNC_WAIT_MS
    return beforeSync === 'servfail'
  }
}
