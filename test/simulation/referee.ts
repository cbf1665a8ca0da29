/**
 * Watches an engine at work: knows every query that is out, and says at each step what may follow. What may be said of
 * what servers said is for `AnswerRules`.
 */
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Cell, UpstreamField, type WorkerCounters } from '../../src/stats/counters.ts'
import { AnswerRules } from './answer-rules.ts'
import { checkCounters, Ledger } from './counter-rules.ts'
import { isOfStorm, routeOf } from './denial-rules.ts'
import type { Client, Episode } from './episode.ts'
import { LoopRules } from './loop-rules.ts'
import type { ParsedMessage } from './message.ts'
import { MessageBudget, plainOf } from './message-budget.ts'
import { type AnswerMoment, type Context, isRecursive, momentOf, type Pending } from './pending.ts'
import type { Asked } from './queries.ts'
import { type Expectation, keyOf, probedServer, ReferenceResolver } from './reference-resolver.ts'
import { checkEde, checkForm, checkLocal, checkTold, Ede, isTruncated } from './reply-check.ts'
import { asUnrewritten } from './rewriting-rules.ts'
import type { MadeOf } from './table-source.ts'
import { RoomRules } from './room-rules.ts'
import { ServiceDenialRules } from './service-denial-rules.ts'
import { Violation } from './violation.ts'
import type { Sent, Verdict, VirtualNetwork } from './virtual-network.ts'

/** What gets no reply. */
const SILENT: ReadonlySet<string> = new Set(['drop', 'limited', 'ruled out', 'dropped by a plug-in'])
const SERVFAIL = 2
const REFUSED = 5
const BADCOOKIE = 23
const DNAME = 39
/** Messages for one question at most; those with an OPT that are unanswered before one goes without. */
const MOST_MESSAGES = 8
const OPT_UNANSWERED = 2
/** Timers are as fine as a tick. */
const SLACK_MS = 5
/** Longer than any question is open. */
const LONGEST_MS = 10_000
/** More routes than a byte can number. */
const BYTE = 256

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
  /** How many wait, by question. */
  private readonly waitingFor: Map<string, number> = new Map()
  private readonly budget: MessageBudget = new MessageBudget()
  private room!: RoomRules
  private readonly network: VirtualNetwork
  constructor(episode: Episode, network: VirtualNetwork) {
    this.network = network
    this.resolver = new ReferenceResolver(episode)
    this.services = new ServiceDenialRules(this.resolver)
    this.answers = new AnswerRules(episode, network, this.budget, this.services, this.ledger, (what) => this.see(what))
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
    this.answers.settings = settings
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
    if (guess !== null) guesses.arrived(guess, (sent) => this.messagesOf(sent, now - LONGEST_MS), now)
  }

  /** The engine has dealt with the message that has come. */
  dealtWith(): void {
    const wrong = this.network.guesses.check()
    if (wrong !== null) throw new Violation(wrong)
  }

  /** How many messages went out since then for the question of a query. */
  private messagesOf({ keys, query }: Sent, since: number): number {
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

  // ── what the engine does ────────────────────────────────────────────────────────────────────────────────────────────

  /** The engine sends a query to server `index` of the settings; `outcome` is the network's complaint, or fine. */
  sent(outcome: string | number | null, index: number, transport: string, now: number): void {
    if (typeof outcome === 'string') throw new Violation(outcome)
    const { context, network } = this
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
    this.noteOpening(now)
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
    this.count(expectation)
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

  private count(expectation: Expectation): void {
    const { ledger } = this
    if (expectation.kind === 'drop') ledger.dropped++
    else ledger.requests++
    for (const counter of this.resolver.ruleCounters) {
      this.see('rule')
      ledger.ruleMatches.set(counter, (ledger.ruleMatches.get(counter) ?? 0) + 1)
    }
    if (expectation.kind === 'ruled out') {
      ledger.ruledOut++
      this.see('ruled out')
    }
    if (expectation.kind === 'dropped by a plug-in') {
      ledger.droppedByPlugins++
      this.see('dropped by a plug-in')
    }
    if (expectation.kind === 'limited') {
      ledger.limited++
      this.see('limited')
    }
    if (expectation.kind === 'local' && expectation.from === 'mesh') ledger.mesh++
    if (expectation.kind !== 'error') return
    if (expectation.isLimited) ledger.limitedTold++
    if (expectation.loop < 0) return
    ledger.loops++
    this.see('loop')
  }

  /**
   * A pending query is opened by the query in hand. One that has given its clients a stale answer, or is there to refresh
   * one, may be open although nobody waits: whoever joins that gets what servers have said before.
   */
  private noteOpening(now: number): void {
    const { context } = this
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

  /** The engine has had the query. */
  given(pending: Pending, client: Client): void {
    const { context } = this
    const { expectation } = pending
    const opening = context.kind === 'query' && pending.isHeld ? context.opening : null
    if (opening !== null) {
      pending.isLatecomer = this.engine.counters.get(Cell.coalesced) > opening.coalescedBefore
      // Nothing need have been sent, if there was no room for it.
      if (pending.isLatecomer) this.room.joined(pending.key)
      else this.noteOpening(pending.receivedAt)
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
    const wrong = this.checkReply(pending, reply, now)
    if (wrong !== null) this.fail(pending, `${wrong}; the reply: ${describe(reply)}`)
    pending.relay?.(Buffer.from(bytes.subarray(at, at + length)), now)
  }

  private checkReply(pending: Pending, reply: ParsedMessage, now: number): string | null {
    const { asked, expectation, limits } = pending
    switch (expectation.kind) {
      case 'limited':
        // Whoever shows a server cookie of ours is told.
        if (asked.isPerhapsProven !== true || reply.rcode !== REFUSED) return 'a reply to what deserves none'
        this.ledger.limited--
        this.ledger.limitedTold++
        return checkEde(asked, reply, Ede.PROHIBITED, Ede.NONE)
      case 'drop':
      case 'ruled out':
      case 'dropped by a plug-in':
        return 'a reply to what deserves none'
      case 'tcp only':
        this.see('TCP alone')
        if (reply.rcode !== 0 || !isTruncated(reply)) return 'an answer over UDP, which a rule keeps for TCP'
        return reply.sections.some((section) => section.length > 0) ? 'records beside TC' : null
      case 'error': {
        const { rcode } = reply
        if (!expectation.rcodes.includes(rcode)) return `rcode ${rcode} instead of ${expectation.rcodes.join(' or ')}`
        this.see(`error ${rcode}`)
        if (reply.sections.some((section) => section.length > 0)) return 'an error with records'
        if (expectation.told !== undefined) return checkTold(asked, reply, expectation.told, limits)
        if (expectation.loop >= 0) return checkEde(asked, reply, Ede.OTHER)
        if (rcode === REFUSED) return checkEde(asked, reply, Ede.PROHIBITED, Ede.NONE)
        return checkEde(asked, reply, rcode === SERVFAIL ? Ede.NOT_READY : Ede.NONE)
      }
      case 'local': {
        this.see(expectation.from)
        // Which records there was room for depends on the other name.
        if (asked.isRewritten === true && isTruncated(reply)) return null
        const codes = expectation.from === 'aaaa' ? [Ede.SYNTHESIZED, Ede.NONE] : [Ede.NONE]
        const wrong = checkLocal(expectation, reply, limits)
        if (wrong !== null || expectation.told === undefined) return wrong ?? checkEde(asked, reply, ...codes)
        return checkTold(asked, reply, expectation.told, limits)
      }
      default: {
        if (pending.isHeld) return this.answers.checkLater(pending, reply, pending.answeredIn ?? this.moment(now))
        if (reply.rcode !== SERVFAIL || !this.room.isRefused) return this.answers.checkImmediate(pending, reply, now)
        this.see('full')
        this.answers.calmSince = now
        return this.room.check(pending, now) ?? checkEde(asked, reply, Ede.OTHER)
      }
    }
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
    const { inFlight, timers } = engine.forwarder
    if (inFlight.open > inFlight.capacity || inFlight.open < 0)
      throw new Violation(`${inFlight.open} pending queries of ${inFlight.capacity}`)
    const { maxInFlight } = this.settings
    if (counters.get(Cell.inFlight) > maxInFlight)
      throw new Violation(`clients wait for ${counters.get(Cell.inFlight)} pending queries, ${maxInFlight} are allowed`)
    if (timers.armed !== inFlight.open)
      throw new Violation(`${timers.armed} timers for ${inFlight.open} pending queries`)
    if (inFlight.attempts.open >= inFlight.attempts.capacity - 1) this.disturbed(now)
    const { cache } = engine
    if (cache !== null && (cache.bytes > cache.maxBytes || cache.entries < 0))
      throw new Violation(`cache of ${cache.bytes} bytes, ${cache.entries} entries`)
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
    if (this.resolver.table < 0 && settings.beforeSync === 'servfail') return
    const askedServers = new Set(askedNames.flatMap((name) => routeOf(name, settings).servers))
    settings.servers.forEach((server, index) => {
      // A server that no route leads to, or only one for names that were not asked, stays as it was.
      if (askedServers.has(index) && counters.upstreamGet(index, 11) !== 1)
        throw new Violation(`server ${server.label} is well again and still counts as down`)
    })
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
