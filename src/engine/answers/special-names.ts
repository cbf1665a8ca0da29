/**
 * Names that no resolver should look up (RFC 6761, RFC 7686, RFC 9462 §6.4). A table entry of the same name comes first:
 * these are asked only after the image.
 */
import { Rcode, Type } from '../../dns/constants.ts'
import { nameToWire } from '../../dns/name.ts'
import { beginReply, copyBytes, QUESTION_NAME, writeRecordHead } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'
import { NOT_OURS, SOA_DATA, writeSoaData } from './mesh-answers.ts'
import { finishReply } from '../reply-opt.ts'

const TTL_SECONDS = 86_400
const NEGATIVE_TTL_SECONDS = 3600

/** Long, so that nobody asks often; the number is CoreDNS's joke. */
const ANY_TTL_SECONDS = 8482
/** CPU `RFC8482`, OS empty. */
const MINIMAL_ANY: Uint8Array = Uint8Array.of(7, ...new TextEncoder().encode('RFC8482'), 0)

const LOCALHOST = nameToWire('localhost')!
const RESOLVER_ARPA = nameToWire('resolver.arpa')!
/** Names that do not exist, whatever a server may say. */
const NOWHERE = [nameToWire('invalid')!, nameToWire('onion')!]

/** Answers a special name into `out` at `outAt` and returns the reply's length; NOT_OURS for every other name. */
export function writeSpecialAnswer(query: ClientQuery, out: Uint8Array, outAt: number): number {
  const { name } = query
  if (name.labels === 0) return NOT_OURS
  // One look at the last label's length spares nearly every name the comparisons.
  const last = name.lower[name.labelAt[name.labels - 1]!]!
  if (last === 9 && isAtOrBelow(query, LOCALHOST, 1)) return writeLoopback(query, out, outAt)
  if (last === 4 && isAtOrBelow(query, RESOLVER_ARPA, 2))
    return writeNegative(query, Rcode.NOERROR, RESOLVER_ARPA, out, outAt)
  if (last !== 7 && last !== 5) return NOT_OURS
  for (const nowhere of NOWHERE) {
    if (isAtOrBelow(query, nowhere, 1)) return writeNegative(query, Rcode.NXDOMAIN, nowhere, out, outAt)
  }
  return NOT_OURS
}

/**
 * Answers ANY with a record that says why there are no others (RFC 8482 §4.2): the one question whose answers are large
 * and of use to nobody but those who flood others with them. Whether the name exists is not looked up.
 */
export function writeMinimalAny(query: ClientQuery, out: Uint8Array, outAt: number): number {
  let at = beginReply(query, 0, out, outAt)
  at = writeRecordHead(out, at, QUESTION_NAME, Type.HINFO, ANY_TTL_SECONDS, MINIMAL_ANY.length)
  copyBytes(MINIMAL_ANY, 0, MINIMAL_ANY.length, out, at)
  return finishReply(query, 1, 0, out, outAt, at + MINIMAL_ANY.length)
}

/** Result code of the answer written last, for the counters. */
export function rcodeOf(out: Uint8Array, outAt: number): number {
  return out[outAt + 3]! & 15
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
