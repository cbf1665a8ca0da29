/** Which counter in shared memory counts which rule: the same one as long as a rule keeps its label and its action. */
import { MAX_RULE_COUNTERS, type WorkerCounters } from '../stats/counters.ts'

/** How often a rule was matched. */
export interface RuleMatches {
  rule: string
  action: string
  matches: number
}

interface Use {
  rule: string
  action: string
  /** What the counter had counted for another rule before. */
  before: number
  isInUse: boolean
}

/** Gives places to rules. */
export class RuleCounters {
  readonly #uses: Use[] = []
  readonly #counters: () => readonly WorkerCounters[]

  /** `counters`: of all data workers. */
  constructor(counters: () => readonly WorkerCounters[]) {
    this.#counters = counters
  }

  /** The rules of another configuration follow: places of those that do not come again may be given to others. */
  begin(): void {
    for (const use of this.#uses) use.isInUse = false
  }

  /** The place of a rule's counter. There are more places than rules. */
  placeOf(rule: string, action: string): number {
    const known = this.#uses.findIndex((use) => use.rule === rule && use.action === action)
    if (known >= 0) {
      this.#uses[known]!.isInUse = true
      return known
    }
    // Counters of rules that are gone are kept as long as there is room: they may come back.
    const place =
      this.#uses.length < MAX_RULE_COUNTERS ? this.#uses.length : this.#uses.findIndex(({ isInUse }) => !isInUse)
    this.#uses[place] = { rule, action, before: this.#sum(place), isInUse: true }
    return place
  }

  /** Of the rules in use, in the order in which they came. */
  get matches(): RuleMatches[] {
    return this.#uses.flatMap(({ rule, action, before, isInUse }, place) =>
      isInUse ? [{ rule, action, matches: this.#sum(place) - before }] : [],
    )
  }

  #sum(place: number): number {
    return this.#counters().reduce((sum, counters) => sum + counters.ruleMatchesOf(place), 0)
  }
}
