import { describe, expect, it } from 'vitest'
import { Ede, Flag, Rcode, Type } from '../../src/dns/constants.ts'
import { Query, readQuery } from '../../src/dns/query.ts'
import {
  addExtendedError,
  beginReply,
  copyBytes,
  headerRcode,
  isServerFailure,
  OPT_BYTES,
  QUESTION_NAME,
  readU16,
  readU32,
  setCounts,
  writeOpt,
  writeRecordHead,
  writeU16,
  writeU32,
} from '../../src/dns/reply.ts'
import { bytes, decode, message } from './messages.ts'

const AT = 5

function queryOf(packet: Uint8Array): Query {
  const query = new Query()
  readQuery(bytes(9, packet), 1, packet.length, 0, query)
  return query
}

describe('beginReply', () => {
  it('repeats id, question and its case, RD and CD, and sets QR and RA', () => {
    const out = new Uint8Array(100).fill(0xff)
    const query = queryOf(message({ id: 0xbeef, flags: 0x0110, questions: [['eXample.ORG', Type.MX]] }))
    const end = beginReply(query, Flag.AA | Rcode.NXDOMAIN, out, AT)
    const reply = decode(out.slice(AT, end))
    expect(reply.id).toBe(0xbeef)
    expect(reply.flags).toBe(0x8000 | 0x0400 | 0x0100 | 0x0080 | 0x0010 | 3)
    expect(reply.questions).toEqual([{ name: 'eXample.ORG', type: 'MX', class: 'IN' }])
  })

  it('repeats neither AD, TC nor the Z bit, but the opcode', () => {
    const out = new Uint8Array(100)
    const query = queryOf(message({ flags: 0x2860 | 0x0200, questions: [['a', 1]] }))
    beginReply(query, Rcode.NOTIMP, out, 0)
    expect(readU16(out, 2)).toBe(0x8000 | 0x2800 | 0x0080 | 4)
  })

  it('is a bare header where there is no question to repeat', () => {
    const out = new Uint8Array(20).fill(0xff)
    expect(beginReply(queryOf(message({ id: 3 })), Rcode.FORMERR, out, 1)).toBe(13)
    expect(decode(out.slice(1, 13))).toMatchObject({ id: 3, rcode: 1, questions: [] })
  })
})

describe('writing records', () => {
  it('writes a record that points to its owner', () => {
    const out = new Uint8Array(200)
    let at = beginReply(queryOf(message({ questions: [['a.b', 1]] })), 0, out, AT)
    at = writeRecordHead(out, at, QUESTION_NAME, Type.A, 0x01020304, 4)
    at = writeU32(out, at, 0x7f000001)
    setCounts(out, AT, 1, 0, 0)
    expect(decode(out.slice(AT, at)).answers).toEqual([
      { name: 'a.b', type: 'A', class: 'IN', ttl: 0x01020304, flush: false, data: '127.0.0.1' },
    ])
  })

  it.each([
    [Rcode.NOERROR, false, Ede.NONE],
    [Rcode.BADVERS, true, Ede.NONE],
    [Rcode.BADCOOKIE, false, Ede.OTHER],
    [Rcode.SERVFAIL, true, Ede.NETWORK_ERROR],
  ])('writes an OPT with rcode %i, DO %s and extended error %i', (rcode, dnssecOk, ede) => {
    const out = new Uint8Array(200).fill(0xff)
    let at = beginReply(queryOf(message({ questions: [['a.b', 1]] })), headerRcode(rcode), out, AT)
    setCounts(out, AT, 0, 0, 1)
    const before = at
    at = writeOpt(out, at, 1232, rcode, dnssecOk)
    expect(at - before).toBe(OPT_BYTES)
    if (ede !== Ede.NONE) at = addExtendedError(out, before, at, ede)
    const reply = decode(out.slice(AT, at))
    expect(reply.rcode).toBe(rcode)
    expect(reply.opt).toMatchObject({ udpPayloadSize: 1232, ednsVersion: 0, flag_do: dnssecOk })
    expect(reply.ede).toBe(ede === Ede.NONE ? null : ede)
  })

  it('writes and reads numbers in network byte order', () => {
    const out = new Uint8Array(8)
    expect(writeU16(out, 1, 0xfffe)).toBe(3)
    expect(writeU32(out, 3, 0xfedcba98)).toBe(7)
    expect(readU16(out, 1)).toBe(0xfffe)
    expect(readU32(out, 3)).toBe(0xfedcba98)
  })

  it.each([0, 1, 100, 128, 129, 1000])('copies %i bytes and no more', (length) => {
    const from = Uint8Array.from({ length: 1010 }, (_, k) => (k * 7 + 1) & 0xff)
    const to = new Uint8Array(1010)
    copyBytes(from, 3, length, to, 5)
    expect(to.slice(5, 5 + length)).toEqual(from.slice(3, 3 + length))
    expect(to.slice(0, 5).some((byte) => byte !== 0) || to.slice(5 + length).some((byte) => byte !== 0)).toBe(false)
  })

  it('counts what another server may do better as a server failure', () => {
    expect([0, 1, 2, 3, 4, 5, 6].filter(isServerFailure)).toEqual([1, 2, 4, 5])
  })
})
