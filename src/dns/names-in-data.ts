/**
 * Which types have names in their data that a server may compress, so that whoever moves such a record must write them
 * out (RFC 3597 §4): those of RFC 1035 §3.3, and the later ones that were compressed before that was forbidden. SIG, NXT
 * and NAPTR are left out: no server has compressed them in this century.
 */
import { Type } from './constants.ts'

const NONE = 0xff
/** Bytes before the first name, by type. */
const BEFORE: Uint8Array = new Uint8Array(Type.DNAME + 1).fill(NONE)
const MD = 3
const MF = 4
const MB = 7
const MG = 8
const MR = 9
const MINFO = 14
const RP = 17
const AFSDB = 18
const RT = 21
const PX = 26
for (const type of [Type.NS, MD, MF, Type.CNAME, Type.SOA, MB, MG, MR, Type.PTR, MINFO, RP, Type.DNAME])
  BEFORE[type] = 0
for (const type of [Type.MX, AFSDB, RT, PX]) BEFORE[type] = 2
BEFORE[Type.SRV] = 6

/** Bytes of the data before its first name that may be compressed; -1 if there is none in data of this type. */
export function bytesBeforeNames(type: number): number {
  return type > Type.DNAME || BEFORE[type] === NONE ? -1 : BEFORE[type]!
}

/** How many such names follow one another. */
export function namesInData(type: number): number {
  return type === Type.SOA || type === MINFO || type === RP || type === PX ? 2 : 1
}
