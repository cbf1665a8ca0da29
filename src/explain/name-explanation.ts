/**
 * Why a name gets its answer: what the engine would do with each question (src/engine/explain.ts), and which questions an
 * application's `getaddrinfo` would ask. Nothing is sent.
 */
import { isIP } from 'node:net'
import dnsPacket from 'dns-packet'
import type { EngineExplanation, ExplainedForward, ExplainedStage } from '../engine/explain.ts'
import { encodeQuery, extendedErrors, rcodeText, type RecordText, recordsText, typeText } from './dns-text.ts'
import {
  absolute,
  type Libc,
  type Lookup,
  namesAsked,
  type Outcome,
  playLookup,
  type StubConfiguration,
} from './resolver-lookup.ts'

/** What is to be explained. */
export interface ExplainRequest {
  /** A domain name; without a trailing dot it is looked up as an application would. */
  name: string
  /** dns-packet's name of the type; null: A and AAAA, and what an application asks. */
  type: string | null
  /** The client's address (4 or 16 bytes), null for this machine. */
  from: Uint8Array | null
  /** The query asks for signatures (DO, RFC 3225): its answers are kept apart. */
  isDnssec: boolean
}

/** The application's side, as far as this machine shows it. */
export interface ApplicationFacts extends StubConfiguration {
  /** File the search list is of. */
  resolvConf: string
  /** Addresses that the hosts file has for the name, which programs take before they ask anybody. */
  hostsAddresses: readonly string[]
}

/** What becomes of one question. */
export interface QuestionExplanation {
  /** Absolute, with its trailing dot. */
  name: string
  type: string
  outcome: Outcome
  /** The reply's rcode; null if a server would be asked. */
  rcode: string | null
  /** Who answers: mesh, cache, stale, local; null if a server would be asked. */
  source: string | null
  answers: RecordText[]
  extendedErrors: string[]
  refusal: string | null
  stages: ExplainedStage[]
  forward: ExplainedForward | null
  /** The cache's answer, fresh or expired: which server it is from, how old it is and how long it lasts; null if there is none. */
  cached: EngineExplanation['cached']
  /** Data worker that this is about, and of how many: each has a cache of its own. */
  worker: number
  workers: number
}

/** What an application asks and gets. */
export interface ApplicationLookup extends ApplicationFacts {
  lookups: Lookup[]
  /** Every question of them once. */
  questions: QuestionExplanation[]
}

/** All that `byname explain` shows. */
export interface NameExplanation {
  name: string
  /** The question as given: one for a type, else A and AAAA. */
  questions: QuestionExplanation[]
  /** Null where a type was given: programs choose it. */
  application: ApplicationLookup | null
}

/** Asks every data worker what it would do with a query; null from one that does not answer. */
export type AskWorkers = (query: Uint8Array, from: Uint8Array | null) => Promise<(EngineExplanation | null)[]>

const LIBCS: readonly Libc[] = ['glibc', 'musl']

/**
 * Explains a name. `application` is null where nothing is known of an application's resolver.
 * @throws Error if no data worker answers
 */
export async function explainName(
  request: ExplainRequest,
  application: ApplicationFacts | null,
  ask: AskWorkers,
): Promise<NameExplanation> {
  const { name, type, from, isDnssec } = request
  const explain = (asked: string, askedType: string): Promise<QuestionExplanation> =>
    explainQuestion({ name: asked, type: askedType, from, isDnssec }, ask)
  const types = type === null ? ['A', 'AAAA'] : [type]
  const questions = await Promise.all(types.map((each) => explain(absolute(name), each)))
  if (type !== null || application === null || isIP(name) !== 0) return { name, questions, application: null }
  const names = [...new Set(LIBCS.flatMap((libc) => namesAsked(libc, application, name)))].filter(isDomainName)
  const asked = await Promise.all(names.flatMap((each) => ['A', 'AAAA'].map((eachType) => explain(each, eachType))))
  const outcomeOf = (each: string, eachType: string): Outcome =>
    asked.find((question) => question.name === each && question.type === eachType)?.outcome ?? 'nxdomain'
  const lookups = LIBCS.map((libc) =>
    playLookup(libc, application, name, (each) => ({ a: outcomeOf(each, 'A'), aaaa: outcomeOf(each, 'AAAA') })),
  )
  return { name, questions, application: { ...application, lookups, questions: asked } }
}

async function explainQuestion(
  { name, type, from, isDnssec }: ExplainRequest & { type: string },
  ask: AskWorkers,
): Promise<QuestionExplanation> {
  const found = await ask(encodeQuery({ name, type }, isDnssec), from)
  // A worker that has the answer in its cache says more than one that would ask.
  const best = found.findIndex((each) => each !== null && each.source !== null)
  const worker = best >= 0 ? best : found.findIndex((each) => each !== null)
  const explanation = found[worker]
  if (explanation === undefined || explanation === null) throw new Error('no data worker answers')
  const facts = { name, type: typeText(type), worker, workers: found.length, ...pick(explanation) }
  const { reply, refusal } = explanation
  if (reply === null) {
    const outcome: Outcome = refusal === null ? 'upstream' : 'refused'
    return { ...facts, outcome, rcode: null, answers: [], extendedErrors: [] }
  }
  const packet = dnsPacket.decode(Buffer.from(reply))
  const answers = recordsText(packet.answers)
  const rcode = rcodeText(packet)
  return {
    ...facts,
    outcome: outcomeOfReply(rcode, answers, type),
    rcode,
    answers,
    extendedErrors: extendedErrors(packet).map(({ text }) => text),
  }
}

function pick({
  cached,
  forward,
  refusal,
  source,
  stages,
}: EngineExplanation): Pick<QuestionExplanation, 'cached' | 'forward' | 'refusal' | 'source' | 'stages'> {
  return { cached, forward, refusal, source, stages }
}

/** What a reply is for a look-up of `type`. */
export function outcomeOfReply(rcode: string, answers: readonly RecordText[], type: string): Outcome {
  if (rcode === 'NXDOMAIN') return 'nxdomain'
  if (rcode === 'SERVFAIL') return 'servfail'
  if (rcode !== 'NOERROR') return 'refused'
  return answers.some((answer) => answer.type === type) ? 'addresses' : 'nodata'
}

/** A search domain can make a name too long: a resolver skips it. */
function isDomainName(name: string): boolean {
  return name.length <= 254 && name.split('.').every((label) => label.length <= 63)
}
