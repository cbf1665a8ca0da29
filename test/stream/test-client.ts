/** A client of the stream worker in tests: it gathers replies and remembers how they came. */
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { FrameReader } from '../../src/dns/frame.ts'
import { framed, joined, messagesOf } from './dns-messages.ts'

export class TestClient {
  readonly socket: Socket
  readonly replies: Uint8Array[] = []
  ended = false
  /** Ends its side when the server ends its own. */
  endsWithServer = true
  closed = false
  error: NodeJS.ErrnoException | null = null
  readonly #reader: FrameReader = new FrameReader()

  /** `localAddress`: the address that it asks from. */
  constructor(port: number, host: string = '127.0.0.1', localAddress: string = host) {
    this.socket = connect({ port, host, localAddress, noDelay: true, allowHalfOpen: true })
    this.socket.on('data', (chunk: Buffer) => {
      const frames = this.#reader.push(chunk)
      if (frames !== null) this.replies.push(...messagesOf(frames))
    })
    this.socket.on('end', () => {
      this.ended = true
      if (this.endsWithServer) this.socket.end()
    })
    this.socket.on('error', (error) => {
      this.error = error
    })
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  /** Sends messages in one write. */
  send(...messages: Uint8Array[]): void {
    this.socket.write(joined(...messages.map(framed)))
  }
}
