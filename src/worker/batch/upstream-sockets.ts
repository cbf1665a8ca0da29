/**
 * The batch driver's datagram sockets towards upstream servers. Each is connected, so the kernel lets only the server's
 * own address and port through; several to a server, one picked at random for each batch, each replaced after a few
 * questions (upstream-pool.ts). A replaced socket stays open for the replies still under way, and is closed with the last of them.
 */
import type { UpstreamServer } from '../../engine/settings.ts'
import { socketAddress } from '../../os/socket-address.ts'
import type { DatagramOptions, Syscalls } from '../../os/syscalls.ts'
import { MAX_AGE_MS, MAX_RETIRED, MAX_USES, Replacements, SOCKETS_EACH } from '../upstream-pool.ts'

type SocketAddress = ReturnType<typeof socketAddress>

/** The replies to the queries under way by one socket fit into what the kernel gives by itself. */
const OPTIONS: DatagramOptions = { reusePort: false, packetInfo: false, bufferBytes: 0 }

/** One socket towards a server. */
export interface UpstreamSocket {
  /** Never used twice in the life of the worker. */
  readonly number: number
  readonly fd: number
  /** Where the descriptor is noted. */
  readonly place: number
  readonly server: number
  readonly openedAt: number
  /** Queries sent, and datagrams received. */
  uses: number
  replies: number
  /** When a replaced socket is closed; Infinity while it is in use. */
  closeAt: number
}

/** All sockets towards servers of one worker. */
export class UpstreamSockets {
  readonly #sys: Syscalls
  readonly #random: () => number
  readonly #opened: Int32Array
  readonly #replacements: Replacements = new Replacements()
  #lingerMs = 0
  #servers: UpstreamServer[] = []
  /** By server: its sockaddr, made when it was first needed. */
  #addresses: (SocketAddress | null)[] = []
  #pools: UpstreamSocket[][] = []
  #retired: UpstreamSocket[] = []
  #nextNumber = 1
  #nextClose: number = Number.POSITIVE_INFINITY
  readonly #watch: (fd: number, place: number) => number
  /** By place. */
  readonly #open: (UpstreamSocket | undefined)[] = []

  /**
   * `opened`: where descriptors are noted for whoever must close them after this worker. `watch`: waits for what a socket
   * receives until it is closed; returns 0 or an error.
   */
  constructor(
    sys: Syscalls,
    random: () => number,
    opened: Int32Array,
    watch: (fd: number, place: number) => number = () => 0,
  ) {
    this.#sys = sys
    this.#random = random
    this.#opened = opened
    this.#watch = watch
  }

  /**
   * Takes a new list of servers; sockets to the earlier ones are retired. `lingerMs`: how long a socket that is replaced
   * from now on waits for replies.
   */
  configure(servers: UpstreamServer[], lingerMs: number, now: number): void {
    for (const pool of this.#pools) for (const socket of pool) this.#retire(socket, now)
    this.#lingerMs = lingerMs
    this.#servers = servers
    this.#addresses = servers.map(() => null)
    this.#pools = servers.map(() => [])
  }

  /** All open sockets. */
  *all(): Generator<UpstreamSocket> {
    for (const pool of this.#pools) yield* pool
    yield* this.#retired
  }

  /** The open socket whose descriptor is noted at `place`. */
  at(place: number): UpstreamSocket | undefined {
    return this.#open[place]
  }

  /** A socket to `server`, another one than number `avoid` if possible; null if none can be opened. */
  pick(server: number, avoid: number, now: number): UpstreamSocket | null {
    const pool = this.#pools[server]!
    let k = (this.#random() >>> 0) % SOCKETS_EACH
    if (pool[k]?.number === avoid) k = (k + 1) % SOCKETS_EACH
    const socket = pool[k]
    if (socket && socket.uses < MAX_USES && now - socket.openedAt < MAX_AGE_MS) return socket
    const fresh = socket === undefined || this.mayReplace(now) ? this.#connect(server, now) : null
    if (fresh === null) return socket ?? pool.find((other) => other.number !== avoid) ?? pool[0] ?? null
    if (socket) {
      this.#retire(socket, now)
      this.#replacements.take()
    }
    // Pools fill from the front: they have no holes.
    pool[socket ? k : pool.length] = fresh
    return fresh
  }

  /** True if a socket that is used up is replaced at `now`. */
  mayReplace(now: number): boolean {
    return this.#retired.length < MAX_RETIRED && this.#replacements.has(now)
  }

  /** So many datagrams came in by a socket. A replaced one is closed once there is a reply for each query. */
  received(socket: UpstreamSocket, count: number): void {
    socket.replies += count
    if (socket.closeAt !== Number.POSITIVE_INFINITY && socket.replies >= socket.uses) {
      socket.closeAt = 0
      this.#nextClose = 0
    }
  }

  /** When the next replaced socket is to be closed: 0 if at once, Infinity if there is none. */
  get nextClose(): number {
    return this.#nextClose
  }

  /**
   * Closes what waits no longer. To be called between two rounds: before the end of one, the number of a closed socket
   * may be another's already while there is still an event of the old one's.
   */
  closeRetired(now: number): void {
    this.#nextClose = Number.POSITIVE_INFINITY
    let kept = 0
    for (const socket of this.#retired) {
      if (socket.closeAt <= now) {
        this.#close(socket)
        continue
      }
      this.#retired[kept++] = socket
      this.#nextClose = Math.min(this.#nextClose, socket.closeAt)
    }
    this.#retired.length = kept
  }

  closeAll(): void {
    for (const socket of this.all()) this.#close(socket)
    this.#pools = []
    this.#retired = []
    this.#nextClose = Number.POSITIVE_INFINITY
  }

  #connect(server: number, now: number): UpstreamSocket | null {
    const place = this.#opened.indexOf(-1)
    if (place < 0) return null
    const address = this.#addressOf(server)
    if (address === null) return null
    const { family, bytes } = address
    const fd = this.#sys.openDatagram(family, null, OPTIONS)
    if (fd < 0) return null
    // Connecting binds the socket to a port that the kernel draws at random from the ephemeral range.
    if (this.#sys.connect(fd, bytes) < 0 || this.#watch(fd, place) < 0) {
      this.#sys.close(fd)
      return null
    }
    this.#opened[place] = fd
    const number = this.#nextNumber++
    const closeAt = Number.POSITIVE_INFINITY
    const socket: UpstreamSocket = { number, fd, place, server, openedAt: now, uses: 0, replies: 0, closeAt }
    this.#open[place] = socket
    return socket
  }

  #retire(socket: UpstreamSocket, now: number): void {
    socket.closeAt = socket.replies >= socket.uses ? now : now + this.#lingerMs
    this.#nextClose = Math.min(this.#nextClose, socket.closeAt)
    this.#retired.push(socket)
  }

  #close(socket: UpstreamSocket): void {
    this.#sys.close(socket.fd)
    this.#opened[socket.place] = -1
    this.#open[socket.place] = undefined
  }

  /** Null for a link-local address whose interface is not there (any more): it may come up again, as another one. */
  #addressOf(server: number): SocketAddress | null {
    const known = this.#addresses[server]!
    if (known !== null) return known
    const { address, port } = this.#servers[server]!
    try {
      const made = socketAddress(address, port)
      if (!address.includes('%')) this.#addresses[server] = made
      return made
    } catch {
      return null
    }
  }
}
