import { Ede, Type } from '../../dns/constants.ts'
import { beginReply, QUESTION_NAME, setCounts, writeRecordHead } from '../../dns/reply.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { replyOptBytes, writeReplyOpt } from '../reply-opt.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'
import { SOA_DATA, writeSoaData } from './mesh-answers.ts'
import { isBelowService } from './service-names.ts'

/**
 * NODATA for every AAAA question that no stage before it answers, where the workload has no use for IPv6 addresses. Never
 * NXDOMAIN, which would deny the IPv4 addresses as well: musl fails the whole look-up. Questions with DO go on: a client that
 * validates would find the missing proof.
 */
export class OutsideAaaaStage implements AnswerStage {
  readonly name = 'aaaa'
  readonly source: Source = Source.local
  readonly #context: AnswerContext

  constructor(context: AnswerContext) {
    this.#context = context
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { image, settings } = this.#context
    if (settings.aaaaWithheld === undefined || query.type !== Type.AAAA || query.dnssecOk) return PASS
    const { headlessNegativeTtlSeconds: briefly = settings.ttlSeconds, ttlSeconds } = settings
    const isBrief = image !== null && isBelowService(image, query.name.lower, 0, query.name.length)
    const ttl = isBrief ? Math.min(briefly, ttlSeconds) : ttlSeconds
    let at = beginReply(query, 0, out, outAt)
    at = writeRecordHead(out, at, QUESTION_NAME, Type.SOA, ttl, SOA_DATA)
    at = writeSoaData(out, at, ttl)
    setCounts(out, outAt, 0, 1, query.hasEdns ? 1 : 0)
    if (!query.hasEdns) return at - outAt
    const ede = at - outAt + replyOptBytes(query, Ede.SYNTHESIZED) > query.limit ? Ede.NONE : Ede.SYNTHESIZED
    return writeReplyOpt(query, 0, ede, out, at) - outAt
  }

  finding(query: ClientQuery): string {
    const { aaaaWithheld } = this.#context.settings
    if (query.type !== Type.AAAA || aaaaWithheld === undefined) return 'another type'
    return query.dnssecOk ? 'asked with DNSSEC, so it goes on' : `there is no such record: ${aaaaWithheld}`
  }
}
