/**
 * Records in presentation format (RFC 1035 §5.1), of the types that rules and response policy zones give as answers: from
 * words to the data's wire format. Names are written out: nothing is compressed.
 *
 * ```
 *  a set of records   u8 count │ { u16 type │ u32 TTL │ u16 length │ data } …
 * ```
 */
import { parseAddress } from '../dns/address.ts'
import { Type } from '../dns/constants.ts'
import { nameToWire } from '../dns/name.ts'

/** Record types by their names, as rules and zones write them. */
const TYPE_CODES: Readonly<Record<string, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  DNAME: 39,
  DS: 43,
  DNSKEY: 48,
  TLSA: 52,
  SVCB: 64,
  HTTPS: 65,
  ANY: 255,
  CAA: 257,
}
/** Types that an answer may have. */
const ANSWER_TYPES = 'A, AAAA, CNAME, TXT, PTR, MX, SRV'
/** Bytes of a set before its records, and of a record before its data. */
export const SET_HEAD = 1
export const RECORD_HEAD = 8
/** Records of one set. */
const MOST_RECORDS = 255
/** A set must fit into a message beside the longest question. */
const MOST_SET_BYTES = 60_000
const MAX_STRING = 255

/** A record without its owner. `ttlSeconds` null: the rule's own. */
export interface RecordData {
  type: number
  ttlSeconds: number | null
  data: Uint8Array
}

/** A value, or what is wrong with the text and what to write instead, in one line. */
export type ReadText<T> = { value: T } | { reason: string }

/** Code of a type name (`AAAA`, or `TYPE65280` as in RFC 3597 §5), null if there is none. */
export function typeCode(text: string): number | null {
  const upper = text.toUpperCase()
  if (Object.hasOwn(TYPE_CODES, upper)) return TYPE_CODES[upper]!
  const number = /^TYPE(\d{1,5})$/.exec(upper)?.[1]
  return number !== undefined && Number(number) > 0 && Number(number) <= 65_535 ? Number(number) : null
}

/** A type's name, `TYPE65280` for one without. */
export function typeName(code: number): string {
  return Object.keys(TYPE_CODES).find((name) => TYPE_CODES[name] === code) ?? `TYPE${code}`
}

/** Reads `192.0.2.1`, `2001:db8::1` or `TYPE DATA`, such as `MX 10 mail.example` and `TXT "some words"`. */
export function readRecord(text: string): ReadText<RecordData> {
  const words = wordsOf(text)
  if (words === null) return { reason: `${shown(text)} has a quotation mark without its other one` }
  const address = words.length === 1 ? addressOf(words[0]!) : null
  if (address !== null) {
    return { value: { type: address.length === 4 ? Type.A : Type.AAAA, ttlSeconds: null, data: address } }
  }
  const [type = '', ...data] = words
  const code = words.length < 2 ? null : typeCode(type)
  if (code === null) {
    return { reason: `${shown(text)} is no record; write an address, or TYPE DATA, such as CNAME other.example` }
  }
  const read = readData(code, data, '')
  return 'reason' in read ? read : { value: { type: code, ttlSeconds: null, data: read.value } }
}

/** Reads the data of a record of this type. `origin`: what relative names get appended, without dots at its ends; empty: the root. */
export function readData(type: number, words: readonly string[], origin: string): ReadText<Uint8Array> {
  const name = typeName(type)
  const [first = '', second = '', third = '', fourth = ''] = words
  const wants = (count: number, example: string): ReadText<never> | null =>
    words.length === count ? null : { reason: `${name} takes ${example}, not ${shown(words.join(' '))}` }
  switch (type) {
    case Type.A:
    case Type.AAAA: {
      const address = addressOf(first)
      const isWanted = words.length === 1 && address !== null && address.length === (type === Type.A ? 4 : 16)
      return isWanted ? { value: address } : { reason: `${shown(words.join(' '))} is no address of type ${name}` }
    }
    case Type.CNAME:
    case Type.PTR:
      return wants(1, 'a name') ?? nameData(first, origin, [])
    case Type.MX: {
      const preference = sixteenBits(first)
      return (
        wants(2, 'PREFERENCE NAME') ?? (preference === null ? notANumber(first) : nameData(second, origin, preference))
      )
    }
    case Type.SRV: {
      const numbers = [first, second, third].map(sixteenBits)
      const wrong = numbers.indexOf(null)
      const fault = wants(4, 'PRIORITY WEIGHT PORT NAME') ?? (wrong < 0 ? null : notANumber(words[wrong]!))
      return (
        fault ??
        nameData(
          fourth,
          origin,
          numbers.flatMap((number) => number ?? []),
        )
      )
    }
    case Type.TXT:
      return textData(words)
    default:
      return { reason: `${name} records cannot be given as an answer; there are ${ANSWER_TYPES}` }
  }
}

/** The bytes of a set of records, see the head of this file; `ttlSeconds`: of records without one of their own. */
export function encodeRecords(records: readonly RecordData[], ttlSeconds: number): Uint8Array {
  const out = new Uint8Array(records.reduce((sum, { data }) => sum + RECORD_HEAD + data.length, SET_HEAD))
  const view = new DataView(out.buffer)
  out[0] = records.length
  let at = SET_HEAD
  for (const record of records) {
    view.setUint16(at, record.type)
    view.setUint32(at + 2, record.ttlSeconds ?? ttlSeconds)
    view.setUint16(at + 6, record.data.length)
    out.set(record.data, at + RECORD_HEAD)
    at += RECORD_HEAD + record.data.length
  }
  return out
}

/** What is wrong with records as one name's answer, null if nothing is. */
export function recordsFault(records: readonly RecordData[]): string | null {
  if (records.length === 0) return 'must have at least one record'
  if (records.length > MOST_RECORDS) return `must have at most ${MOST_RECORDS} records`
  if (records.length > 1 && records.some(({ type }) => type === Type.CNAME))
    return 'has a CNAME beside other records; a name with a CNAME has nothing else (RFC 1034 §3.6.2)'
  const bytes = records.reduce((sum, { data }) => sum + RECORD_HEAD + data.length, 0)
  return bytes > MOST_SET_BYTES ? `must have at most ${MOST_SET_BYTES} bytes` : null
}

/**
 * The words of a line: between spaces and tabs, or in quotation marks, where `\` keeps the next character. A word in quotation
 * marks keeps its first one, so that it can be told apart. Null if a quotation mark is not closed.
 */
export function wordsOf(line: string): string[] | null {
  // Most lines of most zones.
  if (!/["\\]/.test(line)) return line.split(/[ \t]+/).filter((word) => word !== '')
  const words: string[] = []
  let at = 0
  while (at < line.length) {
    if (line[at] === ' ' || line[at] === '\t') {
      at++
      continue
    }
    const from = at
    const isQuoted = line[at] === '"'
    if (isQuoted) at++
    while (at < line.length && (isQuoted ? line[at] !== '"' : line[at] !== ' ' && line[at] !== '\t')) {
      at += line[at] === '\\' ? 2 : 1
    }
    if (isQuoted && at >= line.length) return null
    words.push(line.slice(from, at))
    if (isQuoted) at++
  }
  return words
}

/** 4 or 16 bytes, null for what is no address. */
export function addressOf(text: string): Uint8Array | null {
  if (text.length > 45) return null
  const ascii = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) ascii[i] = Math.min(0xff, text.charCodeAt(i))
  const bytes = new Uint8Array(16)
  const length = parseAddress(ascii, 0, ascii.length, bytes, 0)
  return length === 0 ? null : bytes.slice(0, length)
}

function nameData(text: string, origin: string, before: readonly number[]): ReadText<Uint8Array> {
  const whole = text === '@' ? `${origin}.` : text.endsWith('.') || origin === '' ? text : `${text}.${origin}`
  const wire = nameToWire(whole.toLowerCase())
  if (wire === null) return { reason: `${shown(text)} is no domain name` }
  return { value: Uint8Array.from([...before, ...wire]) }
}

function textData(words: readonly string[]): ReadText<Uint8Array> {
  if (words.length === 0) return { reason: 'TXT takes at least one text' }
  const strings = words.map((word) => unescaped(word.startsWith('"') ? word.slice(1) : word))
  const long = strings.findIndex((bytes) => bytes.length > MAX_STRING)
  if (long >= 0) return { reason: `${shown(words[long]!)} is over ${MAX_STRING} bytes; write it as several texts` }
  return { value: Uint8Array.from(strings.flatMap((bytes) => [bytes.length, ...bytes])) }
}

/** The bytes of a text with its escapes `\X` and `\DDD`. */
function unescaped(text: string): number[] {
  const bytes = new TextEncoder().encode(text)
  const out: number[] = []
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== 0x5c) {
      out.push(bytes[i]!)
      continue
    }
    const digits = new TextDecoder().decode(bytes.subarray(i + 1, i + 4))
    if (/^\d{3}$/.test(digits) && Number(digits) < 256) {
      out.push(Number(digits))
      i += 3
    } else if (i + 1 < bytes.length) out.push(bytes[++i]!)
  }
  return out
}

function sixteenBits(text: string): [number, number] | null {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 65_536
  return number > 65_535 ? null : [number >> 8, number & 0xff]
}

function notANumber(text: string): { reason: string } {
  return { reason: `${shown(text)} is no number from 0 to 65535` }
}

/** The text in quotation marks on one line, cut when it is long. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text)
}
