/** DNAME records (RFC 6672): with the CNAME that a server makes of them, and from servers that leave that out. */
import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { a, cname, record, wire } from '../dns/messages.ts'
import { EngineUnderTest, server } from './engine-under-test.ts'

const DNAME = record(Type.DNAME, 60, wire('new.example'), 'old.example')

test('with its CNAME it is an answer like any other, and cached', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('www.old.example')
  byname.answer({ answers: [DNAME, cname('www.new.example'), a(1, 60, 'www.new.example')] })
  expect(asked.reply!.answers.map(({ type }) => type)).toEqual(['DNAME', 'CNAME', 'A'])
  expect(byname.ask('www.old.example').reply!.answers).toHaveLength(3)
})

const summary = (byname: EngineUnderTest, name: string, type?: number): unknown[][] =>
  byname.ask(name, type).reply!.answers.map((one) => [one.name, one.type, one.ttl, one.data])

test('without its CNAME it gets one, with its own TTL, and what that leads to is the answer', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.old.example')
  byname.answer({ answers: [a(1, 50, 'www.NEW.example'), DNAME] })
  for (const name of ['www.old.example', 'wWw.OLD.example']) {
    expect(summary(byname, name)).toEqual([
      [name.slice(4), 'DNAME', 60, 'new.example'],
      [name, 'CNAME', 60, 'www.new.example'],
      ['www.new.example', 'A', 50, '192.0.2.1'],
    ])
  }
  // What the name behind it is was not asked for.
  expect(byname.ask('www.new.example').reply).toBeNull()
})

test('DNAMEs and CNAMEs follow one another in any order', () => {
  const byname = new EngineUnderTest()
  byname.ask('a.b.old.example')
  const next = record(Type.DNAME, 60, wire('net.test'), 'new.example')
  byname.answer({ answers: [a(1, 60, 'end.test'), cname('end.test', 60, 'a.b.net.test'), next, DNAME] })
  expect(summary(byname, 'a.b.old.example').map((one) => one[1])).toEqual([
    'DNAME',
    'CNAME',
    'DNAME',
    'CNAME',
    'CNAME',
    'A',
  ])
})

test('a question for CNAME below it is answered with the one that follows from it', () => {
  const byname = new EngineUnderTest()
  byname.ask('www.old.example', Type.CNAME)
  byname.answer({ answers: [DNAME] })
  expect(summary(byname, 'www.old.example', Type.CNAME)).toEqual([
    ['old.example', 'DNAME', 60, 'new.example'],
    ['www.old.example', 'CNAME', 60, 'www.new.example'],
  ])
})

test('a name that it makes too long does not exist in its own way (YXDOMAIN), and is not kept', () => {
  const long = [60, 60, 60].map((length) => 'x'.repeat(length)).join('.')
  const byname = new EngineUnderTest()
  const dname = record(Type.DNAME, 60, wire(`${'y'.repeat(60)}.${'z'.repeat(60)}.new.example`), 'old.example')
  const asked = byname.ask(`${long}.old.example`)
  byname.answer({ answers: [dname] })
  expect(asked.reply).toMatchObject({ rcode: 6, answers: [{ type: 'DNAME' }] })
  expect(byname.ask(`${long}.old.example`).reply).toBeNull()
})

test.each([
  ['two that lead to one another', [DNAME, record(Type.DNAME, 60, wire('old.example'), 'new.example')]],
  ['one that leads below itself', [record(Type.DNAME, 60, wire('x.old.example'), 'old.example')]],
])('%s are a loop: the next server is asked', (_, answers) => {
  const byname = new EngineUnderTest({ servers: [server('one'), server('two')] })
  byname.ask('www.old.example')
  byname.answer({ answers })
  expect(byname.serversAsked).toEqual([0, 1])
})

test('its owner itself is not below it', () => {
  const byname = new EngineUnderTest()
  const asked = byname.ask('old.example')
  byname.answer({ answers: [record(Type.DNAME, 60, wire('new.example')), a(1)] })
  expect(asked.reply!.answers.map(({ type }) => type)).toEqual(['A'])
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
