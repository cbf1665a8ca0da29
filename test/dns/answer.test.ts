import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Answer, isSameQuestion, readAnswer } from '../../src/dns/answer.ts'
import { Type } from '../../src/dns/constants.ts'
import { setCounts } from '../../src/dns/reply.ts'
import {
  a,
  bytes,
  cname,
  decode,
  message,
  opt,
  record,
  soa,
  TO_QUESTION,
  u16,
  u32,
  type WireMessage,
  type WireRecord,
  wire,
} from './messages.ts'

const QUESTION_END = 12 + wire('example.org').length + 4

function read(packet: Uint8Array, type: number = Type.A, answer: Answer = new Answer()): Answer | null {
  return readAnswer(bytes(1, 2, packet, 3), 2, packet.length, QUESTION_END, type, answer) ? answer : null
}

/** A reply to a question for example.org. */
function reply(parts: WireMessage, type: number = Type.A): Uint8Array {
  return message({ flags: 0x8180, questions: [['example.org', type]], ...parts })
}

function readReply(parts: WireMessage, type: number = Type.A): Answer | null {
  return read(reply(parts, type), type)
}

/** One answer of this type with this data. */
function withData(type: number, data: Uint8Array): Answer | null {
  return readReply({ answers: [record(type, 60, data)] }, type)
}

/** Of an A record, by the root. */
const RRSIG = record(Type.RRSIG, 60, bytes(u16(1), new Uint8Array(16), 0, 1))
const six = (last: number): WireRecord => record(Type.AAAA, 60, bytes(new Uint8Array(15), last))

describe('readAnswer', () => {
  it('notes counts, sections and the least TTL of all', () => {
    const answer = readReply({
      answers: [cname('a.example.org', 300), a(1, 60, 'a.example.org')],
      authorities: [record(Type.NS, 50, wire('ns.example.org'))],
      additionals: [a(2, 40, 'ns.example.org'), opt()],
    })!
    expect(answer).toMatchObject({ answers: 2, authorities: 1, additionals: 1, minTtl: 40, soaTtl: -1, ttlCount: 4 })
    expect(answer.hasAnswer).toBe(true)
    expect(answer.hasOpt).toBe(true)
    expect(answer.questionEnd).toBe(QUESTION_END)
  })

  it('notes where each TTL stands', () => {
    const packet = reply({
      answers: [a(1, 11), a(2, 22)],
      authorities: [soa('org', 33, 5)],
      additionals: [a(3, 44, 'x')],
    })
    const answer = read(packet)!
    const view = Buffer.from(packet)
    expect([...answer.ttlAt.subarray(0, answer.ttlCount)].map((at) => view.readUInt32BE(at))).toEqual([11, 22, 33, 44])
    expect(view.readUInt32BE(answer.soaTtlAt)).toBe(33)
  })

  it('takes the lesser of an SOA’s TTL and MINIMUM as the negative TTL, the first SOA’s', () => {
    expect(readReply({ authorities: [soa('org', 100, 30)] })!.soaTtl).toBe(30)
    expect(readReply({ authorities: [soa('org', 30, 100)] })!.soaTtl).toBe(30)
    expect(readReply({ authorities: [soa('org', 30, 20), soa('org', 10, 10)] })!.soaTtl).toBe(20)
    expect(readReply({ answers: [soa('org', 30, 20)] })!.soaTtl).toBe(-1)
    expect(readReply({})!.soaTtl).toBe(-1)
  })

  it('takes a TTL with the top bit set as zero', () => {
    expect(readReply({ answers: [a(1, 0x80000000)] })!.minTtl).toBe(0)
    expect(readReply({ answers: [a(1, 0x7fffffff)] })!.minTtl).toBe(0x7fffffff)
    expect(readReply({ authorities: [soa('org', 0xffffffff, 30)] })!.soaTtl).toBe(0)
  })

  it('knows whether the type asked is in the answer', () => {
    expect(readReply({ answers: [cname('x')] })!.hasAnswer).toBe(false)
    expect(readReply({ answers: [cname('x')] }, Type.CNAME)!.hasAnswer).toBe(true)
    expect(readReply({ answers: [cname('x')] }, Type.ANY)!.hasAnswer).toBe(true)
    expect(readReply({}, Type.ANY)!.hasAnswer).toBe(false)
  })

  it('joins the rcodes of header and OPT', () => {
    expect(readReply({ flags: 0x8183 })!.rcode).toBe(3)
    expect(readReply({ additionals: [opt({ rcode: 1 })] })!.rcode).toBe(16)
    expect(readReply({ flags: 0x8187, additionals: [opt({ rcode: 1 })] })!.rcode).toBe(23)
  })

  it('ends before the OPT, and drops what stands behind it', () => {
    const packet = reply({ answers: [a(1)], additionals: [a(2, 60, 'ns'), opt(), a(3, 60, 'x')] })
    const answer = read(packet)!
    const kept = packet.slice(0, answer.end)
    setCounts(kept, 0, answer.answers, answer.authorities, answer.additionals)
    expect(decode(kept).additionals.map(({ data }) => data)).toEqual(['192.0.2.2'])
    expect(answer.ttlCount).toBe(2)
  })

  it('ignores bytes behind the last record', () => {
    const packet = bytes(reply({ answers: [a(1)] }), 1, 2, 3)
    expect(read(packet)!.end).toBe(packet.length - 3)
  })

  it('keeps nothing of the reply before', () => {
    const answer = new Answer()
    read(reply({ answers: [a(1, 5), a(2, 5)], authorities: [soa('org', 9, 9)], additionals: [opt()] }), Type.A, answer)
    read(reply({}), Type.A, answer)
    expect(answer).toMatchObject({
      hasAnswer: false,
      hasOpt: false,
      soaTtl: -1,
      ttlCount: 0,
      rotateCount: 0,
      additionals: 0,
    })
    expect(answer.minTtl).toBe(0x7fffffff)
  })
})

describe('a run of addresses that may be rotated', () => {
  const alias = u16(0xc000 | (QUESTION_END + 12))

  it.each<[string, number, WireRecord[], number, number]>([
    ['two A', Type.A, [a(1), a(2)], 2, 16],
    ['three AAAA', Type.AAAA, [six(1), six(2), six(3)], 3, 28],
    ['A behind a CNAME that they point to', Type.A, [cname('b.example.org'), a(1, 60, alias), a(2, 60, alias)], 2, 16],
    ['A before an RRSIG', Type.A, [a(1), a(2), RRSIG], 2, 16],
  ])('is found: %s', (_, type, answers, count, size) => {
    const answer = readReply({ answers }, type)!
    expect([answer.rotateCount, answer.rotateSize]).toEqual([count, size])
    const first = answers.findIndex((one) => one.type === type)
    const before = message({ questions: [['example.org', type]], answers: answers.slice(0, first) })
    expect(answer.rotateAt).toBe(before.length)
  })

  it.each<[string, number, WireRecord[]]>([
    ['one A', Type.A, [a(1)]],
    ['no A', Type.A, []],
    ['texts', Type.TXT, [record(Type.TXT, 60, bytes(1, 65)), record(Type.TXT, 60, bytes(1, 66))]],
    ['A of different owners', Type.A, [a(1), a(2, 60, u16(0xc000 | 20))]],
    ['A with owners in full', Type.A, [a(1, 60, 'a'), a(2, 60, 'a')]],
    ['A with something between', Type.A, [a(1), RRSIG, a(2)]],
    ['A and then one more behind a CNAME', Type.A, [a(1), a(2), cname('x'), a(3)]],
    ['A whose first has its owner in full', Type.A, [a(1, 60, 'example.org'), a(2), a(3)]],
    ['addresses under ANY', Type.ANY, [a(1), a(2)]],
  ])('is not made of %s', (_, type, answers) => {
    expect(readReply({ answers }, type)!.rotateCount).toBeLessThanOrEqual(1)
  })
})

describe('a malformed reply', () => {
  const POINTER_AHEAD = u16(0xcfff)

  it.each<[string, WireMessage]>([
    ['an owner with a pointer ahead', { answers: [a(1, 60, POINTER_AHEAD)] }],
    ['an owner with a pointer into the header', { answers: [a(1, 60, u16(0xc002))] }],
    ['an owner that points at itself', { answers: [a(1, 60, u16(0xc000 | QUESTION_END))] }],
    ['an owner of a reserved label kind', { answers: [a(1, 60, bytes(0x41, 0))] }],
    [
      'an owner over 255 bytes',
      {
        answers: [
          a(
            1,
            60,
            bytes(
              63,
              new Uint8Array(63).fill(97),
              63,
              new Uint8Array(63).fill(97),
              63,
              new Uint8Array(63).fill(97),
              60,
              new Uint8Array(60),
              TO_QUESTION,
            ),
          ),
        ],
      },
    ],
    ['two OPTs', { additionals: [opt(), opt()] }],
    ['an OPT below a name', { additionals: [{ ...opt(), owner: TO_QUESTION }] }],
    ['an OPT in the answer section', { answers: [opt()] }],
    ['an OPT in the authority section', { authorities: [opt()] }],
    ['broken data in the authority section', { authorities: [a(1), record(Type.NS, 1, POINTER_AHEAD)] }],
    ['broken data in the additional section', { additionals: [record(Type.A, 1, bytes(1))] }],
    ['broken data behind the OPT', { additionals: [opt(), record(Type.A, 1, bytes(1))] }],
  ])('has %s', (_, parts) => {
    expect(readReply(parts) === null).toBe(true)
  })

  it.each<[string, number, Uint8Array]>([
    ['3 bytes', Type.A, new Uint8Array(3)],
    ['5 bytes', Type.A, new Uint8Array(5)],
    ['15 bytes', Type.AAAA, new Uint8Array(15)],
    ['no bytes', Type.CNAME, bytes()],
    ['bytes behind the name', Type.CNAME, bytes(wire('a'), 0)],
    ['a name that the data cuts off', Type.NS, bytes(3, 97)],
    ['a pointer ahead', Type.PTR, POINTER_AHEAD],
    ['half a pointer', Type.DNAME, bytes(0xc0)],
    ['a preference alone', Type.MX, u16(1)],
    ['a preference cut short', Type.MX, bytes(1)],
    ['no bytes', Type.MX, bytes()],
    ['bytes behind the name', Type.MX, bytes(u16(1), wire('a'), 9)],
    ['numbers alone', Type.SRV, u16(1, 2, 3)],
    ['a pointer ahead', Type.SRV, bytes(u16(1, 2, 3), POINTER_AHEAD)],
    ['no second name', Type.SOA, wire('a')],
    ['19 bytes of numbers', Type.SOA, bytes(wire('a'), wire('b'), new Uint8Array(19))],
    ['21 bytes of numbers', Type.SOA, bytes(wire('a'), wire('b'), new Uint8Array(21))],
    ['a pointer ahead as second name', Type.SOA, bytes(wire('a'), POINTER_AHEAD, new Uint8Array(20))],
  ])('has %s as data of type %i', (_, type, data) => {
    expect(withData(type, data) === null).toBe(true)
  })

  it('is cut off anywhere before its last record’s end', () => {
    const packet = reply({
      answers: [cname('a.example.org'), a(1, 60, 'a.example.org')],
      authorities: [soa('org', 1, 1)],
      additionals: [opt({ options: [[3, bytes(1)]] })],
    })
    expect(read(packet)).not.toBeNull()
    for (let length = QUESTION_END; length < packet.length; length++) {
      expect(read(packet.slice(0, length)) === null, `${length} bytes`).toBe(true)
    }
  })

  it('counts more records than fit into a message', () => {
    const packet = reply({})
    setCounts(packet, 0, 0xffff, 0, 0)
    expect(read(packet)).toBeNull()
    setCounts(packet, 0, 2000, 2000, 2001)
    expect(read(packet)).toBeNull()
  })

  it('takes as many records as a message can hold', () => {
    const empty = record(65_280, 1, bytes(), bytes(0))
    const answers = Array.from({ length: 5955 }, () => empty)
    expect(readReply({ answers })!.ttlCount).toBe(5955)
  })
})

describe('compressed names in data', () => {
  it.each<[string, number, Uint8Array]>([
    ['CNAME', Type.CNAME, TO_QUESTION],
    ['NS', Type.NS, bytes(2, 110, 115, TO_QUESTION)],
    ['MX', Type.MX, bytes(u16(10), TO_QUESTION)],
    ['SRV', Type.SRV, bytes(u16(1, 2, 3), TO_QUESTION)],
    ['SOA', Type.SOA, bytes(TO_QUESTION, 1, 97, TO_QUESTION, u32(1, 2, 3, 4, 5))],
    ['MX of the root', Type.MX, bytes(u16(0), 0)],
  ])('are taken in %s', (_, type, data) => {
    expect(withData(type, data)).not.toBeNull()
  })
})

describe('isSameQuestion', () => {
  const asked = bytes(1, wire('example.org'), u16(Type.A))
  const length = wire('example.org').length
  const isSame = (packet: Uint8Array): boolean => isSameQuestion(bytes(9, packet), 1, packet.length, asked, 1, length)

  it('takes the question asked in any case', () => {
    expect(isSame(message({ questions: [['eXaMple.ORG', Type.A]] }))).toBe(true)
  })

  it.each<[string, Uint8Array]>([
    ['another name', message({ questions: [['example.orh', Type.A]] })],
    ['a longer name', message({ questions: [['example.org.a', Type.A]] })],
    ['a shorter name', message({ questions: [['org', Type.A]] })],
    ['another type', message({ questions: [['example.org', Type.AAAA]] })],
    ['another type with the same low byte', message({ questions: [['example.org', 0x0101]] })],
    ['another class', message({ questions: [['example.org', Type.A, 3]] })],
    ['no question', message({})],
    [
      'two',
      message({
        questions: [
          ['example.org', Type.A],
          ['example.org', Type.A],
        ],
      }),
    ],
    ['a question cut off', message({ questions: [['example.org', Type.A]] }).slice(0, -1)],
  ])('takes none with %s', (_, packet) => {
    expect(isSame(packet)).toBe(false)
  })
})

/** Types whose data is checked; dns-packet is no oracle for the others, as a resolver passes them on as they are. */
const CHECKED = new Set<number>([
  Type.A,
  Type.AAAA,
  Type.NS,
  Type.CNAME,
  Type.PTR,
  Type.DNAME,
  Type.MX,
  Type.SRV,
  Type.SOA,
])

const ownerOrTarget = fc.oneof(
  fc.constant(TO_QUESTION),
  fc.constantFrom('a', 'b.example.org', '.', 'www.example.com').map(wire),
  fc.constant(bytes(1, 97, TO_QUESTION)),
  fc.nat(80).map((at) => u16(0xc000 | at)),
)

const anyRecord: fc.Arbitrary<WireRecord> = fc
  .record({
    owner: ownerOrTarget,
    type: fc.constantFrom(...CHECKED, 65_280),
    ttl: fc.nat(0xffffffff),
    target: ownerOrTarget,
    second: ownerOrTarget,
    number: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  })
  .map(({ owner, type, ttl, target, second, number }) => {
    const data =
      type === Type.A
        ? number.slice(0, 4)
        : type === Type.MX
          ? bytes(number.slice(0, 2), target)
          : type === Type.SRV
            ? bytes(number.slice(0, 6), target)
            : type === Type.SOA
              ? bytes(target, second, number, number.slice(0, 4))
              : type === Type.AAAA || type === 65_280
                ? number
                : target
    return { owner, type, class: 1, ttl, data }
  })

const anyReply = fc
  .record({
    answers: fc.array(anyRecord, { maxLength: 4 }),
    authorities: fc.array(anyRecord, { maxLength: 2 }),
    additionals: fc.array(fc.oneof(anyRecord, fc.constant(opt())), { maxLength: 3 }),
  })
  .map((parts) => reply(parts))

const mutated = fc
  .tuple(anyReply, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), fc.option(fc.nat(), { freq: 3 }))
  .map(([packet, changes, cut]) => {
    const changed = packet.slice(0, cut === null ? undefined : Math.max(QUESTION_END, cut % packet.length))
    for (const [at, value] of changes) {
      const place = at % changed.length
      // The header's id and flags and the question have been matched before.
      if (place >= 6 && (place < 12 || place >= QUESTION_END)) changed[place] = value
    }
    return changed
  })

/** The message as it is kept: without the OPT and what is behind it. Null if a type is in it that nobody checks. */
function keptOf(packet: Uint8Array, answer: Answer): Uint8Array | null {
  const kept = packet.slice(0, answer.end)
  setCounts(kept, 0, answer.answers, answer.authorities, answer.additionals)
  for (let k = 0; k < answer.ttlCount; k++) {
    const at = answer.ttlAt[k]! - 4
    const type = (kept[at]! << 8) | kept[at + 1]!
    if (type < 65_280 && !CHECKED.has(type)) return null
  }
  return kept
}

describe('readAnswer beside dns-packet', () => {
  it('reads alike what dns-packet has read', () => {
    let taken = 0
    fc.assert(
      fc.property(anyReply, (packet) => {
        const answer = read(packet)
        if (answer === null) return
        taken++
        const kept = keptOf(packet, answer)!
        const oracle = decode(kept)
        const records = [...oracle.answers, ...oracle.authorities, ...oracle.additionals]
        const view = Buffer.from(kept)
        expect([...answer.ttlAt.subarray(0, answer.ttlCount)].map((at) => view.readUInt32BE(at))).toEqual(
          records.map(({ ttl }) => ttl),
        )
        expect(answer.hasAnswer).toBe(oracle.answers.some(({ type }) => type === 'A'))
        const counted = records.map(({ ttl }) => (ttl > 0x7fffffff ? 0 : ttl))
        expect(answer.minTtl).toBe(Math.min(0x7fffffff, ...counted))
        expect(answer.soaTtl < 0).toBe(!oracle.authorities.some(({ type }) => type === 'SOA'))
      }),
      { numRuns: 1000 },
    )
    expect(taken).toBeGreaterThan(100)
  })

  it('takes any bytes without throwing, and what it takes dns-packet can decode', () => {
    let taken = 0
    const answer = new Answer()
    const noise = fc.uint8Array({ maxLength: 120 }).map((tail) => bytes(reply({}), tail))
    fc.assert(
      fc.property(fc.oneof({ weight: 5, arbitrary: mutated }, { weight: 1, arbitrary: noise }), (packet) => {
        if (read(packet, Type.A, answer) === null) return
        expect(answer.end).toBeLessThanOrEqual(packet.length)
        const kept = keptOf(packet, answer)
        if (kept === null) return
        taken++
        expect(() => decode(kept), Buffer.from(kept).toString('hex')).not.toThrow()
      }),
      { numRuns: 5000 },
    )
    expect(taken).toBeGreaterThan(500)
  })
})
