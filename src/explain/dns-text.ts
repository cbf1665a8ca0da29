/** DNS messages as dns-packet encodes and decodes them, in the words that people know from zone files and dig. */

import { randomInt } from 'node:crypto'
import dnsPacket, { type Answer, type DecodedPacket, type RecordType } from 'dns-packet'
import { RCODES } from '../stats/counters.ts'
import { printable } from '../base/printable.ts'

/** A record for people and for JSON. */
export interface RecordText {
  name: string
  ttl: number
  type: string
  /** Presentation format; RFC 3597 for types that are not known. */
  data: string
}

/** Extended error (RFC 8914). */
export interface ExtendedError {
  code: number
  /** The code's name, with the server's own words if it sent any. */
  text: string
}

/** What byname itself asks upstream with, so that a reply shown is a reply that it would get. */
const PAYLOAD_BYTES = 1232

/**
 * A query with EDNS and a random id. `type` is dns-packet's name; `isDnssec`: with DO (RFC 3225); `payloadBytes`: the largest
 * datagram that is taken.
 */
export function encodeQuery(
  { name, type }: { name: string; type: string },
  isDnssec: boolean = false,
  payloadBytes: number = PAYLOAD_BYTES,
): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: dnsPacket.RECURSION_DESIRED,
    // dns-packet reads types by name and knows more of them than its types say.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    questions: [{ name, type: type as RecordType }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: payloadBytes,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: isDnssec ? dnsPacket.DNSSEC_OK : 0,
        flag_do: isDnssec,
        options: [],
      },
    ],
  })
}

/** Types that dns-packet has no name for. */
const EXTRA_TYPES: Readonly<Record<string, number>> = { SVCB: 64, HTTPS: 65, URI: 256, ZONEMD: 63, OPENPGPKEY: 61 }

/** dns-packet's name of a type as people write it (`A`, `https`, `TYPE65`), null if it is none. */
export function packetType(written: string): string | null {
  const name = written.toUpperCase()
  const code = EXTRA_TYPES[name] ?? (/^TYPE\d{1,5}$/.test(name) ? Number(name.slice(4)) : null)
  if (code !== null) return code > 0 && code < 65_536 ? `UNKNOWN_${code}` : null
  return KNOWN_TYPES.has(name) ? name : null
}

const KNOWN_TYPES = new Set(
  `A AAAA AFSDB ANY APL CAA CDNSKEY CDS CERT CNAME DHCID DNAME DNSKEY DS HINFO HIP IPSECKEY KEY KX LOC MX NAPTR NS NSEC
NSEC3 NSEC3PARAM PTR RP RRSIG SIG SOA SPF SRV SSHFP TA TLSA TXT`.split(/\s+/),
)

/** The name of a type as people write it, from dns-packet's. */
export function typeText(packetsName: string): string {
  const code = /^UNKNOWN_(\d+)$/.exec(packetsName)?.[1]
  if (code === undefined) return packetsName
  return Object.keys(EXTRA_TYPES).find((name) => EXTRA_TYPES[name] === Number(code)) ?? `TYPE${code}`
}

/** A name with its trailing dot. */
export function nameText(name: string): string {
  return printable(name.endsWith('.') ? name : `${name}.`)
}

/** A record as text; null for the OPT record, which is no data. */
function recordText(record: Answer): RecordText | null {
  if (record.type === 'OPT') return null
  const data: unknown = 'data' in record ? record.data : undefined
  return {
    name: nameText(record.name),
    ttl: 'ttl' in record ? (record.ttl ?? 0) : 0,
    type: typeText(record.type),
    data: printable(dataText(record.type, data)),
  }
}

/** The records of a section that are data. */
export function recordsText(section: DecodedPacket['answers']): RecordText[] {
  return (section ?? []).flatMap((record) => recordText(record) ?? [])
}

function dataText(type: string, data: unknown): string {
  if (typeof data === 'string') return /^(?:CNAME|NS|PTR|DNAME)$/.test(type) ? nameText(data) : data
  if (Buffer.isBuffer(data)) {
    return type === 'TXT' ? JSON.stringify(data.toString('latin1')) : `\\# ${data.length} ${data.toString('hex')}`
  }
  if (Array.isArray(data)) return data.map((part) => dataText('TXT', part)).join(' ')
  if (typeof data !== 'object' || data === null) return String(data)
  // Fields of MX, SRV, SOA and so on come in the order of the wire; those that are names get their dot.
  return Object.entries(data)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([field, value]) => fieldText(field, value))
    .join(' ')
}

function fieldText(field: string, value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('base64') || '-'
  if (Array.isArray(value)) return value.map(String).join(' ')
  const text = String(value)
  return /^(?:exchange|target|mname|rname|mbox|txt|replacement|signersName|nextDomain)$/.test(field)
    ? nameText(text)
    : text
}

/** The rcode's name, the extended bits of the OPT record included (RFC 6891). */
export function rcodeText(packet: DecodedPacket): string {
  const rcode = rcodeOf(packet)
  return RCODES[rcode] ?? String(rcode)
}

function rcodeOf(packet: DecodedPacket): number {
  const opt = packet.additionals?.find((record) => record.type === 'OPT')
  return ((packet.flags ?? 0) & 0xf) | ((opt?.extendedRcode ?? 0) << 4)
}

/** Names of the flags that are set: `qr aa rd ra`. */
export function flagsOf(packet: DecodedPacket): string[] {
  const { flag_aa, flag_tc, flag_rd, flag_ra, flag_ad, flag_cd } = packet
  const flags = { aa: flag_aa, tc: flag_tc, rd: flag_rd, ra: flag_ra, ad: flag_ad, cd: flag_cd }
  return ['qr', ...Object.entries(flags).flatMap(([name, isSet]) => (isSet ? [name] : []))]
}

/** Extended errors of a reply, in their order. */
export function extendedErrors(packet: DecodedPacket): ExtendedError[] {
  const opt = packet.additionals?.find((record) => record.type === 'OPT')
  return (opt?.options ?? []).flatMap((option) => {
    const data = 'data' in option ? option.data : undefined
    const number: number = option.code
    if (number !== 15 || !Buffer.isBuffer(data) || data.length < 2) return []
    const code = data.readUInt16BE(0)
    const words = printable(data.toString('utf8', 2))
    const name = EXTENDED_ERRORS[code] ?? `error ${code}`
    return [{ code, text: words === '' ? name : `${name}: ${words}` }]
  })
}

/** IANA's registry of extended DNS errors. */
const EXTENDED_ERRORS: Readonly<Record<number, string>> = {
  0: 'other error',
  3: 'stale answer',
  4: 'forged answer',
  6: 'DNSSEC bogus',
  9: 'DNSKEY missing',
  13: 'cached error',
  14: 'not ready',
  15: 'blocked',
  16: 'censored',
  17: 'filtered',
  18: 'prohibited',
  19: 'stale NXDOMAIN answer',
  20: 'not authoritative',
  21: 'not supported',
  22: 'no reachable authority',
  23: 'network error',
  24: 'invalid data',
  29: 'synthesized',
}
