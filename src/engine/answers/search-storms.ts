/**
 * Search storms: what a resolver with `ndots:5` asks before it asks for `api.example.com` itself. Below each search domain
 * of the cluster, the *parent* of such a name (`com.shop.svc.cluster.local`) does not exist, and so nothing below it does
 * (RFC 8020). One question for the parent spares all those below, for as long as its NXDOMAIN is good.
 *
 * ```
 *  api.example.com.shop.svc.cluster.local
 *                  └─ search domain ────┘
 *              └─ parent ───────────────┘     denied → answered here, with the parent's SOA
 *                                             unknown → asked as before; the parents below all search domains are
 *                                                       asked for beside it
 * ```
 * A server may answer names below one that it denies (templates, broken empty non-terminals). So a random name below the
 * first parent is asked for, once for each search domain and set of servers. If it exists, or if an answer ever contradicts
 * a denial, every question of that domain is asked again.
 */
import { Ede, Flag, Rcode, Type } from '../../dns/constants.ts'
import { finishHash, hashBytes, MAX_NAME, nameToText } from '../../dns/name.ts'
import type { Answer } from '../../dns/answer.ts'
import { copyBytes } from '../../dns/reply.ts'
import { Cell, Source, type WorkerCounters } from '../../stats/counters.ts'
import type { Cache } from '../cache/cache.ts'
import { findCut, forgetCut, keyHash, writeDenial } from '../cache/nxdomain-cut.ts'
import { ageOf, AnswerStore, StoredFlag } from '../cache/stored-answer.ts'
import type { ClientQuery } from '../client-query.ts'
import type { Upstreams } from '../forward/upstreams.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'
import { isBelowService } from './service-names.ts'

/** A parent's denial is renewed by a hit in this last part of its life. */
const RENEWAL_PART = 4
/** Parents that exist, or that were asked for just now, are not asked for again so soon. */
const EXISTS_MS = 300_000
const ASKED_MS = 5000
/** An answer below a parent contradicts the parent's denial if one comes so soon after the other. */
const CONTRADICTION_MS = 5000
/** Parents that are remembered: one that takes another's place only costs a question. */
const MEMORY = 256
const GUARD_LABEL = 12
/** What decides whether an answer may be shared: RD must be set, CD not. */
const RECURSION: number = Flag.RD | Flag.CD
const LETTERS: Uint8Array = new TextEncoder().encode('abcdefghijklmnopqrstuvwxyz234567')
const KEY_TAIL = 3
const CONTRADICTION = 'a name exists there below one that a server denies'

const Guard = { UNKNOWN: 0, ASKED: 1, PASSED: 2, OFF: 3 } as const

/** What the stage may look at besides. */
export interface SearchStormsContext extends AnswerContext {
  readonly cache: Cache | null
  readonly counters: WorkerCounters
  readonly forwarder: {
    readonly upstreams: Upstreams
    readonly hasSpareRoom: boolean
    ask(hash: number, key: Uint8Array, keyLength: number): boolean
  }
  /** Told once that a search domain's questions are all asked again, and why. */
  stormsOff(domain: string, why: string): void
}

interface Domain {
  /** Wire format, lower case. */
  readonly name: Uint8Array
  guard: number
  /** Name that was asked for to see that nothing answers everything; empty before. */
  guardName: Uint8Array
  guardAskedAt: number
}

// Made once and overwritten by each call, which is synchronous: the key of a question of our own, and a parent.
const key = new Uint8Array(264)
const parentName = new Uint8Array(MAX_NAME)

/** Denies what is below a parent that does not exist, and finds out which ones do not. */
export class SearchStormsStage implements AnswerStage {
  readonly name = 'search storms'
  readonly source: Source = Source.cache
  readonly #context: SearchStormsContext
  #domains: Domain[] = []
  /** By place (a few bits of the hash): a parent's hash, what is known of it, and until when. */
  readonly #hashes: Int32Array = new Int32Array(MEMORY)
  readonly #untils: Float64Array = new Float64Array(MEMORY)
  /** When a name below it was answered. */
  readonly #answeredAt: Float64Array = new Float64Array(MEMORY)
  /** Of the question asked last: its domain and route, where its parent begins, and the parent's denial if there is one. */
  #domain: Domain | null = null
  #route = 0
  #parentAt = 0
  #denial = -1
  #store: AnswerStore = new AnswerStore(0)
  #isDenied = false
  /** Where the parent begins that `#domainOf` has found. */
  #foundAt = 0

  constructor(context: SearchStormsContext) {
    this.#context = context
  }

  /** Takes the search domains of the settings. `isSame`: with the same servers, so that what is known of them stays. */
  configure(isSame: boolean): void {
    const { searchStorms = [] } = this.#context.settings
    const before = this.#domains
    this.#domains = searchStorms.map((name) => {
      const known = isSame ? before.find((each) => Buffer.compare(each.name, name) === 0) : undefined
      return known ?? { name, guard: Guard.UNKNOWN, guardName: new Uint8Array(0), guardAskedAt: 0 }
    })
    if (!isSame) this.#untils.fill(0)
  }

  /** True if the settings name domains to look after. */
  get isOn(): boolean {
    return this.#domains.length > 0 && this.#context.cache !== null
  }

  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    this.#isDenied = false
    if (!this.#find(query)) return PASS
    const { now } = this.#context
    const { lower, length } = query.name
    this.#denial = this.#findDenial(lower, this.#parentAt, length - this.#parentAt)
    if (this.#denial < 0 || this.#domain!.guard !== Guard.PASSED) return PASS
    const store = this.#store
    const ede = store.ede(this.#denial)
    const shownEde = ede === Ede.NONE ? Ede.SYNTHESIZED : ede
    const reply = writeDenial(store, this.#denial, query, ageOf(store, this.#denial, now), shownEde, out, outAt)
    this.#isDenied = reply !== PASS
    return reply
  }

  /** A client got the denial. */
  answered({ name }: ClientQuery): void {
    const { counters, forwarder, now } = this.#context
    counters.add(Cell.cacheRequests, 1)
    counters.add(Cell.cacheHitsNegative, 1)
    counters.add(Cell.stormDenials, 1)
    const store = this.#store
    const lifetime = store.lifetimeSeconds(this.#denial)
    const isNearItsEnd = ageOf(store, this.#denial, now) * RENEWAL_PART >= lifetime * (RENEWAL_PART - 1)
    if (!isNearItsEnd || store.has(this.#denial, StoredFlag.PREFETCHED)) return
    store.mark(this.#denial, StoredFlag.PREFETCHED)
    const length = name.length - this.#parentAt
    copyBytes(name.lower, this.#parentAt, length, key, 0)
    const hash = this.#hashOf(key, 0, length)
    if (forwarder.ask(keyHash(hash, Type.A, 0), key, endKey(length))) counters.add(Cell.stormParents, 1)
  }

  /**
   * The question asked last has gone to a server: finds out beside it what spares the next ones. The client's resolver goes on
   * to the other search domains, so their parents are asked for as well.
   */
  passed({ name }: ClientQuery): void {
    if (this.#domain === null || this.#domain.guard === Guard.OFF) return
    const { length, lower } = name
    const parentAt = this.#parentAt
    // Else with each name below a namespace that exists those would be asked for again that do not.
    const isKnown = this.#isRemembered(this.#hashOf(lower, parentAt, length - parentAt))
    if (isKnown && this.#domain.guard !== Guard.ASKED) return
    const { forwarder } = this.#context
    for (const domain of this.#domains) if (forwarder.hasSpareRoom) this.#learn(domain, lower, parentAt)
  }

  /** Asks whether the label at `at` of `name` exists below a domain, unless that is known, and for the domain's guard. */
  #learn(domain: Domain, name: Uint8Array, at: number): void {
    if (domain.guard === Guard.OFF) return
    const { counters, forwarder, now } = this.#context
    const size = name[at]! + 1
    const length = size + domain.name.length
    if (length > MAX_NAME) return
    copyBytes(name, at, size, parentName, 0)
    copyBytes(domain.name, 0, domain.name.length, parentName, size)
    if (forwarder.upstreams.routeFor(parentName, 0, length) !== this.#route) return
    const isGuardDue = domain.guard === Guard.ASKED && now >= domain.guardAskedAt + ASKED_MS
    if (domain.guard === Guard.UNKNOWN || isGuardDue) this.#askGuard(domain, length)
    const hash = this.#hashOf(parentName, 0, length)
    if (this.#isRemembered(hash) || this.#findDenial(parentName, 0, length) >= 0) return
    copyBytes(parentName, 0, length, key, 0)
    if (!forwarder.ask(keyHash(hash, Type.A, 0), key, endKey(length))) return
    counters.add(Cell.stormParents, 1)
    this.#remember(hash, now + ASKED_MS)
  }

  /** True if the denial of this name (lower-cased wire format, `length` bytes at `at`) denies what is below it. */
  isParent(name: Uint8Array, at: number, length: number): boolean {
    return this.#domainOf(name, at, length) !== null && this.#foundAt === at
  }

  /** A server has answered a question: what that says of parents and guards. The key as in the cache, `keyLength` bytes at `at`. */
  heard(keys: Uint8Array, at: number, keyLength: number, { answers, rcode, soaTtl }: Answer): void {
    if (!this.isOn || keys[at + keyLength - 1] !== 0) return
    const length = keyLength - KEY_TAIL
    const domain = this.#domainOf(keys, at, length)
    if (domain === null || (rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN)) return
    const isDenied = rcode === Rcode.NXDOMAIN && answers === 0
    const parentAt = this.#foundAt
    const isKept = soaTtl > 0 && this.#context.settings.cache.maxNegativeTtlSeconds > 0
    if (parentAt === at) return this.#heardOfParent(domain, keys, at, length, isDenied, isKept)
    if (domain.guard === Guard.ASKED && equals(keys, at, length, domain.guardName)) {
      if (isDenied) domain.guard = Guard.PASSED
      else this.#turnOff(domain, 'a random name is answered there, by a wildcard or a template')
      return
    }
    if (rcode === Rcode.NXDOMAIN) return
    const parentLength = length - (parentAt - at)
    if (this.#findDenial(keys, parentAt, parentLength) >= 0) return this.#turnOff(domain, CONTRADICTION)
    const hash = this.#hashOf(keys, parentAt, parentLength)
    this.#remember(hash, this.#context.now + EXISTS_MS)
    this.#answeredAt[hash & (MEMORY - 1)] = this.#context.now
  }

  #heardOfParent(
    domain: Domain,
    name: Uint8Array,
    at: number,
    length: number,
    isDenied: boolean,
    isKept: boolean,
  ): void {
    const { cache, now, seed } = this.#context
    const hash = this.#hashOf(name, at, length)
    const place = hash & (MEMORY - 1)
    const isContradicted = this.#hashes[place] === hash && now < this.#answeredAt[place]! + CONTRADICTION_MS
    if (isDenied && isContradicted) this.#turnOff(domain, CONTRADICTION)
    // A denial that cannot be kept spares nothing: the parent is as good as there.
    else this.#remember(hash, isDenied && isKept ? 0 : now + EXISTS_MS)
    if (!isDenied && cache !== null) forgetCut(cache, seed, name, at, length)
  }

  finding(query: ClientQuery): string {
    const domain = this.#domain
    if (domain === null)
      return query.dnssecOk
        ? 'asked with DNSSEC, so it goes on'
        : "not below a parent in one of the cluster's search domains"
    const parent = nameToText(query.name.lower, this.#parentAt)
    if (this.#isDenied) return `${parent} does not exist, so nothing below it does (RFC 8020)`
    switch (domain.guard) {
      case Guard.OFF:
        return `off for ${nameToText(domain.name)} because a server answers names below one that it denies`
      case Guard.PASSED:
        return `whether ${parent} exists is not known, or it does`
      default:
        return `not known yet whether ${nameToText(domain.name)} answers any name`
    }
  }

  /** Notes domain and parent of a question that may be part of a storm; false for any other. */
  #find(query: ClientQuery): boolean {
    this.#domain = null
    if (!this.isOn || query.dnssecOk || query.classBits !== 0 || (query.flags & RECURSION) !== Flag.RD) return false
    const { forwarder, image } = this.#context
    const { lower, length } = query.name
    const domain = this.#domainOf(lower, 0, length)
    const parentAt = this.#foundAt
    // One label below the domain: a service, say.
    if (domain === null || parentAt === 0) return false
    if (image !== null && isBelowService(image, lower, 0, length)) return false
    const { upstreams } = forwarder
    const route = upstreams.routeFor(lower, 0, length)
    if (upstreams.routeFor(lower, parentAt, length - parentAt) !== route) return false
    if (upstreams.routeFor(domain.name, 0, domain.name.length) !== route) return false
    this.#domain = domain
    this.#route = route
    this.#parentAt = parentAt
    return true
  }

  /** The longest search domain that a name is below, null if it is below none; `#foundAt` is where its parent begins. */
  #domainOf(name: Uint8Array, at: number, length: number): Domain | null {
    for (const domain of this.#domains) {
      const domainAt = at + length - domain.name.length
      if (domainAt <= at || !equals(name, domainAt, domain.name.length, domain.name)) continue
      let from = at
      let next = at + name[at]! + 1
      while (next < domainAt) {
        from = next
        next += name[next]! + 1
      }
      // Else the bytes are those of a label, by chance.
      if (next !== domainAt) continue
      this.#foundAt = from
      return domain
    }
    return null
  }

  #hashOf(name: Uint8Array, at: number, length: number): number {
    return finishHash(hashBytes(this.#context.seed, name, at, length - 1))
  }

  /** The denial of a parent that is still good, as a block of `#store`; -1 if there is none. */
  #findDenial(name: Uint8Array, at: number, length: number): number {
    const { cache, now, seed } = this.#context
    if (cache === null) return -1
    const block = findCut(cache, seed, name, at, length)
    if (block < 0 || ageOf(cache.store, block, now) >= cache.store.lifetimeSeconds(block)) return -1
    this.#store = cache.store
    return block
  }

  #isRemembered(hash: number): boolean {
    const place = hash & (MEMORY - 1)
    return this.#hashes[place] === hash && this.#context.now < this.#untils[place]!
  }

  #remember(hash: number, until: number): void {
    const place = hash & (MEMORY - 1)
    if (this.#hashes[place] !== hash) this.#answeredAt[place] = Number.NEGATIVE_INFINITY
    this.#hashes[place] = hash
    this.#untils[place] = until
  }

  /** Asks for a random name below `parentName`. */
  #askGuard(domain: Domain, parentLength: number): void {
    const { counters, forwarder, now, random, seed } = this.#context
    const length = 1 + GUARD_LABEL + parentLength
    if (length > MAX_NAME) return
    key[0] = GUARD_LABEL
    for (let k = 1; k <= GUARD_LABEL; k++) key[k] = LETTERS[(random() >>> 0) % LETTERS.length]!
    copyBytes(parentName, 0, parentLength, key, 1 + GUARD_LABEL)
    const hash = keyHash(finishHash(hashBytes(seed, key, 0, length - 1)), Type.A, 0)
    if (!forwarder.ask(hash, key, endKey(length))) return
    counters.add(Cell.stormGuards, 1)
    domain.guard = Guard.ASKED
    domain.guardName = key.slice(0, length)
    domain.guardAskedAt = now
  }

  #turnOff(domain: Domain, why: string): void {
    if (domain.guard === Guard.OFF) return
    domain.guard = Guard.OFF
    this.#context.stormsOff(nameToText(domain.name), why)
  }
}

/** Type A without DO, CD and with recursion. */
function endKey(nameLength: number): number {
  key[nameLength] = 0
  key[nameLength + 1] = Type.A
  key[nameLength + 2] = 0
  return nameLength + KEY_TAIL
}

function equals(bytes: Uint8Array, at: number, length: number, other: Uint8Array): boolean {
  if (length !== other.length) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== other[i]) return false
  return true
}
