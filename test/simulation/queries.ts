/** Queries as clients send them: good ones, odd ones and broken ones, each with what a reader must make of it. */
import { MessageWriter, parseMessage } from './message.ts'
import type { Names } from './names.ts'
import type { Random } from './random.ts'

export interface Asked {
  id: number
  flags: number
  /** The question as it stands in the query, case and all; '' if the query has none that can be read. */
  question: string
  /** In lower case. */
  name: string
  type: number
  /** `cookie`: the client's part of it, '' without one. */
  edns: { payload: number; version: number; dnssecOk: boolean; cookie: string } | null
  /** `ok`: a question to be answered; `empty`: only a cookie; `drop`: nothing may come back; else the rcode that it deserves. */
  verdict: 'ok' | 'empty' | 'drop' | number
  /** True where a reply may leave out the question: it could not be read. */
  isBroken: boolean
  /** It carries a whole cookie that may be one of ours, as queries do that have come back to us. */
  isPerhapsProven?: boolean
  /** A rule or plug-in has changed the name: `name` is what servers are asked for. */
  isRewritten?: boolean
  /** Then, of the CNAME from one to the other. */
  aliasTtl?: number | undefined
}

const COOKIE = 10
const FLAG_RD = 0x0100
const FLAG_AD = 0x0020
const FLAG_CD = 0x0010
const TYPES: readonly (readonly [number, number])[] = [
  [40, 1],
  [25, 28],
  [3, 255],
  [3, 65],
  [2, 64],
  [3, 16],
  [3, 12],
  [2, 15],
  [2, 33],
  [1, 5],
  [1, 6],
  [1, 2],
  [1, 48],
  [0.5, 13],
  [1, 257],
  [1, 65_280],
]

/** One writer for all: `take` copies. */
const writer = new MessageWriter()

/** Makes a query; like `before` (another id, case and flags perhaps) if that is given. */
export function makeQuery(
  random: Random,
  names: Names,
  isStream: boolean,
  before?: Asked,
): { packet: Buffer; asked: Asked } {
  if (before === undefined || before.verdict !== 'ok') {
    if (random.chance(0.03)) return makeFaulty(random, names, isStream)
    before = undefined
  }
  const isPointer = before === undefined && random.chance(0.02)
  const group = random.weighted([
    [3, names.mesh],
    [6, names.upstream],
    [0.2, names.special],
  ])
  // Few names are asked often, and many rarely.
  const name = before?.name ?? group[Math.floor(group.length * random.fraction() ** 3)]!
  const isProbe = group === names.special && random.chance(0.15)
  const usual = name.includes('in-addr') || isPointer ? 12 : isProbe ? 13 : random.weighted(TYPES)
  const type = before?.type ?? usual
  const flags = random.weighted([
    [20, FLAG_RD],
    [4, FLAG_RD | FLAG_AD],
    [2, FLAG_RD | FLAG_CD],
    [0.5, 0],
  ])
  const asked: Asked = {
    id: random.below(65_536),
    flags,
    question: '',
    name,
    type,
    edns: null,
    verdict: 'ok',
    isBroken: false,
  }
  writer.begin(asked.id, flags)
  const spelt = random.chance(0.2) ? randomCase(random, name) : name
  writer.question(spelt, type, 1)
  asked.question = questionText(spelt, type, 1)
  if (random.chance(0.5)) addEdns(random, asked)
  if (random.chance(0.005)) writer.text('trailing bytes')
  return { packet: writer.take(), asked }
}

/** The query in these bytes as one that somebody asks; null if it is no question. */
export function askedBy(bytes: Buffer): Asked | null {
  const query = parseMessage(bytes, 0, bytes.length)
  if (typeof query === 'string' || query.question === '') return null
  const { id, flags, question, name, type, opt } = query
  const data = opt?.options.get(COOKIE) ?? ''
  const cookie = data.slice(0, 8)
  const edns = opt === null ? null : { payload: opt.payload, version: opt.version, dnssecOk: opt.dnssecOk, cookie }
  return { id, flags, question, name, type, edns, verdict: 'ok', isBroken: false, isPerhapsProven: data.length === 24 }
}

function addEdns(random: Random, asked: Asked): void {
  const cookie = random.chance(0.1) ? clientCookie(random) : ''
  let options = ''
  if (random.chance(0.05)) options += '\0\u000c\0\u0004abcd'
  if (cookie !== '') options += option(random.chance(0.5) ? cookie : `${cookie}abcdefghijklmnop`)
  if (random.chance(0.02)) options += '\u00fd\u00e9\0\0'
  asked.edns = {
    payload: random.weighted([
      [6, 1232],
      [3, 4096],
      [1, 512],
      [1, 0],
      [1, 65_535],
      [1, random.below(1500)],
    ]),
    version: 0,
    dnssecOk: random.chance(0.2),
    cookie,
  }
  writer.opt(asked.edns.payload, 0, 0, asked.edns.dnssecOk, options)
}

function clientCookie(random: Random): string {
  return (random.next() >>> 0).toString(16).padStart(8, '0')
}

/** A COOKIE option with these data. */
export function option(cookie: string): string {
  return `\0\u000a\0${String.fromCharCode(cookie.length)}${cookie}`
}

export function questionText(name: string, type: number, cls: number): string {
  return name + String.fromCharCode(type >>> 8, type & 255, cls >>> 8, cls & 255)
}

export function randomCase(random: Random, name: string): string {
  let bits = random.next()
  return name.replaceAll(/[a-z]/g, (letter) => {
    bits = (bits >>> 1) | (bits << 31)
    return (bits & 1) === 0 ? letter : letter.toUpperCase()
  })
}

const FORMERR = 1
const NOTIMP = 4
const REFUSED = 5
const BADVERS = 16

function makeFaulty(random: Random, names: Names, isStream: boolean): { packet: Buffer; asked: Asked } {
  const name = random.pick(random.chance(0.5) ? names.mesh : names.upstream)
  const asked: Asked = {
    id: random.below(65_536),
    flags: FLAG_RD,
    question: '',
    name,
    type: 1,
    edns: null,
    verdict: FORMERR,
    isBroken: true,
  }
  const ask = (cls: number): void => {
    writer.question(name, asked.type, cls)
    asked.question = questionText(name, asked.type, cls)
  }
  const opt = (payload: number, version: number, options: string): void => {
    writer.opt(payload, 0, version, false, options)
    asked.edns = { payload, version, dnssecOk: false, cookie: '' }
  }
  const kind = random.below(14)
  if (kind === 1) asked.flags = 0x8180
  if (kind === 2) asked.flags = random.pick([0x0800, 0x1000, 0x2000, 0x2800, 0x3000, 0x7800])
  writer.begin(asked.id, asked.flags)
  switch (kind) {
    case 0:
      ask(1)
      asked.verdict = isStream ? FORMERR : 'drop'
      return { packet: writer.take().subarray(0, isStream ? 12 : random.below(12)), asked }
    case 1:
      ask(1)
      asked.verdict = 'drop'
      break
    case 2:
      ask(1)
      if (random.chance(0.2)) writer.record(random.pick([1, 2]), name, 1, 255, 0, true, () => undefined)
      if (random.chance(0.6)) opt(1232, random.pick([0, 1]), '')
      asked.verdict = NOTIMP
      break
    case 3:
      // No question at all.
      if (random.chance(0.5)) opt(1232, 0, '')
      break
    case 4:
      asked.edns = { payload: 1232, version: 0, dnssecOk: false, cookie: clientCookie(random) }
      writer.opt(1232, 0, 0, false, option(asked.edns.cookie))
      asked.verdict = 'empty'
      asked.isBroken = false
      break
    case 5:
      writer.question(name, 1, 1)
      writer.question(name, 28, 1)
      if (random.chance(0.5)) opt(4096, 0, '')
      break
    case 6: {
      // A name that points, runs over or ends too soon.
      ask(1)
      const packet = writer.take()
      if (random.chance(0.4) || name === '\0')
        return { packet: packet.subarray(0, 12 + random.below(name.length + 4)), asked }
      packet[12] = random.pick([0xc0, 0x40, 0x80, 64, 255])
      return { packet, asked }
    }
    case 7:
      ask(random.pick([3, 4, 254, 255]))
      asked.verdict = REFUSED
      asked.isBroken = false
      break
    case 8:
      asked.type = random.pick([251, 252])
      ask(1)
      asked.verdict = REFUSED
      asked.isBroken = false
      break
    case 9:
      ask(1)
      opt(1232, 1 + random.below(255), '')
      asked.verdict = BADVERS
      asked.isBroken = false
      break
    case 10:
      ask(1)
      opt(1232, 0, '')
      writer.opt(1232, 0, 0, false, '')
      break
    case 11:
      ask(1)
      opt(1232, 0, random.pick(['\0\u000a\0\u0007abcdefg', '\0\u000a\0\u0009abcdefghi', '\0\u000f\0\u00ffab', '\0']))
      break
    case 12:
      ask(1)
      writer.record(random.pick([1, 2]), name, 1, 1, 5, true, () => writer.u32(0x7f000001))
      if (random.chance(0.5)) opt(1232, 0, '')
      break
    case 13: {
      // Records are promised that do not come.
      ask(1)
      const packet = writer.take()
      packet[11] = 1 + random.below(3)
      return { packet, asked }
    }
  }
  return { packet: writer.take(), asked }
}
