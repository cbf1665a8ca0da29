/** What is told of the rules that queries match: each match counts, and a few a second are told of one by one. */
import { nameToText } from '../dns/name.ts'
import type { WorkerCounters } from '../stats/counters.ts'
import { Act } from '../rules/rule-set.ts'
import type { ClientQuery } from './client-query.ts'
import { HEADER_BYTES, Rcode } from '../dns/constants.ts'
import type { RuleMatcher } from './rule-matcher.ts'

/** Matches of one worker that are told of in a second. */
const TOLD_A_SECOND = 20
const SECOND_MS = 1000

/** A match to be logged. Plain data, which is posted from a worker to the control thread. */
export interface RuleMatch {
  /** The rule's label; null: no rule allows the name (`egress`). */
  rule: string | null
  /** The rule only logs; else it is, or the denial is, under audit. */
  isLog: boolean
  /** What is, or would be, done: an Act. */
  act: number
  name: string
  type: number
  /** 4 or 16 bytes. */
  client: Uint8Array
  /** Matches that were counted and not told of since the last one that was. */
  untold: number
}

/** Counts matches, and tells of those that somebody is to see. */
export class RuleReports {
  readonly #counters: WorkerCounters
  readonly #tell: ((match: RuleMatch) => void) | undefined
  #secondEnd = Number.NEGATIVE_INFINITY
  #left = TOLD_A_SECOND
  #untold = 0

  constructor(counters: WorkerCounters, tell: ((match: RuleMatch) => void) | undefined) {
    this.#counters = counters
    this.#tell = tell
  }

  /** A client's query has been decided by `matcher`. */
  matched(matcher: RuleMatcher, query: ClientQuery, now: number): void {
    const { denial, noted, notes, rule, set } = matcher
    for (let k = 0; k < notes; k++) {
      const each = set.rules[noted[k]!]!
      this.#counters.ruleMatch(each.counter)
      this.#report(each.label, each.act === Act.LOG, each.act, query, now)
    }
    if (rule !== null) this.#counters.ruleMatch(rule.counter)
    if (denial === null) return
    this.#counters.ruleMatch(denial.counter)
    if (!denial.isAudit) return
    // Nearly all of these do not exist anyway: that shows when there is an answer.
    if (matcher.isSearched(query)) query.isWatched = true
    else this.#report(null, false, denial.isNodata ? Act.NODATA : Act.NXDOMAIN, query, now)
  }

  /** A watched query has an answer: one that would be denied exists. */
  answered(query: ClientQuery, rcode: number, now: number): void {
    if (rcode === Rcode.NOERROR) this.#report(null, false, Act.NXDOMAIN, query, now)
  }

  #report(rule: string | null, isLog: boolean, act: number, query: ClientQuery, now: number): void {
    if (this.#tell === undefined) return
    if (now >= this.#secondEnd) {
      this.#secondEnd = now + SECOND_MS
      this.#left = TOLD_A_SECOND
    }
    if (this.#left === 0) {
      this.#untold++
      return
    }
    this.#left--
    const { address, addressAt, addressLength, original, packet, type } = query
    // As the client asked it.
    const name = nameToText(original ?? packet, (original === null ? query.at : 0) + HEADER_BYTES)
    const client = address.slice(addressAt, addressAt + addressLength)
    this.#tell({ rule, isLog, act, name, type, client, untold: this.#untold })
    this.#untold = 0
  }
}
