/** What may be said of a reply, by what was expected of its query. Of answers of servers `AnswerRules` knows more. */
import type { AnswerRules } from './answer-rules.ts'
import type { Ledger } from './counter-rules.ts'
import type { ParsedMessage } from './message.ts'
import type { AnswerMoment, Pending } from './pending.ts'
import { checkEde, checkLocal, checkTold, Ede, isTruncated } from './reply-check.ts'
import type { RoomRules } from './room-rules.ts'

const SERVFAIL = 2
const REFUSED = 5

export class ReplyRules {
  room!: RoomRules
  private readonly answers: AnswerRules
  private readonly ledger: Ledger
  private readonly see: (what: string) => void

  constructor(answers: AnswerRules, ledger: Ledger, see: (what: string) => void) {
    this.answers = answers
    this.ledger = ledger
    this.see = see
  }

  /** Why this may not be the reply to a query, null if it may; `moment`: that of the answer. */
  check(pending: Pending, reply: ParsedMessage, moment: AnswerMoment, now: number): string | null {
    const { asked, expectation, limits } = pending
    switch (expectation.kind) {
      case 'limited':
        // Whoever shows a server cookie of ours is told.
        if (asked.isPerhapsProven !== true || reply.rcode !== REFUSED) return 'a reply to what deserves none'
        this.ledger.limited--
        this.ledger.limitedTold++
        return checkEde(asked, reply, Ede.PROHIBITED, Ede.NONE)
      case 'drop':
      case 'ruled out':
      case 'dropped by a plug-in':
        return 'a reply to what deserves none'
      case 'tcp only':
        this.see('TCP alone')
        if (reply.rcode !== 0 || !isTruncated(reply)) return 'an answer over UDP, which a rule keeps for TCP'
        return reply.sections.some((section) => section.length > 0) ? 'records beside TC' : null
      case 'error': {
        const { rcode } = reply
        if (!expectation.rcodes.includes(rcode)) return `rcode ${rcode} instead of ${expectation.rcodes.join(' or ')}`
        this.see(`error ${rcode}`)
        if (reply.sections.some((section) => section.length > 0)) return 'an error with records'
        if (expectation.told !== undefined) return checkTold(asked, reply, expectation.told, limits)
        if (expectation.loop >= 0) return checkEde(asked, reply, Ede.OTHER)
        if (rcode === REFUSED) return checkEde(asked, reply, Ede.PROHIBITED, Ede.NONE)
        return checkEde(asked, reply, rcode === SERVFAIL ? Ede.NOT_READY : Ede.NONE)
      }
      case 'local': {
        this.see(expectation.from)
        // Which records there was room for depends on the other name.
        if (asked.isRewritten === true && isTruncated(reply)) return null
        const codes = expectation.from === 'aaaa' ? [Ede.SYNTHESIZED, Ede.NONE] : [Ede.NONE]
        const wrong = checkLocal(expectation, reply, limits)
        if (wrong !== null || expectation.told === undefined) return wrong ?? checkEde(asked, reply, ...codes)
        return checkTold(asked, reply, expectation.told, limits)
      }
      default: {
        if (pending.isHeld) return this.answers.checkLater(pending, reply, moment)
        if (reply.rcode !== SERVFAIL || !this.room.isRefused) return this.answers.checkImmediate(pending, reply, now)
        this.see('full')
        this.answers.calmSince = now
        return this.room.check(pending, now) ?? checkEde(asked, reply, Ede.OTHER)
      }
    }
  }
}
