import protobuf from 'protobufjs'
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { DNSTAP_CONTENT, dnstapEncoder } from '../../src/querylog/dnstap.ts'
import { Control, controlFrame, readControlFrame } from '../../src/querylog/frame-streams.ts'
import { LogBatch } from '../../src/querylog/log-batch.ts'
import { Source } from '../../src/stats/counters.ts'
import { a, decode, message, TO_QUESTION } from '../dns/messages.ts'
import { madeRecord, type RecordParts } from './made-record.ts'

/** The parts of dnstap.proto that are used, and their numbers. */
const PROTO = `
syntax = "proto2";
message Dnstap {
  enum Type { MESSAGE = 1; }
  optional bytes identity = 1; optional bytes version = 2; optional bytes extra = 3;
  optional Message message = 14; required Type type = 15;
}
message Message {
  enum Type { CLIENT_QUERY = 5; CLIENT_RESPONSE = 6; }
  enum Family { INET = 1; INET6 = 2; }
  enum Protocol { UDP = 1; TCP = 2; }
  required Type type = 1; optional Family socket_family = 2; optional Protocol socket_protocol = 3;
  optional bytes query_address = 4; optional bytes response_address = 5;
  optional uint32 query_port = 6; optional uint32 response_port = 7;
  optional uint64 query_time_sec = 8; optional fixed32 query_time_nsec = 9; optional bytes query_message = 10;
  optional bytes query_zone = 11;
  optional uint64 response_time_sec = 12; optional fixed32 response_time_nsec = 13; optional bytes response_message = 14;
}`
const DNSTAP = protobuf.parse(PROTO, { keepCase: true }).root.lookupType('Dnstap')

/** What a standard decoder reads in the frames of one entry. */
function frames(parts: RecordParts, server: string | null = null): Record<string, any>[] {
  const batch = new LogBatch()
  dnstapEncoder('web-1', 'byname 1.2.3')(batch, madeRecord(parts), server)
  const { bytes } = batch.take()
  const read: Record<string, any>[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    const decoded = DNSTAP.decode(bytes.subarray(at + 4, at + 4 + length))
    read.push(DNSTAP.toObject(decoded, { longs: Number, enums: String }))
    at += 4 + length
  }
  return read
}

const QUERY = message({ id: 7, flags: 0x0100, questions: [['example.org', Type.A, 1]] })
const REPLY = message({ id: 7, flags: 0x8180, questions: [['example.org', Type.A, 1]], answers: [a(1), a(2)] })

describe('an entry of dnstap', () => {
  it('is the query and the response, as they were and when', () => {
    const [query, response] = frames(
      {
        query: QUERY,
        reply: REPLY,
        port: 40_000,
        source: Source.upstream,
        receivedAtMs: 1_796_062_455_000.25,
        latencyMicros: 1_000_050,
      },
      '10.0.0.2:53',
    )
    const both = { identity: Buffer.from('web-1'), version: Buffer.from('byname 1.2.3'), type: 'MESSAGE' }
    const asked = {
      socket_family: 'INET',
      socket_protocol: 'UDP',
      query_address: Buffer.of(10, 1, 2, 3),
      query_port: 40_000,
      query_time_sec: 1_796_062_455,
      query_time_nsec: 250_000,
    }
    expect(query).toEqual({
      ...both,
      message: { type: 'CLIENT_QUERY', ...asked, query_message: Buffer.from(QUERY) },
    })
    expect(response).toEqual({
      ...both,
      extra: Buffer.from('source=upstream server=10.0.0.2:53'),
      message: {
        type: 'CLIENT_RESPONSE',
        ...asked,
        response_time_sec: 1_796_062_456,
        response_time_nsec: 300_000,
        response_message: Buffer.from(REPLY),
      },
    })
  })

  it.each([
    [
      { address: new Uint8Array(16), proto: 1 },
      { socket_family: 'INET6', socket_protocol: 'TCP' },
    ],
    [{ receivedAtMs: 5_000_000_000_000 }, { query_time_sec: 5_000_000_000 }],
    [{ receivedAtMs: 1_999.999_999 }, { query_time_sec: 1, query_time_nsec: 999_999_999 }],
  ])('of %o has %o', (parts, fields) => {
    expect(frames(parts)[0]!['message']).toMatchObject(fields)
  })

  it('says what it can of a client and of messages that are not known', () => {
    const [query, response] = frames({ address: new Uint8Array(0) })
    for (const field of ['query_address', 'socket_family', 'query_message'])
      expect(query!['message']).not.toHaveProperty(field)
    expect(response!['message']).not.toHaveProperty('response_message')
  })

  it('of a message that was too long shows header and question, in a form that can be read', () => {
    const head = REPLY.slice(0, QUERY.length)
    expect(TO_QUESTION).toHaveLength(2)
    const [query, response] = frames({ query: QUERY, hasWholeQuery: false, reply: head, size: 60_000 })
    const shown = decode(response!['message'].response_message)
    expect([shown.flags, shown.questions[0]!.name, shown.answers]).toEqual([0x8180, 'example.org', []])
    expect(decode(query!['message'].query_message).questions).toHaveLength(1)
  })

  it('has room for the largest messages', () => {
    const reply = new Uint8Array(4096).fill(1)
    const [query, response] = frames({ query: new Uint8Array(512).fill(2), reply, size: 4096 }, 's'.repeat(300))
    expect(query!['message'].query_message).toHaveLength(512)
    expect(response!['message'].response_message).toHaveLength(4096)
  })
})

describe('control frames', () => {
  it('are written as fstrm writes them', () => {
    expect(controlFrame(Control.START, DNSTAP_CONTENT).toString('hex')).toBe(
      `0000000000000022000000020000000100000016${Buffer.from(DNSTAP_CONTENT).toString('hex')}`,
    )
    expect(controlFrame(Control.STOP, null).toString('hex')).toBe('000000000000000400000003')
  })

  it('are read as they were written, whole ones alone', () => {
    const frame = controlFrame(Control.ACCEPT, DNSTAP_CONTENT)
    for (let length = 0; length < frame.length; length++) expect(readControlFrame(frame.subarray(0, length))).toBeNull()
    expect(readControlFrame(Buffer.concat([frame, Buffer.of(1, 2)]))).toEqual({
      type: Control.ACCEPT,
      contentTypes: [DNSTAP_CONTENT],
      length: frame.length,
    })
  })

  it.each([
    ['a data frame', '0000000501'.padEnd(24, '0')],
    ['a length over all bounds', '00000000ffffffff00000001'],
    ['a length below a type', '000000000000000200000001'],
    ['a field beyond the end', '000000000000000c0000000100000001000000ff'],
  ])('are nothing else: %s', (_, hex) => {
    expect(readControlFrame(Buffer.from(hex, 'hex'))).toBeTypeOf('string')
  })
})
