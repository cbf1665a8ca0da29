import { describe, expect, test } from 'vitest'
import { EdnsOption, Rcode, Type } from '../../src/dns/constants.ts'
import { writeCookie } from '../../src/dns/cookie.ts'
import { a, type DecodedMessage, message, opt, record } from '../dns/messages.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const cookieSecret = Uint8Array.from({ length: 16 }, (_, k) => k * 7)
const CLIENT = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)

const withCookie = (data: Uint8Array = CLIENT): { options: [number, Uint8Array][] } => ({
  options: [[EdnsOption.COOKIE, data]],
})

/** The cookie in a reply, as numbers; null without one. */
function cookieOf(reply: DecodedMessage | null): number[] | null {
  const found = reply?.opt?.options?.find(({ code }) => code === EdnsOption.COOKIE)
  return found ? [...found.data] : null
}

function cookieAt(seconds: number, address: Uint8Array = LOOPBACK, client: Uint8Array = CLIENT): number[] {
  const out = new Uint8Array(24)
  writeCookie(cookieSecret, client, 0, seconds, address, 0, address.length, out, 0)
  return [...out]
}

test('a client cookie comes back with a server cookie beside it', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  expect(cookieOf(byname.ask('localhost', Type.A, { edns: withCookie() }).reply)).toEqual(cookieAt(0))
  byname.advance(90_500)
  expect(cookieOf(byname.ask('localhost', Type.A, { edns: withCookie() }).reply)).toEqual(cookieAt(90))
})

test('whatever server cookie comes along, the reply has a fresh one and the answer is the same', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  byname.advance(7_200_000)
  for (const server of [cookieAt(0).slice(8), cookieAt(7190).slice(8), [...new Uint8Array(32)]]) {
    const reply = byname.ask('localhost', Type.A, { edns: withCookie(Uint8Array.of(...CLIENT, ...server)) }).reply
    expect(reply?.rcode).toBe(Rcode.NOERROR)
    expect(reply?.answers).toHaveLength(1)
    expect(cookieOf(reply)).toEqual(cookieAt(7200))
  }
})

test('cookies differ by address and by client cookie', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  const address = Uint8Array.from({ length: 16 }, (_, k) => (k === 15 ? 1 : 0))
  byname.from(address)
  expect(cookieOf(byname.ask('localhost', Type.A, { edns: withCookie() }).reply)).toEqual(cookieAt(0, address))
  const other = CLIENT.map((byte) => byte ^ 0xff)
  expect(cookieOf(byname.ask('localhost', Type.A, { edns: withCookie(other) }).reply)).toEqual(
    cookieAt(0, address, other),
  )
})

test('clients that wait for the same answer get their own cookies, and those without get none', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  const other = CLIENT.map((byte) => byte ^ 0xff)
  const first = byname.ask('example.org', Type.A, { edns: withCookie() })
  const second = byname.ask('example.org', Type.A, { edns: withCookie(other) })
  const third = byname.ask('example.org', Type.A, { edns: {} })
  byname.advance(100)
  byname.answer({ answers: [a(1)] })
  expect(cookieOf(first.reply)).toEqual(cookieAt(0))
  expect(cookieOf(second.reply)).toEqual(cookieAt(0, LOOPBACK, other))
  expect(cookieOf(third.reply)).toBeNull()
  expect(cookieOf(byname.ask('example.org', Type.A, { edns: withCookie() }).reply)).toEqual(cookieAt(0))
})

test('an error carries the cookie beside its extended error', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  byname.from(Uint8Array.of(203, 0, 113, 1))
  const reply = byname.ask('example.org', Type.A, { edns: withCookie() }).reply
  expect(reply?.rcode).toBe(Rcode.REFUSED)
  expect(reply?.ede).toBe(18)
  expect(cookieOf(reply)).toEqual(cookieAt(0, Uint8Array.of(203, 0, 113, 1)))
})

test('a cookie without a question is answered (RFC 7873 §5.4)', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  const reply = byname.askRaw(message({ additionals: [opt(withCookie())] })).reply
  expect(reply?.rcode).toBe(Rcode.NOERROR)
  expect(reply?.questions).toEqual([])
  expect(cookieOf(reply)).toEqual(cookieAt(0))
})

test.each([0, 7, 9, 15, 41])('a cookie of %d bytes is a format error', (length) => {
  const byname = new EngineUnderTest({ cookieSecret })
  const reply = byname.ask('localhost', Type.A, { edns: withCookie(new Uint8Array(length)) }).reply
  expect(reply?.rcode).toBe(Rcode.FORMERR)
  expect(cookieOf(reply)).toBeNull()
})

test('the cookie counts towards the size limit', () => {
  const byname = new EngineUnderTest({ cookieSecret })
  byname.ask('example.org', Type.TXT, { edns: { payload: 4096 } })
  // Header, question, one record and an OPT of 11 bytes make 500; the cookie's 28 are over the limit of 512.
  const text = new Uint8Array(500 - 12 - 17 - 12 - 11 - 1)
  const data = Uint8Array.of(200, ...text.subarray(0, 200), text.length - 201, ...text.subarray(201))
  byname.answer({ answers: [record(Type.TXT, 60, data)] })
  const plain = byname.ask('example.org', Type.TXT, { edns: { payload: 512 } })
  expect([plain.length, plain.reply?.tc]).toEqual([500, false])
  const asked = byname.ask('example.org', Type.TXT, { edns: { payload: 512, ...withCookie() } })
  expect(asked.reply?.tc).toBe(true)
  expect(cookieOf(asked.reply)).not.toBeNull()
})

test('without a secret cookies go unanswered', () => {
  const byname = new EngineUnderTest()
  expect(cookieOf(byname.ask('localhost', Type.A, { edns: withCookie() }).reply)).toBeNull()
})

describe('a client over its limit', () => {
  const other = Uint8Array.of(192, 0, 2, 7)
  const cases: [what: string, cookie: () => number[] | null, isTold: boolean][] = [
    ['without a cookie', () => null, false],
    ['with a client cookie alone', () => [...CLIENT], false],
    ['with a server cookie of ours', () => cookieAt(7200), true],
    ['with one that is an hour old', () => cookieAt(7200 - 3600), true],
    ['with one that is older', () => cookieAt(7200 - 3601), false],
    ['with one of a clock five minutes ahead', () => cookieAt(7200 + 300), true],
    ['with one of a clock further ahead', () => cookieAt(7200 + 301), false],
    ['with the cookie of another address', () => cookieAt(7200, other), false],
    [
      'with another client cookie beside it',
      () => [...CLIENT.map((byte) => byte ^ 1), ...cookieAt(7200).slice(8)],
      false,
    ],
    ['with one bit changed', () => cookieAt(7200).map((byte, k) => (k === 23 ? byte ^ 1 : byte)), false],
    ['with a longer cookie', () => [...cookieAt(7200), 0], false],
  ]
  test.each(cases)('%s: told REFUSED only where its address is proven', (_, cookie, isTold) => {
    const byname = new EngineUnderTest({ cookieSecret, rateLimit: { queriesPerSecond: 1, burst: 1 } })
    byname.advance(7_200_000)
    byname.ask('localhost')
    const data = cookie()
    const asked = byname.ask('localhost', Type.A, data === null ? {} : { edns: withCookie(Uint8Array.from(data)) })
    expect(asked.reply?.rcode ?? null).toBe(isTold ? Rcode.REFUSED : null)
    expect(byname.dropped('rateLimited')).toBe(1)
  })
})
