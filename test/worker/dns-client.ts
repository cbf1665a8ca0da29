/** Clients of tests: they ask over real sockets and decode with dns-packet, which knows nothing of our own code. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import dnsPacket, { type DecodedPacket, type Packet, type RecordType } from 'dns-packet'
import { FrameReader, framed } from '../../src/dns/frame.ts'
import { RCODES } from '../../src/stats/counters.ts'
import { messagesOf } from '../stream/dns-messages.ts'

const ANSWER_MS = 15_000

/** What a query may say besides its name and type. */
export interface Asking {
  id?: number
  /** EDNS payload size; no OPT without. */
  edns?: number
  flags?: number
}

export interface UdpReply {
  message: Buffer
  packet: DecodedPacket
  /** Where it came from. */
  from: RemoteInfo
}

let nextId = 1

/** Types that dns-packet has no name for have their number. */
export type AskedType = RecordType | 'HTTPS' | 'ANY'
const HTTPS = 65
const ANY = 255

/** The wire form of a question. */
export function encodeQuery(name: string, type: AskedType, asking: Asking = {}): Buffer {
  const additionals: Packet['additionals'] = []
  if (asking.edns !== undefined) {
    additionals.push({
      type: 'OPT',
      name: '.',
      udpPayloadSize: asking.edns,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0,
      flag_do: false,
      options: [],
    })
  }
  const query = dnsPacket.encode({
    type: 'query',
    id: asking.id ?? nextId++ & 0xffff,
    flags: asking.flags ?? dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type: type === 'HTTPS' || type === 'ANY' ? 'A' : type, class: 'IN' }],
    additionals,
  })
  const typeAt = query.indexOf(0, 12) + 1
  if (type === 'HTTPS') query.writeUInt16BE(HTTPS, typeAt)
  if (type === 'ANY') query.writeUInt16BE(ANY, typeAt)
  return query
}

/** The data of all A and AAAA records in the answer, sorted. */
export function addressesOf(packet: DecodedPacket): string[] {
  return (packet.answers ?? [])
    .flatMap((record) => (record.type === 'A' || record.type === 'AAAA' ? [record.data] : []))
    .toSorted()
}

/** `NOERROR`, `SERVFAIL`, … */
export function rcodeOf(packet: DecodedPacket): string {
  return RCODES[(packet.flags ?? 0) & 15]!
}

/** Asks from one socket. Replies find their question by id; what fits none is kept in `strays`. */
export class UdpClient {
  readonly strays: Buffer[] = []
  readonly #socket: UdpSocket
  readonly #waiting: Map<number, (reply: UdpReply) => void> = new Map()

  private constructor(socket: UdpSocket) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('message', (message, from) => {
      const id = message.readUInt16BE(0)
      const resolve = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (resolve === undefined) this.strays.push(message)
      else resolve({ message, packet: dnsPacket.decode(message), from })
    })
  }

  static async open(address: string = '127.0.0.1'): Promise<UdpClient> {
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
    socket.bind(0, address)
    await once(socket, 'listening')
    return new UdpClient(socket)
  }

  get port(): number {
    return this.#socket.address().port
  }

  async ask(
    to: { address: string; port: number },
    name: string,
    type: AskedType = 'A',
    asking: Asking = {},
  ): Promise<UdpReply> {
    return await this.askRaw(to, encodeQuery(name, type, asking))
  }

  /** Sends any bytes; the first two are the id that the reply must have. */
  askRaw(to: { address: string; port: number }, message: Uint8Array): Promise<UdpReply> {
    const id = (message[0]! << 8) | message[1]!
    const { promise, resolve, reject } = Promise.withResolvers<UdpReply>()
    const timer = setTimeout(() => {
      this.#waiting.delete(id)
      reject(new Error(`no answer to id ${id} from ${to.address}:${to.port} within ${ANSWER_MS} ms`))
    }, ANSWER_MS)
    this.#waiting.set(id, (reply) => {
      clearTimeout(timer)
      resolve(reply)
    })
    this.send(to, message)
    return promise
  }

  /** Sends without waiting for anything. */
  send(to: { address: string; port: number }, message: Uint8Array): void {
    this.#socket.send(message, to.port, to.address)
  }

  close(): void {
    this.#socket.close()
  }
}

/** Asks over one connection, as often as one likes. */
export class TcpClient {
  readonly socket: Socket
  readonly #reader: FrameReader = new FrameReader()
  readonly #waiting: Map<number, PromiseWithResolvers<DecodedPacket>> = new Map()

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the connection was closed'))
    })
    socket.on('data', (chunk: Buffer) => {
      const frames = this.#reader.push(chunk)
      for (const message of frames === null ? [] : messagesOf(frames)) {
        const id = (message[0]! << 8) | message[1]!
        this.#waiting.get(id)?.resolve(dnsPacket.decode(Buffer.from(message)))
        this.#waiting.delete(id)
      }
    })
  }

  static async open(to: { address: string; port: number }): Promise<TcpClient> {
    const socket = connect({ host: to.address, port: to.port, noDelay: true })
    await once(socket, 'connect')
    return new TcpClient(socket)
  }

  async ask(name: string, type: AskedType = 'A', asking: Asking = {}): Promise<DecodedPacket> {
    const query = encodeQuery(name, type, asking)
    const waiting = Promise.withResolvers<DecodedPacket>()
    this.#waiting.set(query.readUInt16BE(0), waiting)
    this.socket.write(framed(query))
    const timer = setTimeout(() => waiting.reject(new Error(`no answer over TCP within ${ANSWER_MS} ms`)), ANSWER_MS)
    try {
      return await waiting.promise
    } finally {
      clearTimeout(timer)
    }
  }

  close(): void {
    this.socket.destroy()
  }
}

/** Asks once over a connection of its own. */
export async function askTcp(
  to: { address: string; port: number },
  name: string,
  type: AskedType = 'A',
  asking: Asking = {},
): Promise<DecodedPacket> {
  const client = await TcpClient.open(to)
  try {
    return await client.ask(name, type, asking)
  } finally {
    client.close()
  }
}
