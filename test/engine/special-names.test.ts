import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { imageOf, info } from '../table/compiled.ts'
import type { DecodedMessage } from '../dns/messages.ts'
import { type Asking, EngineUnderTest } from './engine-under-test.ts'

function ask(name: string, type: number = Type.A, asking: Asking = {}): DecodedMessage | null {
  const byname = new EngineUnderTest()
  const { reply } = byname.ask(name, type, asking)
  expect(byname.outlet.queries.length).toBe(reply === null ? 1 : 0)
  expect(byname.responses(4)).toBe(reply === null ? 0 : 1)
  return reply
}

describe('localhost', () => {
  it.each(['localhost', 'LocalHost', 'a.b.localhost'])('%s is loopback', (name) => {
    expect(ask(name)).toMatchObject({ rcode: 0, answers: [{ name, type: 'A', data: '127.0.0.1' }] })
    expect(ask(name, Type.AAAA)).toMatchObject({ rcode: 0, answers: [{ name, type: 'AAAA', data: '::1' }] })
    expect(ask(name, Type.ANY)!.answers.map(({ data }) => data)).toEqual(['127.0.0.1', '::1'])
  })

  it('has nothing else', () => {
    expect(ask('a.localhost', Type.MX)).toMatchObject({
      rcode: 0,
      answers: [],
      authorities: [{ name: 'localhost', type: 'SOA' }],
    })
  })
})

describe('names that are nowhere', () => {
  it.each(['invalid', 'a.invalid', 'onion', 'A.B.ONION'])('%s is NXDOMAIN with an SOA', (name) => {
    const reply = ask(name, Type.A, { edns: {} })!
    expect([reply.rcode, reply.answers.length, reply.authorities[0]!.type, reply.opt !== null]).toEqual([
      3,
      0,
      'SOA',
      true,
    ])
    expect(name.endsWith(reply.authorities[0]!.name)).toBe(true)
  })
})

describe('resolver.arpa', () => {
  it.each(['resolver.arpa', '_dns.resolver.arpa'])('%s has no records', (name) => {
    expect(ask(name, Type.SVCB)).toMatchObject({
      rcode: 0,
      answers: [],
      authorities: [{ name: 'resolver.arpa', type: 'SOA' }],
    })
  })
})

describe('every other name', () => {
  it.each([
    '.',
    'arpa',
    'in-addr.arpa',
    'xresolver.arpa',
    'localhosts',
    'localhost.example',
    'xinvalid',
    'invalie',
    'invalid.org',
    'local',
    'union',
  ])('%s goes upstream', (name) => {
    expect(ask(name)).toBeNull()
  })
})

it('a table entry of the same name comes first', () => {
  const byname = new EngineUnderTest({}, imageOf(new Map([['x.localhost', info({ ips: ['192.0.2.1'] })]])))
  expect(byname.ask('x.localhost').reply!.answers[0]!.data).toBe('192.0.2.1')
  expect(byname.ask('y.localhost').reply!.answers[0]!.data).toBe('127.0.0.1')
})
