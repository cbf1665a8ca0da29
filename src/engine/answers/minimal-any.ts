import { Type } from '../../dns/constants.ts'
import { beginReply, copyBytes, QUESTION_NAME, writeRecordHead } from '../../dns/reply.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { finishReply } from '../reply-opt.ts'
import { type AnswerStage, PASS } from './answer-stage.ts'

/** Long, so that nobody asks often: the number of the RFC, as in CoreDNS. */
const ANY_TTL_SECONDS = 8482
/** CPU `RFC8482`, OS empty. */
const MINIMAL_ANY: Uint8Array = Uint8Array.of(7, ...new TextEncoder().encode('RFC8482'), 0)

/**
 * Answers ANY with one HINFO record that says why there are no others (RFC 8482 §4.2). Full answers are large, and
 * serve mostly reflection attacks. Whether the name exists is not looked up.
 */
export class MinimalAnyStage implements AnswerStage {
  readonly name = 'type ANY'
  readonly source: Source = Source.local

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    if (query.type !== Type.ANY) return PASS
    let at = beginReply(query, 0, out, outAt)
    at = writeRecordHead(out, at, QUESTION_NAME, Type.HINFO, ANY_TTL_SECONDS, MINIMAL_ANY.length)
    copyBytes(MINIMAL_ANY, 0, MINIMAL_ANY.length, out, at)
    return finishReply(query, 1, 0, out, outAt, at + MINIMAL_ANY.length)
  }

  finding(query: ClientQuery): string {
    return query.type === Type.ANY ? 'answered with one HINFO record (RFC 8482)' : 'another type'
  }
}
