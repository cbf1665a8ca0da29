/** The listening sockets of the stream worker. */
import type { Server } from 'node:net'
import type { BoundListener, FailedListener, StreamListener } from '../stream-worker-messages.ts'

/** Length of the kernel's queue of connections not yet accepted. */
const BACKLOG = 511

/** Opens listeners and closes them together. */
export class ClientListeners {
  readonly #createServer: () => Server
  readonly #servers: Server[] = []
  #isClosed = false

  constructor(createServer: () => Server) {
    this.#createServer = createServer
  }

  /** Opens all of them; the others serve even if one fails. Never rejects. */
  async open(listeners: readonly StreamListener[]): Promise<{ bound: BoundListener[]; failed: FailedListener[] }> {
    const bound: BoundListener[] = []
    const failed: FailedListener[] = []
    for (const listener of listeners) {
      const opened = await this.#listen(listener)
      if ('code' in opened) failed.push(opened)
      else bound.push(opened)
    }
    return { bound, failed }
  }

  /** Accepts nothing more. Connections that were accepted stay open. */
  close(): void {
    this.#isClosed = true
    for (const server of this.#servers) server.close()
    this.#servers.length = 0
  }

  #listen(listener: StreamListener): Promise<BoundListener | FailedListener> {
    const { address, port, fd } = listener
    const server = this.#createServer()
    const { promise, resolve } = Promise.withResolvers<BoundListener | FailedListener>()
    const fail = (error: NodeJS.ErrnoException): void =>
      resolve({ address, port, code: error.code ?? 'EUNKNOWN', message: describe(listener, error) })
    server.once('error', fail)
    server.once('listening', () => {
      if (this.#isClosed) server.close()
      else this.#servers.push(server)
      // Failed accepts (ENFILE) concern one connection, not the listener.
      server.on('error', () => {})
      const bound = server.address()
      resolve({ address, port: bound !== null && typeof bound === 'object' ? bound.port : port })
    })
    // `ipv6Only`: [::]:53 must not take the place of 0.0.0.0:53, which is listed on its own.
    try {
      if (fd === null) server.listen({ host: address, port, backlog: BACKLOG, ipv6Only: true, exclusive: true })
      else server.listen({ fd, backlog: BACKLOG })
    } catch (error) {
      // No descriptor could be lent.
      fail(error instanceof Error ? error : new Error(String(error)))
    }
    return promise
  }
}

function describe(listener: StreamListener, error: NodeJS.ErrnoException): string {
  const { address, port, fd } = listener
  const where = `TCP ${address.includes(':') ? `[${address}]` : address}:${port}`
  if (fd !== null) return `${where}: descriptor ${fd} cannot be used: ${error.message}`
  if (error.code === 'EADDRINUSE')
    return `${where}: address already in use; stop what listens there or choose another port`
  if (error.code === 'EACCES') return `${where}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE`
  if (error.code === 'EADDRNOTAVAIL') return `${where}: this machine has no such address`
  return `${where}: ${error.message}`
}
