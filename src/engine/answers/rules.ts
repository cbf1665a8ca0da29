/**
 * What rules say of a query. For a name of the mesh that is looked at before the table, and only those rules count that take
 * names of the mesh; for all others behind the hosts file, before the cache.
 *
 * ```
 *  mesh name:    rules that take mesh names ─→ table ─→ …
 *  other names:  special names ─→ hosts file ─→ rules ─→ cache ─→ servers
 * ```
 * A rule may also change the question (rewriting.ts), or the servers and TTLs of its answer (`ClientQuery.classBits`): then the
 * query goes on.
 */
import { MAX_NAME, nameToText, ScannedName, scanName } from '../../dns/name.ts'
import { Ede, Rcode } from '../../dns/constants.ts'
import { copyBytes } from '../../dns/reply.ts'
import { Source } from '../../stats/counters.ts'
import { Act, ACTIONS, type Rule } from '../../rules/rule-set.ts'
import { CLASS_SHIFT, type ClientQuery } from '../client-query.ts'
import { Rewriter } from '../rewriting.ts'
import { writeEmptyReply } from '../reply-opt.ts'
import type { RuleMatcher } from '../rule-matcher.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'
import type { MeshStage } from './mesh-answers.ts'
import { aliasIn, ttlOf, writeRuleDenial, writeRuleRecords, writeTcpOnly } from './rule-replies.ts'

const TCP = 1
/** Length of the reply to a query that gets none. */
export const NO_REPLY = 0
const ASTERISK = 0x2a

/** One of the two places where rules are looked at. */
export class RulesStage implements AnswerStage {
  readonly name: string
  readonly source: Source = Source.local
  readonly matcher: RuleMatcher
  readonly #context: AnswerContext
  readonly #mesh: MeshStage
  readonly #isBeforeMesh: boolean
  readonly #rewriter: Rewriter = new Rewriter()
  /** A name of the mesh without the search domain. */
  readonly #bare: ScannedName = new ScannedName()
  readonly #bareBytes: Uint8Array = new Uint8Array(MAX_NAME + 1)
  /** Of the query asked last: something was decided or noted here. */
  hasMatched = false
  /** The name is one of the mesh. */
  #isMesh = false
  /** Such names have been looked at, and noted, before the table. */
  #hasBeenSeen = false

  constructor(context: AnswerContext, mesh: MeshStage, matcher: RuleMatcher, isBeforeMesh: boolean) {
    this.name = isBeforeMesh ? 'rules for mesh names' : 'rules'
    this.#context = context
    this.#mesh = mesh
    this.matcher = matcher
    this.#isBeforeMesh = isBeforeMesh
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { matcher } = this
    this.hasMatched = false
    // A rewritten question has had its rule, and one with an answer class as well.
    if (query.original !== null || query.classBits !== 0) return PASS
    if (this.#isBeforeMesh) {
      this.#isMesh = this.#mesh.has(query)
      if (!this.#isMesh) return PASS
      this.hasMatched = this.#decideOnMesh(query)
    } else {
      if (!matcher.decide(query, false)) return PASS
      // Types that the table has nothing of come here, too: MX, say.
      this.#isMesh = this.#mesh.has(query)
      this.#hasBeenSeen = this.#isMesh && matcher.takesMesh
      this.hasMatched = !this.#isMesh || this.#decideOnMesh(query)
    }
    if (!this.hasMatched) return PASS
    const length = matcher.rule === null ? this.#deny(query, out, outAt) : this.#act(query, out, outAt)
    if (this.#hasBeenSeen && !this.#isBeforeMesh) this.hasMatched = false
    return length
  }

  /**
   * For a name of the mesh. Resolvers ask for one with a search domain first, and the table answers that: so a rule for the name
   * without it counts as well, if none is for the whole.
   */
  #decideOnMesh(query: ClientQuery): boolean {
    const { matcher } = this
    const image = this.#context.image!
    const { labelAt, lower } = query.name
    const bareBytes = image.expanded ? labelAt[image.prefixLabels]! : 0
    const hasMatched = matcher.decide(query, true)
    if (bareBytes === 0 || matcher.rule !== null) return hasMatched
    const bare = this.#bare
    copyBytes(lower, 0, bareBytes, this.#bareBytes, 0)
    this.#bareBytes[bareBytes] = 0
    scanName(this.#bareBytes, 0, bareBytes + 1, this.#context.seed, bare)
    return matcher.decide(query, true, bare)
  }

  finding(query: ClientQuery): string {
    const { denial, noted, notedLines, notes, rule, set } = this.matcher
    if (query.original !== null && !this.hasMatched) return 'not looked at again: a rule has rewritten the question'
    if (this.#isBeforeMesh && !this.#isMesh) return 'not a name of the mesh'
    const steps = Array.from({ length: notes }, (_, k) => {
      const each = set.rules[noted[k]!]!
      return `${each.label} (${placeOf(each, notedLines[k]!)}): ${each.isAudit ? auditText(each.act) : 'logged'}`
    })
    if (rule !== null) steps.push(this.#ruleText(query))
    else if (denial !== null && denial.awaitsTable && this.#context.image === null && !denial.isAudit) {
      steps.push('no rule allows it, but it may be a name of the mesh, and there is no table yet')
    } else if (denial !== null) steps.push(denialText(denial.isAudit, this.#deniesTypeAlone(query, denial)))
    if (steps.length > 0) return steps.join('; ')
    const which = this.#isBeforeMesh || this.#isMesh ? 'no rule that takes mesh names' : 'no rule'
    return `${which} of ${set.rules.length} has the name, type and client (${this.matcher.names} names)`
  }

  #ruleText(query: ClientQuery): string {
    const { act, labels, line, name, rule } = this.matcher
    const { hasNames, label } = rule!
    const { lower, labelAt, labels: all } = query.original === null ? name : query.name
    const isPart = query.original === null && labels < all && hasNames
    const part = isPart ? `, by ${nameToText(lower, labelAt[all - labels])}` : ''
    const to = query.original === null ? '' : ` to ${nameToText(lower)}`
    return `${label} (${placeOf(rule!, line)}${part}): ${ACTIONS[act]}${to}`
  }

  #deny(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { denial } = this.matcher
    if (denial === null || denial.isAudit) return PASS
    if (this.#context.image === null && denial.awaitsTable) return this.#putOff(query, out, outAt)
    const rcode = this.#deniesTypeAlone(query, denial) ? Rcode.NOERROR : Rcode.NXDOMAIN
    return writeRuleDenial(query, rcode, denial.ttlSeconds, denial.ede, denial.note, out, outAt)
  }

  /** NXDOMAIN of one type would deny the others, which a rule allows; and the root exists. */
  #deniesTypeAlone(query: ClientQuery, { isNodata }: { isNodata: boolean }): boolean {
    if (this.matcher.existsOtherwise || query.name.labels === 0) return true
    return isNodata && !this.matcher.isSearched(query)
  }

  /**
   * Before the first table the name may be one of the mesh, which must not be denied: clients would keep that. Below search
   * domains servers know what there is, and resolvers need an answer to go on to the next name.
   */
  #putOff(query: ClientQuery, out: Uint8Array, outAt: number): number {
    return this.matcher.isSearched(query) ? PASS : writeEmptyReply(query, Rcode.SERVFAIL, Ede.NOT_READY, out, outAt)
  }

  #act(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { act } = this.matcher
    const { answerClass, ede, note, ttlSeconds } = this.matcher.rule!
    switch (act) {
      case Act.NXDOMAIN:
      case Act.NODATA:
        return writeRuleDenial(
          query,
          act === Act.NODATA ? Rcode.NOERROR : Rcode.NXDOMAIN,
          ttlSeconds,
          ede,
          note,
          out,
          outAt,
        )
      case Act.REFUSE:
        return writeRuleDenial(query, Rcode.REFUSED, 0, ede, note, out, outAt)
      case Act.DROP:
        // A stream has an answer to each query, or its client waits for all that follow.
        return query.proto === TCP ? writeRuleDenial(query, Rcode.REFUSED, 0, ede, note, out, outAt) : NO_REPLY
      case Act.TCP_ONLY:
        return query.proto === TCP ? PASS : writeTcpOnly(query, out, outAt)
      case Act.ANSWER:
        return this.#giveRecords(query, out, outAt)
      case Act.REWRITE:
        return this.#rewrite(query, out, outAt)
      case Act.ROUTE:
      case Act.TTL:
        query.classBits = answerClass << CLASS_SHIFT
        return PASS
      default:
        return PASS
    }
  }

  #giveRecords(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { matcher } = this
    const { records, ttlSeconds } = matcher.rule!
    const bytes = matcher.dataAt > 0 ? matcher.bytes : records
    const aliasAt = aliasIn(bytes, matcher.dataAt, query.type)
    if (aliasAt < 0) {
      return writeRuleRecords(query, bytes, matcher.dataAt, ttlSeconds, this.#context.random(), out, outAt)
    }
    // `*.target` of a zone: the whole name is put before it.
    const isBelow = bytes[aliasAt] === 1 && bytes[aliasAt + 1] === ASTERISK
    const kept = isBelow ? matcher.name.labels : 0
    const at = isBelow ? aliasAt + 2 : aliasAt
    return this.#leadTo(query, kept, bytes, at, ttlOf(bytes, matcher.dataAt), out, outAt)
  }

  #rewrite(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const { labels, rule } = this.matcher
    const { keepsLabels, target } = rule!
    const kept = keepsLabels ? this.matcher.name.labels - labels : 0
    return this.#leadTo(query, kept, target, 0, -1, out, outAt)
  }

  #leadTo(
    query: ClientQuery,
    kept: number,
    target: Uint8Array,
    targetAt: number,
    aliasTtl: number,
    out: Uint8Array,
    outAt: number,
  ): number {
    const { seed } = this.#context
    const { ede, note, ttlSeconds } = this.matcher.rule!
    const result = this.#rewriter.rewrite(query, kept, target, targetAt, aliasTtl, seed)
    // There can be no name of over 255 bytes.
    return result === 'too long' ? writeRuleDenial(query, Rcode.NXDOMAIN, ttlSeconds, ede, note, out, outAt) : PASS
  }
}

function placeOf({ file, matches }: Rule, line: number): string {
  return line > 0 && file !== '' ? `${file} line ${line}` : matches
}

/** What a rule under audit would do. */
function auditText(act: number): string {
  switch (act) {
    case Act.NXDOMAIN:
    case Act.NODATA:
      return `would be denied with ${ACTIONS[act]!.toUpperCase()} (audit)`
    case Act.REFUSE:
      return 'would be refused (audit)'
    case Act.DROP:
      return 'would be dropped (audit)'
    default:
      return `would get ${ACTIONS[act]} (audit)`
  }
}

function denialText(isAudit: boolean, isNodata: boolean): string {
  const how = isNodata ? 'NODATA' : 'NXDOMAIN'
  return isAudit
    ? `no rule allows it: it would be denied with ${how} (egress.audit)`
    : `no rule allows it: it is denied with ${how} (egress.default)`
}
