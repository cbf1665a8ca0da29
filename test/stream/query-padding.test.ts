import dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { padded } from '../../src/stream/upstreams/query-padding.ts'
import { a, message, record } from '../dns/messages.ts'

const COOKIE = Uint8Array.of(0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
const bare = record(Type.OPT, 0x8000, new Uint8Array(0), '.')

function queryOf(name: string, options: Uint8Array = new Uint8Array(0)): Uint8Array {
  return message({ flags: 0x0100, questions: [[name, 1]], additionals: [record(Type.OPT, 0x8000, options, '.')] })
}

/** Codes of a query's options. */
function optionsOf(query: Uint8Array): number[] {
  const [opt] = dnsPacket.decode(Buffer.from(query)).additionals ?? []
  return opt?.type === 'OPT' ? opt.options.map(({ code }) => code) : []
}

describe('a query', () => {
  it('is filled up to a multiple of 128 bytes by one option, and is otherwise the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.boolean(), (length, hasCookie) => {
        const labels = 'a'.repeat(length).match(/.{1,50}/g)!
        const query = queryOf(labels.join('.'), hasCookie ? COOKIE : new Uint8Array(0))
        const result = padded(query)
        expect(result.length % 128).toBe(0)
        expect(result.length - query.length).toBeGreaterThanOrEqual(4)
        expect(result.length - query.length).toBeLessThan(132)
        expect(optionsOf(result)).toEqual([...optionsOf(query), 12])
        // What is behind the query's own bytes is the option, and nothing before it but the length of the options is changed.
        expect(result.subarray(query.length + 4).every((byte) => byte === 0)).toBe(true)
        const lengthAt = query.length - (hasCookie ? COOKIE.length : 0) - 2
        const same = Uint8Array.from(result.subarray(0, query.length))
        same.set(query.subarray(lengthAt, lengthAt + 2), lengthAt)
        expect(same).toEqual(query)
      }),
      { numRuns: 50 },
    )
  })

  it.each<[what: string, query: Uint8Array]>([
    ['without an OPT', message({ flags: 0x0100, questions: [['a', 1]] })],
    ['with another record', message({ flags: 0x0100, questions: [['a', 1]], additionals: [a(1, 60)] })],
    ['with two additional records', message({ flags: 0x0100, questions: [['a', 1]], additionals: [bare, bare] })],
    [
      'with an answer as well',
      message({ flags: 0x0100, questions: [['a', 1]], answers: [a(1, 1)], additionals: [bare] }),
    ],
    ['with bytes behind its OPT', Uint8Array.of(...queryOf('a'), 0)],
    ['whose OPT is cut', queryOf('a').subarray(0, -1)],
    ['whose options are cut', queryOf('a', COOKIE).subarray(0, -1)],
    ['without a question', message({ flags: 0x0100, questions: [], additionals: [bare] })],
    ['that is shorter than a header', new Uint8Array(11)],
    ['whose name never ends', Uint8Array.of(0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 63)],
  ])('%s is left as it is', (_, query) => expect(padded(query)).toBe(query))
})
