/** Watches an engine at work: knows every query that is out, what the network told the engine, and what may follow. */
import type { Cache } from '../../src/engine/cache.ts'
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Drop, type WorkerCounters } from '../../src/stats/counters.ts'
import type { Client, Episode } from './episode.ts'
import { type ParsedMessage, parseMessage } from './message.ts'
import type { Asked } from './queries.ts'
import {
  ageSeconds,
  type Expectation,
  type KnownAnswer,
  keyOf,
  knownAnswer,
  ReferenceResolver,
} from './reference-resolver.ts'
import { checkForm, checkKnown, checkLocal, edeOf, isTruncated, type ReplyLimits, STALE_TTL } from './reply-check.ts'
import { Violation } from './violation.ts'
import type { Verdict } from './virtual-network.ts'

/** What the engine is being told at the moment. */
export type Context =
  | { kind: 'timer' }
  | { kind: 'query' }
  | { kind: 'other' }
  | { kind: 'message'; verdict: Verdict; known: KnownAnswer | null }

/** A query that the engine has been given. */
export interface Pending {
  asked: Asked
  key: string
  isStream: boolean
  limits: ReplyLimits
  expectation: Expectation
  receivedAt: number
  deadlineAt: number
  /** The engine did not answer it at once. */
  isHeld: boolean
  isDone: boolean
  /** Its connection has ended: the engine answers it, and nobody sees that. */
  isGone: boolean
  /** What the engine was told when it answered, and when: a stream's reply is seen only later. */
  answeredIn: { context: Context; at: number } | null
}

interface Accepted {
  known: KnownAnswer
  cache: Cache | null
  evictions: number
}

/** Messages to servers that one question may cause: eight, and a probe. */
const MESSAGES_PER_QUESTION = 9
/** How long a failure may be remembered (RFC 9520), and how long a stale answer may be served at once after one (RFC 8767 §5). */
const FAILURE_MS = 5000
const STALE_RECHECK_MS = 31_000
const KNOWN_EACH = 64
const SERVFAIL = 2

export class Referee {
  readonly sightings: Map<string, number> = new Map()
  context: Context = { kind: 'other' }
  queries = 0
  /** Queries that must have been counted, those of them that a restart swallowed, and what was not to be answered. */
  requests = 0
  lost = 0
  dropped = 0
  replies = 0
  isRecovered = false
  private readonly episode: Episode
  private readonly resolver: ReferenceResolver
  private engine!: Engine
  private settings!: EngineSettings
  /** Queries that wait, oldest first. */
  private waiting: Pending[] = []
  private readonly known: Map<string, KnownAnswer[]> = new Map()
  private readonly accepted: Map<string, Accepted> = new Map()
  /** When a server was asked last, or would have been if there had been room, by question. */
  private readonly askedAt: Map<string, number> = new Map()
  private readonly budget: Map<string, number> = new Map()
  /** Since when nothing has happened that may cost a query its answer. */
  private calmSince = 0
  private fullDrops = 0

  constructor(episode: Episode) {
    this.episode = episode
    this.resolver = new ReferenceResolver(episode.identity, episode.tables)
  }

  see(what: string): void {
    this.sightings.set(what, (this.sightings.get(what) ?? 0) + 1)
  }

  // ── what the engine is told ─────────────────────────────────────────────────────────────────────────────────────────

  started(engine: Engine, settings: EngineSettings): void {
    this.engine = engine
    this.settings = settings
    this.resolver.table = -1
  }

  restarted(): void {
    this.see('restart')
    for (const pending of this.waiting) {
      if (pending.isDone || pending.answeredIn !== null) continue
      pending.isDone = true
      this.lost++
    }
    this.forgetAll()
    this.calmSince = Number.POSITIVE_INFINITY
  }

  /** A query whose client has gone, so that nobody sees the reply. */
  gone(pending: Pending): void {
    pending.isGone = true
  }

  configured(settings: EngineSettings, now: number): void {
    this.see('configure')
    if (settings.cache.maxBytes !== this.settings.cache.maxBytes) this.forgetAll()
    this.settings = settings
    this.disturbed(now)
  }

  private forgetAll(): void {
    this.known.clear()
    this.accepted.clear()
  }

  flushed(name: string | null, now: number): void {
    this.see(name === null ? 'flush' : 'flush of a name')
    if (name === null) return this.forgetAll()
    void now
    for (const key of [...this.known.keys(), ...this.accepted.keys()]) {
      if (!key.startsWith(`${name}|`)) continue
      this.known.delete(key)
      this.accepted.delete(key)
    }
  }

  leapt(to: number): void {
    this.see('leap')
    this.disturbed(to)
  }

  disturbed(now: number): void {
    this.calmSince = now
  }

  adopted(table: number): void {
    this.see('table adopted')
    this.resolver.table = table
  }

  /** A message has come for the engine. */
  arrived(verdict: Verdict, isForged: boolean, now: number): void {
    this.see(isForged ? 'forged reply' : `reply: ${verdict.kind}`)
    this.context = { kind: 'message', verdict, known: null }
    if (verdict.kind !== 'answer') return
    const known = knownAnswer(verdict.message, now, this.settings.cache)
    this.context.known = known
    if (known.lifetimeSeconds === 0) return
    for (const key of verdict.sent.keys) {
      const list = this.known.get(key)
      if (list === undefined) this.known.set(key, [known])
      else {
        list.unshift(known)
        if (list.length > KNOWN_EACH) list.pop()
      }
    }
  }

  // ── what the engine does ────────────────────────────────────────────────────────────────────────────────────────────

  /** The engine sends a query to a server; `outcome` is the network's complaint, or fine. */
  sent(outcome: string | number | null, bytes: Buffer, now: number): void {
    if (typeof outcome === 'string') throw new Violation(outcome)
    const query = parseMessage(bytes, 0, bytes.length)
    if (typeof query === 'string') throw new Violation(query)
    const keys = [true, false].map((dnssecOk) => keyOf(query.name, query.type, dnssecOk, query.flags))
    const key = keys[query.opt?.dnssecOk === true ? 0 : 1]!
    // Without OPT it cannot be seen which of the two questions it is for.
    const account = query.opt === null ? `${key} plain` : key
    const left = this.budget.get(account) ?? 0
    if (left === 0) {
      throw new Violation(`more queries to servers than one question may cause: ${JSON.stringify(key)} at ${now}`)
    }
    this.budget.set(account, left - 1)
    for (const one of query.opt === null ? keys : [key]) this.askedAt.set(one, now)
  }

  /** The engine is about to be given a query. */
  ask(asked: Asked, client: Client, isStream: boolean, settings: EngineSettings, now: number): Pending {
    this.queries++
    this.context = { kind: 'query' }
    const advertise = client.isLocal ? settings.maxUdpPayload.local : settings.maxUdpPayload.remote
    const payload = Math.max(512, asked.edns?.payload ?? 512)
    const key = keyOf(asked.name, asked.type, asked.edns?.dnssecOk === true, asked.flags)
    const expectation = this.resolver.expect(asked, client, settings, now)
    if (expectation.kind === 'drop') this.dropped++
    else this.requests++
    if (expectation.kind === 'upstream') this.allowMessages(asked, key)
    this.fullDrops =
      this.engine.counters.droppedOf(Drop.inFlightFull) + this.engine.counters.droppedOf(Drop.waitersFull)
    return {
      asked,
      key,
      isStream,
      limits: { limit: isStream ? 65_535 : Math.min(payload, advertise), advertise },
      expectation,
      receivedAt: now,
      deadlineAt: now + settings.deadlineMs,
      isHeld: false,
      isDone: false,
      isGone: false,
      answeredIn: null,
    }
  }

  private allowMessages(asked: Asked, key: string): void {
    this.budget.set(key, MESSAGES_PER_QUESTION)
    const plain = `${keyOf(asked.name, asked.type, false, asked.flags)} plain`
    this.budget.set(plain, Math.min((this.budget.get(plain) ?? 0) + MESSAGES_PER_QUESTION, 2 * MESSAGES_PER_QUESTION))
  }

  /** The query is neither answered nor held. */
  ignored(pending: Pending): void {
    if (pending.expectation.kind !== 'drop') this.fail(pending, 'neither answered nor held')
  }

  held(pending: Pending, now: number): void {
    if (pending.expectation.kind !== 'upstream') this.fail(pending, 'held, although no server need be asked')
    pending.isHeld = true
    this.waiting.push(pending)
    const accepted = this.accepted.get(pending.key)
    if (
      accepted !== undefined &&
      this.isKept(accepted, pending.key) &&
      ageSeconds(accepted.known, now) < accepted.known.lifetimeSeconds
    ) {
      this.fail(
        pending,
        `a server is asked for what is in the cache since ${accepted.known.at} for ${accepted.known.lifetimeSeconds} s`,
      )
    }
  }

  /** True if the answer must still be in the cache. */
  private isKept({ known, cache, evictions }: Accepted, key: string): boolean {
    if (cache === null || this.engine.cache !== cache || cache.evictions !== evictions) return false
    // A newer answer may have taken its place, by a prefetch that nobody saw the end of.
    return this.known.get(key)?.[0] === known && known.message.bytesBeforeOpt < cache.maxBytes / 16 - 500
  }

  /** The engine answers a query over a stream; the reply itself is seen with the next `answered`. */
  noteAnswer(pending: Pending, now: number): void {
    if (pending.answeredIn !== null) this.fail(pending, 'a second reply')
    pending.answeredIn = { context: this.context, at: now }
  }

  /** A reply has come out. */
  answered(pending: Pending, bytes: Buffer, at: number, length: number, now: number): void {
    if (pending.isDone) this.fail(pending, 'a second reply')
    pending.isDone = true
    this.replies++
    const { asked, expectation, limits } = pending
    const reply = checkForm(asked, limits, bytes, at, length)
    if (typeof reply === 'string') return this.fail(pending, reply)
    if (isTruncated(reply)) this.see('truncated reply')
    switch (expectation.kind) {
      case 'drop':
        return this.fail(pending, 'a reply to what deserves none')
      case 'error': {
        if (!expectation.rcodes.includes(reply.rcode))
          return this.fail(pending, `rcode ${reply.rcode} instead of ${expectation.rcodes.join(' or ')}`)
        this.see(`error ${reply.rcode}`)
        return reply.sections.some((section) => section.length > 0)
          ? this.fail(pending, 'an error with records')
          : undefined
      }
      case 'local': {
        this.see(expectation.isMesh ? 'mesh' : 'special')
        const wrong = checkLocal(expectation, reply, limits)
        return wrong === null ? undefined : this.fail(pending, wrong)
      }
      case 'upstream': {
        const { context, at: answeredAt } = pending.answeredIn ?? { context: this.context, at: now }
        const wrong = pending.isHeld
          ? this.checkLater(pending, reply, context, answeredAt)
          : this.checkImmediate(pending, reply, now)
        if (wrong !== null) this.fail(pending, `${wrong}; the reply: ${describe(reply)}`)
      }
    }
  }

  private checkImmediate(pending: Pending, reply: ParsedMessage, now: number): string | null {
    const { asked, key, limits } = pending
    if (reply.rcode === SERVFAIL) {
      const { counters } = this.engine
      if (counters.droppedOf(Drop.inFlightFull) + counters.droppedOf(Drop.waitersFull) > this.fullDrops) {
        this.see('full')
        this.calmSince = now
        return null
      }
      if (!this.hasAskedWithin(FAILURE_MS, key, now)) return 'SERVFAIL at once, although there is room'
      this.see('kept failure')
      return null
    }
    if ((asked.flags & 0x0100) === 0) return 'an answer from the cache to a query without RD'
    const list = this.known.get(key) ?? []
    let wrong = 'an answer that no server gave'
    for (const known of list) {
      const age = ageSeconds(known, now)
      const complaint = checkKnown(asked, reply, known, age, -1, limits)
      if (complaint !== null) {
        if (!complaint.startsWith('a record that')) wrong = complaint
        continue
      }
      if (age >= known.lifetimeSeconds) {
        wrong = `an answer after ${age} s that was good for ${known.lifetimeSeconds} s`
        continue
      }
      const accepted = this.accepted.get(key)
      if (accepted !== undefined && known.at < accepted.known.at)
        return 'an older answer than the one that took its place'
      this.see(reply.rcode === 3 || reply.sections[0].length === 0 ? 'negative hit' : 'hit')
      return null
    }
    if (this.hasAskedWithin(STALE_RECHECK_MS, key, now) && this.isStale(pending, reply, now)) {
      this.see('stale at once')
      return null
    }
    return wrong
  }

  /** True if servers were asked the question so lately that what came of it may still count. */
  private hasAskedWithin(ms: number, key: string, now: number): boolean {
    return now - (this.askedAt.get(key) ?? Number.NEGATIVE_INFINITY) <= ms + this.settings.deadlineMs
  }

  private checkLater(pending: Pending, reply: ParsedMessage, context: Context, now: number): string | null {
    const { asked, key, limits } = pending
    const verdict = context.kind === 'message' ? context.verdict : null
    let wrong = 'an answer out of nothing'
    const known = context.kind === 'message' ? context.known : null
    if (known !== null && verdict?.kind === 'answer' && verdict.sent.keys.includes(key)) {
      const complaint = checkKnown(asked, reply, known, 0, -1, limits)
      if (complaint === null) {
        this.see('answer')
        if (known.lifetimeSeconds > 0 && (asked.flags & 0x0100) !== 0) {
          this.accepted.set(key, { known, cache: this.engine.cache, evictions: this.engine.cache?.evictions ?? 0 })
        }
        return null
      }
      wrong = complaint
    }
    if (verdict?.kind === 'stray') wrong = 'a reply because of a message that has nothing to do with it'
    if (this.isStale(pending, reply, now)) {
      this.see('stale')
      this.askedAt.set(key, now)
      return null
    }
    if (reply.rcode !== SERVFAIL || reply.sections.some((section) => section.length > 0)) return wrong
    this.see('servfail')
    this.askedAt.set(key, now)
    const complaint = this.checkFailure(pending, now)
    // The failure takes the place of an answer that is of no use any more.
    this.accepted.delete(key)
    return complaint
  }

  /** True if the reply is an expired answer that may still be served, as one. */
  private isStale(pending: Pending, reply: ParsedMessage, now: number): boolean {
    const { asked, key, limits } = pending
    const newest = this.accepted.get(key)?.known.at ?? 0
    for (const known of this.known.get(key) ?? []) {
      const age = ageSeconds(known, now)
      if (
        known.at < newest ||
        known.lifetimeSeconds === 0 ||
        age < known.lifetimeSeconds ||
        age >= known.lifetimeSeconds + this.settings.cache.staleSeconds
      )
        continue
      if (checkKnown(asked, reply, known, age, STALE_TTL, limits) === null)
        return asked.edns === null || edeOf(reply) === 3
    }
    return false
  }

  /** A query has failed: had it to? */
  private checkFailure(pending: Pending, now: number): string | null {
    const { asked, key } = pending
    const accepted = this.accepted.get(key)
    if (accepted !== undefined && this.isKept(accepted, key)) {
      const age = ageSeconds(accepted.known, now)
      if (age < accepted.known.lifetimeSeconds + this.settings.cache.staleSeconds)
        return `SERVFAIL, although there is an answer of ${age} s ago`
    }
    if (this.isRecovered) return 'SERVFAIL, although all servers are well'
    const isCalm = this.calmSince < now - 2 * this.settings.deadlineMs
    if (isCalm && this.hasPerfectServer(asked.name))
      return 'SERVFAIL, although one of the servers always answers in time'
    return null
  }

  private hasPerfectServer(name: string): boolean {
    const { episode, settings } = this
    const isPerfect = (index: number): boolean =>
      episode.habits[Number(settings.servers[index]!.address.split('.')[3]) - 1] === 'perfect'
    const route = settings.routes.find(({ domains }) =>
      domains.some((domain) => name.endsWith(Buffer.from(domain).toString('latin1'))),
    )
    return route!.servers.some(isPerfect)
  }

  // ── checks between steps ────────────────────────────────────────────────────────────────────────────────────────────

  /** Time has moved on, and the engine knows: nobody may wait beyond the deadline. */
  checkDeadlines(now: number): void {
    const { waiting } = this
    let k = 0
    while (k < waiting.length && waiting[k]!.isDone) k++
    if (k > 64 || k === waiting.length) this.waiting = waiting.slice(k)
    const first = this.waiting.find((pending) => !pending.isDone && pending.answeredIn === null)
    if (first !== undefined && first.deadlineAt <= now) this.fail(first, `no reply at ${now}, past the deadline`)
  }

  checkRound(engine: Engine, counters: WorkerCounters, now: number): void {
    const { inFlight, timers } = engine.forwarder
    if (inFlight.open > inFlight.capacity || inFlight.open < 0)
      throw new Violation(`${inFlight.open} exchanges of ${inFlight.capacity}`)
    if (timers.armed !== inFlight.open) throw new Violation(`${timers.armed} timers for ${inFlight.open} exchanges`)
    if (inFlight.attemptsOpen >= inFlight.attemptCapacity - 1) this.calmSince = now
    const { cache } = engine
    if (cache !== null && (cache.bytes > cache.maxBytes || cache.entries < 0))
      throw new Violation(`cache of ${cache.bytes} bytes, ${cache.entries} entries`)
    void counters
  }

  checkQuiet(engine: Engine, counters: WorkerCounters): void {
    const left = this.waiting.filter((pending) => !pending.isDone && !(pending.isGone && pending.answeredIn !== null))
    if (left.length > 0) this.fail(left[0]!, 'no reply, and nothing is under way any more')
    if (!engine.isQuiet) throw new Violation(`${engine.forwarder.inFlight.open} exchanges that do not end`)
    void counters
  }

  /** Some while after all servers recovered. */
  checkHealth(counters: WorkerCounters, settings: EngineSettings): void {
    // Nothing is asked of them for want of a table.
    if (this.resolver.table < 0 && settings.beforeSync === 'servfail') return
    settings.servers.forEach((server, index) => {
      // A server that no route leads to, or only one for names that were not asked, stays as it was.
      const isAsked = settings.routes.some((route) => route.servers.includes(index))
      if (isAsked && counters.upstreamGet(index, 11) !== 1)
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

function describe(reply: ParsedMessage): string {
  const records = reply.sections.map((section) =>
    section
      .map((record) => `${JSON.stringify(record.id)} ${record.ttl}`)
      .join(', ')
      .slice(0, 300),
  )
  return `rcode ${reply.rcode}, flags ${reply.flags.toString(16)}, ${records.join(' / ')}`
}
