/** Queries of one client that wait for replies in any order, by id. */
import { Asked } from './asked.ts'
import type { ReplyCheck } from './reply-check.ts'

export class PendingQueries {
  readonly #byId: Map<number, Asked[]> = new Map()
  readonly #free: Asked[] = []
  readonly #check: ReplyCheck
  size = 0

  constructor(check: ReplyCheck) {
    this.#check = check
  }

  /** Notes a query (`isCut`: only its header will be read); false if it is none, so that no reply may come. */
  add(
    bytes: Uint8Array,
    at: number,
    length: number,
    isTcp: boolean,
    isCut: boolean,
    advertise: number,
    now: number,
  ): boolean {
    if (length < 12 || (bytes[at + 2]! & 0x80) !== 0) return false
    const asked = this.#free.pop() ?? new Asked()
    asked.read(bytes, at, isCut ? 12 : length, isTcp, advertise)
    asked.isCut = isCut
    asked.askedAt = now
    const same = this.#byId.get(asked.id)
    if (same === undefined) this.#byId.set(asked.id, [asked])
    else same.push(asked)
    this.size++
    return true
  }

  /** Takes the query that the reply answers; null, or why it answers none. */
  answer(bytes: Uint8Array, at: number, length: number): string | null {
    const id = (bytes[at]! << 8) | bytes[at + 1]!
    const same = this.#byId.get(id)
    if (same === undefined) return `a reply with id ${id}, which waits for none`
    let fault: string | null = null
    for (let k = 0; k < same.length; k++) {
      fault = this.#check.check(same[k]!, bytes, at, length)
      if (fault !== null) continue
      this.#free.push(same[k]!)
      if (same.length === 1) this.#byId.delete(id)
      else same.splice(k, 1)
      this.size--
      return null
    }
    return `${fault}; the reply: ${Buffer.from(bytes.subarray(at, at + Math.min(600, length))).toString('hex')}`
  }

  /** How many wait, and for what one of them does. */
  get text(): string {
    for (const [asked] of this.#byId.values()) {
      const { id, flags, askedAt, question, questionLength } = asked!
      const hex = Buffer.from(question.subarray(0, questionLength)).toString('hex')
      return `${this.size} wait, one since ${askedAt} ms, id ${id}, flags ${flags.toString(16)}, question ${hex}`
    }
    return '0 wait'
  }

  /** Gives up all that wait; returns how many. */
  clear(): number {
    const { size } = this
    for (const same of this.#byId.values()) this.#free.push(...same)
    this.#byId.clear()
    this.size = 0
    return size
  }
}
