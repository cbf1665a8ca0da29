/** An upstream server over TCP of which the test decides what it answers, how and when. */
import type { Server, Socket } from 'node:net'
import { createServer } from 'node:net'
import { FrameReader } from '../../src/dns/frame.ts'
import type { UpstreamServer } from '../../src/engine/settings.ts'
import { framed, joined, messagesOf, replyTo } from './dns-messages.ts'
import { listening } from './listening.ts'

/** A query as the upstream server got it. */
export interface AskedQuery {
  /** Which connection, counted from 0. */
  connection: number
  message: Uint8Array
}

export class ScriptedUpstream {
  readonly queries: AskedQuery[] = []
  readonly sockets: Socket[] = []
  /** What it does with queries that arrive together; by default it waits to be told. */
  onQueries: (queries: AskedQuery[]) => void = () => {}
  port = 0
  /** Segments received that held queries. */
  segments = 0
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(server: Server = createServer(), event: string = 'connection'): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(server)
    server.on(event, (socket: Socket) => upstream.#accept(socket))
    upstream.port = await listening(server)
    return upstream
  }

  get server(): UpstreamServer {
    return { label: `127.0.0.1:${this.port}`, transport: 'tcp', address: '127.0.0.1', port: this.port }
  }

  /** Connections that are open now. */
  get open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length
  }

  /** Answers queries, in one write a connection. */
  answer(queries: readonly AskedQuery[]): void {
    for (const { connection, message } of queries) this.send(connection, replyTo(message))
  }

  send(connection: number, ...messages: Uint8Array[]): void {
    this.sockets[connection]!.write(joined(...messages.map(framed)))
  }

  stop(): void {
    this.#server.close()
    for (const socket of this.sockets) socket.destroy()
  }

  #accept(socket: Socket): void {
    const connection = this.sockets.push(socket) - 1
    const reader = new FrameReader()
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      const frames = reader.push(chunk)
      if (frames === null) return
      this.segments++
      const asked = messagesOf(frames).map((message) => ({ connection, message }))
      this.queries.push(...asked)
      this.onQueries(asked)
    })
  }
}
