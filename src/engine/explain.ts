/**
 * What the engine would do with a query, step by step, without doing it: nothing is sent, counted or kept. The same stages
 * are asked in the same order as for a client (`Engine.stages`), into a buffer that nobody sends.
 */
import { HEADER_BYTES } from '../dns/constants.ts'
import { LOWER, nameToText } from '../dns/name.ts'
import { readQuery, Verdict } from '../dns/query.ts'
import { readU16, setCounts } from '../dns/reply.ts'
import { RCODES, SOURCES } from '../stats/counters.ts'
import { isAllowed, isLocal } from './access.ts'
import { PASS } from './answers/answer-stage.ts'
import { NO_REPLY, RulesStage } from './answers/rules.ts'
import { type CacheEntry, CacheStage } from './cache/cache-stage.ts'
import { ClientQuery } from './client-query.ts'
import type { Engine } from './engine.ts'
import { PluginStage } from './plugins/plugin-stage.ts'
import { replaceQuestion, writeBack } from './rewriting.ts'

/** What one stage found. */
export interface ExplainedStage {
  name: string
  /** It has the answer; no later stage is asked. */
  answers: boolean
  /** What it looked at and found, in one line. */
  finding: string
  /** It found a rule that decides on the query, or would. */
  hasRule?: true
}

/** What this worker knows of an upstream server. */
export interface ExplainedServer {
  label: string
  isDown: boolean
  /** Smoothed round trip in ms; null before the first reply. */
  rttMs: number | null
  /** Asked without EDNS, because it answers only so. */
  isPlain: boolean
}

/** Where the question would be forwarded. */
export interface ExplainedForward {
  /** The route's domains, `.` for the default route; `rules:NAME` for one without any, which a rule has chosen. */
  route: string[]
  policy: string
  servers: ExplainedServer[]
  /** The same question is being asked already: the query would wait for its reply. */
  isPending: boolean
}

/** What plug-ins would do about a query, found out elsewhere: the ones that answer are not to be touched. Plain data. */
export interface PluginOutcome {
  /** What they were asked about: header and question. */
  asked: Uint8Array
  /** Those that were asked, in their order. */
  steps: ExplainedStage[]
  /** The reply of the last of them; null without one. */
  reply: Uint8Array | null
  /** The client is to get none. */
  isDropped: boolean
  /** Header and question of the query as the last of them changed it; null if it did not. */
  changed: Uint8Array | null
  /** What those after it do about the changed query. */
  next: PluginOutcome | null
}

/** What the engine would do with a query. Plain data, which is posted from a worker to the control thread. */
export interface EngineExplanation {
  /** Why the query gets no answer at all, before any stage is asked; null: it is served. */
  refusal: string | null
  /** Those that were asked, in their order. */
  stages: ExplainedStage[]
  /** Who answers (SOURCES); null if the question would be forwarded. */
  source: string | null
  /** The reply that a client would get now; null if the question would be forwarded. */
  reply: Uint8Array | null
  forward: ExplainedForward | null
  /** Header and question that plug-ins are to be asked about first; null: no further question. */
  askPlugins: Uint8Array | null
  /** The cache's answer to the question, fresh or expired; null if there is none, or it was not looked for. */
  cached: CacheEntry | null
}

const REPLY_ROOM = 65_535
/** Bytes of the cache's key after the name, which the cache stage has written there. */
const KEY_TAIL = 3
const LOOPBACK: Uint8Array = Uint8Array.of(127, 0, 0, 1)

/**
 * Explains the query `packet` (a whole message) from a client with the address `from` (4 or 16 bytes), or from this
 * machine if null. Asked between two batches, as it uses the stages' notes of their last query. `plugins`: what plug-ins do
 * about the question that they would see; without it, or if it is about another question, `askPlugins` says which.
 */
export function explainQuery(
  engine: Engine,
  packet: Uint8Array,
  from: Uint8Array | null,
  plugins: PluginOutcome | null = null,
): EngineExplanation {
  const query = new ClientQuery()
  const explanation: EngineExplanation = {
    refusal: null,
    stages: [],
    source: null,
    reply: null,
    forward: null,
    cached: null,
    askPlugins: null,
  }
  const verdict = readQuery(packet, 0, packet.length, engine.seed, query)
  if (verdict !== Verdict.OK) {
    const rcode = verdict < 0 ? 'no reply' : (RCODES[verdict] ?? String(verdict))
    return { ...explanation, refusal: `${rcode}: the query is malformed, or of a kind that byname does not serve` }
  }
  const { settings } = engine
  const isOwn = from === null || isLocal(settings, from, 0, from.length)
  if (!isOwn && !isAllowed(settings, from, 0, from.length)) {
    return { ...explanation, refusal: 'REFUSED: the client is not on this machine, and in no network of `access`' }
  }
  query.receivedAt = engine.now
  query.cookieAt = 0
  query.address = from ?? LOOPBACK
  query.addressLength = query.address.length
  query.limit = REPLY_ROOM
  query.advertise = isOwn ? settings.maxUdpPayload.local : settings.maxUdpPayload.remote
  return askStages(engine, query, explanation, plugins)
}

function askStages(
  engine: Engine,
  query: ClientQuery,
  explanation: EngineExplanation,
  plugins: PluginOutcome | null,
): EngineExplanation {
  const out = new Uint8Array(REPLY_ROOM)
  const { stages } = engine
  let wasRewritten = false
  let outcome = plugins
  for (let k = 0; k < stages.length; k++) {
    const stage = stages[k]!
    if (stage instanceof PluginStage) {
      const question = query.packet.slice(query.at, query.questionEnd)
      if (outcome === null || !isSameQuestion(outcome.asked, question)) {
        // The OPT is not there, although the header counts it.
        setCounts(question, 0, 0, 0, 0)
        return { ...explanation, askPlugins: question }
      }
      const { steps, reply, isDropped, changed, next } = outcome
      explanation.stages.push(...steps)
      if (reply !== null) {
        out.set(reply)
        const end = query.original === null ? reply.length : writeBack(query, reply.length, out, 0)
        return { ...explanation, source: SOURCES[stage.source]!, reply: out.slice(0, end) }
      }
      if (isDropped) return { ...explanation, refusal: `no reply: ${steps.at(-1)?.name} wants it so` }
      if (changed === null) continue
      const packet = new Uint8Array(changed.length)
      replaceQuestion(
        query,
        changed,
        HEADER_BYTES,
        changed.length - HEADER_BYTES,
        readU16(changed, 2),
        packet,
        engine.seed,
      )
      outcome = next
      wasRewritten = true
      // All that stand before it are asked for the changed question.
      k = -1
      continue
    }
    const length = stage.answer(query, out, 0)
    const answers = length !== PASS
    if (stage instanceof CacheStage) explanation.cached = stage.entry
    const hasRule = stage instanceof RulesStage && stage.hasMatched
    const finding = stage.finding(query)
    explanation.stages.push({ name: stage.name, answers, finding, ...(hasRule && { hasRule }) })
    if (stage instanceof RulesStage && length === NO_REPLY) {
      return { ...explanation, refusal: 'no reply over UDP: a rule drops the query' }
    }
    if (!answers && query.original !== null && !wasRewritten) {
      // All stages are asked for the other name.
      wasRewritten = true
      k = -1
    }
    if (!answers) continue
    const { source } = stage
    const end = query.original === null ? length : writeBack(query, length, out, 0)
    return { ...explanation, source: SOURCES[source]!, reply: out.slice(0, end) }
  }
  return { ...explanation, forward: forwardOf(engine, query) }
}

/** True if two queries, header and question, ask the same. */
function isSameQuestion(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false
  for (let i = HEADER_BYTES; i < one.length; i++) if (LOWER[one[i]!] !== LOWER[other[i]!]) return false
  return true
}

function forwardOf(engine: Engine, query: ClientQuery): ExplainedForward {
  const { forwarder, now } = engine
  const { upstreams } = forwarder
  const { name } = query
  const route = upstreams.routes[upstreams.routeForKey(name.lower, 0, name.length + KEY_TAIL)]!
  return {
    route: route.domains.length === 0 ? [`rules:${route.name}`] : route.domains.map((domain) => nameToText(domain)),
    policy: route.policy,
    servers: route.servers.map((index) => upstreams.describe(index, now)),
    isPending: engine.isPending(query),
  }
}
