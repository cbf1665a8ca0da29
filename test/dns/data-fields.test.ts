/** Names in the data of records: sound, written out where they must be, and wherever else the records are moved to. */
import { describe, expect, test } from 'vitest'
import { Answer } from '../../src/dns/answer.ts'
import { Type } from '../../src/dns/constants.ts'
import { readReply } from '../../src/dns/scrub.ts'
import { a, bytes, message, record, u16, wire, type WireRecord } from './messages.ts'

const QUESTION = 'www.shop.example'
const QUESTION_END = 12 + wire(QUESTION).length + 4
const [SIG, NXT, NAPTR, KX, RP, UNKNOWN] = [24, 30, 35, 36, 17, 65_280]

/** The data of the first answer as clients get it, null if the reply is malformed. */
function dataOf(type: number, answers: WireRecord[]): Uint8Array | null {
  const packet = message({ flags: 0x8180, questions: [[QUESTION, type]], answers })
  const answer = new Answer()
  if (!readReply(packet, 0, packet.length, QUESTION_END, type, true, answer)) return null
  expect(answer.answers).toBe(1)
  const stop = answer.start + answer.end
  const fixed = answer.start + QUESTION_END + 2
  return answer.packet.slice(fixed + 10, stop)
}

/** Each type's data around a name. */
const SHAPES: [string, number, (name: Uint8Array) => Uint8Array][] = [
  ['SVCB', Type.SVCB, (name) => bytes(u16(1), name, u16(1, 3), 2, 104, 50)],
  ['HTTPS', Type.HTTPS, (name) => bytes(u16(1), name)],
  ['NAPTR', NAPTR, (name) => bytes(u16(1, 2), 1, 115, 3, 83, 73, 80, 0, name)],
  ['RRSIG', Type.RRSIG, (name) => bytes(u16(1), new Uint8Array(16), name, 9, 9, 9)],
  ['SIG', SIG, (name) => bytes(u16(1), new Uint8Array(16), name, 9, 9, 9)],
  ['NSEC', Type.NSEC, (name) => bytes(name, 0, 1, 0x40)],
  ['NXT', NXT, (name) => bytes(name, 0x40)],
  ['KX', KX, (name) => bytes(u16(1), name)],
  ['RP', RP, (name) => bytes(name, name)],
  ['SRV', Type.SRV, (name) => bytes(u16(1, 2, 3), name)],
  ['DNAME', Type.DNAME, (name) => name],
]

describe.each(SHAPES)('%s', (_, type, around) => {
  test('with a compressed name gets it written out: clients may not expand it there', () => {
    const compressed = bytes(1, 97, u16(0xc000 | 16))
    expect(dataOf(type, [record(type, 60, around(compressed))])).toEqual(around(wire('a.shop.example')))
  })

  test('with a whole name is left as it is', () => {
    expect(dataOf(type, [record(type, 60, around(wire('host.shop.example')))])).toEqual(
      around(wire('host.shop.example')),
    )
  })

  test.each([
    ['beyond the message', u16(0xffff)],
    ['into the header', u16(0xc004)],
    ['ahead', u16(0xc000 | (QUESTION_END + 100))],
    ['to a name that is cut off', bytes(9, 97)],
    ['to nothing: half a pointer', bytes(0xc0)],
    ['to a label of a reserved kind', bytes(0x41, 97, 0)],
  ])('with a name that leads %s is malformed', (_name, name) => {
    expect(dataOf(type, [record(type, 60, around(name))]) === null).toBe(true)
  })
})

test('a name keeps its meaning where the record it was compressed against is left out', () => {
  const dropped = a(66, 60, 'bank.test')
  const compressed = bytes(3, Buffer.from('cdn'), u16(0xc000 | QUESTION_END))
  expect(dataOf(Type.HTTPS, [dropped, record(Type.HTTPS, 60, bytes(u16(1), compressed))])).toEqual(
    bytes(u16(1), wire('cdn.bank.test')),
  )
})

test.each([
  ['a value beyond the data', bytes(u16(1), wire('a.test'), u16(1, 9), 1)],
  ['keys that fall', bytes(u16(1), wire('a.test'), u16(3, 0), u16(1, 0))],
  ['a key twice', bytes(u16(1), wire('a.test'), u16(3, 0), u16(3, 0))],
  ['half a key', bytes(u16(1), wire('a.test'), 0)],
])('service parameters with %s are malformed (RFC 9460 §2.2)', (_, data) => {
  expect(dataOf(Type.HTTPS, [record(Type.HTTPS, 60, data)]) === null).toBe(true)
})

test('the data of types that nobody knows are opaque: never read, never changed', () => {
  for (const data of [bytes(), u16(0xffff), bytes(3, 1), u16(0xc000 | 16), new Uint8Array(300).fill(0xc0)])
    expect(dataOf(UNKNOWN, [a(66, 60, 'bank.test'), record(UNKNOWN, 60, data)])).toEqual(data)
})

test('what is behind the name of a type is its own, and a string may not run past the data', () => {
  expect(dataOf(NAPTR, [record(NAPTR, 60, bytes(u16(1, 2), 200, 115))]) === null).toBe(true)
  expect(dataOf(Type.SRV, [record(Type.SRV, 60, bytes(u16(1, 2, 3), wire('a.test'), 0))]) === null).toBe(true)
})
