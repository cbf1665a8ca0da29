import type { Gauge, Registry } from 'prom-client'

/** One line of the exposition: a value under its labels. */
export interface Sample {
  labels: Record<string, string>
  value: number
  /** For a histogram's lines, whose names differ from the metric's. */
  metricName?: string
}

/** What a metric is made of. */
export interface ScrapedMetricOptions {
  name: string
  help: string
  type: 'counter' | 'gauge' | 'histogram'
  /** Reads the values of this moment. */
  read(): Sample[] | Promise<Sample[]>
  /** Told when `read` failed; the metric then has no lines in this scrape, and the others are not affected. */
  onError(error: unknown): void
}

/**
 * A metric that holds nothing and is read when it is scraped. prom-client's own classes keep values of their own, which
 * would have to be reset and filled at each scrape, and its histogram can only be fed one observation at a time.
 */
export class ScrapedMetric {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly aggregator = 'sum'
  readonly #options: ScrapedMetricOptions

  constructor(options: ScrapedMetricOptions) {
    this.name = options.name
    this.help = options.help
    this.type = options.type
    this.#options = options
  }

  /** Called by the registry. Never rejects. */
  async get(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    let values: Sample[] = []
    try {
      values = await this.#options.read()
    } catch (error) {
      this.#options.onError(error)
    }
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values }
  }

  /** The registry's contract; there is nothing to reset. */
  reset(): void {}

  /** Registers it beside prom-client's own metrics. */
  register(registry: Registry): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a registry calls name, get and reset; the declared type lists the library's four classes.
    registry.registerMetric(this as unknown as Gauge)
  }
}

/**
 * Lines of one histogram: cumulative buckets, sum and count, from counts that are not cumulative. `bounds` are upper
 * bounds, inclusive; `counts` has one more, for +Inf, or nothing at all, which reads as zeros. The count is the sum of
 * the buckets read, so that they agree while a worker goes on counting.
 */
export function histogramSamples(
  name: string,
  labels: Record<string, string>,
  bounds: readonly number[],
  counts: ArrayLike<number>,
  sum: number,
): Sample[] {
  const samples: Sample[] = []
  let total = 0
  for (let bucket = 0; bucket <= bounds.length; bucket++) {
    total += counts[bucket] ?? 0
    const le = bucket < bounds.length ? String(bounds[bucket]) : '+Inf'
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: total })
  }
  samples.push({ metricName: `${name}_sum`, labels, value: sum })
  samples.push({ metricName: `${name}_count`, labels, value: total })
  return samples
}
