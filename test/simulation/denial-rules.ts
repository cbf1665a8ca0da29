/**
 * Names that are known not to exist, and so has nothing below them (RFC 8020): which NXDOMAINs may answer for names
 * below, and which must.
 */
import type { Cache } from '../../src/engine/cache/cache.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { CacheMoment } from './pending.ts'
import type { ParsedMessage } from './message.ts'
import { isAtOrBelow } from './reference-scrub.ts'
import { ageSeconds, type KnownAnswer } from './reference-resolver.ts'
import { edeOf } from './reply-check.ts'
import type { ServiceDenialRules } from './service-denial-rules.ts'

const NXDOMAIN = 3
const FLAG_AD = 0x0020
const FLAG_RD = 0x0100
/** RD and CD. */
const FLAGS_OF_VARIANTS = 0x0110
const SYNTHESIZED = 29
const KNOWN_EACH = 64
/** Bytes of the random label that is asked for below a parent. */
const GUARD_LABEL = 12

interface Kept extends CacheMoment {
  known: KnownAnswer
}

export class DenialRules {
  /** By name and variant, newest first. */
  private readonly known: Map<string, KnownAnswer[]> = new Map()
  /** Those that the engine certainly has, unless the cache had to drop some. */
  private readonly kept: Map<string, Kept> = new Map()
  /** Search domains below which a random name has been denied. */
  private readonly guarded: Set<string> = new Set()
  /** When an answer came, by name and variant, that shows that a parent exists. */
  private readonly existsAt: Map<string, number> = new Map()
  private readonly services: ServiceDenialRules

  constructor(services: ServiceDenialRules) {
    this.services = services
  }

  forgetAll(): void {
    this.known.clear()
    this.kept.clear()
  }

  /** The engine starts anew, and does not know whether anything answers random names. */
  restarted(): void {
    this.guarded.clear()
  }

  /** What says that the name does not exist is forgotten, for whichever name above it was asked. */
  forgetName(name: string): void {
    for (let at = 0; at < name.length; at += name.charCodeAt(at) + 1) {
      const above = `${name.slice(at)}|`
      for (const map of [this.known, this.kept])
        for (const key of map.keys()) if (key.startsWith(above)) map.delete(key)
    }
  }

  /** An answer has come in for questions with these keys (name|type|variant). */
  arrived(keys: readonly string[], known: KnownAnswer, settings: EngineSettings): void {
    const isAny = isDenial(known, settings)
    const isParents = isDenialOfItself(known)
    for (const key of keys.filter((each) => isAny || (isParents && isParent(each, settings))).map(denialKey)) {
      const list = this.known.get(key)
      if (list === undefined) this.known.set(key, [known])
      else {
        list.unshift(known)
        if (list.length > KNOWN_EACH) list.pop()
      }
    }
  }

  /** An answer has come in, whether it may be kept or not: a parent that exists need not deny what is below it any more. */
  heard(keys: readonly string[], known: KnownAnswer, settings: EngineSettings): void {
    const isDenied = known.message.rcode === NXDOMAIN && known.message.sections[0].length === 0
    for (const key of keys) {
      if (!isDenied && isParent(key, settings)) this.kept.delete(denialKey(key))
      const domain = isDenied ? domainOfGuard(nameOf(key), settings) : null
      if (domain !== null) this.guarded.add(domain)
    }
  }

  /** The engine has given a client an answer that says something of the name. */
  believed(key: string, { at, message }: KnownAnswer, settings: EngineSettings): void {
    const isDenied = message.rcode === NXDOMAIN && message.sections[0].length === 0
    if (!isDenied && isParent(key, settings)) this.existsAt.set(denialKey(key), at)
  }

  /** The engine has answered a client with it. */
  accepted(key: string, known: KnownAnswer, settings: EngineSettings, moment: CacheMoment): void {
    if (isDenial(known, settings)) this.kept.set(denialKey(key), { known, ...moment })
  }

  /** True if the reply is what a denial of the name, or of one above it, says. */
  explains(key: string, reply: ParsedMessage, wantsAd: boolean, settings: EngineSettings, now: number): boolean {
    // The name above may be one of the mesh that servers do not know.
    if (reply.rcode !== NXDOMAIN || this.services.isBrief(nameOf(key))) return false
    const isOn = settings.cache.nxdomainCut === true
    const isBelowService = this.services.isBelowService(nameOf(key))
    for (const [above, route] of namesAbove(key, settings)) {
      const isStorm = !isBelowService && above !== denialKey(key) && this.deniesBelow(keyAbove(above), settings)
      if (!route || !(isOn || isStorm)) continue
      for (const known of this.known.get(above) ?? []) {
        const age = ageSeconds(known, now)
        if (isParent(keyAbove(above), settings) && known.at < (this.existsAt.get(above) ?? 0)) continue
        if (age < known.lifetimeSeconds && isCopy(reply, known, age, wantsAd, isStorm)) return true
      }
    }
    return false
  }

  /** True for the key of a parent, if a random name below its search domain has been denied. */
  private deniesBelow(key: string, settings: EngineSettings): boolean {
    const name = nameOf(key)
    return isParent(key, settings) && this.guarded.has(name.slice(name.charCodeAt(0) + 1))
  }

  /** A denial that must answer the question, if the engine has nothing for the question itself; null: none. */
  mustAnswer(key: string, settings: EngineSettings, cache: Cache | null, now: number): KnownAnswer | null {
    if (settings.cache.nxdomainCut !== true || cache === null || this.services.isBrief(nameOf(key))) return null
    for (const [above, route] of namesAbove(key, settings)) {
      const kept = this.kept.get(above)
      if (kept === undefined || !route || kept.cache !== cache || kept.evictions !== cache.evictions) continue
      const { known } = kept
      const isSmall = known.message.bytesBeforeOpt < Math.min(400, cache.maxBytes / 16 - 500)
      // One that came later may have taken its place, by a prefetch that nobody saw the end of.
      const isNewest = this.known.get(above)?.[0] === known
      if (isSmall && isNewest && ageSeconds(known, now) < known.lifetimeSeconds) return known
    }
    return null
  }
}

function isDenial(known: KnownAnswer, { cache }: EngineSettings): boolean {
  return cache.nxdomainCut === true && isDenialOfItself(known)
}

function isDenialOfItself({ lifetimeSeconds, message }: KnownAnswer): boolean {
  // What CNAMEs led to does not exist; the name that was asked does.
  return lifetimeSeconds > 0 && message.rcode === NXDOMAIN && message.sections[0].length === 0
}

/** The key of a denial as that of a question. */
function keyAbove(denial: string): string {
  const at = denial.lastIndexOf('|')
  return `${denial.slice(0, at)}|1|${denial.slice(at + 1)}`
}

/** True for the key of a question without DO and CD for a name with one label before a search domain: its denial is one of all below. */
function isParent(key: string, { searchStorms = [] }: EngineSettings): boolean {
  const [name, , variant] = split(key)
  const above = name.slice(name.charCodeAt(0) + 1)
  return (
    variant === '' && name !== '\0' && searchStorms.some((domain) => Buffer.from(domain).toString('latin1') === above)
  )
}

/** The search domain whose guard the random name may be: with a first label of 12 bytes below a parent; null for any other. */
function domainOfGuard(name: string, settings: EngineSettings): string | null {
  const parent = name.slice(GUARD_LABEL + 1)
  const isGuard = name.charCodeAt(0) === GUARD_LABEL && isParent(`${parent}|1|`, settings)
  return isGuard ? parent.slice(parent.charCodeAt(0) + 1) : null
}

/** True for a question that the engine may ask for itself, because of search storms: for a parent, or for a random name below one. */
export function isOfStorm({ flags, name, type }: ParsedMessage, settings: EngineSettings): boolean {
  if (type !== 1 || (flags & FLAGS_OF_VARIANTS) !== FLAG_RD) return false
  return isParent(`${name}|1|`, settings) || domainOfGuard(name, settings) !== null
}

/** The question's key without the type. */
function denialKey(key: string): string {
  const [name, , variant] = split(key)
  return `${name}|${variant}`
}

function nameOf(key: string): string {
  return split(key)[0]
}

/** Labels may hold any byte, the separator too: type and variant are what stands behind the last two. */
function split(key: string): [name: string, type: string, variant: string] {
  const last = key.lastIndexOf('|')
  const before = key.lastIndexOf('|', last - 1)
  return [key.slice(0, before), key.slice(before + 1, last), key.slice(last + 1)]
}

/** Keys of denials of the name and of those above it, the root left out, and whether the same servers are asked for them. */
function* namesAbove(key: string, settings: EngineSettings): Generator<[key: string, isSameRoute: boolean]> {
  const [name, , variant] = split(key)
  const own = routeOf(name, settings)
  for (let at = 0; name.charCodeAt(at) > 0; at += name.charCodeAt(at) + 1) {
    const above = name.slice(at)
    yield [`${above}|${variant}`, routeOf(above, settings) === own]
  }
}

/** The most specific route for a name. */
export function routeOf(name: string, { routes }: EngineSettings): EngineSettings['routes'][number] {
  let best = routes.at(-1)!
  let length = 0
  for (const route of routes) {
    for (const domain of route.domains) {
      if (domain.length <= length || !isAtOrBelow(name, Buffer.from(domain).toString('latin1'))) continue
      best = route
      length = domain.length
    }
  }
  return best
}

/** True if the reply has the denial's authority section, with TTLs of its age, and nothing else. */
function isCopy(
  reply: ParsedMessage,
  { message, ttls }: KnownAnswer,
  age: number,
  wantsAd: boolean,
  isSynthesized: boolean,
): boolean {
  const [answer, authority, additional] = reply.sections
  if (answer.length + additional.length > 0 || authority.length !== message.sections[1].length) return false
  if (((reply.flags & FLAG_AD) !== 0) !== (wantsAd && (message.flags & FLAG_AD) !== 0)) return false
  const isMarked = isSynthesized && edeOf(reply) === SYNTHESIZED
  if (reply.opt !== null && edeOf(reply) !== edeOf(message) && !isMarked) return false
  return authority.every(
    (record) =>
      record.ttl === Math.max(0, (ttls[1].get(record.id) ?? ttls[1].get(record.shownId ?? '') ?? Number.NaN) - age),
  )
}
