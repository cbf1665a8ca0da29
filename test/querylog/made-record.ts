import { QueryRecord } from '../../src/querylog/ring-reader.ts'
import { bytes, wire } from '../dns/messages.ts'

export interface RecordParts extends Partial<Omit<QueryRecord, 'bytes'>> {
  name?: string | Uint8Array
  address?: Uint8Array
  query?: Uint8Array
  reply?: Uint8Array
}

/** A record as a reader would hand it out. */
export function madeRecord({ name = 'example.org', address, query, reply, ...rest }: RecordParts = {}): QueryRecord {
  const nameBytes = typeof name === 'string' ? (name === '' ? new Uint8Array(0) : wire(name)) : name
  const from = address ?? Uint8Array.of(10, 1, 2, 3)
  const record = new QueryRecord()
  const sent = query ?? new Uint8Array(0)
  const got = reply ?? new Uint8Array(0)
  record.bytes = bytes(7, from, nameBytes, sent, got)
  record.addressAt = 1
  record.addressLength = from.length
  record.nameAt = 1 + from.length
  record.nameLength = nameBytes.length
  record.queryAt = record.nameAt + nameBytes.length
  record.queryLength = sent.length
  record.replyAt = record.queryAt + sent.length
  record.replyLength = got.length
  record.size = got.length
  record.hasWholeQuery = true
  return Object.assign(record, rest)
}
