/** A data worker of which the test decides what it answers and when. */
import type { MessagePort } from 'node:worker_threads'
import { MessageChannel } from 'node:worker_threads'
import {
  addressLengthAt,
  addressOffset,
  connectionAt,
  framesLengthAt,
  putWriteHeader,
  READ_HEADER_BYTES,
  WRITE_HEADER_BYTES,
} from '../../src/engine/stream-batch.ts'
import type { UpstreamQuery, UpstreamReply, StreamQueries } from '../../src/engine/stream-port.ts'
import { framed, joined, messagesOf, replyTo } from './dns-messages.ts'

/** A query as the data worker got it. */
export interface ReceivedQuery {
  connection: number
  address: Uint8Array
  message: Uint8Array
}

export class ScriptedDataWorker {
  /** The stream worker's end. */
  readonly port: MessagePort
  readonly queries: ReceivedQuery[] = []
  /** Reads in the order they came: connection and number of frames. */
  readonly reads: { connection: number; count: number }[] = []
  readonly upstreamReplies: UpstreamReply[] = []
  messages = 0
  /** Answers every query at once when set. */
  echoes = false
  readonly #end: MessagePort

  constructor() {
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    this.#end = port2
    port2.on('message', (message: StreamQueries | UpstreamReply) => {
      this.messages++
      if (message.kind === 'upstreamReply') this.upstreamReplies.push(message)
      else this.#read(message.reads)
    })
  }

  /** Sends replies for several connections in one message; `settled` counts as many queries as there are messages. */
  reply(...writes: { connection: number; messages: Uint8Array[]; settled?: number }[]): void {
    const parts: Uint8Array[] = []
    for (const { connection, messages, settled } of writes) {
      const frames = joined(...messages.map(framed))
      const header = new Uint8Array(WRITE_HEADER_BYTES)
      putWriteHeader(header, 0, connection, settled ?? messages.length, frames.length)
      parts.push(header, frames)
    }
    this.#end.postMessage({ kind: 'replies', writes: joined(...parts) })
  }

  /** Answers queries, all in one message. */
  answer(queries: readonly ReceivedQuery[], extra: number = 0): void {
    const byConnection = new Map<number, Uint8Array[]>()
    for (const { connection, message } of queries) {
      byConnection.set(connection, [...(byConnection.get(connection) ?? []), replyTo(message, extra)])
    }
    this.reply(...Array.from(byConnection, ([connection, messages]) => ({ connection, messages })))
  }

  ask(query: Omit<UpstreamQuery, 'kind'>): void {
    this.#end.postMessage({ kind: 'upstreamQuery', ...query })
  }

  /** Ends as a worker that dies does. */
  die(): void {
    this.#end.close()
  }

  #read(reads: Uint8Array): void {
    const received: ReceivedQuery[] = []
    for (let at = 0; at < reads.length; ) {
      const connection = connectionAt(reads, at)
      const from = addressOffset(at)
      const address = reads.slice(from, from + addressLengthAt(reads, at))
      const frames = at + READ_HEADER_BYTES
      at = frames + framesLengthAt(reads, at)
      const messages = messagesOf(reads.subarray(frames, at))
      this.reads.push({ connection, count: messages.length })
      for (const message of messages) received.push({ connection, address, message })
    }
    this.queries.push(...received)
    if (this.echoes) this.answer(received)
  }
}
