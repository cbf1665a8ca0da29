import dnsPacket from 'dns-packet'
import { Type } from '../../src/dns/constants.ts'
import { nameToWire } from '../../src/dns/name.ts'

/** Pointer to the question's name. */
export const TO_QUESTION: Uint8Array = Uint8Array.of(0xc0, 12)

export interface WireRecord {
  /** Owner in wire format. */
  owner: Uint8Array
  type: number
  class: number
  ttl: number
  data: Uint8Array
}

export interface WireMessage {
  id?: number
  flags?: number
  /** Name as text, type and class (IN if not given). */
  questions?: [name: string, type: number, qclass?: number][]
  answers?: WireRecord[]
  authorities?: WireRecord[]
  additionals?: WireRecord[]
}

export function bytes(...parts: (Uint8Array | number)[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === 'number' ? Uint8Array.of(part) : part))))
}

export function u16(...values: number[]): Uint8Array {
  return Uint8Array.from(values.flatMap((value) => [value >>> 8, value & 0xff]))
}

export function u32(...values: number[]): Uint8Array {
  return bytes(...values.map((value) => u16(value >>> 16, value & 0xffff)))
}

export function wire(name: string): Uint8Array {
  const encoded = nameToWire(name)
  if (encoded === null) throw new Error(`no name: ${name}`)
  return encoded
}

/** A message in wire format, exactly as described: nothing is checked or compressed. */
export function message(parts: WireMessage): Uint8Array {
  const { questions = [], answers = [], authorities = [], additionals = [] } = parts
  const counts = [questions, answers, authorities, additionals].map((section) => section.length)
  return bytes(
    u16(parts.id ?? 0x1234, parts.flags ?? 0x0100, ...counts),
    ...questions.map(([name, type, qclass]) => bytes(wire(name), u16(type, qclass ?? 1))),
    ...[...answers, ...authorities, ...additionals].map(({ owner, type, class: qclass, ttl, data }) =>
      bytes(owner, u16(type, qclass), u32(ttl), u16(data.length), data),
    ),
  )
}

/** A record, of the question's name unless `owner` says otherwise (text or wire format). */
export function record(
  type: number,
  ttl: number,
  data: Uint8Array,
  owner: string | Uint8Array = TO_QUESTION,
): WireRecord {
  return { owner: typeof owner === 'string' ? wire(owner) : owner, type, class: 1, ttl, data }
}

/** An A record; `address` is its last byte in 192.0.2.0/24. */
export function a(address: number, ttl: number = 60, owner: string | Uint8Array = TO_QUESTION): WireRecord {
  return record(Type.A, ttl, Uint8Array.of(192, 0, 2, address), owner)
}

export function cname(target: string, ttl: number = 60, owner: string | Uint8Array = TO_QUESTION): WireRecord {
  return record(Type.CNAME, ttl, wire(target), owner)
}

export function soa(owner: string | Uint8Array, ttl: number, minimum: number): WireRecord {
  return record(Type.SOA, ttl, bytes(wire('ns.example'), wire('admin.example'), u32(1, 2, 3, 4, minimum)), owner)
}

export interface OptParts {
  payload?: number
  rcode?: number
  version?: number
  dnssecOk?: boolean
  options?: [code: number, data: Uint8Array][]
}

export function opt(parts: OptParts = {}): WireRecord {
  const { payload = 1232, rcode = 0, version = 0, dnssecOk = false, options = [] } = parts
  return {
    owner: Uint8Array.of(0),
    type: Type.OPT,
    class: payload,
    ttl: ((rcode << 24) | (version << 16) | (dnssecOk ? 0x8000 : 0)) >>> 0,
    data: bytes(...options.map(([code, data]) => bytes(u16(code, data.length), data))),
  }
}

/** A record as dns-packet reads it. */
export interface Decoded {
  name: string
  type: string
  class?: string
  ttl: number
  data: unknown
  extendedRcode?: number
  ednsVersion?: number
  udpPayloadSize?: number
  flag_do?: boolean
  options?: { code: number; data: Buffer }[]
}

export interface DecodedMessage {
  id: number
  rcode: number
  flags: number
  questions: { name: string; type: string; class: string }[]
  answers: Decoded[]
  authorities: Decoded[]
  additionals: Decoded[]
  aa: boolean
  tc: boolean
  rd: boolean
  ra: boolean
  ad: boolean
  cd: boolean
  opt: Decoded | null
  /** Info-code of an extended error. */
  ede: number | null
}

/** Its types know fewer record types than it reads. */
// oxlint-disable-next-line typescript/no-explicit-any
const decodeLoosely: (packet: Buffer) => any = dnsPacket.decode

/** Decodes with dns-packet, and throws if a byte is left over. */
export function decode(packet: Uint8Array): DecodedMessage {
  const buffer = Buffer.from(packet)
  const read: Pick<DecodedMessage, 'id' | 'questions' | 'answers' | 'authorities' | 'additionals'> =
    decodeLoosely(buffer)
  if (dnsPacket.decode.bytes !== buffer.length) {
    throw new Error(`${buffer.length - dnsPacket.decode.bytes} bytes behind the message`)
  }
  const flags = buffer.readUInt16BE(2)
  const found = read.additionals.find((one) => one.type === 'OPT') ?? null
  const ede = found?.options?.find(({ code }) => code === 15)
  const bit = (mask: number): boolean => (flags & mask) !== 0
  return {
    id: read.id,
    rcode: (flags & 15) | ((found?.extendedRcode ?? 0) << 4),
    flags,
    questions: read.questions,
    answers: read.answers,
    authorities: read.authorities,
    additionals: read.additionals,
    aa: bit(0x400),
    tc: bit(0x200),
    rd: bit(0x100),
    ra: bit(0x80),
    ad: bit(0x20),
    cd: bit(0x10),
    opt: found,
    ede: ede ? ede.data.readUInt16BE(0) : null,
  }
}
