/**
 * Watches an engine at work: knows every query that is out, and tells at each step those who judge it. Of what the engine
 * sends that is `SentRules`, of replies `ReplyRules`, of what servers said `AnswerRules`.
 */
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Cell, type WorkerCounters } from '../../src/stats/counters.ts'
import { AnswerRules } from './answer-rules.ts'
import { checkCounters, Ledger } from './counter-rules.ts'
import type { Client, Episode } from './episode.ts'
import { LoopRules } from './loop-rules.ts'
import type { ParsedMessage } from './message.ts'
import { MessageBudget, plainOf } from './message-budget.ts'
import { type AnswerMoment, type Context, isRecursive, momentOf, type Pending } from './pending.ts'
import type { Asked } from './queries.ts'
import { keyOf, ReferenceResolver } from './reference-resolver.ts'
import { checkForm, isTruncated } from './reply-check.ts'
import { ReplyRules } from './reply-rules.ts'
import { checkBounds, checkHealth } from './rest-checks.ts'
import { asUnrewritten } from './rewriting-rules.ts'
import type { MadeOf } from './table-source.ts'
import { RoomRules } from './room-rules.ts'
import { SentRules } from './sent-rules.ts'
import { ServiceDenialRules } from './service-denial-rules.ts'
import { Violation } from './violation.ts'
import type { Verdict, VirtualNetwork } from './virtual-network.ts'

/** What gets no reply. */
const SILENT: ReadonlySet<string> = new Set(['drop', 'limited', 'ruled out', 'dropped by a plug-in'])
const BADCOOKIE = 23
const DNAME = 39
/** Longer than any question is open. */
const LONGEST_MS = 10_000

export class Referee {
  readonly sightings: Map<string, number> = new Map()
  context: Context = { kind: 'other' }
  queries = 0
  readonly ledger: Ledger = new Ledger()
  readonly loops: LoopRules = new LoopRules()
  private readonly resolver: ReferenceResolver
  private engine!: Engine
  private settings!: EngineSettings
  /** Queries that wait, oldest first. */
  private waiting: Pending[] = []
  private readonly services: ServiceDenialRules
  private readonly answers: AnswerRules
  private readonly sentRules: SentRules
  private readonly replies: ReplyRules
  /** How many wait, by question. */
  private readonly waitingFor: Map<string, number> = new Map()
  private readonly budget: MessageBudget = new MessageBudget()
  private room!: RoomRules
  private readonly network: VirtualNetwork
  constructor(episode: Episode, network: VirtualNetwork) {
    this.network = network
    this.resolver = new ReferenceResolver(episode)
    this.services = new ServiceDenialRules(this.resolver)
    const see = (what: string): void => this.see(what)
    const { budget, ledger, loops, waitingFor } = this
    this.answers = new AnswerRules(episode, network, budget, this.services, ledger, see)
    this.sentRules = new SentRules({ network, budget, answers: this.answers, loops, ledger, waitingFor, see })
    this.replies = new ReplyRules(this.answers, ledger, see)
  }

  see(what: string): void {
    this.sightings.set(what, (this.sightings.get(what) ?? 0) + 1)
  }

  // ── what the engine is told ─────────────────────────────────────────────────────────────────────────────────────────

  started(engine: Engine, settings: EngineSettings, now: number): void {
    this.engine = engine
    this.settings = settings
    this.answers.engine = engine
    this.room = new RoomRules(engine.counters, this.waitingFor, settings, now)
    this.answers.room = this.room
    this.replies.room = this.room
    this.answers.settings = settings
    this.sentRules.engine = engine
    this.sentRules.settings = settings
    this.services.settings = settings
    this.resolver.table = -1
    this.resolver.limit.reset()
    this.resolver.limit.configure(settings.rateLimit)
    this.ledger.configured(settings.servers.map(({ label }) => label))
    this.loops.started(settings, now)
    this.resolver.plugins.restarted()
    this.resolver.plugins.configured(settings.plugins ?? [], now)
    this.ledger.plugins = this.resolver.plugins.counts
  }

  restarted(): void {
    this.see('restart')
    for (const pending of this.waiting) {
      if (pending.isDone || pending.answeredIn !== null) continue
      pending.isDone = true
      this.ledger.lost++
    }
    this.waitingFor.clear()
    this.answers.restarted()
    this.disturbed(Number.POSITIVE_INFINITY)
  }

  /** A query whose client has gone, so that nobody sees the reply. */
  gone(pending: Pending): void {
    pending.isGone = true
  }

  configured(settings: EngineSettings, now: number): void {
    this.see('configure')
    if (settings.cache.maxBytes !== this.settings.cache.maxBytes) this.answers.forgetAll()
    // What is under way goes on where the servers are the same.
    if (serversOf(settings) !== serversOf(this.settings)) this.disturbed(now)
    this.settings = settings
    this.sentRules.settings = settings
    this.services.settings = settings
    this.answers.configured(settings, now)
    this.room.configured(settings, now)
    this.resolver.limit.configure(settings.rateLimit)
    this.ledger.configured(settings.servers.map(({ label }) => label))
    this.loops.configured(settings, now)
    this.resolver.plugins.configured(settings.plugins ?? [], now)
  }

  flushed(name: string | null): void {
    this.see(name === null ? 'flush' : 'flush of a name')
    if (name === null) this.answers.forgetAll()
    else this.answers.forgetName(name)
  }

  /** All servers are well from now on, and no query may fail; or the time for that is over. */
  recovered(isRecovered: boolean): void {
    this.answers.isRecovered = isRecovered
  }

  leapt(to: number): void {
    this.see('leap')
    this.disturbed(to)
  }

  /** Something happens that may cost queries their answers. */
  disturbed(now: number): void {
    this.answers.calmSince = now
    this.network.retries.disturbed(now)
    this.network.guesses.disturbed()
  }

  adopted({ table, identity }: MadeOf, now: number): void {
    this.see('table adopted')
    this.services.tableAdopted(now)
    if (this.resolver.identity !== identity) this.see('identity adopted')
    this.resolver.table = table
    this.resolver.identity = identity
  }

  /** A message has come for the engine. */
  arrived(verdict: Verdict, isForged: boolean, now: number): void {
    const kind = verdict.kind === 'doubtful' ? `doubtful ${verdict.by}` : verdict.kind
    this.see(isForged ? `forged reply: ${kind}` : `reply: ${kind}`)
    if (verdict.kind === 'failure' && verdict.said?.rcode === BADCOOKIE) this.see('BADCOOKIE without a cookie')
    if (verdict.kind === 'failure' && verdict.said?.rcode === 0) this.see('referral')
    if (verdict.kind === 'answer' && verdict.message.sections[0].some(({ type }) => type === DNAME)) this.see('DNAME')
    this.context = { kind: 'message', verdict, known: this.answers.arrived(verdict, now) }
    const { guess, guesses } = this.network
    if (guess !== null) guesses.arrived(guess, (sent) => this.sentRules.messagesOf(sent, now - LONGEST_MS), now)
  }

  /** The engine has dealt with the message that has come. */
  dealtWith(): void {
    const wrong = this.network.guesses.check()
    if (wrong !== null) throw new Violation(wrong)
  }

  /** A socket meets an error, of which `tell` tells the engine. */
  socketFails(socket: number, tell: () => void, now: number): void {
    this.sentRules.socketFails(socket, tell, now)
  }

  // ── what the engine does ────────────────────────────────────────────────────────────────────────────────────────────

  /** The engine sends a query to server `index` of the settings; `outcome` is the network's complaint, or fine. */
  sent(outcome: string | number | null, index: number, transport: string, now: number): void {
    this.sentRules.sent(this.context, outcome, index, transport, now)
  }

  /** The engine is about to be given a query. */
  ask(original: Asked, client: Client, isStream: boolean, settings: EngineSettings, now: number): Pending {
    this.queries++
    const expectation = this.resolver.expect(original, client, isStream, settings, now)
    const asked = this.resolver.rewritten ?? original
    if (asked !== original) this.see('another question')
    const { cache } = this.engine
    const advertise = client.isLocal ? settings.maxUdpPayload.local : settings.maxUdpPayload.remote
    const payload = Math.max(512, asked.edns?.payload ?? 512)
    const key = keyOf(asked.name, asked.type, asked.edns?.dnssecOk === true, asked.flags)
    this.ledger.query(expectation, this.resolver.ruleCounters, (what) => this.see(what))
    if (expectation.kind === 'upstream') {
      if (cache !== null && isRecursive(asked)) this.ledger.lookups++
    }
    // What joins those who wait is asked with theirs.
    const isOpening = expectation.kind === 'upstream' && !this.waitingFor.has(key)
    const plain = plainOf(asked.name, asked.type, asked.flags)
    const coalescedBefore = this.engine.counters.get(Cell.coalesced)
    this.context = { kind: 'query', opening: isOpening ? { key, plain, coalescedBefore } : null }
    this.room.begins(key)
    return {
      asked,
      original,
      key,
      isStream,
      limits: {
        limit: isStream ? 65_535 : Math.min(payload, advertise),
        advertise,
        cookieSeconds: settings.cookieSecret === undefined ? -1 : Math.floor(now / 1000),
      },
      expectation,
      receivedAt: now,
      deadlineAt: now + settings.deadlineMs,
      isHeld: false,
      isDone: false,
      isGone: false,
      answeredIn: null,
      isLatecomer: false,
      relay: null,
    }
  }

  /** The engine has had the query. */
  given(pending: Pending, client: Client): void {
    const { context } = this
    const { expectation } = pending
    const opening = context.kind === 'query' && pending.isHeld ? context.opening : null
    if (opening !== null) {
      pending.isLatecomer = this.engine.counters.get(Cell.coalesced) > opening.coalescedBefore
      // Nothing need have been sent, if there was no room for it.
      if (pending.isLatecomer) this.room.joined(pending.key)
      else this.sentRules.opens(context, pending.receivedAt)
    }
    this.loops.check(expectation.kind === 'error' ? expectation.loop : -1, client.address)
  }

  /** The query is neither answered nor held. */
  ignored(pending: Pending): void {
    const { kind } = pending.expectation
    if (!SILENT.has(kind)) this.fail(pending, 'neither answered nor held')
  }

  held(pending: Pending, now: number): void {
    const { key } = pending
    if (pending.expectation.kind !== 'upstream') this.fail(pending, 'held, although no server need be asked')
    pending.isHeld = true
    this.waiting.push(pending)
    const crowded = this.waitingFor.has(key) ? null : this.room.waitBegins(pending, now)
    this.waitingFor.set(key, (this.waitingFor.get(key) ?? 0) + 1)
    const wrong = crowded ?? this.answers.checkAskedFor(pending, now)
    if (wrong !== null) this.fail(pending, wrong)
  }

  private moment(now: number): AnswerMoment {
    return { context: this.context, at: now, cache: momentOf(this.engine.cache), isCrowded: this.room.isRefused }
  }

  /** The engine has answered one that it held. */
  private settled(pending: Pending): void {
    const { key } = pending
    // Whoever is answered because of another query has made room for it.
    const wrong = this.context.kind === 'query' ? this.room.makesRoom(key) : null
    if (wrong !== null) this.fail(pending, wrong)
    const left = this.waitingFor.get(key)! - 1
    if (left > 0) return void this.waitingFor.set(key, left)
    this.waitingFor.delete(key)
    this.network.guesses.ended(key)
    this.room.waitEnds(key)
  }

  /** The engine answers a query over a stream; the reply itself is seen with the next `answered`. */
  noteAnswer(pending: Pending, now: number): void {
    if (pending.answeredIn !== null) this.fail(pending, 'a second reply')
    pending.answeredIn = this.moment(now)
    this.settled(pending)
    if (!pending.isGone) return
    this.ledger.unseen++
    this.answers.unseen(pending.key, now)
  }

  /** A reply has come out. */
  answered(pending: Pending, bytes: Buffer, at: number, length: number, now: number): void {
    if (pending.isDone) this.fail(pending, 'a second reply')
    pending.isDone = true
    if (pending.isHeld && pending.answeredIn === null) this.settled(pending)
    const { asked, limits, original } = pending
    const written = checkForm(original, limits, bytes, at, length)
    if (typeof written === 'string') return this.fail(pending, written)
    const reply = asked === original ? written : asUnrewritten(written, original, asked)
    if (typeof reply === 'string') return this.fail(pending, reply)
    if (isTruncated(reply)) {
      this.see('truncated reply')
      this.ledger.truncated++
    }
    const wrong = this.replies.check(pending, reply, pending.answeredIn ?? this.moment(now), now)
    if (wrong !== null) this.fail(pending, `${wrong}; the reply: ${describe(reply)}`)
    pending.relay?.(Buffer.from(bytes.subarray(at, at + length)), now)
  }

  // ── checks between steps ────────────────────────────────────────────────────────────────────────────────────────────

  /** Time has moved on, and the engine knows: nobody may wait beyond the deadline. */
  checkDeadlines(now: number): void {
    const { waiting } = this
    let k = 0
    while (k < waiting.length && waiting[k]!.isDone) k++
    if (k > 64 || k === waiting.length) this.waiting = waiting.slice(k)
    const { oldest: first } = this
    if (first !== undefined && first.deadlineAt <= now) this.fail(first, `no reply at ${now}, past the deadline`)
  }

  /** The query that waits for longest. */
  private get oldest(): Pending | undefined {
    return this.waiting.find((pending) => !pending.isDone && pending.answeredIn === null)
  }

  checkRound(engine: Engine, counters: WorkerCounters, now: number): void {
    const { attempts } = engine.forwarder.inFlight
    checkBounds(engine, counters, this.settings.maxInFlight)
    if (attempts.open >= attempts.capacity - 1) this.disturbed(now)
    checkCounters(counters, this.ledger, engine)
  }

  checkQuiet(engine: Engine, counters: WorkerCounters): void {
    const left = this.waiting.filter((pending) => !pending.isDone && !(pending.isGone && pending.answeredIn !== null))
    if (left.length > 0) this.fail(left[0]!, 'no reply, and nothing is under way any more')
    if (!engine.isQuiet) throw new Violation(`${engine.forwarder.inFlight.open} pending queries that do not end`)
    void counters
  }

  /** Some while after all servers recovered, in which these names were asked. */
  checkHealth(counters: WorkerCounters, settings: EngineSettings, askedNames: readonly string[]): void {
    // Nothing is asked of them for want of a table.
    if (this.resolver.table >= 0 || settings.beforeSync !== 'servfail') checkHealth(counters, settings, askedNames)
  }

  private fail(pending: Pending, wrong: string): never {
    const { asked } = pending
    const name = JSON.stringify(asked.name)
    throw new Violation(
      `${wrong}; query ${asked.id} for ${name} type ${asked.type}, received at ${pending.receivedAt.toFixed(2)} (${pending.expectation.kind}${pending.isStream ? ', stream' : ''})`,
    )
  }
}

/** The servers and their routes, as text. */
function serversOf({ routes, servers }: EngineSettings): string {
  return JSON.stringify([servers, routes.map((route) => ({ ...route, domains: route.domains.map(String) }))])
}

function describe(reply: ParsedMessage): string {
  const records = reply.sections.map((section) =>
    section
      .map((record) => `${JSON.stringify(record.id)} ${record.ttl}`)
      .join(', ')
      .slice(0, 300),
  )
  return `rcode ${reply.rcode}, flags ${reply.flags.toString(16)}, ${records.join(' / ')}`
}
