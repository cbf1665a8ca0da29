/**
 * Which server an answer is from, and since when it is known: what the daemon's cache, or its name table, tells right after
 * the answer. Something else may be there by then; the TTLs show whether it is the same answer.
 */
import type { NameExplanation } from '../explain/name-explanation.ts'
import type { StatusReport } from '../observe/status.ts'
import { durationText, plural } from './figures.ts'

/** What `/debug/explain` says of the question, and of the table. */
export type Explained = Pick<NameExplanation, 'questions'> & { table: StatusReport['table'] }

/** Since when an answer is known, and from whom. */
export interface AnswerOrigin {
  /** The upstream server, or where the name table is from; null if it is not known. */
  server: string | null
  ageSeconds: number
  /** When it came, UTC (RFC 3339). */
  time: string
  /** Until it expires; 0 or less for a stale one; null for mesh names, whose TTL begins with each reply. */
  leftSeconds: number | null
}

/** A reply, as far as its origin depends on it. */
export interface TimedReply {
  /** As answer-source.ts has it; null where it is not certain. */
  source: string | null
  /** The least TTL of its records, null if there is no answer among them. */
  ttlSeconds: number | null
  /** Unix time in ms at which the query was sent, and at which the explanation came. */
  sentAtMs: number
  explainedAtMs: number
}

/** The origin of an answer, as one line as well; or why it cannot be told, null where there is none. */
export function answerOrigin(
  reply: TimedReply,
  { questions, table }: Explained,
): { origin: AnswerOrigin; text: string } | { doubt: string | null } {
  const { source, explainedAtMs } = reply
  if (source === 'mesh') {
    const { ageSeconds, hosts } = table
    if (ageSeconds === null) return { doubt: null }
    const time = timeOf(explainedAtMs - ageSeconds * 1000)
    const origin = { server: table.source, ageSeconds: Math.round(ageSeconds), time, leftSeconds: null }
    return { origin, text: `table of ${plural(hosts, 'host')} from ${table.source}, ${durationText(ageSeconds)} old` }
  }
  if (source !== 'cache' && source !== 'stale' && source !== 'upstream') return { doubt: null }
  const cached = questions[0]?.cached ?? null
  // What may not be kept, as a failure, is nowhere to be found.
  if (cached === null) return { doubt: source === 'upstream' ? null : GONE }
  if (!isSame(reply, cached)) return { doubt: source === 'upstream' ? null : GONE }
  const { server, ageSeconds, leftSeconds } = cached
  const time = timeOf(explainedAtMs - ageSeconds * 1000)
  const end = leftSeconds > 0 ? `${leftSeconds} s left` : `${-leftSeconds} s over its time`
  const from = server ?? 'a server that is not known any more'
  return { origin: { ...cached, time }, text: `${from}, ${ageSeconds} s ago (${time}), ${end}` }
}

const GONE = 'the cache does not have this answer any more'

/** Whether the answer in the cache can be the one of the reply. */
function isSame(reply: TimedReply, cached: { ageSeconds: number; leftSeconds: number }): boolean {
  const { source, ttlSeconds, sentAtMs, explainedAtMs } = reply
  // Ages are whole seconds, rounded off.
  const passed = (explainedAtMs - sentAtMs) / 1000 + 1
  if (source === 'stale') return cached.leftSeconds <= 0
  if (source === 'upstream' && cached.ageSeconds > passed) return false
  if (ttlSeconds === null) return cached.leftSeconds >= -passed
  return cached.leftSeconds <= ttlSeconds && cached.leftSeconds >= ttlSeconds - passed
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}
