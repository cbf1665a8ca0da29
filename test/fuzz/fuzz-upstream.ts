/** An upstream server over UDP and TCP that answers what it likes: mutated replies, twice, late parts, lying lengths, resets. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { Random } from '../simulation/random.ts'
import { Corpus } from './corpus.ts'
import { FrameReference } from './frame-reference.ts'
import { Mutator } from './mutator.ts'
import { Packet } from './packet.ts'
import { ReplyMaker } from './reply-maker.ts'

const MAX_DATAGRAM = 65_507

export class FuzzUpstream {
  replies = 0
  readonly #random: Random
  readonly #maker: ReplyMaker
  readonly #mutator: Mutator
  readonly #packet: Packet = new Packet()
  readonly #udp: UdpSocket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 })
  readonly #tcp: Server = createServer((socket) => this.#accept(socket))
  readonly #connections: Set<Socket> = new Set()

  private constructor(seed: number) {
    this.#random = new Random(seed)
    const replies = Corpus.of('replies', this.#random)
    this.#maker = new ReplyMaker(this.#random)
    this.#mutator = new Mutator(this.#random, () => replies.pick())
    this.#udp.on('error', () => {})
    this.#udp.on('message', (query, from) => {
      const times = this.#random.weighted([
        [93, 1],
        [4, 0],
        [3, 2],
      ])
      for (let k = 0; k < times; k++) {
        this.#make(query)
        this.#packet.length = Math.min(this.#packet.length, MAX_DATAGRAM)
        this.#udp.send(this.#packet.copy(), from.port, from.address, () => {})
      }
    })
  }

  static async start(seed: number): Promise<FuzzUpstream> {
    for (let tries = 1; ; tries++) {
      const upstream = new FuzzUpstream(seed)
      try {
        upstream.#tcp.listen(0, '127.0.0.1')
        await once(upstream.#tcp, 'listening')
        upstream.#udp.bind(upstream.port, '127.0.0.1')
        await once(upstream.#udp, 'listening')
        return upstream
      } catch (error) {
        // The port that TCP got may be taken over UDP.
        upstream.#tcp.close()
        if (tries === 10) throw error
      }
    }
  }

  get port(): number {
    const address = this.#tcp.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  async stop(): Promise<void> {
    for (const socket of this.#connections) socket.destroy()
    const closed = Promise.all([once(this.#udp, 'close'), once(this.#tcp, 'close')])
    this.#udp.close()
    this.#tcp.close()
    await closed
  }

  #make(query: Uint8Array): void {
    const random = this.#random
    this.replies++
    this.#maker.make(query, 0, query.length, this.#packet)
    if (random.chance(0.6)) this.#mutator.mutate(this.#packet)
    // Most replies must be taken for one, or only the first check would be seen.
    if (random.chance(0.97)) this.#packet.set16(0, (query[0]! << 8) | query[1]!)
  }

  #accept(socket: Socket): void {
    const random = this.#random
    this.#connections.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#connections.delete(socket))
    const reference = new FrameReference()
    socket.on('data', (chunk: Buffer) => {
      for (const query of reference.push(chunk) ?? []) {
        if (random.chance(0.01)) {
          // A reset while a FIN is on its way leaks the handle, and this process would never end.
          if (socket.writableEnded) socket.destroy()
          else socket.resetAndDestroy()
          return
        }
        if (random.chance(0.05)) continue
        this.#make(query)
        const { length } = this.#packet
        const lie = random.chance(0.97) ? 0 : random.pick([1, -1, 11 - length, -length, 5000])
        const frame = Buffer.alloc(2 + length)
        frame.writeUInt16BE(Math.max(0, Math.min(65_535, length + lie)))
        frame.set(this.#packet.bytes.subarray(0, length), 2)
        const cut = random.chance(0.3) ? random.below(frame.length) : frame.length
        socket.write(frame.subarray(0, cut))
        if (cut < frame.length) setImmediate(() => socket.write(frame.subarray(cut)))
        if (random.chance(0.01)) socket.end()
      }
    })
  }
}
