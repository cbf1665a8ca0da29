/**
 * A second parser and writer of DNS messages that shares no code with src/dns: what the engine says is read by this one.
 * Names are strings of their wire format (one character a byte), in lower case where they are compared.
 */

export interface ParsedRecord {
  /** Owner, type, class and data with all names expanded and in lower case: equal records have equal ids. */
  id: string
  owner: string
  type: number
  class: number
  ttl: number
  data: string
  /** Its id under the owner that the client sees, where a question was changed: that may be its own as well. */
  shownId?: string
}

export interface ParsedOpt {
  payload: number
  version: number
  dnssecOk: boolean
  options: Map<number, string>
}

/** One thing for each of answer, authority and additional. */
export type Sections<T> = [T, T, T]
type Section = 0 | 1 | 2
const SECTIONS: readonly Section[] = [0, 1, 2]

export interface ParsedMessage {
  id: number
  flags: number
  /** With the OPT's upper bits. */
  rcode: number
  questions: number
  /** The question as it stands: name, type, class. '' if there is none. */
  question: string
  /** Its name in lower case. */
  name: string
  type: number
  class: number
  /** Answer, authority, additional (without OPT). */
  sections: Sections<ParsedRecord[]>
  opt: ParsedOpt | null
  /** Records behind the OPT (a TSIG, say), which are between two hops and no part of the answer. */
  behindOpt: number
  /** Records have been left out of it since it was read, or names written out: its size is another. */
  isScrubbed: boolean
  /** Bytes of the message less its OPT and what follows that, and of all of it. */
  bytesBeforeOpt: number
  bytes: number
}

const TYPE_OPT = 41
const OPTION_EDE = 15
/** Where names stand in the data of types that have some: bytes before the names, number of names, bytes after (−1: any). */
const NAMES_IN_DATA: ReadonlyMap<number, readonly [number, number, number]> = new Map([
  [2, [0, 1, 0]],
  [5, [0, 1, 0]],
  [6, [0, 2, 20]],
  [12, [0, 1, 0]],
  [15, [2, 1, 0]],
  [33, [6, 1, 0]],
  [39, [0, 1, 0]],
  [64, [2, 1, -1]],
  [65, [2, 1, -1]],
])

/** Read only after construction. */
const LOWER_CASE: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(byte >= 65 && byte <= 90 ? byte + 32 : byte),
)

class Malformed extends Error {}

class Reader {
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  at: number

  constructor(bytes: Buffer, start: number, length: number) {
    this.bytes = bytes
    this.start = start
    this.end = start + length
    this.at = start
  }

  u8(): number {
    if (this.at >= this.end) throw new Malformed(`ends at byte ${this.at - this.start}`)
    return this.bytes[this.at++]!
  }

  u16(): number {
    return (this.u8() << 8) | this.u8()
  }

  u32(): number {
    return this.u16() * 65_536 + this.u16()
  }

  text(length: number): string {
    if (this.at + length > this.end) throw new Malformed(`ends within ${length} bytes at ${this.at - this.start}`)
    const text = this.bytes.toString('latin1', this.at, this.at + length)
    this.at += length
    return text
  }

  /** A name, in lower case; pointers only back and only beyond the header. */
  name(): string {
    let text = ''
    let from = this.at
    let after = -1
    let lowest = this.at
    for (;;) {
      if (from >= this.end) throw new Malformed('a name runs past the end')
      const length = this.bytes[from]!
      if (length >= 0xc0) {
        if (from + 1 >= this.end) throw new Malformed('a pointer runs past the end')
        if (after < 0) after = from + 2
        const target = this.start + (((length & 0x3f) << 8) | this.bytes[from + 1]!)
        if (target >= lowest) throw new Malformed('a pointer that does not point back')
        if (target < this.start + 12) throw new Malformed('a pointer into the header')
        lowest = target
        from = target
        continue
      }
      if (length > 63) throw new Malformed('a label of a reserved kind')
      if (from + length >= this.end) throw new Malformed('a label runs past the end')
      for (let i = from; i <= from + length; i++) text += LOWER_CASE[this.bytes[i]!]!
      if (text.length > 255) throw new Malformed('a name of more than 255 bytes')
      from += length + 1
      if (length === 0) break
    }
    this.at = after < 0 ? from : after
    return text
  }
}

/** Reads the message of `length` bytes at `start`; a string says why it is none. Nothing may follow the last record. */
export function parseMessage(bytes: Buffer, start: number, length: number): ParsedMessage | string {
  try {
    return read(new Reader(bytes, start, length))
  } catch (error) {
    if (error instanceof Malformed) return error.message
    throw error
  }
}

/** Reads what is whole of a message that ends anywhere; null if not even its question is. */
export function parseCut(bytes: Buffer, start: number, length: number): ParsedMessage | null {
  const reader = new Reader(bytes, start, length)
  try {
    const { message, counts } = readHead(reader)
    try {
      readSections(reader, message, counts)
    } catch (error) {
      if (!(error instanceof Malformed)) throw error
    }
    message.bytesBeforeOpt = length
    return message
  } catch (error) {
    if (error instanceof Malformed) return null
    throw error
  }
}

function read(reader: Reader): ParsedMessage {
  const { message, counts } = readHead(reader)
  readSections(reader, message, counts)
  if (reader.at !== reader.end) throw new Malformed(`${reader.end - reader.at} bytes after the last record`)
  if (message.opt === null) message.bytesBeforeOpt = reader.at - reader.start
  return message
}

function readSections(reader: Reader, message: ParsedMessage, counts: readonly number[]): void {
  for (const section of SECTIONS) {
    for (let k = 0; k < counts[section]!; k++) readRecord(reader, section, message)
  }
}

function readHead(reader: Reader): { message: ParsedMessage; counts: number[] } {
  const id = reader.u16()
  const flags = reader.u16()
  const questions = reader.u16()
  const counts = [reader.u16(), reader.u16(), reader.u16()]
  const message: ParsedMessage = {
    id,
    flags,
    rcode: flags & 15,
    questions,
    question: '',
    name: '',
    type: 0,
    class: 0,
    sections: [[], [], []],
    opt: null,
    behindOpt: 0,
    isScrubbed: false,
    bytesBeforeOpt: 0,
    bytes: reader.end - reader.start,
  }
  if (questions > 1) throw new Malformed(`${questions} questions`)
  if (questions === 1) {
    const from = reader.at
    message.name = reader.name()
    message.type = reader.u16()
    message.class = reader.u16()
    message.question = reader.bytes.toString('latin1', from, reader.at)
  }
  return { message, counts }
}

function readRecord(reader: Reader, section: Section, message: ParsedMessage): void {
  const from = reader.at
  const owner = reader.name()
  const type = reader.u16()
  const cls = reader.u16()
  const ttl = reader.u32()
  const stop = reader.u16() + reader.at
  if (stop > reader.end) throw new Malformed('the data of a record run past the end')
  if (type === TYPE_OPT) {
    if (section !== 2 || owner !== '\0' || message.opt !== null) throw new Malformed('an OPT where none may be')
    message.rcode |= Math.floor(ttl / 2 ** 24) << 4
    message.opt = {
      payload: cls,
      version: Math.floor(ttl / 65_536) & 255,
      dnssecOk: (ttl & 0x8000) !== 0,
      options: new Map(),
    }
    while (reader.at < stop) {
      const code = reader.u16()
      const data = reader.text(reader.u16())
      // Of several the first counts; an extended error without a code is none.
      const isNone = code === OPTION_EDE && data.length < 2
      if (!message.opt.options.has(code) && !isNone) message.opt.options.set(code, data)
    }
    message.bytesBeforeOpt = from - reader.start
  } else {
    const data = readData(reader, type, stop)
    if (message.opt !== null) message.behindOpt++
    else
      message.sections[section].push({
        id: recordId(owner, type, cls, data),
        owner,
        type,
        class: cls,
        ttl,
        data,
      })
  }
  if (reader.at !== stop) throw new Malformed(`a record of type ${type} whose data do not fit its length`)
}

function readData(reader: Reader, type: number, stop: number): string {
  if ((type === 1 && stop - reader.at !== 4) || (type === 28 && stop - reader.at !== 16))
    throw new Malformed('an address of another length')
  const layout = NAMES_IN_DATA.get(type)
  if (layout === undefined) return reader.text(stop - reader.at)
  const [before, names, after] = layout
  let data = reader.text(before)
  for (let k = 0; k < names; k++) data += reader.name()
  return data + reader.text(after < 0 ? stop - reader.at : after)
}

/** What makes two records the same, TTL aside. */
export function recordId(owner: string, type: number, cls: number, data: string): string {
  return `${owner}|${type}|${cls}|${data}`
}

/** Puts a message together. It owns its buffer; `take` copies. */
export class MessageWriter {
  private readonly bytes: Buffer = Buffer.alloc(90_000)
  private at = 0
  /** Where whole names stand, by their text, for compression. */
  private readonly names: Map<string, number> = new Map()

  begin(id: number, flags: number): void {
    this.at = 0
    this.names.clear()
    this.u16(id)
    this.u16(flags)
    this.bytes.fill(0, 4, 12)
    this.at = 12
  }

  get length(): number {
    return this.at
  }

  u8(value: number): void {
    this.bytes[this.at++] = value
  }

  u16(value: number): void {
    this.bytes[this.at++] = value >>> 8
    this.bytes[this.at++] = value
  }

  u32(value: number): void {
    this.u16(value >>> 16)
    this.u16(value & 0xffff)
  }

  text(text: string): void {
    this.at += this.bytes.write(text, this.at, 'latin1')
  }

  /** Writes a name; `isCompressed` lets it point to the same name or a tail of it earlier on. */
  name(name: string, isCompressed: boolean): void {
    let rest = name
    while (rest !== '\0') {
      const known = isCompressed ? this.names.get(rest) : undefined
      if (known !== undefined) return this.u16(0xc000 | known)
      if (this.at < 0x4000 && !this.names.has(rest)) this.names.set(rest, this.at)
      const length = rest.charCodeAt(0) + 1
      this.text(rest.slice(0, length))
      rest = rest.slice(length)
    }
    this.u8(0)
  }

  question(name: string, type: number, cls: number): void {
    this.name(name, false)
    this.u16(type)
    this.u16(cls)
    this.bytes[5]! += 1
  }

  /** Writes a question as it stood in a query. */
  rawQuestion(question: string): void {
    this.question(question.slice(0, -4), 0, 0)
    this.at -= 4
    this.text(question.slice(-4))
  }

  /** Writes a record with the data that `write` writes. `section`: 1 answer, 2 authority, 3 additional. */
  record(
    section: number,
    owner: string,
    type: number,
    cls: number,
    ttl: number,
    isCompressed: boolean,
    write: () => void,
  ): void {
    this.name(owner, isCompressed)
    this.u16(type)
    this.u16(cls)
    this.u32(ttl)
    const lengthAt = this.at
    this.u16(0)
    write()
    this.bytes.writeUInt16BE(this.at - lengthAt - 2, lengthAt)
    const count = 4 + section * 2
    this.bytes.writeUInt16BE(this.bytes.readUInt16BE(count) + 1, count)
  }

  opt(payload: number, extendedRcode: number, version: number, dnssecOk: boolean, options: string): void {
    this.record(
      3,
      '\0',
      TYPE_OPT,
      payload,
      ((extendedRcode << 24) | (version << 16) | (dnssecOk ? 0x8000 : 0)) >>> 0,
      false,
      () => this.text(options),
    )
  }

  /** True if the section, or one behind it, has records. */
  hasRecords(section: number): boolean {
    for (let s = section; s <= 3; s++) if (this.bytes.readUInt16BE(4 + s * 2) > 0) return true
    return false
  }

  take(): Buffer {
    return Buffer.from(this.bytes.subarray(0, this.at))
  }
}
