import { expect, test } from 'vitest'
import { pluginMetrics } from '../../src/observe/plugin-metrics.ts'
import { PluginCell, WorkerCounters } from '../../src/stats/counters.ts'
import { fakeSources } from './fake-sources.ts'

test('plug-ins are counted by name, over all workers; their own counters have the names that they gave', async () => {
  const counters = [new WorkerCounters(), new WorkerCounters()]
  for (const each of counters) {
    each.pluginBegin(1, 'block')
    each.pluginAdd(1, PluginCell.actions + 3, 2)
    each.pluginAdd(1, PluginCell.replyActions + 1, 1)
    each.pluginAdd(1, PluginCell.errors + 1, 5)
    each.pluginAdd(1, PluginCell.own + 0, 7)
    each.pluginAdd(1, PluginCell.own + 4, 1)
    // The same again: it goes on counting. Another one begins at zero.
    each.pluginBegin(1, 'block')
    each.pluginAdd(0, PluginCell.actions, 9)
    each.pluginBegin(0, 'view')
  }
  const plugins = [
    { name: 'view', isOn: false, counters: new Map() },
    {
      name: 'block',
      isOn: true,
      counters: new Map([
        [0, 'blocked'],
        [1, 'seen'],
      ]),
    },
  ]
  const metrics = pluginMetrics(fakeSources({ counters: () => counters, plugins: () => plugins }))
  const lines = await Promise.all(
    metrics.map(async ({ name, read }) =>
      (await read()).map(
        ({ labels, value }) => `${name.replace('byname_plugin_', '')} ${Object.values(labels).join(' ')} ${value}`,
      ),
    ),
  )
  expect(lines.flat()).toEqual([
    'calls_total view pass 0',
    'calls_total block pass 0',
    'calls_total block rcode 4',
    'replies_total view pass 0',
    'replies_total block pass 0',
    'replies_total block answer 2',
    'errors_total view trap 0',
    'errors_total block trap 0',
    'errors_total block timeout 10',
    'up view 0',
    'up block 1',
    'instances_total view 0',
    'instances_total block 0',
    'counter_total block blocked 14',
    'counter_total block seen 0',
    'counter_total block 4 2',
  ])
})

test('counters of one name are one, and one without a name has its number', async () => {
  const counters = new WorkerCounters()
  for (let k = 0; k < 4; k++) counters.pluginAdd(0, PluginCell.own + k, 10 ** k)
  const names = new Map([
    [0, 'same'],
    [1, 'same'],
    [2, ''],
  ])
  const plugins = [{ name: 'x', isOn: true, counters: names }]
  const metrics = pluginMetrics(fakeSources({ counters: () => [counters], plugins: () => plugins }))
  const own = metrics.find(({ name }) => name === 'byname_plugin_counter_total')!
  expect((await own.read()).map(({ labels, value }) => [labels['counter'], value])).toEqual([
    ['same', 11],
    ['2', 100],
    ['3', 1000],
  ])
})
