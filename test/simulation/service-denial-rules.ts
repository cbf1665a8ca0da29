/**
 * Denials of names below a Kubernetes host of the table (mesh.headlessNegativeTtlSeconds): they are good for a short time,
 * never serve stale, and end with the next table.
 */
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { KnownAnswer, ReferenceResolver } from './reference-resolver.ts'

/** The engine tells tables apart by so few numbers: after as many it may take one for another. */
const TABLES_APART = 64
/** Longer than any question is open. */
const LONGEST_MS = 10_000

type Bounds = EngineSettings['cache']

export class ServiceDenialRules {
  settings!: EngineSettings
  /** Tables that the engine has adopted. */
  private adopted = 0
  private adoptedAt = Number.NEGATIVE_INFINITY
  private readonly resolver: ReferenceResolver

  constructor(resolver: ReferenceResolver) {
    this.resolver = resolver
  }

  /** The engine has adopted a table. */
  tableAdopted(now: number): void {
    this.adopted++
    this.adoptedAt = now
  }

  /** True for a name (wire format) of which a denial is good for a short time. */
  isBrief(name: string): boolean {
    return this.settings.headlessNegativeTtlSeconds !== undefined && this.isBelowService(name)
  }

  isBelowService(name: string): boolean {
    return this.resolver.isBelowService(name)
  }

  /** TTL bounds of what denies a name, or records of a type. */
  boundsOf(name: string): Bounds {
    const { cache, headlessNegativeTtlSeconds } = this.settings
    if (headlessNegativeTtlSeconds === undefined || !this.isBrief(name)) return cache
    return { ...cache, maxNegativeTtlSeconds: Math.min(cache.maxNegativeTtlSeconds, headlessNegativeTtlSeconds) }
  }

  /** How many tables there were when an answer came. */
  get tables(): number {
    return this.adopted
  }

  /** Whether the engine may keep such a denial, and certainly does: none that it asked for before the table in use. `askedAt`: when a server was asked. */
  keeping(askedAt: number): 'no' | 'perhaps' | 'yes' {
    if (askedAt < this.adoptedAt) return 'no'
    return askedAt - LONGEST_MS <= this.adoptedAt ? 'perhaps' : 'yes'
  }

  /** Whether a table that came after it has ended what was known of the name. */
  ending(name: string, { isNegative, tables }: KnownAnswer): 'no' | 'perhaps' | 'yes' {
    if (!isNegative || tables === this.adopted || !this.isBrief(name)) return 'no'
    return this.adopted - tables < TABLES_APART ? 'yes' : 'perhaps'
  }
}
