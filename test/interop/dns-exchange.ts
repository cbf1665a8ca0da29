/** One question to a server on loopback, and its reply in parts, by dns-packet. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { framed } from '../../src/dns/frame.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { WAIT_MS } from '../wait.ts'
import { decode, type DecodedMessage, message, opt } from '../dns/messages.ts'

export interface Asking {
  /** Presentation format. */
  name: string
  /** As dns-packet names it, or TYPE and a number. */
  type: string
  /** Payload size; no EDNS at all if null; 1232 if not given. */
  payload?: number | null
  dnssecOk?: boolean
  tcp?: boolean
  /** RD if not given. */
  flags?: number
  timeoutMs?: number
}

const TYPE_NUMBERS: Record<string, number> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  DS: 43,
  DNSKEY: 48,
  HTTPS: 65,
  CAA: 257,
}

/** The query in wire format. */
function encodeAsking(id: number, asking: Asking): Uint8Array {
  const { name, type, payload = 1232, dnssecOk = false, flags = 0x0100 } = asking
  const number = TYPE_NUMBERS[type] ?? Number(type.replace('TYPE', ''))
  if (nameToWire(name) === null) throw new Error(`no name: ${name}`)
  const additionals = payload === null ? [] : [opt({ payload, dnssecOk })]
  return message({ id, flags, questions: [[name, number]], additionals })
}

/** Asks and returns the reply; rejects when there is none in time. */
export async function exchange(port: number, asking: Asking): Promise<DecodedMessage> {
  const query = encodeAsking(Math.floor(Math.random() * 65_536), asking)
  return decode(asking.tcp === true ? await overTcp(port, query) : await overUdp(port, query, asking.timeoutMs))
}

async function overUdp(port: number, query: Uint8Array, timeoutMs: number = WAIT_MS): Promise<Uint8Array> {
  const socket = createSocket('udp4')
  try {
    const reply = once(socket, 'message', { signal: AbortSignal.timeout(timeoutMs) })
    socket.send(query, port, '127.0.0.1')
    const [found]: Buffer[] = await reply
    return found!
  } finally {
    socket.close()
  }
}

async function overTcp(port: number, query: Uint8Array): Promise<Uint8Array> {
  const socket = connect(port, '127.0.0.1')
  socket.setTimeout(WAIT_MS, () => socket.destroy(new Error('no reply')))
  try {
    socket.write(framed(query))
    let read = Buffer.alloc(0)
    for await (const chunk of socket) {
      read = Buffer.concat([read, chunk])
      if (read.length >= 2 && read.length >= 2 + read.readUInt16BE(0)) return read.subarray(2, 2 + read.readUInt16BE(0))
    }
    throw new Error('the connection ended without a reply')
  } finally {
    socket.destroy()
  }
}

/** Asks many questions over one UDP socket, so many at a time; whatever is truncated is asked again over TCP. */
export class Asker {
  readonly #port: number
  readonly #socket: Socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
  readonly #waiting: Map<number, (reply: Uint8Array) => void> = new Map()
  #lastId = 0

  constructor(port: number) {
    this.#port = port
    this.#socket.on('message', (reply) => this.#waiting.get(reply.readUInt16BE(0))?.(reply))
  }

  /** Replies in the order of the questions. */
  async all(questions: readonly Asking[], width: number = 64): Promise<DecodedMessage[]> {
    const replies: DecodedMessage[] = []
    let next = 0
    const work = async (): Promise<void> => {
      for (let k = next++; k < questions.length; k = next++) replies[k] = await this.#ask(questions[k]!)
    }
    await Promise.all(Array.from({ length: width }, work))
    return replies
  }

  close(): void {
    this.#socket.close()
  }

  async #ask(asking: Asking): Promise<DecodedMessage> {
    const id = (this.#lastId = (this.#lastId + 1) & 0xffff)
    const query = encodeAsking(id, asking)
    if (asking.tcp === true) return decode(await overTcp(this.#port, query))
    const reply = Promise.withResolvers<Uint8Array>()
    this.#waiting.set(id, reply.resolve)
    const late = setTimeout(() => reply.reject(new Error(`no reply for ${asking.name} ${asking.type}`)), WAIT_MS)
    this.#socket.send(query, this.#port, '127.0.0.1')
    try {
      const read = decode(await reply.promise)
      return read.tc ? decode(await overTcp(this.#port, query)) : read
    } finally {
      clearTimeout(late)
      this.#waiting.delete(id)
    }
  }
}

/** Records of a section as sorted texts, without TTL, OPT and letter case; numbers of types dns-packet does not know stay. */
export function recordTexts(records: DecodedMessage['answers']): string[] {
  return records
    .filter(({ type }) => type !== 'OPT')
    .map(({ name, type, data }) => `${name} ${type} ${JSON.stringify(data)}`.toLowerCase())
    .toSorted()
}
