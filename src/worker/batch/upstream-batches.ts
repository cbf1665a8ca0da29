/** Queries to upstream servers, gathered by server while a batch is worked on, and sent in one call each. */
import { isLoopback } from '../../engine/access.ts'
import type { UpstreamServer } from '../../engine/settings.ts'
import { addressBytes } from '../../dns/address.ts'
import type { Syscalls } from '../../os/syscalls.ts'
import { MAX_USES } from '../upstream-pool.ts'
import { DatagramGroups } from './datagram-groups.ts'
import { DatagramRing } from './datagram-ring.ts'
import type { DatagramSender } from './datagram-sender.ts'
import type { UpstreamSocket, UpstreamSockets } from './upstream-sockets.ts'

const BATCH = 64
const QUERY_BYTES = 512

/** Queries to upstream servers, collected by socket until they are sent. */
export class UpstreamBatches {
  /** Where the next query is written, at 0: where it will go is not known yet, so it is copied, some 60 bytes. */
  readonly query: Uint8Array = new Uint8Array(QUERY_BYTES)
  readonly #sys: Syscalls
  readonly #sender: DatagramSender
  readonly #sockets: UpstreamSockets
  readonly #canSegment: boolean
  /** By server: datagrams gathered, how they may leave together, how many, and the socket they will leave by. */
  #rings: DatagramRing[] = []
  #groups: (DatagramGroups | null)[] = []
  #used: number[] = []
  #socket: (UpstreamSocket | null)[] = []

  /** `canSegment`: the kernel takes several datagrams as one message. */
  constructor(sys: Syscalls, sender: DatagramSender, sockets: UpstreamSockets, canSegment: boolean) {
    this.#sys = sys
    this.#sender = sender
    this.#sockets = sockets
    this.#canSegment = canSegment
  }

  /** Takes another list of servers; what was gathered for the earlier ones has been sent by then. */
  configure(servers: readonly UpstreamServer[]): void {
    const sys = this.#sys
    this.#rings = servers.map((_, k) => this.#rings[k] ?? new DatagramRing(sys, BATCH, QUERY_BYTES, 0, 0))
    this.#groups = servers.map((server, k) =>
      this.#mayGroup(server) ? new DatagramGroups(sys, this.#rings[k]!) : null,
    )
    this.#used = this.#rings.map(() => 0)
    this.#socket = this.#rings.map(() => null)
  }

  /**
   * Only where no network is between, as with systemd-resolved: a driver that silently loses such a message would
   * cost all the names in it an attempt's time.
   */
  #mayGroup({ address }: UpstreamServer): boolean {
    const bytes = addressBytes(address)
    return this.#canSegment && isLoopback(bytes, 0, bytes.length)
  }

  /**
   * Takes the first `length` bytes of `query` for `server`, to leave by another socket than `avoid` if there is one.
   * Returns the socket's number, −1 if none can be opened.
   */
  add(server: number, length: number, avoid: number, now: number): number {
    let socket = this.#socket[server] ?? null
    const used = this.#used[server]!
    // The rest of a large batch leaves by another port, as long as there are others to be had.
    const isFull = used === BATCH || (used === MAX_USES && this.#sockets.mayReplace(now))
    if (socket === null || socket.number === avoid || isFull) {
      this.#flush(server)
      socket = this.#sockets.pick(server, avoid, now)
      if (socket === null) return -1
      this.#socket[server] = socket
    }
    const ring = this.#rings[server]!
    const slot = this.#used[server]!
    const at = slot * QUERY_BYTES
    for (let i = 0; i < length; i++) ring.bytes[at + i] = this.query[i]!
    ring.setLengths(slot, length, 0, 0)
    this.#used[server] = slot + 1
    socket.uses++
    return socket.number
  }

  /** Sends all that is gathered. */
  flush(): void {
    for (let server = 0; server < this.#used.length; server++) {
      this.#flush(server)
      // Each batch draws its socket anew.
      this.#socket[server] = null
    }
  }

  #flush(server: number): void {
    const count = this.#used[server]!
    if (count === 0) return
    this.#used[server] = 0
    this.#sender.sendQueries(this.#socket[server]!, this.#rings[server]!, count, this.#groups[server]!)
  }
}
