import * as fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { lineOf } from '../../src/base/log.ts'
import { encodeNameTable, nameTableToJson, type NameTable, parseNameTableJson } from '../../src/table/nds.ts'
import { encodeNameTableJson } from '../../src/table/nds-json.ts'
import { decodeNameTable } from './decode-name-table.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** The table, or the message of what is wrong with the file. */
type Read = NameTable | string

function readOf(read: () => Uint8Array): Read {
  try {
    return decodeNameTable(read())
  } catch (error) {
    return lineOf(error)
  }
}

const inPlace = (json: Buffer): Read => readOf(() => encodeNameTableJson(json))
const throughObjects = (json: Buffer): Read =>
  readOf(() => encodeNameTable(parseNameTableJson(new TextDecoder().decode(json))))

const text = fc.string({ unit: 'binary' })
const tables: fc.Arbitrary<NameTable> = fc
  .array(
    fc.tuple(
      fc.oneof(text, fc.constantFrom('__proto__', 'a.example', '1', 'toString')),
      fc.record({ ips: fc.array(text), registry: text, shortname: text, namespace: text, altHosts: fc.array(text) }),
    ),
  )
  .map((entries) => new Map(entries))

/** JSON of a table as somebody else may write it: other white space, every character escaped. */
const spellings: fc.Arbitrary<Buffer> = fc
  .tuple(tables, fc.constantFrom('', ' ', '\n\t', '\r\n  '), fc.boolean())
  .map(([table, space, isEscaped]) => {
    const json = JSON.stringify(JSON.parse(nameTableToJson(table)), null, space)
    const escaped = json.replace(/[\u0080-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
    return Buffer.from(`${space}${isEscaped ? escaped : json}${space}`)
  })

const PIECES = [
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '"',
  '\\',
  '"table"',
  '"a.example"',
  '"ips"',
  '"altHosts"',
  '"alt_hosts"',
  '"registry"',
  '"x"',
  'null',
  'nul',
  '1',
  ' ',
  '\u0001',
  '\ufeff',
  'ä',
]

describe('a table file that is read in place says what one does that is read as objects', () => {
  test('however it is spelt', () => {
    fc.assert(
      fc.property(spellings, (json) => {
        expect(inPlace(json)).toEqual(throughObjects(json))
      }),
    )
  })

  test('when pieces of it are put elsewhere, left out or replaced by any bytes', () => {
    const edit = fc.record({
      at: fc.nat(),
      length: fc.nat({ max: 20 }),
      by: fc.oneof(
        fc.constantFrom(...PIECES).map((piece) => Buffer.from(piece)),
        fc.uint8Array({ maxLength: 4 }),
      ),
    })
    fc.assert(
      fc.property(spellings, fc.array(edit, { minLength: 1, maxLength: 3 }), (json, edits) => {
        let edited: Buffer = json
        for (const { at, length, by } of edits) {
          const start = at % (edited.length + 1)
          edited = Buffer.concat([edited.subarray(0, start), by, edited.subarray(start + length)])
        }
        expect(inPlace(edited)).toEqual(throughObjects(edited))
      }),
      { numRuns: 500 },
    )
  })

  test('and when it is made of pieces at random', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...PIECES), { maxLength: 30 }), (pieces) => {
        const json = Buffer.from(`{"table":${pieces.join('')}`)
        expect(inPlace(json)).toEqual(throughObjects(json))
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['', /^not JSON: /],
    ['{}', []],
    ['{"table":null}', []],
    ['{"table":{}}', []],
    ['{"table":{}} x', /^not JSON: /],
    ['{"table":{},"table":{"a.example":{}}}', ['a.example']],
    ['{"tab\\u006ce":{"a.example":{}}}', ['a.example']],
    ['{"table":{"a.example":{"ips":["192.0.2.1"]},"a.example":{"ips":["192.0.2.2"]}}}', ['a.example 192.0.2.2']],
    ['{"table":{"a.example":{"ips":["192.0.2.1"],"ips":["192.0.2.2"]}}}', ['a.example 192.0.2.2']],
    ['{"table":{"a.example":{"altHosts":["x"],"alt_hosts":["y"]}}}', ['a.example y']],
    ['{"table":{"a.example":{"ips":null,"registry":""}}}', ['a.example']],
    ['{"table":{"a.example":{},}}', /^not JSON: /],
    ['{"table":{"a.example":null}}', /^host "a\.example": expected an object/],
    ['{"table":{"a.example":{"ip":1}}}', /^host "a\.example": unknown field "ip"/],
    ['{"table":{"b\u00fccher.example":{"ips":["192.0.2.1"]}}}', ['bücher.example 192.0.2.1']],
    ['\ufeff{"table":{"a.example":{}}}', ['a.example']],
    ['{"table":{"a\nb":{}}}', /^not JSON: /],
  ])('%j', (json, expected) => {
    const read = inPlace(Buffer.from(json))
    expect(read).toEqual(throughObjects(Buffer.from(json)))
    if (expected instanceof RegExp) return expect(read).toMatch(expected)
    const shown =
      typeof read === 'string'
        ? []
        : [...read].map(([host, { ips, altHosts }]) => [host, ...ips, ...altHosts].join(' '))
    expect(shown).toEqual(expected)
  })
})

test('no text and no object is made of a table as byname and Istio write it', () => {
  const info = {
    ips: ['192.0.2.1', '2001:db8::1'],
    registry: 'Kubernetes',
    shortname: 'a',
    namespace: 'shop',
    altHosts: [],
  }
  const table: NameTable = new Map(Array.from({ length: 1000 }, (_, n) => [`a${n}.shop.svc.cluster.local`, info]))
  const indented = Buffer.from(nameTableToJson(table))
  const dense = Buffer.from(JSON.stringify(JSON.parse(nameTableToJson(table))))
  const parse = vi.spyOn(JSON, 'parse')
  for (const json of [indented, dense]) expect(decodeNameTable(encodeNameTableJson(json))).toEqual(table)
  expect(parse).not.toHaveBeenCalled()
})
