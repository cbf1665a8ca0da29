/** What the replies of servers in the virtual network are made of: header, OPT, and records that no other reply has. */
import { MessageWriter, type ParsedMessage } from './message.ts'
import { randomCase } from './queries.ts'
import type { Random } from './random.ts'

/** A query as a server sees it: `question` as it repeats it, and the COOKIE option of its reply ('' for none). */
export interface Served extends ParsedMessage {
  cookie: string
}

export const FLAG_QR = 0x8000
const FLAG_TC = 0x0200
/** One writer for all replies: `take` copies. */
export const writer: MessageWriter = new MessageWriter()

/** Header and question of a reply, with RA; `flags`: the rcode, and flags beside QR. */
export function begin(query: Served, flags: number, fate: Random): void {
  writer.begin(
    query.id,
    FLAG_QR |
      0x0080 |
      (query.flags & 0x0110) |
      (fate.chance(0.3) ? 0x0020 : 0) |
      (fate.chance(0.3) ? 0x0400 : 0) |
      flags,
  )
  writer.rawQuestion(query.question)
}

/** The OPT that goes with a reply to a query that has one, mostly; it ends the reply. */
export function addOpt(query: Served, extendedRcode: number, fate: Random): void {
  if (query.opt === null || (extendedRcode === 0 && query.cookie === '' && !fate.chance(0.9))) return
  let extendedError = ''
  // Most give one, some more than one, and some one that is none.
  for (let k = fate.chance(0.15) ? fate.pick([1, 1, 1, 2]) : 0; k > 0; k--) extendedError += edeOption(fate)
  const payload = fate.pick([512, 1232, 4096])
  writer.opt(payload, extendedRcode, 0, query.opt.dnssecOk, extendedError + query.cookie)
}

function edeOption(fate: Random): string {
  const code = fate.pick(['\0\u0003', '\0\u0006', '\0\u000f', '\0\u0016', '\u00c0\u0001', '\0'])
  const data = code + (code.length > 1 && fate.chance(0.3) ? 'why it is so' : '')
  return `\0\u000f\0${String.fromCharCode(data.length)}${data}`
}

/** The whole reply: some records perhaps, and TC. */
export function truncated(query: Served, fate: Random, serial: number): Buffer {
  begin(query, FLAG_TC, fate)
  if (fate.chance(0.5)) address(query, 300, serial, fate)
  addOpt(query, 0, fate)
  return writer.take()
}

/** TTLs of records, some of them none, by how often they are. */
export const TTLS: readonly (readonly [number, number])[] = [
  [1, 0],
  [2, 1],
  [3, 3],
  [4, 10],
  [6, 60],
  [4, 300],
  [1, 86_400],
  [0.5, 0x7fff_ffff],
  [0.5, 0x8000_0000],
  [0.5, 0xffff_ffff],
]

function owner(query: Served, fate: Random): [string, boolean] {
  const asked = query.question.slice(0, -4)
  return fate.chance(0.1) ? [randomCase(fate, asked), false] : [asked, true]
}

/** A name that no other reply has. */
export function serialName(prefix: string, serial: number): string {
  const label = `${prefix}${serial}`
  return `${String.fromCharCode(label.length)}${label}\u0007Example\0`
}

/** Records of the type that was asked. */
export function address(query: Served, ttl: number, serial: number, fate: Random): void {
  const [name, isCompressed] = owner(query, fate)
  const count = fate.weighted([
    [8, 1],
    [6, 4],
    [1, 30],
    [0.4, 90],
    [0.1, 1500],
  ])
  records(query.type, name, isCompressed, ttl, serial, count, fate)
}

/** So many records of a type at a name, each with data of its own. */
export function records(
  type: number,
  name: string,
  isCompressed: boolean,
  ttl: number,
  serial: number,
  count: number,
  fate: Random,
): void {
  for (let k = 0; k < (type === 5 || type === 6 ? 1 : count) && writer.length < 60_000; k++) {
    const one = type === 255 ? fate.pick([1, 28, 16, 15]) : type
    const recordTtl = fate.chance(0.05) ? fate.weighted(TTLS) : ttl
    writer.record(1, name, one, 1, recordTtl, isCompressed, () => recordData(one, serial, k))
  }
}

function recordData(type: number, serial: number, k: number): void {
  switch (type) {
    case 1:
      return writer.u32(((serial << 11) | k) >>> 0)
    case 28:
      for (let i = 0; i < 2; i++) writer.u32(0x2001_0db8)
      writer.u32(serial)
      return writer.u32(k)
    case 2:
    case 5:
    case 12:
      return writer.name(serialName(`n${k}-`, serial), true)
    case 6:
      return soaData(serial, 60)
    case 15:
      writer.u16(k)
      return writer.name(serialName('mx', serial), true)
    case 64:
    case 65:
      writer.u16(k + 1)
      return writer.name(serialName('svc', serial), k % 2 === 0)
    case 33:
      writer.u16(k)
      writer.u32(0x0001_0050)
      return writer.name(serialName('srv', serial), true)
    default: {
      const text = `${k}/${serial}`
      return writer.text(String.fromCharCode(text.length) + text)
    }
  }
}

/** Data of an SOA. */
export function soaData(serial: number, minimum: number): void {
  writer.name(serialName('ns', serial), true)
  writer.name('\u0004host\u0007Example\0', true)
  writer.u32(serial)
  for (let k = 0; k < 3; k++) writer.u32(3600)
  writer.u32(minimum)
}

/** The SOA of the zone above the name asked. */
export function soa(query: Served, ttl: number, minimum: number, serial: number): void {
  // The zone is the name less its first label, so that it can be a pointer into the question.
  const asked = query.question.slice(0, -4)
  writer.record(2, asked === '\0' ? asked : asked.slice(asked.charCodeAt(0) + 1), 6, 1, ttl, true, () =>
    soaData(serial, minimum),
  )
}

/** NS records beside an answer, and the address of their host. */
export function delegation(query: Served, fate: Random, serial: number): void {
  const ns = serialName('glue', serial)
  const ttl = fate.weighted(TTLS)
  writer.record(2, query.question.slice(0, -4), 2, 1, ttl, true, () => writer.name(ns, true))
  writer.record(3, ns, 1, 1, fate.weighted(TTLS), true, () => writer.u32(serial))
}
