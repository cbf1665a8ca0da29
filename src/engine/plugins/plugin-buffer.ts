/** A plug-in's buffer: byname writes header and message into it, and reads what the plug-in made of them (plugin-abi.ts). */
import { Ede, Flag } from '../../dns/constants.ts'
import { copyBytes, setCounts } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'
import { ABI_VERSION, HeaderFlag, NO_EXTENDED_ERROR, PLUGIN_HEADER_BYTES } from './plugin-abi.ts'
import type { PluginInstance } from './plugin-instance.ts'

const QUESTION_NAME = 12
// One header is written at a time. Byname runs on little-endian machines alone, and so does WebAssembly.
const head = new Int32Array(PLUGIN_HEADER_BYTES / 4)
const headBytes = new Uint8Array(head.buffer)

/** What every header says beside the query. */
export interface HeaderFacts {
  /** Milliseconds since 1970: the low 32 bits, and those above. */
  nowLow: number
  nowHigh: number
  isSameMachine: boolean
  ttlSeconds: number
  /** Who answered (Source); NO_SOURCE for a query. */
  source: number
}

/**
 * Writes header and message (`length` bytes at `at` of `message`) into the buffer. Returns the bytes of both, or -1 if they
 * do not fit.
 */
export function writeBuffer(
  instance: PluginInstance,
  query: ClientQuery,
  facts: HeaderFacts,
  message: Uint8Array,
  at: number,
  length: number,
  isReply: boolean,
): number {
  const to = instance.look()
  const { bufferAt, capacity } = instance
  if (PLUGIN_HEADER_BYTES + length > capacity) return -1
  const { address, addressAt, addressLength } = query
  const isIpv6 = addressLength !== 4
  head[0] = ABI_VERSION | (PLUGIN_HEADER_BYTES << 16)
  head[1] = length
  head[2] = capacity
  head[3] = (isReply ? 1 : 0) | (query.proto << 8) | ((isIpv6 ? 6 : 4) << 16) | (facts.source << 24)
  head[4] = wordAt(address, addressAt)
  head[5] = isIpv6 ? wordAt(address, addressAt + 4) : 0
  head[6] = isIpv6 ? wordAt(address, addressAt + 8) : 0
  head[7] = isIpv6 ? wordAt(address, addressAt + 12) : 0
  head[8] = query.port | (query.type << 16)
  head[9] = query.class | (QUESTION_NAME << 16)
  head[10] = facts.nowLow
  head[11] = facts.nowHigh
  head[12] = query.limit | (flagsOf(query, facts.isSameMachine) << 16)
  head[13] = NO_EXTENDED_ERROR << 16
  head[14] = facts.ttlSeconds
  head[15] = query.questionEnd - query.at
  const { words } = instance
  if (words !== null) for (let k = 0; k < head.length; k++) words[k] = head[k]!
  else copyBytes(headBytes, 0, PLUGIN_HEADER_BYTES, to, bufferAt)
  const messageAt = bufferAt + PLUGIN_HEADER_BYTES
  copyBytes(message, at, length, to, messageAt)
  // Of a rewritten question the OPT is not there, although the header counts it.
  if (!isReply && query.end === query.questionEnd) setCounts(to, messageAt, 0, 0, 0)
  return PLUGIN_HEADER_BYTES + length
}

/** Bytes of the message that the plug-in left; -1 if they do not fit into its buffer. */
export function messageLength(instance: PluginInstance): number {
  const bytes = instance.look()
  const { bufferAt, capacity } = instance
  const length = get16(bytes, bufferAt + 4) + get16(bytes, bufferAt + 6) * 65_536
  return length > capacity - PLUGIN_HEADER_BYTES ? -1 : length
}

/** The rcode that it chose. */
export function rcodeIn(instance: PluginInstance): number {
  return get16(instance.look(), instance.bufferAt + 52)
}

/** The extended error that it chose, Ede.NONE without one. */
export function extendedErrorIn(instance: PluginInstance): number {
  const ede = get16(instance.look(), instance.bufferAt + 54)
  return ede === NO_EXTENDED_ERROR ? Ede.NONE : ede
}

/** The TTL that it chose for denials, in seconds. */
export function ttlIn(instance: PluginInstance): number {
  const bytes = instance.look()
  const ttl = get16(bytes, instance.bufferAt + 56) + get16(bytes, instance.bufferAt + 58) * 65_536
  // The top bit makes it zero (RFC 2181 §8).
  return ttl > 0x7fffffff ? 0 : ttl
}

function flagsOf(query: ClientQuery, isSameMachine: boolean): number {
  return (
    (query.hasEdns ? HeaderFlag.EDNS : 0) |
    (query.dnssecOk ? HeaderFlag.DNSSEC_OK : 0) |
    ((query.flags & Flag.CD) !== 0 ? HeaderFlag.CHECKING_DISABLED : 0) |
    ((query.flags & Flag.RD) !== 0 ? HeaderFlag.RECURSION_DESIRED : 0) |
    (isSameMachine ? HeaderFlag.SAME_MACHINE : 0)
  )
}

/** Four bytes as they are, in one number. */
function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

function get16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8)
}
