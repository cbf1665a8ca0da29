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

const NXDOMAIN = 3
const FLAG_AD = 0x0020
const KNOWN_EACH = 16

interface Kept extends CacheMoment {
  known: KnownAnswer
}

export class DenialRules {
  /** By name and variant, newest first. */
  private readonly known: Map<string, KnownAnswer[]> = new Map()
  /** Those that the engine certainly has, unless the cache had to drop some. */
  private readonly kept: Map<string, Kept> = new Map()

  forgetAll(): void {
    this.known.clear()
    this.kept.clear()
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
    if (!isDenial(known, settings)) return
    for (const key of keys.map(denialKey)) {
      const list = this.known.get(key)
      if (list === undefined) this.known.set(key, [known])
      else {
        list.unshift(known)
        if (list.length > KNOWN_EACH) list.pop()
      }
    }
  }

  /** The engine has answered a client with it. */
  accepted(key: string, known: KnownAnswer, settings: EngineSettings, moment: CacheMoment): void {
    if (isDenial(known, settings)) this.kept.set(denialKey(key), { known, ...moment })
  }

  /** True if the reply is what a denial of the name, or of one above it, says. */
  explains(key: string, reply: ParsedMessage, wantsAd: boolean, settings: EngineSettings, now: number): boolean {
    if (settings.cache.nxdomainCut !== true || reply.rcode !== NXDOMAIN) return false
    for (const [above, route] of namesAbove(key, settings)) {
      for (const known of this.known.get(above) ?? []) {
        const age = ageSeconds(known, now)
        if (route && age < known.lifetimeSeconds && isCopy(reply, known, age, wantsAd)) return true
      }
    }
    return false
  }

  /** A denial that must answer the question, if the engine has nothing for the question itself; null: none. */
  mustAnswer(key: string, settings: EngineSettings, cache: Cache | null, now: number): KnownAnswer | null {
    if (settings.cache.nxdomainCut !== true || cache === null) return null
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

function isDenial({ lifetimeSeconds, message }: KnownAnswer, { cache }: EngineSettings): boolean {
  // What CNAMEs led to does not exist; the name that was asked does.
  const isOfTheName = message.rcode === NXDOMAIN && message.sections[0].length === 0
  return cache.nxdomainCut === true && lifetimeSeconds > 0 && isOfTheName
}

/** The question's key without the type. */
function denialKey(key: string): string {
  const [name, , variant] = split(key)
  return `${name}|${variant}`
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
function isCopy(reply: ParsedMessage, { message, ttls }: KnownAnswer, age: number, wantsAd: boolean): boolean {
  const [answer, authority, additional] = reply.sections
  if (answer.length + additional.length > 0 || authority.length !== message.sections[1].length) return false
  if (((reply.flags & FLAG_AD) !== 0) !== (wantsAd && (message.flags & FLAG_AD) !== 0)) return false
  if (reply.opt !== null && edeOf(reply) !== edeOf(message)) return false
  return authority.every((record) => record.ttl === Math.max(0, (ttls[1].get(record.id) ?? Number.NaN) - age))
}
