/** The upstream server behind the recorded answers: every name has an answer that depends on the name alone. */
import { crc32 } from 'node:zlib'
import type { Packet } from 'dns-packet'
import { addressBytes } from '../../src/dns/address.ts'
import type { ReceivedQuery } from '../scenario/scripted-resolver.ts'

const NXDOMAIN = 3
const QR_RD_RA = 0x180
const TTL_SECONDS = 300
const ANSWERS_AT = 6

/** Answers as the program did that was used for the recording: a third of all names do not exist. */
export function answerAsRecorded(query: ReceivedQuery): void {
  const hash = crc32(query.name === '.' ? '.' : `${query.name}.`)
  const none: Partial<Packet> = { authorities: [SOA] }
  if (hash % 3 === 0) query.reply({ flags: QR_RD_RA | NXDOMAIN, ...none })
  else if (query.type === 'A') query.reply(withRecord(query, 1, addressBytes(`192.0.2.${hash % 250}`)))
  else if (query.type === 'AAAA')
    query.reply(withRecord(query, 28, addressBytes(`2001:db8::${(hash % 65_000).toString(16)}`)))
  else if (query.type === 'TXT') query.reply(withRecord(query, 16, text(`h${hash % 1000}`)))
  else query.reply(none)
}

const SOA: NonNullable<Packet['authorities']>[number] = {
  type: 'SOA',
  name: '.',
  ttl: 60,
  data: { mname: 'a', rname: 'b', serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 60 },
}

/** A character string: its length, then its bytes (RFC 1035 §3.3). */
function text(characters: string): Buffer {
  return Buffer.concat([Buffer.of(characters.length), Buffer.from(characters)])
}

/** The reply with one record whose owner is a pointer to the question's name, as servers write it and dns-packet does not. */
function withRecord(query: ReceivedQuery, type: number, data: Uint8Array): Buffer {
  const head = query.encode()
  head.writeUInt16BE(1, ANSWERS_AT)
  const record = Buffer.alloc(12)
  record.writeUInt16BE(0xc00c, 0)
  record.writeUInt16BE(type, 2)
  record.writeUInt16BE(1, 4)
  record.writeUInt32BE(TTL_SECONDS, 6)
  record.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, record, data])
}
