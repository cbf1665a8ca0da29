import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { JsonLines, typeName } from '../../src/querylog/json-lines.ts'
import { LogBatch } from '../../src/querylog/log-batch.ts'
import { Source } from '../../src/stats/counters.ts'
import { bytes } from '../dns/messages.ts'
import { madeRecord, type RecordParts } from './made-record.ts'

function line(parts: RecordParts, server: string | null = null): string {
  const batch = new LogBatch()
  new JsonLines().write(batch, madeRecord(parts), server)
  const { bytes: written, count } = batch.take()
  expect(count).toBe(1)
  return written.toString()
}

describe('a line of the query log', () => {
  it('has these fields, in this order', () => {
    const parts: RecordParts = {
      receivedAtMs: Date.UTC(2026, 10, 30, 18, 0, 5) + 12.3454,
      port: 40_000,
      id: 4660,
      name: 'Reviews.Default.svc.cluster.local',
      type: Type.A,
      rcode: Rcode.NOERROR,
      queryFlags: 0x0100,
      replyFlags: 0x8580,
      dnssecOk: true,
      source: Source.cache,
      latencyMicros: 71,
      size: 104,
    }
    expect(line(parts, '10.0.0.2:53')).toBe(
      '{"time":"2026-11-30T18:00:05.012345Z","client":"10.1.2.3","port":40000,"proto":"udp","ID":4660,' +
        '"QNAME":"Reviews.Default.svc.cluster.local.","QTYPE":1,"QTYPEname":"A","RCODE":0,"RCODEname":"NOERROR",' +
        '"RD":1,"AA":1,"TC":0,"AD":0,"DO":1,"source":"cache","server":"10.0.0.2:53","latencyMs":0.071,"bytes":104}\n',
    )
  })

  it.each([
    ['no question', { name: '', rcode: Rcode.FORMERR }, { QNAME: '', RCODEname: 'FORMERR' }],
    ['the root', { name: '.', type: 2 }, { QNAME: '.', QTYPEname: 'NS' }],
    ['a type without a name', { type: 65_280 }, { QTYPE: 65_280, QTYPEname: 'TYPE65280' }],
    ['an rcode beyond those known', { rcode: 3841 }, { RCODE: 3841, RCODEname: '3841' }],
    [
      'IPv6 over TCP',
      { address: Uint8Array.from({ length: 16 }, () => 0).fill(1, 15), proto: 1 },
      { client: '::1', proto: 'tcp' },
    ],
    ['a client that is not known', { address: new Uint8Array(0) }, { client: '' }],
    ['the last moment of a second', { receivedAtMs: 999.9999 }, { time: '1970-01-01T00:00:00.999999Z' }],
  ])('tells of %s', (_, parts, fields) => {
    expect(JSON.parse(line(parts))).toMatchObject(fields)
  })

  it('is one line of ASCII JSON, whatever bytes a name has and whatever a server is called', () => {
    const label = fc.uint8Array({ minLength: 1, maxLength: 63 })
    fc.assert(
      fc.property(
        fc.array(label, { maxLength: 3 }),
        fc.constantFrom('10.0.0.2:53', 'a "b" \\ c', '\u0000\u007f', 'ü', '\ud800'),
        (labels, server) => {
          const name = bytes(...labels.flatMap((each) => [each.length, each]), 0)
          const text = line({ name }, server)
          expect(text).toMatch(/^[\x20-\x7e]*\n$/)
          const { QNAME, server: read } = JSON.parse(text)
          expect(read).toBe(server)
          // What is escaped comes back.
          const unescaped = String(QNAME).replaceAll(/\\(\d{3}|.)/g, (_m, code: string) =>
            code.length === 3 ? String.fromCharCode(Number(code)) : code,
          )
          const dotted = labels.map((each) => `${String.fromCharCode(...each)}.`).join('')
          expect(unescaped).toBe(dotted || '.')
        },
      ),
    )
  })

  it('follows the one before in a batch that grows', () => {
    const batch = new LogBatch()
    const lines = new JsonLines()
    for (let k = 0; k < 200; k++) lines.write(batch, madeRecord({ id: k }), null)
    const { bytes: written, count } = batch.take()
    const ids = written
      .toString()
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text).ID)
    expect([count, ids]).toEqual([200, Array.from({ length: 200 }, (_, k) => k)])
    expect(batch.take().count).toBe(0)
  })
})

it('types have the names of the IANA registry', () => {
  for (const [name, code] of Object.entries(Type)) expect(typeName(code)).toBe(name)
})
