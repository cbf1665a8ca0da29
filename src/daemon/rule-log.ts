/**
 * The log of rules that only log, and of what rules and egress.default would do under audit. A name is logged once, and again
 * after an hour; the last names are kept for people. Both are bounded, as are the lines: equal ones are folded (log-folding.ts).
 */
import { addressText } from '../dns/address.ts'
import type { RuleMatch } from '../engine/rule-reports.ts'
import type { Log } from '../observe/log.ts'
import { typeName } from '../rules/record-text.ts'
import { ACTIONS } from '../rules/rule-set.ts'
import type { MatchedName } from '../observe/sources.ts'
import { EGRESS_LABEL } from './rule-set.ts'

const MOST_NAMES = 500
const AGAIN_AFTER_MS = 3_600_000

/** Logs matches, and keeps the last names. */
export class RuleLog {
  readonly #log: Pick<Log, 'info'>
  readonly #now: () => number
  /** By rule, name and type, that matched last comes last. */
  readonly #names: Map<string, { shown: MatchedName; loggedAtMs: number }> = new Map()

  /** `now`: Unix time in ms. */
  constructor(log: Pick<Log, 'info'>, now: () => number = Date.now) {
    this.#log = log
    this.#now = now
  }

  /** A data worker has told of a match. */
  matched(match: RuleMatch): void {
    const { act, isLog, untold } = match
    const rule = match.rule ?? EGRESS_LABEL
    const name = match.name
    const type = typeName(match.type)
    const key = `${rule} ${name} ${type}`
    const now = this.#now()
    const known = this.#names.get(key)
    this.#names.delete(key)
    const what = isLog ? 'logged' : `would be ${pastOf(ACTIONS[act]!)}`
    const isDue = known === undefined || now - known.loggedAtMs >= AGAIN_AFTER_MS
    const client = addressText(match.client)
    const times = (known?.shown.times ?? 0) + 1
    const shown = { rule, what, name, type, client, times, at: new Date(now).toISOString() }
    this.#names.set(key, { shown, loggedAtMs: isDue ? now : known.loggedAtMs })
    if (this.#names.size > MOST_NAMES) this.#names.delete(this.#names.keys().next().value!)
    if (!isDue) return
    const fields = { rule, name, type, client, ...(untold > 0 && { untold }) }
    if (isLog) this.#log.info(fields, `rule ${rule} logs a query`)
    else if (match.rule === null) this.#log.info(fields, `no rule allows this name: it ${what} (egress.audit)`)
    else this.#log.info(fields, `rule ${rule}: this query ${what} (audit)`)
  }

  /** The names that were matched last, the newest first. */
  get recent(): MatchedName[] {
    return [...this.#names.values()].toReversed().map(({ shown }) => shown)
  }
}

function pastOf(action: string): string {
  switch (action) {
    case 'nxdomain':
    case 'nodata':
      return `denied (${action})`
    case 'refuse':
      return 'refused'
    case 'drop':
      return 'dropped'
    case 'rewrite':
      return 'rewritten'
    default:
      return `handled by ${action}`
  }
}
