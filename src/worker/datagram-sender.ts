/** Sends batches of datagrams, whatever the kernel says to it: full buffers, ICMP errors, interrupted and partial calls. */
import {
  EAGAIN,
  EINTR,
  ENOBUFS,
  ENOMEM,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLFD_BYTES,
  POLLOUT,
  type Syscalls,
} from '../os/syscalls.ts'
import type { DatagramRing } from './datagram-ring.ts'
import { ReplyGroups } from './reply-groups.ts'
import type { UpstreamSocket } from './upstream-sockets.ts'

/** How long a full send buffer is waited for, once a batch. */
const SEND_WAIT_MS = 5
/** Batches at most that are sent reply by reply before messages of several are tried again. */
const MOST_BATCHES_ALONE = 4096

export class DatagramSender {
  /** Numbers of the upstream sockets that reported an error; whoever reads them takes them out. */
  readonly failed: number[] = []
  readonly #sys: Syscalls
  readonly #replies: DatagramRing
  readonly #groups: ReplyGroups
  /** Batches yet to be sent reply by reply, and how many it will be after the next refusal: twice as many each time. */
  #batchesAlone = 0
  #nextAlone = 1

  /** `replies`: the ring that `sendReplies` sends from. */
  constructor(sys: Syscalls, replies: DatagramRing) {
    this.#sys = sys
    this.#replies = replies
    this.#groups = new ReplyGroups(sys, replies)
  }

  /**
   * Sends the first `count` replies by a listener and returns how many had to be given up. `mayGroup`: those to the same
   * client may leave as one message; replies with packet info must not.
   */
  sendReplies(fd: number, count: number, mayGroup: boolean): number {
    if (count === 1 || !mayGroup) return this.#send(fd, this.#replies, count, null)
    if (this.#batchesAlone > 0) {
      this.#batchesAlone--
      return this.#send(fd, this.#replies, count, null)
    }
    const messages = this.#groups.plan(count)
    if (messages === count) return this.#send(fd, this.#replies, count, null)
    const dropped = this.#send(fd, this.#groups, messages, null)
    if (this.#batchesAlone === 0) this.#nextAlone = 1
    return dropped
  }

  /** Sends the first `count` queries of a ring by a connected socket. Those given up are asked again when time is up. */
  sendQueries(socket: UpstreamSocket, ring: DatagramRing, count: number): void {
    this.#send(socket.fd, ring, count, socket)
  }

  /**
   * sendmmsg stops at the first message that fails: the next call names its error, and it is skipped, because the rest must
   * not suffer for it. A connected socket (`upstream`) may report an ICMP error that belongs to an earlier datagram instead:
   * then the same one is tried again. Buffers that are full are nobody's failure. Returns how many datagrams were given up.
   */
  #send(fd: number, messages: DatagramRing | ReplyGroups, total: number, upstream: UpstreamSocket | null): number {
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
      if (!isFull && upstream !== null && !hasRetried) {
        hasRetried = true
        this.failed.push(upstream.number)
        continue
      }
      if (messages instanceof ReplyGroups && messages.isGroup(done)) {
        count = messages.ungroup(done, count)
        done = 0
        this.#goAlone()
        continue
      }
      done++
      dropped++
    }
    return dropped
  }

  /**
   * The kernel refused a message of several: there is no checksum offload on the way out, the path's MTU is smaller, or
   * something passing. The next ones are sent alone, more of them each time, and then it is tried again.
   */
  #goAlone(): void {
    this.#batchesAlone = this.#nextAlone
    this.#nextAlone = Math.min(MOST_BATCHES_ALONE, this.#nextAlone * 2)
  }

  #waitForRoom(fd: number): void {
    const set = Buffer.from(new SharedArrayBuffer(POLLFD_BYTES))
    set.writeInt32LE(fd, 0)
    set.writeUInt16LE(POLLOUT, 4)
    this.#sys.poll(set, 1, SEND_WAIT_MS)
  }
}
