import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import dnsPacket, { type Packet } from 'dns-packet'
import { freePort } from '../free-port.ts'

/** A decoded query and the transport it came over. */
export type Script = (query: Packet, transport: 'udp' | 'tcp') => Partial<Packet> | Buffer | null

/** A DNS server over UDP and TCP on one port of 127.0.0.1 that answers as `script` says; null is no answer. */
export class ScriptedServer {
  readonly queries: { query: Packet; transport: 'udp' | 'tcp' }[] = []
  readonly #udp: Socket = createSocket('udp4')
  readonly #tcp: Server
  readonly #script: Script

  private constructor(script: Script) {
    this.#script = script
    this.#udp.on('message', (message, from) => {
      const reply = this.#answer(message, 'udp')
      if (reply !== null) this.#udp.send(reply, from.port, from.address)
    })
    this.#tcp = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.on('data', (data: Buffer) => {
        const reply = this.#answer(data.subarray(2), 'tcp')
        if (reply === null) return socket.end()
        const length = Buffer.alloc(2)
        length.writeUInt16BE(reply.length)
        // In two pieces, as a network may deliver it.
        socket.write(length.subarray(0, 1))
        return socket.write(Buffer.concat([length.subarray(1), reply]))
      })
    })
  }

  static async start(script: Script): Promise<ScriptedServer> {
    const server = new ScriptedServer(script)
    server.#tcp.listen(await freePort(), '127.0.0.1')
    await once(server.#tcp, 'listening')
    server.#udp.bind(server.port, '127.0.0.1')
    await once(server.#udp, 'listening')
    return server
  }

  get port(): number {
    const address = this.#tcp.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  /** `127.0.0.1:PORT`. */
  get text(): string {
    return `127.0.0.1:${this.port}`
  }

  stop(): void {
    this.#udp.close()
    this.#tcp.close()
  }

  #answer(message: Buffer, transport: 'udp' | 'tcp'): Buffer | null {
    const query = dnsPacket.decode(message)
    this.queries.push({ query, transport })
    const reply = this.#script(query, transport)
    if (reply === null || Buffer.isBuffer(reply)) return reply
    return dnsPacket.encode({ type: 'response', id: query.id ?? 0, questions: query.questions ?? [], ...reply })
  }
}
