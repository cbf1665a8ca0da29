import { PluginCell } from '../stats/counters.ts'
import { type MetricDefinition, sumOf } from './metric-definition.ts'
import type { Sample } from './scraped-metric.ts'
import type { ObserveSources } from './sources.ts'

/** By number: what plug-ins do about queries, and about replies. */
const ACTIONS: readonly string[] = ['pass', 'answer', 'rewrite', 'rcode', 'drop']
/** By number. */
const ERRORS: readonly string[] = ['trap', 'timeout', 'action', 'reply', 'query', 'too_large', 'unavailable']

const OWN_COUNTERS = 16

/** What plug-ins did, and how often they failed. Without plug-ins there is nothing to show. */
export function pluginMetrics(sources: Pick<ObserveSources, 'plugins' | 'counters'>): MetricDefinition[] {
  const sum = (plugin: number, field: number): number =>
    sumOf(sources.counters(), (counters) => counters.pluginGet(plugin, field))
  /** Those that are zero are left out, but for the first. */
  const labelled = (label: string, values: readonly string[], first: number): (() => Sample[]) => {
    return () =>
      sources
        .plugins()
        .flatMap(({ name: plugin }, k) =>
          values
            .map((value, at) => ({ labels: { plugin, [label]: value }, value: sum(k, first + at) }))
            .filter((sample, at) => at === 0 || sample.value > 0),
        )
  }
  return [
    {
      name: 'byname_plugin_calls_total',
      help: 'Queries that a plug-in was shown, by what it did: pass, answer, rewrite, rcode or drop.',
      type: 'counter',
      read: labelled('action', ACTIONS, PluginCell.actions),
    },
    {
      name: 'byname_plugin_replies_total',
      help: 'Replies that a plug-in with byname_reply was shown, by what it did: pass, answer (another reply), rcode or drop.',
      type: 'counter',
      read: labelled('action', ACTIONS, PluginCell.replyActions),
    },
    {
      name: 'byname_plugin_errors_total',
      help: 'Calls of a plug-in that failed, by reason: trap, timeout (its time was used up), action (none that there is), reply or query (malformed, or of another question), too_large (for its buffer), unavailable (switched off, being made again, or without a file). onError says what the client got.',
      type: 'counter',
      read: labelled('reason', ERRORS, PluginCell.errors),
    },
    {
      name: 'byname_plugin_up',
      help: '1 for a plug-in that is asked; 0 for one that is switched off because its calls failed, or that no usable file is there for.',
      type: 'gauge',
      read: () => sources.plugins().map(({ name: plugin, isOn }) => ({ labels: { plugin }, value: isOn ? 1 : 0 })),
    },
    {
      name: 'byname_plugin_instances_total',
      help: 'Instances of a plug-in that were made: one for each data worker, and one after each trap.',
      type: 'counter',
      read: () =>
        sources.plugins().map(({ name: plugin }, k) => ({ labels: { plugin }, value: sum(k, PluginCell.instances) })),
    },
    {
      name: 'byname_plugin_counter_total',
      help: "A plug-in's own counters, by the name that it gave them, else by number.",
      type: 'counter',
      read: () =>
        sources.plugins().flatMap(({ name: plugin, counters }, k) =>
          [...ownCounters(counters, (at) => sum(k, PluginCell.own + at))].map(([counter, value]) => ({
            labels: { plugin, counter },
            value,
          })),
        ),
    },
  ]
}

/** Values by name, those with a name or a value. Two counters of one name are one: an exposition must not repeat a series. */
function ownCounters(names: ReadonlyMap<number, string>, valueOf: (counter: number) => number): Map<string, number> {
  const values = new Map<string, number>()
  for (let counter = 0; counter < OWN_COUNTERS; counter++) {
    const value = valueOf(counter)
    if (value === 0 && !names.has(counter)) continue
    const name = names.get(counter) || String(counter)
    values.set(name, (values.get(name) ?? 0) + value)
  }
  return values
}
