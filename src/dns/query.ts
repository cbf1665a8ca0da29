/**
 * Reading a query: header, question and EDNS, each checked in the order of the field's rules, into an object that is
 * made once and overwritten by the next query.
 *
 * ```
 *   0   id            2   flags          4   QDCOUNT  6 ANCOUNT  8 NSCOUNT  10 ARCOUNT
 *  12   QNAME … QTYPE QCLASS
 *       OPT: 0 | 41 | payload size | ext. rcode, version, DO | RDLENGTH | { code, length, data } …
 * ```
 */
import { CLASS_IN, EdnsOption, Flag, HEADER_BYTES, MIN_UDP_PAYLOAD, Rcode, Type } from './constants.ts'
import { ScannedName, scanName, skipName } from './name.ts'

/** What `readQuery` returns: OK, DROP_* for a packet that gets no reply, or the rcode (0 or more) of an error reply. */
export const Verdict: { readonly OK: -1; readonly DROP_RUNT: -2; readonly DROP_RESPONSE: -3 } = {
  OK: -1,
  DROP_RUNT: -2,
  DROP_RESPONSE: -3,
}

/** A query as `readQuery` left it. Offsets are absolute in `packet`, which stays the driver's. */
export class Query {
  packet: Uint8Array = new Uint8Array(0)
  at = 0
  end = 0
  id = 0
  flags = 0
  readonly name: ScannedName = new ScannedName()
  type = 0
  class = 0
  /** Offset after the question; `at` if there is no readable question. */
  questionEnd = 0
  hasEdns = false
  ednsVersion = 0
  /** The client's own limit for UDP, at least 512. */
  payloadSize: number = MIN_UDP_PAYLOAD
  dnssecOk = false
  /** Offset of a COOKIE option's data, 0 if there is none (RFC 7873). */
  cookieAt = 0
  cookieLength = 0
}

/**
 * Reads the packet of `length` bytes at `at`. Returns Verdict.OK, a verdict to drop it, or an rcode. Whatever was read
 * before a fault stays in `query`, so that an error reply can repeat the question and the OPT.
 *
 * Bytes after the last record are ignored, as Istio's agent does: they harm nobody here.
 */
export function readQuery(packet: Uint8Array, at: number, length: number, seed: number, query: Query): number {
  const end = at + length
  query.packet = packet
  query.at = at
  query.end = end
  query.questionEnd = at
  query.hasEdns = false
  query.ednsVersion = 0
  query.payloadSize = MIN_UDP_PAYLOAD
  query.dnssecOk = false
  query.cookieAt = 0
  query.type = 0
  if (length < HEADER_BYTES) return Verdict.DROP_RUNT
  const flags = (packet[at + 2]! << 8) | packet[at + 3]!
  query.id = (packet[at]! << 8) | packet[at + 1]!
  query.flags = flags
  if ((flags & Flag.QR) !== 0) return Verdict.DROP_RESPONSE
  if ((flags & Flag.OPCODE) !== 0) {
    seekOpt(query)
    return Rcode.NOTIMP
  }
  const questions = (packet[at + 4]! << 8) | packet[at + 5]!
  const additional = (packet[at + 10]! << 8) | packet[at + 11]!
  if (questions !== 1) {
    // Without a question the additional section starts at once: a COOKIE there makes it a legal query (RFC 7873 §5.4).
    const lone =
      questions === 0 && packet[at + 7] === 0 && packet[at + 6] === 0 && packet[at + 8] === 0 && packet[at + 9] === 0
    if (!lone) seekOpt(query)
    if (!lone || readAdditional(query, at + HEADER_BYTES, additional) !== Verdict.OK) return Rcode.FORMERR
    return query.cookieAt > 0 ? Verdict.OK : Rcode.FORMERR
  }
  const nameEnd = scanName(packet, at + HEADER_BYTES, end, seed, query.name)
  if (nameEnd < 0 || nameEnd + 4 > end) {
    seekOpt(query)
    return Rcode.FORMERR
  }
  query.type = (packet[nameEnd]! << 8) | packet[nameEnd + 1]!
  query.class = (packet[nameEnd + 2]! << 8) | packet[nameEnd + 3]!
  query.questionEnd = nameEnd + 4
  const sections = packet[at + 6]! | packet[at + 7]! | packet[at + 8]! | packet[at + 9]!
  if (sections !== 0) seekOpt(query)
  else if (additional > 0) {
    const fault = readAdditional(query, query.questionEnd, additional)
    if (fault !== Verdict.OK) return fault
  }
  if (query.class !== CLASS_IN) return Rcode.REFUSED
  if (query.type === Type.AXFR || query.type === Type.IXFR) return Rcode.REFUSED
  if (sections !== 0 || query.type === Type.OPT || query.type === 0) return Rcode.FORMERR
  return query.ednsVersion > 0 ? Rcode.BADVERS : Verdict.OK
}

/**
 * Looks for the OPT of a message that is no ordinary query, as far as that can be read: the reply is to have one too
 * (RFC 6891 §6.1.1).
 */
function seekOpt(query: Query): void {
  const { packet, at, end } = query
  let i = at + HEADER_BYTES
  for (let k = (packet[at + 4]! << 8) | packet[at + 5]!; k > 0; k--) {
    i = skipName(packet, i, end)
    if (i < 0 || i + 4 > end) return
    i += 4
  }
  const records = ((packet[at + 6]! + packet[at + 8]!) << 8) + packet[at + 7]! + packet[at + 9]!
  for (let k = 0; k < records; k++) {
    i = skipName(packet, i, end)
    if (i < 0 || i + 10 > end) return
    i += 10 + ((packet[i + 8]! << 8) | packet[i + 9]!)
    if (i > end) return
  }
  readAdditional(query, i, (packet[at + 10]! << 8) | packet[at + 11]!)
}

/** Finds the OPT record among `count` additional records; two, or one below another name than the root, are FORMERR. */
function readAdditional(query: Query, at: number, count: number): number {
  const { packet, end } = query
  let i = at
  for (let k = 0; k < count; k++) {
    const owner = i
    i = skipName(packet, i, end)
    if (i < 0 || i + 10 > end) return Rcode.FORMERR
    const type = (packet[i]! << 8) | packet[i + 1]!
    const dataLength = (packet[i + 8]! << 8) | packet[i + 9]!
    const data = i + 10
    if (data + dataLength > end) return Rcode.FORMERR
    if (type === Type.OPT) {
      if (query.hasEdns || packet[owner] !== 0) return Rcode.FORMERR
      query.hasEdns = true
      query.payloadSize = Math.max(MIN_UDP_PAYLOAD, (packet[i + 2]! << 8) | packet[i + 3]!)
      query.ednsVersion = packet[i + 5]!
      query.dnssecOk = (packet[i + 6]! & 0x80) !== 0
      // Options of a version that we do not know are not ours to read (RFC 6891 §6.1.3).
      if (query.ednsVersion === 0 && dataLength > 0 && !readOptions(query, data, data + dataLength))
        return Rcode.FORMERR
    }
    i = data + dataLength
  }
  return Verdict.OK
}

/** Reads the OPT's options; false if one runs past the end or a cookie has an impossible length (RFC 7873 §5.2.2). */
function readOptions(query: Query, at: number, end: number): boolean {
  const { packet } = query
  let i = at
  while (i < end) {
    if (i + 4 > end) return false
    const code = (packet[i]! << 8) | packet[i + 1]!
    const length = (packet[i + 2]! << 8) | packet[i + 3]!
    i += 4
    if (i + length > end) return false
    if (code === EdnsOption.COOKIE && query.cookieAt === 0) {
      if (length !== 8 && (length < 16 || length > 40)) return false
      query.cookieAt = i
      query.cookieLength = length
    }
    i += length
  }
  return true
}

/** Opcode of the query read last. */
export function opcodeOf(query: Query): number {
  return (query.flags & Flag.OPCODE) >> 11
}
