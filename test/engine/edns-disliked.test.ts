/**
 * Servers, and firewalls before them, that drop or fail what has an OPT, or a cookie in it, without a word of why
 * (RFC 2671 §5.3, systemd/systemd#3980, #17218): a plain attempt within the deadline, remembered after three in a row.
 */
import { describe, expect, it } from 'vitest'
import { EdnsOption, Rcode, Type } from '../../src/dns/constants.ts'
import { a, bytes, decode, opt, record, type WireMessage } from '../dns/messages.ts'
import { type Asked, EngineUnderTest, type SettingsChange } from './engine-under-test.ts'
import type { SentQuery, SentStream } from './fake-outlet.ts'
import { serversWith } from './servers.ts'

const ANSWER: WireMessage = { answers: [a(1)] }
const HALF: WireMessage = { flags: 0x8380, answers: [a(1)] }
/** An A record of one byte. */
const UNREADABLE: WireMessage = { answers: [record(Type.A, 60, bytes(1))] }
const STEP_MS = 50

type Manner = (query: SentQuery, byname: EngineUnderTest) => void

const hasOpt = ({ bytes: query }: { bytes: Uint8Array }): boolean => decode(query).opt !== null

function hasCookie({ bytes: query }: SentQuery): boolean {
  return decode(query).opt?.options?.some(({ code }) => code === EdnsOption.COOKIE) === true
}

/** A server's network: what is sent is reacted to at once, streams are refused unless `stream` says otherwise. */
class Network {
  readonly byname: EngineUnderTest
  readonly #manners: readonly Manner[]
  readonly #stream: (sent: SentStream, byname: EngineUnderTest) => void
  #datagrams = 0
  #streams = 0
  #names = 0

  constructor(
    change: SettingsChange,
    manners: readonly Manner[],
    stream?: (sent: SentStream, b: EngineUnderTest) => void,
  ) {
    this.byname = new EngineUnderTest(change)
    this.#manners = manners
    this.#stream = stream ?? ((sent, byname) => byname.failStream('refused', sent))
  }

  /** Asks a new name and returns its reply with how long it took, and what was sent for it. */
  ask(): { asked: Asked; ms: number; queries: SentQuery[]; streams: SentStream[] } {
    const { byname } = this
    const [from, fromStream] = [this.#datagrams, this.#streams]
    const asked = byname.ask(`n${this.#names++}.example`)
    this.#react()
    let ms = 0
    for (; asked.reply === null && ms < 10_000; ms += STEP_MS) {
      byname.advance(STEP_MS)
      this.#react()
    }
    return { asked, ms, queries: byname.outlet.queries.slice(from), streams: byname.outlet.streams.slice(fromStream) }
  }

  #react(): void {
    const { queries, streams } = this.byname.outlet
    while (this.#datagrams < queries.length || this.#streams < streams.length) {
      if (this.#datagrams < queries.length) {
        const sent = queries[this.#datagrams++]!
        this.#manners[sent.server]!(sent, this.byname)
      } else this.#stream(streams[this.#streams++]!, this.byname)
    }
  }
}

const silence: Manner = () => undefined
/** Answers what has no OPT, and does `otherwise` with the rest. */
const plainly =
  (otherwise: Manner): Manner =>
  (query, byname) =>
    hasOpt(query) ? otherwise(query, byname) : byname.answer(ANSWER, query)
const failing =
  (rcode: number, withOpt: boolean = false): Manner =>
  (query, byname) =>
    byname.answer({ flags: 0x8180 | rcode, ...(withOpt && { additionals: [opt()] }) }, query)

const withoutCookie: Manner = (query, b) =>
  hasCookie(query) ? failing(Rcode.FORMERR)(query, b) : b.answer(ANSWER, query)

const KINDS: readonly [string, Manner, isSilent?: boolean][] = [
  ['drops an OPT', plainly(silence), true],
  ['answers an OPT with SERVFAIL', plainly(failing(Rcode.SERVFAIL))],
  ['answers an OPT with SERVFAIL and an OPT', plainly(failing(Rcode.SERVFAIL, true))],
  ['answers an OPT with REFUSED', plainly(failing(Rcode.REFUSED))],
  ['answers an OPT with FORMERR', plainly(failing(Rcode.FORMERR))],
  ['answers an OPT with FORMERR and an OPT', plainly(failing(Rcode.FORMERR, true))],
  ['answers an OPT with NOTIMP', plainly(failing(Rcode.NOTIMP))],
  ['answers an OPT with BADVERS', plainly((query, b) => b.answer({ additionals: [opt({ rcode: 1 })] }, query))],
  ['answers an OPT with what cannot be read', plainly((query, b) => b.answer(UNREADABLE, query))],
]
const OTHER_SETTINGS: readonly [string, SettingsChange][] = [
  ['alone', {}],
  ['one of two', serversWith(2, 'sequential')],
  ['one of two asked at once', serversWith(2, 'parallel')],
  ['alone, with a short deadline', { attemptTimeoutMs: 1000, deadlineMs: 1500 }],
  [
    'alone, with two attempts',
    { routes: [{ domains: [new Uint8Array(1)], servers: [0], policy: 'random', maxAttempts: 2 }] },
  ],
]

describe.each(OTHER_SETTINGS)('a server, %s, that', (_, change) => {
  it.each(KINDS)('%s: each question is answered, and the fourth at once', (_name, manner, isSilent = false) => {
    const network = new Network(change, [manner, manner])
    // Each server is known after three questions that it answered.
    for (let n = 0; n < 8; n++) {
      const { asked, ms, queries } = network.ask()
      expect(asked.reply, `question ${n}`).toMatchObject({ rcode: 0, answers: [{}] })
      expect(queries.length).toBeLessThanOrEqual(8)
      if (!isSilent) expect(ms).toBeLessThan(100)
    }
    // Of two that are asked at once the one that answers first is known.
    const { ms, queries } = network.ask()
    expect([ms, queries.some((query) => !hasOpt(query))]).toEqual([0, true])
  })

  it('dislikes the cookie alone is asked with an OPT again, and without the cookie', () => {
    const network = new Network(change, [withoutCookie, withoutCookie])
    for (let n = 0; n < 6; n++) expect(network.ask().asked.reply?.rcode).toBe(0)
    const { queries } = network.ask()
    expect(queries.some((query) => hasOpt(query) && !hasCookie(query))).toBe(true)
  })
})

describe('a firewall that', () => {
  it('drops a cookie alone costs one attempt, and is remembered', () => {
    const network = new Network({}, [(query, b) => void (hasCookie(query) || b.answer(ANSWER, query))])
    expect(network.ask()).toMatchObject({ ms: 1000, asked: { reply: { rcode: 0 } } })
    expect(network.ask()).toMatchObject({ ms: 0, asked: { reply: { rcode: 0 } } })
  })

  it('drops large replies leaves those of 512 bytes, and TCP', () => {
    const network = new Network({}, [(query, b) => void (hasOpt(query) || b.answer(HALF, query))], (sent, b) =>
      b.answerStream({ answers: Array.from({ length: 90 }, (_, k) => a(k)) }, sent),
    )
    expect(network.ask().asked.reply).toMatchObject({ rcode: 0 })
  })

  it('drops what has an OPT, without anybody behind it: no more than eight messages', () => {
    const { asked, queries, streams } = new Network({}, [silence]).ask()
    expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
    expect(queries.length + streams.length).toBeLessThanOrEqual(8)
  })
})

describe('a server that understands an OPT', () => {
  it('and fails is asked with it again for a client that validates', () => {
    const byname = new EngineUnderTest()
    byname.ask('signed.example', Type.A, { edns: { dnssecOk: true } })
    byname.answer({ flags: 0x8182, additionals: [opt()] })
    expect(hasOpt(byname.lastQuery)).toBe(true)
  })

  it('and loses one datagram keeps it', () => {
    const byname = new EngineUnderTest()
    byname.ask('lossy.example')
    byname.advance(1000)
    expect(hasOpt(byname.lastQuery)).toBe(true)
  })

  it('and answers in between is not remembered as one that does not', () => {
    let isWell = false
    const network = new Network({}, [
      (query, b) => (isWell || !hasOpt(query) ? b.answer(ANSWER, query) : failing(Rcode.SERVFAIL)(query, b)),
    ])
    for (let n = 0; n < 9; n++) {
      isWell = n % 3 === 2
      network.ask()
    }
    isWell = true
    expect(network.ask().queries.map(hasOpt)).toEqual([true])
  })
})

describe('replies that are cut on the way, without TC', () => {
  it('are asked for over TCP at once', () => {
    const network = new Network({}, [(query, b) => b.answer(UNREADABLE, query)], (sent, b) =>
      b.answerStream(ANSWER, sent),
    )
    expect(network.ask()).toMatchObject({ ms: 0, asked: { reply: { rcode: 0 } }, queries: [{}], streams: [{}] })
  })

  it('where there is no TCP, are asked for without an OPT, which keeps them short', () => {
    const network = new Network({}, [(query, b) => b.answer(hasOpt(query) ? UNREADABLE : ANSWER, query)])
    expect(network.ask()).toMatchObject({ ms: 0, asked: { reply: { rcode: 0 } }, queries: [{}, {}], streams: [{}] })
  })

  it('everywhere: SERVFAIL, and the server is not asked for ever', () => {
    const network = new Network({}, [(query, b) => b.answer(UNREADABLE, query)], (sent, b) =>
      b.answerStream(UNREADABLE, sent),
    )
    const { asked, queries, streams } = network.ask()
    expect(asked.reply?.rcode).toBe(Rcode.SERVFAIL)
    expect(queries.length + streams.length).toBeLessThanOrEqual(4)
  })
})

describe('a stream that breaks, for what was cut off', () => {
  it.each([1, 2, 3])('%i times is tried again within the deadline', (times) => {
    let broken = 0
    const network = new Network({}, [(query, b) => b.answer(HALF, query)], (sent, b) =>
      broken++ < times ? b.failStream('network', sent) : b.answerStream(ANSWER, sent),
    )
    const { asked, ms } = network.ask()
    expect(asked.reply).toMatchObject({ rcode: 0, tc: false })
    expect(ms).toBeLessThan(1800)
  })

  it('for ever ends with what there is, in less than eight messages', () => {
    const network = new Network({}, [(query, b) => b.answer(HALF, query)], (sent, b) => b.failStream('network', sent))
    const { asked, ms, queries, streams } = network.ask()
    expect([asked.reply, ms <= 1800]).toMatchObject([{ tc: true }, true])
    expect(queries.length + streams.length).toBeLessThanOrEqual(8)
  })

  it('is not tried again where nobody listens', () => {
    const network = new Network({}, [(query, b) => b.answer(HALF, query)])
    expect(network.ask()).toMatchObject({ ms: 0, asked: { reply: { tc: true } }, streams: [{}] })
  })
})
