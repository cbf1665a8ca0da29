/**
 * Rewritten questions beside a reference: whatever a server answers, the client gets what it would have got for the other name,
 * with its own name in the question and as the owner, and nothing else changed.
 */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a, cname, type Decoded, record, soa, type WireRecord, wire } from '../dns/messages.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'
import { rulesOf } from './rules-under-test.ts'

const TYPES = [Type.A, Type.AAAA, Type.TXT, Type.MX, Type.HTTPS]
const label = fc.stringMatching(/^[a-z0-9]{1,20}$/)
const name = fc.array(label, { minLength: 1, maxLength: 8 }).map((labels) => `${labels.join('.')}.example`)

function randomCase(text: string, bits: number): string {
  return Array.from(text, (each, k) => (((bits >> (k % 30)) & 1) === 1 ? each.toUpperCase() : each)).join('')
}

/** A record of the type, whose data the number decides. */
function dataOf(type: number, k: number, owner: string | Uint8Array): WireRecord {
  switch (type) {
    case Type.A:
      return a(k & 255, 60, owner)
    case Type.AAAA:
      return record(
        type,
        60,
        Uint8Array.from({ length: 16 }, (_, at) => (at + k) & 255),
        owner,
      )
    case Type.MX:
      return record(type, 60, Uint8Array.from([0, k & 255, ...wire('mail.test')]), owner)
    case Type.HTTPS:
      return record(type, 60, Uint8Array.from([0, 1, 0]), owner)
    default:
      return record(type, 60, Uint8Array.from([3, 97, 98, k & 255]), owner)
  }
}

const answers = fc.record({
  from: name,
  to: name,
  bits: fc.nat(),
  type: fc.constantFrom(...TYPES),
  chain: fc.array(name, { maxLength: 2 }),
  count: fc.integer({ min: 0, max: 40 }),
  isDenied: fc.boolean(),
  isTcp: fc.boolean(),
  edns: fc.constantFrom(null, {}, { payload: 512 }, { dnssecOk: true }),
})

function ask(
  byname: EngineUnderTest,
  asked: string,
  {
    chain,
    count,
    edns,
    isDenied,
    isTcp,
    to,
    type,
  }: {
    chain: string[]
    count: number
    edns: object | null
    isDenied: boolean
    isTcp: boolean
    to: string
    type: number
  },
): Asked {
  const result = byname.ask(asked, type, { edns, tcp: isTcp })
  const owners = [to, ...chain]
  const links = chain.map((next, k) => cname(next, 60, owners[k]))
  const data = Array.from({ length: count }, (_, k) => dataOf(type, k, owners.at(-1)!))
  if (isDenied) byname.answer({ flags: 0x8183, answers: links, authorities: [soa('example', 60, 60)] })
  else byname.answer({ answers: [...links, ...data], ...(count === 0 && { authorities: [soa('example', 60, 60)] }) })
  return result
}

/** Names are compressed against the question, whatever its case. */
const sorted = (records: readonly Decoded[] = []): string[] =>
  records.map(({ name: owner, type, ttl, data }) => JSON.stringify([owner, type, ttl, data]).toLowerCase()).toSorted()

test('a rewritten question gets the other one’s answer under its own name', () => {
  fc.assert(
    fc.property(answers, (parts) => {
      const { bits, chain, from, to } = parts
      fc.pre(from !== to && new Set([from, to, ...chain]).size === chain.length + 2)
      const { set } = rulesOf(`rules: [{ name: ${from}, rewrite: ${to} }]`)
      const cache = { maxBytes: 64 * 1024 }
      const rewritten = ask(new EngineUnderTest({ rules: set, cache }), randomCase(from, bits), parts)
      const plain = ask(new EngineUnderTest({ cache }), to, parts)
      const got = rewritten.reply
      const wanted = plain.reply
      if (got === null || wanted === null) throw new Error('there is no reply')
      const isCut = ((got.flags | wanted.flags) & 0x0200) !== 0
      expect(got.questions).toMatchObject([{ name: randomCase(from, bits) }])
      expect([got.rcode, got.opt?.name]).toEqual([wanted.rcode, wanted.opt?.name])
      expect(rewritten.length).toBeLessThanOrEqual(parts.isTcp ? 65_535 : 4096)
      const back = (each: Decoded): Decoded => ({ ...each, name: each.name.toLowerCase() === to ? from : each.name })
      // Which records fit depends on the length of the names.
      if (!isCut) {
        expect(sorted(got.answers)).toEqual(sorted(wanted.answers.map(back)))
        expect(sorted(got.authorities)).toEqual(sorted(wanted.authorities.map(back)))
        for (const each of got.answers)
          if (each.name.toLowerCase() === from) expect(each.name).toBe(randomCase(from, bits))
      }
    }),
    { numRuns: 500 },
  )
})
