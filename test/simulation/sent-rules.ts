/** What may be said of the queries that the engine sends: to which server, how, when, and how many for one question. */
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { UpstreamField } from '../../src/stats/counters.ts'
import type { AnswerRules } from './answer-rules.ts'
import type { Ledger } from './counter-rules.ts'
import { isOfStorm, routeOf } from './denial-rules.ts'
import type { LoopRules } from './loop-rules.ts'
import type { ParsedMessage } from './message.ts'
import { type MessageBudget, plainOf } from './message-budget.ts'
import type { Context } from './pending.ts'
import { keyOf, probedServer } from './reference-resolver.ts'
import { Violation } from './violation.ts'
import type { Sent, VirtualNetwork } from './virtual-network.ts'

/** Messages for one question at most; those with an OPT that are unanswered before one goes without. */
const MOST_MESSAGES = 8
const OPT_UNANSWERED = 2
/** Timers are as fine as a tick. */
const SLACK_MS = 5
/** Longer than any question is open. */
const LONGEST_MS = 10_000
/** More routes than a byte can number. */
const BYTE = 256

/** What the rules look at; the referee's. */
export interface SentRulesParts {
  network: VirtualNetwork
  budget: MessageBudget
  answers: AnswerRules
  loops: LoopRules
  ledger: Ledger
  /** How many wait, by question. */
  waitingFor: ReadonlyMap<string, number>
  see: (what: string) => void
}

export class SentRules {
  engine!: Engine
  settings!: EngineSettings
  private readonly network: VirtualNetwork
  private readonly budget: MessageBudget
  private readonly answers: AnswerRules
  private readonly loops: LoopRules
  private readonly ledger: Ledger
  private readonly waitingFor: ReadonlyMap<string, number>
  private readonly see: (what: string) => void

  constructor(parts: SentRulesParts) {
    this.network = parts.network
    this.budget = parts.budget
    this.answers = parts.answers
    this.loops = parts.loops
    this.ledger = parts.ledger
    this.waitingFor = parts.waitingFor
    this.see = parts.see
  }

  /** The engine sends a query to server `index` of the settings; `outcome` is the network's complaint, or fine. */
  sent(context: Context, outcome: string | number | null, index: number, transport: string, now: number): void {
    if (typeof outcome === 'string') throw new Violation(outcome)
    const { network } = this
    const { query } = network
    this.ledger.message(index, transport)
    const keys = [true, false].map((dnssecOk) => keyOf(query.name, query.type, dnssecOk, query.flags))
    const key = keys[query.opt?.dnssecOk === true ? 0 : 1]!
    const isStream = transport !== 'udp'
    // Without OPT it cannot be seen which of the two questions it is for.
    const isAsked = query.opt === null ? keys.some((one) => this.waitingFor.has(one)) : this.waitingFor.has(key)
    if (!isAsked && this.loops.isProbe(query, index, now)) return this.see('loop probe')
    // A client may have asked for the name before new settings made a probe of it.
    if (isAsked && context.kind === 'timer' && this.loops.isPerhapsProbe(query, index, now))
      return this.see('perhaps a loop probe')
    const { routes } = this.settings
    const route = routeOf(query.name, this.settings)
    if (!route.servers.includes(index) && probedServer(query.name, this.settings) !== index)
      throw new Violation(`a query to a server that no route leads to: ${JSON.stringify(query.name)} to ${index}`)
    if (routes.indexOf(route) >= BYTE) this.see('route beyond a byte')
    // One that is down may be asked for its health alone, and then nothing depends on the reply.
    const mayBeProbe = this.engine.counters.upstreamGet(index, UpstreamField.healthy) === 0
    const server = network.worldServer(index)
    this.opens(context, now)
    if (!isAsked && context.kind === 'query' && isOfStorm(query, this.settings)) this.noteOwnQuestion(key, now)
    // What the engine asked for itself is not counted, and a server may pass it on to us: then somebody waits for it.
    const mayDropOpt = (): boolean => isStream || isOfStorm(query, this.settings) || this.mayDropOpt(query, server, now)
    const wrong =
      network.spellings.checkQuery(query, server, isStream, mayBeProbe) ??
      network.edns.checkQuery(query, server, mayBeProbe, mayDropOpt, now) ??
      (isStream || outcome === -1
        ? null
        : network.retries.check(network.lastDatagram, outcome!, mayBeProbe, now - this.settings.deadlineMs))
    if (wrong !== null) throw new Violation(`${wrong}: ${JSON.stringify(query.question)}`)
    // After a few forged replies to it a question is asked over TCP, and its datagram does not count any more.
    const isOutOfReach = isStream && this.settings.servers[index]!.transport === 'udp'
    const isStray = context.kind === 'message' && context.verdict.kind === 'stray'
    if (isOutOfReach) {
      const tooSoon = network.guesses.turnedToStream(query.opt === null ? keys : [key], isStray, now - LONGEST_MS)
      if (tooSoon !== null) throw new Violation(`${tooSoon}: ${JSON.stringify(query.name)}`)
    } else if (isAsked && !isStream && outcome !== -1 && query.opt !== null && !mayBeProbe)
      network.guesses.sent(key, network.lastDatagram, outcome!)
    if (isStray && isOutOfReach) {
      this.see('asked over TCP because of forged replies')
      network.retries.turnedToStream(keys, server, query.id)
    }
    if (isStray && !isOutOfReach)
      throw new Violation('a query to a server because of a message that has nothing to do with it')
    const account = query.opt === null ? plainOf(query.name, query.type, query.flags) : key
    if (!this.budget.take(account, outcome !== -1, now))
      throw new Violation(`more queries to servers than one question may cause: ${JSON.stringify(key)} at ${now}`)
    this.answers.asked(query.opt === null ? keys : [key], now)
  }

  /**
   * True if a datagram to the server may go without an OPT, as two with one were left unanswered, one of them by it, or one
   * was and nobody can be asked after this once more.
   */
  private mayDropOpt({ flags, name, type }: ParsedMessage, server: number, now: number): boolean {
    const { retries } = this.network
    const { deadlineMs } = this.settings
    if (now < retries.clearedAt + deadlineMs) return true
    const route = routeOf(name, this.settings)
    return [true, false].some((dnssecOk) => {
      const key = keyOf(name, type, dnssecOk, flags)
      const unanswered = retries.unanswered(key, server, this.attemptTimeoutOf(route) - SLACK_MS, now)
      if (unanswered === 0 || unanswered >= OPT_UNANSWERED) return unanswered > 0
      const tried = this.budget.triedAt(key, plainOf(name, type, flags)).filter((at) => at >= now - deadlineMs)
      const isLast = tried.length + 1 >= Math.min(route.maxAttempts ?? MOST_MESSAGES, MOST_MESSAGES)
      return isLast || now + this.attemptTimeoutOf(route) >= Math.min(...tried) + deadlineMs - SLACK_MS
    })
  }

  /**
   * A pending query is opened by the query in hand. One that has given its clients a stale answer, or is there to refresh
   * one, may be open although nobody waits: whoever joins that gets what servers have said before.
   */
  opens(context: Context, now: number): void {
    if (context.kind !== 'query' || context.opening === null) return
    const { key, plain } = context.opening
    context.opening = null
    this.budget.asked(key, plain, now)
    this.network.retries.asked(key, now)
    this.answers.begins(key)
  }

  /** The engine asks, beside the query in hand, for what spares it such questions (search storms). */
  private noteOwnQuestion(key: string, now: number): void {
    const { query } = this.network
    // Several servers may be asked at once.
    if (this.budget.triedAt(key, plainOf(query.name, query.type, query.flags)).includes(now)) return
    this.see('a question for a parent or a random name')
    this.budget.asked(key, plainOf(query.name, query.type, query.flags), now)
    this.network.retries.asked(key, now)
    this.answers.begins(key)
  }

  /** How many messages went out since then for the question of a query. */
  messagesOf({ keys, query }: Sent, since: number): number {
    const plain = plainOf(query.name, query.type, query.flags)
    return this.budget.triedAt(keys[0]!, plain).filter((at) => at >= since).length
  }

  /**
   * A socket meets an error, of which `tell` tells the engine: it must not wait for replies that cannot come. Who has asked
   * nobody else is asked again at once, or answered.
   */
  socketFails(socket: number, tell: () => void, now: number): void {
    const { inFlight } = this.engine.forwarder
    const shortest = Math.min(...this.settings.routes.map((route) => this.attemptTimeoutOf(route)))
    const messages = (sent: Sent): number => this.messagesOf(sent, sent.at - this.settings.deadlineMs)
    const lost = this.network.retries
      .lostWith(socket, now - shortest + SLACK_MS)
      .filter((sent) => this.waitingFor.has(sent.keys[0]!) && messages(sent) === 1)
    // Where all attempts are in use nobody can be asked.
    const hasRoom = inFlight.attempts.open + lost.length < inFlight.attempts.capacity
    tell()
    if (!hasRoom) return
    for (const sent of lost) {
      this.see('asked again after a socket error')
      if (this.waitingFor.has(sent.keys[0]!) && messages(sent) === 1)
        throw new Violation(
          `nobody is asked again, although the socket met an error: ${JSON.stringify(sent.query.name)}`,
        )
    }
  }

  private attemptTimeoutOf({ attemptTimeoutMs }: EngineSettings['routes'][number]): number {
    return Math.min(attemptTimeoutMs ?? this.settings.attemptTimeoutMs, this.settings.deadlineMs)
  }
}
