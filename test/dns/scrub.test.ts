import dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Answer } from '../../src/dns/answer.ts'
import { Type } from '../../src/dns/constants.ts'
import { readReply } from '../../src/dns/scrub.ts'
import { collidingNames } from './colliding-names.ts'
import {
  a,
  bytes,
  cname,
  decode,
  type DecodedMessage,
  message,
  opt,
  record,
  soa,
  u16,
  wire,
  type WireMessage,
  type WireRecord,
} from './messages.ts'

const QUESTION = 'www.shop.example'
const START = 3

function read(
  parts: WireMessage,
  type: number = Type.A,
  dnssecOk: boolean = true,
): { answer: Answer; isSound: boolean } {
  const packet = message({ flags: 0x8180, questions: [[QUESTION, type]], ...parts })
  const answer = new Answer()
  const questionEnd = 12 + wire(QUESTION).length + 4
  const isSound = readReply(
    bytes(new Uint8Array(START), packet),
    START,
    packet.length,
    questionEnd,
    type,
    dnssecOk,
    answer,
  )
  return { answer, isSound }
}

/** What is left of a reply, decoded; its counts are those of `answer`, its end is where the OPT began. */
function kept(parts: WireMessage, type: number = Type.A, dnssecOk: boolean = true): DecodedMessage {
  const { answer, isSound } = read(parts, type, dnssecOk)
  expect(isSound).toBe(true)
  const packet = answer.packet.slice(answer.start, answer.start + answer.end)
  const counts = u16(answer.answers, answer.authorities, answer.additionals)
  packet.set(counts, 6)
  return decode(packet)
}

const names = (records: { name: string; type: string }[]): string[] => records.map((one) => `${one.name} ${one.type}`)
const mx = (target: Uint8Array): WireRecord => record(Type.MX, 60, bytes(u16(10), target))
const ns = (owner: string, target: string): WireRecord => record(Type.NS, 60, wire(target), owner)
const srv = (target: string): WireRecord => record(Type.SRV, 60, bytes(u16(0, 0, 80), wire(target)))
const rrsig = (covered: number, owner: string): WireRecord =>
  record(Type.RRSIG, 60, bytes(u16(covered), new Uint8Array(16), wire('example'), 1, 2, 3), owner)
/** CNAMEs one after the other, from the question to `nCOUNT.example`. */
const links = (count: number): WireRecord[] =>
  Array.from({ length: count }, (_, k) => cname(`n${k + 1}.example`, 60, k === 0 ? QUESTION : `n${k}.example`))

describe('the answer section', () => {
  test('of a plain reply is left where it is', () => {
    const { answer } = read({ answers: [a(1), a(2)], additionals: [opt()] })
    expect(answer).toMatchObject({ isPlain: true, start: START, answers: 2 })
  })

  test('may follow CNAMEs, its owners written out or as pointers to their data', () => {
    const chain = [cname('b.example', 60), cname('c.example', 60, 'b.example'), a(1, 60, 'c.example')]
    expect(names(kept({ answers: chain }).answers)).toEqual([`${QUESTION} CNAME`, 'b.example CNAME', 'c.example A'])
    // The data of the first record stands behind header, question, owner and the ten fixed bytes.
    const target = 0xc000 | (12 + wire(QUESTION).length + 4 + 2 + 10)
    const { answer } = read({ answers: [cname('b.example'), a(1, 60, u16(target)), a(2, 60, u16(target))] })
    expect(answer).toMatchObject({ isPlain: true, answers: 3, rotateCount: 2 })
  })

  test('gets its CNAMEs in order from the question, whatever their order and case was', () => {
    const chain = [a(1, 60, 'C.example'), cname('c.EXAMPLE', 60, 'b.example'), cname('B.example')]
    expect(names(kept({ answers: chain }).answers)).toEqual([`${QUESTION} CNAME`, 'B.example CNAME', 'c.example A'])
  })

  test('is written in the order of the chain for every order that a server may give', () => {
    const chain = [...links(4), a(1, 60, 'n4.example'), a(2, 60, 'n4.example')]
    const wanted = names(kept({ answers: chain }).answers)
    expect(wanted).toHaveLength(6)
    fc.assert(
      fc.property(fc.shuffledSubarray(chain, { minLength: chain.length }), (answers) => {
        expect(names(kept({ answers }).answers)).toEqual(wanted)
      }),
    )
  })

  test('loses records of other types than the one asked', () => {
    expect(names(kept({ answers: [a(1), mx(wire('mail.example'))] }, Type.MX).answers)).toEqual([`${QUESTION} MX`])
    expect(kept({ answers: [a(1)] }, Type.AAAA).answers).toEqual([])
    const chain = [cname('b.example'), a(1, 60, 'b.example'), record(Type.TXT, 60, bytes(1, 97), 'b.example')]
    expect(names(kept({ answers: chain }).answers)).toEqual([`${QUESTION} CNAME`, 'b.example A'])
    // A name with a CNAME has no other data (RFC 1034 §3.6.2).
    expect(names(kept({ answers: [a(2), ...chain] }).answers)).toEqual([`${QUESTION} CNAME`, 'b.example A'])
  })

  test('keeps signatures behind what they cover, where DO asked for them', () => {
    const chain = [
      rrsig(Type.A, 'b.example'),
      rrsig(Type.CNAME, QUESTION),
      rrsig(Type.MX, 'b.example'),
      cname('b.example'),
      a(1, 60, 'b.example'),
    ]
    const wanted = [`${QUESTION} CNAME`, `${QUESTION} RRSIG`, 'b.example A', 'b.example RRSIG']
    expect(names(kept({ answers: chain }).answers)).toEqual(wanted)
    expect(names(kept({ answers: chain }, Type.A, false).answers)).toEqual([wanted[0], wanted[2]])
    expect(kept({ answers: [rrsig(Type.A, QUESTION)] }, Type.RRSIG, false).answers).toHaveLength(1)
  })

  test('has each record once (RFC 2181 §5)', () => {
    expect(kept({ answers: [a(1), a(1)] }).answers).toHaveLength(1)
    expect(kept({ answers: [a(1), a(2), a(1, 30), a(2, 60, QUESTION.toUpperCase())] }).answers).toHaveLength(2)
    const many = Array.from({ length: 100 }, (_, k) => a(k % 50))
    expect(kept({ answers: many }).answers).toHaveLength(50)
    expect(kept({ answers: [cname('b.example'), cname('c.example'), a(1, 60, 'b.example')] }).answers).toHaveLength(2)
    const tail = u16(0xc000 | (12 + 4))
    expect(
      kept({ answers: [mx(wire('shop.example')), mx(tail), mx(wire('SHOP.example'))] }, Type.MX).answers,
    ).toHaveLength(1)
  })

  test('has the owners of its records in the question’s case', () => {
    const packet = message({
      flags: 0x8180,
      questions: [['wWw.sHop.Example', 1]],
      answers: [a(1, 60, 'WWW.SHOP.EXAMPLE')],
    })
    const answer = new Answer()
    expect(readReply(packet, 0, packet.length, 12 + wire(QUESTION).length + 4, Type.A, false, answer)).toBe(true)
    expect(decode(answer.packet.slice(0, answer.end)).answers).toMatchObject([{ name: 'wWw.sHop.Example' }])
  })

  test('loses records of names that the chain does not lead to', () => {
    const answers = [a(1), a(66, 60, 'bank.example'), cname('evil.example', 60, 'bank.example'), a(2)]
    const reply = kept({ answers, additionals: [opt({ rcode: 0 })] })
    expect(names(reply.answers)).toEqual([`${QUESTION} A`, `${QUESTION} A`])
    expect(reply.answers.map(({ data }) => data)).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  test('loses records of another class', () => {
    expect(kept({ answers: [a(1), { ...a(2), class: 3 }] }).answers).toHaveLength(1)
  })

  test('keeps names whole that were compressed against records that are dropped', () => {
    const dropped = 12 + wire(QUESTION).length + 4
    const answers = [
      a(66, 60, 'bank.example'),
      record(Type.CNAME, 60, bytes(3, Buffer.from('cdn'), u16(0xc000 | dropped))),
    ]
    const reply = kept({ answers })
    expect(reply.answers).toMatchObject([{ name: QUESTION, type: 'CNAME', data: 'cdn.bank.example' }])
  })

  const MINFO = 14
  test.each([
    ['MB', 7, 0, 1],
    ['MINFO', MINFO, 0, 2],
    ['RP', 17, 0, 2],
    ['AFSDB', 18, 2, 1],
    ['PX', 26, 2, 2],
  ] as const)('keeps the names of old types whole as well (%s)', (_, type, before, count) => {
    const dropped = 12 + wire(QUESTION).length + 4
    const head = new Uint8Array(before).fill(1)
    const compressed = Array.from({ length: count }, (_unused, k) =>
      bytes(3, Buffer.from(`cd${k}`), u16(0xc000 | dropped)),
    )
    const { answer } = read({ answers: [a(66, 60, 'bank.test'), record(type, 60, bytes(head, ...compressed))] }, type)
    // In types that all software knows the second name may point to the first one.
    const isCompressed = type === MINFO
    const data = bytes(
      head,
      ...compressed.map((_unused, k) =>
        isCompressed && k > 0
          ? bytes(3, Buffer.from('cd1'), u16(0xc000 | (dropped + 12 + 4)))
          : wire(`cd${k}.bank.test`),
      ),
    )
    expect(answer.answers).toBe(1)
    const stop = answer.start + answer.end
    expect(answer.packet.slice(stop - data.length - 2, stop)).toEqual(bytes(u16(data.length), data))
  })

  test('is malformed where such a name runs past its data', () => {
    expect(read({ answers: [record(MINFO, 60, wire('a.example'))] }, MINFO).isSound).toBe(false)
  })

  test('keeps a DNAME above a name of the chain with its signature', () => {
    const dname = record(Type.DNAME, 60, wire('shop.test'), 'shop.example')
    const answers = [
      dname,
      rrsig(Type.DNAME, 'shop.example'),
      cname('www.shop.test'),
      a(1, 60, 'www.shop.test'),
      rrsig(Type.A, 'www.shop.test'),
    ]
    expect(kept({ answers }).answers).toHaveLength(5)
    expect(kept({ answers }, Type.A, false).answers).toHaveLength(3)
    const strange = record(Type.DNAME, 60, wire('shop.test'), 'op.example')
    expect(kept({ answers: [strange, rrsig(Type.A, 'shop.example'), a(1)] }).answers).toHaveLength(1)
  })

  test('of a question for CNAME is not followed', () => {
    const answers = [cname('b.example'), a(1, 60, 'b.example')]
    expect(names(kept({ answers }, Type.CNAME).answers)).toEqual([`${QUESTION} CNAME`])
  })

  test('may have 16 CNAMEs, not more', () => {
    expect(read({ answers: [...links(16), a(1, 60, 'n16.example')] }).isSound).toBe(true)
    expect(read({ answers: [...links(17), a(1, 60, 'n17.example')] }).isSound).toBe(false)
    expect(read({ answers: links(17).toReversed() }).isSound).toBe(false)
  })

  test('must not run in a circle', () => {
    expect(read({ answers: [cname(QUESTION)] }).isSound).toBe(false)
    expect(read({ answers: [cname('b.example'), cname('B.example', 60, 'b.example')] }).isSound).toBe(false)
    expect(read({ answers: [cname('b.example'), cname(QUESTION, 60, 'b.example'), a(1)] }).isSound).toBe(false)
  })
})

describe('the authority section', () => {
  test('keeps the SOA above the question, or NS where there is none', () => {
    const { answer } = read({ flags: 0x8183, authorities: [soa(u16(0xc000 | 16), 60, 60)] })
    expect(answer).toMatchObject({ isPlain: true, authorities: 1 })
    const authorities = [ns('example', 'ns.example'), ns('shop.example', 'ns.example'), ns(QUESTION, 'ns.example')]
    expect(kept({ authorities }).authorities).toHaveLength(3)
    expect(kept({ authorities: [ns('.', 'ns.example')] }).authorities).toHaveLength(1)
    expect(names(kept({ authorities: [...authorities, soa('example', 60, 60)] }).authorities)).toEqual(['example SOA'])
    expect(kept({ authorities: [soa('example', 60, 60), soa('shop.example', 60, 60)] }).authorities).toHaveLength(1)
  })

  test('of an answer is of no use to a client, and left out', () => {
    const authorities = [ns('example', 'ns.example'), soa('example', 60, 60)]
    expect(kept({ answers: [a(1)], authorities, additionals: [a(9, 60, 'ns.example')] })).toMatchObject({
      authorities: [],
      additionals: [],
    })
  })

  test('keeps a wildcard’s proof with an answer, where DO asked for it', () => {
    const nsec = record(Type.NSEC, 60, bytes(wire('z.example'), 0, 1, 0x40), 'v.example')
    const parts = { answers: [a(1)], authorities: [ns('example', 'ns.example'), nsec, rrsig(Type.NSEC, 'v.example')] }
    expect(names(kept(parts).authorities)).toEqual(['v.example NSEC', 'v.example RRSIG'])
    expect(kept(parts, Type.A, false).authorities).toEqual([])
  })

  test('loses the SOA of a zone that the last name of the chain is not in', () => {
    const parts = { flags: 0x8183, answers: [cname('x.cdn.test')], authorities: [soa('shop.example', 60, 30)] }
    expect(read(parts).answer).toMatchObject({ authorities: 0, soaTtl: -1 })
  })

  test('keeps those of the last name of the chain', () => {
    const reply = kept({ answers: [cname('x.cdn.test')], authorities: [soa('cdn.test', 60, 30)] })
    expect(names(reply.authorities)).toEqual(['cdn.test SOA'])
    expect(read({ answers: [cname('x.cdn.test')], authorities: [soa('cdn.test', 60, 30)] }).answer.soaTtl).toBe(30)
  })

  test('loses those of other names, and types that say nothing of a zone', () => {
    const authorities = [
      soa('bank.example', 60, 60),
      ns('x.www.shop.example', 'ns.example'),
      a(1),
      ns('ample', 'ns.example'),
    ]
    const { answer } = read({ flags: 0x8183, authorities })
    expect(answer).toMatchObject({ authorities: 0, soaTtl: -1 })
  })

  test('keeps DNSSEC records whatever their owner: they prove themselves', () => {
    const authorities = [
      soa('example', 60, 60),
      record(Type.NSEC, 60, bytes(wire('z.example'), 0, 1, 0x40), 'v.example'),
      rrsig(Type.NSEC, 'v.example'),
      record(Type.NSEC3, 60, bytes(1, 0, 0, 0, 0, 1, 7, 0, 1, 0x40), 'abcdef.example'),
      record(Type.DS, 60, bytes(u16(1), 8, 2, 9), 'shop.example'),
      record(Type.DS, 60, bytes(u16(1), 8, 2, 9), 'bank.example'),
    ]
    expect(kept({ authorities }).authorities.map(({ type }) => type)).toEqual(['SOA', 'NSEC', 'RRSIG', 'NSEC3'])
    expect(kept({ authorities }, Type.A, false).authorities.map(({ type }) => type)).toEqual(['SOA'])
  })
})

describe('the additional section', () => {
  test('keeps addresses of hosts that the answer names', () => {
    const answers = [srv('one.example'), srv('two.example')]
    const additionals = [a(1, 60, 'one.example'), a(2, 60, 'TWO.example'), a(66, 60, 'bank.example'), opt()]
    expect(names(kept({ answers, additionals }, Type.SRV).additionals)).toEqual(['one.example A', 'two.example A'])
  })

  test.each([
    ['MX', Type.MX, bytes(u16(10), wire('mail.example'))],
    ['NS', Type.NS, wire('mail.example')],
    ['HTTPS', Type.HTTPS, bytes(u16(1), wire('mail.example'))],
  ])('keeps those that %s data names', (_, type, data) => {
    const parts = { answers: [record(type, 60, data)], additionals: [a(1, 60, 'mail.example'), a(2)] }
    expect(names(kept(parts, type).additionals)).toEqual(['mail.example A'])
  })

  test('keeps the addresses of an HTTPS record’s owner, which it names as the root (RFC 9460 §2.5)', () => {
    const parts = { answers: [record(Type.HTTPS, 60, bytes(u16(1), 0))], additionals: [a(2), a(3, 60, 'mail.example')] }
    expect(names(kept(parts, Type.HTTPS).additionals)).toEqual([`${QUESTION} A`])
  })

  test('keeps the addresses of name servers in the authority section', () => {
    const parts = { authorities: [ns('example', 'ns.example')], additionals: [a(9, 60, 'ns.example')] }
    expect(kept(parts).additionals).toHaveLength(1)
  })

  test('loses addresses of hosts that only dropped records name', () => {
    const parts = { answers: [a(1)], authorities: [ns('bank.example', 'ns.test')], additionals: [a(9, 60, 'ns.test')] }
    const reply = kept(parts)
    expect([reply.answers.length, reply.authorities.length, reply.additionals.length]).toEqual([1, 0, 0])
  })
})

describe('a name that only hashes like another one', () => {
  test.each([
    ['of the same length', true],
    ['of another length', false],
  ])('%s is not taken for it', (_, areOfOneLength) => {
    const [one, other] = collidingNames(0, 'example', areOfOneLength)
    // As an owner of addresses, and of the next link of a chain.
    const { answers } = kept({ answers: [cname(one), a(1, 60, one), a(2, 60, other), cname('bad.example', 60, other)] })
    expect(names(answers)).toEqual([`${QUESTION} CNAME`, `${one} A`])
    // As the host that the answer names.
    const { additionals } = kept({ answers: [srv(one)], additionals: [a(1, 60, one), a(2, 60, other)] }, Type.SRV)
    expect(names(additionals)).toEqual([`${one} A`])
  })

  test('makes no circle of a chain', () => {
    const [one, other] = collidingNames(0, 'example', true)
    const { answers } = kept({ answers: [cname(one), cname(other, 60, one), a(1, 60, other)] })
    expect(answers).toHaveLength(3)
  })
})

test('the upper bits of the rcode survive a rebuilt reply', () => {
  const { answer } = read({ answers: [a(1), a(2, 60, 'bank.example')], additionals: [opt({ rcode: 1 })] })
  expect(answer).toMatchObject({ answers: 1, rcode: 16 })
})

test('a reply that has no room for its names written out is malformed', () => {
  const long = [50, 50, 50, 50].map((length) => 'x'.repeat(length)).join('.')
  const longAt = 0xc000 | (12 + wire(QUESTION).length + 4)
  // Names in SRV must not be compressed (RFC 2782).
  const many = Array.from({ length: 3000 }, (_, k) => record(Type.SRV, 60, bytes(u16(1, 2, k, longAt))))
  expect(read({ answers: [a(66, 60, long), ...many] }, Type.SRV).isSound).toBe(false)
})

test('a rebuilt reply has the records that belong to it, as dns-packet reads both', () => {
  const owner = fc.constantFrom(QUESTION, 'b.example', 'c.example', 'example', 'bank.test')
  const one = fc.oneof(
    owner.map((name) => a(1, 60, name)),
    fc.tuple(owner, owner).map(([name, target]) => cname(target, 60, name)),
    fc.tuple(owner, owner).map(([name, target]) => ns(name, target)),
    fc.tuple(owner, owner).map(([name, target]) => record(Type.SRV, 60, bytes(u16(1, 2, 3), wire(target)), name)),
    owner.map((name) => soa(name, 60, 60)),
  )
  const section = fc.array(one, { maxLength: 6 })
  fc.assert(
    fc.property(section, section, section, (answers, authorities, additionals) => {
      const parts = { answers, authorities, additionals }
      const { isSound } = read(parts)
      if (!isSound) return
      const asked = decode(message({ questions: [[QUESTION, Type.A]], ...parts }))
      const reply = kept(parts)
      for (const key of ['authorities', 'additionals'] as const) {
        const rest = asked[key].map((each) => JSON.stringify(each))
        for (const each of reply[key]) expect(rest).toContain(JSON.stringify(each))
      }
      // As a stub resolver reads: each record must be of the name that the last CNAME led to.
      const wanted: string[] = []
      let last = QUESTION
      const linkOf = (name: string): DecodedMessage['answers'][0] | undefined =>
        asked.answers.find((each) => each.type === 'CNAME' && each.name === name)
      for (let link = linkOf(last); link !== undefined; link = linkOf(last)) {
        wanted.push(JSON.stringify(link))
        last = String(link.data)
      }
      for (const each of asked.answers) {
        const text = JSON.stringify(each)
        if (each.type === 'A' && each.name === last && !wanted.includes(text)) wanted.push(text)
      }
      expect(reply.answers.map((each) => JSON.stringify(each))).toEqual(wanted)
    }),
  )
})

test('any bytes are read without throwing', () => {
  const head = message({ flags: 0x8180, questions: [[QUESTION, Type.A]] })
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 80 }),
      fc.array(fc.nat(3), { minLength: 3, maxLength: 3 }),
      (rest, counts) => {
        const packet = bytes(head, rest)
        packet.set(u16(...counts), 6)
        const answer = new Answer()
        const isSound = readReply(packet, 0, packet.length, head.length, Type.A, true, answer)
        if (!isSound) return
        const left = answer.packet.slice(answer.start, answer.start + answer.end)
        left.set(u16(answer.answers, answer.authorities, answer.additionals), 6)
        expect(() => dnsPacket.decode(Buffer.from(left))).not.toThrow()
      },
    ),
  )
})
