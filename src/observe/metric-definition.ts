import type { WorkerCounters } from '../stats/counters.ts'
import type { ScrapedMetricOptions } from './scraped-metric.ts'

/** A metric and how to read it. */
export type MetricDefinition = Omit<ScrapedMetricOptions, 'onError'>

/** A figure of every worker, added up. */
export function sumOf(counters: readonly WorkerCounters[], read: (counters: WorkerCounters) => number): number {
  let sum = 0
  for (const worker of counters) sum += read(worker)
  return sum
}

/** The bucket counts of every worker, added up; a copy. Empty without workers. */
export function bucketsOf(
  counters: readonly WorkerCounters[],
  read: (counters: WorkerCounters) => Float64Array,
): Float64Array {
  const sum = new Float64Array(counters.length > 0 ? read(counters[0]!).length : 0)
  for (const worker of counters) read(worker).forEach((count, bucket) => (sum[bucket]! += count))
  return sum
}
