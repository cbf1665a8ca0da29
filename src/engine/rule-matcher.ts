/**
 * Which rule a query is decided by: the first whose names, types and clients it has. Rules that only log, or are under audit,
 * are noted on the way. Nothing is allocated; where a name has no rule, each of its suffixes costs a probe at most.
 */
import { ScannedName } from '../dns/name.ts'
import { RuleImage } from '../rules/rule-image.ts'
import { Act, type EgressDenial, type Rule, type RuleSet } from '../rules/rule-set.ts'
import { Verdict } from '../rules/entries.ts'
import { isWithinAny } from './access.ts'
import type { ClientQuery } from './client-query.ts'

/** Rules that one query notes on the way; more are not counted. */
const MOST_NOTES = 16
/** By Verdict; the first, of names without a word of their own, is never looked at. */
const ACT_OF_VERDICT: readonly number[] = [
  Act.ZONE,
  Act.NXDOMAIN,
  Act.NODATA,
  Act.ALLOW,
  Act.DROP,
  Act.TCP_ONLY,
  Act.ANSWER,
]

/** Decides on queries, one after the other; what it found is overwritten by the next. */
export class RuleMatcher {
  readonly set: RuleSet
  /** Some rule, or the denial of all else, takes names of the mesh. */
  readonly takesMesh: boolean
  /** The rule that decides, null if none does: then `denial` may. */
  rule: Rule | null = null
  denial: EgressDenial | null = null
  /** What it does (Act), a zone's word included. */
  act: number = Act.ALLOW
  /** Line of the rule's file, 0 where that is not known. */
  line = 0
  /** Labels of the part of the name that the rule names. */
  labels = 0
  /** Where the records of a zone's answer stand in `bytes`; 0: they are the rule's own. */
  dataAt = 0
  /** A rule lets the name have answers of other types: so it exists. */
  existsOtherwise = false
  /** Places of the rules that were noted on the way, `notes` of them, and the lines of their files. */
  readonly noted: Int32Array = new Int32Array(MOST_NOTES)
  readonly notedLines: Int32Array = new Int32Array(MOST_NOTES)
  notes = 0
  /** The name that was decided on. */
  name: ScannedName = new ScannedName()
  readonly #image: RuleImage
  readonly #exceptions: Uint8Array
  /** Places of the rules that look at no names. */
  readonly #nameless: Int32Array

  constructor(set: RuleSet) {
    const { egress, rules } = set
    this.set = set
    this.#image = new RuleImage(set.image)
    this.#exceptions = Uint8Array.from(rules, ({ hasExceptions }) => (hasExceptions ? 1 : 0))
    this.#nameless = Int32Array.from(rules.flatMap(({ hasNames }, place) => (hasNames ? [] : [place])))
    this.takesMesh = rules.some((rule) => rule.takesMesh) || egress?.takesMesh === true
  }

  /** What `dataAt` is an offset in. */
  get bytes(): Uint8Array {
    return this.#image.bytes
  }

  /** Names of all rules. */
  get names(): number {
    return this.#image.names
  }

  /**
   * Decides on a query. `isMesh`: it is for a name of the mesh, which only some rules take; `name`: what stands for the name asked
   * for. True if there is anything to do or to note.
   */
  decide(query: ClientQuery, isMesh: boolean, name: ScannedName = query.name): boolean {
    const { egress, rules } = this.set
    this.name = name
    this.rule = null
    this.denial = null
    this.notes = 0
    this.line = 0
    this.existsOtherwise = false
    this.#image.prepare(name)
    for (let place = this.#next(query, 0, isMesh); place >= 0; place = this.#next(query, place + 1, isMesh)) {
      const rule = rules[place]!
      if (rule.act !== Act.LOG && !rule.isAudit) {
        this.#take(rule)
        return true
      }
      if (this.notes === MOST_NOTES) continue
      this.noted[this.notes] = place
      this.notedLines[this.notes++] = rule.hasNames ? this.#image.line : 0
    }
    if (egress !== null && (!isMesh || egress.takesMesh)) this.denial = egress
    return this.denial !== null || this.notes > 0
  }

  /** True for a name below a search domain, which a resolver has appended as likely as not. */
  isSearched({ name }: ClientQuery): boolean {
    const searchDomains = this.set.egress?.searchDomains ?? []
    for (let k = 0; k < searchDomains.length; k++) {
      const domain = searchDomains[k]!
      const at = name.length - domain.length
      if (at <= 0) continue
      let i = 0
      while (i < domain.length && name.lower[at + i] === domain[i]) i++
      if (i === domain.length) return true
    }
    return false
  }

  #take(rule: Rule): void {
    this.rule = rule
    this.act = rule.act
    this.dataAt = 0
    if (!rule.hasNames) {
      this.labels = 0
      return
    }
    const { dataAt, labels, line, verdict } = this.#image
    this.labels = labels
    this.line = line
    if (verdict === Verdict.RULE) return
    // An action of the rule replaces what the zone says, but for the names that it lets pass.
    if (rule.act !== Act.ZONE && verdict !== Verdict.ALLOW) return
    this.act = ACT_OF_VERDICT[verdict]!
    this.dataAt = dataAt
  }

  /** The first rule from `from` on that the query has, -1 if there is none. The image has its entry if the rule has names. */
  #next(query: ClientQuery, from: number, isMesh: boolean): number {
    const { rules } = this.set
    const image = this.#image
    for (let least = from; ; ) {
      const named = image.find(this.name, least, this.#exceptions) ? image.rule : rules.length
      const place = Math.min(named, this.#nextNameless(least))
      if (place === rules.length) return -1
      const rule = rules[place]!
      if ((!isMesh || rule.takesMesh) && hasClient(rule, query)) {
        if (hasType(rule, query.type)) return place
        this.existsOtherwise ||= !rule.isAudit && rule.act !== Act.LOG && !isDenial(rule.act)
      }
      least = place + 1
    }
  }

  #nextNameless(least: number): number {
    const nameless = this.#nameless
    for (let k = 0; k < nameless.length; k++) if (nameless[k]! >= least) return nameless[k]!
    return this.set.rules.length
  }
}

function isDenial(act: number): boolean {
  return act === Act.NXDOMAIN || act === Act.REFUSE || act === Act.DROP
}

function hasType({ types }: Rule, type: number): boolean {
  for (let k = 0; k < types.length; k++) if (types[k] === type) return true
  return types.length === 0
}

function hasClient({ clients }: Rule, { address, addressAt, addressLength }: ClientQuery): boolean {
  return clients.length === 0 || isWithinAny(clients, address, addressAt, addressLength)
}
