/**
 * What servers said, and which replies to clients that allows: answers as fresh as they are, stale ones where they may
 * serve, halves where nobody has the whole, failures where no server could have helped.
 */
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { Ledger } from './counter-rules.ts'
import { DenialRules, routeOf } from './denial-rules.ts'
import { EdeRules } from './ede-rules.ts'
import type { Episode } from './episode.ts'
import type { ParsedMessage } from './message.ts'
import { type MessageBudget, plainOf } from './message-budget.ts'
import { type AnswerMoment, type CacheMoment, isRecursive, type Pending } from './pending.ts'
import { ageSeconds, type KnownAnswer, knownAnswer } from './reference-resolver.ts'
import { checkEde, checkEdeIfRoom, checkKnown, Ede, edeOf, isTruncated, STALE_TTL } from './reply-check.ts'
import type { RoomRules } from './room-rules.ts'
import type { ServiceDenialRules } from './service-denial-rules.ts'
import type { Verdict, VirtualNetwork } from './virtual-network.ts'

interface Accepted extends CacheMoment {
  known: KnownAnswer
}

/** How long a failure may be remembered (RFC 9520), and how long a stale answer may be served at once after one (RFC 8767 §5). */
const FAILURE_MS = 5000
const STALE_RECHECK_MS = 31_000
/** How long clients with a stale answer wait for a fresh one (RFC 8767 §5). */
const CLIENT_RESPONSE_MS = 1800
/** Timers are as fine as a tick. */
const SLACK_MS = 5
const KNOWN_EACH = 64
/** Truncated answers of a question that are remembered. */
const CUT_EACH = 64
const NOERROR = 0
const SERVFAIL = 2
const NXDOMAIN = 3
const FLAG_TC = 0x0200
const FLAG_AD = 0x0020

export class AnswerRules {
  engine!: Engine
  room!: RoomRules
  settings!: EngineSettings
  private readonly services: ServiceDenialRules
  isRecovered = false
  /** Since when nothing has happened that may cost a query its answer. */
  calmSince = 0
  private readonly episode: Episode
  private readonly network: VirtualNetwork
  private readonly budget: MessageBudget
  private readonly ledger: Ledger
  private readonly see: (what: string) => void
  private readonly known: Map<string, KnownAnswer[]> = new Map()
  private readonly accepted: Map<string, Accepted> = new Map()
  /** When the newest answer came that a client was given, whether it may be kept or not: none before it may serve again. */
  private readonly givenAt: Map<string, number> = new Map()
  /** When an answer came last that nobody may keep: it takes the place of what was kept. */
  private readonly unkeptAt: Map<string, number> = new Map()
  private readonly denials: DenialRules
  private readonly edes: EdeRules = new EdeRules()
  /** What servers cut off of answers, since somebody asked. */
  private readonly cut: Map<string, ParsedMessage[]> = new Map()
  /** When the server that always answers did so with what makes another message needed, by question. */
  private readonly stumbledAt: Map<string, number> = new Map()
  /** When a server was asked last, or would have been if there had been room, by question. */
  private readonly askedAt: Map<string, number> = new Map()
  /** When a server or a socket failed last. */
  private failedAt = Number.NEGATIVE_INFINITY

  constructor(
    episode: Episode,
    network: VirtualNetwork,
    budget: MessageBudget,
    services: ServiceDenialRules,
    ledger: Ledger,
    see: (what: string) => void,
  ) {
    this.episode = episode
    this.services = services
    this.denials = new DenialRules(services)
    this.network = network
    this.budget = budget
    this.ledger = ledger
    this.see = see
  }

  forgetAll(): void {
    for (const map of [this.known, this.accepted, this.givenAt, this.unkeptAt]) map.clear()
    this.denials.forgetAll()
  }

  /** The engine starts anew. */
  restarted(): void {
    this.forgetAll()
    this.denials.restarted()
  }

  /** Other settings: what was too old to serve by those before may have been replaced by a failure. */
  configured(settings: EngineSettings, now: number): void {
    for (const [key, { known }] of this.accepted)
      if (ageSeconds(known, now) >= known.lifetimeSeconds + this.settings.cache.staleSeconds) this.accepted.delete(key)
    // What was known of IPv6 addresses is forgotten when they are of no use any more.
    if (settings.aaaaWithheld !== undefined && this.settings.aaaaWithheld === undefined) {
      for (const map of [this.known, this.accepted, this.givenAt, this.unkeptAt])
        for (const key of map.keys()) if (isWithheld(key, settings)) map.delete(key)
    }
    this.settings = settings
  }

  forgetName(name: string): void {
    this.denials.forgetName(name)
    for (const map of [this.known, this.accepted, this.givenAt, this.unkeptAt])
      for (const key of map.keys()) if (key.startsWith(`${name}|`)) map.delete(key)
  }

  /** A message has come for the engine; returns the answer in it, if it is one. */
  arrived(verdict: Verdict, now: number): KnownAnswer | null {
    if (verdict.kind === 'truncated') this.noteCut(verdict)
    if (verdict.kind !== 'answer' && verdict.kind !== 'stray') {
      this.noteStumble(verdict, now)
      this.edes.failed(verdict, now)
      this.failedAt = now
    }
    if (verdict.kind !== 'answer') return null
    const known = knownAnswer(verdict.message, now, this.services)
    this.denials.heard(verdict.sent.keys, known, this.settings)
    if (known.isBrief) this.see('a denial below a service')
    const isKept = !known.isBrief || this.services.keeping(verdict.sent.at) !== 'no'
    if (!isKept) known.lifetimeSeconds = 0
    if (known.lifetimeSeconds === 0) {
      if (isOfTheName(known)) for (const key of verdict.sent.keys) this.unkeptAt.set(key, now)
      return known
    }
    this.denials.arrived(verdict.sent.keys, known, this.settings)
    for (const key of verdict.sent.keys) {
      const list = this.known.get(key)
      if (list === undefined) this.known.set(key, [known])
      else {
        list.unshift(known)
        if (list.length > KNOWN_EACH) list.pop()
      }
    }
    return known
  }

  private noteCut({ sent, flags, cut }: Extract<Verdict, { kind: 'truncated' }>): void {
    const bare = { ...sent.query, flags: flags | FLAG_TC, rcode: flags & 15 }
    const empty: ParsedMessage = { ...bare, sections: [[], [], []] }
    for (const message of cut === null ? [empty] : [cut, empty]) {
      for (const key of sent.keys) {
        const list = this.cut.get(key)
        if (list === undefined) this.cut.set(key, [message])
        else if (list.length < CUT_EACH) list.push(message)
      }
    }
  }

  private noteStumble(verdict: Exclude<Verdict, { kind: 'stray' | 'answer' }>, now: number): void {
    const { sent } = verdict
    if (sent === null || !this.isPerfect(sent.server)) return
    for (const key of sent.keys) this.stumbledAt.set(key, now)
  }

  /** A server is asked for the answer to one of these questions. */
  asked(keys: readonly string[], now: number): void {
    for (const key of keys) this.askedAt.set(key, now)
  }

  /** A query was answered, and nobody saw how: by a failure perhaps, which takes the place of what was kept. */
  unseen(key: string, now: number): void {
    this.accepted.delete(key)
    this.askedAt.set(key, now)
  }

  /** A question begins anew: what was cut off of earlier answers is of no use any more. */
  begins(key: string): void {
    this.cut.delete(key)
  }

  /** A query waits for a server: what is wrong with that, or null. */
  checkAskedFor({ asked, key }: Pending, now: number): string | null {
    const known = this.known.get(key)
    // What has taken the place of an older answer does not give it back, ended or not.
    if (known?.[0] !== this.accepted.get(key)?.known) this.accepted.delete(key)
    if (known !== undefined && isRecursive(asked))
      this.known.set(
        key,
        known.filter((one) => this.services.ending(asked.name, one) !== 'yes'),
      )
    const accepted = this.accepted.get(key)
    if (accepted !== undefined && this.isKept(accepted, key)) {
      const { at, lifetimeSeconds } = accepted.known
      const isEnded = this.services.ending(asked.name, accepted.known) !== 'no'
      // It does not come back with a later table.
      if (isEnded) this.accepted.delete(key)
      else if (ageSeconds(accepted.known, now) < lifetimeSeconds)
        return `a server is asked for what is in the cache since ${at} for ${lifetimeSeconds} s`
    }
    // What is known of the question itself, a failure too, comes before what is known of names above.
    if (!isRecursive(asked) || this.known.has(key) || this.askedAt.has(key)) return null
    const denial = this.denials.mustAnswer(key, this.settings, this.engine.cache, now)
    return denial === null ? null : 'a server is asked for a name below one that does not exist'
  }

  /** True if the answer must still be in the cache. */
  private isKept({ known, cache, evictions }: Accepted, key: string): boolean {
    if (cache === null || this.engine.cache !== cache || cache.evictions !== evictions) return false
    // A newer answer may have taken its place, by a prefetch that nobody saw the end of.
    if ((this.unkeptAt.get(key) ?? 0) >= known.at) return false
    return this.known.get(key)?.[0] === known && known.message.bytesBeforeOpt < cache.maxBytes / 16 - 500
  }

  /** Checks a reply that came at once, where a server might have been asked. What is wrong, or null. */
  checkImmediate(pending: Pending, reply: ParsedMessage, now: number): string | null {
    const { asked, key, limits } = pending
    if (reply.rcode === SERVFAIL) {
      if (!this.hasAskedWithin(FAILURE_MS, key, now)) return 'SERVFAIL at once, although there is room'
      this.see('kept failure')
      this.ledger.hits++
      return checkEde(asked, reply, Ede.CACHED_ERROR)
    }
    if (!isRecursive(asked)) return 'an answer from the cache to a query without RD'
    const list = this.known.get(key) ?? []
    let wrong = 'an answer that no server gave'
    for (const known of list) {
      const age = ageSeconds(known, now)
      const complaint =
        checkKnown(asked, reply, known, age, -1, limits) ??
        checkEdeIfRoom(asked, reply, known, limits, edeOf(known.message))
      if (complaint !== null) {
        if (!complaint.startsWith('a record that')) wrong = complaint
        continue
      }
      if (age >= known.lifetimeSeconds) {
        wrong = `an answer after ${age} s that was good for ${known.lifetimeSeconds} s`
        continue
      }
      if (this.services.ending(asked.name, known) === 'yes') {
        wrong = 'a denial that a table has ended'
        continue
      }
      if (known.at < (this.givenAt.get(key) ?? 0)) return 'an older answer than the one that took its place'
      this.see(reply.rcode === NXDOMAIN || reply.sections[0].length === 0 ? 'negative hit' : 'hit')
      // An old answer and a new one may be the same: where a server passes on what we said ourselves, or all is cut off.
      if (looksStale(reply) && this.isStale(pending, reply, now)) {
        this.ledger.eitherHits++
        return null
      }
      this.ledger.hits++
      return null
    }
    const wantsAd = asked.isRewritten !== true && ((asked.flags & FLAG_AD) !== 0 || asked.edns?.dnssecOk === true)
    if (this.denials.explains(key, reply, wantsAd, this.settings, now)) {
      this.see(edeOf(reply) === Ede.SYNTHESIZED ? 'denial in a search storm' : 'denial of a name above')
      if (looksStale(reply) && this.isStale(pending, reply, now)) this.ledger.eitherHits++
      else this.ledger.hits++
      return isTruncated(reply) ? 'TC on a denial' : null
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

  /** The same for one that had to wait for servers; `context`: what the engine was told when it answered. */
  checkLater(pending: Pending, reply: ParsedMessage, moment: AnswerMoment): string | null {
    const { asked, key, limits } = pending
    const { at: now, context } = moment
    const verdict = context.kind === 'message' ? context.verdict : null
    if (verdict?.kind === 'stray') return 'a reply because of a message that has nothing to do with it'
    let wrong = 'an answer out of nothing'
    const known = context.kind === 'message' ? context.known : null
    if (known !== null && verdict?.kind === 'answer' && verdict.sent.keys.includes(key)) {
      const complaint =
        checkKnown(asked, reply, known, 0, -1, limits) ??
        checkEdeIfRoom(asked, reply, known, limits, edeOf(known.message))
      if (complaint === null) {
        this.see('answer')
        this.believe(pending, verdict, known, moment)
        return null
      }
      wrong = complaint
    }
    if (this.isStale(pending, reply, now)) {
      this.see('stale')
      this.askedAt.set(key, now)
      return context.kind === 'timer' && this.isTooSoon(pending, now)
        ? 'stale, although a server has time to answer'
        : null
    }
    // Over TCP nobody could ask for more: it is an answer out of nothing there.
    const makesRoom = context.kind === 'query' && moment.isCrowded
    if (!pending.isStream && this.isCutOff(pending, reply, now)) {
      this.see(pending.isLatecomer ? 'a partial answer for a latecomer' : 'a partial answer')
      return makesRoom ? null : this.checkFailure(pending, now)
    }
    if (reply.rcode !== SERVFAIL || reply.sections.some((section) => section.length > 0)) return wrong
    this.see('servfail')
    this.askedAt.set(key, now)
    if (makesRoom) {
      this.see('made room')
      this.calmSince = now
      this.accepted.delete(key)
      return this.edes.checkFailure(asked, key, reply, context, now)
    }
    if (context.kind === 'query') return 'a question fails because another one is asked'
    const complaint = this.checkFailure(pending, now)
    // The failure takes the place of an answer that is of no use any more.
    this.accepted.delete(key)
    return complaint ?? this.edes.checkFailure(asked, key, reply, context, now)
  }

  /** The engine has given a client the answer: it knows what is in it. */
  private believe(
    { asked, key }: Pending,
    { sent }: Extract<Verdict, { kind: 'answer' }>,
    known: KnownAnswer,
    { cache }: AnswerMoment,
  ): void {
    this.network.cookies.believed(sent.query, known.message, sent.server, sent.isStream)
    this.network.edns.believed(sent.query, sent.server)
    if (!isRecursive(asked)) return
    // What says nothing of the name leaves what was said of it.
    if (isOfTheName(known)) {
      this.givenAt.set(key, Math.max(known.at, this.givenAt.get(key) ?? 0))
      this.denials.believed(key, known, this.settings)
    }
    if (known.lifetimeSeconds === 0 || isWithheld(key, this.settings)) return
    if (known.isBrief && this.services.keeping(sent.at) !== 'yes') return
    this.accepted.set(key, { known, ...cache })
    this.denials.accepted(key, known, this.settings, cache)
  }

  /** True if the reply is what a server cut off, as such. */
  private isCutOff({ asked, key, limits }: Pending, reply: ParsedMessage, now: number): boolean {
    if (!isTruncated(reply)) return false
    // As fresh as ever: nobody keeps it.
    const cut = (this.cut.get(key) ?? []).map((message) => knownAnswer(message, now, this.services))
    return cut.some(
      (known) =>
        checkKnown(asked, reply, known, 0, -1, limits) === null &&
        checkEdeIfRoom(asked, reply, known, limits, edeOf(known.message)) === null,
    )
  }

  /**
   * True if a server has been asked less than an attempt's time ago, none of them so long ago that clients need not wait
   * (RFC 8767 §5), and the deadline is not there yet: no timer may end the wait.
   */
  private isTooSoon({ asked, key, deadlineAt }: Pending, now: number): boolean {
    const plain = plainOf(asked.name, asked.type, asked.flags)
    if (now >= deadlineAt - SLACK_MS) return false
    const { deadlineMs } = this.settings
    const attemptTimeoutMs = routeOf(asked.name, this.settings).attemptTimeoutMs ?? this.settings.attemptTimeoutMs
    // A pending query that began before the last one's end may have been joined: only the oldest message counts.
    const isLong =
      now >= Math.min(...this.budget.triedAt(key, plain)) + Math.min(CLIENT_RESPONSE_MS, deadlineMs) - SLACK_MS
    const sentAt = this.budget.sentAt(key, plain)
    // What was sent before some failure may have come to nothing by it.
    return !isLong && sentAt > Math.max(this.failedAt, this.calmSince) && now < sentAt + attemptTimeoutMs - SLACK_MS
  }

  /** True if the reply is an expired answer that may still be served, as one. */
  private isStale(pending: Pending, reply: ParsedMessage, now: number): boolean {
    const { asked, key, limits } = pending
    const newest = this.givenAt.get(key) ?? 0
    for (const known of this.known.get(key) ?? []) {
      const age = ageSeconds(known, now)
      if (
        known.at < newest ||
        known.lifetimeSeconds === 0 ||
        known.isBrief ||
        this.services.ending(asked.name, known) === 'yes' ||
        age < known.lifetimeSeconds ||
        age >= known.lifetimeSeconds + this.settings.cache.staleSeconds
      )
        continue
      if (checkKnown(asked, reply, known, age, STALE_TTL, limits) !== null) continue
      const code = reply.rcode === NXDOMAIN ? Ede.STALE_NXDOMAIN : Ede.STALE
      return checkEdeIfRoom(asked, reply, known, limits, code) === null
    }
    return false
  }

  /** A query has failed: had it to? */
  private checkFailure(pending: Pending, now: number): string | null {
    const { asked, key } = pending
    const accepted = this.accepted.get(key)
    if (accepted !== undefined && this.isKept(accepted, key)) {
      const age = ageSeconds(accepted.known, now)
      const isOver = accepted.known.isBrief || this.services.ending(asked.name, accepted.known) !== 'no'
      if (!isOver && age < accepted.known.lifetimeSeconds + this.settings.cache.staleSeconds)
        return `SERVFAIL, although there is an answer of ${age} s ago`
    }
    if (this.isRecovered) return 'no whole answer, although all servers are well'
    const isCalm = this.calmSince < now - 2 * this.settings.deadlineMs
    if (!isCalm || !this.hasPerfectServer(asked.name)) return null
    // It wanted to be asked in another way, and so much had been asked before that it could not be.
    const hasStumbled = (this.stumbledAt.get(key) ?? Number.NEGATIVE_INFINITY) >= pending.receivedAt
    if (hasStumbled && this.isSpent(pending)) return null
    return 'no whole answer, although one of the servers always answers in time'
  }

  private isSpent({ asked, key, receivedAt }: Pending): boolean {
    const plain = plainOf(asked.name, asked.type, asked.flags)
    return this.budget.isSpent(key, plain, receivedAt - this.settings.deadlineMs)
  }

  private hasPerfectServer(name: string): boolean {
    const { servers } = routeOf(name, this.settings)
    return servers.some((index) => this.isPerfect(this.network.worldServer(index)))
  }

  private isPerfect(server: number): boolean {
    return this.episode.habits[server] === 'perfect'
  }
}

/** True for a question for AAAA without DO that is answered here. Labels may hold any byte, so only the key's end tells. */
function isWithheld(key: string, { aaaaWithheld }: EngineSettings): boolean {
  return aaaaWithheld !== undefined && /\0\|28\|C?N?$/.test(key)
}

/** True for what takes the place of earlier answers; other rcodes tell of the server. */
function isOfTheName({ message }: KnownAnswer): boolean {
  return message.rcode === NOERROR || message.rcode === NXDOMAIN
}

/** True if nothing in the reply shows that it is not an expired answer. */
function looksStale({ sections }: ParsedMessage): boolean {
  return sections.every((section) => section.every(({ ttl }) => ttl === STALE_TTL))
}
