/**
 * Names that no resolver should look up (RFC 6761, RFC 7686, RFC 9462 §6.4). A table entry of the same name comes first:
 * these are asked only after the image.
 */
import { Rcode, Type } from '../../dns/constants.ts'
import { nameToWire } from '../../dns/name.ts'
import { beginReply, QUESTION_NAME, writeRecordHead } from '../../dns/reply.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { finishReply } from '../reply-opt.ts'
import { type AnswerStage, PASS } from './answer-stage.ts'
import { SOA_DATA, writeSoaData } from './mesh-answers.ts'

const TTL_SECONDS = 86_400
const NEGATIVE_TTL_SECONDS = 3600

const LOCALHOST = nameToWire('localhost')!
const RESOLVER_ARPA = nameToWire('resolver.arpa')!
/** Names that do not exist, whatever a server may say. */
const NOWHERE = [nameToWire('invalid')!, nameToWire('onion')!]

/** The special names of this file's head. */
export class SpecialNamesStage implements AnswerStage {
  readonly name = 'special names'
  readonly source: Source = Source.local
  #isSpecial = false

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const length = writeSpecialAnswer(query, out, outAt)
    this.#isSpecial = length !== PASS
    return length
  }

  finding(): string {
    return this.#isSpecial ? 'a name that no resolver looks up' : 'no special name'
  }
}

/** Answers a special name into `out` at `outAt` and returns the reply's length; PASS for every other name. */
function writeSpecialAnswer(query: ClientQuery, out: Uint8Array, outAt: number): number {
  const { name } = query
  if (name.labels === 0) return PASS
  // One look at the last label's length spares nearly every name the comparisons.
  const last = name.lower[name.labelAt[name.labels - 1]!]!
  if (last === 9 && isAtOrBelow(query, LOCALHOST, 1)) return writeLoopback(query, out, outAt)
  if (last === 4 && isAtOrBelow(query, RESOLVER_ARPA, 2))
    return writeNegative(query, Rcode.NOERROR, RESOLVER_ARPA, out, outAt)
  if (last !== 7 && last !== 5) return PASS
  for (const nowhere of NOWHERE) {
    if (isAtOrBelow(query, nowhere, 1)) return writeNegative(query, Rcode.NXDOMAIN, nowhere, out, outAt)
  }
  return PASS
}

function isAtOrBelow(query: ClientQuery, suffix: Uint8Array, labels: number): boolean {
  const { name } = query
  if (name.labels > labels) return name.endsBelow(suffix, labels)
  if (name.length !== suffix.length) return false
  for (let i = 0; i < suffix.length; i++) if (name.lower[i] !== suffix[i]) return false
  return true
}

function writeLoopback(query: ClientQuery, out: Uint8Array, outAt: number): number {
  const { type } = query
  const v4 = type === Type.A || type === Type.ANY
  const v6 = type === Type.AAAA || type === Type.ANY
  if (!v4 && !v6) return writeNegative(query, Rcode.NOERROR, LOCALHOST, out, outAt)
  let at = beginReply(query, 0, out, outAt)
  if (v4) {
    at = writeRecordHead(out, at, QUESTION_NAME, Type.A, TTL_SECONDS, 4)
    out.fill(0, at, at + 4)
    out[at] = 127
    out[at + 3] = 1
    at += 4
  }
  if (v6) {
    at = writeRecordHead(out, at, QUESTION_NAME, Type.AAAA, TTL_SECONDS, 16)
    out.fill(0, at, at + 15)
    out[at + 15] = 1
    at += 16
  }
  return finishReply(query, v4 && v6 ? 2 : 1, 0, out, outAt, at)
}

function writeNegative(query: ClientQuery, rcode: number, zone: Uint8Array, out: Uint8Array, outAt: number): number {
  let at = beginReply(query, rcode, out, outAt)
  const owner = QUESTION_NAME + query.name.length - zone.length
  at = writeRecordHead(out, at, owner, Type.SOA, NEGATIVE_TTL_SECONDS, SOA_DATA)
  at = writeSoaData(out, at, NEGATIVE_TTL_SECONDS)
  return finishReply(query, 0, 1, out, outAt, at)
}
