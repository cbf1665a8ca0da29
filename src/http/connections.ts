import type { Socket } from 'node:net'

/** How many connections a server holds. */
export interface ConnectionLimits {
  /** Of all clients. One more displaces one that waits. */
  most: number
  /** Of one client: an IPv4 address, or an IPv6 /64. One more displaces one of its own. */
  mostPerClient: number
}

/** What a connection is doing: waiting for a request, being answered, or taking in a reply. */
type Phase = 'waiting' | 'handling' | 'sending'

interface Connection {
  client: string
  phase: Phase
  /** No request has come over it yet. */
  isNew: boolean
  /** What to tell that the connection is gone, for each request that is not answered yet: several where a client sends ahead. */
  open: Set<() => void>
}

/** Requests that a client may send ahead of their replies; with more, its connection is closed. */
const MOST_AHEAD = 8
/** If all connections are being answered, none can be displaced: so many more are accepted. */
const SPARE = 16

/**
 * The connections of a server. A new one is always let in, so a probe gets through whatever others do. If there are
 * too many, another is closed: the one that has waited longest for a request, else the one that has been reading its reply
 * longest. It is one of the same client if that client has too many, else one of the client that has most.
 */
export class Connections {
  readonly #limits: ConnectionLimits
  /** In the order in which they entered their phase. */
  readonly #connections: Map<Socket, Connection> = new Map()
  readonly #counts: Map<string, number> = new Map()

  constructor(limits: ConnectionLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#connections.size
  }

  /** Takes in a connection; displaces another one, or refuses this one, if there are too many. */
  admit(socket: Socket): void {
    const client = clientOf(socket.remoteAddress ?? '')
    const own = (this.#counts.get(client) ?? 0) + 1
    if (own > this.#limits.mostPerClient) this.#displace(client)
    else if (this.size >= this.#limits.most) this.#displace(null)
    if (this.size >= this.#limits.most + SPARE) {
      socket.destroy()
      return
    }
    this.#connections.set(socket, { client, phase: 'waiting', isNew: true, open: new Set() })
    this.#counts.set(client, (this.#counts.get(client) ?? 0) + 1)
    socket.once('close', () => this.#remove(socket))
  }

  /**
   * A request has arrived whole; `onGone` is called if its connection ends before `answered` with the same function. False:
   * the client has sent too many ahead, and its connection is gone.
   */
  requested(socket: Socket, onGone: () => void): boolean {
    const connection = this.#connections.get(socket)
    if (connection === undefined) return false
    if (connection.open.size >= MOST_AHEAD) {
      socket.destroy()
      this.#remove(socket)
      return false
    }
    connection.open.add(onGone)
    connection.isNew = false
    this.#enter(socket, connection, 'handling')
    return true
  }

  /** The reply to a request is being written. */
  sending(socket: Socket): void {
    const connection = this.#connections.get(socket)
    if (connection !== undefined) this.#enter(socket, connection, 'sending')
  }

  /** The reply to a request has been written. */
  answered(socket: Socket, onGone: () => void): void {
    const connection = this.#connections.get(socket)
    if (connection === undefined || !connection.open.delete(onGone)) return
    this.#enter(socket, connection, connection.open.size > 0 ? 'handling' : 'waiting')
  }

  /** Closes those that wait for a request; of those over which none has come yet only if `andNew`. */
  closeWaiting(andNew: boolean): void {
    for (const [socket, { phase, isNew }] of this.#connections)
      if (phase === 'waiting' && (andNew || !isNew)) socket.destroy()
  }

  #enter(socket: Socket, connection: Connection, phase: Phase): void {
    connection.phase = phase
    this.#connections.delete(socket)
    this.#connections.set(socket, connection)
  }

  /** Closes the connection of `client`, or of the client that has most, that can best be spared. */
  #displace(client: string | null): void {
    const all = [...this.#connections]
    for (const phase of ['waiting', 'sending'] as const) {
      let victim: Socket | null = null
      let most = 0
      for (const [socket, connection] of all) {
        if (connection.phase !== phase || (client !== null && connection.client !== client)) continue
        const count = this.#counts.get(connection.client) ?? 0
        if (count <= most) continue
        most = count
        victim = socket
      }
      if (victim === null) continue
      victim.destroy()
      this.#remove(victim)
      return
    }
  }

  #remove(socket: Socket): void {
    const connection = this.#connections.get(socket)
    if (connection === undefined) return
    this.#connections.delete(socket)
    const left = (this.#counts.get(connection.client) ?? 1) - 1
    if (left > 0) this.#counts.set(connection.client, left)
    else this.#counts.delete(connection.client)
    // Replies that wait for an earlier one on this connection would not notice its end.
    for (const onGone of connection.open) onGone()
  }
}

/**
 * Who counts as one client: an IPv4 address (also one mapped into IPv6), or the first 64 bits of an IPv6 address, as a
 * machine may choose the others freely.
 */
export function clientOf(address: string): string {
  const text = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  if (!text.includes(':')) return text
  const [head = '', tail] = text.split('::')
  const before = head.split(':').filter((group) => group !== '')
  const after = (tail ?? '').split(':').filter((group) => group !== '')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after]
  return `${groups.slice(0, 4).join(':')}::/64`
}
