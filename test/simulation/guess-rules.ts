/**
 * Guessed replies (RFC 5452 §4): datagrams by the right socket with the right question and a wrong id, or with the right id
 * and another question. After five of them a question goes over TCP, and after fewer not. What is certain to be a guess
 * makes it necessary; what may be one makes it right: a late reply to a question like it too, which the engine cannot tell
 * from a guess.
 */
import type { Sent } from './virtual-network.ts'

const ENOUGH = 5
/** Messages of a question after which one more over TCP can be afforded in any case, as some are kept for other servers. */
const FEW_MESSAGES = 4

/** What a datagram that fits no query may have been aimed at. */
export interface Guess {
  /** Queries of which it has the socket and the question, or the socket and the id. */
  at: readonly Sent[]
  /** It counts as a guess, if one of the queries is under way. */
  isCertain: boolean
}

export class GuessRules {
  /** Datagrams of questions that clients wait for, which are under way for certain unless they have been answered; by question. */
  private readonly open: Map<string, { sent: Sent; socket: number }[]> = new Map()
  /** Guesses at such a question since it began or was asked over TCP. */
  private readonly certain: Map<string, number> = new Map()
  /** Times of what may have been guesses since a question was asked over TCP. */
  private readonly possible: Map<string, number[]> = new Map()
  /** The same, never forgotten: the engine may count it for a question that differs in its flags alone. */
  private readonly seen: Map<string, number[]> = new Map()
  /** The question that must be asked over TCP before the message in hand has been dealt with. */
  private due: string | null = null

  /** All that is under way may have been given up. */
  disturbed(): void {
    this.open.clear()
    this.certain.clear()
  }

  /** A datagram leaves for a question that clients wait for. */
  sent(key: string, sent: Sent, socket: number): void {
    const list = this.open.get(key)?.filter((one) => !one.sent.mayBeSettled) ?? []
    // What was asked before may have ended, although nobody was told: this may be another question like it.
    if (list.length === 0) this.certain.delete(key)
    this.open.set(key, [...list, { sent, socket }])
  }

  /** Nobody waits for the question any more. */
  ended(key: string): void {
    this.open.delete(key)
    this.certain.delete(key)
  }

  socketFailed(socket: number): void {
    for (const [key, list] of this.open)
      this.open.set(
        key,
        list.filter((one) => one.socket !== socket),
      )
  }

  /** A datagram has come. `messages`: how many have gone out for a question within its time. */
  arrived({ at, isCertain }: Guess, messages: (sent: Sent) => number, now: number): void {
    this.due = null
    for (const key of new Set(at.flatMap(({ keys }) => keys)))
      for (const times of [this.possible, this.seen]) times.set(key, [...(times.get(key) ?? []), now])
    const [first] = at
    // Without an OPT, or with flags of another question like it, it is not clear which of them is aimed at.
    const key = first?.keys.length === 1 ? first.keys[0]! : ''
    if (first === undefined || !isCertain || at.some(({ keys }) => keys.length > 1 || keys[0] !== key)) return
    const list = this.open.get(key) ?? []
    if (!list.some(({ sent }) => at.includes(sent)) || list.some(({ sent }) => sent.mayBeSettled)) return
    const count = (this.certain.get(key) ?? 0) + 1
    this.certain.set(key, count)
    if (count >= ENOUGH && messages(first) <= FEW_MESSAGES) this.due = key
  }

  /** Questions like these are asked over TCP. `isBecauseOfGuess`: because of the datagram in hand. What is wrong, or null. */
  turnedToStream(keys: readonly string[], isBecauseOfGuess: boolean, since: number): string | null {
    if (this.due !== null && keys.includes(this.due)) this.due = null
    const counts = keys.map((key) => {
      const others = [...this.seen.keys()].filter(
        (other) => !keys.includes(other) && withoutFlags(other) === withoutFlags(key),
      )
      const times = [...(this.possible.get(key) ?? []), ...others.flatMap((other) => this.seen.get(other)!)]
      return times.filter((at) => at >= since).length
    })
    for (const key of keys) this.certain.delete(key)
    if (keys.length === 1 && isBecauseOfGuess) this.possible.delete(keys[0]!)
    const most = Math.max(...counts)
    return isBecauseOfGuess && most < ENOUGH ? `over TCP after ${most} guesses at a reply` : null
  }

  /** The message has been dealt with; what is wrong, or null. */
  check(): string | null {
    const { due } = this
    this.due = null
    return due === null ? null : `not over TCP after ${ENOUGH} guesses at the reply to ${JSON.stringify(due)}`
  }
}

function withoutFlags(key: string): string {
  return key.slice(0, key.lastIndexOf('|'))
}
