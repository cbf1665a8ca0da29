/**
 * The fields of a record's data, for the types that have names in their data. Whoever copies such a record must write out, or
 * compress anew, the names that a server compressed (RFC 3597 §4). A record whose names point nowhere is malformed. The data
 * of all other types are opaque bytes (RFC 3597 §3).
 *
 * ```
 *  SRV     6 bytes │ name                  RRSIG   18 bytes │ name │ any bytes
 *  NAPTR   4 bytes │ string │ string │ string │ name
 * ```
 */
import { Type } from './constants.ts'

/** Kinds of fields; a smaller number is a field of that many bytes. ANY and PARAMS are the last field of their data. */
export const Field = { NAME: 255, STRING: 254, ANY: 253, PARAMS: 252 } as const

const { NAME, STRING, ANY, PARAMS } = Field
const FIELDS: (Uint8Array | undefined)[] = []
const OPAQUE: Uint8Array = new Uint8Array(0)
/** Types whose names may be compressed: those of RFC 1035 §3.3 (RFC 3597 §4), which all software knows. */
const MAY_COMPRESS: Set<number> = new Set()

function define(types: readonly number[], isCompressible: boolean, ...fields: number[]): void {
  for (const type of types) {
    FIELDS[type] = Uint8Array.from(fields)
    if (isCompressible) MAY_COMPRESS.add(type)
  }
}

define([Type.A], false, 4)
define([Type.AAAA], false, 16)
// NS, MD, MF, CNAME, MB, MG, MR, PTR.
define([Type.NS, 3, 4, Type.CNAME, 7, 8, 9, Type.PTR], true, NAME)
// Serial, refresh, retry, expire, minimum.
define([Type.SOA], true, NAME, NAME, 20)
// MINFO.
define([14], true, NAME, NAME)
define([Type.MX], true, 2, NAME)
// NSAP-PTR, DNAME.
define([23, Type.DNAME], false, NAME)
// RP, TALINK.
define([17, 58], false, NAME, NAME)
// AFSDB, RT, KX, LP.
define([18, 21, 36, 107], false, 2, NAME)
// PX.
define([26], false, 2, NAME, NAME)
define([Type.SRV], false, 6, NAME)
// NAPTR.
define([35], false, 4, STRING, STRING, STRING, NAME)
// SIG, RRSIG.
define([24, Type.RRSIG], false, 18, NAME, ANY)
// NXT, NSEC.
define([30, Type.NSEC], false, NAME, ANY)
define([Type.SVCB, Type.HTTPS], false, 2, NAME, PARAMS)
// DSYNC.
define([66], false, 5, NAME)

/** The fields of a type's data; none for data that are opaque. */
export function fieldsOf(type: number): Uint8Array {
  return FIELDS[type] ?? OPAQUE
}

/** True if a sender may compress the names in data of this type. */
export function mayCompress(type: number): boolean {
  return MAY_COMPRESS.has(type)
}

/** True if the service parameters from `at` to `end` (RFC 9460 §2.2: key, length, value) are whole, their keys in order. */
export function areParamsSound(packet: Uint8Array, at: number, end: number): boolean {
  let last = -1
  let from = at
  while (from < end) {
    if (from + 4 > end) return false
    const key = (packet[from]! << 8) | packet[from + 1]!
    if (key <= last) return false
    last = key
    from += 4 + ((packet[from + 2]! << 8) | packet[from + 3]!)
  }
  return from === end
}
