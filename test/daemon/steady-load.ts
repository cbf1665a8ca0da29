/** A client that asks at an even rate, whatever becomes of the answers, and counts which questions were answered. */
import { createSocket, type Socket } from 'node:dgram'
import { vi } from 'vitest'
import { WAIT_MS } from '../wait.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { sys } from '../worker/data-plane.ts'
import { encodeQuery } from '../worker/dns-client.ts'

/** On loopback a question counts for its sender until it is read: both ends need room for all of a restart. */
const BUFFER_BYTES = 16 << 20
const TURN_MS = 5
const IDS = 65_536
/** A slow machine starts the service slowly: no more than the buffers hold wait for it. */
const MOST_UNDER_WAY = 6000

export class SteadyLoad {
  sent = 0
  answered = 0
  readonly #socket: Socket
  readonly #underWay: Set<number> = new Set()
  #timer: NodeJS.Timeout | null = null

  /** `rate`: questions a second. */
  constructor(port: number, rate: number) {
    const { family, bytes } = socketAddress('127.0.0.1', 0)
    const fd = sys.openDatagram(family, bytes, { reusePort: false, packetInfo: false, bufferBytes: BUFFER_BYTES })
    this.#socket = createSocket('udp4')
    this.#socket.on('message', (reply) => {
      // An id that is not under way, or an empty answer, is no answer.
      if (reply.readUInt16BE(6) === 1 && this.#underWay.delete(reply.readUInt16BE(0))) this.answered++
    })
    const query = encodeQuery('web.example', 'A')
    this.#socket.bind({ fd }, () => {
      const beganMs = performance.now()
      this.#timer = setInterval(() => {
        const due = ((performance.now() - beganMs) * rate) / 1000
        while (this.sent < due && this.#underWay.size < MOST_UNDER_WAY) {
          const id = this.sent++ % IDS
          this.#underWay.add(id)
          const message = Buffer.from(query)
          message.writeUInt16BE(id, 0)
          this.#socket.send(message, port, '127.0.0.1')
        }
      }, TURN_MS)
    })
  }

  /** Resolves when so many more questions have been answered. */
  async answers(more: number): Promise<void> {
    const enough = this.answered + more
    await vi.waitFor(
      () => {
        if (this.answered < enough) throw new Error(`${this.answered} of ${this.sent} answered`)
      },
      { timeout: WAIT_MS, interval: TURN_MS },
    )
  }

  /** Asks no more, and returns how many questions have got no answer, however long they waited. */
  async stop(): Promise<number> {
    if (this.#timer !== null) clearInterval(this.#timer)
    await vi
      .waitFor(
        () => {
          if (this.#underWay.size > 0) throw new Error('not yet')
        },
        { timeout: WAIT_MS, interval: TURN_MS },
      )
      .catch(() => {})
    this.#socket.close()
    return this.#underWay.size
  }
}
