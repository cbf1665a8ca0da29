import { Ede, Rcode, Type } from '../../dns/constants.ts'
import type { ScannedName } from '../../dns/name.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { writeEmptyReply } from '../reply-opt.ts'
import { type AnswerStage, PASS } from './answer-stage.ts'

/** Refuses a probe for loops of ours that has come back (loop-probe.ts): a server forwards to us. */
export class LoopRefusalStage implements AnswerStage {
  readonly name = 'loop probe'
  readonly source: Source = Source.local
  readonly #serverOf: (name: ScannedName) => number
  readonly #found: (server: number) => void
  #server = -1

  /** `serverOf`: index of the server that the probe of this name went to, -1 if it is none; `found` is told that it came back. */
  constructor(serverOf: (name: ScannedName) => number, found: (server: number) => void) {
    this.#serverOf = serverOf
    this.#found = found
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    this.#server = query.type === Type.HINFO ? this.#serverOf(query.name) : -1
    return this.#server < 0 ? PASS : writeEmptyReply(query, Rcode.REFUSED, Ede.OTHER, out, outAt)
  }

  answered(): void {
    this.#found(this.#server)
  }

  finding(): string {
    return this.#server < 0 ? 'no probe of ours' : 'a probe of ours that a server sent back'
  }
}
