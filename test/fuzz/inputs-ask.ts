/** Asks an engine over a stream, and reads the answers' addresses without any parser of ours. */
import { Type } from '../../src/dns/constants.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { EngineUnderTest, type SettingsChange, settingsWith } from '../engine/engine-under-test.ts'
import type { Image } from '../../src/table/image.ts'
import { must } from './inputs-target.ts'

const HEADER = 12
const OUT_AT = 8
/** More addresses than these do not fit into a message. */
export const MOST_ADDRESSES = 2000

/** What an answer says. */
interface Answer {
  rcode: number
  /** Addresses in hexadecimal, sorted. */
  addresses: string[]
  /** Labels of the last PTR record's name, null without one. */
  pointer: string[] | null
}

/** A client of one engine. */
export class Asker {
  readonly #engine: Engine
  readonly #out: Uint8Array = new Uint8Array(OUT_AT + 65_535)

  constructor(settings: SettingsChange = {}) {
    this.#engine = new EngineUnderTest(settings).engine
    this.#engine.client(1, Uint8Array.of(127, 0, 0, 1), 0, 4)
  }

  /** Other settings from now on: making an engine anew takes longer. */
  configure(settings: SettingsChange): void {
    this.#engine.configure(settingsWith(settings))
  }

  adopt(image: Image): void {
    this.#engine.adopt(image)
  }

  /** The answer to a question for a name in wire format; null if the engine does not know it by itself. */
  ask(name: Uint8Array, type: number): Answer | null {
    const query = Buffer.alloc(HEADER + name.length + 4)
    query.writeUInt16BE(0x0100, 2)
    query.writeUInt16BE(1, 4)
    query.set(name, HEADER)
    query.writeUInt16BE(type, HEADER + name.length)
    query.writeUInt16BE(1, HEADER + name.length + 2)
    const length = this.#engine.query(query, 0, query.length, this.#out, OUT_AT)
    return length === 0 ? null : read(Buffer.from(this.#out.buffer, OUT_AT, length), query)
  }

  /** All addresses of the name, null if the engine does not know it by itself. */
  addressesOf(name: Uint8Array): { v4: string[]; v6: string[] } | null {
    const v4 = this.ask(name, Type.A)
    const v6 = this.ask(name, Type.AAAA)
    return v4 === null || v6 === null ? null : { v4: v4.addresses, v6: v6.addresses }
  }
}

function read(reply: Buffer, query: Buffer): Answer {
  must(reply.subarray(HEADER, query.length).equals(query.subarray(HEADER)), 'a reply has another question')
  const answer: Answer = { rcode: reply[3]! & 15, addresses: [], pointer: null }
  let at = query.length
  const records = reply.readUInt16BE(6) + reply.readUInt16BE(8) + reply.readUInt16BE(10)
  for (let k = 0; k < records; k++) {
    while (reply[at]! !== 0 && reply[at]! < 0xc0) at += reply[at]! + 1
    at += reply[at] === 0 ? 1 : 2
    const type = reply.readUInt16BE(at)
    const length = reply.readUInt16BE(at + 8)
    const data = reply.subarray(at + 10, at + 10 + length)
    must(data.length === length, 'a reply ends within a record')
    if (type === Type.A || type === Type.AAAA) {
      must(length === (type === Type.A ? 4 : 16), 'an address has another length')
      answer.addresses.push(data.toString('hex'))
    } else if (type === Type.PTR) answer.pointer = labelsAt(data)
    at += 10 + length
  }
  must(at === reply.length, 'a reply has bytes behind its records')
  answer.addresses.sort()
  return answer
}

function labelsAt(wire: Buffer): string[] {
  const labels: string[] = []
  for (let at = 0; wire[at]! !== 0; at += wire[at]! + 1) {
    labels.push(wire.subarray(at + 1, at + 1 + wire[at]!).toString('latin1'))
  }
  return labels
}
