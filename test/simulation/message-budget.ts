/**
 * How many messages to servers a question of a client may cause: eight, and a probe of a server that is down. Questions
 * that are asked while an equal one waits cause none of their own.
 */
import { keyOf } from './reference-resolver.ts'

const MOST = 9
const MOST_BUT_PROBE = 8
/** Longer than any question is open. */
const LONGEST_MS = 10_000

/** Account of messages without OPT. */
export function plainOf(name: string, type: number, flags: number): string {
  return `${keyOf(name, type, false, flags)} plain`
}

interface Account {
  left: number
  /** When messages were sent. */
  sentAt: number[]
}

export class MessageBudget {
  private readonly accounts: Map<string, Account> = new Map()

  /**
   * A client asks, and nobody waits for the same. `plain`: the account of queries without OPT, which do not tell
   * questions with DO from those without.
   */
  asked(key: string, plain: string, now: number): void {
    const own = this.account(key)
    own.left = MOST
    own.sentAt.length = 0
    const shared = this.account(plain)
    shared.left = Math.min(shared.left + MOST, 2 * MOST)
    if (shared.sentAt.length > 0) shared.sentAt = shared.sentAt.filter((at) => now - at < LONGEST_MS)
  }

  /** Takes a message from an account; false if that is empty. */
  take(key: string, now: number): boolean {
    const account = this.account(key)
    if (account.left === 0) return false
    account.left--
    account.sentAt.push(now)
    return true
  }

  /** True if so much has been sent for a question that nobody can be asked any more. */
  isSpent(key: string, plain: string): boolean {
    return this.account(key).sentAt.length + this.account(plain).sentAt.length >= MOST_BUT_PROBE
  }

  private account(key: string): Account {
    let account = this.accounts.get(key)
    if (account === undefined) {
      account = { left: 0, sentAt: [] }
      this.accounts.set(key, account)
    }
    return account
  }
}
