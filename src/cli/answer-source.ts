/**
 * Where an answer came from. A reply does not say so, and must not: but the daemon counts its answers by source, and
 * failures of its upstream servers by reason. What it counted while the question was asked tells. Which server an answer is
 * from, and since when it is known, is what the cache and the table tell afterwards (answer-origin.ts).
 */
import { networkInterfaces } from 'node:os'
import type { StatusReport } from '../observe/status.ts'
import { adminAddress, getJson } from './admin-client.ts'
import type { CommandArguments } from './arguments.ts'
import type { CommandContext } from './command.ts'
import type { ExchangeServer } from './dns-exchange.ts'

/** What of the status tells. */
type Counts = Pick<StatusReport, 'responses' | 'upstreams' | 'listeners'> & Partial<Pick<StatusReport, 'rules'>>

/** A reply, as far as it tells. */
export interface ReplyFacts {
  /** Asked for. */
  name: string
  /** As people write it. */
  type: string
  rcode: string
  /** Of its flags: authoritative, as mesh names and names of the hosts file are. */
  isAuthoritative: boolean
  /** Codes of its extended errors (RFC 8914). */
  extendedErrors: ReadonlySet<number>
}

/** Counts before and after, or why there are none, in one line. */
export type Evidence = { before: Counts; after: Counts } | { missing: string }

/** Watches what the daemon that is asked counts. */
export class AnswerWitness {
  readonly #read: () => Promise<Counts>
  readonly #before: Counts | null
  readonly #missing: string

  private constructor(read: () => Promise<Counts>, before: Counts | null, missing: string) {
    this.#read = read
    this.#before = before
    this.#missing = missing
  }

  /** Notes the counts of now, if the admin endpoint is that of a byname that listens on `server`. Never rejects for what it does not find. */
  static async begin(server: ExchangeServer, given: CommandArguments, context: CommandContext): Promise<AnswerWitness> {
    const read = async (): Promise<Counts> => await getJson<Counts>('/debug/status', given, context)
    const { text } = adminAddress(given, context)
    try {
      const before = await read()
      if (listensOn(before, server)) return new AnswerWitness(read, before, '')
      return new AnswerWitness(read, null, `${server.text} is no listener of the byname at ${text}`)
    } catch (error) {
      return new AnswerWitness(read, null, error instanceof Error ? error.message : String(error))
    }
  }

  /** What was counted since. */
  async end(): Promise<Evidence> {
    if (this.#before === null) return { missing: this.#missing }
    try {
      return { before: this.#before, after: await this.#read() }
    } catch (error) {
      return { missing: error instanceof Error ? error.message : String(error) }
    }
  }
}

function listensOn({ listeners }: Counts, server: ExchangeServer): boolean {
  const isOwn = (): boolean =>
    /^(?:127\.|::1$)/.test(server.address) ||
    Object.values(networkInterfaces()).some((infos) => infos?.some(({ address }) => address === server.address))
  return listeners.some(
    ({ address, port }) =>
      port === server.port && (address === server.address || ((address === '0.0.0.0' || address === '::') && isOwn())),
  )
}

/** Names that byname answers by itself. */
const SPECIAL = /(?:^|\.)(?:localhost|invalid|onion|resolver\.arpa)\.?$/i

/** Where an answer came from. */
export interface AnswerSource {
  /** In a few words. */
  text: string
  /** Why that is not certain; null where it is. */
  doubt: string | null
  /** `mesh`, `cache`, `stale`, `upstream` or `local`, where it is certain; else null. */
  source: string | null
}

/** Where the answer came from. */
export function answerSource(reply: ReplyFacts, evidence: Evidence): AnswerSource {
  if ('missing' in evidence)
    return { text: byReply(reply), doubt: `told by the reply alone: ${evidence.missing}`, source: null }
  const { before, after } = evidence
  const sources = Object.keys(after.responses).filter(
    (source) =>
      after.responses[source]! > (before.responses[source] ?? 0) &&
      (isPossible(source, reply) || (source === 'local' && hasRule(evidence))),
  )
  const texts = sources.map((source) => sourceText(source, reply, evidence))
  if (texts.length === 1) return { text: texts[0]!, doubt: null, source: sources[0]! }
  if (texts.length === 0)
    return { text: byReply(reply), doubt: 'told by the reply alone: byname counted no answer', source: null }
  return { text: texts.join(', or '), doubt: 'other clients were answered at the same time', source: null }
}

/** Leaves out what others must have been answered from. */
function isPossible(source: string, { isAuthoritative, extendedErrors, name, type, rcode }: ReplyFacts): boolean {
  const isStale = extendedErrors.has(3) || extendedErrors.has(19)
  if (source === 'mesh') return isAuthoritative
  if (source === 'stale') return isStale
  if (source === 'local') {
    return (
      isAuthoritative || SPECIAL.test(name) || type === 'ANY' || rcode !== 'NOERROR' || isLocalError(extendedErrors)
    )
  }
  return !isStale && !isAuthoritative
}

function isLocalError(extendedErrors: ReadonlySet<number>): boolean {
  return extendedErrors.has(14) || extendedErrors.has(18)
}

/** True if a rule was matched, or a query that none allows. */
function hasRule({ after, before }: { before: Counts; after: Counts }): boolean {
  const count = (counts: Counts): number => (counts.rules ? counts.rules.matches + counts.rules.notAllowed : 0)
  return count(after) > count(before)
}

function sourceText(source: string, reply: ReplyFacts, evidence: { before: Counts; after: Counts }): string {
  switch (source) {
    case 'mesh':
      return 'mesh table'
    case 'stale':
      return 'cache (stale: no upstream server answers)'
    case 'upstream':
      return upstreamText(reply, evidence)
    case 'local':
      return hasRule(evidence) ? 'byname itself: a rule ("byname explain" says which)' : localText(reply)
    default:
      return source
  }
}

function localText({ name, type, rcode, isAuthoritative, extendedErrors }: ReplyFacts): string {
  if (extendedErrors.has(14)) return 'byname itself: no name table yet'
  if (extendedErrors.has(18)) return 'byname itself: this client may not ask'
  if (SPECIAL.test(name)) return 'byname itself: a special name'
  if (rcode !== 'NOERROR') return `byname itself: ${rcode}`
  if (isAuthoritative) return 'hosts file'
  return type === 'ANY' ? 'byname itself: ANY gets one HINFO record (RFC 8482)' : 'byname itself'
}

/** A failure is the server's where one answered so, and byname's where none answered. */
function upstreamText({ rcode }: ReplyFacts, { before, after }: { before: Counts; after: Counts }): string {
  if (rcode === 'NOERROR' || rcode === 'NXDOMAIN') return 'upstream'
  const failures = after.upstreams.flatMap(({ label, failures: counts }) => {
    const old = before.upstreams.find((server) => server.label === label)?.failures ?? {}
    const reasons = Object.entries(counts).flatMap(([reason, count]) => (count > (old[reason] ?? 0) ? [reason] : []))
    return reasons.length > 0 ? [`${label}: ${reasons.join(', ')}`] : []
  })
  return failures.length === 0 ? 'upstream' : `upstream failed: ${failures.join('; ')}`
}

/** What the reply alone makes likely, if it is byname's. */
function byReply(reply: ReplyFacts): string {
  const { name, isAuthoritative, extendedErrors } = reply
  if (SPECIAL.test(name) || isLocalError(extendedErrors)) return localText(reply)
  if (isAuthoritative) return 'mesh table or hosts file'
  if (extendedErrors.has(3) || extendedErrors.has(19)) return 'cache (stale: no upstream server answers)'
  return 'upstream or cache'
}
