import { Answer, readAnswer } from '../../src/dns/answer.ts'
import { Type } from '../../src/dns/constants.ts'
import { readQuery } from '../../src/dns/query.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { AnswerStore, storeAnswer, type TtlBounds } from '../../src/engine/cache/stored-answer.ts'
import { bytes, message, opt, type OptParts, u16, type WireMessage, wire } from '../dns/messages.ts'

export const BOUNDS: TtlBounds = { minTtlSeconds: 0, maxTtlSeconds: 3600, maxNegativeTtlSeconds: 300 }

/** Key of an answer: the name in lower case, the type, the variant. */
export function keyOf(name: string, type: number = Type.A, variant: number = 0): Uint8Array {
  return bytes(wire(name.toLowerCase()), u16(type), variant)
}

/** A hash of few values, so that keys collide. */
export function weakHash(key: Uint8Array): number {
  return Math.imul(
    key.reduce((sum, byte) => (sum + byte) % 5, 0),
    0x40000001,
  )
}

/** An answer stored at `at` of a store of its own. */
export class StoredMessage {
  readonly store: AnswerStore = new AnswerStore(96 * 1024)
  readonly at: number
  readonly lifetime: number

  constructor(
    name: string,
    parts: WireMessage,
    { type = Type.A, now = 0, bounds = BOUNDS, variant = 0, at = 0 }: StoringOptions = {},
  ) {
    const packet = message({ flags: 0x8180, questions: [[name, type]], ...parts })
    const answer = new Answer()
    const start = 3
    const padded = bytes(1, 2, 3, packet)
    if (!readAnswer(padded, start, packet.length, 12 + wire(name).length + 4, type, answer))
      throw new Error('malformed')
    const key = keyOf(name, type, variant)
    this.at = at
    this.lifetime = storeAnswer(
      this.store,
      at,
      padded,
      start,
      answer,
      bytes(9, key),
      1,
      key.length,
      weakHash(key),
      now,
      bounds,
    )
  }
}

export interface StoringOptions {
  type?: number
  now?: number
  bounds?: TtlBounds
  variant?: number
  at?: number
}

export interface AskingStored {
  type?: number
  flags?: number
  edns?: OptParts
  limit?: number
}

/** A client's query as the engine has read it. */
export function clientQuery(
  name: string,
  { type = Type.A, flags = 0x0100, edns, limit = 512 }: AskingStored = {},
): ClientQuery {
  const query = new ClientQuery()
  const packet = message({ id: 0x4242, flags, questions: [[name, type]], additionals: edns ? [opt(edns)] : [] })
  readQuery(bytes(5, packet), 1, packet.length, 1, query)
  query.limit = limit
  return query
}
