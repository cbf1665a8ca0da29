/** DNS messages for tests, simple enough to see through. */
import { framed } from '../../src/dns/frame.ts'
import { nameToWire } from '../../src/dns/name.ts'

export { framed }

/** A query for an A record. */
export function query(id: number, name: string): Uint8Array {
  const question = [...nameToWire(name)!, 0, 1, 0, 1]
  return Uint8Array.of(id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question)
}

/**
 * A resolver's reply to a query: the same with QR and RA set (an empty one without RA would be a referral), and `extra` bytes
 * behind it to make it long.
 */
export function replyTo(message: Uint8Array, extra: number = 0): Uint8Array {
  const reply = new Uint8Array(message.length + extra)
  reply.set(message)
  reply[2]! |= 0x80
  reply[3]! |= 0x80
  return reply
}

export function idOf(message: Uint8Array): number {
  return (message[0]! << 8) | message[1]!
}

/** The messages of whole frames. */
export function messagesOf(frames: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = []
  for (let at = 0; at < frames.length; ) {
    const length = (frames[at]! << 8) | frames[at + 1]!
    messages.push(frames.slice(at + 2, at + 2 + length))
    at += 2 + length
  }
  return messages
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}
