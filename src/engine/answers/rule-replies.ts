/** Replies that rules give: denials with the SOA by which clients keep them (RFC 2308), and records. */
import { Ede, Flag, Rcode, Type } from '../../dns/constants.ts'
import {
  beginReply,
  copyBytes,
  headerRcode,
  QUESTION_NAME,
  readU16,
  readU32,
  setCounts,
  writeRecordHead,
} from '../../dns/reply.ts'
import { RECORD_HEAD, SET_HEAD } from '../../rules/record-text.ts'
import type { ClientQuery } from '../client-query.ts'
import { finishReply, replyOptBytes, writeReplyOptWithText } from '../reply-opt.ts'
import { SOA_DATA, writeSoaData } from './mesh-answers.ts'

/** Bytes of owner, type, class, TTL and length. */
const HEAD_BYTES = 12
const NO_TEXT: Uint8Array = new Uint8Array(0)

/**
 * Writes NXDOMAIN, NODATA (`rcode` NOERROR) or a refusal to `query` into `out` at `outAt`, and returns its length. A denial has
 * an SOA of `ttlSeconds`. AA is not set: the name is somebody else's. Of the root NXDOMAIN becomes NODATA.
 */
export function writeRuleDenial(
  query: ClientQuery,
  rcode: number,
  ttlSeconds: number,
  ede: number,
  text: Uint8Array,
  out: Uint8Array,
  outAt: number,
): number {
  const isRefusal = rcode === Rcode.REFUSED
  // Without a root nothing exists (RFC 8020): of it only records can be denied.
  const shownRcode = rcode === Rcode.NXDOMAIN && query.name.labels === 0 ? Rcode.NOERROR : rcode
  let at = beginReply(query, headerRcode(shownRcode), out, outAt)
  if (!isRefusal) {
    at = writeRecordHead(out, at, QUESTION_NAME, Type.SOA, ttlSeconds, SOA_DATA)
    at = writeSoaData(out, at, ttlSeconds)
  }
  setCounts(out, outAt, 0, isRefusal ? 0 : 1, query.hasEdns ? 1 : 0)
  if (!query.hasEdns) return at - outAt
  // The text is the first to go where there is no room (RFC 8914 §3).
  const room = query.limit - (at - outAt)
  const bare = replyOptBytes(query, ede)
  const shownText = bare + text.length <= room ? text : NO_TEXT
  const shownEde = bare <= room ? ede : Ede.NONE
  return writeReplyOptWithText(query, shownRcode, shownEde, shownText, out, at) - outAt
}

/** Writes nothing but the question and TC=1: the client is to ask over TCP. */
export function writeTcpOnly(query: ClientQuery, out: Uint8Array, outAt: number): number {
  const at = beginReply(query, Flag.TC, out, outAt)
  return finishReply(query, 0, 0, out, outAt, at)
}

/** Offset of the only CNAME's data in the set of records at `setAt`, if that is what leads to an answer for `type`; -1 if not. */
export function aliasIn(bytes: Uint8Array, setAt: number, type: number): number {
  const isAlias = bytes[setAt] === 1 && readU16(bytes, setAt + SET_HEAD) === Type.CNAME
  return isAlias && type !== Type.CNAME && type !== Type.ANY ? setAt + SET_HEAD + RECORD_HEAD : -1
}

/** TTL of the first record of the set at `setAt`. */
export function ttlOf(bytes: Uint8Array, setAt: number): number {
  return readU32(bytes, setAt + SET_HEAD + 2)
}

/**
 * Writes those records of the set at `setAt` that have the type asked for (all for ANY), beginning at a random one of them.
 * Without any it is NODATA: the name has no other records. AA is set, as for the hosts file: they are byname's own.
 */
export function writeRuleRecords(
  query: ClientQuery,
  bytes: Uint8Array,
  setAt: number,
  ttlSeconds: number,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  const records = bytes[setAt]!
  let wanted = 0
  let place = setAt + SET_HEAD
  for (let k = 0; k < records; k++) {
    if (isWanted(query, readU16(bytes, place))) wanted++
    place += RECORD_HEAD + readU16(bytes, place + 6)
  }
  let at = beginReply(query, Flag.AA, out, outAt)
  if (wanted === 0) {
    at = writeRecordHead(out, at, QUESTION_NAME, Type.SOA, ttlSeconds, SOA_DATA)
    return finishReply(query, 0, 1, out, outAt, writeSoaData(out, at, ttlSeconds))
  }
  const stop = outAt + query.limit - replyOptBytes(query, Ede.NONE)
  const first = (random >>> 0) % wanted
  let written = 0
  // Twice through the set: from the first to the end, and from the beginning to the first.
  for (let round = 0; round < 2; round++) {
    let n = 0
    place = setAt + SET_HEAD
    for (let k = 0; k < records; k++) {
      const type = readU16(bytes, place)
      const length = readU16(bytes, place + 6)
      if (isWanted(query, type) && n++ >= first === (round === 0)) {
        if (at + HEAD_BYTES + length > stop) {
          out[outAt + 2]! |= Flag.TC >> 8
          return finishReply(query, written, 0, out, outAt, at)
        }
        at = writeRecordHead(out, at, QUESTION_NAME, type, readU32(bytes, place + 2), length)
        copyBytes(bytes, place + RECORD_HEAD, length, out, at)
        at += length
        written++
      }
      place += RECORD_HEAD + length
    }
  }
  return finishReply(query, written, 0, out, outAt, at)
}

function isWanted({ type }: ClientQuery, recordType: number): boolean {
  return type === recordType || type === Type.ANY
}
