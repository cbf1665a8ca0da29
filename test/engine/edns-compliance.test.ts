/** The probes of the ISC's EDNS compliance tester (ednscomp.isc.org), each for an answer from everywhere one can come from. */
import { describe, expect, it } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import {
  a,
  bytes,
  type DecodedMessage,
  message,
  opt,
  type OptParts,
  record,
  soa,
  u16,
  type WireMessage,
} from '../dns/messages.ts'
import { imageOf, service } from '../table/compiled.ts'
import { EngineUnderTest } from './engine-under-test.ts'

const image = imageOf(new Map([service('web', 'shop', ['10.0.0.1'])]))
const MBZ = 0x7fff

/** What is asked about the name, and what must come. */
interface Probe {
  flags?: number
  type?: number
  edns?: OptParts
  /** Bits of the OPT's flags besides DO. */
  ednsFlags?: number
  tcp?: boolean
  rcode?: number
  /** DO of the reply's OPT. */
  dnssecOk?: boolean
}

const option = (code: number, ...data: number[]): [number, Uint8Array] => [code, Uint8Array.from(data)]
const NSID = option(3)
const SUBNET = option(8, 0, 1, 0, 0)
const EXPIRE = option(9)
const COOKIE = option(10, 1, 2, 3, 4, 5, 6, 7, 8)
const KEEPALIVE = option(11)
const PADDING = option(12, ...new Uint8Array(20))
const CHAIN = option(13, 0)
const UNKNOWN = option(100)

/** By the tester's names. */
const PROBES: [name: string, probe: Probe][] = [
  ['dns: plain DNS', {}],
  ['ad: AD in the query', { flags: 0x0120 }],
  ['cd: CD in the query', { flags: 0x0110 }],
  ['z: the reserved bit', { flags: 0x0140 }],
  ['aa: AA in the query', { flags: 0x0500 }],
  ['tc: TC in the query', { flags: 0x0300 }],
  ['ra: RA in the query', { flags: 0x0180 }],
  ['tcp: plain DNS over TCP', { tcp: true }],
  ['edns: version 0', { edns: {} }],
  ['edns@512', { edns: { payload: 512 } }],
  ['edns@0', { edns: { payload: 0 } }],
  ['edns1: an unknown version', { edns: { version: 1 }, rcode: Rcode.BADVERS }],
  ['edns255', { edns: { version: 255 }, rcode: Rcode.BADVERS }],
  ['edns1nsid', { edns: { version: 1, options: [NSID] }, rcode: Rcode.BADVERS }],
  ['edns1cookie', { edns: { version: 1, options: [COOKIE] }, rcode: Rcode.BADVERS }],
  ['edns1expire', { edns: { version: 1, options: [EXPIRE] }, rcode: Rcode.BADVERS }],
  ['edns1subnet', { edns: { version: 1, options: [SUBNET] }, rcode: Rcode.BADVERS }],
  ['ednsopt: an unknown option', { edns: { options: [UNKNOWN] } }],
  ['edns1opt: both', { edns: { version: 1, options: [UNKNOWN] }, rcode: Rcode.BADVERS }],
  ['do', { edns: { dnssecOk: true }, dnssecOk: true }],
  ['edns1do', { edns: { version: 1, dnssecOk: true }, rcode: Rcode.BADVERS, dnssecOk: true }],
  ['ednsflags: an unknown flag', { edns: {}, ednsFlags: 0x0040 }],
  ['ednsflags: all of them', { edns: { dnssecOk: true }, ednsFlags: MBZ, dnssecOk: true }],
  ['edns1flags', { edns: { version: 1 }, ednsFlags: 0x0040, rcode: Rcode.BADVERS }],
  ['docookie', { edns: { dnssecOk: true, options: [COOKIE] }, dnssecOk: true }],
  ['ednsnsid', { edns: { options: [NSID] } }],
  ['ednscookie', { edns: { options: [COOKIE] } }],
  ['ednsexpire', { edns: { options: [EXPIRE] } }],
  ['ednssubnet', { edns: { options: [SUBNET] } }],
  ['ednskeepalive', { edns: { options: [KEEPALIVE] }, tcp: true }],
  ['ednspadding', { edns: { options: [PADDING] } }],
  ['ednschain', { edns: { options: [CHAIN] } }],
  ['optlist: many options', { edns: { options: [NSID, SUBNET, EXPIRE, COOKIE, PADDING] } }],
  ['the same unknown option ten times', { edns: { options: Array.from({ length: 10 }, () => UNKNOWN) } }],
  ['ednstcp', { edns: {}, tcp: true }],
  ['edns512tcp', { edns: { payload: 512, dnssecOk: true }, tcp: true, dnssecOk: true }],
]

/** Names by where their answer comes from; the types of all are A. */
const SOURCES = {
  mesh: 'web.shop.svc.cluster.local',
  'special names': 'localhost',
  upstream: 'upstream.example',
  cache: 'cached.example',
}

function ask(name: string, probe: Probe): DecodedMessage {
  const byname = new EngineUnderTest({}, image)
  if (name === SOURCES.cache) {
    const variant = { flags: 0x0100 | ((probe.flags ?? 0) & 0x10), edns: { dnssecOk: probe.edns?.dnssecOk === true } }
    byname.ask(name, Type.A, variant)
    byname.answer({ answers: [a(1)] })
    byname.outlet.queries.length = 0
  }
  const { flags = 0x0100, type = Type.A, edns, ednsFlags = 0, tcp = false } = probe
  const parts: WireMessage = { id: 0x4242, flags, questions: [[name, type]] }
  if (edns) {
    const plain = opt(edns)
    parts.additionals = [{ ...plain, ttl: (plain.ttl | ednsFlags) >>> 0 }]
  }
  byname.from(Uint8Array.of(127, 0, 0, 1), tcp ? 1 : 0)
  const asked = byname.askRaw(message(parts))
  if (asked.reply === null) byname.answer({ answers: [a(1)], additionals: [opt({ options: [UNKNOWN] })] })
  if (asked.reply === null) throw new Error('no reply')
  return asked.reply
}

describe.each(Object.entries(SOURCES))('an answer from %s', (_, name) => {
  it.each(PROBES)('%s', (_name, probe) => {
    const reply = ask(name, probe)
    const { edns, rcode = Rcode.NOERROR, dnssecOk = false } = probe
    expect(reply.id).toBe(0x4242)
    expect(reply.rcode).toBe(rcode)
    expect(reply.questions).toHaveLength(1)
    expect(reply.answers).toHaveLength(rcode === Rcode.NOERROR ? 1 : 0)
    expect(reply.tc).toBe(false)
    // The reserved bit is never set (RFC 1035 §4.1.1).
    expect(reply.flags & 0x0040).toBe(0)
    if (!edns) return expect(reply.opt).toBeNull()
    expect(reply.additionals.filter(({ type }) => type === 'OPT')).toHaveLength(1)
    expect(reply.opt?.ednsVersion).toBe(0)
    expect(reply.opt?.flag_do).toBe(dnssecOk)
    expect(reply.opt?.udpPayloadSize).toBeGreaterThanOrEqual(512)
    // Nothing unknown comes back (RFC 6891 §6.1.2), and nothing that another server said to us.
    const codes = (reply.opt?.options ?? []).map(({ code }) => code)
    expect(codes.filter((code) => code !== 10 && code !== 15)).toEqual([])
    expect(Reflect.get(Object(reply.opt), 'flags') & MBZ).toBe(0)
  })
})

describe('a reply over the limit', () => {
  const texts = Array.from({ length: 20 }, (_, k) => record(Type.TXT, 60, bytes(100, new Uint8Array(100).fill(97 + k))))

  function askBig(edns: OptParts | null, tcp: boolean): { reply: DecodedMessage; length: number } {
    const byname = new EngineUnderTest()
    const asked = byname.ask('big.example', Type.TXT, { edns, tcp })
    byname.answer({ answers: texts })
    if (asked.reply === null) throw new Error('no reply')
    return { reply: asked.reply, length: asked.length }
  }

  it.each([
    ['dns: 512 bytes', null, 512],
    ['edns512', { payload: 512 }, 512],
    ['edns@1232', { payload: 1232 }, 1232],
    ['edns@4096', { payload: 4096 }, 4096],
    ['do with 512', { payload: 512, dnssecOk: true }, 512],
  ])('%s: whole records, TC, and the OPT in its place', (_, edns, limit) => {
    const { reply, length } = askBig(edns, false)
    expect(length).toBeLessThanOrEqual(limit)
    expect(reply.tc).toBe(limit < 4096)
    expect(reply.answers.length).toBeLessThanOrEqual(texts.length)
    expect(reply.opt === null).toBe(edns === null)
  })

  it.each([null, { payload: 512 }])('whole over TCP, %j', (edns) => {
    const { reply } = askBig(edns, true)
    expect(reply.tc).toBe(false)
    expect(reply.answers).toHaveLength(texts.length)
  })
})

describe('messages that are not right', () => {
  const byname = new EngineUnderTest()
  const question: WireMessage['questions'] = [['localhost', Type.A]]
  const send = (packet: Uint8Array): DecodedMessage | null => byname.askRaw(packet).reply

  const UPDATE: WireMessage = {
    flags: 0x2800,
    answers: [{ ...record(Type.A, 0, bytes()), class: 255 }],
    authorities: [a(2), a(3)],
  }
  const MALFORMED: [string, WireMessage, number][] = [
    ['opcode 15', { flags: 0x7800, questions: question }, Rcode.NOTIMP],
    ['opcode 15 and all flags', { flags: 0x7ff0, questions: question }, Rcode.NOTIMP],
    ['opcode UPDATE', { flags: 0x2800, questions: question }, Rcode.NOTIMP],
    ['opcode UPDATE with a prerequisite and changes', { ...UPDATE, questions: question }, Rcode.NOTIMP],
    [
      'opcode NOTIFY with an SOA',
      { flags: 0x2400, questions: question, answers: [soa('localhost', 60, 60)] },
      Rcode.NOTIMP,
    ],
    ['opcode STATUS without a question', { flags: 0x1000 }, Rcode.NOTIMP],
    ['two questions', { questions: [...question, ['localhost', Type.AAAA]] }, Rcode.FORMERR],
    ['an answer in the query', { questions: question, answers: [a(1)] }, Rcode.FORMERR],
    ['authority in the query', { questions: question, authorities: [soa('localhost', 60, 60)] }, Rcode.FORMERR],
    ['an answer and no question', { answers: [a(1, 60, 'localhost')] }, Rcode.FORMERR],
    [
      'IXFR with its SOA',
      { questions: [['localhost', Type.IXFR]], authorities: [soa('localhost', 60, 60)] },
      Rcode.REFUSED,
    ],
    ['a header alone', { flags: 0x0100 }, Rcode.FORMERR],
    ['class CH', { questions: [['version.bind', Type.TXT, 3]] }, Rcode.REFUSED],
    ['a zone transfer', { questions: [['example', Type.AXFR]] }, Rcode.REFUSED],
  ]

  it.each(MALFORMED)('%s', (_, parts, rcode) => {
    expect(send(message(parts))).toMatchObject({ rcode, opt: null, answers: [], authorities: [], additionals: [] })
  })

  it.each(MALFORMED)('%s, with EDNS: its OPT is answered with one', (_, parts, rcode) => {
    const asking = opt({ dnssecOk: true, options: [UNKNOWN, COOKIE] })
    const reply = send(message({ ...parts, additionals: [...(parts.additionals ?? []), asking] }))
    // Alone with a cookie it is a question for ours (RFC 7873 §5.4).
    const isAlone = parts.flags === 0x0100 && parts.questions === undefined && parts.answers === undefined
    expect(reply).toMatchObject({ rcode: isAlone ? Rcode.NOERROR : rcode, answers: [], authorities: [] })
    expect(reply?.opt).toMatchObject({ ednsVersion: 0, flag_do: true, udpPayloadSize: 4096 })
    expect(reply?.opt?.options?.map(({ code }) => code).filter((code) => code !== 10)).toEqual([])
  })

  it.each(MALFORMED)('%s, with EDNS of another version: no OPT is left without an answer', (_, parts, rcode) => {
    const reply = send(message({ ...parts, additionals: [...(parts.additionals ?? []), opt({ version: 1 })] }))
    expect(reply?.rcode).toBe(rcode)
    expect(reply?.opt).toMatchObject({ ednsVersion: 0 })
  })

  it.each<[string, WireMessage, boolean]>([
    ['two OPT records', { questions: question, additionals: [opt(), opt()] }, true],
    ['an OPT below a name', { questions: question, additionals: [{ ...opt(), owner: u16(0xc00c) }] }, false],
    ['a bad option', { questions: question, additionals: [{ ...opt(), data: u16(100, 9) }] }, true],
  ])('%s: FORMERR', (_, parts, hasOpt) => {
    const reply = send(message(parts))
    expect(reply?.rcode).toBe(Rcode.FORMERR)
    expect(reply?.opt !== null).toBe(hasOpt)
  })

  it('an OPT that cannot be reached is not looked for beyond the message', () => {
    const whole = message({ flags: 0x2800, questions: question, answers: [a(1)], additionals: [opt()] })
    for (let length = 12; length < whole.length; length++) {
      expect(send(whole.subarray(0, length))).toMatchObject({ rcode: Rcode.NOTIMP, opt: null })
    }
    expect(send(whole)?.opt).not.toBeNull()
  })

  it('an unknown type is forwarded', () => {
    const engine = new EngineUnderTest()
    const asked = engine.ask('unknown.example', 1000, { edns: {} })
    engine.answer({ answers: [record(1000, 60, Uint8Array.of(1, 2, 3))] })
    expect(asked.reply?.rcode).toBe(Rcode.NOERROR)
    expect(asked.reply?.answers).toHaveLength(1)
  })
})
