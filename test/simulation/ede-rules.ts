/**
 * Extended errors (RFC 8914) that servers give: an answer keeps its own, and a failure has the last that a server
 * explained one with. Only where none did it has one of ours.
 */
import type { ParsedMessage } from './message.ts'
import type { Context } from './pending.ts'
import type { Asked } from './queries.ts'
import { checkEde, Ede, edeOf } from './reply-check.ts'
import type { Verdict } from './virtual-network.ts'

/** Longer than any question is open. */
const LONGEST_MS = 10_000
/** What servers say that do not understand an OPT: they are asked once more, and then for another reason. */
const ABOUT_EDNS: ReadonlySet<number> = new Set([1, 4])
const BADVERS = 16

export class EdeRules {
  /** What servers gave with failures, by question. */
  private readonly given: Map<string, { at: number; code: number }[]> = new Map()

  failed(verdict: Verdict, now: number): void {
    if (verdict.kind !== 'failure' || verdict.said === null || verdict.sent === null) return
    const code = edeOf(verdict.said)
    if (code === Ede.NONE) return
    for (const key of verdict.sent.keys) this.given.set(key, [...this.lately(key, now), { at: now, code }])
  }

  /** Checks what a failure is explained with, which the engine gave out when it was told of `context`. */
  checkFailure(asked: Asked, key: string, reply: ParsedMessage, context: Context, now: number): string | null {
    const said = this.saidNow(key, context)
    if (said !== null && edeOf(said) !== Ede.NONE && !isAboutEdns(said)) return checkEde(asked, reply, edeOf(said))
    const codes = this.lately(key, now).map(({ code }) => code)
    // A server has answered: the network is there, but for those who have to ask once more without an OPT.
    if (said === null || isAboutEdns(said)) codes.push(Ede.NETWORK_ERROR)
    return checkEde(asked, reply, Ede.NO_REACHABLE_AUTHORITY, ...codes)
  }

  /** The failure that a server has just answered the question with. */
  private saidNow(key: string, context: Context): ParsedMessage | null {
    if (context.kind !== 'message' || context.verdict.kind !== 'failure') return null
    const { said, sent } = context.verdict
    return sent?.keys.includes(key) === true ? said : null
  }

  private lately(key: string, now: number): { at: number; code: number }[] {
    return (this.given.get(key) ?? []).filter(({ at }) => now - at < LONGEST_MS)
  }
}

/** The four bits of the header alone say that a query was not understood, whatever an OPT adds to them. */
function isAboutEdns({ rcode }: ParsedMessage): boolean {
  return ABOUT_EDNS.has(rcode & 15) || rcode === BADVERS
}
