/**
 * Answers from the name table's image. The plain hit, an address question for a host's own name with few addresses, is
 * one straight line; everything rarer is beside it.
 */
import { Ede, Flag, HEADER_BYTES, Type } from '../../dns/constants.ts'
import {
  beginReply,
  copyBytes,
  QUESTION_NAME,
  setCounts,
  writeOpt,
  writeRecordHead,
  writeU32,
} from '../../dns/reply.ts'
import { LabelSet } from '../../dns/label-set.ts'
import { nameToText, nameToWire } from '../../dns/name.ts'
import { TOP_LEVEL_DOMAINS } from '../../dns/top-level-domains.ts'
import { Source } from '../../stats/counters.ts'
import type { Image } from '../../table/image.ts'
import { hostAt } from '../../table/image-listing.ts'
import type { ClientQuery } from '../client-query.ts'
import { replyOptBytes, writeReplyOpt } from '../reply-opt.ts'
import type { EngineSettings } from '../settings.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'

const A_BYTES = 16
const AAAA_BYTES = 28
const RECORD_HEAD = 12
/** Length of an SOA's data: two root names (no master, no mailbox) and five numbers. */
export const SOA_DATA = 22

/** Names of the table, and those that its hosts answer to as well. */
export class MeshStage implements AnswerStage {
  readonly name = 'mesh table'
  readonly source: Source = Source.mesh
  readonly #context: AnswerContext
  /** Made when it is first asked. */
  #topLevel: LabelSet | null = null

  constructor(context: AnswerContext) {
    this.#context = context
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { image, random, settings } = this.#context
    if (image === null || !image.find(query.name)) return PASS
    // The name without what was left may be a wildcard host's all the same.
    if (settings.searchedBelowDots !== undefined && this.#isLeft(image, query) && !image.findByWildcard(query.name))
      return PASS
    // A rule has servers asked for it.
    if (query.classBits !== 0) return PASS
    return writeMeshAnswer(image, query, settings, random(), out, outAt)
  }

  /** True if the name is the mesh's, whatever the type. */
  has(query: ClientQuery): boolean {
    const { image } = this.#context
    if (image === null || !image.find(query.name)) return false
    return !this.#isLeft(image, query) || image.findByWildcard(query.name)
  }

  finding(query: ClientQuery): string {
    const { image } = this.#context
    if (query.classBits !== 0) return 'a rule has servers asked for this name'
    if (image === null) return 'there is no table yet'
    if (!image.find(query.name)) return `none of ${image.hosts} hosts has this name`
    if (this.#isLeft(image, query)) {
      const left = hostAt(image, image.record).host
      const { labelAt, labels, lower } = query.name
      if (!image.findByWildcard(query.name))
        return `a short name of host ${left}, but ${nameToText(lower, labelAt[labels - 1])} is a top-level domain: without a search domain it is asked of servers (mesh.shortNames: auto)`
    }
    const { host, namespace, registry } = hostAt(image, image.record)
    const from = [registry || 'another registry', ...(namespace === '' ? [] : [`namespace ${namespace}`])].join(', ')
    const way = image.wildcard ? ', a wildcard' : ''
    const expansion = image.expanded ? ', by the search domain' : ''
    const counts = `${image.v4Count} IPv4 and ${image.v6Count} IPv6 addresses`
    const found = `host ${host} (${from})${way}${expansion}: ${counts}`
    return isOwnType(query.type, this.#context.settings) ? found : `${found}; other types are not the mesh's`
  }

  /**
   * True if the name that was found is a short one that may be somebody's real domain, and the search list brings
   * applications to the host anyway: they ask with the search domain first.
   */
  #isLeft(image: Image, { name }: ClientQuery): boolean {
    const { searchedBelowDots = 0 } = this.#context.settings
    const { labels } = name
    if (labels < 2 || labels > searchedBelowDots || image.searchLabels === 0) return false
    if (image.expanded || image.wildcard || image.ownerLength === name.length) return false
    this.#topLevel ??= new LabelSet(TOP_LEVEL_DOMAINS)
    return this.#topLevel.has(name.lower, name.labelAt[labels - 1]!)
  }
}

/** Reverse names of the table's addresses, also where a wildcard host matches the reverse name, which has no PTR of its own. */
export class PointerStage implements AnswerStage {
  readonly name = 'mesh addresses'
  readonly source: Source = Source.mesh
  readonly #context: AnswerContext

  constructor(context: AnswerContext) {
    this.#context = context
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { image, settings } = this.#context
    if (query.type !== Type.PTR || image === null) return PASS
    return writePointerAnswer(image, query, settings, out, outAt)
  }

  finding(query: ClientQuery): string {
    const { image } = this.#context
    if (query.type !== Type.PTR) return 'no question for the name of an address'
    if (image === null) return 'there is no table yet'
    const length = readReverseName(query, addressScratch)
    if (length === 0) return 'not the reverse name of an address'
    if (!image.findAddress(addressScratch, 0, length)) return 'no host has this address'
    return `address of host ${nameToText(image.bytes, image.ownerAt)}`
  }
}

/**
 * Answers `query` for the host that `image.find` has just found, into `out` at `outAt`. Returns the reply's length, or
 * PASS for a type that goes upstream. `random`: a fresh 32-bit number, for the rotation.
 */
function writeMeshAnswer(
  image: Image,
  query: ClientQuery,
  settings: EngineSettings,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { type } = query
  let v4 = 0
  let v6 = 0
  if (type === Type.A) v4 = image.v4Count
  else if (type === Type.AAAA) v6 = image.v6Count
  else if (type === Type.ANY) {
    v4 = image.v4Count
    v6 = image.v6Count
  } else if (!isOwnType(type, settings)) return PASS

  let at = beginReply(query, Flag.AA, out, outAt)
  let owner = QUESTION_NAME
  let answers = 0
  if (image.expanded) {
    owner = at + RECORD_HEAD - outAt
    at = writeExpansion(image, query, settings.ttlSeconds, out, at)
    answers = 1
  }
  if (v4 + v6 === 0) return writeNoData(image, query, settings, owner, answers, out, outAt, at)

  const stop = outAt + query.limit - replyOptBytes(query, Ede.NONE)
  if (at > stop) return writeTruncated(query, out, outAt)
  const fit4 = Math.min(v4, Math.max(0, Math.floor((stop - at) / A_BYTES)))
  at = writeAddresses(image.bytes, image.v4At, 4, v4, fit4, Type.A, owner, settings.ttlSeconds, random, out, at)
  const fit6 = fit4 < v4 ? 0 : Math.min(v6, Math.max(0, Math.floor((stop - at) / AAAA_BYTES)))
  at = writeAddresses(image.bytes, image.v6At, 16, v6, fit6, Type.AAAA, owner, settings.ttlSeconds, random, out, at)
  if (fit4 + fit6 < v4 + v6) out[outAt + 2]! |= Flag.TC >> 8
  setCounts(out, outAt, answers + fit4 + fit6, 0, query.hasEdns ? 1 : 0)
  if (!query.hasEdns) return at - outAt
  // Without a cookie straight here: a call deeper makes the plain hit 6 % slower.
  if (query.cookieAt === 0) at = writeOpt(out, at, query.advertise, 0, query.dnssecOk)
  else at = writeReplyOpt(query, 0, Ede.NONE, out, at)
  return at - outAt
}

/** Whether the mesh answers for records of this type; other types go upstream. */
function isOwnType(type: number, settings: EngineSettings): boolean {
  if (type === Type.HTTPS || type === Type.SVCB) return settings.httpsRecords === 'nodata'
  return type === Type.A || type === Type.AAAA || type === Type.ANY
}

/** Writes `fit` of a host's `count` addresses of `size` bytes each, beginning at a random one. */
export function writeAddresses(
  bytes: Uint8Array,
  from: number,
  size: number,
  count: number,
  fit: number,
  type: number,
  owner: number,
  ttlSeconds: number,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  let at = outAt
  let k = count > 1 ? (random >>> 0) % count : 0
  for (let n = 0; n < fit; n++) {
    at = writeRecordHead(out, at, owner, type, ttlSeconds, size)
    const address = from + k * size
    for (let i = 0; i < size; i++) out[at++] = bytes[address + i]!
    if (++k === count) k = 0
  }
  return at
}

/**
 * The CNAME for a name with the search domain appended (★ to the host's full name, or to the concrete name below a
 * wildcard: never to a short form or to `*.x`). Its data is where the address records' owner points.
 */
function writeExpansion(image: Image, query: ClientQuery, ttlSeconds: number, out: Uint8Array, outAt: number): number {
  const { name } = query
  if (image.wildcard) {
    const length = name.labelAt[image.prefixLabels]!
    const at = writeRecordHead(out, outAt, QUESTION_NAME, Type.CNAME, ttlSeconds, length + 1)
    copyBytes(query.packet, query.at + HEADER_BYTES, length, out, at)
    out[at + length] = 0
    return at + length + 1
  }
  const at = writeRecordHead(out, outAt, QUESTION_NAME, Type.CNAME, ttlSeconds, image.ownerLength)
  copyBytes(image.bytes, image.ownerAt, image.ownerLength, out, at)
  return at + image.ownerLength
}

/** NOERROR without records of the type, ★ with an SOA so that clients remember it (RFC 2308 §3). */
function writeNoData(
  image: Image,
  query: ClientQuery,
  settings: EngineSettings,
  answerOwner: number,
  answers: number,
  out: Uint8Array,
  outAt: number,
  from: number,
): number {
  let at = from
  const named = image.wildcard || image.expanded
  // The owner is the tail of a name that stands in the message already, unless the question was a short or other name.
  const isTail = named || isOwnName(image, query)
  const nameLength = image.expanded ? expandedLength(image, query) : query.name.length
  if (isTail) {
    at = writeRecordHead(out, at, answerOwner + nameLength - image.ownerLength, Type.SOA, settings.ttlSeconds, SOA_DATA)
  } else {
    copyBytes(image.bytes, image.ownerAt, image.ownerLength, out, at)
    at += image.ownerLength
    // The head without its pointer: written two bytes early, then the name's end put back.
    const [a, b] = [out[at - 2]!, out[at - 1]!]
    at = writeRecordHead(out, at - 2, 0, Type.SOA, settings.ttlSeconds, SOA_DATA)
    out[at - RECORD_HEAD] = a
    out[at - RECORD_HEAD + 1] = b
  }
  at = writeSoaData(out, at, settings.ttlSeconds)
  if (at + replyOptBytes(query, Ede.NONE) > outAt + query.limit) return writeTruncated(query, out, outAt)
  setCounts(out, outAt, answers, 1, query.hasEdns ? 1 : 0)
  if (query.hasEdns) at = writeReplyOpt(query, 0, Ede.NONE, out, at)
  return at - outAt
}

/** True if the question is for the host's own name. */
function isOwnName(image: Image, query: ClientQuery): boolean {
  const { lower, length } = query.name
  if (image.ownerLength !== length) return false
  for (let i = 0; i < length; i++) if (lower[i] !== image.bytes[image.ownerAt + i]) return false
  return true
}

/** Nothing but the question and TC=1: two names near the longest leave no room for a record. */
function writeTruncated(query: ClientQuery, out: Uint8Array, outAt: number): number {
  let at = beginReply(query, Flag.AA | Flag.TC, out, outAt)
  setCounts(out, outAt, 0, 0, query.hasEdns ? 1 : 0)
  if (query.hasEdns) at = writeReplyOpt(query, 0, Ede.NONE, out, at)
  return at - outAt
}

/** Length of the name that the CNAME points to. */
function expandedLength(image: Image, query: ClientQuery): number {
  return image.wildcard ? query.name.labelAt[image.prefixLabels]! + 1 : image.ownerLength
}

/** Data of an SOA that only carries the negative TTL. */
export function writeSoaData(out: Uint8Array, outAt: number, minimumSeconds: number): number {
  out[outAt] = 0
  out[outAt + 1] = 0
  let at = writeU32(out, outAt + 2, 1)
  at = writeU32(out, at, 3600)
  at = writeU32(out, at, 600)
  at = writeU32(out, at, 86_400)
  return writeU32(out, at, minimumSeconds)
}

/** Made once: the address that a PTR question names. Overwritten by each call. */
const addressScratch = new Uint8Array(16)

/** Answers a PTR question for an address of the table with the host's full name; PASS for any other. */
function writePointerAnswer(
  image: Image,
  query: ClientQuery,
  settings: EngineSettings,
  out: Uint8Array,
  outAt: number,
): number {
  const length = readReverseName(query, addressScratch)
  if (length === 0 || !image.findAddress(addressScratch, 0, length)) return PASS
  let at = beginReply(query, Flag.AA, out, outAt)
  at = writeRecordHead(out, at, QUESTION_NAME, Type.PTR, settings.ttlSeconds, image.ownerLength)
  copyBytes(image.bytes, image.ownerAt, image.ownerLength, out, at)
  at += image.ownerLength
  setCounts(out, outAt, 1, 0, query.hasEdns ? 1 : 0)
  if (query.hasEdns) at = writeReplyOpt(query, 0, Ede.NONE, out, at)
  return at - outAt
}

const IN_ADDR: Uint8Array = nameToWire('in-addr.arpa')!
const IP6: Uint8Array = nameToWire('ip6.arpa')!

/** Reads `4.3.2.1.in-addr.arpa.` or the 32 nibbles of `ip6.arpa.` (RFC 1035 §3.5, RFC 3596 §2.5); 0 if it is neither. */
function readReverseName(query: ClientQuery, address: Uint8Array): 0 | 4 | 16 {
  const { name } = query
  if (name.labels === 6 && name.endsBelow(IN_ADDR, 2)) {
    for (let k = 0; k < 4; k++) {
      const octet = readOctet(name.lower, name.labelAt[k]!)
      if (octet < 0) return 0
      address[3 - k] = octet
    }
    return 4
  }
  if (name.labels !== 34 || !name.endsBelow(IP6, 2)) return 0
  for (let k = 0; k < 32; k++) {
    const at = name.labelAt[k]!
    const nibble = name.lower[at] === 1 ? nibbleOf(name.lower[at + 1]!) : -1
    if (nibble < 0) return 0
    const byte = 15 - (k >> 1)
    address[byte] = (k & 1) === 0 ? nibble : address[byte]! | (nibble << 4)
  }
  return 16
}

function readOctet(lower: Uint8Array, at: number): number {
  const length = lower[at]!
  if (length > 3 || (length > 1 && lower[at + 1] === 0x30)) return -1
  let value = 0
  for (let i = at + 1; i <= at + length; i++) {
    const digit = lower[i]! - 0x30
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value < 256 ? value : -1
}

function nibbleOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x61 + 10 : -1
}
