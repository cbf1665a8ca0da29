/** Padding of queries that leave encrypted, so that their length tells less about the name (RFC 7830, RFC 8467 §4.1). */
import { EdnsOption, HEADER_BYTES, Type } from '../../dns/constants.ts'
import { skipName } from '../../dns/name.ts'

/** Queries are padded to a multiple of this. */
const BLOCK_BYTES = 128
const OPTION_HEADER_BYTES = 4
const TYPE_AND_CLASS = 4
/** Root name, type, payload size, flags, length of the options. */
const OPT_BYTES = 11

/**
 * A copy of the query with a padding option. A query whose last record is not an OPT, as ours have it, is returned as it
 * is.
 */
export function padded(query: Uint8Array): Uint8Array {
  const opt = optOffset(query)
  if (opt < 0) return query
  const bare = query.length + OPTION_HEADER_BYTES
  const padding = (BLOCK_BYTES - (bare % BLOCK_BYTES)) % BLOCK_BYTES
  const result = new Uint8Array(bare + padding)
  result.set(query)
  result[query.length + 1] = EdnsOption.PADDING
  result[query.length + 2] = padding >> 8
  result[query.length + 3] = padding & 0xff
  const options = result.length - opt - OPT_BYTES
  result[opt + OPT_BYTES - 2] = options >> 8
  result[opt + OPT_BYTES - 1] = options & 0xff
  return result
}

/** Offset of an OPT that is the only record and ends the query; -1 if there is none. */
function optOffset(query: Uint8Array): number {
  if (query.length < HEADER_BYTES || query[5] !== 1) return -1
  for (const at of [4, 6, 7, 8, 9, 10]) if (query[at] !== 0) return -1
  const nameEnd = skipName(query, HEADER_BYTES, query.length)
  if (nameEnd < 0 || query[11] !== 1) return -1
  const opt = nameEnd + TYPE_AND_CLASS
  if (opt + OPT_BYTES > query.length || query[opt] !== 0 || query[opt + 1] !== 0 || query[opt + 2] !== Type.OPT)
    return -1
  const options = (query[opt + OPT_BYTES - 2]! << 8) | query[opt + OPT_BYTES - 1]!
  return opt + OPT_BYTES + options === query.length ? opt : -1
}
