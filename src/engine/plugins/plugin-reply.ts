/** Replies that come from plug-ins: each is read as if it came from a server, and only what is sound goes on. */
import { Answer, isSameQuestion } from '../../dns/answer.ts'
import { Ede, Flag, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import { skipName } from '../../dns/name.ts'
import { readU16 } from '../../dns/reply.ts'
import { readReply } from '../../dns/scrub.ts'
import { writeRuleDenial } from '../answers/rule-replies.ts'
import { AnswerStore, storeAnswer, writeStored } from '../cache/stored-answer.ts'
import { type ClientQuery, Variant } from '../client-query.ts'
import { writeEmptyReply } from '../reply-opt.ts'

/** TTLs are the plug-in's own. */
const BOUNDS = { minTtlSeconds: 0, maxTtlSeconds: 0x7fffffff, maxNegativeTtlSeconds: 0x7fffffff }
const TCP = 1
const NO_TEXT = new Uint8Array(0)

/** Makes replies for clients of those of plug-ins. */
export class PluginReplies {
  readonly #answer: Answer = new Answer()
  readonly #scratch: AnswerStore = new AnswerStore(96 * 1024)

  /**
   * Writes the reply of `length` bytes at `at` of `message` as one to `query` into `out` at `outAt`: its OPT is byname's, and
   * what does not fit the client's limit is left out, with TC=1. Returns its length, or -1 if it is none: another id or question,
   * wrong counts, records that are malformed, more than an rcode of four bits.
   */
  write(
    query: ClientQuery,
    message: Uint8Array,
    at: number,
    length: number,
    ede: number,
    out: Uint8Array,
    outAt: number,
  ): number {
    const { name, type } = query
    const answer = this.#answer
    if (length < HEADER_BYTES || readU16(message, at) !== query.id) return -1
    const flags = readU16(message, at + 2)
    if ((flags & Flag.QR) === 0 || (flags & Flag.OPCODE) !== 0) return -1
    const key = name.lower
    key[name.length] = type >>> 8
    key[name.length + 1] = type
    key[name.length + 2] = query.dnssecOk ? Variant.DO : 0
    if (!isSameQuestion(message, at, length, key, 0, name.length)) return -1
    const questionEnd = HEADER_BYTES + name.length + 4
    if (!isWhole(message, at, length, questionEnd)) return -1
    const isCut = (flags & Flag.TC) !== 0
    // Over TCP there is room for all.
    if (isCut && query.proto === TCP) return -1
    if (!readReply(message, at, length, questionEnd, type, query.dnssecOk, answer)) return -1
    if (answer.rcode > Flag.RCODE) return -1
    // Nobody has validated it, and the order of records is the plug-in's.
    answer.flags &= ~Flag.AD
    answer.rotateCount = 0
    const scratch = this.#scratch
    storeAnswer(scratch, 0, answer.packet, answer.start, answer, key, 0, name.length + 3, 0, 0, BOUNDS)
    const own = ede === Ede.NONE ? scratch.ede(0) : ede
    const written = writeStored(scratch, 0, query, 0, -1, own, 0, out, outAt)
    if (isCut) out[outAt + 2]! |= Flag.TC >> 8
    return written
  }
}

/** True if the message consists of its question and as many records as its header says. */
function isWhole(message: Uint8Array, start: number, length: number, questionEnd: number): boolean {
  const end = start + length
  const records = readU16(message, start + 6) + readU16(message, start + 8) + readU16(message, start + 10)
  let at = start + questionEnd
  for (let k = 0; k < records; k++) {
    const fixed = skipName(message, at, end)
    if (fixed < 0 || fixed + 10 > end) return false
    at = fixed + 10 + readU16(message, fixed + 8)
  }
  return at === end
}

/**
 * Writes a reply without answers, and returns its length. NODATA and NXDOMAIN get an SOA with that TTL, by which clients keep
 * them (RFC 2308 §5).
 */
export function writeDenial(
  query: ClientQuery,
  rcode: number,
  ede: number,
  ttlSeconds: number,
  out: Uint8Array,
  outAt: number,
): number {
  if (rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN) return writeEmptyReply(query, rcode, ede, out, outAt)
  return writeRuleDenial(query, rcode, ttlSeconds, ede, NO_TEXT, out, outAt)
}
