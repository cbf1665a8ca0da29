/** A server that takes cookies (RFC 7873), for tests of what becomes of them. */
import { EdnsOption } from '../../src/dns/constants.ts'
import { a, bytes, decode, opt, type WireMessage } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, type SettingsChange } from './engine-under-test.ts'
import type { SentQuery, SentStream } from './fake-outlet.ts'

export const SERVER_COOKIE: Uint8Array = Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2)

/** The cookie that a query carries, null without one. */
export function cookieOf(sent: SentQuery | SentStream): Uint8Array | null {
  const found = decode(sent.bytes).opt?.options?.find(({ code }) => code === EdnsOption.COOKIE)
  return found ? Uint8Array.from(found.data) : null
}

/** An answer whose OPT has this cookie, or none. */
export function withCookie(cookie: Uint8Array | null, rcode: number = 0): WireMessage {
  const options: [number, Uint8Array][] = cookie === null ? [] : [[EdnsOption.COOKIE, cookie]]
  return { answers: rcode === 0 ? [a(1)] : [], additionals: [opt({ rcode, options })] }
}

/** Asks for a name that this engine was not asked for before. */
export function askNew(byname: EngineUnderTest): Asked {
  return byname.ask(`n${byname.requests}.example.org`)
}

/** After one answer in which the server has sent our cookie back with one of its own. */
export function acquainted(change: SettingsChange = {}): { byname: EngineUnderTest; own: Uint8Array } {
  const byname = new EngineUnderTest(change)
  askNew(byname)
  const own = cookieOf(byname.lastQuery)!
  byname.answer(withCookie(bytes(own, SERVER_COOKIE)))
  return { byname, own }
}
