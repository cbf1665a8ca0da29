import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeNameTable, nameTableToJson, type NameTable, parseNameTableJson } from '../../src/table/nds.ts'
import { decodeNameTable, protobufBytes } from './decode-name-table.ts'

const text = fc.string({ unit: 'binary' })
const tables: fc.Arbitrary<NameTable> = fc
  .array(
    fc.tuple(
      fc.oneof(text, fc.constant('__proto__')),
      fc.record({ ips: fc.array(text), registry: text, shortname: text, namespace: text, altHosts: fc.array(text) }),
    ),
  )
  .map((entries) => new Map(entries))

test('a table comes back from protobuf and from JSON as it was', () => {
  fc.assert(
    fc.property(tables, (table) => {
      expect(decodeNameTable(encodeNameTable(table))).toEqual(table)
      expect(parseNameTableJson(nameTableToJson(table))).toEqual(table)
    }),
  )
})

test.each([0, 1, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_151, 2_097_152])(
  'a text of %i bytes, in one-byte and in other characters, comes back and takes as few bytes as protobuf allows',
  (length) => {
    for (const long of ['x'.repeat(length), 'ä'.repeat(length / 2)]) {
      const info = { ips: ['192.0.2.1', long], registry: long, shortname: '', namespace: 'shop', altHosts: [] }
      const table = new Map([
        ['a.example', info],
        ['b.example', info],
      ])
      const bytes = encodeNameTable(table)
      expect(decodeNameTable(bytes)).toEqual(table)
      expect(bytes.length).toBe(protobufBytes(table))
    }
  },
)

describe('JSON', () => {
  test('takes both spellings of altHosts, null and missing fields', () => {
    const json =
      '{"table": {"a": {"ips": ["192.0.2.1"], "altHosts": ["x"]}, "b": {"alt_hosts": ["y"], "registry": null}, "c": {}}}'
    expect([...parseNameTableJson(json).values()].map(({ ips, altHosts }) => [ips, altHosts])).toEqual([
      [['192.0.2.1'], ['x']],
      [[], ['y']],
      [[], []],
    ])
    expect(parseNameTableJson('{}').size).toBe(0)
  })

  test.each([
    ['{', /^not JSON: /],
    ['[]', /^expected an object \{"table": /],
    ['{"tabel": {}}', /^unknown key "tabel"/],
    ['{"table": []}', /^"table": expected an object/],
    ['{"table": {"a.example": "192.0.2.1"}}', /^host "a.example": expected an object with ips, /],
    ['{"table": {"a.example": {"ips": "192.0.2.1"}}}', /^host "a.example": "ips" must be a list of strings$/],
    ['{"table": {"a.example": {"ips": [1]}}}', /^host "a.example": "ips" must be a list of strings$/],
    ['{"table": {"a.example": {"shortname": 1}}}', /^host "a.example": "shortname" must be a string$/],
    ['{"table": {"a.example": {"ip": []}}}', /^host "a.example": unknown field "ip"/],
  ])('%s is refused with host and field', (json, message) => {
    expect(() => parseNameTableJson(json)).toThrow(message)
  })
})

test('what is wrong with a file is one line, whatever stands in it', () => {
  const host = `a\nb${'c'.repeat(1000)}`
  for (const json of [
    JSON.stringify({ table: { [host]: 1 } }),
    JSON.stringify({ table: { [host]: { ips: 1 } } }),
    JSON.stringify({ table: { [host]: { registry: 1 } } }),
    JSON.stringify({ table: { x: { [host]: [] } } }),
    JSON.stringify({ [host]: 1 }),
    '{"table":\n{"a":\n\n x',
  ]) {
    expect(() => parseNameTableJson(json)).toThrow(/^.{10,500}$/)
  }
})
