/** An upstream server over UDP and TCP on one loopback port, of which the test decides what it answers, how and when. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import dnsPacket, { type Answer, type DecodedPacket, type Packet } from 'dns-packet'
import { FrameReader, framed } from '../../src/dns/frame.ts'
import { messagesOf } from '../stream/dns-messages.ts'

/** A query as it came, to be answered at once, later, in any way, or not. */
export class ReceivedQuery {
  readonly transport: 'udp' | 'tcp'
  readonly message: Buffer
  readonly packet: DecodedPacket
  /** The socket that asked (UDP). */
  readonly from: { address: string; port: number }
  readonly #send: (reply: Uint8Array) => void

  constructor(
    transport: 'udp' | 'tcp',
    message: Buffer,
    from: { address: string; port: number },
    send: (reply: Uint8Array) => void,
  ) {
    this.transport = transport
    this.message = message
    this.packet = dnsPacket.decode(message)
    this.from = from
    this.#send = send
  }

  get name(): string {
    return this.packet.questions![0]!.name.toLowerCase()
  }

  get type(): string {
    return this.packet.questions![0]!.type
  }

  /** The reply with this id and question; `parts` replaces what it names. Flags: QR, RD and RA if not given. */
  encode(parts: Partial<Packet> = {}): Buffer {
    const { id, questions } = this.packet
    return dnsPacket.encode({ type: 'response', id: id!, flags: 0x180, questions: questions!, ...parts })
  }

  /** Answers with a packet in parts or with any bytes. */
  reply(reply: Partial<Packet> | Uint8Array): void {
    this.#send(reply instanceof Uint8Array ? reply : this.encode(reply))
  }

  /** Answers with one address. */
  answer(address: string, ttl: number = 300): void {
    this.reply({ answers: [addressRecord(this.packet.questions![0]!.name, address, ttl)] })
  }
}

export function addressRecord(name: string, address: string, ttl: number = 300): Answer {
  return address.includes(':') ? { type: 'AAAA', name, ttl, data: address } : { type: 'A', name, ttl, data: address }
}

/** What an upstream server does with a query. */
export type ResolverScript = (query: ReceivedQuery) => void

export class ScriptedResolver {
  /** In the order in which they came, whatever the script does with them. */
  readonly queries: ReceivedQuery[] = []
  script: ResolverScript
  readonly address: string
  readonly #udp: UdpSocket
  readonly #tcp: Server
  readonly #connections: Set<Socket> = new Set()

  private constructor(script: ResolverScript, address: string) {
    this.script = script
    this.address = address
    this.#udp = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
    this.#udp.on('error', () => {})
    this.#udp.on('message', (message, from: RemoteInfo) => {
      const send = (reply: Uint8Array): void => this.#udp.send(reply, from.port, from.address, () => {})
      this.#receive(new ReceivedQuery('udp', message, from, send))
    })
    this.#tcp = createServer((socket) => this.#accept(socket))
  }

  /** `port` 0: any that is free with both transports. */
  static async start(
    script: ResolverScript,
    options: { address?: string; port?: number } = {},
  ): Promise<ScriptedResolver> {
    const { address = '127.0.0.1', port = 0 } = options
    for (let tries = 1; ; tries++) {
      const resolver = new ScriptedResolver(script, address)
      try {
        resolver.#tcp.listen(port, address)
        await once(resolver.#tcp, 'listening')
        resolver.#udp.bind(resolver.port, address)
        await once(resolver.#udp, 'listening')
        return resolver
      } catch (error) {
        // The port that TCP got may be taken over UDP.
        resolver.#tcp.close()
        if (port !== 0 || tries === 10) throw error
      }
    }
  }

  get port(): number {
    const address = this.#tcp.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** As configuration and resolv.conf name it. */
  get text(): string {
    return this.address.includes(':') ? `[${this.address}]:${this.port}` : `${this.address}:${this.port}`
  }

  /** How often a name was asked for. */
  asked(name: string, transport?: 'udp' | 'tcp'): number {
    return this.queries.filter(
      (query) => query.name === name && (transport === undefined || query.transport === transport),
    ).length
  }

  async stop(): Promise<void> {
    for (const socket of this.#connections) socket.destroy()
    const closed = Promise.all([once(this.#udp, 'close'), once(this.#tcp, 'close')])
    this.#udp.close()
    this.#tcp.close()
    await closed
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#connections.delete(socket))
    const reader = new FrameReader()
    const from = { address: socket.remoteAddress!, port: socket.remotePort! }
    socket.on('data', (chunk: Buffer) => {
      const frames = reader.push(chunk)
      for (const message of frames === null ? [] : messagesOf(frames)) {
        this.#receive(new ReceivedQuery('tcp', Buffer.from(message), from, (reply) => void socket.write(framed(reply))))
      }
    })
  }

  #receive(query: ReceivedQuery): void {
    this.queries.push(query)
    this.script(query)
  }
}
