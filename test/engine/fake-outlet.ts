import type { Outlet } from '../../src/engine/outlet.ts'

/** A datagram sent to an upstream server. */
export interface SentQuery {
  server: number
  socket: number
  bytes: Uint8Array
}

/** An upstream query over a stream. */
export interface SentStream {
  token: number
  server: number
  transport: 'tcp' | 'tls' | 'https'
  bytes: Uint8Array
  timeoutMs: number
}

export interface SentReply {
  waiter: number
  bytes: Uint8Array
}

/** Offsets that are not zero, so that forgetting to add one shows. */
const REPLY_AT = 24
const QUERY_AT = 40

/** Records what an engine sends. Throws on what an engine must not do: its methods must be used in pairs and in bounds. */
export class FakeOutlet implements Outlet {
  readonly reply: Uint8Array = new Uint8Array(REPLY_AT + 65_535)
  readonly replyAt: number = REPLY_AT
  readonly query: Uint8Array = new Uint8Array(QUERY_AT + 512)
  readonly queryAt: number = QUERY_AT
  readonly queries: SentQuery[] = []
  readonly streams: SentStream[] = []
  readonly replies: SentReply[] = []
  readonly held: Set<number> = new Set()
  /** The number that `hold` got last. */
  lastHeld = -1
  /** Replies sent before that: the same number may have been another client's a moment ago. */
  repliesBefore = 0
  /** Held clients that have gone: nobody gets their reply. */
  readonly gone: Set<number> = new Set()
  /** No socket can be opened towards these servers. */
  readonly unreachable: Set<number> = new Set()
  #opened = -1
  #isQueryOpen = false
  #sockets = 0

  hold(waiter: number): void {
    if (this.held.has(waiter)) throw new Error(`waiter ${waiter} is held already`)
    this.held.add(waiter)
    this.lastHeld = waiter
    this.repliesBefore = this.replies.length
  }

  openReply(waiter: number): void {
    if (!this.held.has(waiter)) throw new Error(`waiter ${waiter} is not held`)
    this.#opened = waiter
  }

  sendReply(waiter: number, length: number): void {
    if (this.#opened !== waiter) throw new Error(`no reply was opened for waiter ${waiter}`)
    this.#opened = -1
    this.held.delete(waiter)
    if (!this.gone.delete(waiter) && length > 0)
      this.replies.push({ waiter, bytes: this.reply.slice(REPLY_AT, REPLY_AT + length) })
  }

  openQuery(): void {
    this.#isQueryOpen = true
  }

  sendQuery(server: number, length: number, avoid: number): number {
    const bytes = this.#take(length)
    if (this.unreachable.has(server)) return -1
    // Two sockets to each server.
    let socket = server * 10 + (this.#sockets++ % 2)
    if (socket === avoid) socket = server * 10 + (this.#sockets++ % 2)
    this.queries.push({ server, socket, bytes })
    return socket
  }

  sendStreamQuery(
    token: number,
    server: number,
    transport: 'tcp' | 'tls' | 'https',
    length: number,
    timeoutMs: number,
  ): void {
    this.streams.push({ token, server, transport, bytes: this.#take(length), timeoutMs })
  }

  #take(length: number): Uint8Array {
    if (!this.#isQueryOpen) throw new Error('no query was opened')
    this.#isQueryOpen = false
    if (length > 512) throw new Error(`a query of ${length} bytes`)
    return this.query.slice(QUERY_AT, QUERY_AT + length)
  }
}
