/** Well-formed queries as clients of all kinds send them: what mutators begin with. */
import type { Random } from '../simulation/random.ts'
import { wire } from '../dns/messages.ts'
import { RULE_NAMES } from './rules-scenery.ts'
import { HOST_NAMES, LOOP_NAME, MESH_NAMES } from './scenery.ts'
import type { Packet } from './packet.ts'

const TYPES: readonly (readonly [number, number])[] = [
  [20, 1],
  [10, 28],
  [3, 12],
  [2, 65],
  [1, 64],
  [2, 255],
  [2, 15],
  [2, 16],
  [1, 33],
  [1, 2],
  [1, 6],
  [1, 5],
  [1, 43],
  [1, 48],
  [1, 257],
  [1, 13],
  [0.3, 252],
  [0.3, 251],
  [0.3, 41],
  [0.3, 0],
  [0.3, 250],
  [0.5, 65_280],
]

const LONG_LABEL = 'l'.repeat(63)
/** 255 bytes, 254 bytes, and as many labels as there can be. */
const LONGEST = `${LONG_LABEL}.${LONG_LABEL}.${LONG_LABEL}.${'m'.repeat(61)}`
const UPSTREAM_NAMES = [
  ...Array.from({ length: 24 }, (_, k) => `n${k}.example.org`),
  'www.example.com',
  'a.b.c.d.e.f.example.net',
  'example.net',
  'org',
  '.',
  '_dns._udp.example.org',
  `${LONG_LABEL}.example.org`,
  LONGEST,
  LONGEST.slice(0, -1),
  'a.'.repeat(127).slice(0, -1),
  'a\\.b.example.org',
  'a\\000b.example.org',
  '\\255\\254.example.org',
  'below.gone.example.org',
  'gone.example.org',
]
const SPECIAL_NAMES = [
  'localhost',
  'a.localhost',
  'invalid',
  'x.invalid',
  'x.onion',
  'resolver.arpa',
  '_dns.resolver.arpa',
  '1.0.0.127.in-addr.arpa',
  '2.2.0.192.in-addr.arpa',
  '4.3.2.10.in-addr.arpa',
  `1.${'0.'.repeat(30)}d.f.ip6.arpa`,
  `${'0.'.repeat(32)}ip6.arpa`,
  '300.2.3.4.in-addr.arpa',
  '4.3.2.in-addr.arpa',
]

const lists = [MESH_NAMES, UPSTREAM_NAMES, SPECIAL_NAMES, HOST_NAMES, RULE_NAMES].map((names) => names.map(wire))

export class QueryMaker {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** Makes one query with a random id. */
  make(packet: Packet): void {
    const random = this.#random
    packet.clear().u16(random.below(65_536))
    packet.u16(
      (random.chance(0.9) ? 0x0100 : 0) | (random.chance(0.2) ? 0x0020 : 0) | (random.chance(0.1) ? 0x0010 : 0),
    )
    packet.u16(1).u32(0).u16(0)
    this.#putName(packet)
    packet.u16(random.weighted(TYPES)).u16(random.chance(0.98) ? 1 : random.pick([0, 3, 4, 254, 255]))
    if (random.chance(0.55)) this.#putOpt(packet)
  }

  #putName(packet: Packet): void {
    const random = this.#random
    const which = random.below(100)
    if (which === 0) {
      packet.append(LOOP_NAME)
      return
    }
    if (which < 4) {
      // Nobody has asked for it before.
      packet.u8(8)
      for (let i = 0; i < 8; i++) packet.u8(0x61 + random.below(26))
      packet.append(wire('example.org'))
      return
    }
    const name = random.pick(lists[which < 30 ? 0 : which < 80 ? 1 : which < 88 ? 2 : which < 94 ? 4 : 3]!)
    const at = packet.length
    packet.append(name)
    if (random.chance(0.3)) {
      for (let i = at; i < packet.length; i++) {
        const letter = packet.bytes[i]! & 0xdf
        if (letter >= 0x41 && letter <= 0x5a && random.chance(0.5)) packet.bytes[i]! ^= 0x20
      }
    }
  }

  #putOpt(packet: Packet): void {
    const random = this.#random
    const payload = random.chance(0.6)
      ? random.pick([512, 1232, 1232, 4096])
      : random.pick([0, 1, 511, 513, 600, 1400, 65_535])
    packet
      .u8(0)
      .u16(41)
      .u16(payload)
      .u8(0)
      .u8(random.chance(0.98) ? 0 : 1)
      .u16(random.chance(0.3) ? 0x8000 : 0)
    const lengthAt = packet.length
    packet.u16(0)
    if (random.chance(0.4)) this.#putCookie(packet)
    if (random.chance(0.1)) packet.u16(12).u16(20).append(new Uint8Array(20)) // PADDING
    if (random.chance(0.05))
      packet
        .u16(8)
        .u16(7)
        .u16(1)
        .u16(0x1800)
        .append(Uint8Array.of(192, 0, 2)) // client subnet
    if (random.chance(0.05)) packet.u16(11).u16(0) // KEEPALIVE
    packet.set16(lengthAt, packet.length - lengthAt - 2)
    packet.count(3)
  }

  #putCookie(packet: Packet): void {
    const random = this.#random
    const length = random.chance(0.6) ? 8 : random.chance(0.5) ? 24 : random.below(48)
    packet.u16(10).u16(length)
    for (let i = 0; i < length; i++) packet.u8(random.below(256))
  }
}
