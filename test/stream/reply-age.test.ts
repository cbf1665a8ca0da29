import dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { ageReply, ageSecondsOf } from '../../src/stream/upstreams/reply-age.ts'
import { a, cname, message, record, soa, type WireMessage } from '../dns/messages.ts'

function ttls(list: dnsPacket.Answer[] = []): number[] {
  return list.map((each) => ('ttl' in each && each.ttl !== undefined ? each.ttl : -1))
}

/** TTLs of the answers and authorities of a reply that has aged, and what its OPT holds where others have a TTL. */
function aged(parts: WireMessage, seconds: number): { answers: number[]; authorities: number[]; opt: number[] } {
  const reply = message({ flags: 0x8180, questions: [['www.example', 1]], ...parts })
  ageReply(reply, seconds)
  const { answers, authorities, additionals } = dnsPacket.decode(Buffer.from(reply))
  const opt = (additionals ?? []).flatMap((each) => (each.type === 'OPT' ? [each.flags] : []))
  return { answers: ttls(answers), authorities: ttls(authorities), opt }
}

describe('an answer that comes out of an HTTP cache', () => {
  it('has its age taken from all TTLs, none below 0, and from nothing of its OPT', () => {
    const opt = record(Type.OPT, 0x8000, new Uint8Array(0), '.')
    expect(
      aged({ answers: [cname('x.example', 600), a(1, 250, 'x.example'), a(2, 60)], additionals: [opt] }, 250),
    ).toEqual({ answers: [350, 0, 0], authorities: [], opt: [0x8000] })
  })

  it('that is negative loses it from the least of TTL and MINIMUM of its SOA', () => {
    expect(aged({ flags: 0x8183, authorities: [soa('example', 3600, 300)] }, 100).authorities).toEqual([200])
    expect(aged({ flags: 0x8183, authorities: [soa('example', 120, 300)] }, 100).authorities).toEqual([20])
    expect(aged({ answers: [soa('example', 3600, 300)] }, 100).answers).toEqual([3500])
  })

  it('does not become younger by a TTL that is none (RFC 2181 §8)', () => {
    expect(aged({ answers: [a(1, 0xffff_fff0)] }, 0x7fff_ffff).answers).toEqual([0])
  })

  it('loses it from an SOA by MINIMUM in the authority section alone, and from no other record there', () => {
    // What would be the MINIMUM of an SOA.
    const small = record(Type.A, 600, Uint8Array.of(0, 0, 0, 5))
    expect(aged({ flags: 0x8183, authorities: [small, soa('example', 3600, 300)] }, 100).authorities).toEqual([
      500, 200,
    ])
    const reply = message({ flags: 0x8180, questions: [['a', 1]], additionals: [soa('example', 3600, 300)] })
    ageReply(reply, 100)
    expect(ttls(dnsPacket.decode(Buffer.from(reply)).additionals)).toEqual([3500])
  })

  it('is left alone where it has no age, the TTL of its SOA as well', () => {
    expect(aged({ flags: 0x8183, authorities: [soa('example', 3600, 300)] }, 0).authorities).toEqual([3600])
  })

  it('may have the largest TTL that is one', () => {
    expect(aged({ answers: [a(1, 0x7fff_ffff), a(1, 0x8000_0000)] }, 7).answers).toEqual([0x7fff_fff8, 0])
  })

  it.each([
    ['is whole', 0, [500, 500]],
    ['lacks its last byte', 1, [500, 600]],
    ['lacks the data of its last record', 4, [500, 600]],
    ['lacks a part of the head of its last record', 5, [500, 600]],
    ['ends with its first record', 16, [500]],
    ['lacks the last byte of its first record', 17, [600]],
  ])('that %s is aged as far as it can be read', (_, missing, expected) => {
    const whole = message({ flags: 0x8180, questions: [['a', 1]], answers: [a(1, 600), a(2, 600)] })
    const reply = whole.slice(0, whole.length - missing)
    ageReply(reply, 100)
    // Each record is sixteen bytes, and its TTL the seventh to the tenth.
    const ttlsLeft = [32, 16].map((fromEnd) => whole.length - fromEnd + 6).filter((at) => at + 4 <= reply.length)
    expect(ttlsLeft.map((at) => Buffer.from(reply).readUInt32BE(at))).toEqual(expected)
  })

  it('may be any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), (bytes, seconds) => {
        const { length } = bytes
        ageReply(bytes, seconds)
        expect(bytes).toHaveLength(length)
      }),
    )
  })
})

it.each([
  ['250', 250],
  ['0', 0],
  [undefined, 0],
  ['', 0],
  ['-5', 0],
  ['1.5', 0],
  ['9'.repeat(400), 0x7fff_ffff],
])('an Age of %s is %i seconds', (header, seconds) => expect(ageSecondsOf(header)).toBe(seconds))
