/** Whether a reply that came over a stream belongs to a query (RFC 5452 §4, less address and port, which TCP vouches for). */
import { HEADER_BYTES } from '../../dns/constants.ts'
import { LOWER, skipName } from '../../dns/name.ts'

/** Length of type and class after a question's name. */
const TYPE_AND_CLASS = 4

/**
 * True if `reply` is a response with the question of `query`: name without regard to case, type and class the same.
 * An error that consists of a header alone counts too: some servers answer FORMERR so when they cannot read the OPT.
 * Ids are the caller's business.
 */
export function matchesQuestion(query: Uint8Array, reply: Uint8Array): boolean {
  if (reply.length < HEADER_BYTES || (reply[2]! & 0x80) === 0) return false
  const questions = (reply[4]! << 8) | reply[5]!
  const isError = (reply[3]! & 0x0f) !== 0
  if (questions === 0) return isError
  const nameEnd = skipName(query, HEADER_BYTES, query.length)
  if (questions !== 1 || nameEnd < 0 || reply.length < nameEnd + TYPE_AND_CLASS) return false
  for (let i = HEADER_BYTES; i < nameEnd; i++) if (LOWER[query[i]!] !== LOWER[reply[i]!]) return false
  for (let i = nameEnd; i < nameEnd + TYPE_AND_CLASS; i++) if (query[i] !== reply[i]) return false
  return true
}
