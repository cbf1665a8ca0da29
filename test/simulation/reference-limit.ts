/** The rate limit once more: a bucket for each client that was ever heard, without a bound on how many. */
import type { EngineSettings } from '../../src/engine/settings.ts'

type Limit = EngineSettings['rateLimit']

export class ReferenceLimit {
  private limit: Limit
  private readonly buckets: Map<string, { tokens: number; at: number }> = new Map()

  /** New settings: another limit begins with full buckets, the same one goes on. */
  configure(limit: Limit): void {
    const isSame = limit?.queriesPerSecond === this.limit?.queriesPerSecond && limit?.burst === this.limit?.burst
    this.limit = limit
    if (!isSame) this.buckets.clear()
  }

  /** A worker starts anew. */
  reset(): void {
    this.buckets.clear()
  }

  /** Counts a query of a client and says whether it may pass. An IPv6 client is its /64. */
  allows(address: Uint8Array, now: number): boolean {
    const { limit } = this
    if (limit === undefined || limit.queriesPerSecond === 0) return true
    const client = `${address.length} ${address.subarray(0, address.length === 4 ? 4 : 8).join(' ')}`
    let bucket = this.buckets.get(client)
    if (bucket === undefined) {
      bucket = { tokens: limit.burst, at: now }
      this.buckets.set(client, bucket)
    }
    bucket.tokens = Math.min(limit.burst, bucket.tokens + (now - bucket.at) * (limit.queriesPerSecond / 1000))
    bucket.at = now
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }
}
