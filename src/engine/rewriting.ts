/**
 * Questions that a rule or a plug-in has rewritten. Every stage, the cache and servers see the other name, and the client its own:
 *
 * ```
 *  client: old.example A?  ─→  rewritten: new.example A?  ─→ stages, cache, servers
 *  client: old.example A   ←─  owner put back             ←─ new.example A
 *  or, with a CNAME          old.example CNAME new.example, new.example A
 * ```
 * The reply is written anew with names compressed, as its names may be longer now.
 */
import { Ede, Flag, HEADER_BYTES, MAX_MESSAGE, Rcode, Type } from '../dns/constants.ts'
import { expandName, LOWER, MAX_NAME, scanName, skipName } from '../dns/name.ts'
import { beginCopy, copyRecord, writeNameRecord } from '../dns/record-copy.ts'
import { copyBytes, rcodeOf, readU16, setCounts, writeU16 } from '../dns/reply.ts'
import type { ClientQuery } from './client-query.ts'
import { writeReplyOpt } from './reply-opt.ts'

const QUESTION_TAIL = 4
const FIXED_BYTES = 10
/** Flags that say how a question is asked, and come back in the reply. */
const ASKED_WITH: number = Flag.RD | Flag.CD

// Made once and overwritten by each reply, which is written in one go. The last record may be as long as all others together.
const rebuilt = new Uint8Array(2 * MAX_MESSAGE + 1024)
const owner = new Uint8Array(MAX_NAME + 1)

/** Rewrites questions of one engine. */
export class Rewriter {
  /** The rewritten query: header and question. Overwritten by the next one; who waits keeps a copy. */
  readonly #packet: Uint8Array = new Uint8Array(HEADER_BYTES + MAX_NAME + 1 + QUESTION_TAIL)

  /**
   * Gives `query` another name: its first `kept` labels, then `target` (wire format, at `targetAt`). Nothing is changed if that
   * would be too long, or is the same name. `aliasTtl` as in ClientQuery.
   */
  rewrite(
    query: ClientQuery,
    kept: number,
    target: Uint8Array,
    targetAt: number,
    aliasTtl: number,
    seed: number,
  ): 'rewritten' | 'same' | 'too long' {
    const { name } = query
    const keptBytes = name.labelAt[kept]!
    let targetBytes = 1
    while (target[targetAt + targetBytes - 1] !== 0) targetBytes += target[targetAt + targetBytes - 1]! + 1
    const length = keptBytes + targetBytes
    if (length > MAX_NAME) return 'too long'
    if (isSame(query, keptBytes, target, targetAt, length)) return 'same'
    const packet = this.#packet
    query.original = copyOf(query)
    query.aliasTtl = aliasTtl
    copyBytes(query.packet, query.at, HEADER_BYTES, packet, 0)
    copyBytes(name.lower, 0, keptBytes, packet, HEADER_BYTES)
    copyBytes(target, targetAt, targetBytes, packet, HEADER_BYTES + keptBytes)
    const end = HEADER_BYTES + length
    copyBytes(query.packet, query.questionEnd - QUESTION_TAIL, QUESTION_TAIL, packet, end)
    query.packet = packet
    query.at = 0
    query.questionEnd = end + QUESTION_TAIL
    query.end = query.questionEnd
    scanName(packet, HEADER_BYTES, query.end, seed, name)
    return 'rewritten'
  }
}

/**
 * Gives `query` another question: name, type and class, `length` bytes at `at` of `question`, which have been found sound. They
 * are written into `packet` behind the header, which becomes the query's and has room for any question. Of `flags`, RD and CD
 * are asked with. Not seen by the client unless a rule has led here by a CNAME.
 */
export function replaceQuestion(
  query: ClientQuery,
  question: Uint8Array,
  at: number,
  length: number,
  flags: number,
  packet: Uint8Array,
  seed: number,
): void {
  if (query.original === null) {
    query.original = copyOf(query)
    query.aliasTtl = -1
  }
  copyBytes(query.packet, query.at, HEADER_BYTES, packet, 0)
  setCounts(packet, 0, 0, 0, 0)
  query.flags = (query.flags & ~ASKED_WITH) | (flags & ASKED_WITH)
  writeU16(packet, 2, query.flags)
  copyBytes(question, at, length, packet, HEADER_BYTES)
  query.packet = packet
  query.at = 0
  query.questionEnd = HEADER_BYTES + length
  query.end = query.questionEnd
  query.type = readU16(packet, query.questionEnd - QUESTION_TAIL)
  scanName(packet, HEADER_BYTES, query.end, seed, query.name)
}

/** Header and question of the query, in bytes of their own: `slice` of a driver's Buffer would be a view of what the next query overwrites. */
function copyOf({ at, packet, questionEnd }: ClientQuery): Uint8Array {
  return new Uint8Array(packet.subarray(at, questionEnd))
}

function isSame({ name }: ClientQuery, kept: number, target: Uint8Array, targetAt: number, length: number): boolean {
  if (name.length !== length) return false
  for (let i = kept; i < length; i++) if (name.lower[i] !== target[targetAt + i - kept]) return false
  return true
}

/**
 * Turns the reply of `length` bytes at `outAt` to a rewritten query into one to what the client has asked, in place, and makes
 * `query` the client's own again. Returns its length: beyond the client's limit nothing but the question is left, with TC=1.
 * Signatures of records that get another owner are left out, and AD is not set: they would not verify.
 */
export function writeBack(query: ClientQuery, length: number, out: Uint8Array, outAt: number): number {
  const original = query.original!
  query.flags = readU16(original, 2)
  writeU16(out, outAt + 2, (readU16(out, outAt + 2) & ~ASKED_WITH) | (query.flags & ASKED_WITH))
  const innerAt = query.at + HEADER_BYTES
  const inner = query.packet
  const end = outAt + length
  let at = skipName(out, outAt + HEADER_BYTES, end) + QUESTION_TAIL
  const counts = [readU16(out, outAt + 6), readU16(out, outAt + 8), readU16(out, outAt + 10)] as const
  const written = [0, 0, 0]
  copyBytes(out, outAt, HEADER_BYTES, rebuilt, 0)
  rebuilt[3]! &= ~Flag.AD
  copyBytes(original, HEADER_BYTES, original.length - HEADER_BYTES, rebuilt, HEADER_BYTES)
  beginCopy(rebuilt, 0)
  let to = original.length
  const isAlias = query.aliasTtl >= 0
  const rcode = rcodeOf(out, outAt)
  // An error says nothing of the name.
  if (isAlias && (rcode === Rcode.NOERROR || rcode === Rcode.NXDOMAIN)) {
    to = writeNameRecord(original, HEADER_BYTES, Type.CNAME, query.aliasTtl, inner, innerAt, to)
    written[0]!++
  }
  for (let section = 0; section < 3; section++) {
    for (let k = counts[section]!; k > 0; k--) {
      const fixed = skipName(out, at, end)
      const next = fixed + FIXED_BYTES + readU16(out, fixed + 8)
      const type = readU16(out, fixed)
      const isOurs = type !== Type.OPT && !isAlias && isOwner(out, outAt, at, end, inner, innerAt)
      if (!isOurs || type !== Type.RRSIG) {
        // The header of the original stands before its name.
        to = copyRecord(out, outAt, at, end, to, isOurs ? original.subarray(HEADER_BYTES) : null)
        written[section]!++
      }
      at = next
      if (to > MAX_MESSAGE) return finish(query, writeTruncated(query, out, outAt))
    }
  }
  if (to > query.limit) return finish(query, writeTruncated(query, out, outAt))
  setCounts(rebuilt, 0, written[0]!, written[1]!, written[2]!)
  copyBytes(rebuilt, 0, to, out, outAt)
  return finish(query, to)
}

/** The question, and the OPT if there is one, with the client's cookie. */
function writeTruncated(query: ClientQuery, out: Uint8Array, outAt: number): number {
  const original = query.original!
  copyBytes(original, HEADER_BYTES, original.length - HEADER_BYTES, out, outAt + HEADER_BYTES)
  out[outAt + 2]! |= Flag.TC >> 8
  out[outAt + 3]! &= ~Flag.AD
  setCounts(out, outAt, 0, 0, 0)
  const end = outAt + original.length
  if (!query.hasEdns) return end - outAt
  setCounts(out, outAt, 0, 0, 1)
  return writeReplyOpt(query, 0, Ede.NONE, out, end) - outAt
}

function finish(query: ClientQuery, length: number): number {
  const original = query.original!
  query.packet = original
  query.at = 0
  query.questionEnd = original.length
  query.end = original.length
  query.type = readU16(original, original.length - QUESTION_TAIL)
  query.original = null
  return length
}

/** True if the record at `at` belongs to the name (written out) at `nameAt` of `name`. */
function isOwner(out: Uint8Array, outAt: number, at: number, end: number, name: Uint8Array, nameAt: number): boolean {
  const length = expandName(out, outAt, at, end, owner, 0)
  for (let i = 0; i < length; i++) if (LOWER[owner[i]!] !== LOWER[name[nameAt + i]!]) return false
  return true
}
