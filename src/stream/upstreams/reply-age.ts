/** Answers that come out of an HTTP cache: they have aged there (RFC 8484 §5.1). */
import { HEADER_BYTES, Type } from '../../dns/constants.ts'
import { skipName } from '../../dns/name.ts'
import { readU16, readU32, writeU32 } from '../../dns/reply.ts'

/** Type, class, TTL and length of a record, behind its owner. */
const FIXED_BYTES = 10
const TYPE_AND_CLASS = 4
const MINIMUM_BYTES = 4
/** A TTL above counts as 0 (RFC 2181 §8); an age above as this (RFC 9111 §1.2.2). */
const MOST_SECONDS = 0x7fff_ffff

/** Seconds of an `Age` header (RFC 9111 §5.1); 0 if there is none, or it is no number. */
export function ageSecondsOf(header: string | undefined): number {
  return header !== undefined && /^\d+$/.test(header) ? Math.min(Number(header), MOST_SECONDS) : 0
}

/**
 * Takes `ageSeconds` from the TTL of every record but an OPT, in place. An SOA in the authority section loses it from
 * the least of TTL and MINIMUM, which is what a negative answer lives for (RFC 2308 §5). A malformed reply is left from
 * where it is so: whoever reads it finds that out.
 */
export function ageReply(reply: Uint8Array, ageSeconds: number): void {
  if (ageSeconds === 0 || reply.length < HEADER_BYTES) return
  const end = reply.length
  let at = HEADER_BYTES
  for (let left = readU16(reply, 4); left > 0; left--) {
    at = skipName(reply, at, end) + TYPE_AND_CLASS
    if (at < HEADER_BYTES || at > end) return
  }
  const answers = readU16(reply, 6)
  const authorities = answers + readU16(reply, 8)
  const records = authorities + readU16(reply, 10)
  for (let k = 0; k < records; k++) {
    const fixed = skipName(reply, at, end)
    if (fixed < 0 || fixed + FIXED_BYTES > end) return
    const type = readU16(reply, fixed)
    const length = readU16(reply, fixed + 8)
    at = fixed + FIXED_BYTES + length
    if (at > end) return
    if (type === Type.OPT) continue
    const ttlAt = fixed + 4
    let ttl = readU32(reply, ttlAt)
    const isAuthority = k >= answers && k < authorities
    if (type === Type.SOA && isAuthority && length >= MINIMUM_BYTES)
      ttl = Math.min(ttl, readU32(reply, at - MINIMUM_BYTES))
    writeU32(reply, ttlAt, ttl > MOST_SECONDS ? 0 : Math.max(0, ttl - ageSeconds))
  }
}
