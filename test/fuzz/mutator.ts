/** Spoils packets: blindly, as fuzzers do, and with an eye for what DNS parsers get wrong. All in place. */
import type { Random } from '../simulation/random.ts'
import { Anatomy } from './anatomy.ts'
import { MAX_PACKET, type Packet } from './packet.ts'

/** Bytes, and 16-bit numbers, at which parsers change their minds. */
const BYTES = [0, 1, 2, 0x0c, 0x29, 0x3f, 0x40, 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xfe, 0xff] as const
const WORDS = [
  0, 1, 2, 3, 4, 8, 10, 11, 12, 16, 41, 63, 64, 127, 128, 255, 256, 511, 512, 513, 1232, 4096, 0x3fff, 0x4000, 0x7fff,
  0x8000, 0xc000, 0xc00c, 0xc00d, 0xffff,
] as const
const TYPES = [
  0, 1, 2, 5, 6, 12, 13, 15, 16, 24, 28, 33, 35, 39, 41, 43, 46, 47, 48, 50, 64, 65, 249, 250, 251, 252, 255, 257,
  65_280,
] as const
const OPTIONS = [0, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 20, 65_001] as const
const OPT = 41
const TSIG = 250
const SIG = 24

type Way = (packet: Packet) => void

export class Mutator {
  readonly #random: Random
  readonly #anatomy: Anatomy = new Anatomy()
  /** Gives another packet to splice with. */
  readonly #other: () => Uint8Array
  readonly #ways: Way[]

  constructor(random: Random, other: () => Uint8Array) {
    this.#random = random
    this.#other = other
    const aimed: Way[] = [
      (packet) => this.#lieInCount(packet),
      (packet) => this.#setFlags(packet),
      (packet) => this.#spoilName(packet),
      (packet) => this.#stretchName(packet),
      (packet) => this.#spoilLength(packet),
      (packet) => this.#retype(packet),
      (packet) => this.#addOpt(packet),
      (packet) => this.#addRecord(packet),
      (packet) => this.#addTail(packet),
      (packet) => this.#changeCase(packet),
      (packet) => this.#setTtl(packet),
      (packet) => this.#pointBack(packet),
    ]
    const blind: Way[] = [
      (packet) => this.#flipBit(packet),
      (packet) => this.#setByte(packet),
      (packet) => this.#setWord(packet),
      (packet) => this.#truncate(packet),
      (packet) => this.#insert(packet),
      (packet) => this.#cutOut(packet),
      (packet) => this.#repeat(packet),
      (packet) => this.#splice(packet),
    ]
    // Aimed ones reach further: most of what is spoilt blindly ends at the first check.
    this.#ways = [...blind, ...aimed, ...aimed]
  }

  /** Spoils the packet in one to four ways, seldom in more. */
  mutate(packet: Packet): void {
    const random = this.#random
    let times = 1
    while (times < 16 && random.chance(0.4)) times++
    for (let k = 0; k < times; k++) {
      random.pick(this.#ways)(packet)
      if (packet.length > MAX_PACKET) packet.length = MAX_PACKET
    }
  }

  #at(packet: Packet): number {
    return this.#random.below(Math.max(1, packet.length))
  }

  #flipBit(packet: Packet): void {
    packet.bytes[this.#at(packet)]! ^= 1 << this.#random.below(8)
  }

  #setByte(packet: Packet): void {
    const random = this.#random
    packet.bytes[this.#at(packet)] = random.chance(0.5) ? random.pick(BYTES) : random.below(256)
  }

  #setWord(packet: Packet): void {
    packet.set16(this.#at(packet), this.#random.pick(WORDS))
  }

  #truncate(packet: Packet): void {
    const random = this.#random
    packet.length = random.chance(0.5)
      ? Math.max(0, packet.length - 1 - random.below(12))
      : random.below(packet.length + 1)
  }

  #insert(packet: Packet): void {
    const random = this.#random
    const at = random.below(packet.length + 1)
    const size = random.chance(0.98) ? 1 + random.below(16) : 1 + random.below(5000)
    const before = packet.length
    packet.open(at, size)
    const fill = random.below(3)
    for (let i = at; i < at + packet.length - before; i++)
      packet.bytes[i] = fill === 0 ? 0 : fill === 1 ? random.pick(BYTES) : random.below(256)
  }

  #cutOut(packet: Packet): void {
    const at = this.#at(packet)
    packet.remove(at, Math.min(packet.length - at, 1 + this.#random.below(16)))
  }

  #repeat(packet: Packet): void {
    const at = this.#at(packet)
    const size = Math.min(packet.length - at, 1 + this.#random.below(64))
    packet.open(at, size)
    if (packet.length >= at + 2 * size) packet.bytes.copyWithin(at, at + size, at + 2 * size)
  }

  /** The head of this one and the tail of another. */
  #splice(packet: Packet): void {
    const other = this.#other()
    const random = this.#random
    const isAligned = random.chance(0.5)
    const head = this.#at(packet)
    const tail = isAligned ? Math.min(head, other.length) : random.below(other.length + 1)
    packet.length = head
    packet.append(other, tail)
  }

  #lieInCount(packet: Packet): void {
    const random = this.#random
    const at = 4 + 2 * random.below(4)
    const change = random.below(4)
    const count = packet.get16(at)
    packet.set16(
      at,
      change === 0 ? count + 1 : change === 1 ? count - 1 : change === 2 ? random.pick(WORDS) : random.below(4),
    )
  }

  #setFlags(packet: Packet): void {
    const random = this.#random
    const flags = packet.get16(2)
    const way = random.below(4)
    if (way === 0) packet.set16(2, (flags & ~0x7800) | (random.below(16) << 11))
    else if (way === 1) packet.set16(2, (flags & ~15) | random.below(16))
    else if (way === 2) packet.set16(2, flags ^ (0x10 << random.below(7)))
    else packet.set16(2, flags ^ 0x8000)
  }

  /** The offset of a name: mostly the question's, or a record's owner or data. */
  #nameAt(packet: Packet): number {
    const random = this.#random
    const { records, owner, fixed } = this.#anatomy.read(packet.bytes, 0, packet.length)
    if (records === 0 || random.chance(0.4)) return 12
    const r = random.below(records)
    return random.chance(0.5) ? owner[r]! : fixed[r]! + 10 + (random.chance(0.7) ? 0 : random.pick([2, 6]))
  }

  /** One of the label lengths of a name becomes another one, of a reserved kind, or a pointer to anywhere. */
  #spoilName(packet: Packet): void {
    const random = this.#random
    let at = this.#nameAt(packet)
    for (let labels = random.below(4); labels > 0; labels--) {
      const size = packet.bytes[at]!
      if (size === 0 || size > 63 || at + size + 1 >= packet.length) break
      at += size + 1
    }
    if (at >= packet.length) return
    switch (random.below(6)) {
      case 0:
        packet.bytes[at] = random.pick([0, 1, 62, 63, 64, 65, 0x7f, 0x80, 0xbf])
        return
      case 1:
        return packet.set16(at, 0xc000 | at)
      case 2:
        return packet.set16(at, 0xc000 | Math.min(0x3fff, at + 1 + random.below(32)))
      case 3:
        return packet.set16(at, 0xc000 | random.below(13))
      case 4:
        return packet.set16(at, 0xc000 | random.below(0x4000))
      default:
        return packet.set16(at, 0xc000 | random.below(Math.max(1, Math.min(at, 0x3fff))))
    }
  }

  /** The question's name becomes one at a limit: 253 … 257 bytes, labels of 62 … 64, or as many labels as there can be. */
  #stretchName(packet: Packet): void {
    const random = this.#random
    const { nameEnd } = this.#anatomy.read(packet.bytes, 0, packet.length)
    if (nameEnd === 0) return
    const total = 253 + random.below(5)
    const size = random.pick([1, 2, 31, 62, 63, 63, 64])
    packet.remove(12, nameEnd - 12)
    packet.open(12, total)
    let at = 12
    const stop = 12 + total - 1
    while (at < stop) {
      const label = Math.min(size, stop - at - 1)
      if (label === 0 || at + label + 1 > stop) break
      packet.bytes[at++] = label
      for (let i = 0; i < label; i++) packet.bytes[at++] = 0x61 + ((at + i) % 26)
    }
    // A last byte that is no label of its own makes the one before it longer.
    while (at < stop) packet.bytes[at++] = 0x7a
    packet.bytes[stop] = 0
  }

  /** An RDLENGTH that lies. */
  #spoilLength(packet: Packet): void {
    const random = this.#random
    const { records, fixed } = this.#anatomy.read(packet.bytes, 0, packet.length)
    if (records === 0) return
    const at = fixed[random.below(records)]! + 8
    const length = packet.get16(at)
    packet.set16(
      at,
      random.pick([length + 1, length - 1, length + random.below(64), 0, random.pick(WORDS), packet.length - at - 2]),
    )
  }

  /** Another type or class, of the question or a record. */
  #retype(packet: Packet): void {
    const random = this.#random
    const { records, fixed, nameEnd } = this.#anatomy.read(packet.bytes, 0, packet.length)
    const at = records === 0 || random.chance(0.4) ? nameEnd : fixed[random.below(records)]!
    if (at === 0) return
    if (random.chance(0.7)) packet.set16(at, random.pick(TYPES))
    else packet.set16(at + 2, random.pick([0, 1, 2, 3, 4, 254, 255, 0x8001, 512, 4096, 0xffff]))
  }

  /** An OPT more, with options of which some lie about their length. */
  #addOpt(packet: Packet): void {
    if (packet.length < 12) return
    const random = this.#random
    packet.u8(random.chance(0.95) ? 0 : 1)
    if (packet.bytes[packet.length - 1] !== 0) packet.u8(0x61).u8(0)
    packet.u16(OPT).u16(random.pick(WORDS))
    packet.u8(random.chance(0.9) ? 0 : random.below(256)).u8(random.chance(0.85) ? 0 : random.below(256))
    packet.u16(random.chance(0.5) ? 0 : random.chance(0.8) ? 0x8000 : random.below(65_536))
    const lengthAt = packet.length
    packet.u16(0)
    for (let options = random.below(4); options > 0; options--) {
      const size = random.chance(0.9) ? random.below(48) : random.below(600)
      const lie = random.chance(0.85) ? 0 : random.pick([-1, 1, 4, 255, 0xff00])
      packet.u16(random.chance(0.5) ? 10 : random.pick(OPTIONS)).u16((size + lie) & 0xffff)
      for (let i = 0; i < size; i++) packet.u8(random.below(256))
    }
    packet.set16(lengthAt, packet.length - lengthAt - 2 + (random.chance(0.9) ? 0 : random.pick([-1, 1, 4, 100])))
    if (random.chance(0.95)) packet.count(random.chance(0.95) ? 3 : 1 + random.below(2))
  }

  /** A record more, of any type and with data of any kind. */
  #addRecord(packet: Packet): void {
    if (packet.length < 12) return
    const random = this.#random
    this.#putName(packet)
    packet
      .u16(random.pick(TYPES))
      .u16(random.chance(0.9) ? 1 : random.pick(WORDS))
      .u32(random.below(0x10000))
    const lengthAt = packet.length
    packet.u16(0)
    const way = random.below(4)
    if (way === 0) for (let i = random.pick([4, 16, 20]); i > 0; i--) packet.u8(random.below(256))
    else if (way === 1) for (let i = random.below(40); i > 0; i--) packet.u8(random.below(64))
    else {
      if (way === 2) for (let i = random.pick([2, 6]); i > 0; i--) packet.u8(random.below(256))
      this.#putName(packet)
      if (random.chance(0.2)) this.#putName(packet)
      if (random.chance(0.2)) for (let i = 20; i > 0; i--) packet.u8(random.below(256))
    }
    packet.set16(lengthAt, packet.length - lengthAt - 2)
    packet.count(1 + random.below(3))
  }

  #putName(packet: Packet): void {
    const random = this.#random
    const way = random.below(5)
    if (way <= 1) packet.u16(0xc00c)
    else if (way === 2) packet.u8(0)
    else if (way === 3) packet.u16(0xc000 | random.below(Math.min(packet.length, 0x4000)))
    else
      packet
        .u8(1)
        .u8(0x61)
        .u16(0xc000 | random.below(Math.min(packet.length, 0x4000)))
  }

  /** A TSIG or SIG(0) behind everything, as a signed message has (RFC 8945 §4.2, RFC 2931 §3). */
  #addTail(packet: Packet): void {
    if (packet.length < 12) return
    const random = this.#random
    const isTsig = random.chance(0.5)
    if (random.chance(0.5)) packet.u16(0xc00c)
    else packet.u8(0)
    packet
      .u16(isTsig ? TSIG : SIG)
      .u16(255)
      .u32(0)
    const size = random.below(60)
    packet.u16(size + 18)
    if (!isTsig) packet.u16(random.chance(0.9) ? 0 : OPT)
    for (let i = isTsig ? size + 18 : size + 16; i > 0; i--) packet.u8(random.below(256))
    packet.count(3)
  }

  #changeCase(packet: Packet): void {
    const { nameEnd } = this.#anatomy.read(packet.bytes, 0, packet.length)
    for (let i = 12; i < nameEnd; i++) {
      const letter = packet.bytes[i]! & 0xdf
      if (letter >= 0x41 && letter <= 0x5a && this.#random.chance(0.5)) packet.bytes[i]! ^= 0x20
    }
  }

  #setTtl(packet: Packet): void {
    const random = this.#random
    const { records, fixed } = this.#anatomy.read(packet.bytes, 0, packet.length)
    if (records === 0) return
    const at = fixed[random.below(records)]! + 4
    packet.set16(at, random.pick([0, 0, 0, 1, 0x7fff, 0x8000, 0xffff, 0x0161]))
    packet.set16(at + 2, random.pick([0, 1, 2, 4, 30, 60, 0x0161, 3601, 0xffff, random.below(65_536)]))
  }

  /** A name in a record's data or its owner ends in a pointer to any place before it. */
  #pointBack(packet: Packet): void {
    const random = this.#random
    const { records, fixed, owner, end } = this.#anatomy.read(packet.bytes, 0, packet.length)
    if (records === 0) return
    const r = random.below(records)
    const at = random.chance(0.3) ? owner[r]! : end[r]! - 2
    if (at < 14) return
    // The fixed part of a record just before is where a name looks least like one.
    const target = random.chance(0.5) ? fixed[random.below(r + 1)]! + random.below(10) : 12 + random.below(at - 12)
    packet.set16(at, 0xc000 | Math.min(target, 0x3fff))
  }
}
