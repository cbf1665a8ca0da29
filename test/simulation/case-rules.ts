/** What is known of the case of names towards servers ("0x20"): how queries may be spelt, and which replies may be believed. */
import type { ParsedMessage } from './message.ts'

/** With so many letters nobody gets small ones alone by chance. */
const MANY_LETTERS = 40

export class CaseRules {
  private isMixing = false
  /** Servers that a reply in another case has come from: they may be asked in small letters. */
  private readonly lost: Set<number> = new Set()

  /** The engine starts anew. */
  reset(): void {
    this.lost.clear()
  }

  configured(isMixing: boolean, servers: readonly number[]): void {
    this.isMixing = isMixing
    for (const server of this.lost) if (!servers.includes(server)) this.lost.delete(server)
  }

  /** Checks the spelling of a query to a server; what is wrong with it, or null. `mayBePlain`: one that nobody waits for. */
  checkQuery(query: ParsedMessage, server: number, isStream: boolean, mayBePlain: boolean): string | null {
    const name = query.question.slice(0, -4)
    const capitals = name.replaceAll(/[^A-Z]/g, '').length
    if (capitals > 0) return this.isMixing && !isStream ? null : 'capitals in a query that needs none'
    if (!this.isMixing || isStream || mayBePlain || this.lost.has(server)) return null
    const letters = name.replaceAll(/[^a-z]/g, '').length
    return letters < MANY_LETTERS ? null : 'a query in small letters to a server that repeats every case'
  }

  /**
   * True if it is not known whether the engine takes a datagram for the server's reply: the query was in small letters, by
   * chance or because nobody looks at the case, and the reply is not.
   */
  isUnsure(query: ParsedMessage, question: string, server: number): boolean {
    if (!this.isMixing || /[A-Z]/.test(query.question.slice(0, -4)) || question === query.question) return false
    this.lost.add(server)
    return true
  }

  /** True if the question of a datagram (as it stands there) shows that it is not the server's reply, or not a good one's. */
  isLost(query: ParsedMessage, question: string, server: number): boolean {
    if (!/[A-Z]/.test(query.question.slice(0, -4)) || question === query.question) return false
    this.lost.add(server)
    return true
  }
}
