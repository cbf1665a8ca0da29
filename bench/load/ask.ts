/** A DNS client for the bench itself: waits until a server answers, or until it answers anew. */
import { createSocket, type Socket } from 'node:dgram'
import { setTimeout as delay } from 'node:timers/promises'

const HEADER = 12

export interface Reply {
  rcode: number
  /** First A record's address, if the answer starts with one. */
  address: string | undefined
}

/** Asks for one name's A record again and again until `accept` likes a reply. */
export class Asker {
  readonly #socket: Socket
  readonly #port: number
  readonly #question: Buffer
  #latest: Reply | undefined

  constructor(port: number, name: string) {
    this.#port = port
    this.#question = encodeQuestion(name)
    this.#socket = createSocket('udp4')
    this.#socket.on('message', (message) => (this.#latest = decodeReply(message)))
    // A port not bound yet: the next question asks again.
    this.#socket.on('error', () => {})
  }

  /** Asks every `intervalMs`. Resolves with the reply, rejects after `deadlineMs` or when `signal` aborts. */
  async until(
    accept: (reply: Reply) => boolean,
    intervalMs: number,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<Reply> {
    const end = performance.now() + deadlineMs
    this.#latest = undefined
    while (performance.now() < end) {
      this.#socket.send(this.#question, this.#port, '127.0.0.1')
      await delay(intervalMs, undefined, { signal })
      if (this.#latest !== undefined && accept(this.#latest)) return this.#latest
    }
    throw new Error(`no such answer from port ${this.#port} within ${deadlineMs} ms`)
  }

  close(): void {
    this.#socket.close()
  }
}

function encodeQuestion(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')]))
  const header = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, 1, 0, 1])])
}

function decodeReply(message: Buffer): Reply {
  let at = HEADER
  while (at < message.length && message[at] !== 0) at += message[at]! + 1
  // Question's end, then the answer's name: a pointer or the name again.
  at += 5
  if (message[at] !== undefined && message[at]! >= 0xc0) at += 2
  else {
    while (at < message.length && message[at] !== 0) at += message[at]! + 1
    at += 1
  }
  const hasAddress = message.readUInt16BE(6) > 0 && at + 14 <= message.length && message.readUInt16BE(at) === 1
  return {
    rcode: message[3]! & 15,
    address: hasAddress ? [...message.subarray(at + 10, at + 14)].join('.') : undefined,
  }
}
