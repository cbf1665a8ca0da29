import { expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { a, cname, record, soa, wire } from '../dns/messages.ts'
import { EngineUnderTest, server } from './engine-under-test.ts'

test('records that nobody asked for reach neither the client nor the cache', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.example.org')
  byname.answer({
    answers: [cname('cdn.example'), a(1, 60, 'cdn.example'), a(66, 60, 'bank.example')],
    authorities: [soa('bank.example', 60, 60)],
    additionals: [a(66, 60, 'bank.example')],
  })
  for (const reply of [asked.reply, byname.ask('WWW.example.org').reply]) {
    expect(reply?.answers.map(({ name }) => name.toLowerCase())).toEqual(['www.example.org', 'cdn.example'])
    expect([reply?.authorities, reply?.additionals]).toEqual([[], []])
  }
  expect(byname.ask('bank.example').reply).toBeNull()
})

test('the owners of a rebuilt answer repeat the case of each client’s question', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example.org')
  byname.answer({ answers: [a(1), a(66, 60, 'bank.example')] })
  expect(byname.ask('wWw.eXample.org').reply?.answers).toMatchObject([{ name: 'wWw.eXample.org', data: '192.0.2.1' }])
})

test('TTLs of a rebuilt answer count down', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example.org')
  byname.answer({ answers: [cname('cdn.example', 50), a(66, 5, 'bank.example'), a(1, 40, 'cdn.example')] })
  byname.advance(30_000)
  expect(byname.ask('www.example.org').reply?.answers.map(({ ttl }) => ttl)).toEqual([20, 10])
})

test('an SOA of another zone does not make a negative answer', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.example.org')
  byname.answer({ flags: 0x8183, authorities: [soa('bank.example', 3600, 3600)] })
  expect(byname.ask('www.example.org').reply).toBeNull()
})

test('addresses that come with SRV records stay', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('_http._tcp.example.org', Type.SRV)
  const data = Uint8Array.of(0, 0, 0, 0, 0, 80, ...wire('host.example.org'))
  byname.answer({ answers: [record(Type.SRV, 60, data)], additionals: [a(1, 60, 'host.example.org')] })
  expect(asked.reply?.additionals).toMatchObject([{ name: 'host.example.org', data: '192.0.2.1' }])
})

test('a server whose CNAMEs run in a circle has failed, and the next one is asked', () => {
  const byname = new EngineUnderTest({ servers: [server('one'), server('two')] })
  const asked = byname.ask('www.example.org')
  byname.answer({ answers: [cname('b.example'), cname('www.example.org', 60, 'b.example')] })
  expect(byname.serversAsked).toEqual([0, 1])
  expect([byname.dropped('malformedReply'), byname.upstream(0, 'failuresMalformed')]).toEqual([1, 1])
  byname.answer({ answers: [a(1)] })
  expect(asked.reply?.rcode).toBe(Rcode.NOERROR)
})
