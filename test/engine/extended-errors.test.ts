/** Why something failed, or is what it is, goes on from the server that says so to the client (RFC 8914). */
import { expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import {
  a,
  type DecodedMessage,
  opt,
  record,
  soa,
  u16,
  type WireMessage,
  type WireRecord,
  bytes,
} from '../dns/messages.ts'
import { type Asked, EngineUnderTest, server } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

const NAME = 'example.org'
const DNSSEC_BOGUS = 6
const BLOCKED = 15

/** An OPT with an extended error and its text. */
const explained = (...codes: number[]): WireRecord[] => [
  opt({ options: codes.map((code) => [15, bytes(u16(code), Buffer.from('why it is so'))]) }),
]
const failure = (rcode: number, ...codes: number[]): WireMessage => ({
  flags: 0x8180 | rcode,
  additionals: explained(...codes),
})

function ask(byname: EngineUnderTest, name: string = NAME, type: number = Type.A): Asked {
  return byname.ask(name, type, { edns: {} })
}

/** The data of the reply's extended errors: the code alone. */
function errorsOf(reply: DecodedMessage | null): number[][] {
  const options = reply?.opt?.options ?? []
  return options.filter(({ code }) => code === 15).map(({ data }) => [...data])
}

test('the code that a server gives with SERVFAIL is the one that clients get, without its text', () => {
  const byname = new EngineUnderTest()
  const asked = ask(byname)
  const plain = byname.ask(NAME)
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: DNSSEC_BOGUS })
  expect(errorsOf(asked.reply)).toEqual([[0, DNSSEC_BOGUS]])
  expect(plain.reply).toMatchObject({ rcode: Rcode.SERVFAIL, opt: null })
})

test('it stays the reason where other servers only fail, and another server’s takes its place', () => {
  const byname = new EngineUnderTest(serversWith(2, 'sequential'))
  const asked = ask(byname)
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  pass(byname, 5000)
  expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: DNSSEC_BOGUS })
  const anew = new EngineUnderTest(serversWith(2, 'sequential'))
  const other = ask(anew)
  anew.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  anew.answer(failure(Rcode.REFUSED, Ede.PROHIBITED))
  while (other.reply === null) anew.fail(Rcode.SERVFAIL)
  expect(other.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.PROHIBITED })
})

test('it is forgotten with the question', () => {
  const byname = new EngineUnderTest({ cache: { maxBytes: 0 } })
  ask(byname)
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  const next = ask(byname)
  byname.fail(Rcode.SERVFAIL)
  byname.fail(Rcode.SERVFAIL)
  expect(next.reply).toMatchObject({ ede: Ede.NO_REACHABLE_AUTHORITY })
})

test.each([
  ['REFUSED', Rcode.REFUSED],
  ['SERVFAIL', Rcode.SERVFAIL],
])('%s without a reason is no fault of the network', (_, rcode) => {
  const byname = new EngineUnderTest()
  const asked = ask(byname)
  byname.fail(rcode)
  byname.fail(rcode)
  expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: Ede.NO_REACHABLE_AUTHORITY })
})

test('an answer that comes after all says nothing of the failures before it', () => {
  const byname = new EngineUnderTest(serversWith(2, 'sequential'))
  const asked = ask(byname)
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  byname.answer({ answers: [a(1)] })
  expect(asked.reply).toMatchObject({ rcode: Rcode.NOERROR, ede: null })
})

test.each<[string, WireMessage]>([
  ['an answer', { answers: [a(1)] }],
  ['an answer with records that do not belong to it', { answers: [a(1)], authorities: [a(6, 60, 'victim.example')] }],
  ['a denial', { flags: 0x8183, authorities: [soa('org', 60, 60)] }],
])('%s keeps its code, in the cache as well', (_, parts) => {
  const byname = new EngineUnderTest()
  const asked = ask(byname)
  byname.answer({ ...parts, additionals: explained(BLOCKED) })
  const hit = ask(byname)
  for (const { reply } of [asked, hit]) {
    expect(reply?.rcode).toBe((parts.flags ?? 0) & 15)
    expect(errorsOf(reply)).toEqual([[0, BLOCKED]])
  }
  expect(byname.ask(NAME).reply).toMatchObject({ opt: null })
  expect(byname.outlet.queries).toHaveLength(1)
})

test('the code of a denial goes with it for the names below', () => {
  const byname = new EngineUnderTest({ cache: { nxdomainCut: true } })
  ask(byname)
  byname.answer({ flags: 0x8183, authorities: [soa('org', 60, 60)], additionals: explained(BLOCKED) })
  expect(errorsOf(ask(byname, `x.${NAME}`).reply)).toEqual([[0, BLOCKED]])
})

test('that an answer is stale, or a failure is remembered, is what clients are told of it', () => {
  const byname = new EngineUnderTest({ cache: { staleSeconds: 3600 } })
  ask(byname)
  byname.answer({ answers: [a(1)], additionals: explained(BLOCKED) })
  byname.advance(60_000)
  const stale = ask(byname)
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  expect(errorsOf(stale.reply)).toEqual([[0, Ede.STALE_ANSWER]])
  ask(byname, 'bogus.example')
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  byname.answer(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  expect(errorsOf(ask(byname, 'bogus.example').reply)).toEqual([[0, Ede.CACHED_ERROR]])
})

test('over a stream, and in a partial answer, it is read as well', () => {
  const streamed = new EngineUnderTest({ servers: [server('one', 'tls')] })
  const failed = ask(streamed)
  streamed.answerStream(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  streamed.answerStream(failure(Rcode.SERVFAIL, DNSSEC_BOGUS))
  expect(failed.reply).toMatchObject({ rcode: Rcode.SERVFAIL, ede: DNSSEC_BOGUS })
  const byname = new EngineUnderTest()
  const half = ask(byname, 'half.example')
  byname.answer({ flags: 0x8380, answers: [a(1)], additionals: explained(BLOCKED) })
  byname.failStream('refused')
  expect(half.reply).toMatchObject({ tc: true, ede: BLOCKED })
})

const error = (code: number): [number, Uint8Array] => [15, u16(code)]

/** What a client gets when the server's answer has these options. */
function replyWith(options: [number, Uint8Array][]): DecodedMessage | null {
  const byname = new EngineUnderTest()
  const asked = ask(byname)
  byname.answer({ answers: [a(1)], additionals: [opt({ options })] })
  return asked.reply
}

test('of several the first counts, wherever it stands; one without a code is none', () => {
  expect(replyWith([error(4), error(5)])?.ede).toBe(4)
  expect(replyWith([[100, new Uint8Array(3)], [12, new Uint8Array(9)], error(49_152)])?.ede).toBe(49_152)
  expect(replyWith([[15, Uint8Array.of(0)]])?.ede).toBeNull()
  expect(replyWith([[15, Uint8Array.of(0)], error(7)])?.ede).toBe(7)
  // Would be taken for none where it is kept.
  expect(replyWith([error(65_535)])?.ede).toBeNull()
})

test('no record is left out for it, and nobody asks again over TCP for its sake', () => {
  const byname = new EngineUnderTest()
  // With header, question, record and OPT 512 bytes, with an extended error six more.
  const text = record(Type.TXT, 60, bytes(new Uint8Array(512 - 12 - 17 - 12 - 11).fill(1)))
  const asked = byname.ask(NAME, Type.TXT, { edns: { payload: 512 } })
  byname.answer({ answers: [text], additionals: explained(BLOCKED) })
  expect(asked.length).toBe(512)
  expect(asked.reply).toMatchObject({ tc: false, ede: null, answers: [{ type: 'TXT' }] })
  expect(byname.ask(NAME, Type.TXT, { edns: { payload: 518 } }).reply).toMatchObject({ tc: false, ede: BLOCKED })
})
