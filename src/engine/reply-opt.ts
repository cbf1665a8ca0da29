/** What replies have in common: the OPT record with what the client is told beside the answer, and the reply without records. */
import { Ede, EdnsOption } from '../dns/constants.ts'
import { COOKIE_BYTES } from '../dns/cookie.ts'
import {
  addExtendedError,
  addExtraText,
  addOption,
  beginReply,
  EDE_BYTES,
  headerRcode,
  OPT_BYTES,
  OPTION_HEAD_BYTES,
  setCounts,
  writeOpt,
} from '../dns/reply.ts'
import type { ClientQuery } from './client-query.ts'

/**
 * Writes the OPT of the reply to a query that had one, with its cookie and, unless `ede` is Ede.NONE, an extended error.
 * Returns the offset after it.
 */
export function writeReplyOpt(query: ClientQuery, rcode: number, ede: number, out: Uint8Array, at: number): number {
  const end = writeOpt(out, at, query.advertise, rcode, query.dnssecOk)
  return query.cookieAt === 0 && ede === Ede.NONE ? end : addOptions(query, ede, out, at, end)
}

/** Beside the plain hit, which has no options. */
function addOptions(query: ClientQuery, ede: number, out: Uint8Array, opt: number, at: number): number {
  let end = at
  if (query.cookieAt > 0) end = addOption(out, opt, end, EdnsOption.COOKIE, query.replyCookie, 0, COOKIE_BYTES)
  if (ede !== Ede.NONE) end = addExtendedError(out, opt, end, ede)
  return end
}

/** The same, with text beside the extended error. Room for all of it must be there. */
export function writeReplyOptWithText(
  query: ClientQuery,
  rcode: number,
  ede: number,
  text: Uint8Array,
  out: Uint8Array,
  at: number,
): number {
  const end = writeReplyOpt(query, rcode, ede, out, at)
  return ede === Ede.NONE || text.length === 0 ? end : addExtraText(out, at, end, text)
}

/** Room that the reply's OPT takes; none if the query had none. */
export function replyOptBytes(query: ClientQuery, ede: number): number {
  if (!query.hasEdns) return 0
  if (query.cookieAt === 0 && ede === Ede.NONE) return OPT_BYTES
  const cookie = query.cookieAt > 0 ? OPTION_HEAD_BYTES + COOKIE_BYTES : 0
  return OPT_BYTES + cookie + (ede === Ede.NONE ? 0 : EDE_BYTES)
}

/**
 * Ends a NOERROR or NXDOMAIN reply at `outAt` whose records stop at `end`: section counts, and an OPT if the client sent
 * one. Returns the reply's length.
 */
export function finishReply(
  query: ClientQuery,
  answers: number,
  authorities: number,
  out: Uint8Array,
  outAt: number,
  end: number,
): number {
  setCounts(out, outAt, answers, authorities, query.hasEdns ? 1 : 0)
  return (query.hasEdns ? writeReplyOpt(query, 0, Ede.NONE, out, end) : end) - outAt
}

/**
 * Writes a reply without records to `query`, an error mostly, into `out` at `outAt` and returns its length. `rcode` is the
 * extended one; `ede` as in `writeReplyOpt`.
 */
export function writeEmptyReply(
  query: ClientQuery,
  rcode: number,
  ede: number,
  out: Uint8Array,
  outAt: number,
): number {
  const at = beginReply(query, headerRcode(rcode), out, outAt)
  if (!query.hasEdns) return at - outAt
  setCounts(out, outAt, 0, 0, 1)
  return writeReplyOpt(query, rcode, ede, out, at) - outAt
}
