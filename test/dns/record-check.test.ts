import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Answer, readAnswer } from '../../src/dns/answer.ts'
import { Type } from '../../src/dns/constants.ts'
import { expandName } from '../../src/dns/name.ts'
import { setCounts } from '../../src/dns/reply.ts'
import { a, bytes, cname, decode, message, record, TO_QUESTION, u16, u32, wire, type WireRecord } from './messages.ts'

const QUESTION = 'www.example.org'
const QUESTION_END = 12 + wire(QUESTION).length + 4
/** Of the first record, whose owner points to the question. */
const FIRST_TTL = QUESTION_END + 2 + 4
const FIRST_DATA = FIRST_TTL + 6
const START = 5

function read(answers: WireRecord[], type: number = Type.A): boolean {
  const packet = message({ flags: 0x8180, questions: [[QUESTION, type]], answers })
  return readAnswer(bytes(new Uint8Array(START), packet), START, packet.length, QUESTION_END, type, new Answer())
}

const pointer = (offset: number): Uint8Array => u16(0xc000 | offset)
/** Records whose owner is a pointer to the owner before. */
const chain = (length: number): WireRecord[] =>
  Array.from({ length }, (_, k) => a(k, 60, k === 0 ? TO_QUESTION : pointer(QUESTION_END + (k - 1) * 16)))

describe('a name may lead back to', () => {
  it.each<[string, WireRecord[]]>([
    ['the question', [a(1, 60, TO_QUESTION)]],
    ['a part of the question', [a(1, 60, pointer(12 + 4))]],
    ['the data of a record', [cname('cdn.example'), a(1, 60, pointer(FIRST_DATA))]],
    ['a part of it', [cname('cdn.example'), a(1, 60, pointer(FIRST_DATA + 4))]],
    ['the owner of a record', [a(1, 60, 'other.example'), a(2, 60, pointer(QUESTION_END))]],
    ['a pointer', [a(1), a(2, 60, pointer(QUESTION_END))]],
    ['its own record’s owner', [record(Type.CNAME, 60, bytes(1, 97, pointer(QUESTION_END)), 'b.example')]],
    [
      'the name before it in the same data',
      [record(Type.SOA, 60, bytes(wire('ns.example'), pointer(FIRST_DATA), u32(1, 2, 3, 4, 5)))],
    ],
    // BIND points to names in the data of types that may not be compressed themselves.
    [
      'the data of a type that nobody knows',
      [record(Type.NSEC, 60, bytes(wire('b.example'), 0, 1, 64)), a(1, 60, pointer(FIRST_DATA))],
    ],
  ])('%s', (_, answers) => {
    expect(read(answers)).toBe(true)
  })
})

describe('a name may not lead back to', () => {
  // 1 a 0: a name, if it is read as one.
  const NAME_TTL = 0x00_01_61_00
  it.each<[string, WireRecord[]]>([
    ['a TTL that counts down', [a(1, NAME_TTL), a(2, 60, pointer(FIRST_TTL + 1))]],
    ['a TTL that is a pointer', [a(1, 0xc00c), a(2, 60, pointer(FIRST_TTL + 2))]],
    ['the length of data', [record(Type.TXT, 60, bytes(0)), a(2, 60, pointer(FIRST_TTL + 4))]],
    ['the type of a record', [a(1, 60), a(2, 60, pointer(FIRST_TTL - 4))]],
    ['an address, which changes its place', [record(Type.A, 60, bytes(2, 97, 98, 0)), a(2, 60, pointer(FIRST_DATA))]],
    ['an IPv6 address', [record(Type.AAAA, 60, bytes(1, 97, 0, new Uint8Array(13))), a(2, 60, pointer(FIRST_DATA))]],
    ['the type of the question', [a(1, 60, pointer(QUESTION_END - 4))]],
    ['the class of the question', [a(1, 60, pointer(QUESTION_END - 2))]],
    [
      'data from which it runs on into the next record',
      [record(65_280, 60, bytes(9, 1)), a(1), a(2, 60, pointer(FIRST_DATA))],
    ],
  ])('%s', (_, answers) => {
    expect(read(answers)).toBe(false)
  })

  it('a chain of pointers that has no end in sight', () => {
    expect(read(chain(60))).toBe(true)
    expect(read(chain(70))).toBe(false)
  })

  it('and reading the longest chains there can be takes no time to speak of', () => {
    const many = chain(1000)
    const startedAt = performance.now()
    for (let n = 0; n < 20; n++) expect(read(many)).toBe(false)
    expect(performance.now() - startedAt).toBeLessThan(1000)
  })
})

/** Names as they may be: whole, or with a pointer to anywhere. */
const anyName = fc.oneof(
  fc.constant(TO_QUESTION),
  fc.constantFrom('a', 'b.example.org', '.').map(wire),
  fc.nat(200).map(pointer),
  fc.nat(200).map((at) => bytes(1, 97, pointer(at))),
)
const anyRecord = fc
  .record({
    owner: anyName,
    type: fc.constantFrom<number>(Type.A, Type.A, Type.CNAME, Type.MX, 65_280),
    ttl: fc.oneof(
      fc.nat(0xffffffff),
      fc.nat(200).map((at) => (0xc000 | at) >>> 0),
      fc.constantFrom(0x0161_0000, 0x6100),
    ),
    name: anyName,
    address: fc.uint8Array({ minLength: 4, maxLength: 4, max: 4 }),
  })
  .map(({ owner, type, ttl, name, address }): WireRecord => {
    const data = type === Type.A ? address : type === Type.MX ? bytes(0, 5, name) : type === Type.CNAME ? name : address
    return { owner, type, class: 1, ttl, data }
  })

it('what is taken reads the same when TTLs are others and addresses have changed places', () => {
  let taken = 0
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 8 }), fc.nat(0xffffffff), (answers, ttl) => {
      const packet = message({ flags: 0x8180, questions: [[QUESTION, Type.A]], answers })
      const answer = new Answer()
      if (!readAnswer(packet, 0, packet.length, QUESTION_END, Type.A, answer)) return
      taken++
      const names = (bytesOf: Uint8Array): string[] => namesOf(bytesOf, answer)
      const before = names(packet)
      const served = packet.slice()
      const view = new DataView(served.buffer)
      for (let k = 0; k < answer.ttlCount; k++) view.setUint32(answer.ttlAt[k]!, ttl)
      const { rotateAt, rotateSize, rotateCount } = answer
      for (let k = 0; k < rotateCount; k++) {
        const from = rotateAt + ((k + 1) % rotateCount) * rotateSize
        served.set(packet.subarray(from, from + rotateSize), rotateAt + k * rotateSize)
      }
      if (rotateCount > 0) for (let k = 0; k < answer.ttlCount; k++) view.setUint32(answer.ttlAt[k]!, ttl)
      expect(names(served)).toEqual(before)
      setCounts(served, 0, answer.answers, 0, 0)
      expect(() => decode(served)).not.toThrow()
    }),
    { numRuns: 4000 },
  )
  expect(taken).toBeGreaterThan(300)
})

/** Owners of all records, and the names in the data of those that have one, expanded. */
function namesOf(packet: Uint8Array, answer: Answer): string[] {
  const out = new Uint8Array(256)
  const expand = (at: number): string => {
    const length = expandName(packet, 0, at, packet.length, out, 0)
    expect(length).toBeGreaterThan(0)
    return Buffer.from(out.subarray(0, length)).toString('latin1')
  }
  const names: string[] = []
  let at = QUESTION_END
  for (let k = 0; k < answer.ttlCount; k++) {
    const data = answer.ttlAt[k]! + 6
    const type = (packet[data - 10]! << 8) | packet[data - 9]!
    names.push(expand(at))
    if (type === Type.CNAME) names.push(expand(data))
    if (type === Type.MX) names.push(expand(data + 2))
    at = data + ((packet[data - 2]! << 8) | packet[data - 1]!)
  }
  return names
}
