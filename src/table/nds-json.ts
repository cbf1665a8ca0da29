/**
 * Reads a name table as proto3 JSON where it lies, byte by byte, and writes it as protobuf: without a text, an object or a
 * map. V8 keeps what a large JSON.parse has grown it to: with 100,000 hosts 70 MB of anonymous memory.
 *
 * ```
 *  {"table": {HOST: {"ips": […], "registry": …, "shortname": …, "namespace": …, "altHosts": […]}, …}}
 * ```
 *
 * It reads what tables look like, and gives up on all else: bad JSON, unknown or repeated keys, values of another type.
 * `parseNameTableJson` then says what is wrong, or takes it (of equal keys the last one counts, which only objects know).
 */
import { encodeNameTable, parseNameTableJson } from './nds.ts'
import { TAG_1, TAG_2, TAG_3, TAG_4, TAG_5 } from './nds-reader.ts'
import { NdsWriter } from './nds-writer.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const LIST = 0x5b
const BACKSLASH = 0x5c
const LIST_END = 0x5d
const OBJECT = 0x7b
const OBJECT_END = 0x7d
const SPACE = 0x20
const ASCII_END = 0x80
const FNV_PRIME = 16_777_619
/** Of the 53 bits that a number holds exactly, those above 32. */
const HIGH_BITS = 0x1f_ffff

interface Field {
  name: Buffer
  tag: number
  isList: boolean
}

const FIELDS: readonly Field[] = [
  { name: Buffer.from('ips'), tag: TAG_1, isList: true },
  { name: Buffer.from('registry'), tag: TAG_2, isList: false },
  { name: Buffer.from('shortname'), tag: TAG_3, isList: false },
  { name: Buffer.from('namespace'), tag: TAG_4, isList: false },
  { name: Buffer.from('altHosts'), tag: TAG_5, isList: true },
  { name: Buffer.from('alt_hosts'), tag: TAG_5, isList: true },
]
const TABLE = Buffer.from('table')
const NULL = Buffer.from('null')

/**
 * The serialized NameTable (protobuf) of `json`, hosts in its order; `json` is only read, and the caller's again. Throws
 * NameTableError as `parseNameTableJson` does.
 */
export function encodeNameTableJson(json: Buffer): Uint8Array {
  return new JsonTable(json).encode() ?? encodeNameTable(parseNameTableJson(new TextDecoder().decode(json)))
}

/** A cursor over the JSON. What returns a boolean returns false where it gives up. */
class JsonTable {
  readonly #json: Buffer
  readonly #writer: NdsWriter
  #at = 0
  /** The string read last: bytes of the JSON, or of a copy if it has escapes or is not ASCII. */
  #text: Buffer
  #start = 0
  #end = 0
  /** Hashes of the hosts so far, 53 bits each: two equal ones are a repeated key, or, once in a million large tables, none. */
  readonly #hosts: Set<number> = new Set()

  constructor(json: Buffer) {
    this.#json = json
    this.#text = json
    // Protobuf takes less. What is not written to takes nothing.
    this.#writer = new NdsWriter(json.length)
  }

  encode(): Uint8Array | null {
    return this.#document() ? this.#writer.written() : null
  }

  #document(): boolean {
    if (!this.#skip(OBJECT)) return false
    if (!this.#skip(OBJECT_END)) {
      if (!this.#key() || !this.#isText(TABLE) || !this.#table() || !this.#skip(OBJECT_END)) return false
    }
    this.#peek()
    return this.#at === this.#json.length
  }

  #table(): boolean {
    if (this.#skipNull()) return true
    if (!this.#skip(OBJECT)) return false
    if (this.#skip(OBJECT_END)) return true
    do if (!this.#host()) return false
    while (this.#skip(COMMA))
    return this.#skip(OBJECT_END)
  }

  #host(): boolean {
    if (!this.#key()) return false
    const hash = this.#hash()
    if (this.#hosts.has(hash)) return false
    this.#hosts.add(hash)
    const writer = this.#writer
    const entry = writer.begin(TAG_1)
    writer.raw(TAG_1, this.#text, this.#start, this.#end)
    const value = writer.begin(TAG_2)
    if (!this.#info()) return false
    writer.end(value)
    writer.end(entry)
    return true
  }

  #info(): boolean {
    if (!this.#skip(OBJECT)) return false
    if (this.#skip(OBJECT_END)) return true
    let seen = 0
    do {
      if (!this.#key()) return false
      const field = FIELDS.find(({ name }) => this.#isText(name))
      if (field === undefined || (seen & (1 << (field.tag >> 3))) !== 0) return false
      seen |= 1 << (field.tag >> 3)
      if (this.#skipNull()) continue
      if (field.isList ? !this.#list(field.tag) : !this.#string()) return false
      if (!field.isList && this.#end > this.#start) this.#writer.raw(field.tag, this.#text, this.#start, this.#end)
    } while (this.#skip(COMMA))
    return this.#skip(OBJECT_END)
  }

  #list(tag: number): boolean {
    if (!this.#skip(LIST)) return false
    if (this.#skip(LIST_END)) return true
    do {
      if (!this.#string()) return false
      this.#writer.raw(tag, this.#text, this.#start, this.#end)
    } while (this.#skip(COMMA))
    return this.#skip(LIST_END)
  }

  #key(): boolean {
    return this.#string() && this.#skip(COLON)
  }

  #string(): boolean {
    const json = this.#json
    if (!this.#skip(QUOTE)) return false
    const start = this.#at
    let at = start
    let isPlain = true
    for (; at < json.length; at++) {
      const byte = json[at]!
      if (byte === QUOTE) break
      if (byte < SPACE) return false
      if (byte < ASCII_END && byte !== BACKSLASH) continue
      isPlain = false
      if (byte === BACKSLASH) at++
    }
    if (at >= json.length) return false
    this.#at = at + 1
    if (isPlain) {
      this.#text = json
      this.#start = start
      this.#end = at
      return true
    }
    const text = readString(json.subarray(start - 1, at + 1))
    if (text === null) return false
    this.#text = text
    this.#start = 0
    this.#end = text.length
    return true
  }

  /** Goes to the next byte that is no white space and returns it; NaN at the end. */
  #peek(): number {
    const json = this.#json
    for (; this.#at < json.length; this.#at++) {
      const byte = json[this.#at]!
      if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte
    }
    return Number.NaN
  }

  /** Takes `byte` if it comes next. */
  #skip(byte: number): boolean {
    if (this.#peek() !== byte) return false
    this.#at++
    return true
  }

  #skipNull(): boolean {
    if (this.#peek() !== NULL[0] || !this.#json.subarray(this.#at, this.#at + NULL.length).equals(NULL)) return false
    this.#at += NULL.length
    return true
  }

  #isText(wanted: Buffer): boolean {
    const length = this.#end - this.#start
    if (length !== wanted.length) return false
    for (let i = 0; i < length; i++) if (this.#text[this.#start + i] !== wanted[i]) return false
    return true
  }

  /** Two FNV-1a hashes with different beginnings, as one number of 53 bits. */
  #hash(): number {
    let low = 0
    let high = 0x811c_9dc5
    for (let at = this.#start; at < this.#end; at++) {
      const byte = this.#text[at]!
      low = Math.imul(low ^ byte, FNV_PRIME) + byte
      high = Math.imul(high ^ byte, FNV_PRIME)
    }
    return (high & HIGH_BITS) * 2 ** 32 + (low >>> 0)
  }
}

/** A JSON string, with its quotes, as UTF-8; null if it is none. */
function readString(json: Buffer): Buffer | null {
  try {
    return Buffer.from(JSON.parse(new TextDecoder().decode(json)))
  } catch {
    return null
  }
}
