/**
 * The value below which the share `q` (0…1) of what a histogram counted is, read off as Prometheus's `histogram_quantile`
 * does: evenly spread within a bucket. `counts` are those of each bucket, one more than `bounds` (ascending); what is above
 * the last bound counts as that bound. NaN if nothing was counted.
 */
export function percentile(counts: Float64Array, bounds: readonly number[], q: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (!(total > 0)) return NaN
  const rank = q * total
  let below = 0
  for (let bucket = 0; bucket < bounds.length; bucket++) {
    const count = counts[bucket]!
    if (count > 0 && below + count >= rank) {
      const from = bucket === 0 ? 0 : bounds[bucket - 1]!
      return from + ((bounds[bucket]! - from) * (rank - below)) / count
    }
    below += count
  }
  return bounds.at(-1)!
}
