import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { nameToText } from '../../src/dns/name.ts'
import { opcodeOf, Query, readQuery, Verdict } from '../../src/dns/query.ts'
import { a, bytes, decode, message, opt, record, u16, type WireMessage } from './messages.ts'

const COOKIE = 10
const QUESTION: WireMessage = { questions: [['example.org', Type.A]] }

function read(packet: Uint8Array, query: Query = new Query()): number {
  return readQuery(bytes(1, 2, 3, packet, 4), 3, packet.length, 5, query)
}

function withOpt(...additionals: ReturnType<typeof opt>[]): Uint8Array {
  return message({ ...QUESTION, additionals })
}

function withCookie(length: number): Uint8Array {
  return withOpt(opt({ options: [[COOKIE, new Uint8Array(length)]] }))
}

/** An OPT whose data is not what its options say. */
function withOptions(data: Uint8Array): Uint8Array {
  return withOpt({ ...opt(), data })
}

describe('readQuery', () => {
  it.each<[string, number, Uint8Array]>([
    ['a plain question', Verdict.OK, message(QUESTION)],
    ['a question for the root', Verdict.OK, message({ questions: [['.', Type.NS]] })],
    ['trailing bytes', Verdict.OK, bytes(message(QUESTION), 0, 1, 2)],
    ['an additional record that is no OPT', Verdict.OK, message({ ...QUESTION, additionals: [a(1)] })],
    ['no bytes', Verdict.DROP_RUNT, bytes()],
    ['a header cut short', Verdict.DROP_RUNT, message(QUESTION).slice(0, 11)],
    ['a response', Verdict.DROP_RESPONSE, message({ ...QUESTION, flags: 0x8180 })],
    ['a response of another opcode', Verdict.DROP_RESPONSE, message({ ...QUESTION, flags: 0xa800 })],
    ['opcode STATUS', Rcode.NOTIMP, message({ ...QUESTION, flags: 0x1000 })],
    ['opcode NOTIFY', Rcode.NOTIMP, message({ ...QUESTION, flags: 0x2000 })],
    ['opcode UPDATE', Rcode.NOTIMP, message({ ...QUESTION, flags: 0x2800 })],
    ['opcode DSO without a question', Rcode.NOTIMP, message({ flags: 0x3000 })],
    ['no question', Rcode.FORMERR, message({})],
    ['no question but an OPT without a cookie', Rcode.FORMERR, message({ additionals: [opt()] })],
    [
      'no question but a cookie',
      Verdict.OK,
      message({ additionals: [opt({ options: [[COOKIE, new Uint8Array(8)]] })] }),
    ],
    [
      'no question but a cookie and an answer',
      Rcode.FORMERR,
      message({ answers: [a(1, 1, 'a')], additionals: [opt({ options: [[COOKIE, new Uint8Array(8)]] })] }),
    ],
    [
      'no question and a broken additional section',
      Rcode.FORMERR,
      message({ additionals: [opt({ options: [[COOKIE, new Uint8Array(8)]] })] }).slice(0, -1),
    ],
    [
      'two questions',
      Rcode.FORMERR,
      message({
        questions: [
          ['a', 1],
          ['b', 1],
        ],
      }),
    ],
    ['a question cut off in its name', Rcode.FORMERR, message(QUESTION).slice(0, 20)],
    ['a question cut off behind its name', Rcode.FORMERR, message(QUESTION).slice(0, -1)],
    ['a compressed question', Rcode.FORMERR, bytes(u16(1, 0x100, 1, 0, 0, 0, 0xc00c, 1, 1))],
    ['class CH', Rcode.REFUSED, message({ questions: [['version.bind', Type.TXT, 3]] })],
    ['class ANY', Rcode.REFUSED, message({ questions: [['a', Type.A, 255]] })],
    ['AXFR', Rcode.REFUSED, message({ questions: [['a', Type.AXFR]] })],
    [
      'IXFR with the SOA it carries',
      Rcode.REFUSED,
      message({ questions: [['a', Type.IXFR]], authorities: [a(1, 1, 'a')] }),
    ],
    ['an answer in a question', Rcode.FORMERR, message({ ...QUESTION, answers: [a(1)] })],
    ['type 0', Rcode.FORMERR, message({ questions: [['a', 0]] })],
    ['type OPT', Rcode.FORMERR, message({ questions: [['a', Type.OPT]] })],
    ['an OPT', Verdict.OK, withOpt(opt())],
    ['two OPTs', Rcode.FORMERR, withOpt(opt(), opt())],
    ['an OPT below a name', Rcode.FORMERR, withOpt({ ...opt(), owner: bytes(1, 0x61, 0) })],
    ['an OPT with a pointer as owner', Rcode.FORMERR, withOpt({ ...opt(), owner: u16(0xc000) })],
    ['an OPT that is counted but not there', Rcode.FORMERR, withOpt(opt()).slice(0, -11)],
    ['an OPT cut off in its fixed part', Rcode.FORMERR, withOpt(opt()).slice(0, -1)],
    ['an OPT cut off in its data', Rcode.FORMERR, withCookie(8).slice(0, -1)],
    ['EDNS version 1', Rcode.BADVERS, withOpt(opt({ version: 1 }))],
    ['EDNS version 1 with options unlike ours', Rcode.BADVERS, withOpt({ ...opt({ version: 1 }), data: bytes(1) })],
    [
      'class CH in EDNS version 1',
      Rcode.REFUSED,
      message({ questions: [['a', 1, 3]], additionals: [opt({ version: 1 })] }),
    ],
    ['a client cookie', Verdict.OK, withCookie(8)],
    ['a client and a server cookie', Verdict.OK, withCookie(16)],
    ['the longest cookie', Verdict.OK, withCookie(40)],
    ['an empty cookie', Rcode.FORMERR, withCookie(0)],
    ['a cookie of 7 bytes', Rcode.FORMERR, withCookie(7)],
    ['a cookie of 15 bytes', Rcode.FORMERR, withCookie(15)],
    ['a cookie of 41 bytes', Rcode.FORMERR, withCookie(41)],
    ['an option cut off in its head', Rcode.FORMERR, withOptions(bytes(u16(3), 0))],
    ['an option longer than the OPT', Rcode.FORMERR, withOptions(bytes(u16(3, 2), 0))],
    ['options that nobody knows', Verdict.OK, withOptions(bytes(u16(65_001, 1), 0, u16(3, 0)))],
  ])('says of %s: %i', (_, verdict, packet) => {
    expect(read(packet)).toBe(verdict)
  })

  it('reads what the OPT says', () => {
    const query = new Query()
    const options: [number, Uint8Array][] = [
      [12, new Uint8Array(5)],
      [COOKIE, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
    ]
    read(withOpt(opt({ payload: 4000, dnssecOk: true, options })), query)
    expect([query.hasEdns, query.payloadSize, query.dnssecOk, query.ednsVersion]).toEqual([true, 4000, true, 0])
    const cookie = query.packet.subarray(query.cookieAt, query.cookieAt + query.cookieLength)
    expect([...cookie]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('takes a payload size under 512 as 512', () => {
    const query = new Query()
    read(withOpt(opt({ payload: 0 })), query)
    expect(query.payloadSize).toBe(512)
    read(withOpt(opt({ payload: 511 })), query)
    expect(query.payloadSize).toBe(512)
    read(withOpt(opt({ payload: 513 })), query)
    expect(query.payloadSize).toBe(513)
  })

  it('keeps nothing of the query before', () => {
    const query = new Query()
    read(withOpt(opt({ payload: 4000, dnssecOk: true, version: 0, options: [[COOKIE, new Uint8Array(8)]] })), query)
    read(message({ questions: [['a', 1]] }), query)
    expect([query.hasEdns, query.payloadSize, query.dnssecOk, query.cookieAt]).toEqual([false, 512, false, 0])
    read(withOpt(opt({ version: 1 })), query)
    expect(read(message(QUESTION), query)).toBe(Verdict.OK)
  })

  it('leaves what was read before a fault', () => {
    const query = new Query()
    read(message({ id: 7, flags: 0x0110, questions: [['a.b', Type.AXFR]], additionals: [opt()] }), query)
    expect([query.id, query.flags, query.type, query.hasEdns]).toEqual([7, 0x0110, Type.AXFR, true])
    expect(query.questionEnd).toBe(query.at + 12 + 5 + 4)
    read(message({ questions: [] }), query)
    expect(query.questionEnd).toBe(query.at)
  })

  it('tells opcodes apart', () => {
    const query = new Query()
    read(message({ flags: 0x2800 }), query)
    expect(opcodeOf(query)).toBe(5)
    read(message({ flags: 0x3000 }), query)
    expect(opcodeOf(query)).toBe(6)
  })
})

const name = fc
  .array(fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/), { maxLength: 6 })
  .map((labels) => `${labels.join('.')}.`)

const ednsOptions = fc.array(fc.tuple(fc.integer({ min: 65_001, max: 65_534 }), fc.uint8Array({ maxLength: 30 })), {
  maxLength: 4,
})

const query = fc.record({
  id: fc.nat(0xffff),
  flags: fc.nat(0x07ff),
  name,
  type: fc.constantFrom(1, 28, 5, 15, 16, 12, 2),
  edns: fc.option(
    fc.record({
      payload: fc.nat(0xffff),
      version: fc.constantFrom(0, 0, 0, 1),
      dnssecOk: fc.boolean(),
      options: ednsOptions,
    }),
  ),
})

describe('readQuery beside dns-packet', () => {
  it('reads alike what dns-packet has read', () => {
    fc.assert(
      fc.property(query, ({ id, flags, name: asked, type, edns }) => {
        const packet = message({
          id,
          flags,
          questions: [[asked, type]],
          additionals: edns === null ? [] : [opt(edns)],
        })
        const oracle = decode(packet)
        const got = new Query()
        const verdict = read(packet, got)
        expect(verdict).toBe(edns?.version === 1 ? Rcode.BADVERS : Verdict.OK)
        expect(got.id).toBe(oracle.id)
        expect(got.flags).toBe(oracle.flags)
        expect(nameToText(got.name.lower)).toBe(
          oracle.questions[0]!.name === '.' ? '.' : `${oracle.questions[0]!.name.toLowerCase()}.`,
        )
        expect(oracle.questions[0]!.type).toBe(Object.entries(Type).find(([, code]) => code === got.type)![0])
        expect(got.class).toBe(1)
        expect(got.hasEdns).toBe(oracle.opt !== null)
        if (oracle.opt === null) return
        expect(got.dnssecOk).toBe(oracle.opt.flag_do)
        expect(got.ednsVersion).toBe(oracle.opt.ednsVersion)
        expect(got.payloadSize).toBe(Math.max(512, oracle.opt.udpPayloadSize!))
      }),
      { numRuns: 500 },
    )
  })

  it('takes any bytes without throwing, and what it takes dns-packet takes as well', () => {
    const mutated = fc
      .tuple(
        query,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.nat(),
        fc.uint8Array({ maxLength: 12 }),
      )
      .map(([{ id, flags, name: asked, type, edns }, changes, cut, tail]) => {
        const packet = message({
          id,
          flags,
          questions: [[asked, type]],
          additionals: edns === null ? [] : [opt(edns)],
        })
        for (const [at, value] of changes) packet[at % packet.length] = value
        return bytes(cut % 4 === 0 ? packet.slice(0, cut % packet.length) : packet, tail)
      })
    const got = new Query()
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), (packet) => {
        const verdict = read(packet, got)
        expect(verdict).toBeGreaterThanOrEqual(Verdict.DROP_RESPONSE)
        expect(got.questionEnd).toBeLessThanOrEqual(got.end)
        if (verdict !== Verdict.OK || packet[11] !== 0 || packet[10] !== 0) return
        expect(() => decode(packet.slice(0, got.questionEnd - got.at))).not.toThrow()
      }),
      { numRuns: 3000 },
    )
  })

  it('finds an OPT behind other records', () => {
    const got = new Query()
    const packet = message({ ...QUESTION, additionals: [record(16, 0, bytes(1, 65), 'x'), opt({ payload: 2000 })] })
    expect(read(packet, got)).toBe(Verdict.OK)
    expect(got.payloadSize).toBe(2000)
  })
})
