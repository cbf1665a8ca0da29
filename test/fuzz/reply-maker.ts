/** Replies as upstream servers of all kinds send them to one query: right ones, odd ones, and large ones. */
import type { Random } from '../simulation/random.ts'
import { wire } from '../dns/messages.ts'
import type { Packet } from './packet.ts'

const A = 1
const NS = 2
const CNAME = 5
const SOA = 6
const PTR = 12
const MX = 15
const TXT = 16
const AAAA = 28
const SRV = 33
const DNAME = 39
const RRSIG = 46
const NSEC = 47
const HTTPS = 65
const COOKIE = 10
const BADCOOKIE = 23
const TO_QUESTION = 0xc00c
const OTHER = wire('other.example.net')
const ZONE = wire('example.org')
const TTLS = [0, 1, 2, 5, 30, 60, 300, 3600, 86_400, 0x7fffffff, 0x80000000, 0xffffffff] as const

type Section = 1 | 2 | 3

export class ReplyMaker {
  readonly #random: Random
  #questionEnd = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** Makes a reply to the query of `length` bytes at `at`. */
  make(query: Uint8Array, at: number, length: number, packet: Packet): void {
    const random = this.#random
    let end = at + 12
    while (end < at + length && query[end] !== 0) end += query[end]! + 1
    end = Math.min(end + 5, at + length)
    this.#questionEnd = end - at
    packet.clear().append(query, at, end - at)
    const rcode = random.chance(0.8) ? 0 : random.chance(0.6) ? 3 : random.below(16)
    const flags =
      0x8000 | (random.chance(0.8) ? 0x0180 : 0) | (random.chance(0.2) ? 0x0400 : 0) | (random.chance(0.2) ? 0x0020 : 0)
    packet.set16(2, flags | rcode | (random.chance(0.03) ? 0x0200 : 0))
    packet.set16(6, 0)
    packet.set16(8, 0)
    packet.set16(10, 0)
    if (rcode > 3 || rcode === 1 || rcode === 2) {
      if (random.chance(0.2)) this.#withoutQuestion(packet)
    } else this.#putAnswer(packet, rcode, packet.get16(end - at - 4))
    if (random.chance(0.7)) this.#putOpt(packet, query, end, at + length)
  }

  #withoutQuestion(packet: Packet): void {
    packet.length = 12
    packet.set16(4, 0)
  }

  #putAnswer(packet: Packet, rcode: number, type: number): void {
    const random = this.#random
    if (rcode === 3 || random.chance(0.12)) {
      if (random.chance(0.1)) this.#putChain(packet, 1 + random.below(3))
      return this.#putSoa(packet)
    }
    let owner = TO_QUESTION
    if (random.chance(0.25))
      owner = this.#putChain(packet, random.chance(0.9) ? 1 + random.below(3) : 14 + random.below(6))
    if (random.chance(0.03)) this.#head(packet, 1, owner, CNAME, 2).u16(TO_QUESTION) // a circle
    const records = random.chance(0.85)
      ? 1 + random.below(6)
      : random.chance(0.97)
        ? random.below(90)
        : random.below(2500)
    for (let k = 0; k < records; k++) this.#putRecord(packet, 1, owner, random.chance(0.95) ? type : this.#anyType())
    if (random.chance(0.2)) this.#putAuthority(packet)
    if (random.chance(0.1)) for (let k = random.below(4); k > 0; k--) this.#putRecord(packet, 3, owner, this.#anyType())
    if (random.chance(0.1)) this.#putRecord(packet, 3, 0, this.#anyType())
  }

  #anyType(): number {
    return this.#random.pick([A, AAAA, NS, CNAME, SOA, PTR, MX, TXT, SRV, DNAME, RRSIG, NSEC, HTTPS, 65_280])
  }

  /** CNAMEs one after the other; returns a pointer to the last one's target. */
  #putChain(packet: Packet, links: number): number {
    const random = this.#random
    let owner = TO_QUESTION
    for (let k = 0; k < links; k++) {
      this.#head(packet, 1, owner, CNAME, 0)
      const at = packet.length
      if (random.chance(0.7))
        packet
          .u8(1)
          .u8(0x61 + k)
          .u16(TO_QUESTION)
      else packet.append(OTHER)
      packet.set16(at - 2, packet.length - at)
      owner = at < 0x4000 ? 0xc000 | at : TO_QUESTION
    }
    return owner
  }

  #putSoa(packet: Packet): void {
    const random = this.#random
    const labels: number[] = []
    for (let at = 12; at < this.#questionEnd - 4 && packet.bytes[at]! > 0; at += packet.bytes[at]! + 1) labels.push(at)
    const owner = random.chance(0.1) || labels.length === 0 ? 0 : 0xc000 | random.pick(labels)
    this.#head(packet, 2, owner, SOA, 0)
    const at = packet.length
    if (random.chance(0.5)) packet.u16(TO_QUESTION).u16(TO_QUESTION)
    else packet.append(OTHER).append(ZONE)
    packet.u32(1).u32(7200).u32(3600).u32(86_400).u32(random.pick(TTLS))
    packet.set16(at - 2, packet.length - at)
  }

  #putAuthority(packet: Packet): void {
    const random = this.#random
    for (let k = random.below(4); k >= 0; k--) {
      if (random.chance(0.6)) this.#putRecord(packet, 2, TO_QUESTION, NS)
      else this.#putRecord(packet, 2, random.chance(0.5) ? TO_QUESTION : 0, this.#anyType())
    }
  }

  #putRecord(packet: Packet, section: Section, owner: number, type: number): void {
    const random = this.#random
    if (random.chance(0.05)) this.#headOf(packet, section, OTHER, type)
    else this.#head(packet, section, owner, type, 0)
    const at = packet.length
    switch (type) {
      case A:
        packet.u32(0xc0000200 | random.below(256))
        break
      case AAAA:
        packet.u32(0xfd000000).u32(0).u32(0).u32(random.below(65_536))
        break
      case NS:
      case CNAME:
      case PTR:
      case DNAME:
        this.#putName(packet)
        break
      case MX:
        this.#putName(packet.u16(10))
        break
      case SRV:
        this.#putName(packet.u32(0x10001).u16(443))
        break
      case TXT: {
        const size = random.chance(0.9) ? random.below(40) : 255
        packet.u8(size)
        for (let i = 0; i < size; i++) packet.u8(0x20 + random.below(90))
        break
      }
      case SOA:
        this.#putName(packet)
        this.#putName(packet)
        packet.append(new Uint8Array(20))
        break
      default:
        for (let i = random.below(40); i > 0; i--) packet.u8(random.below(256))
    }
    packet.set16(at - 2, packet.length - at)
  }

  #putName(packet: Packet): void {
    const random = this.#random
    const way = random.below(4)
    if (way === 0) packet.append(OTHER)
    else if (way === 1) packet.u16(TO_QUESTION)
    else if (way === 2) packet.u8(2).u8(0x6e).u8(0x73).u16(TO_QUESTION)
    else packet.append(ZONE)
  }

  #head(packet: Packet, section: Section, owner: number, type: number, dataLength: number): Packet {
    const random = this.#random
    if (owner === 0) packet.u8(0)
    else packet.u16(owner)
    packet
      .u16(type)
      .u16(1)
      .u32(random.chance(0.6) ? 60 : random.pick(TTLS))
      .u16(dataLength)
    packet.count(section)
    return packet
  }

  #headOf(packet: Packet, section: Section, owner: Uint8Array, type: number): void {
    packet.append(owner).u16(type).u16(1).u32(300).u16(0)
    packet.count(section)
  }

  /** With the client cookie of the query and a server cookie behind it, where the query had one. */
  #putOpt(packet: Packet, query: Uint8Array, questionEnd: number, end: number): void {
    const random = this.#random
    packet
      .u8(0)
      .u16(41)
      .u16(random.pick([512, 1232, 4096]))
    packet
      .u8(random.chance(0.97) ? 0 : random.below(3))
      .u8(0)
      .u16(random.chance(0.2) ? 0x8000 : 0)
      .u16(0)
    const at = packet.length
    const cookieAt = questionEnd + 15
    if (end - questionEnd >= 23 && query[questionEnd + 12] === COOKIE && random.chance(0.85)) {
      packet.u16(COOKIE).u16(16)
      packet.append(query, cookieAt, 8)
      packet.u32(random.below(4)).u32(7)
      if (random.chance(0.1)) {
        packet.set16(2, (packet.get16(2) & ~15) | (BADCOOKIE & 15))
        packet.bytes[at - 6] = BADCOOKIE >> 4
      }
    }
    if (random.chance(0.05)) packet.u16(15).u16(2).u16(random.below(30))
    packet.set16(at - 2, packet.length - at)
    packet.count(3)
  }
}
