/** DNAME records (RFC 6672): with the CNAME that a server makes of them, and from servers that leave it out. */
import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a, cname, record, wire } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const DNAME = record(Type.DNAME, 60, wire('new.example'), 'old.example')

test('with its CNAME it is an answer like any other, and cached', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.old.example')
  byname.answer({ answers: [DNAME, cname('www.new.example'), a(1, 60, 'www.new.example')] })
  expect(asked.reply!.answers.map(({ type }) => type)).toEqual(['DNAME', 'CNAME', 'A'])
  expect(byname.ask('www.old.example').reply!.answers).toHaveLength(3)
})

test('without its CNAME it is passed on as it is, and asked for each time', () => {
  const byname = new EngineUnderTest()
  for (let round = 1; round <= 2; round++) {
    const asked = byname.ask('www.old.example')
    expect([asked.reply, byname.outlet.queries.length]).toEqual([null, round])
    byname.answer({ answers: [DNAME] })
    expect(asked.reply).toMatchObject({ rcode: 0, answers: [{ name: 'old.example', type: 'DNAME', ttl: 60 }] })
  }
})

test('without its CNAME, addresses of the name that it would lead to are of a name that nobody asked for', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.old.example')
  byname.answer({ answers: [DNAME, a(1, 60, 'www.new.example')] })
  // No stub resolver would take them either: it follows CNAMEs.
  expect(asked.reply!.answers.map(({ type }) => type)).toEqual(['DNAME'])
  expect(byname.ask('www.new.example').reply).toBeNull()
})

test('one that is asked for is an answer', () => {
  const byname = new EngineUnderTest()
  byname.ask('old.example', Type.DNAME)
  byname.answer({ answers: [record(Type.DNAME, 60, wire('new.example'))] })
  expect(byname.ask('OLD.example', Type.DNAME).reply!.answers).toMatchObject([{ name: 'OLD.example', type: 'DNAME' }])
})

test('one of another zone is none of the answer', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.old.example')
  byname.answer({ answers: [a(1), record(Type.DNAME, 60, wire('evil.example'), 'bank.example')] })
  expect(asked.reply!.answers.map(({ type }) => type)).toEqual(['A'])
})
