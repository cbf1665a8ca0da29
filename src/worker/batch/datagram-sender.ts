/** Sends batches of datagrams, whatever the kernel says to it: full buffers, ICMP errors, interrupted and partial calls. */
import {
  EAGAIN,
  EINTR,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENOBUFS,
  ENOMEM,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLFD_BYTES,
  POLLOUT,
  type Syscalls,
} from '../../os/syscalls.ts'
import { DatagramGroups } from './datagram-groups.ts'
import type { DatagramRing } from './datagram-ring.ts'
import type { UpstreamSocket } from './upstream-sockets.ts'

/** How long a full send buffer is waited for, once a batch. */
const SEND_WAIT_MS = 5
/** What the kernel says of a message of several itself, and not of the way to the server. */
const REFUSALS: readonly number[] = [EINVAL, EIO, EMSGSIZE]

/** Sends the batches of one driver. */
export class DatagramSender {
  /** Numbers of the upstream sockets that reported an error; whoever reads them takes them out. */
  readonly failed: number[] = []
  readonly #sys: Syscalls

  constructor(sys: Syscalls) {
    this.#sys = sys
  }

  /**
   * Sends the first `count` replies of a ring by a listener and returns how many had to be given up. `groups`, of that
   * ring: those to the same client may leave as one message; replies with packet info must not.
   */
  sendReplies(fd: number, ring: DatagramRing, count: number, groups: DatagramGroups | null): number {
    return this.#sendGrouped(fd, ring, count, groups, null)
  }

  /**
   * Sends the first `count` queries of a ring by a connected socket; as messages of several if there are `groups`, of that
   * ring. Those given up are asked again when time is up.
   */
  sendQueries(socket: UpstreamSocket, ring: DatagramRing, count: number, groups: DatagramGroups | null): void {
    this.#sendGrouped(socket.fd, ring, count, groups, socket)
  }

  #sendGrouped(
    fd: number,
    ring: DatagramRing,
    count: number,
    groups: DatagramGroups | null,
    upstream: UpstreamSocket | null,
  ): number {
    const messages = groups?.plan(count) ?? count
    if (groups === null || messages === count) return this.#send(fd, ring, count, upstream)
    const dropped = this.#send(fd, groups, messages, upstream)
    groups.sent()
    return dropped
  }

  /**
   * sendmmsg stops at the first message that fails: the next call names its error, and it is skipped, because the rest must
   * not suffer for it. A connected socket (`upstream`) may report an ICMP error that belongs to an earlier datagram instead:
   * then the same one is tried again. Buffers that are full are nobody's failure. Returns how many datagrams were given up.
   */
  #send(fd: number, messages: DatagramRing | DatagramGroups, total: number, upstream: UpstreamSocket | null): number {
    let count = total
    let done = 0
    let dropped = 0
    let hasWaited = false
    let hasRetried = false
    while (done < count) {
      const headers = done === 0 ? messages.headers : messages.headersFrom(done)
      const sent = this.#sys.sendmmsg(fd, headers, count - done, MSG_DONTWAIT | MSG_NOSIGNAL)
      if (sent > 0) {
        done += sent
        continue
      }
      const error = -sent
      if (error === EINTR) continue
      const isFull = error === EAGAIN || error === ENOBUFS || error === ENOMEM
      if (isFull && !hasWaited) {
        hasWaited = true
        this.#waitForRoom(fd)
        continue
      }
      if (error === EAGAIN) return dropped + messages.datagrams(done, count)
      const isGroup = messages instanceof DatagramGroups && messages.isGroup(done)
      if (!isFull && upstream !== null && !hasRetried && !(isGroup && REFUSALS.includes(error))) {
        hasRetried = true
        this.failed.push(upstream.number)
        continue
      }
      if (isGroup && (isFull || upstream === null || REFUSALS.includes(error))) {
        count = messages.ungroup(done, count)
        done = 0
        continue
      }
      dropped += messages.datagrams(done, done + 1)
      done++
    }
    return dropped
  }

  #waitForRoom(fd: number): void {
    const set = Buffer.from(new SharedArrayBuffer(POLLFD_BYTES))
    set.writeInt32LE(fd, 0)
    set.writeUInt16LE(POLLOUT, 4)
    this.#sys.poll(set, 1, SEND_WAIT_MS)
  }
}
