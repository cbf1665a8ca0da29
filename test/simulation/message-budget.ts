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
  /** When messages were sent, or would have been if there had been a way; and when one went out last. */
  triedAt: number[]
  sentAt: number
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
    const shared = this.account(plain)
    shared.left = Math.min(shared.left + MOST, 2 * MOST)
    for (const account of [own, shared])
      if (account.triedAt.length > 0) account.triedAt = account.triedAt.filter((at) => now - at < LONGEST_MS)
  }

  /** Takes a message from an account; false if that is empty. `isSent`: it went out. */
  take(key: string, isSent: boolean, now: number): boolean {
    const account = this.account(key)
    if (account.left === 0) return false
    account.left--
    account.triedAt.push(now)
    if (isSent) account.sentAt = now
    return true
  }

  /** True if so much has been sent for a question since then that nobody can be asked any more. */
  isSpent(key: string, plain: string, since: number): boolean {
    return this.triedAt(key, plain).filter((at) => at >= since).length >= MOST_BUT_PROBE
  }

  /** When somebody tried lately to send a message for a question, or for one that cannot be told from it. */
  triedAt(key: string, plain: string): number[] {
    return [...this.account(key).triedAt, ...this.account(plain).triedAt]
  }

  /** When a message went out last. */
  sentAt(key: string, plain: string): number {
    return Math.max(this.account(key).sentAt, this.account(plain).sentAt)
  }

  private account(key: string): Account {
    let account = this.accounts.get(key)
    if (account === undefined) {
      account = { left: 0, triedAt: [], sentAt: Number.NEGATIVE_INFINITY }
      this.accounts.set(key, account)
    }
    return account
  }
}
