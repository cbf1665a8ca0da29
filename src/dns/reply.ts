/**
 * Writing replies in place. All functions take the buffer and an absolute offset and return the offset after what they
 * wrote; the caller has made sure of the room. Nothing is allocated.
 */
import { EdnsOption, Flag, HEADER_BYTES, Rcode, Type } from './constants.ts'
import type { Query } from './query.ts'

/** Bytes of an OPT record without options. */
export const OPT_BYTES = 11
/** Bytes of an option's code and length. */
export const OPTION_HEAD_BYTES = 4
/** Bytes of an extended error without text. */
export const EDE_BYTES = 6

/** Writes 16 bits in network byte order. */
export function writeU16(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 8
  out[at + 1] = value
  return at + 2
}

/** Writes 32 bits in network byte order. */
export function writeU32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
  return at + 4
}

/** Reads 16 bits in network byte order, unsigned. */
export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}

/** Reads 32 bits in network byte order, unsigned. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

/** Copies `length` bytes. A loop beats `set(subarray())` up to about 100 bytes, which most names and answers have. */
export function copyBytes(from: Uint8Array, at: number, length: number, to: Uint8Array, toAt: number): void {
  if (length > 128) {
    to.set(from.subarray(at, at + length), toAt)
    return
  }
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i]!
}

/**
 * Writes header and question of a reply: id, RD and CD (RFC 4035 §3.2.2) and the question's own bytes from the query,
 * RA always. `flags` adds AA, AD and the rcode's low bits. Section counts are zero but the question's.
 */
export function beginReply(query: Query, flags: number, out: Uint8Array, at: number): number {
  const { packet } = query
  const length = query.questionEnd - query.at
  const word = Flag.QR | Flag.RA | flags | (query.flags & (Flag.OPCODE | Flag.RD | Flag.CD))
  out[at] = query.id >>> 8
  out[at + 1] = query.id
  out[at + 2] = word >>> 8
  out[at + 3] = word
  out[at + 4] = 0
  out[at + 5] = length > 0 ? 1 : 0
  for (let i = 6; i < HEADER_BYTES; i++) out[at + i] = 0
  if (length <= HEADER_BYTES) return at + HEADER_BYTES
  copyBytes(packet, query.at + HEADER_BYTES, length - HEADER_BYTES, out, at + HEADER_BYTES)
  return at + length
}

/** Sets the number of answer, authority and additional records of the message at `start`. */
export function setCounts(
  out: Uint8Array,
  start: number,
  answers: number,
  authorities: number,
  additionals: number,
): void {
  writeU16(out, start + 6, answers)
  writeU16(out, start + 8, authorities)
  writeU16(out, start + 10, additionals)
}

/** Writes owner pointer, type, class IN, TTL and RDLENGTH of a record. `owner`: offset of its name in the message. */
export function writeRecordHead(
  out: Uint8Array,
  at: number,
  owner: number,
  type: number,
  ttlSeconds: number,
  dataLength: number,
): number {
  const pointer = 0xc000 | owner
  out[at] = pointer >>> 8
  out[at + 1] = pointer
  out[at + 2] = type >>> 8
  out[at + 3] = type
  out[at + 4] = 0
  out[at + 5] = 1
  out[at + 6] = ttlSeconds >>> 24
  out[at + 7] = ttlSeconds >>> 16
  out[at + 8] = ttlSeconds >>> 8
  out[at + 9] = ttlSeconds
  out[at + 10] = dataLength >>> 8
  out[at + 11] = dataLength
  return at + 12
}

/** Offset of the question's name in every message. */
export const QUESTION_NAME = 12

/**
 * Writes an OPT record without options (RFC 6891 §6.1.2): our payload size, the high bits of `rcode` and the DO bit.
 */
export function writeOpt(out: Uint8Array, at: number, payloadSize: number, rcode: number, dnssecOk: boolean): number {
  out[at] = 0
  out[at + 1] = 0
  out[at + 2] = Type.OPT
  out[at + 3] = payloadSize >>> 8
  out[at + 4] = payloadSize
  out[at + 5] = rcode >>> 4
  out[at + 6] = 0
  out[at + 7] = dnssecOk ? 0x80 : 0
  out[at + 8] = 0
  out[at + 9] = 0
  out[at + 10] = 0
  return at + OPT_BYTES
}

/** Adds an option of `length` bytes to the OPT record at `opt`, which ends at `at`. */
export function addOption(
  out: Uint8Array,
  opt: number,
  at: number,
  code: number,
  data: Uint8Array,
  dataAt: number,
  length: number,
): number {
  writeU16(out, at, code)
  writeU16(out, at + 2, length)
  copyBytes(data, dataAt, length, out, at + OPTION_HEAD_BYTES)
  const end = at + OPTION_HEAD_BYTES + length
  writeU16(out, opt + 9, end - opt - OPT_BYTES)
  return end
}

/** Adds an extended error without text (RFC 8914 §2) to the OPT record at `opt`, which ends at `at`. */
export function addExtendedError(out: Uint8Array, opt: number, at: number, ede: number): number {
  writeU16(out, at, EdnsOption.EDE)
  writeU16(out, at + 2, 2)
  writeU16(out, at + 4, ede)
  writeU16(out, opt + 9, at + EDE_BYTES - opt - OPT_BYTES)
  return at + EDE_BYTES
}

/** Adds text to the extended error that `addExtendedError` has just added to the OPT record at `opt` (RFC 8914 §2, EXTRA-TEXT, UTF-8). */
export function addExtraText(out: Uint8Array, opt: number, at: number, text: Uint8Array): number {
  copyBytes(text, 0, text.length, out, at)
  writeU16(out, at - 4, 2 + text.length)
  const end = at + text.length
  writeU16(out, opt + 9, end - opt - OPT_BYTES)
  return end
}

/** The low four bits of an rcode, as the header carries them. */
export function headerRcode(rcode: number): number {
  return rcode & Flag.RCODE
}

/** The rcode in the header of the message at `start`. */
export function rcodeOf(out: Uint8Array, start: number): number {
  return out[start + 3]! & Flag.RCODE
}

/** True for the rcodes after which a forwarder asks another server. */
export function isServerFailure(rcode: number): boolean {
  return rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED || rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP
}
