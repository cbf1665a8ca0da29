/** A plug-in's buffer: byname writes header and message into it, and reads what the plug-in made of them (plugin-abi.ts). */
import { Ede, Flag } from '../../dns/constants.ts'
import { copyBytes, setCounts } from '../../dns/reply.ts'
import type { ClientQuery } from '../client-query.ts'
import { ABI_VERSION, HeaderFlag, NO_EXTENDED_ERROR, PLUGIN_HEADER_BYTES } from './plugin-abi.ts'
import type { PluginInstance } from './plugin-instance.ts'

const QUESTION_NAME = 12
const ADDRESS_BYTES = 16

/** What every header says beside the query. */
export interface HeaderFacts {
  /** Milliseconds since 1970. */
  nowMs: number
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
  put16(to, bufferAt, ABI_VERSION)
  put16(to, bufferAt + 2, PLUGIN_HEADER_BYTES)
  put32(to, bufferAt + 4, length)
  put32(to, bufferAt + 8, capacity)
  to[bufferAt + 12] = isReply ? 1 : 0
  to[bufferAt + 13] = query.proto
  to[bufferAt + 14] = query.addressLength === 4 ? 4 : 6
  to[bufferAt + 15] = facts.source
  for (let i = 0; i < ADDRESS_BYTES; i++) {
    to[bufferAt + 16 + i] = i < query.addressLength ? query.address[query.addressAt + i]! : 0
  }
  put16(to, bufferAt + 32, query.port)
  put16(to, bufferAt + 34, query.type)
  put16(to, bufferAt + 36, query.class)
  put16(to, bufferAt + 38, QUESTION_NAME)
  put32(to, bufferAt + 40, facts.nowMs % 2 ** 32)
  put32(to, bufferAt + 44, facts.nowMs / 2 ** 32)
  put16(to, bufferAt + 48, query.limit)
  put16(to, bufferAt + 50, flagsOf(query, facts.isSameMachine))
  put16(to, bufferAt + 52, 0)
  put16(to, bufferAt + 54, NO_EXTENDED_ERROR)
  put32(to, bufferAt + 56, facts.ttlSeconds)
  put32(to, bufferAt + 60, query.questionEnd - query.at)
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

function put16(to: Uint8Array, at: number, value: number): void {
  to[at] = value
  to[at + 1] = value >>> 8
}

function put32(to: Uint8Array, at: number, value: number): void {
  put16(to, at, value)
  put16(to, at + 2, value >>> 16)
}

function get16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8)
}
