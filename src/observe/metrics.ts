import { collectDefaultMetrics, Registry } from 'prom-client'
import { dnsMetrics, istioAgentMetrics } from './dns-metrics.ts'
import type { Log } from './log.ts'
import type { MetricDefinition } from './metric-definition.ts'
import { ScrapedMetric } from './scraped-metric.ts'
import type { SocketDrops } from './socket-drops.ts'
import type { ObserveSources } from './sources.ts'
import { meshMetrics, processMetrics } from './state-metrics.ts'
import { pluginMetrics } from './plugin-metrics.ts'
import { streamMetrics } from './stream-metrics.ts'
import { upstreamMetrics } from './upstream-metrics.ts'

/**
 * Of Node's metrics those that are left out: the monitor behind the lag percentiles would wake an idle process 100
 * times a second (measured: 0.23 % of a core), and without it they are wrong; the others are gauges in the clothes of
 * counters (promtool complains) or the deprecated twins of nodejs_active_resources.
 */
const UNWANTED_NODE_METRICS: readonly string[] = [
  ...['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
    (statistic) => `nodejs_eventloop_lag_${statistic}_seconds`,
  ),
  'nodejs_active_resources_total',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
]
/** The lag monitor cannot be left out, only slowed down: one wake-up in 1,000 seconds. */
const LAG_MONITOR_MS = 1_000_000

/** What /metrics shows. */
export interface Metrics {
  contentType: string
  /** The exposition (text format 0.0.4). Never rejects: a metric whose source fails has no lines. */
  render(): Promise<string>
  /** Those alone whose names are byname's: beside other processes' metrics in one exposition no name is there twice. */
  renderOwn(): Promise<string>
  /** Name, type and meaning of each, in the order of the exposition. */
  describe(): MetricDescription[]
}

/** What is said of a metric. */
export interface MetricDescription {
  name: string
  type: string
  help: string
}

/**
 * Registers every metric in a registry of its own. Nothing is counted here: values are read from `sources` when they
 * are scraped. A source that fails is logged once per metric.
 */
export function createMetrics(
  sources: ObserveSources,
  drops: SocketDrops,
  log: Pick<Log, 'warn'>,
  options: { nodeMetrics?: boolean } = {},
): Metrics {
  const registry = new Registry()
  const own = new Registry()
  const failed = new Set<string>()
  const definitions: MetricDefinition[] = [
    ...dnsMetrics(sources),
    ...upstreamMetrics(sources),
    ...streamMetrics(sources),
    ...pluginMetrics(sources),
    ...meshMetrics(sources),
    ...processMetrics(sources, drops),
    ...istioAgentMetrics(sources),
  ]
  for (const definition of definitions) {
    const onError = (error: unknown): void => {
      if (failed.has(definition.name)) return
      failed.add(definition.name)
      log.warn({ metric: definition.name, error }, 'a metric cannot be read and is missing from /metrics')
    }
    const metric = new ScrapedMetric({ ...definition, onError })
    metric.register(registry)
    if (definition.name.startsWith('byname_')) metric.register(own)
  }
  if (options.nodeMetrics ?? true) {
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LAG_MONITOR_MS })
    for (const name of UNWANTED_NODE_METRICS) registry.removeSingleMetric(name)
  }
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    renderOwn: () => own.metrics(),
    describe: () => registry.getMetricsAsArray().map(({ name, type, help }) => ({ name, type: String(type), help })),
  }
}
