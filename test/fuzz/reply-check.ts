/** Whether a reply is sound, by two parsers that are not ours, fits its limit, and contradicts neither itself nor its query. */
import dnsPacket from 'dns-packet'
import type { Asked } from './asked.ts'
import { SecondParser } from './second-parser.ts'

const QR = 0x8000
const TC = 0x0200
const RA = 0x0080
const Z = 0x0040
const AD = 0x0020
/** Opcode, RD, CD: copied from the query. */
const COPIED = 0x7800 | 0x0100 | 0x0010
const OPCODE = 0x7800
const FORMERR = 1
const NOTIMP = 4
const REFUSED = 5
/** The code, and the text of a rule with the longest id. */
const MOST_EDE_BYTES = 2 + 5 + 64
const BADVERS = 16
/** Replies with these have nothing to say. */
const EMPTY: ReadonlySet<number> = new Set([FORMERR, 2, NOTIMP, REFUSED, BADVERS])
const NO_TYPE = 65_280
/** Types whose data byname reads itself, and so must be sound for anybody. */
const READ_BY_US: ReadonlySet<number> = new Set([1, 2, 5, 6, 12, 15, 28, 33, 39, 41])
const SEEN_SLOTS = 1 << 18

export class ReplyCheck {
  readonly parser: SecondParser = new SecondParser()
  /** Replies that dns-packet was spared, because they were read before but for their id; those it read only with opaque types renamed. */
  repeated = 0
  renamed = 0
  /** Two hashes of each reply that dns-packet has read; later ones replace earlier ones. */
  readonly #seen: Int32Array = new Int32Array(SEEN_SLOTS * 2)
  readonly #scratch: Buffer = Buffer.alloc(65_536)

  /** Null, or what is wrong with the reply of `length` bytes at `at`. */
  check(asked: Asked, bytes: Uint8Array, at: number, length: number): string | null {
    if (length > asked.limit) return `a reply of ${length} bytes, the limit is ${asked.limit}`
    const { parser } = this
    const fault = parser.read(bytes, at, length)
    if (fault !== null) return `malformed: ${fault}`
    return contradiction(asked, parser, bytes, at) ?? this.#readOtherwise(bytes, at, length)
  }

  /** dns-packet's opinion. */
  #readOtherwise(bytes: Uint8Array, at: number, length: number): string | null {
    if (this.#isRepeated(bytes, at, length)) return null
    const packet = this.#scratch.subarray(0, length)
    packet.set(bytes.subarray(at, at + length))
    const fault = decodeFault(packet, this.parser)
    if (fault === null) return null
    // Data of types that we pass on unread (RFC 3597 §3) may be whatever the server made of it: their frame must be right.
    const { records, types, typeAt } = this.parser
    let isRenamed = false
    for (let r = 0; r < records; r++) {
      if (READ_BY_US.has(types[r]!)) continue
      packet.writeUInt16BE(NO_TYPE, typeAt[r])
      isRenamed = true
    }
    this.renamed++
    return isRenamed ? decodeFault(packet, this.parser) : fault
  }

  #isRepeated(bytes: Uint8Array, at: number, length: number): boolean {
    let a = 0x811c9dc5
    let b = length
    for (let i = at + 2; i < at + length; i++) {
      a = Math.imul(a ^ bytes[i]!, 0x01000193)
      b = Math.imul(b + bytes[i]!, 0x9e3779b1) ^ (b >>> 15)
    }
    const slot = ((a ^ (a >>> 15)) & (SEEN_SLOTS - 1)) * 2
    if (this.#seen[slot] === (a | 0) && this.#seen[slot + 1] === (b | 0)) {
      this.repeated++
      return true
    }
    this.#seen[slot] = a
    this.#seen[slot + 1] = b
    return false
  }
}

function decodeFault(packet: Buffer, parser: SecondParser): string | null {
  try {
    const read = dnsPacket.decode(packet)
    const counted = [read.answers, read.authorities, read.additionals].map((section) => section!.length)
    if (counted.some((count, k) => count !== parser.counts[k])) return `dns-packet counts ${counted.join(', ')} records`
    if (read.id !== parser.id || read.questions!.length !== parser.questions) return 'dns-packet reads another header'
    return dnsPacket.decode.bytes === packet.length
      ? null
      : `dns-packet leaves ${packet.length - dnsPacket.decode.bytes} bytes over`
  } catch (error) {
    return `dns-packet: ${error instanceof Error ? error.message : String(error)}`
  }
}

function contradiction(asked: Asked, reply: SecondParser, bytes: Uint8Array, at: number): string | null {
  const { flags, rcode, counts } = reply
  if (reply.id !== asked.id) return `id ${reply.id}, the query's is ${asked.id}`
  if ((flags & QR) === 0) return 'not a response'
  if ((flags & COPIED) !== (asked.flags & COPIED)) return `flags ${flags.toString(16)} to ${asked.flags.toString(16)}`
  if ((flags & RA) === 0) return 'RA is not set'
  if ((flags & Z) !== 0) return 'Z is set'
  if ((flags & AD) !== 0 && (asked.flags & AD) === 0 && !asked.dnssecOk) return 'AD, for which nobody asked'
  if (reply.questions > 1) return `${reply.questions} questions`
  if (reply.questions === 1) {
    const length = reply.questionEnd - reply.questionAt
    if (length !== asked.questionLength) return 'a question that was not asked'
    for (let i = 0; i < length; i++)
      if (bytes[at + reply.questionAt + i] !== asked.question[i]) return 'another question than the one asked'
  } else if (asked.questionLength > 0 && (flags & OPCODE) === 0) return 'the question is missing'
  const records = counts[0]! + counts[1]! + counts[2]!
  const own = reply.hasOpt ? 1 : 0
  if (EMPTY.has(rcode) && records !== own) return `rcode ${rcode} with ${records - own} records`
  if ((flags & TC) !== 0 && EMPTY.has(rcode)) return `TC with rcode ${rcode}`
  if (records > own && reply.questions === 0) return 'an answer to no question'
  if (reply.behindOpt > 0) return 'records behind the OPT'
  return optContradiction(asked, reply) ?? rcodeContradiction(asked, reply)
}

function optContradiction(asked: Asked, reply: SecondParser): string | null {
  if (!reply.hasOpt) return asked.owesOpt && !asked.isCut ? 'no OPT to a query that has one' : null
  if (!asked.hasOpt) return 'an OPT to a query without'
  if (reply.version !== 0) return `an OPT of version ${reply.version}`
  if (reply.payload !== asked.advertise) return `an OPT that says ${reply.payload} instead of ${asked.advertise} bytes`
  if (reply.dnssecOk && !asked.dnssecOk) return 'DO, which was not set'
  if (reply.otherOptions > 0) return 'an option that is none of ours, or twice'
  if (reply.cookie >= 0 && !asked.hasCookie) return 'a cookie to a query without'
  if (reply.cookie >= 0 && reply.cookie !== 24) return `a cookie of ${reply.cookie} bytes`
  // A rule says which one it is.
  if (reply.ede >= 0 && (reply.ede < 2 || reply.ede > MOST_EDE_BYTES)) return `an extended error of ${reply.ede} bytes`
  return null
}

function rcodeContradiction(asked: Asked, { rcode, hasOpt }: SecondParser): string | null {
  if (rcode > 15 && rcode !== BADVERS) return `rcode ${rcode}`
  if (rcode === BADVERS && (!hasOpt || asked.version === 0)) return 'BADVERS to version 0'
  if (rcode === FORMERR && asked.isSound && asked.version === 0) return 'FORMERR to a sound query'
  if (asked.isBroken && rcode !== FORMERR && rcode !== REFUSED) return `rcode ${rcode} to a query that cannot be read`
  if (!asked.isAllowed && rcode !== REFUSED) return `rcode ${rcode} to a client that may not ask`
  if (asked.isCut) return rcode === FORMERR || rcode === REFUSED ? null : `rcode ${rcode} to a query that was cut off`
  if ((asked.flags & OPCODE) !== 0 && rcode !== NOTIMP && rcode !== REFUSED) return `rcode ${rcode} to another opcode`
  return null
}
