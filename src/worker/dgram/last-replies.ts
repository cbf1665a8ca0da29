import { socketAddress } from '../../os/socket-address.ts'
import { SOCKADDR_BYTES, type Syscalls } from '../../os/syscalls.ts'
import { DatagramRing } from '../batch/datagram-ring.ts'
import { DatagramSender } from '../batch/datagram-sender.ts'

/** Sends single replies by a descriptor that nobody here reads from: a socket of Node's reads as long as it is open. */
export class LastReplies {
  readonly #ring: DatagramRing
  readonly #sender: DatagramSender

  /** `maxBytes`: of a reply. */
  constructor(sys: Syscalls, maxBytes: number) {
    this.#ring = new DatagramRing(sys, 1, maxBytes, SOCKADDR_BYTES, 0)
    this.#sender = new DatagramSender(sys)
  }

  /** Sends a copy of `reply` to a literal address. Returns false if it had to be given up. */
  send(fd: number, reply: Uint8Array, address: string, port: number): boolean {
    const ring = this.#ring
    let name: Uint8Array
    try {
      name = socketAddress(address, port).bytes
    } catch {
      // A link-local address whose interface is gone.
      return false
    }
    ring.bytes.set(reply)
    ring.names.set(name)
    ring.setLengths(0, reply.length, name.length, 0)
    return this.#sender.sendReplies(fd, ring, 1, null) === 0
  }
}
