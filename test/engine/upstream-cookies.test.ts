import { describe, expect, test } from 'vitest'
import { EdnsOption, Rcode } from '../../src/dns/constants.ts'
import { a, bytes, cname, decode, opt, record, type WireMessage } from '../dns/messages.ts'
import { acquainted, askNew, cookieOf, SERVER_COOKIE, withCookie } from './cookies.ts'
import { EngineUnderTest, server, settingsWith } from './engine-under-test.ts'

const BADCOOKIE_LOW = 7
const SOON_MS = 300_000
const HOUR_MS = 3_600_000

/** Asks now and then for so long, and gets answers; no query has a cookie. */
function askNewUntil(byname: EngineUnderTest, milliseconds: number): void {
  for (let k = 0; k < 10; k++) {
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toBeNull()
    byname.answer({ answers: [a(1)] })
    byname.advance(milliseconds / 10)
  }
}

test('each server gets a cookie of its own, and what it gave us for it', () => {
  const byname = new EngineUnderTest({ servers: [server('one'), server('two')] })
  const first = askNew(byname)
  const own = cookieOf(byname.lastQuery)!
  expect(own).toHaveLength(8)
  byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
  expect(first.reply?.answers).toHaveLength(1)
  askNew(byname)
  expect(cookieOf(byname.lastQuery)).toEqual(bytes(own, SERVER_COOKIE))
  byname.answer({ ...withCookie(own), flags: 0x8182, answers: [] })
  expect(byname.lastQuery.server).toBe(1)
  expect(cookieOf(byname.lastQuery)).toHaveLength(8)
  expect(cookieOf(byname.lastQuery)).not.toEqual(own)
})

test('a datagram with another cookie is forged: the wait goes on', () => {
  const { byname, own } = acquainted()
  const waiting = askNew(byname)
  byname.answer(
    withCookie(
      bytes(
        own.map((byte) => byte ^ 1),
        SERVER_COOKIE,
      ),
    ),
  )
  expect([waiting.reply, byname.dropped('spoofedReply')]).toEqual([null, 1])
  byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
  expect(waiting.reply?.answers).toHaveLength(1)
})

test('a datagram that is of no use and has another cookie is no failure of the server', () => {
  const { byname, own } = acquainted()
  const waiting = byname.ask('circle.example.org')
  const other = own.map((byte) => byte ^ 1)
  byname.answer({ ...withCookie(other), answers: [cname('circle.example.org')] })
  expect([byname.dropped('spoofedReply'), byname.dropped('malformedReply'), byname.outlet.queries.length]).toEqual([
    1, 0, 2,
  ])
  byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
  expect(waiting.reply?.answers).toHaveLength(1)
})

test('the cookie of a reply that is scrubbed counts as well', () => {
  const { byname, own } = acquainted()
  const waiting = askNew(byname)
  const planted = [a(1), a(66, 60, 'bank.example')]
  byname.answer({ ...withCookie(own.map((byte) => byte ^ 1)), answers: planted })
  expect(waiting.reply).toBeNull()
  byname.answer({ ...withCookie(own), answers: planted })
  expect(waiting.reply?.answers).toHaveLength(1)
})

describe('a reply without a cookie', () => {
  test('is taken from a server that never sent one, and it goes on getting ours', () => {
    const byname = new EngineUnderTest()
    const waiting = askNew(byname)
    byname.answer({ answers: [a(1)] })
    expect(waiting.reply?.answers).toHaveLength(1)
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toHaveLength(8)
  })

  test('of a server that always sent one is asked for again over TCP', () => {
    const { byname } = acquainted()
    const waiting = askNew(byname)
    byname.answer(withCookie(null))
    expect(waiting.reply).toBeNull()
    expect(byname.dropped('spoofedReply')).toBe(1)
    byname.answerStream(withCookie(null))
    expect(waiting.reply?.answers).toHaveLength(1)
    // It has stopped: that is settled for an hour.
    const next = askNew(byname)
    byname.answer(withCookie(null))
    expect(next.reply?.answers).toHaveLength(1)
    byname.advance(3_600_000)
    askNew(byname)
    byname.answer(withCookie(null))
    expect(byname.outlet.streams).toHaveLength(2)
  })

  test.each<[string, WireMessage]>([
    ['SERVFAIL', { flags: 0x8182 }],
    ['SERVFAIL with an OPT', { flags: 0x8182, additionals: [opt()] }],
    ['REFUSED', { flags: 0x8185 }],
    ['FORMERR', { flags: 0x8181 }],
    ['NOTIMP', { flags: 0x8184 }],
    ['a header alone', { flags: 0x8182, questions: [] }],
    ['TC', { flags: 0x8380, answers: [a(66)] }],
    ['NXDOMAIN', { flags: 0x8183 }],
  ])('that says %s is not the server’s, where it always sent one', (_, reply) => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    byname.answer(reply)
    expect([waiting.reply, byname.dropped('spoofedReply')]).toEqual([null, 1])
    expect([byname.outlet.streams.length, byname.upstream(0, 'failuresServfail')]).toEqual([1, 0])
    byname.answerStream(withCookie(bytes(own, SERVER_COOKIE)))
    expect(waiting.reply?.answers).toHaveLength(1)
    // Nothing was changed by it: the next one has to have it again.
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toHaveLength(16)
    byname.answer(withCookie(null))
    expect(byname.outlet.streams).toHaveLength(2)
  })

  test('that says TC is never passed on, where the server always sent one', () => {
    const { byname } = acquainted()
    const waiting = askNew(byname)
    byname.answer({ flags: 0x8380, answers: [a(66)] })
    byname.failStream('refused')
    byname.answer({ answers: [a(1)] })
    expect(waiting.reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
  })
})

describe('errors with our cookie', () => {
  test.each([Rcode.SERVFAIL, Rcode.REFUSED])('are the server’s: the next one is asked (rcode %i)', (rcode) => {
    const byname = new EngineUnderTest({ servers: [server('one'), server('two')] })
    askNew(byname)
    const own = cookieOf(byname.lastQuery)!
    byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
    askNew(byname)
    const later = Uint8Array.of(5, 5, 5, 5, 6, 6, 6, 6)
    byname.answer({ flags: 0x8180 | rcode, ...withCookie(bytes(own, later), 0), answers: [] })
    expect(byname.lastQuery.server).toBe(1)
    // The server's cookie is taken from errors as well (RFC 7873 §5.3).
    byname.answer({ answers: [a(1)] })
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toEqual(bytes(own, later))
  })

  test('with another one are forged', () => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    const other = own.map((byte) => byte ^ 1)
    byname.answer({ flags: 0x8182, ...withCookie(bytes(other, SERVER_COOKIE)), answers: [] })
    expect([waiting.reply, byname.dropped('spoofedReply'), byname.outlet.queries.length]).toEqual([null, 1, 2])
    byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
    expect(waiting.reply?.answers).toHaveLength(1)
  })

  test.each([1, 7, 9, 15, 41])('a cookie of %i bytes is none: the reply is dropped (RFC 7873 §5.3)', (length) => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    byname.answer(withCookie(bytes(own, new Uint8Array(64)).slice(0, length)))
    expect([waiting.reply, byname.dropped('spoofedReply')]).toEqual([null, 1])
  })

  test('an error without any, of a server that never sent one, tells nothing about cookies', () => {
    const byname = new EngineUnderTest()
    askNew(byname)
    byname.fail(Rcode.SERVFAIL)
    byname.answer({ answers: [a(1)] })
    askNew(byname)
    // The answer came to the question without.
    expect(cookieOf(byname.lastQuery)).toBeNull()
  })
})

describe('what says nothing of cookies:', () => {
  const OWN_BYTES = 8
  /** The next question has the cookie. */
  function expectCookie(byname: EngineUnderTest): void {
    askNew(byname)
    expect(cookieOf(byname.lastQuery)?.length).toBeGreaterThanOrEqual(OWN_BYTES)
  }

  test('an answer to a question that was asked without an OPT, by a server that takes them', () => {
    const byname = new EngineUnderTest()
    askNew(byname)
    byname.answer({ answers: [a(1)], additionals: [opt()] })
    askNew(byname)
    byname.fail(Rcode.FORMERR)
    byname.answer({ answers: [a(1)] })
    expectCookie(byname)
  })

  test('BADCOOKIE without a cookie, which anybody can say: a failure', () => {
    const byname = new EngineUnderTest()
    for (let n = 0; n < 2; n++) {
      const asked = askNew(byname)
      byname.answer({ flags: 0x8180 | BADCOOKIE_LOW, additionals: [opt({ rcode: 1 })] })
      byname.answer({ flags: 0x8180 | BADCOOKIE_LOW, additionals: [opt({ rcode: 1 })] })
      expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
    }
    expect(byname.upstream(0, 'failuresServfail')).toBe(4)
    askNew(byname)
    byname.answer({ answers: [a(1)] })
    expectCookie(byname)
  })

  test('an error over a stream that has none', () => {
    const { byname, own } = acquainted()
    const asked = askNew(byname)
    byname.answer({ flags: 0x8380, ...withCookie(bytes(own, SERVER_COOKIE)) })
    byname.answerStream({ flags: 0x8182 })
    expect(asked.reply).not.toBeNull()
    expectCookie(byname)
  })
})

describe('a server that does not answer queries with cookies', () => {
  test('is asked again without, and from then on for some minutes: the first one may have been lost', () => {
    const byname = new EngineUnderTest()
    const waiting = askNew(byname)
    byname.advance(1000)
    expect([byname.outlet.queries.length, cookieOf(byname.lastQuery)]).toEqual([2, null])
    byname.answer({ answers: [a(1)] })
    expect(waiting.reply?.answers).toHaveLength(1)
    askNewUntil(byname, SOON_MS)
    askNew(byname)
    const own = cookieOf(byname.lastQuery)!
    expect(own).toHaveLength(8)
    byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toHaveLength(16)
  })

  test('and leaves the next one unanswered as well gets none for an hour, however much it is asked', () => {
    const byname = new EngineUnderTest()
    for (const pauseMs of [SOON_MS, HOUR_MS, HOUR_MS]) {
      askNew(byname)
      expect(cookieOf(byname.lastQuery)).toHaveLength(8)
      byname.advance(1000)
      byname.answer({ answers: [a(1)] })
      askNewUntil(byname, pauseMs)
    }
  })

  test('but has done so before gets them always: that was loss', () => {
    const { byname } = acquainted()
    askNew(byname)
    byname.advance(1000)
    expect(cookieOf(byname.lastQuery)).toHaveLength(16)
  })

  test('because it does not understand EDNS gets none', () => {
    const byname = new EngineUnderTest()
    const waiting = askNew(byname)
    byname.fail(Rcode.FORMERR)
    expect(decode(byname.lastQuery.bytes).opt).toBeNull()
    byname.answer({ answers: [a(1)] })
    expect(waiting.reply?.answers).toHaveLength(1)
  })
})

describe('BADCOOKIE', () => {
  const fresh = Uint8Array.of(1, 1, 1, 1, 2, 2, 2, 2)
  const refuse = (byname: EngineUnderTest, own: Uint8Array): void =>
    byname.answer({
      flags: 0x8180 | BADCOOKIE_LOW,
      additionals: [opt({ rcode: 1, options: [[EdnsOption.COOKIE, bytes(own, fresh)]] })],
    })

  test('is answered by the same question with the new cookie', () => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    refuse(byname, own)
    expect(waiting.reply).toBeNull()
    expect(cookieOf(byname.lastQuery)).toEqual(bytes(own, fresh))
    byname.answer(withCookie(bytes(own, fresh)))
    expect(waiting.reply?.answers).toHaveLength(1)
  })

  test('a second time is answered over TCP, and it gets no cookies for a while', () => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    refuse(byname, own)
    refuse(byname, own)
    expect([byname.outlet.queries.length, byname.outlet.streams.length]).toEqual([3, 1])
    byname.answerStream({ answers: [a(1)] })
    expect(waiting.reply?.answers).toHaveLength(1)
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toBeNull()
  })

  test('a second time, of a server without TCP: it is asked without a cookie', () => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    refuse(byname, own)
    refuse(byname, own)
    byname.failStream('refused')
    expect(cookieOf(byname.lastQuery)).toBeNull()
    byname.answer({ answers: [a(1)] })
    expect(waiting.reply?.answers).toHaveLength(1)
  })

  test('while another question has found that no cookie is good enough: asked without, and answered without', () => {
    const { byname, own } = acquainted()
    askNew(byname)
    const [first] = byname.outlet.queries.slice(-1)
    const waiting = askNew(byname)
    const second = byname.lastQuery
    const options: [number, Uint8Array][] = [[EdnsOption.COOKIE, bytes(own, fresh)]]
    const refusal = { flags: 0x8187, additionals: [opt({ rcode: 1, options })] }
    byname.answer(refusal, first)
    byname.answer(refusal)
    byname.answer(refusal, second)
    expect(cookieOf(byname.lastQuery)).toBeNull()
    byname.answer({ answers: [a(1)] })
    expect([waiting.reply?.answers.length, byname.dropped('spoofedReply')]).toEqual([1, 0])
  })

  test('without end does not ask without end', () => {
    const { byname, own } = acquainted()
    const waiting = askNew(byname)
    for (let k = 0; k < 20 && waiting.reply === null; k++) {
      refuse(byname, own)
      if (byname.outlet.streams.length > 0) {
        const cookie: [number, Uint8Array][] = [[EdnsOption.COOKIE, bytes(own, fresh)]]
        byname.answerStream({ flags: 0x8187, additionals: [opt({ rcode: 1, options: cookie })] })
      }
    }
    expect(waiting.reply?.rcode).toBe(Rcode.SERVFAIL)
    expect(byname.outlet.queries.length + byname.outlet.streams.length).toBeLessThanOrEqual(9)
  })
})

test('a server keeps its cookie when the settings change, a new one gets its own', () => {
  const { byname, own } = acquainted()
  byname.engine.configure(settingsWith({ servers: [server('new'), server('one')] }))
  askNew(byname)
  expect(cookieOf(byname.lastQuery)).not.toEqual(own)
  byname.fail(Rcode.REFUSED)
  expect(cookieOf(byname.lastQuery)).toEqual(bytes(own, SERVER_COOKIE))
})

test('TCP servers get cookies, those over TLS and HTTPS none', () => {
  for (const transport of ['tcp', 'tls', 'https'] as const) {
    const byname = new EngineUnderTest({ servers: [server('one', transport)] })
    askNew(byname)
    expect(cookieOf(byname.lastStream) === null).toBe(transport !== 'tcp')
  }
})

test('broken options in a reply are no cookie', () => {
  const byname = new EngineUnderTest()
  const waiting = askNew(byname)
  const broken = { ...record(41, 0, bytes(0, EdnsOption.COOKIE, 0, 40, 1, 2, 3), Uint8Array.of(0)), class: 1232 }
  byname.answer({ answers: [a(1)], additionals: [broken] })
  expect(waiting.reply?.answers).toHaveLength(1)
})
