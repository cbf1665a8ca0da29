/**
 * The query log as dnstap (https://dnstap.info): for each answer a CLIENT_QUERY and a CLIENT_RESPONSE, as protobuf in data
 * frames of frame streams. The few fields there are are written by hand, into the batch itself.
 *
 * ```
 *  Dnstap   identity = 1, version = 2, extra = 3, message = 14, type = 15 (1: MESSAGE)
 *  Message  type = 1 (5 CLIENT_QUERY, 6 CLIENT_RESPONSE), socket_family = 2 (1 INET, 2 INET6), socket_protocol = 3 (1 UDP, 2 TCP),
 *           query_address = 4, query_port = 6, query_time_sec = 8, query_time_nsec = 9 (fixed32), query_message = 10,
 *           response_time_sec = 12, response_time_nsec = 13 (fixed32), response_message = 14
 * ```
 * `extra` of a CLIENT_RESPONSE says what DNS does not: `source=cache server=10.0.0.2:53`.
 */
import { SOURCES } from '../stats/counters.ts'
import type { EntryEncoder, LogBatch } from './log-batch.ts'
import type { QueryRecord } from './ring-reader.ts'

/** Content type of the frames. */
export const DNSTAP_CONTENT = 'protobuf:dnstap.Dnstap'

const CLIENT_QUERY = 5
const CLIENT_RESPONSE = 6
const VARINT = 0
const BYTES = 2
const FIXED32 = 5
/** Longest beside the texts and the messages: fields with their tags and lengths. */
const OTHER_BYTES = 128
/** A length of the outer frame's parts takes so many bytes, also where fewer would do: it is written after what it counts. */
const LONG_VARINT_BYTES = 3

/** An encoder for `identity` (which host this is) and `version` (which program). */
export function dnstapEncoder(identity: string, version: string): EntryEncoder {
  const head = Buffer.concat([field(1, Buffer.from(identity)), field(2, Buffer.from(version))])
  return (batch, record, server) => {
    const extra = Buffer.from(`source=${SOURCES[record.source]!}${server === null ? '' : ` server=${server}`}`)
    batch.reserve(2 * (head.length + OTHER_BYTES) + 2 * record.queryLength + record.replyLength + extra.length)
    writeFrame(batch, record, head, null)
    writeFrame(batch, record, head, extra)
    batch.entries++
  }
}

/** `extra`: null for the query, else it is the response. */
function writeFrame(batch: LogBatch, record: QueryRecord, head: Buffer, extra: Buffer | null): void {
  const frameAt = batch.used
  batch.used += 4
  put(batch, head)
  if (extra !== null) putBytes(batch, 3, extra, 0, extra.length)
  putVarint(batch, (14 << 3) | BYTES)
  const lengthAt = batch.used
  batch.used += LONG_VARINT_BYTES
  writeMessage(batch, record, extra === null)
  const length = batch.used - lengthAt - LONG_VARINT_BYTES
  batch.bytes[lengthAt] = 0x80 | (length & 0x7f)
  batch.bytes[lengthAt + 1] = 0x80 | ((length >> 7) & 0x7f)
  batch.bytes[lengthAt + 2] = length >> 14
  putNumber(batch, 15, 1)
  batch.bytes.writeUInt32BE(batch.used - frameAt - 4, frameAt)
}

function writeMessage(batch: LogBatch, record: QueryRecord, isQuery: boolean): void {
  const { bytes, receivedAtMs, latencyMicros, addressLength } = record
  putNumber(batch, 1, isQuery ? CLIENT_QUERY : CLIENT_RESPONSE)
  if (addressLength > 0) putNumber(batch, 2, addressLength === 4 ? 1 : 2)
  putNumber(batch, 3, record.proto + 1)
  if (addressLength > 0) putBytes(batch, 4, bytes, record.addressAt, addressLength)
  putNumber(batch, 6, record.port)
  putTime(batch, 8, receivedAtMs)
  if (isQuery) {
    putDns(batch, 10, bytes, record.queryAt, record.queryLength, record.hasWholeQuery)
    return
  }
  putTime(batch, 12, receivedAtMs + latencyMicros / 1000)
  putDns(batch, 14, bytes, record.replyAt, record.replyLength, record.replyLength === record.size)
}

/** Seconds as varint and nanoseconds as fixed32, of two fields that follow each other. */
function putTime(batch: LogBatch, number: number, ms: number): void {
  const seconds = Math.floor(ms / 1000)
  putNumber(batch, number, seconds)
  putVarint(batch, ((number + 1) << 3) | FIXED32)
  const nanos = Math.min(999_999_999, Math.max(0, Math.round((ms - seconds * 1000) * 1000) * 1000))
  batch.used = batch.bytes.writeUInt32LE(nanos, batch.used)
}

/** A message of which only header and question were kept says that it has no records: so it can be read. */
function putDns(batch: LogBatch, number: number, from: Uint8Array, at: number, length: number, isWhole: boolean): void {
  if (length === 0) return
  putBytes(batch, number, from, at, length)
  if (!isWhole && length >= 12) batch.bytes.fill(0, batch.used - length + 6, batch.used - length + 12)
}

function putNumber(batch: LogBatch, number: number, value: number): void {
  putVarint(batch, (number << 3) | VARINT)
  putVarint(batch, value)
}

function putBytes(batch: LogBatch, number: number, from: Uint8Array, at: number, length: number): void {
  putVarint(batch, (number << 3) | BYTES)
  putVarint(batch, length)
  batch.bytes.set(from.subarray(at, at + length), batch.used)
  batch.used += length
}

function put(batch: LogBatch, bytes: Uint8Array): void {
  batch.bytes.set(bytes, batch.used)
  batch.used += bytes.length
}

/** Seven bits a byte, the lowest first; seconds since 1970 have more than 31 bits some day. */
function putVarint(batch: LogBatch, value: number): void {
  let rest = value
  while (rest > 0x7f) {
    batch.bytes[batch.used++] = 0x80 | (rest % 128)
    rest = Math.floor(rest / 128)
  }
  batch.bytes[batch.used++] = rest
}

function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.of((number << 3) | BYTES), varint(bytes.length), bytes])
}

function varint(value: number): Buffer {
  return value < 128 ? Buffer.of(value) : Buffer.of(0x80 | (value & 0x7f), value >> 7)
}
