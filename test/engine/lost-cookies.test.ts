/**
 * Replies that lack the cookie which the server always sent, or have another one: they may be forged, or the server does not
 * keep cookies any more. One shows nothing, and no name fails for it.
 */
import { describe, expect, test } from 'vitest'
import { a, bytes, type WireMessage } from '../dns/messages.ts'
import { acquainted, askNew, cookieOf, SERVER_COOKIE, withCookie } from './cookies.ts'
import { type EngineUnderTest, server } from './engine-under-test.ts'

const HOUR_MS = 3_600_000

/** What comes instead of the right cookie, made of it. */
const WRONG: [string, (own: Uint8Array) => WireMessage][] = [
  ['without a cookie', () => withCookie(null)],
  [
    'with another cookie',
    (own) =>
      withCookie(
        bytes(
          own.map((byte) => byte ^ 1),
          SERVER_COOKIE,
        ),
      ),
  ],
  ['with a cookie of no length that there is', (own) => withCookie(own.slice(0, 7))],
]

describe.each(WRONG)('a datagram %s', (_, wrong) => {
  /** A question whose datagrams all lack the right cookie; `hasTcp` false: it ends by one to which none was sent. */
  function lose(byname: EngineUnderTest, own: Uint8Array, hasTcp: boolean): void {
    const asked = askNew(byname)
    expect(cookieOf(byname.lastQuery)).toHaveLength(16)
    byname.answer(wrong(own))
    expect(asked.reply).toBeNull()
    if (hasTcp) byname.answerStream(withCookie(bytes(own, SERVER_COOKIE)))
    else {
      byname.failStream('refused')
      expect(cookieOf(byname.lastQuery)).toBeNull()
      byname.answer({ answers: [a(1)] })
    }
    expect(asked.reply?.answers).toHaveLength(1)
  }

  test('is not believed: the server is asked beside it over TCP, with the cookie', () => {
    const { byname, own } = acquainted()
    const asked = askNew(byname)
    byname.answer(wrong(own))
    expect([asked.reply, byname.dropped('spoofedReply'), byname.outlet.streams.length]).toEqual([null, 1, 1])
    expect(cookieOf(byname.lastStream)).toHaveLength(16)
    byname.answerStream(withCookie(bytes(own, SERVER_COOKIE)))
    expect(asked.reply?.answers).toHaveLength(1)
  })

  test('does not keep the true one from being the answer', () => {
    const { byname, own } = acquainted()
    const asked = askNew(byname)
    for (let n = 0; n < 50; n++) byname.answer(wrong(own))
    byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
    expect([asked.reply?.answers.length, byname.outlet.streams.length]).toEqual([1, 1])
  })

  test('is no failure of the server', () => {
    const { byname, own } = acquainted()
    for (let n = 0; n < 2; n++) lose(byname, own, false)
    byname.advance(5000)
    expect([byname.upstream(0, 'failuresTimeout'), byname.upstream(0, 'healthy')]).toEqual([0, 1])
  })

  test.each([true, false])('in three questions in a row: it gets no cookie for an hour (TCP: %s)', (hasTcp) => {
    const { byname, own } = acquainted()
    for (let n = 0; n < 3; n++) lose(byname, own, hasTcp)
    const asked = askNew(byname)
    expect(cookieOf(byname.lastQuery)).toBeNull()
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toHaveLength(1)
    byname.advance(HOUR_MS)
    lose(byname, own, hasTcp)
  })

  test.each([true, false])('between right ones is forged, and changes nothing (TCP: %s)', (hasTcp) => {
    const { byname, own } = acquainted()
    for (let n = 0; n < 20; n++) {
      if (n % 3 < 2) lose(byname, own, hasTcp)
      else {
        askNew(byname)
        byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
      }
    }
  })

  test('many for one question count once', () => {
    const { byname, own } = acquainted()
    const asked = askNew(byname)
    for (let n = 0; n < 20; n++) byname.answer(wrong(own))
    byname.failStream('network')
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toHaveLength(1)
    lose(byname, own, true)
  })

  test('and a stream that brings the same: it gets no cookie for an hour, at once', () => {
    const { byname, own } = acquainted()
    const asked = askNew(byname)
    byname.answer(wrong(own))
    byname.answerStream(wrong(own))
    expect(asked.reply?.answers).toHaveLength(1)
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toBeNull()
  })

  test('of one server says nothing of others', () => {
    const { byname, own } = acquainted({ servers: [server('one'), server('two')] })
    for (let n = 0; n < 3; n++) {
      askNew(byname)
      byname.answer(wrong(own))
      byname.answerStream(withCookie(bytes(own, SERVER_COOKIE)))
    }
    askNew(byname)
    expect(cookieOf(byname.lastQuery)).toBeNull()
    byname.fail(5)
    expect([byname.lastQuery.server, cookieOf(byname.lastQuery)?.length]).toEqual([1, 8])
  })
})
